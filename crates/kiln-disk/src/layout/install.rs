//! The whole table of a disk that Kiln is installed to, beside partitions that are to stay.
//!
//! Pure. Numbers of Kiln's own partitions are fixed, their places are not: each goes into the first
//! gap that holds it, and state into the largest one that is left. What stays keeps its bytes, its
//! identity and its attributes; only its number may change, where Kiln needs it.
//!
//! The first boot finds a table that is complete and has only to make file systems. Installing the
//! short table of a built image instead was dropped: it has no place for what stays.

use super::extra::{self, FIRST_EXTRA};
use super::{
    ALIGNMENT, BIOS, DEFAULT_ESP_LENGTH, ESP, Layout, RECOVERY, ROOT_A, ROOT_B, Role, STATE,
    STATE_NEW_NAME, align, default_slot_length, smallest_slot_length,
};
use crate::error::Error;
use crate::gpt::{Gpt, Guid, PartitionEntry};

/// What an installation is planned from.
#[derive(Debug, Clone, Copy)]
pub struct InstallOptions<'a> {
    /// Bytes per sector: 512 or 4096.
    pub sector_size: u32,
    /// Length in bytes of the disk.
    pub disk_length: u64,
    /// Length in bytes of the image with its hash tree.
    pub image_length: u64,
    /// The layout.
    pub layout: &'a Layout,
    /// Partitions of the disk's present table that stay, by number.
    pub kept: &'a [(u32, PartitionEntry)],
}

/// Plans the table. `identity` gives a new random identity at each call: the disk's first, then one
/// for each new partition.
///
/// # Errors
/// [`Error::DiskTooSmall`] with the length that would do, [`Error::SlotTooSmall`], [`Error::Keep`].
pub fn install(
    options: &InstallOptions<'_>,
    identity: &mut dyn FnMut() -> Guid,
) -> Result<Gpt, Error> {
    let layout = options.layout;
    let mut table = Gpt::empty(options.sector_size, options.disk_length, identity())?;
    // So that both places of the entry array stay free for safe updates.
    table.first_usable = ALIGNMENT / u64::from(options.sector_size);
    let numbers = numbers(options)?;
    for (number, entry) in &numbers {
        table.partitions.insert(*number, entry.clone());
    }
    check_kept(&table)?;

    let full = layout.slot.map_or_else(|| default_slot_length(options.image_length), align);
    if options.image_length > full {
        return Err(Error::SlotTooSmall { image: options.image_length, slot: full });
    }
    let small = smallest_slot_length(options.image_length).min(full);
    let keeps_recovery = table.partitions.contains_key(&RECOVERY.number);
    let attempts = [(full, true), (small, true), (full, false), (small, false)];
    let wanted = |recovery: bool| !recovery || layout.recovery && !keeps_recovery;
    for (slot, recovery) in attempts.into_iter().filter(|(_, recovery)| wanted(*recovery)) {
        if let Some(places) = places(&table, options, slot, recovery) {
            for (number, mut entry, start, length) in places {
                entry.guid = identity();
                let sector = u64::from(options.sector_size);
                entry.first_lba = start / sector;
                entry.last_lba = (start.saturating_add(length) / sector).saturating_sub(1);
                table.partitions.insert(number, entry);
            }
            table.check()?;
            return Ok(table);
        }
    }
    Err(Error::DiskTooSmall { needed: needed(&table, options), available: options.disk_length })
}

/// The table that is left when everything goes that does not stay: what a disk has while it is
/// installed to. Nothing on it can be started.
///
/// # Errors
/// [`Error::Keep`], and a disk that cannot hold a table.
pub fn only_kept(
    sector_size: u32,
    disk_length: u64,
    kept: &[(u32, PartitionEntry)],
    disk_guid: Guid,
) -> Result<Gpt, Error> {
    let mut table = Gpt::empty(sector_size, disk_length, disk_guid)?;
    table.partitions = kept.iter().cloned().collect();
    check_kept(&table)?;
    Ok(table)
}

/// Whether a partition may stay.
///
/// # Errors
/// [`Error::Keep`] with the reason.
pub fn check_keep(number: u32, entry: &PartitionEntry) -> Result<(), Error> {
    let refuse = |reason| Err(Error::Keep { number, name: entry.name.clone(), reason });
    if [BIOS, ESP, ROOT_A, ROOT_B].iter().any(|role| role.name == entry.name) {
        return refuse("Kiln writes it anew");
    }
    if entry.type_guid == ESP.type_guid {
        return refuse("firmware would still start what is on it");
    }
    if entry.name == STATE_NEW_NAME || entry.type_guid == extra::EXTRA_NEW_TYPE {
        return refuse("it has no file system yet");
    }
    for role in [STATE, RECOVERY] {
        if (entry.name == role.name) != (entry.type_guid == role.type_guid) {
            return refuse("its name and its type do not belong together");
        }
    }
    Ok(())
}

/// Kept partitions with the numbers that they get.
fn numbers(options: &InstallOptions<'_>) -> Result<Vec<(u32, PartitionEntry)>, Error> {
    let mut numbered: Vec<(u32, PartitionEntry)> = Vec::new();
    let mut others = Vec::new();
    for (number, entry) in options.kept {
        check_keep(*number, entry)?;
        let role = [STATE, RECOVERY].into_iter().find(|role| role.name == entry.name);
        let own = role.map(|role| role.number).or((*number >= FIRST_EXTRA).then_some(*number));
        match own {
            Some(own) if numbered.iter().any(|(taken, _)| *taken == own) => {
                let (name, reason) = (entry.name.clone(), "another one with its name stays");
                return Err(Error::Keep { number: *number, name, reason });
            }
            Some(own) => numbered.push((own, entry.clone())),
            None => others.push(entry.clone()),
        }
    }
    for entry in others {
        let number = free_number(&numbered);
        numbered.push((number, entry));
    }
    Ok(numbered)
}

fn free_number(taken: &[(u32, PartitionEntry)]) -> u32 {
    (FIRST_EXTRA..)
        .find(|number| taken.iter().all(|(other, _)| other != number))
        .unwrap_or(u32::MAX)
}

/// Kept partitions lie where a table of ours may have partitions.
fn check_kept(table: &Gpt) -> Result<(), Error> {
    for (number, entry) in &table.partitions {
        let refuse =
            |reason| Err(Error::Keep { number: *number, name: entry.name.clone(), reason });
        if entry.first_lba < table.first_usable {
            return refuse("it begins in the first MiB of the disk");
        }
        if entry.last_lba > table.last_usable {
            return refuse("it ends where the table's copy has to be");
        }
    }
    table.check()
}

/// A partition with its number, start and length in bytes.
type Placed = (u32, PartitionEntry, u64, u64);

/// Places of all new partitions, or `None` if they do not fit.
fn places(
    table: &Gpt,
    options: &InstallOptions<'_>,
    slot: u64,
    recovery: bool,
) -> Option<Vec<Placed>> {
    let layout = options.layout;
    let mut gaps = gaps(table);
    let mut placed = Vec::new();
    let esp = align(layout.esp.unwrap_or(DEFAULT_ESP_LENGTH));
    let mut own = vec![(ESP, esp), (ROOT_A, slot), (ROOT_B, slot)];
    own.extend(recovery.then_some((RECOVERY, slot)));
    for (role, length) in own {
        placed.push((role.number, of(role), take(&mut gaps, length)?, length));
    }
    let mut taken: Vec<(u32, PartitionEntry)> =
        table.partitions.iter().map(|(number, entry)| (*number, entry.clone())).collect();
    for wanted in &layout.partitions {
        // One that stays is the one that is wanted.
        if taken.iter().any(|(_, entry)| entry.name == wanted.label) {
            continue;
        }
        let length = align(wanted.length);
        let (number, entry) = (free_number(&taken), extra::entry(wanted, Guid::ZERO));
        placed.push((number, entry.clone(), take(&mut gaps, length)?, length));
        taken.push((number, entry));
    }
    if !table.partitions.contains_key(&STATE.number) {
        // The largest; of equal ones the last, which can grow.
        let (start, end) = gaps.into_iter().max_by_key(|(start, end)| (end - start, *start))?;
        if end - start < layout.state {
            return None;
        }
        let state = PartitionEntry { name: STATE_NEW_NAME.into(), ..of(STATE) };
        placed.push((STATE.number, state, start, end - start));
    }
    Some(placed)
}

fn of(role: Role) -> PartitionEntry {
    PartitionEntry {
        type_guid: role.type_guid,
        guid: Guid::ZERO,
        first_lba: 0,
        last_lba: 0,
        attributes: 0,
        name: role.name.into(),
    }
}

/// Free ranges in bytes, whole MiB, ascending.
fn gaps(table: &Gpt) -> Vec<(u64, u64)> {
    let sector = u64::from(table.sector_size);
    let mut used: Vec<(u64, u64)> = table
        .partitions
        .values()
        .map(|entry| {
            (
                entry.first_lba.saturating_mul(sector),
                entry.last_lba.saturating_add(1).saturating_mul(sector),
            )
        })
        .collect();
    used.sort_unstable();
    let last = table.last_usable.saturating_add(1).saturating_mul(sector) / ALIGNMENT * ALIGNMENT;
    let mut gaps = Vec::new();
    let mut start = ALIGNMENT;
    for (first, end) in used {
        gaps.push((start, first / ALIGNMENT * ALIGNMENT));
        start = align(end);
    }
    gaps.push((start, last));
    gaps.retain(|(start, end)| start < end);
    gaps
}

/// Takes `length` bytes from the first gap that has them.
fn take(gaps: &mut [(u64, u64)], length: u64) -> Option<u64> {
    let gap = gaps.iter_mut().find(|(start, end)| end.saturating_sub(*start) >= length)?;
    let start = gap.0;
    gap.0 = start.checked_add(length)?;
    Some(start)
}

/// Length in bytes of the smallest disk that holds a layout and an image of `image_length` bytes.
#[must_use]
pub fn least_length(layout: &Layout, image_length: u64) -> u64 {
    let slot = smallest_slot_length(image_length);
    let extras = layout.partitions.iter().map(|extra| align(extra.length));
    let esp = align(layout.esp.unwrap_or(DEFAULT_ESP_LENGTH));
    let own = [ALIGNMENT, esp, slot, slot, align(layout.state), ALIGNMENT];
    own.into_iter().chain(extras).fold(0, u64::saturating_add)
}

/// A length in bytes of the disk that would do: exact where nothing stays.
fn needed(table: &Gpt, options: &InstallOptions<'_>) -> u64 {
    let length =
        |entry: &PartitionEntry| align(entry.length(table.sector_size)).saturating_add(ALIGNMENT);
    let kept = table.partitions.values().map(length).fold(0, u64::saturating_add);
    // What stays for one of the layout's is not made as well.
    let is_kept = |label: &str| table.partitions.values().any(|entry| entry.name == label);
    let extras = options.layout.partitions.iter().filter(|extra| is_kept(&extra.label));
    let mut spared = extras.map(|extra| align(extra.length)).fold(0, u64::saturating_add);
    if table.partitions.contains_key(&STATE.number) {
        spared = spared.saturating_add(align(options.layout.state));
    }
    least_length(options.layout, options.image_length).saturating_add(kept).saturating_sub(spared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{ExtraPartition, FileSystem, MINIMUM_STATE, Stage, stage};

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn counter() -> impl FnMut() -> Guid {
        let mut next = 0_u8;
        move || {
            next += 1;
            Guid([next; 16])
        }
    }

    fn entry(name: &str, first: u64, length: u64, type_guid: Guid) -> PartitionEntry {
        let (first_lba, last_lba) = (first * MIB / 512, (first + length) * MIB / 512 - 1);
        let guid = Guid([0xee; 16]);
        PartitionEntry { type_guid, guid, first_lba, last_lba, attributes: 4, name: name.into() }
    }

    /// Number, name, start and length in MiB, in the order on the disk.
    fn places(table: &Gpt) -> Vec<(u32, &str, u64, u64)> {
        let mut places: Vec<_> = table
            .partitions
            .iter()
            .map(|(number, entry)| {
                let (start, length) =
                    (entry.offset(table.sector_size), entry.length(table.sector_size));
                (*number, entry.name.as_str(), start / MIB, length / MIB)
            })
            .collect();
        places.sort_by_key(|place| place.2);
        places
    }

    fn plan(
        disk: u64,
        image: u64,
        layout: &Layout,
        kept: &[(u32, PartitionEntry)],
    ) -> Result<Gpt, Error> {
        let options = InstallOptions {
            sector_size: 512,
            disk_length: disk,
            image_length: image,
            layout,
            kept,
        };
        install(&options, &mut counter())
    }

    #[test]
    fn a_whole_disk_gets_everything() {
        for sector_size in [512, 4096] {
            let options = InstallOptions {
                sector_size,
                disk_length: 20 * GIB,
                image_length: 400 * MIB,
                layout: &Layout::default(),
                kept: &[],
            };
            let table = install(&options, &mut counter()).unwrap();
            let expected = [
                (2, "kiln-esp", 1, 1024),
                (3, "kiln-root-a", 1025, 2048),
                (4, "kiln-root-b", 3073, 2048),
                (6, "kiln-recovery", 5121, 2048),
                (5, "kiln-state-new", 7169, 13310),
            ];
            assert_eq!(places(&table), expected);
            assert_eq!(stage(&table).unwrap(), Stage::Unformatted);
            let mut guids: Vec<Guid> = table.partitions.values().map(|entry| entry.guid).collect();
            guids.push(table.disk_guid);
            guids.sort();
            guids.dedup();
            assert_eq!(guids.len(), 6);
        }
    }

    #[test]
    fn small_disks_lose_slack_then_recovery_then_are_refused() {
        let layout = Layout { esp: Some(512 * MIB), ..Layout::default() };
        let image = 400 * MIB;
        // 1 + 512 + n slots + state + 1
        let cases = [
            (7170, Some((2048, true))),
            (7169, Some((500, true))),
            (2526, Some((500, true))),
            (2525, Some((500, false))),
            (2026, Some((500, false))),
            (2025, None),
        ];
        for (disk, expected) in cases {
            let result = plan(disk * MIB, image, &layout, &[]);
            let Some((slot, recovery)) = expected else {
                let refused = matches!(result, Err(Error::DiskTooSmall { needed, .. }) if needed == 2026 * MIB);
                assert!(refused, "{disk}: {result:?}");
                continue;
            };
            let table = result.unwrap();
            assert_eq!(table.partitions[&3].length(512), slot * MIB, "{disk}");
            assert_eq!(table.partitions.contains_key(&6), recovery, "{disk}");
            assert!(table.partitions[&5].length(512) >= MINIMUM_STATE);
        }
        let layout = Layout { slot: Some(100 * MIB), ..Layout::default() };
        assert!(matches!(plan(20 * GIB, image, &layout, &[]), Err(Error::SlotTooSmall { .. })));
    }

    #[test]
    fn further_partitions_are_placed_before_state_and_marked() {
        let extra = |label: &str, file_system| ExtraPartition {
            label: label.into(),
            length: GIB,
            file_system,
            mount: None,
        };
        let partitions = vec![extra("data", Some(FileSystem::Ext4)), extra("raw", None)];
        let layout = Layout { recovery: false, partitions, ..Layout::default() };
        let table = plan(20 * GIB, MIB, &layout, &[]).unwrap();
        let expected = [
            (2, "kiln-esp", 1, 1024),
            (3, "kiln-root-a", 1025, 2048),
            (4, "kiln-root-b", 3073, 2048),
            (7, "data", 5121, 1024),
            (8, "raw", 6145, 1024),
            (5, "kiln-state-new", 7169, 13310),
        ];
        assert_eq!(places(&table), expected);
        assert_eq!(extra::unformatted(&table), Some((7, "data")));
        let finished = extra::finish_extra(&table, 7).unwrap();
        assert_eq!(extra::unformatted(&finished), None);
        for number in [7, 8, 5, 99] {
            assert!(extra::finish_extra(&finished, number).is_err(), "{number}");
        }
    }

    #[test]
    fn what_stays_keeps_its_place_and_identity() {
        let state = entry(STATE.name, 10_000, 5_000, STATE.type_guid);
        let photos = entry("photos", 2000, 3000, extra::EXTRA_TYPE);
        let kept = [(5, state.clone()), (3, photos.clone())];
        let table = plan(20 * GIB, 400 * MIB, &Layout::default(), &kept).unwrap();
        let expected = [
            (2, "kiln-esp", 1, 1024),
            (7, "photos", 2000, 3000),
            (3, "kiln-root-a", 5000, 2048),
            (4, "kiln-root-b", 7048, 2048),
            (5, "kiln-state", 10_000, 5_000),
            (6, "kiln-recovery", 15_000, 2048),
        ];
        assert_eq!(places(&table), expected);
        assert_eq!((&table.partitions[&5], &table.partitions[&7]), (&state, &photos));
        assert_eq!(stage(&table).unwrap(), Stage::Complete);

        let meanwhile = only_kept(512, 20 * GIB, &kept, Guid([1; 16])).unwrap();
        assert_eq!(meanwhile.partitions.len(), 2);
        assert!(stage(&meanwhile).is_err());

        // A layout that asks for what stays gets just that.
        let wanted = ExtraPartition {
            label: "photos".into(),
            length: GIB,
            file_system: Some(FileSystem::Ext4),
            mount: Some("/srv/photos".into()),
        };
        let layout = Layout { partitions: vec![wanted], ..Layout::default() };
        let table = plan(20 * GIB, 400 * MIB, &layout, &[(1, photos)]).unwrap();
        assert_eq!(extra::unformatted(&table), None);
        assert_eq!(extra::mounts(&table, &layout)[0].2, "/srv/photos");
    }

    #[test]
    fn what_cannot_stay_is_refused() {
        let state = || entry(STATE.name, 9000, 1000, STATE.type_guid);
        let cases = [
            ("anew", entry(ROOT_A.name, 2000, 10, ROOT_A.type_guid)),
            ("firmware", entry("old", 2000, 10, ESP.type_guid)),
            ("no file system", entry(STATE_NEW_NAME, 2000, 10, STATE.type_guid)),
            ("no file system", entry("data", 2000, 10, extra::EXTRA_NEW_TYPE)),
            ("belong together", entry(STATE.name, 2000, 10, extra::EXTRA_TYPE)),
            ("another one", entry(STATE.name, 2000, 10, STATE.type_guid)),
            (
                "first MiB",
                PartitionEntry { first_lba: 34, ..entry("boot", 1, 1, extra::EXTRA_TYPE) },
            ),
            ("copy", entry("end", 20_479, 1, extra::EXTRA_TYPE)),
        ];
        for (expected, bad) in cases {
            let kept = [(5, state()), (9, bad)];
            let error = plan(20 * GIB, MIB, &Layout::default(), &kept).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
