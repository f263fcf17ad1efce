//! Units that the layer adds and units of others that it masks.
//!
//! Kiln's units are vendor units (`/usr/lib/systemd`), enabled by vendor links, so an
//! administrator's `/etc` can still override or mask each. What Kiln masks would write to the ESP
//! behind its back: the loader, its random seed and boot counting belong to the revision.
//!
//! The health gate hangs on systemd's own `boot-complete.target`: whatever is `RequiredBy=` it takes
//! part in the judgement, Kiln's unit being one of many. When the target fails or takes too long,
//! the boot has failed.

use super::Editor;
use super::unit::{Does, Key, STAYS, Unit};
use crate::Error;

/// Services of systemd that Kiln's own life cycle replaces.
const MASKED: [&str; 3] = [
    "systemd-bless-boot.service",
    "systemd-boot-random-seed.service",
    "systemd-boot-update.service",
];

/// Host keys are made on the machine: keys in an image are shared by everyone who has the image.
const SSH_HOST_KEYS: Unit = Unit {
    name: "kiln-ssh-host-keys.service",
    description: "Make the SSH host keys of this machine",
    manual: "ssh-keygen(1)",
    conditions: &[("ConditionPathExistsGlob", "!/etc/ssh/ssh_host_*_key")],
    order: &[("Before", "ssh.service sshd.service sshd.socket ssh.socket")],
    does: Does::Run("/usr/bin/ssh-keygen -A", STAYS),
    enabled_in: Some("multi-user.target.wants"),
    ..Unit::EMPTY
};

/// Keeps units away from a tree that was not started by Kiln's first process, such as a container of the
/// same image.
const BOOTED: &[Key] = &[("ConditionPathExists", "/run/kiln/boot")];

/// The life of a boot: judged, blessed, or given up.
///
/// The last of them succeeds whatever it decides: if it crashes or hangs, systemd restarts in its place.
const LIFE_CYCLE: [Unit; 6] = [
    Unit {
        name: "kiln-health.service",
        description: "Run the health checks of this system",
        manual: "kiln-health(1)",
        conditions: BOOTED,
        order: &[("After", "multi-user.target"), ("Before", "boot-complete.target")],
        does: Does::Run("/usr/bin/kiln health run", STAYS),
        enabled_in: Some("boot-complete.target.requires"),
        ..Unit::EMPTY
    },
    Unit {
        name: "kiln-bless.service",
        description: "Keep this system: its boot succeeded",
        manual: "kiln-status(1)",
        conditions: BOOTED,
        order: &[
            ("Requires", "boot-complete.target"),
            ("After", "boot-complete.target multi-user.target"),
        ],
        does: Does::Run("/usr/bin/kiln bless", STAYS),
        enabled_in: Some("multi-user.target.wants"),
        ..Unit::EMPTY
    },
    // Whole roots are copied: at the lowest priority, and never before the boot has proved itself. Being
    // stopped by a shutdown is no failure; the next boot begins again.
    Unit {
        name: "kiln-settle.service",
        description: "Do what can wait until this system proved itself",
        manual: "kiln-recovery(1)",
        conditions: &[
            ("ConditionPathExists", "/run/kiln/boot"),
            ("ConditionPathExists", "/run/kiln/blessed"),
        ],
        order: &[("After", "kiln-bless.service multi-user.target")],
        does: Does::Run(
            "/usr/bin/kiln settle",
            &[
                ("IOSchedulingClass", "idle"),
                ("Nice", "19"),
                ("TimeoutStartSec", "infinity"),
                ("SuccessExitStatus", "SIGTERM"),
            ],
        ),
        enabled_in: Some("multi-user.target.wants"),
        ..Unit::EMPTY
    },
    // Programs replace these files by renaming, so they are watched and copied (kiln_etc::identity).
    Unit {
        name: "kiln-identity.path",
        description: "Watch machine-id, host name and host keys",
        manual: "kiln-diff(1)",
        conditions: BOOTED,
        does: Does::Watch(&[
            ("PathChanged", "/etc/machine-id"),
            ("PathChanged", "/etc/hostname"),
            ("PathChanged", "/etc/ssh"),
        ]),
        enabled_in: Some("paths.target.wants"),
        ..Unit::EMPTY
    },
    Unit {
        name: "kiln-identity.service",
        description: "Keep machine-id, host name and host keys through all releases",
        manual: "kiln-diff(1)",
        conditions: BOOTED,
        // Making host keys changes several files within a second.
        order: &[("StartLimitIntervalSec", "0")],
        does: Does::Run("/usr/bin/kiln keep-identity", &[]),
        ..Unit::EMPTY
    },
    Unit {
        name: "kiln-boot-failed.service",
        description: "Give up this boot and go back to the system before",
        manual: "kiln-status(1)",
        is_early: true,
        conditions: BOOTED,
        order: &[("FailureAction", "reboot-force")],
        does: Does::Run("/usr/bin/kiln boot-failed --stage health", &[("TimeoutStartSec", "8min")]),
        ..Unit::EMPTY
    },
];

/// For the units of emergency and rescue mode. The time is that of an orderly restart and a forced one.
const GIVE_UP: &str = "\
[Service]
ExecStartPre=-/usr/bin/kiln boot-failed --stage emergency
TimeoutStartSec=8min
";

/// Additions to units and settings of systemd: path below `/usr/lib/systemd`, and text.
const DROP_INS: [(&str, &str); 4] = [
    // The time begins when the boot queues the target, so a unit in front of it that never ends
    // fails the boot as well.
    (
        "system/boot-complete.target.d/kiln.conf",
        "[Unit]\nOnFailure=kiln-boot-failed.service\nJobTimeoutSec=10min\n",
    ),
    // Reboots only while the boot is counted: a person who asks for these modes on a system that
    // proved itself gets them.
    ("system/emergency.service.d/kiln.conf", GIVE_UP),
    ("system/rescue.service.d/kiln.conf", GIVE_UP),
    // systemd takes over what the first process armed.
    (
        "system.conf.d/kiln-watchdog.conf",
        "[Manager]\nRuntimeWatchdogSec=30s\nRebootWatchdogSec=2min\n",
    ),
];

/// Adds Kiln's units and masks.
pub(super) fn add_units(editor: &mut Editor<'_>) -> Result<(), Error> {
    for unit in MASKED {
        editor.symlink(format!("etc/systemd/system/{unit}").as_bytes(), b"/dev/null")?;
    }
    if editor.exists(b"usr/bin/ssh-keygen") {
        SSH_HOST_KEYS.add(editor)?;
    }
    for unit in &LIFE_CYCLE {
        unit.add(editor)?;
    }
    for (path, text) in DROP_INS {
        editor.file(format!("usr/lib/systemd/{path}").as_bytes(), 0o644, text.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use kiln_tree::{Kind, MemoryStore, Tree};

    use crate::layer::stages::STAGES;
    use crate::layer::unit::UNITS;

    use super::{DROP_INS, Editor, LIFE_CYCLE, SSH_HOST_KEYS, Unit, add_units};

    /// The units of an image with ssh, as path and text, links followed.
    fn layer() -> Vec<(String, String)> {
        let (mut tree, mut store) = (Tree::new(), MemoryStore::default());
        let mut editor = Editor::new(&mut tree, &mut store);
        editor.file(b"usr/bin/ssh-keygen", 0o755, b"x").unwrap();
        add_units(&mut editor).unwrap();
        let mut found = Vec::new();
        let enabled =
            ["boot-complete.target.requires", "multi-user.target.wants", "paths.target.wants"];
        for folder in ["".to_owned()].into_iter().chain(enabled.map(|name| format!("/{name}"))) {
            let folder = format!("{UNITS}{folder}");
            for name in editor.names(folder.as_bytes()) {
                let path = format!("{folder}/{}", String::from_utf8(name).unwrap());
                if let Some((text, metadata)) = editor.read(path.as_bytes()).unwrap() {
                    assert_eq!(metadata.mode, 0o644, "{path}");
                    found.push((path, String::from_utf8(text).unwrap()));
                }
            }
        }
        found
    }

    #[test]
    fn the_gate_is_wired() {
        let layer = layer();
        let text = |path: &str| {
            let found = layer.iter().find(|(found, _)| found == &format!("{UNITS}/{path}"));
            found.map(|(_, text)| text.as_str())
        };
        // Read through the links that enable them.
        for (link, part) in [
            ("boot-complete.target.requires/kiln-health.service", "ExecStart=/usr/bin/kiln health"),
            ("multi-user.target.wants/kiln-bless.service", "Requires=boot-complete.target"),
            ("multi-user.target.wants/kiln-settle.service", "ExecStart=/usr/bin/kiln settle"),
            ("multi-user.target.wants/kiln-ssh-host-keys.service", "ssh-keygen -A"),
            ("paths.target.wants/kiln-identity.path", "PathChanged=/etc/hostname"),
            ("kiln-identity.service", "ExecStart=/usr/bin/kiln keep-identity"),
            ("kiln-boot-failed.service", "boot-failed --stage health"),
        ] {
            assert!(text(link).is_some_and(|text| text.contains(part)), "{link}: {layer:#?}");
        }
        let named = |Unit { name, .. }: &Unit| DROP_INS[0].1.contains(&format!("OnFailure={name}"));
        assert!(LIFE_CYCLE.iter().any(named), "the failure unit is one of ours");
    }

    /// systemd itself is the judge of syntax and of what it would ignore.
    #[test]
    fn systemd_finds_nothing_to_complain_about() {
        let folder = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for unit in LIFE_CYCLE.iter().chain(&STAGES).chain([&SSH_HOST_KEYS]) {
            let path = folder.path().join(unit.name);
            // The programs need not be on this machine.
            let text = unit.text().replace("/usr/bin/ssh-keygen", "/bin/true");
            fs::write(&path, text.replace("/usr/bin/kiln", "/bin/true")).unwrap();
            paths.push(path);
        }
        for (at, text) in DROP_INS {
            let Some(at) = at.strip_prefix("system/") else { continue };
            let path = folder.path().join(at);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.replace("/usr/bin/kiln", "/bin/true")).unwrap();
        }
        let target = "[Unit]\nDescription=x\nRequires=kiln-health.service\n";
        fs::write(folder.path().join("boot-complete.target"), target).unwrap();
        paths.push(folder.path().join("boot-complete.target"));
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no"]).args(&paths);
        verify.env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display()));
        match verify.output() {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                let ours =
                    said.lines().any(|line| line.contains("kiln") || line.contains("boot-c"));
                assert!(output.status.success() && !ours, "{said}");
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
        }
    }

    #[test]
    fn masks_are_links_to_nothing() {
        let (mut tree, mut store) = (Tree::new(), MemoryStore::default());
        add_units(&mut Editor::new(&mut tree, &mut store)).unwrap();
        for name in super::MASKED {
            let path = format!("etc/systemd/system/{name}");
            let folder = tree.resolve(b"etc/systemd/system").unwrap();
            let Kind::Directory(children) = &tree.node(folder).kind else { panic!("{path}") };
            let link = &tree.node(children[name.as_bytes()]).kind;
            assert!(matches!(link, Kind::Symlink(target) if target == b"/dev/null"), "{path}");
        }
    }
}
