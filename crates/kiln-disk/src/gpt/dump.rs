//! A table as text for `kiln inspect` and for messages: one line per partition.

use super::Gpt;
use std::fmt::Write;

/// Lines with number, first and last sector, length in bytes, type, identity and name.
pub fn dump(table: &Gpt) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "disk {} {} sectors of {} bytes, usable {}-{}",
        table.disk_guid,
        table.disk_sectors,
        table.sector_size,
        table.first_usable,
        table.last_usable
    );
    for (number, partition) in &table.partitions {
        let _ = writeln!(
            text,
            "{number} {}-{} {} type {} guid {} attributes {:#x} {:?}",
            partition.first_lba,
            partition.last_lba,
            partition.length(table.sector_size),
            partition.type_guid,
            partition.guid,
            partition.attributes,
            partition.name
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpt::{Guid, PartitionEntry};

    #[test]
    fn names_are_quoted_so_that_a_line_stays_a_line() {
        let mut table = Gpt::empty(512, 8 << 20, Guid::from_u128(1)).unwrap();
        let partition = PartitionEntry {
            type_guid: Guid::from_u128(2),
            guid: Guid::from_u128(3),
            first_lba: 2048,
            last_lba: 4095,
            attributes: 4,
            name: "a\nb".into(),
        };
        table.partitions.insert(5, partition);
        let expected = "disk 00000000-0000-0000-0000-000000000001 16384 sectors of 512 bytes, \
            usable 2048-16350\n\
            5 2048-4095 1048576 type 00000000-0000-0000-0000-000000000002 \
            guid 00000000-0000-0000-0000-000000000003 attributes 0x4 \"a\\nb\"\n";
        assert_eq!(dump(&table), expected);
    }
}
