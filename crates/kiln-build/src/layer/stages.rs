//! Units that run the stages of a configuration on the running system.
//!
//! The names are Kiln's; those under which users of Elemental order their own units (`After=
//! cos-setup-network.service`) are links to them, and systemd takes a link for another name of the same
//! unit. A machine without any configuration starts none of them: what they would read is a condition,
//! which costs one look at a folder instead of a program.

use super::Editor;
use super::unit::{Does, Key, STAYS, UNITS, Unit};
use crate::Error;

/// Beginnings of the names that other systems gave these units.
const LEGACY: [&str; 2] = ["cos-setup-", "elemental-setup-"];

/// What decides whether there is anything to run: one of those with a bar has to hold. The first process
/// leaves `/run/kiln/stages` when the kernel command line brings steps or addresses.
const CONDITIONS: &[Key] = &[
    ("ConditionPathExists", "/run/kiln/boot"),
    ("ConditionDirectoryNotEmpty", "|/system/oem"),
    ("ConditionDirectoryNotEmpty", "|/oem"),
    ("ConditionDirectoryNotEmpty", "|/usr/local/cloud-config"),
    ("ConditionPathExists", "|/run/kiln/stages"),
];

/// What all of them have in common.
const STAGE: Unit = Unit { manual: "kiln-stage(1)", conditions: CONDITIONS, ..Unit::EMPTY };

/// The stages of the running system, in the order in which they come.
pub(super) const STAGES: [Unit; 5] = [
    Unit {
        name: "kiln-stage-fs.service",
        description: "Run the configuration of the stage fs",
        is_early: true,
        order: &[
            ("After", "local-fs.target"),
            ("Before", "sysinit.target shutdown.target"),
            ("Conflicts", "shutdown.target"),
        ],
        does: Does::Run("/usr/bin/kiln stage fs", STAYS),
        enabled_in: Some("sysinit.target.wants"),
        ..STAGE
    },
    Unit {
        name: "kiln-stage-boot.service",
        description: "Run the configuration of the stage boot",
        order: &[("After", "systemd-user-sessions.service"), ("Before", "getty.target")],
        does: Does::Run("/usr/bin/kiln stage boot", STAYS),
        enabled_in: Some("multi-user.target.wants"),
        ..STAGE
    },
    Unit {
        name: "kiln-stage-network.service",
        description: "Run the configuration of the stage network",
        order: &[
            ("After", "network-online.target kiln-stage-boot.service"),
            ("Wants", "network-online.target"),
        ],
        does: Does::Run("/usr/bin/kiln stage network", STAYS),
        enabled_in: Some("multi-user.target.wants"),
        ..STAGE
    },
    Unit {
        name: "kiln-stage-reconcile.service",
        description: "Run the configuration of the stage reconcile",
        does: Does::Run("/usr/bin/kiln stage reconcile", &[]),
        ..STAGE
    },
    Unit {
        name: "kiln-stage-reconcile.timer",
        description: "Run the configuration of the stage reconcile from time to time",
        does: Does::Wait(&[("OnBootSec", "5min"), ("OnUnitActiveSec", "60min")]),
        enabled_in: Some("timers.target.wants"),
        ..STAGE
    },
];

/// Adds the units and their other names.
pub(super) fn add_stages(editor: &mut Editor<'_>) -> Result<(), Error> {
    for unit in &STAGES {
        unit.add(editor)?;
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
