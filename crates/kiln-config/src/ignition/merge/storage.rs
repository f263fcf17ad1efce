//! The section `storage` of two configs.
//!
//! Files, directories and links share one space of paths: what the child makes of a path takes the place
//! of whatever the parent made of it.

use std::collections::HashSet;

use super::keyed::{appended, keyed, texts};
use super::{both, resource};
use crate::diagnostic::Diagnostics;
use crate::ignition::config::{
    Account, Cex, Clevis, Custom, Directory, Disk, Entry, File, Filesystem, Link, Luks, Partition,
    Raid, Storage, Tang,
};

pub(super) fn storage(parent: Storage, child: Storage, out: &mut Diagnostics) -> Storage {
    let (parent, child) = apart(parent, child);
    let path = |entry: &Entry| Some(entry.path.value.clone());
    Storage {
        disks: keyed(parent.disks, child.disks, |one| Some(one.device.value.clone()), disk),
        raid: keyed(parent.raid, child.raid, |one| Some(one.name.value.clone()), raid),
        luks: keyed(
            parent.luks,
            child.luks,
            |one| Some(one.name.value.clone()),
            |parent, child| luks(parent, child, out),
        ),
        filesystems: keyed(
            parent.filesystems,
            child.filesystems,
            |one| Some(one.device.value.clone()),
            filesystem,
        ),
        files: keyed(
            parent.files,
            child.files,
            |one| path(&one.entry),
            |parent, child| File {
                entry: entry(parent.entry, child.entry),
                mode: child.mode.or(parent.mode),
                contents: both(parent.contents, child.contents, |p, c| resource(p, c, out)),
                append: appended(parent.append, child.append),
            },
        ),
        directories: keyed(
            parent.directories,
            child.directories,
            |one| path(&one.entry),
            |parent, child| Directory {
                entry: entry(parent.entry, child.entry),
                mode: child.mode.or(parent.mode),
            },
        ),
        links: keyed(
            parent.links,
            child.links,
            |one| path(&one.entry),
            |parent, child| Link {
                entry: entry(parent.entry, child.entry),
                target: child.target.or(parent.target),
                hard: child.hard.or(parent.hard),
            },
        ),
    }
}

/// Takes out of the parent's lists what the child has in another one.
fn apart(mut parent: Storage, child: Storage) -> (Storage, Storage) {
    let paths = |entries: &mut dyn Iterator<Item = &Entry>| -> HashSet<String> {
        entries.map(|entry| entry.path.value.clone()).filter(|path| !path.is_empty()).collect()
    };
    let files = paths(&mut child.files.iter().map(|file| &file.entry));
    let directories = paths(&mut child.directories.iter().map(|one| &one.entry));
    let links = paths(&mut child.links.iter().map(|link| &link.entry));
    let stays = |entry: &Entry, own: &HashSet<String>, others: [&HashSet<String>; 2]| {
        let path = &entry.path.value;
        own.contains(path) || !others.iter().any(|other| other.contains(path))
    };
    parent.files.retain(|one| stays(&one.entry, &files, [&directories, &links]));
    parent.directories.retain(|one| stays(&one.entry, &directories, [&files, &links]));
    parent.links.retain(|one| stays(&one.entry, &links, [&files, &directories]));
    (parent, child)
}

fn entry(parent: Entry, child: Entry) -> Entry {
    let account = |parent: Account, child: Account| Account {
        span: child.span,
        id: child.id.or(parent.id),
        name: child.name.or(parent.name),
    };
    Entry {
        span: child.span,
        path: child.path,
        overwrite: child.overwrite.or(parent.overwrite),
        user: both(parent.user, child.user, account),
        group: both(parent.group, child.group, account),
    }
}

fn disk(parent: Disk, child: Disk) -> Disk {
    Disk {
        span: child.span,
        device: child.device,
        wipe_table: child.wipe_table.or(parent.wipe_table),
        partitions: keyed(parent.partitions, child.partitions, partition_key, partition),
    }
}

/// The number where there is one, else the label.
fn partition_key(partition: &Partition) -> Option<String> {
    match partition.number.as_ref().map(|number| number.value) {
        Some(number) if number != 0 => Some(format!("number:{number}")),
        _ => partition.label.as_ref().map(|label| format!("label:{}", label.value)),
    }
}

fn partition(parent: Partition, child: Partition) -> Partition {
    Partition {
        span: child.span,
        number: child.number.or(parent.number),
        label: child.label.or(parent.label),
        start_mib: child.start_mib.or(parent.start_mib),
        size_mib: child.size_mib.or(parent.size_mib),
        guid: child.guid.or(parent.guid),
        type_guid: child.type_guid.or(parent.type_guid),
        should_exist: child.should_exist.or(parent.should_exist),
        wipe_partition_entry: child.wipe_partition_entry.or(parent.wipe_partition_entry),
        resize: child.resize.or(parent.resize),
    }
}

fn raid(parent: Raid, child: Raid) -> Raid {
    Raid {
        span: child.span,
        name: child.name,
        level: child.level.or(parent.level),
        devices: texts(parent.devices, child.devices),
        spares: child.spares.or(parent.spares),
        options: appended(parent.options, child.options),
    }
}

fn luks(parent: Luks, child: Luks, out: &mut Diagnostics) -> Luks {
    Luks {
        span: child.span,
        name: child.name,
        device: child.device.or(parent.device),
        key_file: both(parent.key_file, child.key_file, |p, c| resource(p, c, out)),
        label: child.label.or(parent.label),
        uuid: child.uuid.or(parent.uuid),
        options: appended(parent.options, child.options),
        discard: child.discard.or(parent.discard),
        open_options: texts(parent.open_options, child.open_options),
        wipe_volume: child.wipe_volume.or(parent.wipe_volume),
        clevis: both(parent.clevis, child.clevis, clevis),
        cex: both(parent.cex, child.cex, |parent, child| Cex {
            span: child.span,
            enabled: child.enabled.or(parent.enabled),
        }),
    }
}

fn clevis(parent: Clevis, child: Clevis) -> Clevis {
    Clevis {
        span: child.span,
        tang: keyed(
            parent.tang,
            child.tang,
            |tang| Some(tang.url.value.clone()),
            |parent, child| Tang {
                span: child.span,
                url: child.url,
                thumbprint: child.thumbprint.or(parent.thumbprint),
                advertisement: child.advertisement.or(parent.advertisement),
            },
        ),
        tpm2: child.tpm2.or(parent.tpm2),
        threshold: child.threshold.or(parent.threshold),
        custom: both(parent.custom, child.custom, |parent, child| Custom {
            span: child.span,
            pin: child.pin.or(parent.pin),
            config: child.config.or(parent.config),
            needs_network: child.needs_network.or(parent.needs_network),
        }),
    }
}

fn filesystem(parent: Filesystem, child: Filesystem) -> Filesystem {
    Filesystem {
        span: child.span,
        device: child.device,
        format: child.format.or(parent.format),
        path: child.path.or(parent.path),
        label: child.label.or(parent.label),
        uuid: child.uuid.or(parent.uuid),
        options: appended(parent.options, child.options),
        mount_options: appended(parent.mount_options, child.mount_options),
        wipe_filesystem: child.wipe_filesystem.or(parent.wipe_filesystem),
    }
}
