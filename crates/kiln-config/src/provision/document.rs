//! The sections of a document, read and lowered.
//!
//! Each section is a map by name (`files:` by path, `users:` by name), so that nothing can be said twice
//! and a later document changes one entry without repeating the others. All keys are taken by
//! [`Fields`], unknown ones are errors.

use crate::action::{Action, Contents, File, KernelArguments, Owner, Persistence, Unit};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Fields;
use crate::node::{Key, Node, Value};
use crate::operation::{Moment, Operation, Plan, Stage, Text};
use crate::programs;
use crate::provision::contents::FileShape;
use crate::provision::disks::{DiskShape, FilesystemShape, LuksShape, RaidShape};
use crate::provision::order::place;
use crate::provision::records::{
    DirectoryShape, GroupShape, KernelArgumentsShape, LinkShape, ReportAddress, UnitShape,
    UserShape, VolumeShape,
};
use crate::provision::shape::{
    Holes, Many, Named, Path, Record, Shape, Word, by_name, described, object, schema_named,
};
use crate::provision::tree::Tree;
use crate::provision::{API_VERSION, KIND, contradictions, kubernetes, network, operations};
use crate::source::Span;

/// Below `/etc/sysctl.d`, `/etc/modules-load.d` and `/etc/modprobe.d`; behind what images bring (sysctl.d(5)).
const SETTINGS: &str = "90-provision.conf";

/// The operations of a document while its sections are read.
#[derive(Debug)]
pub(super) struct Lowering {
    document: u32,
    operations: Vec<Operation>,
}

impl Lowering {
    /// Takes in an action of the first boot.
    pub(super) fn first_boot(&mut self, origin: Span, action: Action) {
        self.at(Stage::main(Moment::FirstBoot), origin, action);
    }

    /// Takes in an action of a stage; the order of one stage is fixed by [`place`].
    fn at(&mut self, stage: Stage, origin: Span, action: Action) {
        if let Some((rank, failure)) = place(&stage, &action) {
            self.operations.push(Operation {
                stage,
                document: self.document,
                step: 0,
                name: None,
                rank,
                failure,
                conditions: Vec::new(),
                origin,
                action,
            });
        }
    }

    /// Takes in a file that belongs to root and takes the place of what is there.
    pub(super) fn file(&mut self, origin: Span, path: String, contents: Contents, mode: u32) {
        let file = File {
            path: Text::Plain(path),
            contents: Some(contents),
            append: Vec::new(),
            mode: Some(mode),
            owner: Owner::default(),
            overwrite: true,
        };
        self.first_boot(origin, Action::File(file));
    }
}

/// The section of a key: its entries by name, each with its key.
pub(super) fn section<'node>(
    fields: &mut Fields<'node, '_>,
    key: &'static str,
) -> &'node [(Key, Node)] {
    let Some(node) = fields.take(key) else { return &[] };
    // Opened for its word about names that stand there twice.
    let _ = Fields::open(node, key, fields.out());
    node.map().unwrap_or_default()
}

/// A name as the scalar that stood in front of a record.
pub(super) fn name_of(key: &Key) -> Node {
    Node { span: key.span, value: Value::Scalar { text: key.text.clone(), quoted: true } }
}

/// Reads the records of a section.
fn records<S: Record>(
    fields: &mut Fields<'_, '_>,
    key: &'static str,
    into: &mut Lowering,
    stage: &Stage,
    action: impl Fn(S::Value) -> Action,
) {
    for (name, node) in section(fields, key) {
        if let Some(value) = S::read_named(node, Some(name_of(name)), fields.out()) {
            into.at(stage.clone(), name.span, action(value));
        }
    }
}

/// Reads a whole document; `document` is the number that its operations get.
pub(super) fn read(node: &Node, document: u32, out: &mut Diagnostics) -> Plan {
    let Some(mut fields) = Fields::open(node, "a Provision document", out).map(Fields::strict)
    else {
        return Plan::default();
    };
    header(&mut fields);
    let mut into = Lowering { document, operations: Vec::new() };
    let first = Stage::main(Moment::FirstBoot);
    let rootfs = Stage::main(Moment::Rootfs);
    let all = &mut fields;
    records::<DiskShape>(all, "disks", &mut into, &first, Action::Disk);
    records::<RaidShape>(all, "raid", &mut into, &first, Action::Raid);
    records::<LuksShape>(all, "luks", &mut into, &first, Action::Luks);
    records::<FilesystemShape>(all, "filesystems", &mut into, &first, Action::Filesystem);
    records::<GroupShape>(all, "groups", &mut into, &first, Action::Group);
    records::<UserShape>(all, "users", &mut into, &first, Action::User);
    records::<DirectoryShape>(all, "directories", &mut into, &first, Action::Directory);
    records::<FileShape>(all, "files", &mut into, &first, Action::File);
    records::<LinkShape>(all, "links", &mut into, &first, Action::Link);
    records::<UnitShape>(all, "units", &mut into, &first, Action::Unit);
    records::<VolumeShape>(all, "volumes", &mut into, &rootfs, Action::Volume);
    persistence(all, &mut into, &rootfs);
    settings(all, &mut into);
    kernel_arguments(all, &mut into);
    if let Some(node) = all.take("network") {
        network::read(node, &mut into, all.out());
    }
    if let Some((key, node)) = all.take_with_key("kubernetes") {
        kubernetes::read(key.span, node, &mut into, all.out());
    }
    commands(all, &mut into);
    if let Some((key, node)) = all.take_with_key("report")
        && let Some(address) = ReportAddress::read(node, "report", all.out())
    {
        into.first_boot(key.span, Action::Report(address));
    }
    contradictions::check(&into.operations, all.out());
    for node in all.list("operations") {
        into.operations.extend(operations::read(node, document, all.out()));
    }
    fields.finish();
    let mut plan = Plan { operations: into.operations };
    plan.sort();
    plan
}

fn header(fields: &mut Fields<'_, '_>) {
    for (key, expected) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        let Some(found) = fields.require_text(key) else { continue };
        if found.value != expected {
            let message = format!("`{key}` has to be `{expected}`, and is `{}`", found.value);
            let hint = format!("write `{key}: {expected}`");
            fields.out().push(Diagnostic::error("unknown-version", found.span, message).hint(hint));
        }
    }
    if let Some(node) = fields.take("metadata")
        && let Some(mut metadata) = Fields::open(node, "metadata", fields.out()).map(Fields::strict)
    {
        // A name for people; nothing on the machine depends on it.
        let _ = metadata.text("name");
        metadata.finish();
    }
}

fn persistence(fields: &mut Fields<'_, '_>, into: &mut Lowering, stage: &Stage) {
    let mut found = Persistence::default();
    let mut origin = None;
    for key in ["persist", "ephemeral"] {
        let Some((name, node)) = fields.take_with_key(key) else { continue };
        let paths = Many::<Path>::read(node, key, fields.out()).unwrap_or_default();
        origin = origin.or(Some(name.span));
        if key == "persist" {
            programs::warn(&paths, name.span, fields.out());
        }
        *if key == "persist" { &mut found.persist } else { &mut found.ephemeral } = paths;
    }
    if let Some(path) = found.persist.iter().find(|path| found.ephemeral.contains(path)) {
        let span = origin.unwrap_or(fields.span());
        let message = format!("`{path}` is both in `persist` and in `ephemeral`");
        fields.out().push(Diagnostic::error("contradiction", span, message));
    }
    if let Some(origin) = origin {
        into.at(stage.clone(), origin, Action::Persistence(found));
    }
}

/// `sysctl` and `modules`: files that systemd reads at each boot.
fn settings(fields: &mut Fields<'_, '_>, into: &mut Lowering) {
    if let Some((key, node)) = fields.take_with_key("sysctl")
        && let Some(settings) = Named::<Word>::read(node, "sysctl", fields.out())
    {
        let mut text = String::new();
        for (name, value) in &settings {
            if is_line(&[name, value], node, "sysctl", fields.out()) {
                text.push_str(&format!("{name} = {value}\n"));
            }
        }
        into.file(key.span, format!("/etc/sysctl.d/{SETTINGS}"), Contents::bytes(text), 0o644);
    }
    if let Some((key, node)) = fields.take_with_key("modules")
        && let Some(modules) = Many::<Word>::read(node, "modules", fields.out())
    {
        let (mut load, mut options) = (String::new(), String::new());
        for module in &modules {
            if !is_line(&[module], node, "modules", fields.out()) {
                continue;
            }
            let (name, parameters) = module.split_once(' ').unwrap_or((module, ""));
            load.push_str(&format!("{name}\n"));
            if !parameters.trim().is_empty() {
                options.push_str(&format!("options {name} {}\n", parameters.trim()));
            }
        }
        into.file(
            key.span,
            format!("/etc/modules-load.d/{SETTINGS}"),
            Contents::bytes(load),
            0o644,
        );
        if !options.is_empty() {
            let path = format!("/etc/modprobe.d/{SETTINGS}");
            into.file(key.span, path, Contents::bytes(options), 0o644);
        }
    }
}

/// Whether parts can stand on one line of a file; else a word would become a line of its own there.
pub(super) fn is_line(parts: &[&str], node: &Node, key: &str, out: &mut Diagnostics) -> bool {
    let Some(part) = parts.iter().find(|part| part.is_empty() || part.contains(char::is_control))
    else {
        return true;
    };
    let message = format!("`{key}` has a value that is empty or more than a line: `{part:.40}`");
    out.push(Diagnostic::error("more-than-a-line", node.span, message));
    false
}

fn kernel_arguments(fields: &mut Fields<'_, '_>, into: &mut Lowering) {
    let Some((key, node)) = fields.take_with_key("kernelArguments") else { return };
    let Some(arguments) = KernelArgumentsShape::read(node, "kernelArguments", fields.out()) else {
        return;
    };
    let KernelArguments { should_exist, should_not_exist } = &arguments;
    if let Some(twice) = should_exist.iter().find(|word| should_not_exist.contains(word)) {
        let message = format!("`{twice}` is both in `add` and in `remove`");
        fields.out().push(Diagnostic::error("contradiction", node.span, message));
    }
    into.first_boot(key.span, Action::KernelArguments(arguments));
}

fn commands(fields: &mut Fields<'_, '_>, into: &mut Lowering) {
    for (key, node) in section(fields, "commands") {
        let Some(stage) = operations::stage_of(&key.text) else {
            fields.out().push(operations::unknown_stage(key.span, &key.text));
            continue;
        };
        let Some(list) = node.list() else {
            fields.out().push(crate::fields::wrong_kind(node, "commands", "a list for each stage"));
            continue;
        };
        for node in list {
            if let Some(script) = Holes::read(node, "commands", fields.out()) {
                let command = crate::action::Command { script };
                into.at(stage.clone(), node.span, Action::Command(command));
            }
        }
    }
}

/// A unit that is only started by itself.
pub(super) fn enabled(name: &str) -> Unit {
    Unit { name: name.to_owned(), enabled: Some(true), ..Unit::default() }
}

/// The schema of a whole document.
pub(super) fn schema() -> Tree {
    let constant = |value: &str| Tree::map([("const", Tree::text(value))]);
    let name = object(vec![("name".to_owned(), Word::schema())], Vec::new());
    let commands = Tree::map([
        ("type", Tree::text("object")),
        ("propertyNames", operations::stage_schema()),
        ("additionalProperties", Many::<Holes>::schema()),
    ]);
    let operations = Tree::map([("type", Tree::text("array")), ("items", operations::schema())]);
    let keys = [
        ("apiVersion", constant(API_VERSION), "The version of this form."),
        ("kind", constant(KIND), "What this document is."),
        ("metadata", name, "A name for people."),
        ("users", by_name(schema_named::<UserShape>()), "Users by name."),
        ("groups", by_name(schema_named::<GroupShape>()), "Groups by name."),
        ("files", by_name(schema_named::<FileShape>()), "Files by path."),
        ("directories", by_name(schema_named::<DirectoryShape>()), "Folders by path."),
        ("links", by_name(schema_named::<LinkShape>()), "Links by path."),
        ("units", by_name(schema_named::<UnitShape>()), "systemd units by name."),
        ("sysctl", by_name(Word::schema()), "Kernel parameters, set at each boot."),
        (
            "modules",
            Many::<Word>::schema(),
            "Kernel modules with their parameters, loaded at each boot.",
        ),
        ("persist", Many::<Path>::schema(), "Paths whose changes live on."),
        ("ephemeral", Many::<Path>::schema(), "Paths whose changes are gone with the next boot."),
        (
            "volumes",
            by_name(schema_named::<VolumeShape>()),
            "What is mounted at each boot, by path.",
        ),
        ("disks", by_name(schema_named::<DiskShape>()), "Disks to partition, by device."),
        ("raid", by_name(schema_named::<RaidShape>()), "RAID arrays by name."),
        ("luks", by_name(schema_named::<LuksShape>()), "Encrypted volumes by name."),
        ("filesystems", by_name(schema_named::<FilesystemShape>()), "File systems by device."),
        ("network", network::schema(), "Host name, name servers and links."),
        ("kernelArguments", KernelArgumentsShape::schema(), "Kernel arguments of the next boots."),
        ("kubernetes", kubernetes::schema(), "A node of k3s or rke2."),
        ("commands", commands, "Commands by stage, each given to `sh -c`."),
        (
            "report",
            ReportAddress::schema(),
            "An address that gets one POST when the first boot has ended, well or badly.",
        ),
        ("operations", operations, "The general form, for what the sections cannot say."),
    ];
    let keys = keys.map(|(key, schema, help)| (key.to_owned(), described(schema, help, None)));
    object(keys.into(), vec![Tree::text("apiVersion"), Tree::text("kind")])
}
