//! Disks, arrays, encrypted volumes and file systems.

use std::collections::HashMap;

use super::{Lowering, Rank, is_false, is_true, number, text, values};
use crate::action::Action;
use crate::ignition::config::{Disk, Filesystem, Luks, Partition, Raid, Storage};
use crate::storage;

/// Why nothing but a key file opens a volume.
pub(crate) const NO_CLEVIS: &str =
    "a volume is opened with a key file; clevis, tang and TPM pins are not set up";
/// Why Crypto Express does not.
pub(crate) const NO_CEX: &str = "Crypto Express exists on s390x only, for which there is no Kiln";

pub(super) fn lower(storage: &Storage, lowering: &mut Lowering<'_>) {
    let mut disks: Vec<&Disk> = storage.disks.iter().collect();
    disks.sort_by_key(|disk| &disk.device.value);
    for one in disks {
        lowering.push(Rank::Disks, one.span, Action::Disk(disk(one)));
    }
    let devices = |raid: &Raid| values(&raid.devices);
    let places =
        |name: &str| vec![format!("/dev/md/{name}"), format!("/dev/disk/by-id/md-name-{name}")];
    for one in ordered(&storage.raid, |raid| &raid.name.value, devices, places) {
        lowering.push(Rank::Raid, one.span, Action::Raid(raid(one)));
    }
    let devices = |luks: &Luks| text(luks.device.as_ref()).into_iter().collect();
    let places =
        |name: &str| vec![format!("/dev/mapper/{name}"), format!("/dev/disk/by-id/dm-name-{name}")];
    for one in ordered(&storage.luks, |luks| &luks.name.value, devices, places) {
        luks(one, lowering);
    }
    let has_format = |one: &&Filesystem| text(one.format.as_ref()).is_some();
    let mut filesystems: Vec<&Filesystem> = storage.filesystems.iter().filter(has_format).collect();
    filesystems.sort_by_key(|one| {
        let path = one.path.as_ref().map_or("", |path| path.value.as_str());
        (super::entries::depth(path), path, one.device.value.as_str())
    });
    for one in filesystems {
        lowering.push(Rank::Filesystems, one.span, Action::Filesystem(filesystem(one)));
    }
}

/// Members by name, but one that lies on another behind it.
fn ordered<T>(
    list: &[T],
    name: impl Fn(&T) -> &String,
    devices: impl Fn(&T) -> Vec<String>,
    places: impl Fn(&str) -> Vec<String>,
) -> Vec<&T> {
    let mut waiting: Vec<&T> = list.iter().collect();
    waiting.sort_by_key(|member| name(member));
    let made_by: HashMap<String, usize> = waiting
        .iter()
        .enumerate()
        .flat_map(|(place, member)| places(name(member)).into_iter().map(move |path| (path, place)))
        .collect();
    let mut done = vec![false; waiting.len()];
    let mut order = Vec::with_capacity(waiting.len());
    // A stack of its own: a document may chain more of them than a thread has room for calls.
    for first in 0..waiting.len() {
        let mut path = vec![first];
        while let Some(&place) = path.last() {
            let Some(member) = waiting.get(place).filter(|_| done.get(place) == Some(&false))
            else {
                path.pop();
                continue;
            };
            let below =
                devices(member).iter().filter_map(|device| made_by.get(device)).copied().find(
                    // In a circle, which no disk can have, the first by name comes first.
                    |below| done.get(*below) == Some(&false) && !path.contains(below),
                );
            if let Some(below) = below {
                path.push(below);
                continue;
            }
            if let Some(flag) = done.get_mut(place) {
                *flag = true;
            }
            order.push(*member);
            path.pop();
        }
    }
    order
}

fn disk(disk: &Disk) -> storage::Disk {
    let mut partitions: Vec<&Partition> = disk.partitions.iter().collect();
    // Those without a number take the next free one, so the others come before them; stable, because
    // the order of what has no number is the order on the disk.
    partitions.sort_by_key(|partition| match number::<u32>(partition.number.as_ref()) {
        None | Some(0) => u32::MAX,
        Some(number) => number,
    });
    storage::Disk {
        device: disk.device.value.clone(),
        wipe_table: is_true(disk.wipe_table.as_ref()),
        partitions: partitions.into_iter().map(partition).collect(),
    }
}

fn partition(partition: &Partition) -> storage::Partition {
    storage::Partition {
        number: number(partition.number.as_ref()).filter(|&number| number != 0),
        label: text(partition.label.as_ref()),
        start_mib: number(partition.start_mib.as_ref()),
        size_mib: number(partition.size_mib.as_ref()),
        guid: text(partition.guid.as_ref()),
        type_guid: text(partition.type_guid.as_ref()),
        absent: is_false(partition.should_exist.as_ref()),
        wipe_entry: is_true(partition.wipe_partition_entry.as_ref()),
        resize: is_true(partition.resize.as_ref()),
    }
}

fn raid(raid: &Raid) -> storage::Raid {
    storage::Raid {
        name: raid.name.value.clone(),
        level: text(raid.level.as_ref()).unwrap_or_default(),
        devices: values(&raid.devices),
        spares: number(raid.spares.as_ref()).unwrap_or(0),
        options: values(&raid.options),
    }
}

fn luks(luks: &Luks, lowering: &mut Lowering<'_>) {
    if let Some(clevis) = &luks.clevis {
        let is_used = !clevis.tang.is_empty()
            || is_true(clevis.tpm2.as_ref())
            || clevis.threshold.as_ref().is_some_and(|threshold| threshold.value != 0)
            || clevis.custom.is_some();
        if is_used {
            lowering.refuse(clevis.span, "clevis", NO_CLEVIS);
        }
    }
    if let Some(cex) = luks.cex.as_ref().filter(|cex| is_true(cex.enabled.as_ref())) {
        lowering.refuse(cex.span, "cex", NO_CEX);
    }
    let action = Action::Luks(storage::Luks {
        name: luks.name.value.clone(),
        device: text(luks.device.as_ref()).unwrap_or_default(),
        key: luks.key_file.as_ref().and_then(|key| lowering.contents(key, true)),
        label: text(luks.label.as_ref()),
        uuid: text(luks.uuid.as_ref()),
        options: values(&luks.options),
        open_options: values(&luks.open_options),
        discard: is_true(luks.discard.as_ref()),
        wipe: is_true(luks.wipe_volume.as_ref()),
    });
    lowering.push(Rank::Luks, luks.span, action);
}

fn filesystem(filesystem: &Filesystem) -> storage::Filesystem {
    storage::Filesystem {
        device: filesystem.device.value.clone(),
        format: text(filesystem.format.as_ref()),
        path: text(filesystem.path.as_ref()),
        label: text(filesystem.label.as_ref()),
        uuid: text(filesystem.uuid.as_ref()),
        options: values(&filesystem.options),
        mount_options: values(&filesystem.mount_options),
        wipe: is_true(filesystem.wipe_filesystem.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::ordered;

    #[test]
    fn what_lies_on_another_comes_behind_it() {
        for (list, expected) in [
            (vec![("b", "/dev/vdb"), ("a", "/dev/vda")], "a b"),
            (vec![("a", "/dev/mapper/z"), ("z", "/dev/vda"), ("m", "/dev/vdb")], "z a m"),
            (vec![("a", "/dev/mapper/b"), ("b", "/dev/mapper/c"), ("c", "/dev/vda")], "c b a"),
            (vec![("a", "/dev/mapper/b"), ("b", "/dev/mapper/a")], "b a"),
            (vec![("a", "/dev/mapper/a")], "a"),
        ] {
            let list: Vec<(String, &str)> =
                list.into_iter().map(|(name, device)| (name.to_owned(), device)).collect();
            let order: Vec<&str> = ordered(
                &list,
                |member| &member.0,
                |member| vec![member.1.to_owned()],
                |name| vec![format!("/dev/mapper/{name}")],
            )
            .into_iter()
            .map(|member| member.0.as_str())
            .collect();
            assert_eq!(order.join(" "), expected);
        }
    }
}
