//! `operations:`, the general form: one action with its moment, its place in the order and its conditions.
//!
//! People write the sections; this form is for what they cannot say, so that every plan of every
//! dialect can be written as Kiln's YAML. It has a word for each field of an [`Operation`] and none of
//! its own. Inventing a section for each oddity of a foreign dialect was dropped: the sections would stop
//! being small.

use crate::action::Action;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Fields;
use crate::node::Node;
use crate::operation::{Condition, Exists, Fact, Failure, Moment, Operation, Phase, Stage};
use crate::provision::contents::FileShape;
use crate::provision::disks::{DiskShape, FilesystemShape, LayoutShape, LuksShape, RaidShape};
use crate::provision::records::{
    CommandShape, DatasourceShape, DirectoryShape, DnsShape, EntityShape, EnvironmentShape,
    GitShape, GroupShape, ImageShape, KernelArgumentsShape, KeysShape, LinkShape, PersistenceShape,
    ReportAddress, SettingShape, SystemctlShape, UnitShape, UserShape, VolumeShape, choice,
    choices, written,
};
use crate::provision::shape::{
    Holes, Many, Named, Number, Shape, Word, described, object, record, take,
};
use crate::provision::tree::Tree;
use crate::suggest::nearest;

/// Hooks around actions that have a name of their own; others are given by `hook`.
const HOOKS: [&str; 12] = [
    "before-install",
    "after-install-chroot",
    "after-install",
    "post-install",
    "before-upgrade",
    "after-upgrade-chroot",
    "after-upgrade",
    "post-upgrade",
    "before-reset",
    "after-reset-chroot",
    "after-reset",
    "post-reset",
];

const MOMENTS: [Moment; 8] = [
    Moment::PreRootfs,
    Moment::Rootfs,
    Moment::FirstBoot,
    Moment::Initramfs,
    Moment::Fs,
    Moment::Boot,
    Moment::Network,
    Moment::Reconcile,
];

const PHASES: [(&str, Phase); 3] =
    [("before", Phase::Before), ("main", Phase::Main), ("after", Phase::After)];

const FAILURES: [(&str, Failure); 2] = [("continue", Failure::Continue), ("abort", Failure::Abort)];

const FACTS: [(&str, Fact); 4] = [
    ("os", Fact::Os),
    ("osVersion", Fact::OsVersion),
    ("architecture", Fact::Architecture),
    ("serviceManager", Fact::ServiceManager),
];

const EXISTS: [(&str, Exists); 3] =
    [("all", Exists::All), ("any", Exists::Any), ("none", Exists::None)];

/// The stage of a word such as `first-boot` or `rootfs.after`.
pub(super) fn stage_of(word: &str) -> Option<Stage> {
    let (base, phase) = match word.rsplit_once('.') {
        Some((base, "before")) => (base, Phase::Before),
        Some((base, "after")) => (base, Phase::After),
        _ => (word, Phase::Main),
    };
    if let Some(moment) = MOMENTS.into_iter().find(|moment| moment.name() == base) {
        return Some(Stage { moment, phase });
    }
    HOOKS.contains(&base).then(|| Stage { moment: Moment::Hook(base.to_owned()), phase })
}

/// The word of a stage, where it has one.
pub(super) fn stage_word(stage: &Stage) -> Option<String> {
    let word = stage.to_string();
    (stage_of(&word).as_ref() == Some(stage)).then_some(word)
}

/// What is said about a word that is no stage.
pub(super) fn unknown_stage(node_span: crate::Span, word: &str) -> Diagnostic {
    let names = || MOMENTS.iter().map(Moment::name).chain(HOOKS);
    let hint = match nearest(word, names()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("use one of {}", names().collect::<Vec<_>>().join(", ")),
    };
    let message = format!("there is no stage `{word}`");
    Diagnostic::error("unknown-stage", node_span, message).hint(hint)
}

/// The schema of a word that names a stage.
pub(super) fn stage_schema() -> Tree {
    let names: Vec<&str> = MOMENTS.iter().map(Moment::name).chain(HOOKS).collect();
    let pattern = format!("^({})(\\.(before|after))?$", names.join("|"));
    Tree::map([("type", Tree::text("string")), ("pattern", Tree::Text(pattern))])
}

/// Existence of files, as a condition asks for it.
#[derive(PartialEq)]
pub(crate) struct FilesExist {
    exist: Exists,
    paths: Vec<crate::operation::Text>,
}

/// A field of the machine, as a condition asks for it.
#[derive(PartialEq)]
pub(crate) struct FactMatches {
    fact: Fact,
    matches: String,
}

struct ExistsShape;

impl Shape for ExistsShape {
    type Value = Exists;

    fn read(node: &Node, key: &'static str, out: &mut Diagnostics) -> Option<Exists> {
        choice(node, key, &EXISTS, out)
    }

    fn write(value: &Exists) -> Tree {
        written(value, &EXISTS)
    }

    fn schema() -> Tree {
        choices(&EXISTS)
    }
}

struct FactShape;

impl Shape for FactShape {
    type Value = Fact;

    fn read(node: &Node, key: &'static str, out: &mut Diagnostics) -> Option<Fact> {
        choice(node, key, &FACTS, out)
    }

    fn write(value: &Fact) -> Tree {
        written(value, &FACTS)
    }

    fn schema() -> Tree {
        choices(&FACTS)
    }
}

record! {
    /// A condition on files.
    FilesExistShape: FilesExist, "a condition on files";
    needs {
        "exist" exist: ExistsShape, "How many of them have to exist.";
        "paths" paths: Many<Holes>, "The files.";
    }
    takes {}
}

record! {
    /// A condition on a field of the machine.
    FactMatchesShape: FactMatches, "a condition on the machine";
    needs {
        "fact" fact: FactShape, "The field.";
        "matches" matches: Word, "The regular expression.";
    }
    takes {}
}

/// What has to hold: one of `command`, `node`, `machine` and `files`.
struct ConditionShape;

impl Shape for ConditionShape {
    type Value = Condition;

    fn read(node: &Node, _key: &'static str, out: &mut Diagnostics) -> Option<Condition> {
        let mut fields = Fields::open(node, "a condition", out)?.strict();
        let mut found = Vec::new();
        found.extend(take::<Holes>(&mut fields, "command").map(Condition::Command));
        found.extend(take::<Word>(&mut fields, "node").map(Condition::Node));
        found.extend(
            take::<FactMatchesShape>(&mut fields, "machine")
                .map(|fact| Condition::Fact(fact.fact, fact.matches)),
        );
        found.extend(
            take::<FilesExistShape>(&mut fields, "files")
                .map(|files| Condition::Files(files.exist, files.paths)),
        );
        if found.len() != 1 {
            let span = fields.span();
            let message = "a condition has exactly one of `command`, `node`, `machine` and `files`";
            fields.out().push(Diagnostic::error("contradiction", span, message));
        }
        fields.finish();
        found.pop()
    }

    fn write(value: &Condition) -> Tree {
        match value {
            Condition::Command(text) => Tree::map([("command", Holes::write(text))]),
            Condition::Node(expression) => Tree::map([("node", Tree::text(expression))]),
            Condition::Fact(fact, matches) => {
                let fact = FactMatches { fact: *fact, matches: matches.clone() };
                Tree::map([("machine", FactMatchesShape::write(&fact))])
            }
            Condition::Files(exist, paths) => {
                let files = FilesExist { exist: *exist, paths: paths.clone() };
                Tree::map([("files", FilesExistShape::write(&files))])
            }
        }
    }

    fn schema() -> Tree {
        let keys = [
            ("command", Holes::schema(), "`sh -c` of it ends with 0."),
            ("node", Word::schema(), "The host name matches this regular expression."),
            ("machine", FactMatchesShape::schema(), "A field of the machine matches."),
            ("files", FilesExistShape::schema(), "Files exist or do not."),
        ];
        let keys = keys.map(|(key, schema, help)| (key.to_owned(), described(schema, help, None)));
        object(keys.into(), Vec::new())
    }
}

/// One line for each action: its key, its variant, its form.
macro_rules! actions {
    ($($key:literal $variant:ident $shape:ty, $help:literal;)*) => {
        fn read_actions(fields: &mut Fields<'_, '_>) -> Vec<Action> {
            let mut found = Vec::new();
            $(found.extend(take::<$shape>(fields, $key).map(Action::$variant));)*
            found
        }

        /// The key of an action and what stands behind it.
        pub(super) fn write_action(action: &Action) -> (&'static str, Tree) {
            match action {
                $(Action::$variant(value) => ($key, <$shape as Shape>::write(value)),)*
            }
        }

        fn action_schemas() -> Vec<(String, Tree)> {
            vec![$(($key.to_owned(), described(<$shape as Shape>::schema(), $help, None)),)*]
        }
    };
}

actions! {
    "disk" Disk DiskShape, "Partitions one disk.";
    "raid" Raid RaidShape, "Assembles a RAID array.";
    "luks" Luks LuksShape, "Makes or opens an encrypted volume.";
    "filesystem" Filesystem FilesystemShape, "Makes or keeps a file system.";
    "layout" Layout LayoutShape, "Grows and adds partitions, in the words of Elemental.";
    "directory" Directory DirectoryShape, "A folder.";
    "file" File FileShape, "A file.";
    "link" Link LinkShape, "A symbolic or hard link.";
    "entity" Entity EntityShape, "One entry of an account file.";
    "group" Group GroupShape, "A group.";
    "user" User UserShape, "A user.";
    "authorizedKeys" AuthorizedKeys KeysShape, "Keys that may log in.";
    "unit" Unit UnitShape, "A systemd unit and its drop-ins.";
    "systemctl" Systemctl SystemctlShape, "A verb of systemctl.";
    "command" Command CommandShape, "A command.";
    "hostname" Hostname Holes, "The host name.";
    "sysctl" Sysctl SettingShape, "A kernel parameter below /proc/sys.";
    "module" Module SettingShape, "A kernel module with its parameters.";
    "environment" Environment EnvironmentShape, "Variables merged into an environment file.";
    "timesyncd" Timesyncd Named<Holes>, "Settings of systemd-timesyncd.";
    "dns" Dns DnsShape, "Name servers.";
    "systemdFirstboot" SystemdFirstboot Named<Holes>, "Options of systemd-firstboot.";
    "datasource" Datasource DatasourceShape, "User data of a cloud.";
    "git" Git GitShape, "A git repository.";
    "unpackImage" UnpackImage ImageShape, "A container image unpacked into a folder.";
    "kernelArguments" KernelArguments KernelArgumentsShape, "Kernel arguments of the next boots.";
    "persistence" Persistence PersistenceShape, "Paths that are writable, and for how long.";
    "volume" Volume VolumeShape, "A volume that is mounted at each boot.";
    "report" Report ReportAddress, "An address that is told how the first boot ended.";
}

/// Reads one entry of `operations`. `document` is the number of the document that holds it.
pub(super) fn read(node: &Node, document: u32, out: &mut Diagnostics) -> Option<Operation> {
    let mut fields = Fields::open(node, "an operation", out)?.strict();
    let stage = read_stage(&mut fields);
    let offset = take::<Number<u32>>(&mut fields, "document").unwrap_or(0);
    let step = take::<Number<u32>>(&mut fields, "step").unwrap_or(0);
    let rank = take::<Number<u32>>(&mut fields, "rank").unwrap_or(0);
    let name = take::<Word>(&mut fields, "name");
    let failure = fields
        .take("onFailure")
        .and_then(|node| choice(node, "onFailure", &FAILURES, fields.out()))
        .unwrap_or(Failure::Continue);
    let conditions = take::<Many<ConditionShape>>(&mut fields, "conditions").unwrap_or_default();
    let before = fields.out().errors();
    let mut found = read_actions(&mut fields);
    if found.len() != 1 && fields.out().errors() == before {
        let span = fields.span();
        let message = format!("an operation has exactly one action, and this has {}", found.len());
        let hint = "write each action as an entry of its own";
        fields.out().push(Diagnostic::error("contradiction", span, message).hint(hint));
    }
    let origin = fields.span();
    fields.finish();
    let action = found.pop()?;
    let document = document.saturating_add(offset);
    Some(Operation {
        stage: stage?,
        document,
        step,
        name,
        rank,
        failure,
        conditions,
        origin,
        action,
    })
}

fn read_stage(fields: &mut Fields<'_, '_>) -> Option<Stage> {
    let hook = fields.text("hook");
    let phase = fields
        .take("phase")
        .and_then(|node| choice(node, "phase", &PHASES, fields.out()))
        .unwrap_or(Phase::Main);
    if let Some(hook) = hook {
        if let Some((key, _)) = fields.take_with_key("stage") {
            let message = "`stage` and `hook` exclude each other";
            let fault = Diagnostic::error("contradiction", key.span, message);
            fields.out().push(fault.label(hook.span, "the other is here"));
        }
        return Some(Stage { moment: Moment::Hook(hook.value), phase });
    }
    let word = fields.require_text("stage")?;
    let stage = stage_of(&word.value);
    if stage.is_none() {
        fields.out().push(unknown_stage(word.span, &word.value));
    }
    stage
}

/// An entry of `operations`.
pub(super) fn write(operation: &Operation) -> Tree {
    let mut entries: Vec<(String, Tree)> = Vec::new();
    let mut put = |key: &str, value| entries.push((key.to_owned(), value));
    match stage_word(&operation.stage) {
        Some(word) => put("stage", Tree::Text(word)),
        None => {
            put("hook", Tree::text(operation.stage.moment.name()));
            if operation.stage.phase != Phase::Main {
                put("phase", written(&operation.stage.phase, &PHASES));
            }
        }
    }
    let numbers =
        [("document", operation.document), ("step", operation.step), ("rank", operation.rank)];
    for (key, number) in numbers {
        if number != 0 {
            put(key, Tree::Number(number.into()));
        }
    }
    if let Some(name) = &operation.name {
        put("name", Tree::text(name));
    }
    if operation.failure != Failure::Continue {
        put("onFailure", written(&operation.failure, &FAILURES));
    }
    if !operation.conditions.is_empty() {
        put("conditions", Many::<ConditionShape>::write(&operation.conditions));
    }
    let (key, action) = write_action(&operation.action);
    put(key, action);
    Tree::Map(entries)
}

/// The schema of an entry of `operations`.
pub(super) fn schema() -> Tree {
    let number = || Number::<u32>::schema();
    let zero = || Some(Tree::Number(0));
    let go_on = Some(Tree::text("continue"));
    let mut keys: Vec<(String, Tree)> = [
        ("stage", stage_schema(), "When; `.before` and `.after` are rounds of their own.", None),
        ("hook", Word::schema(), "A moment that has no name of its own, instead of `stage`.", None),
        ("phase", choices(&PHASES), "The round of a hook.", Some(Tree::text("main"))),
        ("document", number(), "Orders what comes from several documents.", zero()),
        ("step", number(), "Orders the steps of a document.", zero()),
        ("rank", number(), "Orders the actions of a step.", zero()),
        ("name", Word::schema(), "Name of the step.", None),
        ("onFailure", choices(&FAILURES), "What a fault means for what follows.", go_on),
        ("conditions", Many::<ConditionShape>::schema(), "What has to hold; all of them.", None),
    ]
    .map(|(key, schema, help, default)| (key.to_owned(), described(schema, help, default)))
    .into();
    keys.extend(action_schemas());
    object(keys, Vec::new())
}
