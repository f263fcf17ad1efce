//! What recovery gets, and what recovery gives: decided from values alone.
//!
//! Recovery holds a release that has proved itself on this very machine, never the newest one: it is
//! there for the day on which the newest one turned out bad.

use std::fmt;

use kiln_boot::entry::RECOVERY_PATH;
use kiln_release::Release;
use kiln_verity::RootArgument;

use super::upgrade::{self, Offer, Plan};
use crate::Error;
use crate::ledger::{Slot, State};
use crate::machine::Machine;

/// What the facts of a release may need on the ESP, in bytes: thousands of packages.
const FACTS_LENGTH: u64 = 1 << 20;

/// What is to be done about recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filling {
    /// Nothing.
    Nothing(Unfilled),
    /// The running release goes there.
    Write(Fill),
}

/// Why recovery is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfilled {
    /// It holds what it should.
    Filled,
    /// The disk has no such partition.
    NoPartition,
    /// It runs.
    Running,
    /// The running release has not proved itself, or nothing says which boot file started it.
    NotProved,
    /// The release is larger than the partition.
    TooLarge {
        /// Bytes of the root image.
        needed: u64,
        /// Bytes of the partition.
        available: u64,
    },
    /// The ESP has no room for its boot file and that of the next upgrade.
    NoRoom {
        /// Bytes that both need.
        needed: u64,
        /// Bytes that there are.
        available: u64,
    },
}

impl fmt::Display for Unfilled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filled => formatter.write_str("recovery holds this release already"),
            Self::NoPartition => formatter.write_str("the disk has no recovery partition"),
            Self::Running => formatter.write_str("recovery itself runs"),
            Self::NotProved => formatter.write_str("the running release has not proved itself"),
            Self::TooLarge { needed, available } => {
                write!(formatter, "the root of {needed} bytes does not fit its {available} bytes")
            }
            Self::NoRoom { needed, available } => write!(
                formatter,
                "the ESP needs {needed} bytes for its boot file and that of the next upgrade, \
                 {available} are free"
            ),
        }
    }
}

/// The way of the running release into recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    /// The slot that runs.
    pub source: Slot,
    /// Its root.
    pub root: RootArgument,
    /// Its generation.
    pub generation: u32,
    /// Path of its boot file on the ESP.
    pub boot_path: String,
}

/// Decides whether recovery gets the running release: if it has none that starts, or, to `refresh` it,
/// if it has another one.
#[must_use]
pub fn fill(machine: &Machine, refresh: bool) -> Filling {
    let nothing = Filling::Nothing;
    let Some(partition) = machine.partition(Slot::Recovery) else {
        return nothing(Unfilled::NoPartition);
    };
    if machine.booted.is_recovery || machine.booted.slot == Slot::Recovery {
        return nothing(Unfilled::Running);
    }
    let held = machine.recovery.as_ref().filter(|recovery| recovery.is_usable);
    if held.is_some() && !refresh {
        return nothing(Unfilled::Filled);
    }
    let proved = machine.booted_entry().filter(|entry| entry.name.counter.is_none());
    let Some((entry, root)) = proved.and_then(|entry| Some((entry, entry.root?))) else {
        return nothing(Unfilled::NotProved);
    };
    if held.and_then(|recovery| recovery.root) == Some(root) {
        return nothing(Unfilled::Filled);
    }
    let (needed, available) = (root.image_length(), partition.length);
    if needed > available {
        return nothing(Unfilled::TooLarge { needed, available });
    }
    let available = machine.system_partition.free + freed(machine);
    // Recovery must not take the room of upgrades.
    let needed = 2 * whole(machine, u64::from(entry.length)) + whole(machine, FACTS_LENGTH);
    if needed > available {
        return nothing(Unfilled::NoRoom { needed, available });
    }
    Filling::Write(Fill {
        source: machine.booted.slot,
        root,
        generation: entry.name.generation,
        boot_path: format!("{}/{}", kiln_boot::entry::FOLDER, entry.file),
    })
}

/// The way of an offered release into recovery.
///
/// # Errors
/// [`Error::Refused`]; nothing may be changed then.
pub fn into_recovery(
    machine: &Machine,
    offer: &Offer<'_>,
    architecture: &str,
    own_version: &str,
) -> Result<Plan, Error> {
    let refuse = |reason: String, hint: &str| Err(Error::Refused { reason, hint: hint.to_owned() });
    let Some(partition) = machine.partition(Slot::Recovery) else {
        return refuse(Unfilled::NoPartition.to_string(), "install anew on a larger disk");
    };
    if machine.booted.is_recovery || machine.booted.slot == Slot::Recovery {
        return refuse(Unfilled::Running.to_string(), "restart into the system first");
    }
    upgrade::refuse_what_cannot_run(offer, architecture, own_version)?;
    let (needed, available) = (offer.root_length, partition.length);
    if needed > available {
        let reason = Unfilled::TooLarge { needed, available }.to_string();
        return refuse(reason, "build a smaller image, or install anew with larger slots");
    }
    let needed = whole(machine, offer.boot_length) + whole(machine, FACTS_LENGTH);
    let available = machine.system_partition.free + freed(machine);
    if needed > available {
        let reason = Unfilled::NoRoom { needed, available }.to_string();
        return refuse(reason, "remove files that are not Kiln's from the ESP");
    }
    let held = machine.recovery.as_ref().filter(|recovery| recovery.is_usable);
    let hash = held.and_then(|recovery| recovery.root).map(|root| root.root.to_string());
    let keeps_slot = hash.is_some() && hash.as_deref() == offer.root_hash;
    let removes = machine.recovery.iter().map(|_| RECOVERY_PATH.to_owned()).collect();
    // It is no revision: the number is not used.
    let generation = machine.ledger.next_generation;
    Ok(Plan { target: Slot::Recovery, keeps_slot, removes, replaces: Vec::new(), generation })
}

/// The way of recovery's release into a slot, and that release.
///
/// # Errors
/// [`Error::Refused`] if recovery does not run, or nothing says what it holds.
pub fn deployment(machine: &Machine) -> Result<(Plan, &Release), Error> {
    let refuse = |reason: &str, hint: &str| {
        Err(Error::Refused { reason: reason.to_owned(), hint: hint.to_owned() })
    };
    if !machine.booted.is_recovery {
        return refuse(
            "recovery does not run",
            "`kiln recovery next --reboot` starts it; `kiln rollback` goes back to the other slot",
        );
    }
    let recovery = machine.recovery.as_ref();
    let release = recovery.and_then(|recovery| Some((recovery, recovery.release.as_ref()?)));
    let Some((recovery, release)) = release else {
        return refuse(
            "nothing says which release recovery holds",
            "bring one with `kiln upgrade REF`",
        );
    };
    if machine.booted.slot != Slot::Recovery || release.root.hash != machine.booted.root_hash {
        return refuse(
            "this recovery runs from a slot, because its own partition is damaged",
            "bring a release with `kiln upgrade REF`",
        );
    }
    let offer = Offer {
        manifest_digest: release.source.manifest_digest.as_deref(),
        root_hash: Some(&release.root.hash),
        sequence: release.sequence,
        architecture: &release.architecture,
        root_length: release.root.length,
        boot_length: u64::from(recovery.length),
        minimum_agent: None,
    };
    Ok((upgrade::plan(machine, &offer)?, release))
}

/// Whether recovery has to put the system onto its disk without being asked: it came alone, and nothing
/// ever ran here. A machine that lost its systems is left to people.
#[must_use]
pub fn deploys_by_itself(machine: &Machine) -> bool {
    let ran = |state: State| !matches!(state, State::Staged | State::Replaced);
    let has_past = machine
        .ledger
        .revisions
        .iter()
        .any(|revision| revision.events.iter().any(|event| ran(event.state)));
    machine.booted.is_recovery && machine.has_state && machine.entries.is_empty() && !has_past
}

/// Bytes that `length` bytes take on the ESP.
fn whole(machine: &Machine, length: u64) -> u64 {
    let cluster = machine.system_partition.cluster.max(1);
    length.div_ceil(cluster).saturating_mul(cluster)
}

/// What removing recovery's boot file gives back.
fn freed(machine: &Machine) -> u64 {
    let length = machine.recovery.as_ref().map_or(0, |recovery| u64::from(recovery.length));
    whole(machine, length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{RecoverySlot, SlotPartition};
    use crate::plan::test_support::{entry, hash, machine, release, revision};
    use kiln_verity::RootHash;

    fn partition() -> SlotPartition {
        SlotPartition { slot: Slot::Recovery, node: "/dev/vda6".into(), length: 2 << 30 }
    }

    fn holding(number: u8, is_usable: bool) -> RecoverySlot {
        let root = RootArgument { root: RootHash([number; 32]), data_blocks: 2, salt: [0; 32] };
        let release = Some(release(number));
        let root = Some(root);
        RecoverySlot { length: 1 << 20, root, is_usable, is_signed: false, release }
    }

    /// Generation 2 runs in slot B, blessed; the disk has recovery.
    fn with_recovery(held: Option<RecoverySlot>) -> Machine {
        let mut machine = machine();
        machine.slots.push(partition());
        machine.recovery = held;
        machine
    }

    /// Recovery runs, holding release 2.
    fn in_recovery() -> Machine {
        let mut machine = with_recovery(Some(holding(2, true)));
        machine.booted.is_recovery = true;
        machine.booted.slot = Slot::Recovery;
        machine.booted.generation = None;
        machine
    }

    #[test]
    fn an_empty_recovery_gets_what_proved_itself() {
        let cases = [
            (None, false, true),
            (Some(holding(2, false)), false, true),
            (Some(holding(1, true)), false, false),
            (Some(holding(1, true)), true, true),
            (Some(holding(2, true)), true, false),
        ];
        for (held, refresh, writes) in cases {
            let filling = fill(&with_recovery(held.clone()), refresh);
            assert_eq!(matches!(filling, Filling::Write(_)), writes, "{held:?} {refresh}");
            if let Filling::Write(fill) = filling {
                assert_eq!((fill.source, fill.generation), (Slot::B, 2));
                assert_eq!(fill.boot_path, "EFI/Linux/kiln-00000002.efi");
            } else {
                assert_eq!(filling, Filling::Nothing(Unfilled::Filled));
            }
        }
    }

    #[test]
    fn recovery_is_left_alone_where_it_must_be() {
        type Change = fn(&mut Machine);
        let cases: [(Change, Unfilled); 7] = [
            (|machine| machine.slots.truncate(2), Unfilled::NoPartition),
            (|machine| machine.booted.is_recovery = true, Unfilled::Running),
            (|machine| machine.booted.slot = Slot::Recovery, Unfilled::Running),
            (|machine| machine.booted.generation = None, Unfilled::NotProved),
            (
                |machine| machine.entries[0].name = "kiln-00000002+2-1.efi".parse().unwrap(),
                Unfilled::NotProved,
            ),
            (
                |machine| machine.slots[2].length = 4096,
                Unfilled::TooLarge { needed: 3 * 4096, available: 4096 },
            ),
            (
                |machine| machine.system_partition.free = 2 << 20,
                Unfilled::NoRoom { needed: 3 << 20, available: 2 << 20 },
            ),
        ];
        for (change, expected) in cases {
            let mut machine = with_recovery(None);
            change(&mut machine);
            assert_eq!(fill(&machine, true), Filling::Nothing(expected.clone()), "{expected}");
        }
    }

    #[test]
    fn a_given_release_goes_there_unless_recovery_runs() {
        let release = release(3);
        let offer = Offer {
            manifest_digest: None,
            root_hash: Some(&release.root.hash),
            sequence: release.sequence,
            architecture: "amd64",
            root_length: 4096,
            boot_length: 1 << 20,
            minimum_agent: Some("0.1.0"),
        };
        let plan = into_recovery(&with_recovery(None), &offer, "amd64", "0.1.0").unwrap();
        assert_eq!((plan.target, plan.keeps_slot), (Slot::Recovery, false));
        assert!(plan.removes.is_empty() && plan.replaces.is_empty());
        let held = with_recovery(Some(holding(3, true)));
        let plan = into_recovery(&held, &offer, "amd64", "0.1.0").unwrap();
        assert!(plan.keeps_slot);
        assert_eq!(plan.removes, [RECOVERY_PATH]);
        for (machine, architecture, own, expected) in [
            (in_recovery(), "amd64", "0.1.0", "recovery itself runs"),
            (machine(), "amd64", "0.1.0", "no recovery partition"),
            (with_recovery(None), "arm64", "0.1.0", "arm64"),
            (with_recovery(None), "amd64", "0.0.9", "0.0.9"),
        ] {
            let error = into_recovery(&machine, &offer, architecture, own).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn recovery_writes_the_slot_that_nobody_needs() {
        let mut machine = in_recovery();
        let (plan, release) = deployment(&machine).unwrap();
        assert_eq!((plan.target, plan.generation, &*release.version), (Slot::A, 3, "2"));
        // Slot A starts, B has rotted.
        machine.entries = vec![entry(1, 1, Some(Slot::A), false), entry(2, 2, None, true)];
        let (plan, _) = deployment(&machine).unwrap();
        assert_eq!((plan.target, plan.keeps_slot), (Slot::B, false));
        assert_eq!(plan.removes, ["EFI/Linux/kiln-00000002+0-3.efi"]);

        let mut damaged = in_recovery();
        damaged.booted.slot = Slot::A;
        let mut unknown = in_recovery();
        unknown.recovery.as_mut().unwrap().release = None;
        let mut other = in_recovery();
        other.booted.root_hash = hash(9);
        for machine in [with_recovery(Some(holding(2, true))), damaged, unknown, other] {
            assert!(deployment(&machine).is_err());
        }
    }

    #[test]
    fn only_a_disk_on_which_nothing_ever_ran_is_filled_without_a_question() {
        let mut machine = in_recovery();
        assert!(!deploys_by_itself(&machine));
        machine.entries.clear();
        assert!(!deploys_by_itself(&machine), "its systems are gone, but it had some");
        machine.ledger.revisions = vec![revision(2, 2, Slot::A, State::Staged)];
        assert!(deploys_by_itself(&machine), "a cut came before the first system appeared");
        machine.ledger.revisions.clear();
        assert!(deploys_by_itself(&machine));
        machine.has_state = false;
        assert!(!deploys_by_itself(&machine), "the past may be in a state that cannot be read");
    }
}
