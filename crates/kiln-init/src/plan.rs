//! What a boot has to do to the disk before state can be mounted: a pure decision.
//!
//! The first boot can be cut at any write, so nothing here may depend on what an earlier boot was
//! about to do: the table alone says how far it came. Decided apart from doing, so that crash
//! replay can put every disk that a power cut leaves behind through this same function.

use kiln_disk::gpt::{Copy, Located};
use kiln_disk::layout::{self, Stage};
use kiln_disk::{Error, Gpt};

/// The next change of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write the whole layout ([`layout::complete`]): this is the first boot.
    Complete,
    /// Make the file system, then rename ([`layout::finish_state`]).
    Format,
    /// Write this table, in which state reaches the end of the disk.
    Grow(Gpt),
    /// Write the table again as it is, because one of its copies is damaged or older. Left alone,
    /// an old copy would come back to life when the other one is lost, and with it the name that
    /// allows formatting.
    Repair,
    /// Nothing: check and mount.
    Use,
}

/// Decides by the table that was found on a disk of `disk_length` bytes.
///
/// # Errors
/// The table is not Kiln's.
pub fn next(located: &Located, disk_length: u64) -> Result<Step, Error> {
    match layout::stage(&located.table)? {
        Stage::Built => return Ok(Step::Complete),
        Stage::Unformatted => return Ok(Step::Format),
        Stage::Complete => {}
    }
    if let Some(grown) = layout::grow_state(&located.table, disk_length)? {
        return Ok(Step::Grow(grown));
    }
    let sound = located.copy == Copy::Primary && located.other_agrees;
    Ok(if sound { Step::Use } else { Step::Repair })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_disk::layout::{BuildOptions, CompleteOptions};
    use kiln_disk::{BlockDevice, Guid, MemoryDevice, gpt};

    const MIB: u64 = 1 << 20;
    const DISK: u64 = 1024 * MIB;

    fn built() -> Gpt {
        let options = BuildOptions {
            sector_size: 512,
            esp_length: 40 * MIB,
            slot_length: Some(8 * MIB),
            disk_guid: Guid([1; 16]),
            esp_guid: Guid([2; 16]),
            root_a_guid: Guid([3; 16]),
        };
        layout::built_image(4 * MIB, &options).unwrap()
    }

    fn completed() -> Gpt {
        let options = CompleteOptions {
            recovery: false,
            disk_guid: Guid([4; 16]),
            esp_guid: Guid([5; 16]),
            root_a_guid: Guid([6; 16]),
            root_b_guid: Guid([7; 16]),
            state_guid: Guid([8; 16]),
            recovery_guid: Guid([9; 16]),
        };
        layout::complete(&built(), DISK, 4 * MIB, &options).unwrap()
    }

    #[test]
    fn every_stage_has_one_next_step() {
        let unformatted = completed();
        let finished = layout::finish_state(&unformatted).unwrap();
        let grown = layout::grow_state(&finished, 2 * DISK).unwrap().unwrap();
        let cases = [
            (built(), Copy::Primary, true, DISK, Step::Complete),
            (built(), Copy::Backup, false, DISK, Step::Complete),
            (unformatted.clone(), Copy::Primary, false, DISK, Step::Format),
            (unformatted, Copy::Primary, true, 2 * DISK, Step::Format),
            (finished.clone(), Copy::Primary, true, DISK, Step::Use),
            (finished.clone(), Copy::Primary, false, DISK, Step::Repair),
            (finished.clone(), Copy::Backup, false, DISK, Step::Repair),
            (finished, Copy::Primary, false, 2 * DISK, Step::Grow(grown)),
        ];
        for (table, copy, other_agrees, length, expected) in cases {
            let located =
                Located { table, copy, entries_lba: 2, other_agrees, first_sector: vec![0; 512] };
            assert_eq!(next(&located, length).unwrap(), expected);
        }
    }

    #[test]
    fn a_repair_leaves_two_copies_that_agree() {
        let finished = layout::finish_state(&completed()).unwrap();
        for damaged in [512, DISK - 512] {
            let mut disk = MemoryDevice::empty(DISK, 512).unwrap();
            kiln_disk::apply(&mut disk, &gpt::create(&finished).unwrap()).unwrap();
            disk.write_at(damaged, &[0xff; 512]).unwrap();
            let located = gpt::read(&disk).unwrap();
            assert_eq!(next(&located, DISK).unwrap(), Step::Repair, "byte {damaged}");
            let writes = gpt::update(&located, &located.table).unwrap();
            kiln_disk::apply(&mut disk, &writes).unwrap();
            let located = gpt::read(&disk).unwrap();
            assert_eq!(next(&located, DISK).unwrap(), Step::Use, "byte {damaged}");
            assert_eq!(located.table.partitions, finished.partitions);
        }
    }
}
