//! Partition tables and FAT, each on a sparse disk.

use kiln_disk::gpt::{self, Copy};
use kiln_disk::layout::{self, CompleteOptions};
use kiln_disk::{BlockDevice, Guid, apply, fat::Fat};

use crate::repair;
use crate::sparse::SparseDisk;

/// Files read from a file system, and the most bytes of each.
const FILES: usize = 200;
const FILE_BYTES: u32 = 1 << 20;

/// Reads a partition table. A table that is accepted is the same after it was created anew and
/// after it was updated in place, and the functions of the layout take it without harm.
pub fn gpt(data: &[u8]) -> bool {
    let Some(mut disk) = SparseDisk::parse(data) else { return false };
    repair_table(&mut disk);
    let Ok(located) = gpt::read(&disk) else { return false };
    let table = &located.table;
    let _ = gpt::dump::dump(table);
    assert!(table.disk_sectors <= disk.length() / u64::from(disk.sector_size()));
    for partition in table.partitions.values() {
        assert!(
            partition.first_lba >= table.first_usable && partition.last_lba <= table.last_usable
        );
    }
    change_layout(table, disk.length());

    let mut fresh = SparseDisk::empty(table.sector_size, disk.length());
    if let Ok(writes) = gpt::create(table) {
        assert!(apply(&mut fresh, &writes).is_ok(), "a table is written outside of its disk");
        let again = gpt::read(&fresh).map(|again| again.table);
        assert!(again.as_ref().is_ok_and(|again| again == table), "{table:?} became {again:?}");
    }
    if let Ok(writes) = gpt::update(&located, table) {
        assert!(apply(&mut disk, &writes).is_ok(), "an update is written outside of its disk");
        match gpt::read(&disk) {
            Ok(again) => {
                assert!(again.copy == Copy::Primary && again.other_agrees, "two different copies");
                assert_eq!(again.table.partitions, table.partitions);
                assert_eq!(again.table.disk_guid, table.disk_guid);
            }
            Err(error) => panic!("a table is lost in an update: {error}"),
        }
    }
    true
}

/// Both headers of a disk get their checksums, as long as they look like headers.
fn repair_table(disk: &mut SparseDisk) {
    let sector = u64::from(disk.sector_size());
    let last = (disk.length() / sector).saturating_sub(1);
    for place in [1, last] {
        let mut header = vec![0; sector as usize];
        let Some(offset) = place.checked_mul(sector) else { continue };
        if disk.read_at(offset, &mut header).is_err() {
            continue;
        }
        repair::gpt_header(&mut header, |place, length| {
            let mut entries = vec![0; length];
            disk.read_at(place.checked_mul(sector)?, &mut entries).ok()?;
            Some(entries)
        });
        let _ = disk.write_at(offset, &header);
    }
}

fn change_layout(table: &gpt::Gpt, disk_length: u64) {
    let _ = layout::stage(table);
    let _ = layout::finish_state(table);
    let guid = |number| Guid::from_random([number; 16]);
    let options = CompleteOptions {
        recovery: true,
        disk_guid: guid(1),
        esp_guid: guid(2),
        root_a_guid: guid(3),
        root_b_guid: guid(4),
        state_guid: guid(5),
        recovery_guid: guid(6),
    };
    for length in [disk_length, disk_length << 1, u64::MAX] {
        if let Ok(new) = layout::complete(table, length, 1 << 20, &options) {
            assert!(layout::stage(&new).is_ok(), "a completed table is not known any more");
        }
        if let Ok(Some(new)) = layout::grow_state(table, length) {
            assert!(new.check().is_ok(), "a grown table is refused");
        }
    }
}

/// Lists a FAT file system and reads its files; what is listed is found by its path.
pub fn fat(data: &[u8]) -> bool {
    let Some(disk) = SparseDisk::parse(data) else { return false };
    let Ok(fat) = Fat::open(&disk, 0, disk.length()) else { return false };
    let _ = (fat.label(), fat.volume_id());
    let Ok(entries) = fat.list() else { return false };
    for entry in entries.iter().filter(|entry| !entry.directory).take(FILES) {
        let upper = entry.path.to_uppercase();
        let names = entries.iter().filter(|other| other.path.to_uppercase() == upper).count();
        match fat.read(&entry.path, FILE_BYTES) {
            // Of several files with one name the first is read.
            Ok(bytes) => assert!(names > 1 || bytes.len() == entry.length as usize),
            Err(kiln_disk::Error::NoFile(path)) => {
                let above = |other: &&kiln_disk::fat::Entry| {
                    upper.starts_with(&other.path.to_uppercase()) && !other.directory
                };
                let hidden = entries.iter().filter(above).count() > 1;
                assert!(names > 1 || hidden, "{path} is listed but not found");
            }
            Err(_) => {}
        }
    }
    true
}
