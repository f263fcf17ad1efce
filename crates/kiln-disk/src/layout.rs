//! Kiln's layout of a disk: what a built image contains, and what its first boot makes of it.
//!
//! Pure functions from table to table; nothing here reads or writes. Numbers, names and types are
//! frozen, because machines in the field have them: change nothing, only add. Places are free, so
//! nobody may derive a place from a number.
//!
//! A built image carries the ESP and slot A at its full size, and nothing else. The first boot adds
//! slot B, recovery and state. Roots have type GUIDs of Kiln's own: the well-known ones make
//! generators of a running system look for a partner partition with the hash tree, which Kiln
//! appends to the root instead.

mod document;
mod extra;
mod install;

pub use document::{
    ESP_PATH, ExtraPartition, FORMAT, FileSystem, Layout, MAXIMUM_LENGTH, ROOT_PATH, is_layout,
};
pub use extra::{EXTRA_NEW_TYPE, EXTRA_TYPE, FIRST_EXTRA, finish_extra, mounts, unformatted};
pub use install::{InstallOptions, check_keep, install, least_length, only_kept};

use crate::error::Error;
use crate::gpt::format::FIRST_USABLE_BYTE;
use crate::gpt::{Gpt, Guid, PartitionEntry};

/// One partition of the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// Its number in the table, fixed.
    pub number: u32,
    /// Its name in the table.
    pub name: &'static str,
    /// Its type.
    pub type_guid: Guid,
}

/// GRUB's core, only with BIOS boot (type: GRUB manual, "BIOS installation").
pub const BIOS: Role = Role {
    number: 1,
    name: "kiln-bios",
    type_guid: Guid::from_u128(0x21686148_6449_6e6f_744e_656564454649),
};
/// Loader and boot files (type: UEFI 2.10, section 13.3.3).
pub const ESP: Role = Role {
    number: 2,
    name: "kiln-esp",
    type_guid: Guid::from_u128(0xc12a7328_f81f_11d2_ba4b_00a0c93ec93b),
};
/// Type of both slots.
pub const ROOT_TYPE: Guid = Guid::from_u128(0x4eda1196_cbe8_42de_8851_cb7224f74725);
/// Slot A.
pub const ROOT_A: Role = Role { number: 3, name: "kiln-root-a", type_guid: ROOT_TYPE };
/// Slot B.
pub const ROOT_B: Role = Role { number: 4, name: "kiln-root-b", type_guid: ROOT_TYPE };
/// Everything writable.
pub const STATE: Role = Role {
    number: 5,
    name: "kiln-state",
    type_guid: Guid::from_u128(0x342412f1_af5b_4597_bedb_507fad3371e7),
};
/// A known-good release.
pub const RECOVERY: Role = Role {
    number: 6,
    name: "kiln-recovery",
    type_guid: Guid::from_u128(0xf03f0944_5017_489a_add6_e763799d6ab2),
};
/// Name of the state partition until its file system is complete and flushed. Only a partition
/// with this name may ever be formatted.
pub const STATE_NEW_NAME: &str = "kiln-state-new";

/// Places and lengths are multiples of 1 MiB, which every disk's own block size divides.
pub const ALIGNMENT: u64 = FIRST_USABLE_BYTE;
/// Default length in bytes of the ESP: old, new, temporary and recovery boot files.
pub const DEFAULT_ESP_LENGTH: u64 = 1 << 30;
/// Smallest default slot in bytes.
pub const MINIMUM_DEFAULT_SLOT: u64 = 2 << 30;
/// Smallest state partition in bytes; below it a disk is refused.
pub const MINIMUM_STATE: u64 = 512 << 20;

/// Rounds up to whole MiB.
fn align(length: u64) -> u64 {
    length.div_ceil(ALIGNMENT).saturating_mul(ALIGNMENT)
}

/// Default length in bytes of a slot: room for the image to double, and 2 GiB at least.
pub fn default_slot_length(image: u64) -> u64 {
    align(image.saturating_mul(2).max(MINIMUM_DEFAULT_SLOT))
}

/// Length in bytes that a slot may shrink to on a small disk: a quarter more than the image.
pub fn smallest_slot_length(image: u64) -> u64 {
    align(image.saturating_add(image.div_ceil(4)))
}

/// What a builder chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildOptions {
    /// Bytes per sector: 512 or 4096.
    pub sector_size: u32,
    /// Length in bytes of the ESP.
    pub esp_length: u64,
    /// Length in bytes of a slot, or the default for the image.
    pub slot_length: Option<u64>,
    /// Identity of the disk, the same for all copies of one build.
    pub disk_guid: Guid,
    /// Identity of the ESP.
    pub esp_guid: Guid,
    /// Identity of slot A.
    pub root_a_guid: Guid,
}

/// The table of a built image: ESP at 1 MiB, slot A behind it. The length of the image file is
/// `disk_sectors * sector_size`.
///
/// # Errors
/// [`Error::SlotTooSmall`] if the image does not fit the slot, [`Error::SectorSize`].
pub fn built_image(image_length: u64, options: &BuildOptions) -> Result<Gpt, Error> {
    built(image_length, options, ROOT_A)
}

/// The table of an image that starts in recovery and puts the system onto its disk from there: ESP,
/// and recovery in the place of slot A. The identity of the slot is that of recovery.
///
/// # Errors
/// As [`built_image`].
pub fn built_recovery_image(image_length: u64, options: &BuildOptions) -> Result<Gpt, Error> {
    built(image_length, options, RECOVERY)
}

fn built(image_length: u64, options: &BuildOptions, root: Role) -> Result<Gpt, Error> {
    let slot = options.slot_length.map_or_else(|| default_slot_length(image_length), align);
    if image_length > slot {
        return Err(Error::SlotTooSmall { image: image_length, slot });
    }
    let esp = align(options.esp_length.max(1));
    let end = ALIGNMENT.saturating_add(esp).saturating_add(slot);
    // One more MiB holds the backup table and keeps the file's length a round number.
    let length = end.saturating_add(ALIGNMENT);
    let mut table = Gpt::empty(options.sector_size, length, options.disk_guid)?;
    place(&mut table, ESP, ALIGNMENT, esp, options.esp_guid);
    place(&mut table, root, ALIGNMENT.saturating_add(esp), slot, options.root_a_guid);
    table.check()?;
    Ok(table)
}

/// What a machine brings to its first boot: random identities ([`Guid::from_random`]), since all
/// copies of a built image share theirs, and whether it wants recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompleteOptions {
    /// Whether there shall be a recovery partition if the disk has room for it.
    pub recovery: bool,
    /// Identity of the disk.
    pub disk_guid: Guid,
    /// Identity of the ESP.
    pub esp_guid: Guid,
    /// Identity of slot A.
    pub root_a_guid: Guid,
    /// Identity of slot B.
    pub root_b_guid: Guid,
    /// Identity of state.
    pub state_guid: Guid,
    /// Identity of recovery.
    pub recovery_guid: Guid,
}

/// What is there of the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// As built: the first boot has not written the table.
    Built,
    /// The table is complete; the state partition has no finished file system.
    Unformatted,
    /// Complete.
    Complete,
}

/// How far the table of a disk has come. Never guesses: a partition under a fixed number that does
/// not carry the name and type that belong there is an error.
///
/// # Errors
/// [`Error::MissingPartition`], [`Error::ForeignPartition`].
pub fn stage(table: &Gpt) -> Result<Stage, Error> {
    for role in [BIOS, ESP, ROOT_A, ROOT_B, STATE, RECOVERY] {
        let Some(found) = table.partitions.get(&role.number) else { continue };
        let named = found.name == role.name || role == STATE && found.name == STATE_NEW_NAME;
        if found.type_guid != role.type_guid || !named {
            let (number, expected) = (role.number, role.name);
            return Err(Error::ForeignPartition { number, found: found.name.clone(), expected });
        }
    }
    let missing = |role: Role| Error::MissingPartition { number: role.number, name: role.name };
    let has = |role: Role| table.partitions.contains_key(&role.number);
    if !has(ESP) {
        return Err(missing(ESP));
    }
    // An image that starts in recovery has its root there and none in the slots.
    let carries_root = has(ROOT_A) || is_recovery_image(table);
    if !carries_root {
        return Err(missing(ROOT_A));
    }
    match (has(ROOT_B), table.partitions.get(&STATE.number)) {
        (false, None) if has(RECOVERY) && has(ROOT_A) => Err(missing(ROOT_B)),
        (false, None) => Ok(Stage::Built),
        (true, Some(state)) if state.name == STATE_NEW_NAME => Ok(Stage::Unformatted),
        (true, Some(_)) => Ok(Stage::Complete),
        (false, Some(_)) => Err(missing(ROOT_B)),
        (true, None) => Err(missing(STATE)),
    }
}

/// Whether a table is that of [`built_recovery_image`], before the first boot completed it.
#[must_use]
pub fn is_recovery_image(table: &Gpt) -> bool {
    let has = |role: Role| table.partitions.contains_key(&role.number);
    has(RECOVERY) && ![ROOT_A, ROOT_B, STATE].into_iter().any(has)
}

/// Adds slot B, recovery and state to the table of a built image on a disk of `disk_length` bytes,
/// and gives everything its own identity. `image_length` is that of the running image with its hash
/// tree. The state partition is named [`STATE_NEW_NAME`]; rename it with [`finish_state`] after its
/// file system is written and flushed. A table past [`Stage::Built`] is returned as it is.
///
/// New slots are as large as slot A; if that leaves state less than [`MINIMUM_STATE`] they shrink to
/// [`smallest_slot_length`], then recovery is left out. State is last and takes the rest, so that
/// it can grow with the disk.
///
/// # Errors
/// [`Error::DiskTooSmall`] with the length that would do, and what [`stage`] refuses.
pub fn complete(
    table: &Gpt,
    disk_length: u64,
    image_length: u64,
    options: &CompleteOptions,
) -> Result<Gpt, Error> {
    complete_by(table, disk_length, image_length, options, &Layout::default(), &mut || Guid::ZERO)
}

/// [`complete`] as a layout wants it: without recovery, with further partitions in front of state,
/// which `identity` gives a random identity each. The ESP and slot A are as they were built.
///
/// # Errors
/// As [`complete`].
pub fn complete_by(
    table: &Gpt,
    disk_length: u64,
    image_length: u64,
    options: &CompleteOptions,
    layout: &Layout,
    identity: &mut dyn FnMut() -> Guid,
) -> Result<Gpt, Error> {
    if stage(table)? != Stage::Built {
        return Ok(table.clone());
    }
    let mut new = resized(table, disk_length, options.disk_guid)?;
    let root = if is_recovery_image(table) { RECOVERY } else { ROOT_A };
    let root_guid = if root == ROOT_A { options.root_a_guid } else { options.recovery_guid };
    for (role, guid) in [(ESP, options.esp_guid), (root, root_guid)] {
        if let Some(partition) = new.partitions.get_mut(&role.number) {
            partition.guid = guid;
        }
    }
    let sector = u64::from(new.sector_size);
    let full = table.partitions.get(&root.number).map_or(0, |slot| slot.length(new.sector_size));
    let small = smallest_slot_length(image_length).min(full);
    if image_length > full {
        return Err(Error::SlotTooSmall { image: image_length, slot: full });
    }
    let used = table.partitions.values().map(|partition| partition.last_lba).max().unwrap_or(0);
    let start = align(used.saturating_add(1).saturating_mul(sector));
    let end = (new.last_usable + 1).saturating_mul(sector) / ALIGNMENT * ALIGNMENT;
    let room = end.saturating_sub(start);
    // Of the two slots and recovery one is there; an image that starts in recovery needs both others.
    let attempts = [(full, true), (small, true), (full, false), (small, false)];
    let has_choice = root == ROOT_A;
    let wants_recovery = options.recovery && layout.recovery;
    let extras = layout.partitions.iter().map(|extra| align(extra.length));
    let least = extras.fold(align(layout.state), u64::saturating_add);
    let fits = |(slot, recovery): &(u64, bool)| {
        let slots = slot.saturating_mul(1 + u64::from(*recovery));
        let allowed =
            if has_choice { *recovery == wants_recovery || !*recovery } else { *recovery };
        allowed && slots.saturating_add(least) <= room
    };
    let Some((slot, recovery)) = attempts.into_iter().find(fits) else {
        let slots = if has_choice { small } else { small.saturating_mul(2) };
        let needed = [slots, least, ALIGNMENT].into_iter().fold(start, u64::saturating_add);
        return Err(Error::DiskTooSmall { needed, available: disk_length });
    };
    place(&mut new, ROOT_B, start, slot, options.root_b_guid);
    let mut next = start + slot;
    if recovery {
        let (role, guid) = match root {
            RECOVERY => (ROOT_A, options.root_a_guid),
            _ => (RECOVERY, options.recovery_guid),
        };
        place(&mut new, role, next, slot, guid);
        next += slot;
    }
    for (number, wanted) in (FIRST_EXTRA..).zip(&layout.partitions) {
        let (entry, length) = (extra::entry(wanted, identity()), align(wanted.length));
        let last_lba = ((next + length) / sector).saturating_sub(1);
        let entry = PartitionEntry { first_lba: next / sector, last_lba, ..entry };
        new.partitions.insert(number, entry);
        next += length;
    }
    place(&mut new, STATE, next, end - next, options.state_guid);
    if let Some(state) = new.partitions.get_mut(&STATE.number) {
        state.name = STATE_NEW_NAME.into();
    }
    new.check()?;
    Ok(new)
}

/// Gives the state partition its lasting name: from then on nothing formats it.
///
/// # Errors
/// [`Error::MissingPartition`], and what [`stage`] refuses.
pub fn finish_state(table: &Gpt) -> Result<Gpt, Error> {
    stage(table)?;
    let mut new = table.clone();
    let missing = Error::MissingPartition { number: STATE.number, name: STATE.name };
    new.partitions.get_mut(&STATE.number).ok_or(missing)?.name = STATE.name.into();
    Ok(new)
}

/// Gives the state partition the name under which the next boot formats it, whatever it holds: only for
/// somebody who asked for exactly that. [`finish_state`] takes it back.
///
/// # Errors
/// [`Error::MissingPartition`], and what [`stage`] refuses.
pub fn renew_state(table: &Gpt) -> Result<Gpt, Error> {
    stage(table)?;
    let mut new = table.clone();
    let missing = Error::MissingPartition { number: STATE.number, name: STATE.name };
    new.partitions.get_mut(&STATE.number).ok_or(missing)?.name = STATE_NEW_NAME.into();
    Ok(new)
}

/// Extends the last partition, if it is state, to the end of a disk that has grown; `None` if
/// there is nothing to gain. The caller grows the file system.
///
/// # Errors
/// What [`stage`] and [`Gpt::check`] refuse.
pub fn grow_state(table: &Gpt, disk_length: u64) -> Result<Option<Gpt>, Error> {
    stage(table)?;
    let sector = u64::from(table.sector_size);
    if disk_length / sector <= table.disk_sectors {
        return Ok(None);
    }
    let mut new = resized(table, disk_length, table.disk_guid)?;
    let end = (new.last_usable + 1).saturating_mul(sector) / ALIGNMENT * ALIGNMENT / sector;
    let last = new.partitions.values().map(|partition| partition.last_lba).max();
    let state = new.partitions.get_mut(&STATE.number);
    match state.filter(|state| Some(state.last_lba) == last && state.last_lba + 1 < end) {
        Some(state) => state.last_lba = end - 1,
        None => return Ok(None),
    }
    new.check()?;
    Ok(Some(new))
}

/// The same partitions on a disk of another length.
fn resized(table: &Gpt, disk_length: u64, disk_guid: Guid) -> Result<Gpt, Error> {
    let mut new = Gpt::empty(table.sector_size, disk_length, disk_guid)?;
    new.partitions = table.partitions.clone();
    Ok(new)
}

/// Adds a partition; `start` and `length` are bytes and multiples of [`ALIGNMENT`].
fn place(table: &mut Gpt, role: Role, start: u64, length: u64, guid: Guid) {
    let sector = u64::from(table.sector_size);
    let partition = PartitionEntry {
        type_guid: role.type_guid,
        guid,
        first_lba: start / sector,
        last_lba: (start.saturating_add(length) / sector).saturating_sub(1),
        attributes: 0,
        name: role.name.into(),
    };
    table.partitions.insert(role.number, partition);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn build(image: u64, sector_size: u32, slot_length: Option<u64>) -> Result<Gpt, Error> {
        let options = BuildOptions {
            sector_size,
            esp_length: DEFAULT_ESP_LENGTH,
            slot_length,
            disk_guid: Guid([1; 16]),
            esp_guid: Guid([2; 16]),
            root_a_guid: Guid([3; 16]),
        };
        built_image(image, &options)
    }

    fn options(recovery: bool) -> CompleteOptions {
        CompleteOptions {
            recovery,
            disk_guid: Guid([11; 16]),
            esp_guid: Guid([12; 16]),
            root_a_guid: Guid([13; 16]),
            root_b_guid: Guid([14; 16]),
            state_guid: Guid([15; 16]),
            recovery_guid: Guid([16; 16]),
        }
    }

    /// Offset and length in MiB by number.
    fn places(table: &Gpt) -> Vec<(u32, u64, u64)> {
        let mebibytes = |bytes: u64| bytes / MIB;
        let place = |(number, p): (&u32, &PartitionEntry)| {
            let (offset, length) = (p.offset(table.sector_size), p.length(table.sector_size));
            assert_eq!((offset % MIB, length % MIB), (0, 0), "{number}");
            (*number, mebibytes(offset), mebibytes(length))
        };
        table.partitions.iter().map(place).collect()
    }

    #[test]
    fn a_built_image_has_the_esp_and_slot_a() {
        for sector_size in [512, 4096] {
            let table = build(300 * MIB + 4096, sector_size, None).unwrap();
            assert_eq!(places(&table), [(2, 1, 1024), (3, 1025, 2048)]);
            assert_eq!(table.disk_sectors * u64::from(sector_size), 3074 * MIB);
            assert_eq!(stage(&table).unwrap(), Stage::Built);
        }
        let table = build(1500 * MIB + 1, 512, None).unwrap();
        assert_eq!(places(&table)[1], (3, 1025, 3001));
        let table = build(10 * MIB, 512, Some(10 * MIB + 1)).unwrap();
        assert_eq!(places(&table)[1], (3, 1025, 11));
        assert!(matches!(build(12 * MIB, 512, Some(11 * MIB)), Err(Error::SlotTooSmall { .. })));
        assert!(build(u64::MAX, 512, None).is_err());
    }

    #[test]
    fn the_first_boot_shrinks_slots_then_drops_recovery_then_refuses() {
        type Case = (&'static str, u64, bool, Option<&'static [(u32, u64, u64)]>);
        // Slot A ends at 3073 MiB; one MiB at the end is lost to the backup table.
        let image = 400 * MIB;
        let cases: [Case; 8] = [
            ("roomy", 20 * GIB, true, Some(&[(4, 3073, 2048), (5, 7169, 13310), (6, 5121, 2048)])),
            ("unwanted", 20 * GIB, false, Some(&[(4, 3073, 2048), (5, 5121, 15358)])),
            ("exact", 7682 * MIB, true, Some(&[(4, 3073, 2048), (5, 7169, 512), (6, 5121, 2048)])),
            ("small", 7681 * MIB, true, Some(&[(4, 3073, 500), (5, 4073, 3607), (6, 3573, 500)])),
            ("tight", 4586 * MIB, true, Some(&[(4, 3073, 500), (5, 4073, 512), (6, 3573, 500)])),
            ("dropped", 4585 * MIB, true, Some(&[(4, 3073, 500), (5, 3573, 1011)])),
            ("least", 4086 * MIB, true, Some(&[(4, 3073, 500), (5, 3573, 512)])),
            ("refused", 4085 * MIB, true, None),
        ];
        for sector_size in [512, 4096] {
            let built = build(image, sector_size, None).unwrap();
            for (name, disk, recovery, expected) in cases {
                let result = complete(&built, disk, image, &options(recovery));
                let Some(expected) = expected else {
                    let needed = 4086 * MIB;
                    let refused =
                        matches!(result, Err(Error::DiskTooSmall { needed: n, .. }) if n == needed);
                    assert!(refused, "{name}: {result:?}");
                    continue;
                };
                let table = result.unwrap();
                assert_eq!(&places(&table)[2..], expected, "{name}");
                assert_eq!(&places(&table)[..2], &places(&built)[..], "{name}");
                assert_eq!(table.disk_guid, Guid([11; 16]));
                assert_eq!(table.partitions[&2].guid, Guid([12; 16]));
                assert_eq!(table.partitions[&5].name, STATE_NEW_NAME);
                assert_eq!(stage(&table).unwrap(), Stage::Unformatted);
            }
        }
    }

    #[test]
    fn the_first_boot_makes_what_the_layout_wants() {
        let extra = ExtraPartition {
            label: "data".into(),
            length: GIB,
            file_system: Some(FileSystem::Ext4),
            mount: None,
        };
        let layout = Layout { recovery: false, partitions: vec![extra], ..Layout::default() };
        let built = build(MIB, 512, None).unwrap();
        let by = |disk: u64| {
            complete_by(&built, disk, MIB, &options(true), &layout, &mut || Guid([17; 16]))
        };
        let table = by(20 * GIB).unwrap();
        let expected = [(4, 3073, 2048), (5, 6145, 14334), (7, 5121, 1024)];
        assert_eq!(&places(&table)[2..], expected);
        assert_eq!(unformatted(&table), Some((7, "data")));
        assert_eq!(table.partitions[&7].guid, Guid([17; 16]));
        assert_eq!(stage(&table).unwrap(), Stage::Unformatted);
        // Slot B shrinks to 2 MiB; the further partition and state do not.
        assert!(by(4612 * MIB).is_ok());
        assert!(
            matches!(by(4611 * MIB), Err(Error::DiskTooSmall { needed, .. }) if needed == 4612 * MIB)
        );
    }

    #[test]
    fn a_completed_table_is_never_completed_again() {
        let built = build(MIB, 512, None).unwrap();
        let first = complete(&built, 20 * GIB, MIB, &options(true)).unwrap();
        let mut other = options(false);
        other.disk_guid = Guid([99; 16]);
        assert_eq!(complete(&first, 40 * GIB, MIB, &other).unwrap(), first);
        let finished = finish_state(&first).unwrap();
        assert_eq!(stage(&finished).unwrap(), Stage::Complete);
        assert_eq!(complete(&finished, 40 * GIB, MIB, &other).unwrap(), finished);
        assert_eq!(grow_state(&finished, 20 * GIB).unwrap(), None);
        let grown = grow_state(&finished, 40 * GIB).unwrap().unwrap();
        assert_eq!(places(&grown)[3], (5, 7169, 40 * 1024 - 7169 - 1));
        assert_eq!(grown.disk_guid, finished.disk_guid);
        assert!(finish_state(&built).is_err());
    }

    #[test]
    fn an_image_that_starts_in_recovery_gets_both_slots() {
        let options_of_build = BuildOptions {
            sector_size: 512,
            esp_length: 64 * MIB,
            slot_length: Some(GIB),
            disk_guid: Guid([1; 16]),
            esp_guid: Guid([2; 16]),
            root_a_guid: Guid([3; 16]),
        };
        let built = built_recovery_image(600 * MIB, &options_of_build).unwrap();
        assert!(is_recovery_image(&built));
        assert_eq!(built.partitions.keys().copied().collect::<Vec<_>>(), [2, 6]);
        assert_eq!(stage(&built).unwrap(), Stage::Built);
        // Recovery stays whatever was asked for: it is what runs.
        for wanted in [true, false] {
            let new = complete(&built, 20 * GIB, 600 * MIB, &options(wanted)).unwrap();
            assert_eq!(stage(&new).unwrap(), Stage::Unformatted);
            assert!(!is_recovery_image(&new));
            let lengths: Vec<_> =
                [3, 4, 6].map(|number| new.partitions[&number].length(512)).to_vec();
            assert_eq!(lengths, [GIB; 3]);
            assert_eq!(new.partitions[&6].first_lba, built.partitions[&6].first_lba);
            assert_eq!(new.partitions[&6].guid, Guid([16; 16]));
            assert_eq!(new.partitions[&3].guid, Guid([13; 16]));
        }
        let small = complete(&built, 3200 * MIB, 600 * MIB, &options(true)).unwrap();
        assert_eq!(small.partitions[&3].length(512), 750 * MIB);
        let error = complete(&built, 3000 * MIB, 600 * MIB, &options(true)).unwrap_err();
        let Error::DiskTooSmall { needed, .. } = error else { panic!("{error}") };
        assert!(complete(&built, needed, 600 * MIB, &options(true)).is_ok(), "{needed}");
    }

    #[test]
    fn foreign_tables_are_left_alone() {
        type Change = fn(&mut Gpt);
        let cases: [(&str, Change); 5] = [
            ("name", |t| t.partitions.get_mut(&3).unwrap().name = "data".into()),
            ("type", |t| t.partitions.get_mut(&2).unwrap().type_guid = ROOT_TYPE),
            ("no slot", |t| drop(t.partitions.remove(&3))),
            ("no ESP", |t| drop(t.partitions.remove(&2))),
            ("state only", |t| {
                let mut state = t.partitions[&3].clone();
                state.name = STATE.name.into();
                state.type_guid = STATE.type_guid;
                t.partitions.insert(5, state);
            }),
        ];
        for (name, change) in cases {
            let mut table = build(MIB, 512, None).unwrap();
            change(&mut table);
            assert!(complete(&table, 20 * GIB, MIB, &options(true)).is_err(), "{name}");
        }
    }

    #[test]
    fn frozen_types() {
        let types = [ROOT_TYPE, STATE.type_guid, RECOVERY.type_guid].map(|guid| guid.to_string());
        assert_eq!(
            types,
            [
                "4eda1196-cbe8-42de-8851-cb7224f74725",
                "342412f1-af5b-4597-bedb-507fad3371e7",
                "f03f0944-5017-489a-add6-e763799d6ab2",
            ]
        );
    }
}
