//! `elemental`: the verbs of Elemental's toolkit and of its command line before that.
//!
//! Flags of all generations are known at once: what one generation dropped still stands in documents.
//! What each becomes is decided here and nowhere else; `cos-*` call the same functions.

use std::ffi::{OsStr, OsString};

use kiln_config::suggest::nearest;

use super::flags::{Flag, ON, Parsed, option, parse, switch};
use super::image;
use super::settings::{self, Settings};
use super::translation::{Guard, Meaning, Power, Translation};
use super::{HIDDEN, LegacyError, Verb};

/// Where keys and rules about signatures belong.
const SIGNED: &str = "which signatures count is written in the policy of the system, for all calls: \
                      see docs/signing.md";

/// Flags before or behind every verb.
pub(super) const GLOBAL: &[Flag] = &[
    switch("debug"),
    switch("quiet"),
    option("config-dir"),
    option("logfile").ignored("messages go to standard error, which units keep in the journal"),
];
/// Where the image comes from.
const SOURCE: &[Flag] = &[
    option("system"),
    option("system.uri"),
    option("docker-image").short('d'),
    option("directory"),
];
/// Who vouches for it.
pub(super) const CHECKS: &[Flag] = &[
    switch("no-verify"),
    switch("no-cosign"),
    switch("verify").ignored("what was written is always proved"),
    switch("tls-verify"),
    switch("cosign").refused(SIGNED),
    option("cosign-key").refused(SIGNED),
    switch("local").refused("the store of another program is not read; give docker-archive:FILE"),
];
/// What comes after.
pub(super) const POWER: &[Flag] = &[switch("reboot"), switch("poweroff")];
/// What belongs to a system with GRUB, snapshots and squashfs.
pub(super) const LEFT: &[Flag] = &[
    option("tty").ignored("consoles are kernel arguments: `kiln kargs --append console=…`"),
    option("squash-compression").short('x').ignored("images are EROFS"),
    switch("squash-no-compression").ignored("images are EROFS"),
    option("snapshotter.type").ignored("there are two slots"),
    option("snapshot-labels").ignored("`kiln history` tells what each slot holds and held"),
    switch("disable-boot-entry").ignored("no entry is written into the firmware"),
    switch("strict"),
];

const INSTALL: &[Flag] = &[
    option("cloud-init").short('c'),
    option("platform"),
    option("arch"),
    switch("force"),
    option("iso").short('i').refused("an ISO is no source; give the container image with --system"),
    switch("no-format").refused("`kiln install --keep PARTITION` says which partitions stay"),
    option("firmware"),
    option("part-table"),
    switch("eject-cd").ignored("take the medium out before the restart"),
    option("recovery-system.uri").ignored(
        "recovery is filled by the first release that proves itself; `kiln upgrade --recovery REF` \
         takes another one",
    ),
];
const UPGRADE: &[Flag] = &[
    switch("recovery"),
    option("recovery-system.uri"),
    switch("force"),
    switch("bootloader").ignored("loaders are replaced once a release has proved itself"),
];
const RESET: &[Flag] = &[
    switch("reset-persistent"),
    switch("reset-oem"),
    option("cloud-init").short('c').refused("copy the files to /oem, which a reset keeps"),
    switch("no-verify"),
    switch("no-cosign"),
    option("system").refused("`elemental upgrade --system IMAGE` first, then `elemental reset`"),
    option("docker-image")
        .short('d')
        .refused("`elemental upgrade -d IMAGE`, then `elemental reset`"),
    option("directory").refused("`elemental upgrade --directory DIR`, then `elemental reset`"),
];
const RUN_STAGE: &[Flag] = &[
    switch("strict"),
    option("cloud-init-paths").refused("`kiln stage STAGE FILE…` takes documents of any folder"),
];
pub(super) const CLOUD_INIT: &[Flag] = &[
    option("stage").short('s'),
    switch("dotnotation")
        .short('d')
        .refused("write it as YAML, or on the kernel command line, where dots are understood"),
];

/// The verbs that are carried out.
pub(super) const VERBS: [Verb; 8] = [
    Verb {
        name: "install",
        usage: "[DEVICE]",
        becomes: "kiln install --target DEVICE --yes; nothing where DEVICE is what the machine runs from",
        flags: &[INSTALL, SOURCE, CHECKS, POWER, LEFT, GLOBAL, HIDDEN],
        translate: install,
    },
    Verb {
        name: "upgrade",
        usage: "",
        becomes: "kiln upgrade [IMAGE] [--recovery]",
        flags: &[UPGRADE, SOURCE, CHECKS, POWER, LEFT, GLOBAL, HIDDEN],
        translate: upgrade,
    },
    Verb {
        name: "upgrade-recovery",
        usage: "",
        becomes: "kiln upgrade [IMAGE] --recovery",
        flags: &[&[option("recovery-system.uri")], CHECKS, POWER, LEFT, GLOBAL, HIDDEN],
        translate: |parsed, settings| upgrade_to(parsed, settings, true, None),
    },
    Verb {
        name: "reset",
        usage: "",
        becomes: "kiln reset --yes, which keeps all but /etc without --reset-persistent; with \
                  --reset-oem as well it keeps nothing",
        flags: &[RESET, POWER, LEFT, GLOBAL, HIDDEN],
        translate: reset,
    },
    Verb {
        name: "run-stage",
        usage: "STAGE",
        becomes: "kiln stage STAGE",
        flags: &[RUN_STAGE, GLOBAL, HIDDEN],
        translate: |parsed, _| run_stage("elemental run-stage", parsed),
    },
    Verb {
        name: "cloud-init",
        usage: "SOURCE…",
        becomes: "kiln stage STAGE SOURCE…; a source is a file, a folder, an address, its text or -",
        flags: &[CLOUD_INIT, GLOBAL, HIDDEN],
        translate: |parsed, _| documents("elemental cloud-init", parsed, &[]),
    },
    Verb {
        name: "state",
        usage: "",
        becomes: "kiln status --json",
        flags: &[GLOBAL, HIDDEN],
        translate: |parsed, _| Ok(Translation::of(&["status", "--json"], parsed)),
    },
    Verb {
        name: "version",
        usage: "",
        becomes: "kiln --version",
        flags: &[&[switch("long").ignored("there is one form")], GLOBAL],
        translate: |parsed, _| Ok(Translation::of(&["--version"], parsed)),
    },
];

/// Verbs of a builder or of the first process, and who does it here.
const ELSEWHERE: [(&str, &str); 7] = [
    ("build-iso", "`kiln build IMAGE` makes disks that install themselves or run as they are"),
    ("build-disk", "`kiln build IMAGE --format raw,qcow2` makes disks"),
    ("init", "leave the line out of the Containerfile: `kiln build` adds what a system needs"),
    ("mount", "leave it out: everything is mounted before the first service starts"),
    ("pull-image", "`kiln build`, `kiln install` and `kiln upgrade` read registries themselves"),
    ("convert-disk", "`kiln build IMAGE --format` makes each kind of disk"),
    ("new", "write a Containerfile; `kiln lint` says what it lacks"),
];

/// What a call of `elemental` means.
pub(super) fn arguments(words: &[OsString], settings: &Settings) -> Result<Meaning, LegacyError> {
    // Flags of all verbs may stand before the verb.
    let mut at = 0;
    while let Some(word) = words.get(at).and_then(|word| word.to_str())
        && word.starts_with('-')
    {
        at += if matches!(word, "--config-dir" | "--logfile" | "--machine") { 2 } else { 1 };
    }
    let Some(name) = words.get(at).map(|word| word.to_string_lossy().into_owned()) else {
        parse("elemental", words, &[GLOBAL, HIDDEN])?;
        return Ok(Meaning::Help(help()));
    };
    if name == "help" {
        return Ok(Meaning::Help(help()));
    }
    if let Some((_, hint)) = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == name) {
        let what = format!("`elemental {name}`");
        return Err(LegacyError::Refused { what, hint: (*hint).to_owned() });
    }
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else {
        let verbs = VERBS.iter().map(|verb| verb.name);
        let known = nearest(&name, verbs.chain(ELSEWHERE.iter().map(|(name, _)| *name)));
        return Err(LegacyError::UnknownVerb { verb: name, known });
    };
    let rest: Vec<OsString> =
        words.iter().take(at).chain(words.iter().skip(at + 1)).cloned().collect();
    verb.call("elemental", &rest, settings)
}

/// The page of `elemental --help`.
fn help() -> String {
    let mut text = "Elemental's verbs, carried out by Kiln\n\n".to_owned();
    for verb in &VERBS {
        text.push_str(&format!(
            "  elemental {} {}\n      {}\n",
            verb.name, verb.usage, verb.becomes
        ));
    }
    text.push_str("\nElsewhere:\n");
    for (name, hint) in ELSEWHERE {
        text.push_str(&format!("  {name:<14}{hint}\n"));
    }
    text.push_str("\nEach verb has --help. See docs/from-elemental.md.\n");
    text
}

fn install(parsed: &Parsed, settings: &Settings) -> Result<Translation, LegacyError> {
    install_to("elemental install", parsed, settings, None)
}

/// An installation; `cos-installer` calls it, too. `default` is what comes after, where nothing says so.
pub(super) fn install_to(
    program: &str,
    parsed: &Parsed,
    settings: &Settings,
    default: Option<Power>,
) -> Result<Translation, LegacyError> {
    let mut call = Translation::of(&["install"], parsed);
    let target = match parsed.word(program)? {
        Some(word) => word.to_owned(),
        None => taken(&mut call, settings, settings::TARGET, "the disk")
            .map(OsString::from)
            .ok_or(LegacyError::Missing {
                program: program.to_owned(),
                what: "the disk, such as /dev/sda",
            })?,
    };
    for (flag, only) in [("firmware", "efi"), ("part-table", "gpt")] {
        if let Some(value) = parsed.value(flag).filter(|value| *value != only) {
            return Err(LegacyError::Refused {
                what: format!("`--{flag} {}`", value.display()),
                hint: format!("leave it out: Kiln writes {only} and nothing else"),
            });
        }
    }
    call.option("--target", &target);
    call.add("--yes");
    let image = match image(parsed, None)? {
        Some(image) => Some(image),
        None => taken(&mut call, settings, settings::INSTALL_IMAGE, "the image")
            .map(|image| image::source(&image))
            .transpose()?,
    };
    let checks = checks(parsed)?;
    if let Some(image) = &image {
        call.option("--source", image);
    }
    call.arguments.extend(checks.clone());
    for name in ["cloud-init", "config"] {
        for files in parsed.values(name) {
            // A comma is no part of a name there either.
            for file in files.to_string_lossy().split(',').filter(|file| !file.is_empty()) {
                call.add("--config");
                call.document(file);
            }
        }
    }
    if call.documents.is_empty()
        && let Some(file) = taken(&mut call, settings, settings::CLOUD_INIT, "the configuration")
    {
        call.add("--config");
        call.document(file);
    }
    if let Some(platform) = parsed.value("platform") {
        call.option("--platform", platform);
    } else if let Some(architecture) = parsed.value("arch") {
        call.option("--platform", format!("linux/{}", oci_architecture(architecture)));
    }
    let power = power(parsed, settings, &mut call.notes)?.or(default);
    call.end_with(power, &[Power::Restart, Power::Off]);
    let force = parsed.is_on("force");
    let verb: &[&str] =
        if image.is_some() { &["upgrade"] } else { &["recovery", "install", "--yes"] };
    let mut instead = Translation::of(verb, parsed);
    if let Some(image) = image {
        instead.add(image);
        instead.arguments.extend(checks);
        if force {
            instead.add("--force");
        }
    }
    instead.end_with(power, &[Power::Restart]);
    strict(parsed, &mut call);
    strict(parsed, &mut instead);
    call.guard = Some(Guard::Install { target, force, instead: Box::new(instead) });
    Ok(call)
}

fn upgrade(parsed: &Parsed, settings: &Settings) -> Result<Translation, LegacyError> {
    none("elemental upgrade", parsed)?;
    upgrade_to(parsed, settings, parsed.is_on("recovery"), image(parsed, None)?)
}

/// An upgrade of a slot or of recovery, to the image of the call or else of the settings.
pub(super) fn upgrade_to(
    parsed: &Parsed,
    settings: &Settings,
    recovery: bool,
    image: Option<String>,
) -> Result<Translation, LegacyError> {
    let mut call = Translation::of(&["upgrade"], parsed);
    let recovery = recovery || {
        let wanted = settings.is_on(settings::UPGRADE_RECOVERY);
        if let Some(wanted) = wanted {
            call.note(format!("recovery is upgraded: {}", wanted.place));
        }
        wanted.is_some()
    };
    let own = recovery.then(|| parsed.value("recovery-system.uri")).flatten();
    let named = match own {
        Some(own) => Some(image::source(&own.to_string_lossy())?),
        None => image,
    };
    let named = match named {
        Some(named) => Some(named),
        None => {
            let own = if recovery {
                taken(&mut call, settings, settings::RECOVERY_IMAGE, "the image")
            } else {
                None
            };
            own.or_else(|| taken(&mut call, settings, settings::UPGRADE_IMAGE, "the image"))
                .map(|image| image::source(&image))
                .transpose()?
        }
    };
    if let Some(named) = named {
        call.add(named);
    }
    if recovery {
        call.add("--recovery");
    }
    call.arguments.extend(checks(parsed)?);
    if parsed.is_on("force") {
        call.add("--force");
    }
    let power = power(parsed, settings, &mut call.notes)?;
    // Kiln restarts only where there is something to start, and never for recovery.
    call.end_with(power, if recovery { &[] } else { &[Power::Restart] });
    strict(parsed, &mut call);
    Ok(call)
}

/// Folders that a reset leaves alone which is not told to clear what persists: there, `/etc` was never
/// kept unless somebody asked for it, and everything else lay on a partition of its own.
const PERSISTENT: [&str; 6] = ["/var", "/home", "/root", "/srv", "/opt", "/usr/local"];

pub(super) fn reset(parsed: &Parsed, settings: &Settings) -> Result<Translation, LegacyError> {
    none("elemental reset", parsed)?;
    let mut call = Translation::of(&["reset", "--yes"], parsed);
    let mut is_on = |flag: &str, key: &str, what: &str| {
        parsed.is_on(flag)
            || settings.is_on(key).is_some_and(|found| {
                call.notes.push(format!("{what}: {}", found.place));
                true
            })
    };
    let persistent =
        is_on("reset-persistent", settings::RESET_PERSISTENT, "what persists is cleared");
    let oem = is_on("reset-oem", settings::RESET_OEM, "/oem is cleared");
    match (persistent, oem) {
        (true, true) => call.add("--wipe-state"),
        (true, false) => {}
        (false, false) => {
            for path in PERSISTENT {
                call.option("--keep", path);
            }
        }
        (false, true) => {
            return Err(LegacyError::Refused {
                what: "clearing /oem alone".to_owned(),
                hint: "delete its files, or clear everything: `--reset-persistent --reset-oem`"
                    .to_owned(),
            });
        }
    }
    let power = power(parsed, settings, &mut call.notes)?;
    call.end_with(power, &[Power::Restart]);
    strict(parsed, &mut call);
    Ok(call)
}

pub(super) fn run_stage(program: &str, parsed: &Parsed) -> Result<Translation, LegacyError> {
    let mut call = Translation::of(&["stage"], parsed);
    let stage = parsed.word(program)?.ok_or(LegacyError::Missing {
        program: program.to_owned(),
        what: "the stage, such as network",
    })?;
    strict(parsed, &mut call);
    call.add(stage);
    Ok(call)
}

/// A stage of documents that the call names.
pub(super) fn documents(
    program: &str,
    parsed: &Parsed,
    more: &[&str],
) -> Result<Translation, LegacyError> {
    let mut call = Translation::of(&["stage"], parsed);
    if parsed.words.is_empty() {
        let what = "a document: a file, a folder, an address or `-`";
        return Err(LegacyError::Missing { program: program.to_owned(), what });
    }
    for word in more {
        call.add(word);
    }
    call.add(parsed.value("stage").unwrap_or(OsStr::new("default")));
    for document in &parsed.words {
        call.document(document);
    }
    Ok(call)
}

/// The image that a call names, by flags or by a word. A flag that has a value in one generation and
/// none in the other leaves the word to be the image.
pub(super) fn image(parsed: &Parsed, word: Option<&OsStr>) -> Result<Option<String>, LegacyError> {
    let mut named: Vec<String> = Vec::new();
    let of = |name: &str, value: &OsStr| {
        let scheme = if name == "directory" { "dir:" } else { "" };
        format!("{scheme}{}", value.display())
    };
    let mut word_is = "system";
    for name in ["system", "system.uri", "docker-image", "directory"] {
        match parsed.value(name) {
            Some(value) if value == ON => word_is = name,
            Some(value) => named.push(of(name, value)),
            None => {}
        }
    }
    named.extend(word.map(|word| of(word_is, word)));
    match named.as_slice() {
        [] => Ok(None),
        [one] => image::source(one).map(Some),
        [first, second, ..] => {
            Err(LegacyError::Conflict { first: first.clone(), second: second.clone() })
        }
    }
}

/// What Kiln is told about signatures and transport.
pub(super) fn checks(parsed: &Parsed) -> Result<Vec<OsString>, LegacyError> {
    if parsed.value("tls-verify").is_some() && !parsed.is_on("tls-verify") {
        return Err(LegacyError::Refused {
            what: "`--tls-verify=false`".to_owned(),
            hint: "put the registry's authority into /etc/containers/certs.d, or name it in \
                   `kiln … --plain-http HOST`"
                .to_owned(),
        });
    }
    let skip = parsed.is_on("no-verify") || parsed.is_on("no-cosign");
    Ok(if skip { vec!["--no-verify".into()] } else { Vec::new() })
}

/// What comes after, by flags or else by settings.
pub(super) fn power(
    parsed: &Parsed,
    settings: &Settings,
    notes: &mut Vec<String>,
) -> Result<Option<Power>, LegacyError> {
    let wanted = match (parsed.is_on("reboot"), parsed.is_on("poweroff")) {
        (true, true) => {
            let (first, second) = ("--reboot".to_owned(), "--poweroff".to_owned());
            return Err(LegacyError::Conflict { first, second });
        }
        (true, false) => Some(Power::Restart),
        (false, true) => Some(Power::Off),
        (false, false) => None,
    };
    // `--reboot=false` is a word as well.
    if wanted.is_some() || parsed.value("reboot").is_some() || parsed.value("poweroff").is_some() {
        return Ok(wanted);
    }
    for (key, power, what) in [
        (settings::REBOOT, Power::Restart, "the machine restarts afterwards"),
        (settings::POWER_OFF, Power::Off, "the machine is switched off afterwards"),
    ] {
        if let Some(found) = settings.is_on(key) {
            notes.push(format!("{what}: {}", found.place));
            return Ok(Some(power));
        }
    }
    Ok(None)
}

/// A value of the settings, with a note that says from where.
pub(super) fn taken(
    call: &mut Translation,
    settings: &Settings,
    key: &str,
    what: &str,
) -> Option<String> {
    let found = settings.get(key)?;
    call.note(format!("{what} is {}: {}", found.value, found.place));
    Some(found.value.clone())
}

/// No words at all, for verbs that take none.
fn none(program: &str, parsed: &Parsed) -> Result<(), LegacyError> {
    match parsed.words.first() {
        None => Ok(()),
        Some(word) => Err(LegacyError::TooMany {
            program: program.to_owned(),
            word: word.to_string_lossy().into_owned(),
        }),
    }
}

/// `uname -m` in OCI's words.
fn oci_architecture(name: &OsStr) -> String {
    match name.to_string_lossy().as_ref() {
        "x86_64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        other => other.to_owned(),
    }
}

/// Whether a hook that fails is a failure of the call.
pub(super) fn strict(parsed: &Parsed, call: &mut Translation) {
    if parsed.is_on("strict") {
        call.add("--strict");
    }
}
