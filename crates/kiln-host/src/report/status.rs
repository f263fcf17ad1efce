//! What runs, what comes next, and what is in the slots.

use kiln_boot::entry::RECOVERY_FILE;
use serde::Serialize;

use super::RevisionReport;
use crate::ledger::{Ledger, Slot};
use crate::machine::{BootEntry, Booted, Glimpse, LoaderFile, Machine, RecoverySlot};
use crate::motd;
use crate::plan;

/// The value of `format`.
const FORMAT: &str = "kiln.status.v1";

/// Everything that `kiln status` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Always `kiln.status.v1`.
    pub format: &'static str,
    /// Whether the disk was read; without root it is not, and all that needs it is missing.
    pub complete: bool,
    /// `system` or `recovery`.
    pub mode: &'static str,
    /// Whether this boot proved itself.
    pub blessed: bool,
    /// Whether the boot file that runs is signed, as `kiln kargs` asks it; unknown without the disk.
    pub sealed: Option<bool>,
    /// Whether the firmware starts only what is signed; unknown where it says nothing.
    pub secure_boot: Option<bool>,
    /// Whether a restart leads to another revision.
    pub pending_reboot: Option<bool>,
    /// The disk.
    pub disk: Option<String>,
    /// What runs.
    pub booted: RevisionReport,
    /// What the loader starts next; the same as `booted` unless a restart is pending.
    pub next: Option<RevisionReport>,
    /// What is on the disk and not listed.
    pub staged: Option<RevisionReport>,
    /// What `kiln rollback` goes to.
    pub previous: Option<RevisionReport>,
    /// What recovery starts, if anything.
    pub recovery: Option<RevisionReport>,
    /// Whether somebody chose recovery for the next boot.
    pub recovery_next: bool,
    /// The slots of the disk.
    pub slots: Vec<SlotReport>,
    /// The ESP.
    pub system_partition: Option<SystemPartitionReport>,
    /// The boot loaders that firmware can start.
    pub loaders: Vec<LoaderReport>,
    /// What `kiln upgrade` without a reference fetches.
    pub follow: Option<String>,
    /// Whether a debug overlay hides what the root hash proves.
    pub debug_overlay: bool,
    /// The slot in whose place recovery's copy runs, because it cannot be read.
    pub damaged_slot: Option<Slot>,
    /// The newest revision that failed, until a newer one proves itself.
    pub last_failure: Option<RevisionReport>,
    /// Why the configuration failed last, until it succeeds.
    pub provisioning_failure: Option<String>,
}

/// What recovery starts; nothing if its boot file or its slot is damaged.
fn recovery_report(recovery: &RecoverySlot) -> Option<RevisionReport> {
    let root = recovery.root.as_ref().filter(|_| recovery.is_usable)?;
    let mut report =
        RevisionReport::unknown(None, Some(Slot::Recovery), Some(root.root.to_string()));
    report.entry = Some(RECOVERY_FILE.to_owned());
    if let Some(release) = &recovery.release {
        report.name = Some(release.name.clone());
        report.version = Some(release.version.clone());
        report.title = Some(release.title.clone());
        report.sequence = Some(release.sequence.0);
        report.manifest_digest = release.source.manifest_digest.clone();
        report.kernel = Some(release.kernel.clone());
    }
    Some(report)
}

/// A slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotReport {
    /// Which one.
    pub slot: Slot,
    /// Its device node.
    pub device: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Generations whose root it holds, newest first.
    pub generations: Vec<u32>,
}

/// The ESP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SystemPartitionReport {
    /// Its device node.
    pub device: String,
    /// Bytes that are free.
    pub free_bytes: u64,
}

/// A boot loader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoaderReport {
    /// Its path on the ESP.
    pub path: String,
    /// `systemd-boot` or `shim`; missing if it is another loader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// Its version; missing if it is another loader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether it carries a signature; missing if it is another loader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<bool>,
}

impl LoaderReport {
    fn of(file: &LoaderFile) -> Self {
        let loader = file.loader.as_ref();
        Self {
            path: file.path.clone(),
            kind: loader.map(|loader| loader.kind.name()),
            version: loader.map(|loader| loader.version.clone()),
            signed: loader.map(|loader| loader.is_signed),
        }
    }
}

impl Status {
    /// The whole report.
    #[must_use]
    pub fn of(machine: &Machine, blessed: bool) -> Self {
        let booted = &machine.booted;
        let ledger = &machine.ledger;
        let listed = |entry: &BootEntry| entry_report(ledger, entry);
        // In recovery an entry that does not start is not what comes next.
        let next = machine.next_entry().filter(|next| !booted.is_recovery || next.is_usable());
        // The same question as `kiln rollback` asks, so both always agree; while an upgrade waits for
        // its restart, that is what runs.
        let back = plan::rollback(machine).ok().map(|back| back.to);
        let mut report = match machine.booted_entry() {
            Some(entry) => listed(entry),
            None => match machine.recovery.as_ref().and_then(recovery_report) {
                Some(report)
                    if booted.is_recovery
                        && report.root_hash.as_ref() == Some(&booted.root_hash) =>
                {
                    report
                }
                _ => booted_report(ledger, booted),
            },
        };
        // Where it really runs from, whatever the ledger thinks.
        report.slot = Some(booted.slot);
        report.root_hash = Some(booted.root_hash.clone());
        let slots = machine.slots.iter().map(|partition| {
            let of_entries =
                machine.entries.iter().map(|entry| (entry.slot, entry.name.generation));
            let of_staged = machine.staged.iter().map(|staged| (staged.slot, staged.generation));
            let mut generations: Vec<u32> = of_entries
                .chain(of_staged)
                .filter(|(slot, _)| *slot == Some(partition.slot))
                .map(|(_, generation)| generation)
                .collect();
            generations.sort_unstable_by(|left, right| right.cmp(left));
            SlotReport {
                slot: partition.slot,
                device: partition.node.clone(),
                bytes: partition.length,
                generations,
            }
        });
        let pending = booted
            .generation
            .zip(next.map(|next| next.name.generation))
            .map(|(booted, next)| booted != next);
        Self {
            complete: true,
            sealed: machine.is_sealed(),
            pending_reboot: pending,
            disk: Some(machine.disk.clone()),
            booted: report,
            next: next.map(listed),
            staged: machine.staged.last().map(|staged| match ledger.revision(staged.generation) {
                Some(revision) => RevisionReport::of(revision),
                None => {
                    let hash = staged.root.as_ref().map(|root| root.root.to_string());
                    RevisionReport::unknown(Some(staged.generation), staged.slot, hash)
                }
            }),
            previous: machine
                .entries
                .iter()
                .find(|entry| Some(entry.name.generation) == back)
                .map(listed),
            recovery: machine.recovery.as_ref().and_then(recovery_report),
            slots: slots.collect(),
            system_partition: Some(SystemPartitionReport {
                device: machine.system_partition.node.clone(),
                free_bytes: machine.system_partition.free,
            }),
            loaders: machine.loaders.iter().map(LoaderReport::of).collect(),
            ..Self::without_disk(booted, ledger, blessed)
        }
    }

    /// The same with what this boot says of a debug overlay.
    #[must_use]
    pub fn with_debug_overlay(self, debug_overlay: bool) -> Self {
        Self { debug_overlay, ..self }
    }

    /// The same with what the firmware says of Secure Boot.
    #[must_use]
    pub fn with_secure_boot(self, secure_boot: Option<bool>) -> Self {
        Self { secure_boot, ..self }
    }

    /// The same with why the configuration failed.
    #[must_use]
    pub fn with_provisioning_failure(self, provisioning_failure: Option<String>) -> Self {
        Self { provisioning_failure, ..self }
    }

    /// What can be said without reading the disk.
    #[must_use]
    pub fn of_glimpse(glimpse: &Glimpse, blessed: bool) -> Self {
        Self::without_disk(&glimpse.booted, &glimpse.ledger, blessed)
    }

    fn without_disk(booted: &Booted, ledger: &Ledger, blessed: bool) -> Self {
        Self {
            format: FORMAT,
            complete: false,
            mode: if booted.is_recovery { "recovery" } else { "system" },
            blessed,
            sealed: None,
            secure_boot: None,
            pending_reboot: None,
            disk: None,
            booted: booted_report(ledger, booted),
            next: None,
            staged: None,
            previous: None,
            recovery: None,
            recovery_next: false,
            slots: Vec::new(),
            system_partition: None,
            loaders: Vec::new(),
            follow: ledger.follow.clone(),
            debug_overlay: false,
            damaged_slot: booted.damaged_slot(ledger),
            last_failure: motd::last_failure(ledger).map(RevisionReport::of),
            provisioning_failure: None,
        }
    }
}

fn booted_report(ledger: &Ledger, booted: &Booted) -> RevisionReport {
    let unknown = || {
        let hash = Some(booted.root_hash.clone());
        RevisionReport::unknown(booted.generation, Some(booted.slot), hash)
    };
    let revision = booted.generation.and_then(|generation| ledger.revision(generation));
    revision.map_or_else(unknown, RevisionReport::of)
}

fn entry_report(ledger: &Ledger, entry: &BootEntry) -> RevisionReport {
    let report = ledger.revision(entry.name.generation).map_or_else(
        || {
            let hash = entry.root.as_ref().map(|root| root.root.to_string());
            RevisionReport::unknown(Some(entry.name.generation), entry.slot, hash)
        },
        RevisionReport::of,
    );
    report.listed_as(entry)
}

#[cfg(test)]
mod tests {
    use super::Status;
    use crate::ledger::{Slot, State};
    use crate::machine::{Glimpse, RecoverySlot, Staged};
    use crate::plan::test_support::{entry, machine, revision};

    #[test]
    fn everything_has_its_place() {
        let mut machine = machine();
        machine.ledger.next_generation = 4;
        machine.ledger.revisions.push(revision(3, 3, Slot::A, State::Staged));
        machine.staged.push(Staged { generation: 3, length: 10, root: None, slot: Some(Slot::A) });
        let status = Status::of(&machine, true);
        assert_eq!(status.booted.version.as_deref(), Some("2"));
        assert_eq!(status.booted.entry.as_deref(), Some("kiln-00000002.efi"));
        assert_eq!(status.next.as_ref(), Some(&status.booted));
        assert_eq!(status.pending_reboot, Some(false));
        assert_eq!(status.staged.as_ref().and_then(|staged| staged.generation), Some(3));
        assert_eq!(status.previous.as_ref().and_then(|previous| previous.generation), Some(1));
        assert_eq!(
            (status.slots[0].slot, &status.slots[0].generations[..]),
            (Slot::A, &[3, 1][..])
        );

        machine.entries.insert(0, entry(3, 3, Some(Slot::A), false));
        machine.entries.truncate(2);
        machine.staged.clear();
        let status = Status::of(&machine, true);
        assert_eq!(status.pending_reboot, Some(true));
        assert_eq!(status.next.and_then(|next| next.generation), Some(3));
        // What runs: its slot's other entry was taken, and a rollback takes the upgrade back.
        assert_eq!(status.previous.and_then(|previous| previous.generation), Some(2));
    }

    #[test]
    fn without_the_disk_nothing_is_made_up() {
        let machine = machine();
        let glimpse = Glimpse {
            booted: machine.booted.clone(),
            is_counted: Some(false),
            ledger: machine.ledger.clone(),
        };
        let status = Status::of_glimpse(&glimpse, false);
        assert!(!status.complete && status.pending_reboot.is_none() && status.next.is_none());
        assert_eq!(status.booted.version.as_deref(), Some("2"));
        assert_eq!((status.sealed, status.secure_boot), (None, None));
    }

    #[test]
    fn a_signed_boot_file_seals_the_machine_that_it_runs_on() {
        let mut machine = machine();
        assert_eq!(Status::of(&machine, true).sealed, Some(false));
        machine.entries[1].is_signed = true;
        assert_eq!(Status::of(&machine, true).sealed, Some(false), "the other one");
        machine.entries[0].is_signed = true;
        assert_eq!(Status::of(&machine, true).sealed, Some(true));
        machine.booted.generation = None;
        assert_eq!(Status::of(&machine, true).sealed, None, "started by other means");
        machine.booted.is_recovery = true;
        assert_eq!(Status::of(&machine, true).sealed, None, "recovery's boot file is gone");
        let length = 1 << 20;
        let recovery = |is_signed| {
            Some(RecoverySlot { length, root: None, is_usable: true, is_signed, release: None })
        };
        for is_signed in [true, false] {
            machine.recovery = recovery(is_signed);
            assert_eq!(Status::of(&machine, true).sealed, Some(is_signed));
        }
        let status = Status::of(&machine, true).with_secure_boot(Some(true));
        assert_eq!((status.sealed, status.secure_boot), (Some(false), Some(true)));
    }

    #[test]
    fn a_slot_that_recovery_stands_in_for_is_named() {
        let mut machine = machine();
        assert_eq!(Status::of(&machine, true).damaged_slot, None);
        machine.booted.slot = Slot::Recovery;
        assert_eq!(Status::of(&machine, true).damaged_slot, Some(Slot::B));
        let value = serde_json::to_value(Status::of(&machine, true)).unwrap();
        assert_eq!(value["damaged_slot"], "b");
        let (booted, ledger) = (machine.booted.clone(), machine.ledger.clone());
        let glimpse = Glimpse { booted, is_counted: Some(false), ledger };
        assert_eq!(Status::of_glimpse(&glimpse, true).damaged_slot, Some(Slot::B), "without root");
        machine.booted.is_recovery = true;
        assert_eq!(Status::of(&machine, true).damaged_slot, None, "recovery was meant");
    }

    /// Scripts read these keys.
    #[test]
    fn keys_are_only_added() {
        let value = serde_json::to_value(Status::of(&machine(), true)).unwrap();
        let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = vec![
            "format",
            "complete",
            "mode",
            "blessed",
            "sealed",
            "secure_boot",
            "damaged_slot",
            "pending_reboot",
            "disk",
            "booted",
            "next",
            "staged",
            "previous",
            "slots",
            "system_partition",
            "follow",
            "last_failure",
            "provisioning_failure",
            "debug_overlay",
            "recovery",
            "recovery_next",
            "loaders",
        ];
        let mut keys = keys;
        keys.sort_unstable();
        expected.sort_unstable();
        assert_eq!(keys, expected);
        assert_eq!(value["booted"]["slot"], "b");
        assert_eq!(value["booted"]["state"], "blessed");
        assert_eq!(value["booted"]["verification"], "unverified");
        assert_eq!(value["slots"][0]["device"], "/dev/vda3");
    }
}
