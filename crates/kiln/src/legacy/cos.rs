//! `cos-deploy`, `cos-upgrade`, `cos-reset`, `cos-installer`, `cos-setup`: the scripts of cOS.
//!
//! They take their image as a word: `--docker-image` says only that it is an image and no package of a
//! channel. Later generations gave it a value; both are understood, and so is `-d`.

use super::elemental::{
    self, CHECKS, GLOBAL, LEFT, POWER, checks, install_to, power, reset, run_stage, strict, taken,
    upgrade_to,
};
use super::flags::{Flag, Parsed, either, option, switch};
use super::settings::{self, Settings};
use super::translation::{Guard, Power, Translation};
use super::{HIDDEN, LegacyError, Verb, image};

/// Where the image comes from. `-d` has a value, and the long name has one or none.
const SOURCE: &[Flag] =
    &[either("docker-image"), option("system").short('d'), either("directory"), switch("force")];
const UPGRADE: &[Flag] = &[switch("recovery"), option("recovery-system.uri")];
const RESET: &[Flag] =
    &[switch("reset-persistent"), switch("reset-oem"), switch("no-verify"), switch("no-cosign")];
const INSTALLER: &[Flag] = &[
    option("config"),
    option("cloud-init").short('c'),
    option("iso").refused("an ISO is no source; `kiln install --source IMAGE` takes images"),
    switch("no-format").refused("`kiln install --keep PARTITION` says which partitions stay"),
    switch("force-efi").ignored("disks are always made for UEFI"),
    switch("force-gpt").ignored("disks always have a GPT"),
    switch("force"),
];

/// The programs.
pub(super) const PROGRAMS: [Verb; 5] = [
    Verb {
        name: "cos-deploy",
        usage: "[IMAGE]",
        becomes: "kiln recovery install --yes, or kiln upgrade IMAGE; only where no system is yet, or \
                  with --force",
        flags: &[SOURCE, CHECKS, POWER, LEFT, GLOBAL, HIDDEN],
        translate: deploy,
    },
    Verb {
        name: "cos-upgrade",
        usage: "[IMAGE]",
        becomes: "kiln upgrade [IMAGE] [--recovery]",
        flags: &[UPGRADE, SOURCE, CHECKS, POWER, LEFT, GLOBAL, HIDDEN],
        translate: upgrade,
    },
    Verb {
        name: "cos-reset",
        usage: "",
        becomes: "kiln reset --yes, which keeps all but /etc without --reset-persistent",
        flags: &[RESET, POWER, LEFT, GLOBAL, HIDDEN],
        translate: reset,
    },
    Verb {
        name: "cos-installer",
        usage: "[DEVICE]",
        becomes: "kiln install --target DEVICE --yes; nothing where DEVICE is what the machine runs from",
        flags: &[INSTALLER, CHECKS, POWER, LEFT, GLOBAL, HIDDEN],
        translate: install,
    },
    Verb {
        name: "cos-setup",
        usage: "STAGE",
        becomes: "kiln stage STAGE",
        flags: &[&[switch("strict")], GLOBAL, HIDDEN],
        translate: |parsed, _| run_stage("cos-setup", parsed),
    },
];

fn install(parsed: &Parsed, settings: &Settings) -> Result<Translation, LegacyError> {
    // The script asks nobody and restarts where the disk was not typed.
    let alone = parsed.words.is_empty().then_some(Power::Restart);
    let mut call = install_to("cos-installer", parsed, settings, alone)?;
    if alone.is_some() {
        call.note("without a DEVICE the machine restarts afterwards");
    }
    Ok(call)
}

fn upgrade(parsed: &Parsed, settings: &Settings) -> Result<Translation, LegacyError> {
    let (named, passed) = named(parsed, settings, "cos-upgrade")?;
    let mut call = upgrade_to(parsed, settings, parsed.is_on("recovery"), named)?;
    call.notes.extend(passed);
    Ok(call)
}

fn deploy(parsed: &Parsed, settings: &Settings) -> Result<Translation, LegacyError> {
    let mut call = Translation::of(&["recovery", "install", "--yes"], parsed);
    let (mut named, passed) = named(parsed, settings, "cos-deploy")?;
    if named.is_none() {
        named = taken(&mut call, settings, settings::UPGRADE_IMAGE, "the image")
            .map(|image| image::source(&image))
            .transpose()?;
    }
    let checks = checks(parsed)?;
    if let Some(named) = named {
        let notes = std::mem::take(&mut call.notes);
        call = Translation { notes, ..Translation::of(&["upgrade"], parsed) };
        call.add(named);
        call.arguments.extend(checks);
    }
    call.notes.extend(passed);
    let power = power(parsed, settings, &mut call.notes)?;
    call.end_with(power, &[Power::Restart]);
    strict(parsed, &mut call);
    call.guard = Some(Guard::Deploy { force: parsed.is_on("force") });
    Ok(call)
}

/// The image of a call, or the package of the configuration where the call says that it is an image;
/// otherwise why that is passed over.
fn named(
    parsed: &Parsed,
    settings: &Settings,
    program: &str,
) -> Result<(Option<String>, Option<String>), LegacyError> {
    let named = elemental::image(parsed, parsed.word(program)?)?;
    let Some(package) = settings.get(settings::PACKAGE).filter(|_| named.is_none()) else {
        return Ok((named, None));
    };
    if parsed.is_on("docker-image") {
        return Ok((Some(image::source(&package.value)?), None));
    }
    let (package, place) = (&package.value, &package.place);
    Ok((None, Some(format!("{package} is a package of a channel and passed over: {place}"))))
}
