//! What a machine has on its disk right now: values only, read by [`read`] and judged by
//! [`crate::plan`].
//!
//! The ESP and the slots are the truth about what can start; the ledger is the memory of what did.
//! Where both speak about the same thing, the disk wins.

mod paths;
mod read;

use kiln_boot::entry::{DEADLINE_NOTE, EntryName};
use kiln_verity::RootArgument;

pub use paths::Paths;
pub(crate) use read::loaders;
pub(crate) use read::{DELIVERED, command_line, is_signed, root_argument};
pub use read::{Glimpse, glimpse, is_counted, read};

use crate::ledger::{Failure, Ledger, Slot, Stage};
use crate::loader::Loader;

/// Folder on the ESP for boot files that no loader lists, and for notes.
pub const STAGING: &str = "EFI/kiln";

/// The facts of the release that recovery holds, on the ESP. Only those of the root that recovery's
/// boot file starts are believed.
pub const RECOVERY_FACTS: &str = "EFI/kiln/recovery.json";

/// Where boot loaders are on an ESP: where firmware looks by itself (UEFI 2.10, section 3.5.1.1), which
/// is where Kiln puts it, what shim starts from there, and where systemd's own tools do (bootctl(1)).
/// What a machine starts from the latter is the former's twin, so that one that falls back finds the
/// same. The order is that of replacing them: what is started comes before what starts it.
pub const LOADER_PATHS: [&str; 7] = [
    "EFI/systemd/systemd-bootx64.efi",
    "EFI/systemd/systemd-bootaa64.efi",
    "EFI/BOOT/grubx64.efi",
    "EFI/BOOT/grubaa64.efi",
    "EFI/BOOT/grub.efi",
    "EFI/BOOT/BOOTX64.EFI",
    "EFI/BOOT/BOOTAA64.EFI",
];

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booted {
    /// The root hash on the kernel command line.
    pub root_hash: String,
    /// Where the root was found.
    pub slot: Slot,
    /// The boot file's number, if it can be told.
    pub generation: Option<u32>,
    /// Whether this is the recovery mode.
    pub is_recovery: bool,
}

impl Booted {
    /// The slot in whose place recovery's copy runs, because its own root could not be read.
    #[must_use]
    pub fn damaged_slot(&self, ledger: &Ledger) -> Option<Slot> {
        if self.is_recovery || self.slot != Slot::Recovery {
            return None;
        }
        let slot = ledger.revision(self.generation?)?.slot;
        (slot != Slot::Recovery).then_some(slot)
    }
}

/// A boot file that a loader lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootEntry {
    /// Its name, with the tries that are left.
    pub name: EntryName,
    /// The name as it stands in the directory, which may differ in case.
    pub file: String,
    /// Its length in bytes.
    pub length: u32,
    /// What root it starts; `None` if the file is damaged.
    pub root: Option<RootArgument>,
    /// The slot that holds this root, if one does.
    pub slot: Option<Slot>,
    /// Whether it carries a signature: nothing in it can be changed then.
    pub is_signed: bool,
}

impl BootEntry {
    /// Whether it can start: not bad, readable, and its root is on the disk.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !self.name.is_bad() && self.root.is_some() && self.slot.is_some()
    }
}

/// A boot file that no loader lists yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// The generation that it will have.
    pub generation: u32,
    /// Its length in bytes.
    pub length: u32,
    /// What root it starts; `None` if the file is damaged.
    pub root: Option<RootArgument>,
    /// The slot that holds this root, if one does.
    pub slot: Option<Slot>,
}

impl Staged {
    /// Path of a staged boot file on the ESP.
    #[must_use]
    pub fn path(generation: u32) -> String {
        format!("{STAGING}/kiln-{generation:08}.staged")
    }

    /// The generation that a file name in [`STAGING`] stands for.
    #[must_use]
    pub fn generation_of(file: &str) -> Option<u32> {
        let lower = file.to_ascii_lowercase();
        let digits = lower.strip_prefix("kiln-")?.strip_suffix(".staged")?;
        let is_number = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { digits.parse().ok() } else { None }
    }
}

/// A slot on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotPartition {
    /// Which one.
    pub slot: Slot,
    /// Its device node.
    pub node: String,
    /// Its length in bytes.
    pub length: u64,
}

/// What recovery holds, by its boot file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoverySlot {
    /// Length of the boot file in bytes.
    pub length: u32,
    /// What root it starts; `None` if the file is damaged.
    pub root: Option<RootArgument>,
    /// Whether the recovery partition seems to hold this root, by its top hash block.
    pub is_usable: bool,
    /// Whether the boot file carries a signature.
    pub is_signed: bool,
    /// The release, if its facts are on the ESP.
    pub release: Option<kiln_release::Release>,
}

/// A file at a path from which firmware starts a boot loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderFile {
    /// Its path on the ESP.
    pub path: String,
    /// Its length in bytes.
    pub length: u32,
    /// What it is; `None` if it is none that Kiln knows.
    pub loader: Option<Loader>,
}

/// A note that a failed boot left on the ESP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureNote {
    /// The generation that failed.
    pub generation: u32,
    /// What it said.
    pub reason: String,
}

impl FailureNote {
    /// The failure that it tells of: in the first process, or of a boot that came to no end.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let (stage, reason) = match self.reason.strip_prefix(DEADLINE_NOTE) {
            Some(reason) => (Stage::Deadline, reason),
            None => (Stage::Boot, self.reason.as_str()),
        };
        Failure { stage, reason: reason.to_owned() }
    }
}

/// The ESP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemPartition {
    /// Its device node.
    pub node: String,
    /// Bytes that are free.
    pub free: u64,
    /// Bytes of a cluster: every file takes a multiple.
    pub cluster: u64,
}

/// Everything together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The disk's device node.
    pub disk: String,
    /// Bytes per sector of the disk.
    pub sector_size: u32,
    /// What runs.
    pub booted: Booted,
    /// Boot files that the loader lists, in the order in which it prefers them.
    pub entries: Vec<BootEntry>,
    /// Boot files that are not listed.
    pub staged: Vec<Staged>,
    /// The slots that the disk has.
    pub slots: Vec<SlotPartition>,
    /// Recovery, if it has a boot file. It is no entry: it has no number, is never counted and never
    /// what an upgrade replaces.
    pub recovery: Option<RecoverySlot>,
    /// Whether the state is the disk's: recovery runs without one that is damaged.
    pub has_state: bool,
    /// The ESP.
    pub system_partition: SystemPartition,
    /// Boot loaders on the ESP, in the order of [`LOADER_PATHS`].
    pub loaders: Vec<LoaderFile>,
    /// What failed boots left.
    pub notes: Vec<FailureNote>,
    /// `release.json` of generation 1, as the builder left it on the ESP.
    pub delivered: Option<kiln_release::Release>,
    /// Where that came from, if `kiln install` brought it.
    pub origin: Option<crate::install::Origin>,
    /// What happened so far.
    pub ledger: Ledger,
}

impl Machine {
    /// The entry that runs, if it is known and still there.
    #[must_use]
    pub fn booted_entry(&self) -> Option<&BootEntry> {
        let generation = self.booted.generation?;
        self.entries.iter().find(|entry| entry.name.generation == generation)
    }

    /// Generations of the entries that stay when those in `replaced` go.
    pub(crate) fn generations_beside(&self, replaced: &[u32]) -> Vec<u32> {
        let generations = self.entries.iter().map(|entry| entry.name.generation);
        generations.filter(|generation| !replaced.contains(generation)).collect()
    }

    /// The entry that the loader starts next.
    #[must_use]
    pub fn next_entry(&self) -> Option<&BootEntry> {
        self.entries.first()
    }

    /// The partition of a slot.
    #[must_use]
    pub fn partition(&self, slot: Slot) -> Option<&SlotPartition> {
        self.slots.iter().find(|partition| partition.slot == slot)
    }

    /// The slot in whose place recovery's copy runs, because its own root could not be read.
    #[must_use]
    pub fn damaged_slot(&self) -> Option<Slot> {
        self.booted.damaged_slot(&self.ledger)
    }

    /// Whether the boot file that runs is signed: then it takes no other arguments, and only together
    /// with the firmware's word ([`crate::secure_boot`]) is it the only one that starts. `None` if
    /// nothing says which boot file that was.
    #[must_use]
    pub fn is_sealed(&self) -> Option<bool> {
        match self.booted_entry() {
            Some(entry) => Some(entry.is_signed),
            None if self.booted.is_recovery => self.recovery.as_ref().map(|held| held.is_signed),
            None => None,
        }
    }

    /// The release that runs, if the ledger knows it.
    #[must_use]
    pub fn booted_release(&self) -> Option<&kiln_release::Release> {
        self.ledger.revision(self.booted.generation?).map(|revision| &revision.release)
    }
}

#[cfg(test)]
mod tests {
    use super::{FailureNote, Staged};
    use crate::ledger::Stage;

    #[test]
    fn a_note_tells_where_its_boot_stopped() {
        for (note, stage, reason) in [
            ("no root matches", Stage::Boot, "no root matches"),
            ("no progress for 10 minutes", Stage::Boot, "no progress for 10 minutes"),
            ("deadline: not blessed within 600 s", Stage::Deadline, "not blessed within 600 s"),
            ("the deadline: x", Stage::Boot, "the deadline: x"),
            ("deadline:", Stage::Boot, "deadline:"),
            ("", Stage::Boot, ""),
        ] {
            let failure = FailureNote { generation: 2, reason: note.into() }.failure();
            assert_eq!((failure.stage, failure.reason.as_str()), (stage, reason), "{note}");
        }
    }

    #[test]
    fn staged_files_are_known_by_their_names() {
        assert_eq!(Staged::path(7), "EFI/kiln/kiln-00000007.staged");
        let cases = [
            ("kiln-00000007.staged", Some(7)),
            ("KILN-00000012.STAGED", Some(12)),
            ("kiln-7.staged", None),
            ("kiln-+0000007.staged", None),
            ("kiln-00000007.efi", None),
            ("release.json", None),
        ];
        for (file, expected) in cases {
            assert_eq!(Staged::generation_of(file), expected, "{file}");
        }
    }
}
