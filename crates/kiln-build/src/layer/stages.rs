//! Units that run the stages of a configuration on the running system.
//!
//! The names are Kiln's; those under which users of Elemental order their own units (`After=
//! cos-setup-network.service`) are links to them, and systemd takes a link for another name of the same
//! unit. A machine without any configuration starts none of them: what they would read is a condition,
//! which costs one look at a folder instead of a program.

use super::Editor;
use super::units::{UNITS, Unit, add};
use crate::Error;

/// Beginnings of the names that other systems gave these units.
const LEGACY: [&str; 2] = ["cos-setup-", "elemental-setup-"];

/// What decides whether there is anything to run: one of these has to hold. The first process leaves
/// `/run/kiln/stages` when the kernel command line brings steps or addresses.
macro_rules! conditions {
    () => {
        "\
ConditionPathExists=/run/kiln/boot
ConditionDirectoryNotEmpty=|/system/oem
ConditionDirectoryNotEmpty=|/oem
ConditionDirectoryNotEmpty=|/usr/local/cloud-config
ConditionPathExists=|/run/kiln/stages
"
    };
}

/// The stages of the running system, in the order in which they come.
pub(super) const STAGES: [Unit; 5] = [
    Unit {
        name: "kiln-stage-fs.service",
        text: concat!(
            "\
[Unit]
Description=Run the configuration of the stage fs
Documentation=man:kiln-stage(1)
DefaultDependencies=no
",
            conditions!(),
            "\
After=local-fs.target
Before=sysinit.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
ExecStart=/usr/bin/kiln stage fs
RemainAfterExit=yes
"
        ),
        enabled_in: Some("sysinit.target.wants"),
    },
    Unit {
        name: "kiln-stage-boot.service",
        text: concat!(
            "\
[Unit]
Description=Run the configuration of the stage boot
Documentation=man:kiln-stage(1)
",
            conditions!(),
            "\
After=systemd-user-sessions.service
Before=getty.target

[Service]
Type=oneshot
ExecStart=/usr/bin/kiln stage boot
RemainAfterExit=yes
"
        ),
        enabled_in: Some("multi-user.target.wants"),
    },
    Unit {
        name: "kiln-stage-network.service",
        text: concat!(
            "\
[Unit]
Description=Run the configuration of the stage network
Documentation=man:kiln-stage(1)
",
            conditions!(),
            "\
After=network-online.target kiln-stage-boot.service
Wants=network-online.target

[Service]
Type=oneshot
ExecStart=/usr/bin/kiln stage network
RemainAfterExit=yes
"
        ),
        enabled_in: Some("multi-user.target.wants"),
    },
    Unit {
        name: "kiln-stage-reconcile.service",
        text: concat!(
            "\
[Unit]
Description=Run the configuration of the stage reconcile
Documentation=man:kiln-stage(1)
",
            conditions!(),
            "
[Service]
Type=oneshot
ExecStart=/usr/bin/kiln stage reconcile
"
        ),
        enabled_in: None,
    },
    Unit {
        name: "kiln-stage-reconcile.timer",
        text: concat!(
            "\
[Unit]
Description=Run the configuration of the stage reconcile from time to time
Documentation=man:kiln-stage(1)
",
            conditions!(),
            "
[Timer]
OnBootSec=5min
OnUnitActiveSec=60min
"
        ),
        enabled_in: Some("timers.target.wants"),
    },
];

/// Adds the units and their other names.
pub(super) fn add_stages(editor: &mut Editor<'_>) -> Result<(), Error> {
    for unit in &STAGES {
        add(editor, unit)?;
        for alias in aliases(unit.name) {
            editor.symlink(format!("{UNITS}/{alias}").as_bytes(), unit.name.as_bytes())?;
        }
    }
    Ok(())
}

/// The other names of a unit.
fn aliases(name: &str) -> impl Iterator<Item = String> {
    let stage = name.strip_prefix("kiln-stage-").unwrap_or(name);
    LEGACY.into_iter().map(move |start| format!("{start}{stage}"))
}

#[cfg(test)]
mod tests {
    use super::{STAGES, aliases};

    #[test]
    fn every_stage_has_the_names_that_others_order_after() {
        let all: Vec<String> = STAGES.iter().flat_map(|unit| aliases(unit.name)).collect();
        for name in [
            "cos-setup-fs.service",
            "cos-setup-boot.service",
            "cos-setup-network.service",
            "cos-setup-reconcile.timer",
            "elemental-setup-network.service",
            "elemental-setup-reconcile.service",
        ] {
            assert!(all.iter().any(|alias| alias == name), "{name}");
        }
    }
}
