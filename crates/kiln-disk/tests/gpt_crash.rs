//! Cutting the power at any write of a table update leaves a table that is wholly old or wholly
//! new, and after the commit it is the new one.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use kiln_disk::gpt::{Copy, create, read, update};
use kiln_disk::layout::{ESP, ROOT_A};
use kiln_disk::replay::{Operation, RecordingDevice, crash_states};
use kiln_disk::{BlockDevice, Gpt, Guid, MemoryDevice, PartitionEntry, apply};

const MIB: u64 = 1 << 20;

/// A disk of `length` bytes whose first partition starts at `first_byte`.
fn table(sector_size: u32, length: u64, first_byte: u64) -> Gpt {
    let sector = u64::from(sector_size);
    let mut table = Gpt::empty(sector_size, length, Guid([1; 16])).unwrap();
    table.first_usable = first_byte / sector;
    for (role, start) in [(ESP, first_byte / sector), (ROOT_A, 2 * MIB / sector)] {
        let partition = PartitionEntry {
            type_guid: role.type_guid,
            guid: Guid([role.number as u8; 16]),
            first_lba: start,
            last_lba: start + 9,
            attributes: 0,
            name: role.name.into(),
        };
        table.partitions.insert(role.number, partition);
    }
    table
}

/// Changes many sectors of the array, so that torn arrays are among the states.
fn change(old: &Gpt, length: u64) -> Gpt {
    let mut new = Gpt::empty(old.sector_size, length, Guid([77; 16])).unwrap();
    new.first_usable = old.first_usable;
    new.partitions = old.partitions.clone();
    let mut lba = 3 * MIB / u64::from(old.sector_size);
    for number in [4, 5, 6, 20, 64, 127] {
        let mut partition = old.partitions[&2].clone();
        partition.guid = Guid([number as u8; 16]);
        partition.first_lba = lba;
        partition.last_lba = lba + 1;
        lba += 2;
        new.partitions.insert(number, partition);
    }
    new
}

/// Whether two tables mean the same apart from room claimed in front of the first partition.
fn same(left: &Gpt, right: &Gpt) -> bool {
    let plain = |table: &Gpt| Gpt { first_usable: 0, ..table.clone() };
    plain(left) == plain(right)
}

fn replay(initial: &MemoryDevice, old: &Gpt, new: &Gpt) -> usize {
    let found = read(initial).unwrap();
    assert!(same(&found.table, old));
    let mut device = RecordingDevice::new(initial.clone());
    apply(&mut device, &update(&found, new).unwrap()).unwrap();
    let (after, operations) = device.finish();
    let result = read(&after).unwrap();
    assert!(same(&result.table, new) && result.copy == Copy::Primary && result.other_agrees);
    assert_eq!(operations.last(), Some(&Operation::Flush));
    let flushes = operations.iter().filter(|step| **step == Operation::Flush).count();
    let mut seen = [0, 0];
    let count = crash_states::<std::io::Error>(initial, &operations, |state, done| {
        let found = read(state).expect("a table must be there");
        let is_old = same(&found.table, old);
        assert!(is_old || same(&found.table, new), "mixed after {done} flushes: {found:?}");
        assert!(done < flushes || !is_old, "old after the last flush");
        seen[usize::from(!is_old)] += 1;
        Ok(())
    })
    .unwrap();
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    count
}

#[test]
fn every_crash_state_is_old_or_new() {
    let mut total = 0;
    for sector_size in [512, 4096] {
        // With room for two arrays in front of the first partition, and with room for one only.
        for first_byte in [MIB, 6 * 4096] {
            // On the disk it was made for, and on a larger one.
            for length in [4 * MIB, 6 * MIB] {
                let old = table(sector_size, 4 * MIB, first_byte);
                let new = change(&old, length);
                let mut disk = MemoryDevice::empty(length, sector_size).unwrap();
                apply(&mut disk, &create(&old).unwrap()).unwrap();
                total += replay(&disk, &old, &new);

                // A crash between backup and commit, then the same update again.
                let writes = update(&read(&disk).unwrap(), &new).unwrap();
                apply(&mut disk, &writes[..3]).unwrap();
                if same(&read(&disk).unwrap().table, &old) {
                    total += replay(&disk, &old, &new);
                } else {
                    // Without a spare place the torn array has already made the backup count.
                    assert!(first_byte < MIB, "committed too early");
                }
            }
        }
    }
    assert!(total > 300, "only {total} states");
    println!("{total} crash states");
}

#[test]
fn a_repair_from_the_backup_survives_a_crash() {
    for sector_size in [512, 4096] {
        let old = table(sector_size, 4 * MIB, MIB);
        let new = change(&old, 4 * MIB);
        let mut disk = MemoryDevice::empty(4 * MIB, sector_size).unwrap();
        apply(&mut disk, &create(&old).unwrap()).unwrap();
        disk.write_at(u64::from(sector_size) + 16, &[0; 4]).unwrap();
        assert!(replay(&disk, &old, &new) > 12);
    }
}

#[test]
fn the_naive_order_would_be_caught() {
    // The primary first and in place, then the backup: what the update must not do on a grown disk.
    let old = table(512, 4 * MIB, MIB);
    let new = change(&old, 6 * MIB);
    let mut initial = MemoryDevice::empty(6 * MIB, 512).unwrap();
    apply(&mut initial, &create(&old).unwrap()).unwrap();
    let mut device = RecordingDevice::new(initial.clone());
    for mut write in create(&new).unwrap() {
        write.flush = true;
        apply(&mut device, &[write]).unwrap();
    }
    let (_, operations) = device.finish();
    let outcome = crash_states::<std::io::Error>(&initial, &operations, |state, _| {
        read(state).map(|_| ()).map_err(std::io::Error::other)
    });
    assert!(outcome.is_err());
}
