//! Making the kernel's idea of a disk's partitions equal to the table: a pure difference.
//!
//! Needed after the first boot has completed the table, after a disk has grown, and for kernels that
//! cannot read GPT at all. Partitions in use cannot be removed but can be resized, so one that only
//! changed its length is never removed.

use kiln_disk::Gpt;
use kiln_sys::block::Extent;

/// One thing to tell the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Forget this number.
    Remove(u32),
    /// The partition has this length now.
    Resize(Extent),
    /// There is this partition, too.
    Add(Extent),
}

/// What to tell a kernel that knows `known`, in order: what gives room comes first.
#[must_use]
pub fn changes(table: &Gpt, known: &[Extent]) -> Vec<Change> {
    let wanted: Vec<Extent> = table
        .partitions
        .iter()
        .map(|(&number, partition)| Extent {
            number,
            offset: partition.offset(table.sector_size),
            length: partition.length(table.sector_size),
        })
        .collect();
    let mut changes = Vec::new();
    let same_place = |a: &Extent, b: &Extent| a.number == b.number && a.offset == b.offset;
    for old in known {
        if !wanted.iter().any(|new| same_place(old, new)) {
            changes.push(Change::Remove(old.number));
        }
    }
    let mut resized: Vec<(Extent, bool)> = Vec::new();
    for new in &wanted {
        if let Some(old) = known.iter().find(|old| same_place(old, new))
            && old.length != new.length
        {
            resized.push((*new, new.length > old.length));
        }
    }
    // Shrinking before growing.
    resized.sort_by_key(|(_, grows)| *grows);
    changes.extend(resized.into_iter().map(|(extent, _)| Change::Resize(extent)));
    for new in &wanted {
        if !known.iter().any(|old| same_place(old, new)) {
            changes.push(Change::Add(*new));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_disk::{Guid, PartitionEntry};

    #[test]
    fn the_kernel_is_told_only_what_changed() {
        let mut table = Gpt::empty(512, 1 << 30, Guid::ZERO).unwrap();
        for (number, first_lba, last_lba) in [(2, 2048, 4095), (3, 4096, 8191)] {
            let (type_guid, guid) = (Guid([1; 16]), Guid([2; 16]));
            let name = String::new();
            let partition =
                PartitionEntry { type_guid, guid, first_lba, last_lba, attributes: 0, name };
            table.partitions.insert(number, partition);
        }
        let extent = |number, offset, length| Extent { number, offset, length };
        let (two, three) = (extent(2, 1 << 20, 1 << 20), extent(3, 2 << 20, 2 << 20));
        let cases: [(&[Extent], &[Change]); 5] = [
            (&[two, three], &[]),
            (&[], &[Change::Add(two), Change::Add(three)]),
            (&[two], &[Change::Add(three)]),
            (&[two, extent(3, 2 << 20, 512)], &[Change::Resize(three)]),
            (
                &[extent(2, 0, 512), extent(5, 9 << 20, 512), three],
                &[Change::Remove(2), Change::Remove(5), Change::Add(two)],
            ),
        ];
        for (known, expected) in cases {
            assert_eq!(changes(&table, known), expected, "{known:?}");
        }
        let known = [extent(2, 1 << 20, 512), extent(3, 2 << 20, 3 << 20)];
        assert_eq!(changes(&table, &known), [Change::Resize(three), Change::Resize(two)]);
    }
}
