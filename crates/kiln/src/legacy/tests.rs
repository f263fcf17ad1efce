//! What calls of other programs become: one row a call.

use std::ffi::OsString;

use super::settings::Settings;
use super::translation::{Guard, Meaning, Power, Translation};
use super::{arguments, program};

/// A line as words.
pub(super) fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

/// What a line becomes, as one line: Kiln's words, documents in `<>`, `!` and what comes after, `?` and
/// what is done where that is not to be done.
fn becomes_with(line: &str, settings: &Settings) -> String {
    let mut all = words(line);
    let name = all.remove(0);
    let program = program(Some(&name)).expect("a program that is known");
    let call = match arguments(program, &all, settings) {
        Ok(Meaning::Help(_)) => return "help".to_owned(),
        Ok(Meaning::Call(call)) => call,
        Err(error) => return format!("error: {error}; {}", error.hint().unwrap_or_default()),
    };
    let mut said = shown(&call);
    match &call.guard {
        Some(Guard::Install { force, instead, .. }) => {
            said.push_str(if *force { " ?force " } else { " ?" });
            said.push_str(&shown(instead));
        }
        Some(Guard::Deploy { force }) => said.push_str(&format!(" ?deploy {force}")),
        None => {}
    }
    said
}

fn shown(call: &Translation) -> String {
    let mut said: Vec<String> = Vec::new();
    for (at, word) in call.arguments.iter().enumerate() {
        let is_document = call.documents.contains(&at);
        let word = word.display();
        said.push(if is_document { format!("<{word}>") } else { word.to_string() });
    }
    match call.power {
        Some(Power::Restart) => said.push("!restart".to_owned()),
        Some(Power::Off) => said.push("!off".to_owned()),
        None => {}
    }
    said.join(" ")
}

fn check(rows: &[(&str, &str)]) {
    for (line, expected) in rows {
        let found = becomes_with(line, &Settings::default());
        match expected.strip_suffix('…') {
            Some(start) => assert!(found.starts_with(start), "{line}\n{found}\n{expected}"),
            None => assert_eq!(&found, expected, "{line}"),
        }
    }
}

const RECOVER: &str = "?recovery install --yes";

#[test]
fn installing() {
    let live = |target: &str| format!("install --target {target} --yes {RECOVER}");
    let from = |more: &str| {
        format!(
            "install --target /dev/sda --yes --source docker://a.example/b:1{more} \
             ?upgrade docker://a.example/b:1{more}"
        )
    };
    check(&[
        ("elemental install /dev/sda", &live("/dev/sda")),
        ("/usr/bin/elemental install /dev/disk/by-id/x", &live("/dev/disk/by-id/x")),
        (
            "elemental --debug install /dev/sda",
            &format!("-v {}", live("/dev/sda")).replace("?", "?-v "),
        ),
        (
            "elemental install --quiet /dev/sda",
            &format!("-q {}", live("/dev/sda")).replace("?", "?-q "),
        ),
        ("elemental --config-dir /x install /dev/sda", &live("/dev/sda")),
        ("elemental --logfile=/x install /dev/sda", &live("/dev/sda")),
        ("elemental install /dev/sda --system a.example/b:1", &from("")),
        ("elemental install --system.uri=oci:a.example/b:1 /dev/sda", &from("")),
        ("elemental install -d a.example/b:1 /dev/sda", &from("")),
        (
            "elemental install /dev/sda --docker-image a.example/b:1 --no-verify",
            &from(" --no-verify"),
        ),
        ("elemental install /dev/sda -d a.example/b:1 --no-cosign", &from(" --no-verify")),
        (
            "elemental install /dev/sda --directory /mnt",
            "install --target /dev/sda --yes --source dir:/mnt ?upgrade dir:/mnt",
        ),
        (
            "elemental install /dev/sda --reboot",
            "install --target /dev/sda --yes --reboot ?recovery install --yes --reboot",
        ),
        (
            "elemental install /dev/sda --poweroff",
            "install --target /dev/sda --yes --poweroff ?recovery install --yes !off",
        ),
        ("elemental install /dev/sda --reboot=false", &live("/dev/sda")),
        ("elemental install /dev/sda --reboot --poweroff", "error: `--reboot` and `--poweroff`…"),
        (
            "elemental install /dev/sda -c a.yaml,https://a.example/b -c c.yaml",
            "install --target /dev/sda --yes --config <a.yaml> --config <https://a.example/b> \
             --config <c.yaml> ?recovery install --yes",
        ),
        (
            "elemental install /dev/sda --platform linux/arm64",
            "install --target /dev/sda --yes --platform linux/arm64 ?recovery install --yes",
        ),
        (
            "elemental install /dev/sda --arch x86_64",
            "install --target /dev/sda --yes --platform linux/amd64 ?recovery install --yes",
        ),
        (
            "elemental install /dev/sda --force",
            "install --target /dev/sda --yes ?force recovery install --yes",
        ),
        (
            "elemental install /dev/sda --firmware efi --part-table gpt --eject-cd",
            &live("/dev/sda"),
        ),
        (
            "elemental install /dev/sda --firmware bios",
            "error: `--firmware bios` is not taken over…",
        ),
        ("elemental install /dev/sda --squash-no-compression -x xz --tty ttyS0", &live("/dev/sda")),
        ("elemental install /dev/sda --disable-boot-entry --verify", &live("/dev/sda")),
        (
            "elemental install /dev/sda --strict",
            "install --target /dev/sda --yes --strict ?recovery install --yes --strict",
        ),
        ("elemental install /dev/sda --snapshotter.type btrfs", &live("/dev/sda")),
        (
            "elemental install /dev/sda --no-format",
            "error: `--no-format` is not taken over; `kiln install --keep…",
        ),
        (
            "elemental install /dev/sda --iso https://a.example/x.iso",
            "error: `--iso` is not taken over…",
        ),
        (
            "elemental install /dev/sda --cosign --cosign-key k",
            "error: `--cosign` is not taken over; which…",
        ),
        ("elemental install /dev/sda --tls-verify=false", "error: `--tls-verify=false`…"),
        ("elemental install /dev/sda --tls-verify", &live("/dev/sda")),
        ("elemental install /dev/sda --local", "error: `--local`…"),
        ("elemental install /dev/sda -d a --system b", "error: `b` and `a` cannot both hold…"),
        ("elemental install /dev/sda --system channel:system/cos", "error: `channel:system/cos`…"),
        ("elemental install", "error: elemental install: the disk, such as /dev/sda is missing…"),
        (
            "elemental install /dev/sda /dev/sdb",
            "error: elemental install: there is no place for `/dev/sdb`…",
        ),
        (
            "elemental install /dev/sda --cloudinit x",
            "error: elemental install has no flag `--cloudinit`; `--cloud-init` is near…",
        ),
        ("elemental install --help", "help"),
        (
            "elemental install --machine /m /dev/sda",
            "install --machine /m --target /dev/sda --yes ?recovery install --yes --machine /m",
        ),
        ("cos-installer /dev/vda", &live("/dev/vda")),
        (
            "cos-installer --debug --tty ttyS0 --force-efi --force-gpt /dev/vda",
            &format!("-v {}", live("/dev/vda")).replace("?", "?-v "),
        ),
        (
            "cos-installer --poweroff /dev/vda",
            "install --target /dev/vda --yes --poweroff ?recovery install --yes !off",
        ),
        (
            "cos-installer --config https://a.example/c.yaml /dev/vda",
            "install --target /dev/vda --yes --config <https://a.example/c.yaml> ?recovery install --yes",
        ),
        ("cos-installer --no-format /dev/vda2", "error: `--no-format`…"),
        ("cos-installer", "error: cos-installer: the disk…"),
    ]);
}

#[test]
fn upgrading() {
    check(&[
        ("elemental upgrade", "upgrade"),
        ("elemental upgrade --system a.example/b:2", "upgrade docker://a.example/b:2"),
        (
            "elemental upgrade --system oci:a.example/b:2 --reboot",
            "upgrade docker://a.example/b:2 --reboot",
        ),
        (
            "elemental upgrade --no-verify --reboot -d a.example/b",
            "upgrade docker://a.example/b --no-verify --reboot",
        ),
        (
            "elemental upgrade --docker-image a.example/b --poweroff",
            "upgrade docker://a.example/b !off",
        ),
        ("elemental upgrade --directory /mnt/root --force", "upgrade dir:/mnt/root --force"),
        ("elemental upgrade --recovery", "upgrade --recovery"),
        (
            "elemental upgrade --recovery --reboot -d a.example/b",
            "upgrade docker://a.example/b --recovery !restart",
        ),
        (
            "elemental upgrade --recovery --recovery-system.uri a.example/r",
            "upgrade docker://a.example/r --recovery",
        ),
        ("elemental upgrade --bootloader --snapshot-labels a=b", "upgrade"),
        (
            "elemental upgrade-recovery --recovery-system.uri oci:a.example/r",
            "upgrade docker://a.example/r --recovery",
        ),
        ("elemental upgrade-recovery", "upgrade --recovery"),
        (
            "elemental upgrade a.example/b",
            "error: elemental upgrade: there is no place for `a.example/b`…",
        ),
        (
            "elemental upgrade --revocery",
            "error: elemental upgrade has no flag `--revocery`; `--recovery` is near…",
        ),
        ("elemental upgrade -d", "error: elemental upgrade: `--docker-image` needs a value…"),
        ("cos-upgrade", "upgrade"),
        ("cos-upgrade a.example/b:2", "upgrade docker://a.example/b:2"),
        ("cos-upgrade --docker-image a.example/b:2", "upgrade docker://a.example/b:2"),
        ("cos-upgrade --docker-image=a.example/b:2", "upgrade docker://a.example/b:2"),
        (
            "cos-upgrade --docker-image --no-verify a.example/b:2",
            "upgrade docker://a.example/b:2 --no-verify",
        ),
        (
            "cos-upgrade --no-verify --reboot -d a.example/b:2",
            "upgrade docker://a.example/b:2 --no-verify --reboot",
        ),
        ("cos-upgrade --directory /mnt", "upgrade dir:/mnt"),
        (
            "cos-upgrade --recovery --docker-image a.example/b",
            "upgrade docker://a.example/b --recovery",
        ),
        ("cos-upgrade --strict --debug a.example/b", "-v upgrade docker://a.example/b --strict"),
        ("cos-upgrade -d a.example/a a.example/b", "error: `a.example/a` and `a.example/b`…"),
        ("cos-deploy --no-verify --no-cosign", "recovery install --yes ?deploy false"),
        ("cos-deploy", "recovery install --yes ?deploy false"),
        ("cos-deploy --force", "recovery install --yes ?deploy true"),
        (
            "cos-deploy --no-verify --docker-image a.example/b",
            "upgrade docker://a.example/b --no-verify ?deploy false",
        ),
        (
            "cos-deploy --docker-image a.example/b --force --strict",
            "upgrade docker://a.example/b --strict ?deploy true",
        ),
        (
            "cos-deploy -d a.example/b --reboot",
            "upgrade docker://a.example/b --reboot ?deploy false",
        ),
        ("cos-deploy a b", "error: cos-deploy: there is no place for `b`…"),
        ("cos-deploy --help", "help"),
    ]);
}

const KEPT: &str = "reset --yes --keep /var --keep /home --keep /root --keep /srv --keep /opt \
                    --keep /usr/local";

#[test]
fn resetting() {
    check(&[
        ("elemental reset", KEPT),
        ("cos-reset", KEPT),
        ("elemental reset --reset-persistent", "reset --yes"),
        ("elemental reset --reset-persistent --reboot", "reset --yes --reboot"),
        ("elemental reset --reset-persistent --reset-oem", "reset --yes --wipe-state"),
        ("elemental reset --reset-persistent --poweroff", "reset --yes !off"),
        ("elemental reset --reset-oem", "error: clearing /oem alone is not taken over…"),
        ("elemental reset --system a", "error: `--system` is not taken over; `elemental upgrade…"),
        ("elemental reset -d a", "error: `--docker-image` is not taken over…"),
        (
            "elemental reset --cloud-init a",
            "error: `--cloud-init` is not taken over; copy the files…",
        ),
        ("elemental reset now", "error: elemental reset: there is no place for `now`…"),
        ("cos-reset --reset-persistent --disable-boot-entry --tty ttyS0", "reset --yes"),
    ]);
}

#[test]
fn stages_and_the_rest() {
    check(&[
        ("elemental run-stage network", "stage network"),
        ("elemental run-stage --strict boot", "stage --strict boot"),
        ("elemental --debug run-stage boot.after", "-v stage boot.after"),
        (
            "elemental run-stage",
            "error: elemental run-stage: the stage, such as network is missing…",
        ),
        ("elemental run-stage a b", "error: elemental run-stage: there is no place for `b`…"),
        ("elemental run-stage --cloud-init-paths /x a", "error: `--cloud-init-paths`…"),
        ("cos-setup network", "stage network"),
        ("cos-setup after-install-chroot", "stage after-install-chroot"),
        ("cos-setup --strict boot", "stage --strict boot"),
        ("cos-setup", "error: cos-setup: the stage…"),
        ("elemental cloud-init -s network a.yaml", "stage network <a.yaml>"),
        ("elemental cloud-init /oem -", "stage default </oem> <->"),
        (
            "elemental cloud-init --stage=boot https://a.example/x",
            "stage boot <https://a.example/x>",
        ),
        ("elemental cloud-init -d stages.a[0].name=x", "error: `--dotnotation`…"),
        ("elemental cloud-init", "error: elemental cloud-init: a document…"),
        ("yip -s network a.yaml b.yaml", "stage --dialect yip network <a.yaml> <b.yaml>"),
        ("yip -snetwork https://a.example/x", "stage --dialect yip network <https://a.example/x>"),
        ("yip -", "stage --dialect yip default <->"),
        ("yip -e default -s a b", "stage --dialect yip a <b>"),
        ("yip -d x", "error: `--dotnotation`…"),
        ("yip", "error: yip: a document…"),
        ("yip --stag x y", "error: yip has no flag `--stag`; `--stage` is near…"),
        ("yip -h", "help"),
        ("elemental state", "status --json"),
        ("elemental version", "--version"),
        ("elemental version --long", "--version"),
        ("elemental", "help"),
        ("elemental --help", "help"),
        ("elemental help", "help"),
        ("elemental build-iso a", "error: `elemental build-iso` is not taken over; `kiln build…"),
        (
            "elemental build-disk --system a",
            "error: `elemental build-disk` is not taken over; `kiln…",
        ),
        (
            "elemental init --force",
            "error: `elemental init` is not taken over; leave the line out…",
        ),
        ("elemental pull-image a b", "error: `elemental pull-image`…"),
        ("elemental mount", "error: `elemental mount` is not taken over; leave it out…"),
        (
            "elemental upgrdae",
            "error: elemental has no verb `upgrdae`; `upgrade` is near; `elemental --help`…",
        ),
        ("elemental x --wrong", "error: elemental has no verb `x`; …"),
    ]);
}

const CONFIG: &str = "\
install:
  target: /dev/vdb
  system:
    uri: docker:a.example/i:1
upgrade:
  system: oci:a.example/u:1
  recovery-system: {uri: a.example/r:1}
reset: {reset-persistent: true}
reboot: true
";

#[test]
fn settings_are_what_a_call_leaves_open() {
    let yaml = Settings::of(&[("/etc/elemental/config.yaml", CONFIG)]);
    let channel = Settings::of(&[("/etc/cos/config", "UPGRADE_IMAGE=system/cos\n")]);
    let image = "CHANNEL_UPGRADES=false\nUPGRADE_IMAGE=\"a.example/u:2\"\nRECOVERY_IMAGE=a.example/r:2\n\
                 COS_INSTALL_DEVICE=/dev/vda\nPERSISTENCE_RESET=true\n";
    let image = Settings::of(&[("/etc/cos/config", image)]);
    for (line, settings, expected) in [
        (
            "elemental install",
            &yaml,
            "install --target /dev/vdb --yes --source docker://a.example/i:1 --reboot \
             ?upgrade docker://a.example/i:1 --reboot",
        ),
        (
            "elemental install /dev/sda -d a.example/b --reboot=false",
            &yaml,
            "install --target /dev/sda --yes --source docker://a.example/b ?upgrade docker://a.example/b",
        ),
        ("elemental upgrade", &yaml, "upgrade docker://a.example/u:1 --reboot"),
        ("elemental upgrade --poweroff", &yaml, "upgrade docker://a.example/u:1 !off"),
        (
            "elemental upgrade --recovery",
            &yaml,
            "upgrade docker://a.example/r:1 --recovery !restart",
        ),
        ("elemental reset", &yaml, "reset --yes --reboot"),
        ("cos-upgrade", &channel, "upgrade"),
        ("cos-upgrade --docker-image", &channel, "upgrade docker://system/cos"),
        ("cos-upgrade", &image, "upgrade docker://a.example/u:2"),
        ("cos-upgrade --recovery", &image, "upgrade docker://a.example/r:2 --recovery"),
        ("cos-deploy", &channel, "recovery install --yes ?deploy false"),
        (
            "cos-deploy --no-verify",
            &image,
            "upgrade docker://a.example/u:2 --no-verify ?deploy false",
        ),
        (
            "cos-installer",
            &image,
            "install --target /dev/vda --yes --reboot ?recovery install --yes --reboot",
        ),
        ("cos-reset", &image, "reset --yes"),
        ("cos-setup boot", &yaml, "stage boot"),
    ] {
        assert_eq!(becomes_with(line, settings), expected, "{line}");
    }
}

#[test]
fn notes_say_what_has_no_effect_and_where_a_setting_stands() {
    let yaml = Settings::of(&[("/etc/elemental/config.yaml", CONFIG)]);
    let notes = |line: &str, settings: &Settings| {
        let mut all = words(line);
        let name = all.remove(0);
        match arguments(program(Some(&name)).unwrap(), &all, settings).unwrap() {
            Meaning::Call(call) => call.notes.join("\n"),
            Meaning::Help(_) => panic!("{line}"),
        }
    };
    for (line, expected) in [
        ("elemental install --eject-cd", "`--eject-cd` has no effect here: take the medium out"),
        ("elemental install", "the disk is /dev/vdb: /etc/elemental/config.yaml:2"),
        ("elemental install", "the image is docker:a.example/i:1: /etc/elemental/config.yaml:4"),
        ("elemental install", "the machine restarts afterwards: /etc/elemental/config.yaml:9"),
        ("elemental reset", "what persists is cleared: /etc/elemental/config.yaml:8"),
        ("elemental upgrade --bootloader", "`--bootloader` has no effect here: loaders"),
    ] {
        let said = notes(line, &yaml);
        assert!(said.contains(expected), "{line}: {said}");
    }
    assert_eq!(notes("elemental install /dev/sda", &Settings::default()), "");
    let channel = Settings::of(&[("/etc/cos/config", "UPGRADE_IMAGE=system/cos\n")]);
    let said = notes("cos-upgrade", &channel);
    assert_eq!(said, "system/cos is a package of a channel and passed over: /etc/cos/config:1");
}

#[test]
fn other_names_are_kiln() {
    for (name, expected) in [
        ("kiln", None),
        ("/usr/bin/kiln", None),
        ("/usr/bin/cos-deploy", Some("cos-deploy")),
        ("elemental", Some("elemental")),
        ("yip", Some("yip")),
        ("elemental-register", None),
        ("", None),
    ] {
        assert_eq!(program(Some(name.as_ref())), expected, "{name}");
    }
    assert_eq!(program(None), None);
    for name in kiln_build::layer::LEGACY_PROGRAMS {
        assert_eq!(program(Some(name.as_ref())), Some(name), "an image has a link for it");
    }
    assert_eq!(kiln_build::layer::LEGACY_PROGRAMS, kiln_lint::LEGACY_PROGRAMS);
}
