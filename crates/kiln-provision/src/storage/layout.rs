//! Elemental's `layout`, on a machine whose own partitions are already right.
//!
//! Their users write `layout` to bring the system's disk into its final form: Kiln's first boot has done
//! that, so a partition that they ask for under one of Elemental's labels is there in another form, and
//! asking for it changes nothing. On every other disk the request is carried out as it stands. Pure, like
//! all planning here.

use kiln_config::storage::{Disk, Filesystem, Layout, LayoutPartition, Partition};
use kiln_disk::layout::EXTRA_NEW_TYPE;
use kiln_disk::{Gpt, Guid, PartitionEntry};

use super::partitions::{self, Change, Step};
use super::signature::Signature;
use crate::Error;

/// Attribute of a partition that old firmware starts from (UEFI 2.10, table 5.8, bit 2).
const LEGACY_BOOTABLE: u64 = 1 << 2;

/// Elemental's labels, and what stands for each on a machine of Kiln (DESIGN §3): a partition, and the
/// folder in it.
pub const LABELS: [(&str, &str, &str); 8] = [
    ("COS_OEM", "kiln-state", "/oem"),
    ("COS_PERSISTENT", "kiln-state", "/"),
    ("COS_RECOVERY", "kiln-recovery", "/"),
    ("COS_SYSTEM", "kiln-recovery", "/"),
    ("COS_STATE", "kiln-root-a", "/"),
    ("COS_ACTIVE", "kiln-root-a", "/"),
    ("COS_PASSIVE", "kiln-root-b", "/"),
    ("COS_GRUB", "kiln-esp", "/"),
];

/// What stands for one of Elemental's labels: the partition's name and the folder in it.
#[must_use]
pub fn stands_for(label: &str) -> Option<(&'static str, &'static str)> {
    LABELS
        .iter()
        .find(|(name, _, _)| *name == label)
        .map(|(_, partition, folder)| (*partition, *folder))
}

/// What a `layout` comes to on one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayoutChange {
    /// Labels that were asked for and are there in another form.
    pub(crate) satisfied: Vec<String>,
    /// The new table, where anything changes.
    pub(crate) table: Option<Gpt>,
    /// File systems to be made: number of the partition, and what.
    pub(crate) filesystems: Vec<(u32, Filesystem)>,
    /// The partition whose file system grows afterwards.
    pub(crate) grown: Option<u32>,
}

/// Decides about one disk. `found` tells which file system each partition holds.
///
/// # Errors
/// What [`partitions::plan`] refuses.
pub(crate) fn plan(
    device: &str,
    table: &Gpt,
    layout: &Layout,
    found: &[(u32, Signature)],
    protected: &dyn Fn(&PartitionEntry) -> bool,
    guid: &mut dyn FnMut() -> Guid,
) -> Result<LayoutChange, Error> {
    let mut change =
        LayoutChange { satisfied: Vec::new(), table: None, filesystems: Vec::new(), grown: None };
    let is_system = table.partitions.values().any(protected);
    let mut current = table.clone();
    if !layout.add_first {
        expand(device, &mut current, layout, is_system, protected, &mut change)?;
    }
    for wanted in &layout.add {
        let label = wanted.fs_label.as_deref().unwrap_or_default();
        if is_system && stands_for(label).is_some() {
            change.satisfied.push(label.to_owned());
            continue;
        }
        if let Some(number) = unfinished(&current, wanted) {
            change.filesystems.extend(filesystem(device, wanted).map(|system| (number, system)));
            continue;
        }
        if exists(&current, wanted, found, layout.add_first) {
            continue;
        }
        let Change { table, steps } = partitions::plan(
            &current,
            &request(device, &current, wanted, protected),
            protected,
            guid,
        )?;
        let Some((number, Step::Create)) = steps.first().copied() else { continue };
        current = table;
        if let Some(entry) = current.partitions.get_mut(&number).filter(|_| wanted.bootable) {
            entry.attributes |= LEGACY_BOOTABLE;
        }
        change.filesystems.extend(filesystem(device, wanted).map(|system| (number, system)));
    }
    if layout.add_first {
        expand(device, &mut current, layout, is_system, protected, &mut change)?;
    }
    if current != *table {
        change.table = Some(current);
    }
    Ok(change)
}

/// The file system of a partition that is made.
fn filesystem(device: &str, wanted: &LayoutPartition) -> Option<Filesystem> {
    Some(Filesystem {
        device: device.to_owned(),
        format: Some(wanted.format.clone()?),
        label: wanted.fs_label.clone(),
        // The place was free: what an older partition left there is nobody's.
        wipe: true,
        ..Filesystem::default()
    })
}

/// A partition that an earlier attempt made and did not finish.
fn unfinished(table: &Gpt, wanted: &LayoutPartition) -> Option<u32> {
    let name = wanted.p_label.as_deref().unwrap_or_default();
    let is_it = |entry: &PartitionEntry| entry.type_guid == EXTRA_NEW_TYPE && entry.name == name;
    wanted.format.as_ref()?;
    table.partitions.iter().find(|(_, entry)| is_it(entry)).map(|(number, _)| *number)
}

/// The last partition of the disk grows. On the system's own disk that is state, which grew by itself.
fn expand(
    device: &str,
    table: &mut Gpt,
    layout: &Layout,
    is_system: bool,
    protected: &dyn Fn(&PartitionEntry) -> bool,
    change: &mut LayoutChange,
) -> Result<(), Error> {
    let Some(size) = layout.expand else { return Ok(()) };
    let last = table.partitions.iter().max_by_key(|(_, entry)| entry.last_lba);
    let Some((number, entry)) = last.map(|(number, entry)| (*number, entry.clone())) else {
        return Ok(());
    };
    if is_system && protected(&entry) {
        change.satisfied.push(entry.name);
        return Ok(());
    }
    let now = entry.length(table.sector_size) >> 20;
    // Nothing here ever shrinks.
    if size != 0 && size <= now {
        return Ok(());
    }
    let wanted = Partition {
        number: Some(number),
        size_mib: Some(size),
        resize: true,
        ..Partition::default()
    };
    let request = Disk { device: device.to_owned(), wipe_table: false, partitions: vec![wanted] };
    let mut none = || Guid::ZERO;
    let planned = partitions::plan(table, &request, protected, &mut none)?;
    if planned.steps.first().is_some_and(|(_, step)| *step == Step::Resize) {
        change.grown = Some(number);
        *table = planned.table;
    }
    Ok(())
}

/// Whether a partition is there already: yip asks for the name in the table, the toolkit for the label of
/// the file system.
fn exists(
    table: &Gpt,
    wanted: &LayoutPartition,
    found: &[(u32, Signature)],
    by_name: bool,
) -> bool {
    let named = |name: &Option<String>| {
        name.as_deref()
            .is_some_and(|name| table.partitions.values().any(|entry| entry.name == name))
    };
    let labelled = |label: &Option<String>| {
        label.as_deref().is_some_and(|label| {
            found.iter().any(|(number, signature)| {
                signature.label == label && table.partitions.contains_key(number)
            })
        })
    };
    match (by_name, &wanted.p_label, &wanted.fs_label) {
        (true, Some(_), _) | (false, _, None) => named(&wanted.p_label),
        (true, None, _) | (false, _, Some(_)) => labelled(&wanted.fs_label),
    }
}

/// A partition of the next free number: one that happens to have the same name is another one.
fn request(
    device: &str,
    table: &Gpt,
    wanted: &LayoutPartition,
    protected: &dyn Fn(&PartitionEntry) -> bool,
) -> Disk {
    let first = partitions::first_number(table, protected);
    let partition = Partition {
        number: (first..=table.entry_count).find(|number| !table.partitions.contains_key(number)),
        label: wanted.p_label.clone(),
        size_mib: Some(wanted.size_mib),
        // Until its file system is made: a power cut before that leaves a partition to be finished.
        type_guid: wanted.format.as_ref().map(|_| EXTRA_NEW_TYPE.to_string()),
        ..Partition::default()
    };
    Disk { device: device.to_owned(), wipe_table: false, partitions: vec![partition] }
}

#[cfg(test)]
mod tests {
    use super::{LayoutChange, plan, stands_for};
    use crate::storage::signature::Signature;
    use kiln_config::storage::{Layout, LayoutPartition};
    use kiln_disk::{Gpt, Guid, PartitionEntry};

    const MIB: u64 = 2048;

    fn disk(partitions: &[(u32, u64, u64, &str)]) -> Gpt {
        let mut table = Gpt::empty(512, 1000 << 20, Guid::from_u128(1)).unwrap();
        for (number, first, size, name) in partitions {
            let entry = PartitionEntry {
                type_guid: crate::storage::partitions::DATA,
                guid: Guid::from_u128(u128::from(*number)),
                first_lba: first * MIB,
                last_lba: (first + size) * MIB - 1,
                attributes: 0,
                name: (*name).to_owned(),
            };
            table.partitions.insert(*number, entry);
        }
        table
    }

    fn run(
        table: &Gpt,
        layout: &Layout,
        found: &[(u32, Signature)],
    ) -> Result<LayoutChange, crate::Error> {
        let mut guid = || Guid::from_u128(77);
        plan("/dev/d", table, layout, found, &|entry| entry.name.starts_with("kiln-"), &mut guid)
    }

    fn add(fs_label: &str, p_label: &str, size_mib: u64) -> LayoutPartition {
        LayoutPartition {
            fs_label: Some(fs_label.into()),
            p_label: Some(p_label.into()),
            size_mib,
            format: Some("ext4".into()),
            bootable: false,
        }
    }

    #[test]
    fn on_the_systems_disk_their_labels_are_there_in_another_form() {
        let table = disk(&[(2, 1, 100, "kiln-esp"), (5, 200, 799, "kiln-state")]);
        let layout = Layout {
            add: vec![add("COS_STATE", "state", 10_240), add("COS_PERSISTENT", "persistent", 0)],
            expand: Some(0),
            ..Layout::default()
        };
        let change = run(&table, &layout, &[]).unwrap();
        assert_eq!(change.satisfied, ["kiln-state", "COS_STATE", "COS_PERSISTENT"]);
        assert_eq!((change.table, change.filesystems.len(), change.grown), (None, 0, None));
        assert_eq!(stands_for("COS_OEM"), Some(("kiln-state", "/oem")));
        assert_eq!(stands_for("MINE"), None);
    }

    #[test]
    fn on_another_disk_partitions_are_added_once() {
        let table = disk(&[(1, 1, 10, "old")]);
        let layout = Layout {
            add: vec![add("LOGS", "logs", 50), add("DATA", "data", 0)],
            ..Layout::default()
        };
        let change = run(&table, &layout, &[]).unwrap();
        let new = change.table.unwrap();
        assert_eq!(new.named("logs").map(|(_, entry)| entry.length(512) >> 20), Some(50));
        assert_eq!(
            new.named("data").map(|(_, entry)| entry.length(512) >> 20),
            Some(1000 - 61 - 1)
        );
        assert_eq!(change.filesystems.len(), 2);
        let label = |number, label: &str| {
            (number, Signature { format: "ext4", label: label.into(), uuid: String::new() })
        };
        // Cut off before the file systems were made, it is finished; then it is done.
        let cut = run(&new, &layout, &[]).unwrap();
        assert_eq!((cut.table, cut.filesystems.len()), (None, 2));
        let mut new = new;
        for number in [2, 3] {
            new.partitions.get_mut(&number).unwrap().type_guid = crate::storage::partitions::DATA;
        }
        let again = run(&new, &layout, &[label(2, "LOGS"), label(3, "DATA")]).unwrap();
        assert_eq!((again.table, again.filesystems.len()), (None, 0));
    }

    #[test]
    fn the_two_forks_differ_in_order_and_in_what_exists() {
        let table = disk(&[(1, 1, 10, "data")]);
        for (add_first, grown, sizes) in [
            // The toolkit grows the old one over everything, so the new one finds no room.
            (false, None, None),
            (true, Some(2), Some((10, 988))),
        ] {
            let layout = Layout {
                add: vec![add("NEW", "new", 50)],
                expand: Some(0),
                add_first,
                ..Layout::default()
            };
            let result = run(&table, &layout, &[]);
            match sizes {
                None => assert!(result.is_err()),
                Some((one, two)) => {
                    let change = result.unwrap();
                    let new = change.table.unwrap();
                    let size = |number: u32| new.partitions[&number].length(512) >> 20;
                    assert_eq!((change.grown, size(1), size(2)), (grown, one, two));
                }
            }
        }
        // yip: a partition of this name is there. Toolkit: no file system has this label.
        for (add_first, made) in [(true, 0), (false, 1)] {
            let layout =
                Layout { add: vec![add("NEW", "data", 50)], add_first, ..Layout::default() };
            assert_eq!(run(&table, &layout, &[]).unwrap().filesystems.len(), made);
        }
    }
}
