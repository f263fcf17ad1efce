//! Which disk is ours, and which of its partitions to try: pure decisions.
//!
//! A wrong guess about the disk would complete and format somebody else's, so two candidates are an
//! error that names both. The loader's word counts more than names on disks, because it comes from
//! the firmware of this very start.

use crate::Error;
use crate::cmdline::Mode;
use crate::own;
use kiln_disk::layout::{RECOVERY, ROOT_A, ROOT_B, Role};
use kiln_disk::{BlockDevice, Gpt, Guid};
use kiln_verity::{BLOCK, RootArgument, verify_block};

/// A disk with a partition table, as far as the choice needs it.
#[derive(Clone, Debug)]
pub struct Candidate<'table> {
    /// Its device node.
    pub name: &'table str,
    /// Its table.
    pub table: &'table Gpt,
}

/// What the loader's variable `LoaderDevicePartUUID` holds (systemd boot loader interface): four
/// bytes of attributes, then a GUID in UTF-16. `None` for any other content.
#[must_use]
pub fn loader_partition(variable: &[u8]) -> Option<Guid> {
    own::text(variable)?.to_ascii_lowercase().parse().ok()
}

/// Whether a table has one of Kiln's roots, by name and type together.
fn carries_kiln(table: &Gpt) -> bool {
    [ROOT_A, ROOT_B, RECOVERY].iter().any(|&role| find(table, role).is_some())
}

fn find(table: &Gpt, role: Role) -> Option<u32> {
    let (number, partition) = table.named(role.name)?;
    (partition.type_guid == role.type_guid).then_some(number)
}

/// What to do next on the way to the boot disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Load one more driver.
    Load,
    /// Let what is there come to rest: drivers find most of their disks after they are loaded.
    Settle,
    /// Choose among all disks of ours.
    Choose,
    /// Wait for more.
    Wait,
}

/// Decides while the disk that the loader named, if it named one, is not there.
///
/// That disk may be taken as soon as it appears. Any other is taken only after every driver had its
/// chance (`waiting`: some are not loaded yet) and no more disks appear (`settled`): the first disk
/// of ours may be the wrong one, and the second must be seen to say so.
#[must_use]
pub fn search(named: bool, waiting: bool, settled: bool, last_resort: bool) -> Search {
    match () {
        () if waiting => Search::Load,
        () if named && !last_resort => Search::Wait,
        () if !settled => Search::Settle,
        () => Search::Choose,
    }
}

/// Index of the boot disk, if it is there.
///
/// With `loader` only the disk with that partition counts, unless `last_resort`: then, as without
/// `loader` (BIOS, direct kernel start, started from another medium), any disk of ours does.
///
/// # Errors
/// [`Error::TwoBootDisks`].
pub fn boot_disk(
    disks: &[Candidate<'_>],
    loader: Option<Guid>,
    last_resort: bool,
) -> Result<Option<usize>, Error> {
    if let Some(guid) = loader {
        let named = only(disks, |table| {
            table.partitions.values().any(|partition| partition.guid == guid) && carries_kiln(table)
        })?;
        if named.is_some() || !last_resort {
            return Ok(named);
        }
    }
    only(disks, carries_kiln)
}

fn only(disks: &[Candidate<'_>], fits: impl Fn(&Gpt) -> bool) -> Result<Option<usize>, Error> {
    let mut found = disks.iter().enumerate().filter(|(_, disk)| fits(disk.table));
    match (found.next(), found.next()) {
        (Some((_, first)), Some((_, second))) => Err(Error::TwoBootDisks {
            first: first.name.to_owned(),
            second: second.name.to_owned(),
        }),
        (first, _) => Ok(first.map(|(index, _)| index)),
    }
}

/// Confirms a disk that was taken before all others were seen: `found` is what [`boot_disk`] chose
/// among all of them. Until then nothing may have been written: the root is proved by its hash
/// wherever it comes from, but state is only this machine's own.
///
/// # Errors
/// [`Error::TwoBootDisks`] if the choice fell on another disk, which the first one hid.
pub fn confirm(first: &str, found: Option<&str>) -> Result<(), Error> {
    match found {
        Some(second) if second != first => {
            Err(Error::TwoBootDisks { first: first.to_owned(), second: second.to_owned() })
        }
        // A disk that does not answer any more fails with the first read, under its own name.
        Some(_) | None => Ok(()),
    }
}

/// Numbers of the partitions that may hold the root, in the order in which to try them.
#[must_use]
pub fn root_partitions(table: &Gpt, mode: Mode) -> Vec<u32> {
    let roles: &[Role] = match mode {
        Mode::System => &[ROOT_A, ROOT_B, RECOVERY],
        Mode::Recovery => &[RECOVERY, ROOT_A, ROOT_B],
    };
    roles.iter().filter_map(|&role| find(table, role)).collect()
}

/// Whether a partition may be tried. `has_failed` says that one before it had the wanted hash and
/// could not be used.
///
/// A system's boot file must not run from recovery by itself: recovery would be in use, and a slot
/// that was overwritten would go unnoticed. But the copy there is the best there is when the slot has
/// what is wanted and the disk does not give it.
#[must_use]
pub fn may_try(mode: Mode, number: u32, has_failed: bool) -> bool {
    mode == Mode::Recovery || number != RECOVERY.number || has_failed
}

/// Whether the top hash block of the image at byte `offset` is that of the wanted root. What does
/// not fit into the partition's `length` in bytes is not there.
///
/// # Errors
/// The disk fails.
pub fn holds_root(
    device: &dyn BlockDevice,
    offset: u64,
    length: u64,
    root: &RootArgument,
) -> std::io::Result<bool> {
    if root.image_length() > length {
        return Ok(false);
    }
    let mut block = [0; BLOCK];
    device.read_at(offset.saturating_add(root.hash_offset()), &mut block)?;
    Ok(verify_block(&root.salt, &block, &root.root.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_disk::PartitionEntry;
    use kiln_disk::layout::ESP;

    fn table(roles: &[(Role, u8)]) -> Gpt {
        let mut table = Gpt::empty(512, 1 << 30, Guid([9; 16])).unwrap();
        for (index, &(role, guid)) in roles.iter().enumerate() {
            let first_lba = 4096 * (index as u64 + 1);
            let partition = PartitionEntry {
                type_guid: role.type_guid,
                guid: Guid([guid; 16]),
                first_lba,
                last_lba: first_lba + 2047,
                attributes: 0,
                name: role.name.into(),
            };
            table.partitions.insert(role.number, partition);
        }
        table
    }

    #[test]
    fn the_loader_decides_and_two_candidates_are_refused() {
        let ours = table(&[(ESP, 1), (ROOT_A, 2)]);
        let other = table(&[(ESP, 3), (ROOT_A, 4)]);
        let foreign = table(&[(ESP, 5)]);
        let disks = |tables: &[&'static str]| -> Vec<Candidate<'_>> {
            tables
                .iter()
                .map(|name| Candidate {
                    name,
                    table: match *name {
                        "ours" => &ours,
                        "other" => &other,
                        _ => &foreign,
                    },
                })
                .collect()
        };
        let guid = |byte| Some(Guid([byte; 16]));
        type Case = (&'static [&'static str], Option<Guid>, bool, Result<Option<usize>, ()>);
        let cases: [Case; 10] = [
            (&["ours"], None, false, Ok(Some(0))),
            (&["foreign", "ours"], None, false, Ok(Some(1))),
            (&["foreign"], None, true, Ok(None)),
            (&["ours", "other"], None, false, Err(())),
            (&["ours", "other"], guid(3), false, Ok(Some(1))),
            (&["ours", "other"], guid(7), false, Ok(None)),
            (&["ours", "other"], guid(7), true, Err(())),
            (&["ours"], guid(7), true, Ok(Some(0))),
            (&["foreign"], guid(5), true, Ok(None)),
            (&["ours", "ours"], guid(1), false, Err(())),
        ];
        for (names, loader, last_resort, expected) in cases {
            let chosen = boot_disk(&disks(names), loader, last_resort).map_err(drop);
            assert_eq!(chosen, expected, "{names:?} {loader:?} {last_resort}");
        }
        let error = boot_disk(&disks(&["ours", "other"]), None, false).unwrap_err().to_string();
        assert!(error.contains("ours") && error.contains("other"), "{error}");
    }

    #[test]
    fn without_the_loaders_word_all_drivers_come_before_a_choice() {
        let cases = [
            ((false, true, false, false), Search::Load),
            ((false, true, true, true), Search::Load),
            ((false, false, false, false), Search::Settle),
            ((false, false, true, false), Search::Choose),
            ((true, true, true, false), Search::Load),
            ((true, false, true, false), Search::Wait),
            ((true, false, false, true), Search::Settle),
            ((true, true, true, true), Search::Load),
            ((true, false, true, true), Search::Choose),
        ];
        for ((named, waiting, settled, last_resort), expected) in cases {
            let found = search(named, waiting, settled, last_resort);
            assert_eq!(found, expected, "{named} {waiting} {settled} {last_resort}");
        }
    }

    #[test]
    fn the_first_disk_stands_only_if_it_is_the_choice_among_all() {
        assert!(confirm("/dev/vda", Some("/dev/vda")).is_ok());
        assert!(confirm("/dev/vda", None).is_ok());
        let error = confirm("/dev/vda", Some("/dev/sda")).unwrap_err();
        assert!(matches!(&error, Error::TwoBootDisks { first, second }
            if first == "/dev/vda" && second == "/dev/sda"));
    }

    #[test]
    fn candidates_follow_the_mode_and_need_name_and_type() {
        let full = table(&[(ROOT_A, 1), (ROOT_B, 2), (RECOVERY, 3)]);
        let system = [ROOT_A.number, ROOT_B.number, RECOVERY.number];
        assert_eq!(root_partitions(&full, Mode::System), system);
        let recovery = [RECOVERY.number, ROOT_A.number, ROOT_B.number];
        assert_eq!(root_partitions(&full, Mode::Recovery), recovery);
        let mut wrong = full.clone();
        if let Some(slot) = wrong.partitions.get_mut(&ROOT_A.number) {
            slot.type_guid = ESP.type_guid;
        }
        assert_eq!(root_partitions(&wrong, Mode::System), [ROOT_B.number, RECOVERY.number]);
        assert!(root_partitions(&table(&[(ESP, 1)]), Mode::Recovery).is_empty());
    }

    #[test]
    fn a_system_runs_from_recovery_only_after_its_own_slot_failed() {
        let [a, b, recovery] = [ROOT_A, ROOT_B, RECOVERY].map(|role| role.number);
        for (mode, number, has_failed, expected) in [
            (Mode::System, a, false, true),
            (Mode::System, b, true, true),
            (Mode::System, recovery, false, false),
            (Mode::System, recovery, true, true),
            (Mode::Recovery, recovery, false, true),
            (Mode::Recovery, a, false, true),
            (Mode::Recovery, b, true, true),
        ] {
            let found = may_try(mode, number, has_failed);
            assert_eq!(found, expected, "{mode:?} {number} {has_failed}");
        }
    }

    #[test]
    fn the_loaders_variable_is_utf16_behind_attributes() {
        let text = "4A67B082-0A4C-41CF-B6C7-440B29BB8C4F";
        let mut variable = vec![6, 0, 0, 0];
        variable.extend(text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        let expected: Guid = text.to_ascii_lowercase().parse().unwrap();
        assert_eq!(loader_partition(&variable), Some(expected));
        for damaged in [&variable[..3], &variable[..20], &[][..], &[0xff; 90]] {
            assert_eq!(loader_partition(damaged), None, "{damaged:?}");
        }
    }
}
