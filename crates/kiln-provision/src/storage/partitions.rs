//! Which partitions a disk gets: a table as it is, what is wanted, and the table that results.
//!
//! A pure function. The rules are those of Ignition's operator notes: a partition is found by its
//! number, else by its label; one that is there and matches is kept; one that does not match is removed
//! only where `wipe_entry` says so, resized only where `resize` says so, and otherwise everything is
//! refused before a sector is written. All of a disk is decided first and becomes one new table with one
//! commit. Editing partition by partition was dropped: a fault in the third would leave two.

use kiln_config::storage::{Disk, Partition};
use kiln_disk::layout::FIRST_EXTRA;
use kiln_disk::{Gpt, Guid, PartitionEntry};

use crate::Error;

/// Partitions begin at multiples of this many bytes: no physical sector, erase block or stripe that is
/// common is larger.
const ALIGNMENT: u64 = 1 << 20;

/// Type of a partition whose type nobody names: Linux file system data (UAPI discoverable partitions).
pub(crate) const DATA: Guid = Guid::from_u128(0x0fc63daf_8483_4772_8e79_3d69d8477de4);

/// What happens to one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is there and matches.
    Keep,
    /// It is made.
    Create,
    /// It is removed.
    Delete,
    /// It gives way to a new one of the same number.
    Replace,
    /// Its end moves.
    Resize,
    /// It is absent, and is to be.
    Nothing,
}

/// The new table of a disk and what it means for each partition that was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// The whole new table.
    pub(crate) table: Gpt,
    /// Number of each wanted partition, in the order of the configuration, and what happens to it.
    pub(crate) steps: Vec<(u32, Step)>,
}

/// Decides the new table of a disk.
///
/// `guid` gives a fresh identity for each call. `protected` says which partitions belong to the system.
///
/// # Errors
/// [`Error::Partition`] naming device, number and what does not fit; nothing was changed.
pub(crate) fn plan(
    table: &Gpt,
    wanted: &Disk,
    protected: &dyn Fn(&PartitionEntry) -> bool,
    guid: &mut dyn FnMut() -> Guid,
) -> Result<Change, Error> {
    let first = first_number(table, protected);
    let mut planning = Planning { device: &wanted.device, table: table.clone(), first, protected };
    if wanted.wipe_table {
        if let Some((number, _)) = table.partitions.iter().find(|(_, entry)| protected(entry)) {
            return Err(planning.refuse(*number, "it belongs to the system, so the table stays"));
        }
        planning.table.partitions.clear();
    }
    // What has a number takes it before those that take the next free one.
    let mut order: Vec<usize> = (0..wanted.partitions.len()).collect();
    order.sort_by_key(|&index| numbered(&wanted.partitions[index]).is_none());
    let mut steps = vec![(0, Step::Nothing); wanted.partitions.len()];
    // Deleting first makes room for those that are made, whatever the order of the configuration.
    for &index in &order {
        if wanted.partitions[index].absent {
            steps[index] = planning.remove(&wanted.partitions[index])?;
        }
    }
    for &index in &order {
        if !wanted.partitions[index].absent {
            steps[index] = planning.make(&wanted.partitions[index], guid)?;
        }
    }
    planning.table.check().map_err(Error::Disk)?;
    Ok(Change { table: planning.table, steps })
}

/// The lowest number that a new partition may have: those below are Kiln's on the system's disk, also
/// where nothing has them today.
pub(crate) fn first_number(table: &Gpt, protected: &dyn Fn(&PartitionEntry) -> bool) -> u32 {
    if table.partitions.values().any(protected) { FIRST_EXTRA } else { 1 }
}

struct Planning<'wanted> {
    device: &'wanted str,
    table: Gpt,
    first: u32,
    protected: &'wanted dyn Fn(&PartitionEntry) -> bool,
}

impl Planning<'_> {
    fn refuse(&self, number: u32, reason: impl Into<String>) -> Error {
        Error::Partition { device: self.device.to_owned(), number, reason: reason.into() }
    }

    /// The partition that is meant: by number, else by label.
    fn find(&self, wanted: &Partition) -> Option<u32> {
        match (numbered(wanted), &wanted.label) {
            (Some(number), _) => self.table.partitions.contains_key(&number).then_some(number),
            (None, Some(label)) => self.table.named(label).map(|(number, _)| number),
            (None, None) => None,
        }
    }

    /// Refuses what belongs to the system.
    fn ours(&self, number: u32) -> Result<(), Error> {
        match self.table.partitions.get(&number) {
            Some(entry) if (self.protected)(entry) => Err(self.refuse(
                number,
                format!("`{}` belongs to the system and cannot be changed", entry.name),
            )),
            _ => Ok(()),
        }
    }

    fn remove(&mut self, wanted: &Partition) -> Result<(u32, Step), Error> {
        let Some(number) = self.find(wanted) else {
            return Ok((numbered(wanted).unwrap_or(0), Step::Nothing));
        };
        self.ours(number)?;
        if !wanted.wipe_entry {
            return Err(self.refuse(
                number,
                "it is there, shall be absent, and `wipePartitionEntry` is not set",
            ));
        }
        self.table.partitions.remove(&number);
        Ok((number, Step::Delete))
    }

    fn make(
        &mut self,
        wanted: &Partition,
        guid: &mut dyn FnMut() -> Guid,
    ) -> Result<(u32, Step), Error> {
        let Some(number) = self.find(wanted) else {
            let number = numbered(wanted).or_else(|| self.free_number());
            let number = number.ok_or_else(|| self.refuse(0, "no number is free"))?;
            self.create(number, wanted, guid)?;
            return Ok((number, Step::Create));
        };
        let differs = self.difference(number, wanted)?;
        let Some((what, only_size)) = differs else { return Ok((number, Step::Keep)) };
        self.ours(number)?;
        if only_size && wanted.resize {
            self.resize(number, wanted)?;
            return Ok((number, Step::Resize));
        }
        if !wanted.wipe_entry {
            return Err(self.refuse(
                number,
                format!("it is there with another {what}, and `wipePartitionEntry` is not set"),
            ));
        }
        self.table.partitions.remove(&number);
        self.create(number, wanted, guid)?;
        Ok((number, Step::Replace))
    }

    /// What of a partition that is there is not as wanted: a word for it, and whether it is the size
    /// alone.
    fn difference(
        &self,
        number: u32,
        wanted: &Partition,
    ) -> Result<Option<(&'static str, bool)>, Error> {
        let Some(entry) = self.table.partitions.get(&number) else { return Ok(None) };
        if wanted.label.as_ref().is_some_and(|label| *label != entry.name) {
            return Ok(Some(("label", false)));
        }
        if self.guid(number, wanted.guid.as_deref())?.is_some_and(|guid| guid != entry.guid) {
            return Ok(Some(("GUID", false)));
        }
        if self
            .guid(number, wanted.type_guid.as_deref())?
            .is_some_and(|guid| guid != entry.type_guid)
        {
            return Ok(Some(("type", false)));
        }
        let unit = self.sectors_of(1);
        let start = match wanted.start_mib {
            None => entry.first_lba,
            Some(0) => self.around(number).0,
            Some(mib) => mib.saturating_mul(unit),
        };
        if start != entry.first_lba {
            return Ok(Some(("start", false)));
        }
        let last = match wanted.size_mib {
            None => entry.last_lba,
            Some(0) => self.around(number).1,
            Some(mib) => self.last(entry.first_lba, mib),
        };
        Ok((last != entry.last_lba).then_some(("size", true)))
    }

    fn guid(&self, number: u32, text: Option<&str>) -> Result<Option<Guid>, Error> {
        match text {
            None | Some("") => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| self.refuse(number, format!("`{text}` is no GUID"))),
        }
    }

    fn resize(&mut self, number: u32, wanted: &Partition) -> Result<(), Error> {
        let (_, end) = self.around(number);
        let Some(first) = self.table.partitions.get(&number).map(|entry| entry.first_lba) else {
            return Ok(());
        };
        let last = match wanted.size_mib {
            None | Some(0) => end,
            Some(mib) => self.last(first, mib),
        };
        if last > end {
            return Err(
                self.refuse(number, "there is no room behind it for the size that is wanted")
            );
        }
        if let Some(entry) = self.table.partitions.get_mut(&number) {
            entry.last_lba = last;
        }
        Ok(())
    }

    fn create(
        &mut self,
        number: u32,
        wanted: &Partition,
        guid: &mut dyn FnMut() -> Guid,
    ) -> Result<(), Error> {
        if number > self.table.entry_count {
            return Err(
                self.refuse(number, format!("the table has {} numbers", self.table.entry_count))
            );
        }
        if number < self.first {
            let reason = format!("numbers below {} belong to the system on its disk", self.first);
            return Err(self.refuse(number, reason));
        }
        let free = self.free();
        let (first, end) = match wanted.start_mib {
            None | Some(0) => {
                free.iter().copied().max_by_key(|(first, last)| (last - first, u64::MAX - first))
            }
            Some(mib) => {
                let first = mib.saturating_mul(self.sectors_of(1));
                free.iter()
                    .find(|(low, high)| (*low..=*high).contains(&first))
                    .map(|(_, high)| (first, *high))
            }
        }
        .ok_or_else(|| self.refuse(number, "the place where it shall begin is not free"))?;
        let last = match wanted.size_mib {
            None | Some(0) => end,
            Some(mib) => self.last(first, mib),
        };
        if last > end {
            let room = (end - first + 1) / self.sectors_of(1);
            return Err(self.refuse(number, format!("only {room} MiB are free at its place")));
        }
        let own = self.guid(number, wanted.guid.as_deref())?;
        let entry = PartitionEntry {
            type_guid: self.guid(number, wanted.type_guid.as_deref())?.unwrap_or(DATA),
            guid: own.unwrap_or_else(guid),
            first_lba: first,
            last_lba: last,
            attributes: 0,
            name: wanted.label.clone().unwrap_or_default(),
        };
        self.table.partitions.insert(number, entry);
        Ok(())
    }

    /// Sectors in so many MiB.
    fn sectors_of(&self, mib: u64) -> u64 {
        mib.saturating_mul(ALIGNMENT) / u64::from(self.table.sector_size).max(1)
    }

    /// Last sector of a partition of `mib` MiB.
    fn last(&self, first: u64, mib: u64) -> u64 {
        first.saturating_add(self.sectors_of(mib)).saturating_sub(1)
    }

    fn free_number(&self) -> Option<u32> {
        (self.first..=self.table.entry_count)
            .find(|number| !self.table.partitions.contains_key(number))
    }

    /// First aligned and last sector of the stretch in which a partition could lie if it were alone there.
    fn around(&self, number: u32) -> (u64, u64) {
        let Some(own) = self.table.partitions.get(&number) else { return (0, 0) };
        let others = || {
            self.table
                .partitions
                .iter()
                .filter(|(other, _)| **other != number)
                .map(|(_, entry)| entry)
        };
        let before = others()
            .filter(|entry| entry.last_lba < own.first_lba)
            .map(|entry| entry.last_lba + 1)
            .max();
        let behind = others()
            .filter(|entry| entry.first_lba > own.last_lba)
            .map(|entry| entry.first_lba - 1)
            .min();
        let low = before.unwrap_or(self.table.first_usable);
        (self.align(low), behind.unwrap_or_else(|| self.aligned_end()))
    }

    /// Free stretches from an aligned sector on, in order.
    fn free(&self) -> Vec<(u64, u64)> {
        let mut places: Vec<_> =
            self.table.partitions.values().map(|entry| (entry.first_lba, entry.last_lba)).collect();
        places.sort_unstable();
        let mut free = Vec::new();
        let mut low = self.table.first_usable;
        for (first, last) in places {
            if first > low {
                free.push((self.align(low), first - 1));
            }
            low = low.max(last.saturating_add(1));
        }
        free.push((self.align(low), self.aligned_end()));
        free.retain(|(first, last)| first <= last);
        free
    }

    fn align(&self, sector: u64) -> u64 {
        sector.next_multiple_of(self.sectors_of(1).max(1))
    }

    /// The last sector a partition may have so that it ends at a whole MiB: what `sgdisk` does, too, so
    /// that a table made by it and by us are equal.
    fn aligned_end(&self) -> u64 {
        let unit = self.sectors_of(1).max(1);
        ((self.table.last_usable + 1) / unit * unit).saturating_sub(1)
    }
}

/// The number of a partition, where it has one.
fn numbered(partition: &Partition) -> Option<u32> {
    partition.number.filter(|number| *number != 0)
}

#[cfg(test)]
mod tests {
    use super::{Change, Step, plan};
    use kiln_config::storage::{Disk, Partition};
    use kiln_disk::{Gpt, Guid, PartitionEntry};

    const MIB: u64 = 2048;

    fn entry(first_mib: u64, size_mib: u64, name: &str) -> PartitionEntry {
        let first_lba = first_mib * MIB;
        PartitionEntry {
            type_guid: super::DATA,
            guid: Guid::from_u128(9),
            first_lba,
            last_lba: first_lba + size_mib * MIB - 1,
            attributes: 0,
            name: name.into(),
        }
    }

    /// A disk of 100 MiB with partitions 1 (10 MiB), 2 (20 MiB) and 7 (1 MiB, at the end).
    fn table() -> Gpt {
        let mut table = Gpt::empty(512, 100 << 20, Guid::from_u128(1)).unwrap();
        table.partitions.insert(1, entry(1, 10, "one"));
        table.partitions.insert(2, entry(11, 20, "kiln-root-a"));
        table.partitions.insert(7, entry(98, 1, "seven"));
        table
    }

    fn run(table: &Gpt, wipe: bool, partitions: Vec<Partition>) -> Result<Change, String> {
        let disk = Disk { device: "/dev/vdb".into(), wipe_table: wipe, partitions };
        let mut next = 100;
        let mut guid = || {
            next += 1;
            Guid::from_u128(next)
        };
        plan(table, &disk, &|entry| entry.name.starts_with("kiln-"), &mut guid)
            .map_err(|error| error.to_string())
    }

    fn wanted(number: u32, label: &str, start: Option<u64>, size: Option<u64>) -> Partition {
        Partition {
            number: (number != 0).then_some(number),
            label: (!label.is_empty()).then(|| label.into()),
            start_mib: start,
            size_mib: size,
            ..Partition::default()
        }
    }

    #[test]
    fn the_eight_outcomes_of_a_partition() {
        let there = |absent, wipe_entry, label: &str| Partition {
            absent,
            wipe_entry,
            ..wanted(1, label, None, None)
        };
        for (partition, expected) in [
            (Partition { absent: true, ..wanted(5, "", None, None) }, Ok(Step::Nothing)),
            (
                Partition { absent: true, wipe_entry: true, ..wanted(5, "", None, None) },
                Ok(Step::Nothing),
            ),
            (wanted(8, "", None, None), Ok(Step::Create)),
            (Partition { wipe_entry: true, ..wanted(8, "", None, None) }, Ok(Step::Create)),
            (wanted(6, "", None, None), Err("numbers below 7")),
            (there(true, false, ""), Err("shall be absent")),
            (there(true, true, ""), Ok(Step::Delete)),
            (there(false, false, "one"), Ok(Step::Keep)),
            (there(false, true, "one"), Ok(Step::Keep)),
            (there(false, false, "other"), Err("another label")),
            (there(false, true, "other"), Err("numbers below 7")),
            (Partition { wipe_entry: true, ..wanted(7, "other", None, None) }, Ok(Step::Replace)),
            (wanted(1, "", Some(2), None), Err("another start")),
            (wanted(1, "", Some(0), Some(10)), Ok(Step::Keep)),
            (wanted(1, "", None, Some(0)), Ok(Step::Keep)),
            (wanted(1, "", None, Some(9)), Err("another size")),
            (Partition { resize: true, ..wanted(1, "", None, Some(9)) }, Ok(Step::Resize)),
            (Partition { resize: true, ..wanted(1, "", None, Some(11)) }, Err("no room")),
            (Partition { guid: Some("x".into()), ..wanted(1, "", None, None) }, Err("no GUID")),
            (
                Partition { absent: true, wipe_entry: true, ..wanted(2, "", None, None) },
                Err("belongs to the system"),
            ),
            (
                Partition { wipe_entry: true, ..wanted(2, "x", None, None) },
                Err("belongs to the system"),
            ),
            (wanted(2, "kiln-root-a", None, None), Ok(Step::Keep)),
        ] {
            let result = run(&table(), false, vec![partition.clone()]);
            match (expected, result) {
                (Ok(step), Ok(change)) => assert_eq!(change.steps[0].1, step, "{partition:?}"),
                (Err(part), Err(message)) => assert!(message.contains(part), "{message}"),
                (expected, result) => {
                    panic!("{partition:?}: expected {expected:?}, got {result:?}")
                }
            }
        }
    }

    #[test]
    fn places_are_chosen_in_free_stretches() {
        let change = run(
            &table(),
            false,
            vec![
                wanted(0, "rest", None, Some(0)),
                wanted(9, "small", None, Some(5)),
                wanted(0, "one", None, None),
            ],
        )
        .unwrap();
        assert_eq!(change.steps, [(8, Step::Create), (9, Step::Create), (1, Step::Keep)]);
        let place = |number: u32| {
            let entry = &change.table.partitions[&number];
            (entry.first_lba / MIB, (entry.last_lba + 1) / MIB, (entry.last_lba + 1) % MIB)
        };
        assert_eq!((place(9), place(8)), ((31, 36, 0), (36, 98, 0)));
        for (partition, part) in [
            (wanted(10, "", Some(5), Some(1)), "not free"),
            (wanted(10, "", Some(31), Some(500)), "only 67 MiB"),
            (wanted(200, "", None, None), "128 numbers"),
        ] {
            let message = run(&table(), false, vec![partition]).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_table_with_a_partition_of_the_system_is_never_wiped() {
        let message = run(&table(), true, Vec::new()).unwrap_err();
        assert!(message.contains("belongs to the system"), "{message}");
        let mut other = table();
        other.partitions.remove(&2);
        let change = run(&other, true, vec![wanted(1, "data", None, Some(0))]).unwrap();
        assert_eq!(change.steps, [(1, Step::Create)]);
        assert_eq!(change.table.partitions[&1].first_lba, MIB);
    }
}
