//! The section `storage` to the tree.
//!
//! Apart from the other sections only because it is as large as all of them together.

use super::map::Map;
use super::resource;
use crate::ignition::config::{
    Account, Cex, Clevis, Custom, Directory, Disk, Entry, File, Filesystem, Link, Luks, Partition,
    Raid, Storage, Tang, Version,
};

pub(super) fn storage(map: &mut Map<'_, '_>) -> Storage {
    Storage {
        disks: map.maps("disks", "a disk", disk),
        raid: map.maps("raid", "a RAID array", raid),
        luks: if map.since("luks", Version::V3_2) {
            map.maps("luks", "a LUKS volume", luks)
        } else {
            Vec::new()
        },
        filesystems: map.maps("filesystems", "a file system", filesystem),
        files: map.maps("files", "a file", |map| File {
            entry: entry(map),
            mode: map.integer("mode"),
            contents: map.map("contents", "`contents`", resource),
            append: map.maps("append", "contents to append", resource),
        }),
        directories: map.maps("directories", "a directory", |map| Directory {
            entry: entry(map),
            mode: map.integer("mode"),
        }),
        links: map.maps("links", "a link", |map| Link {
            entry: entry(map),
            target: map.text("target"),
            hard: map.boolean("hard"),
        }),
    }
}

fn disk(map: &mut Map<'_, '_>) -> Disk {
    Disk {
        span: map.span(),
        device: map.required("device"),
        wipe_table: map.boolean("wipeTable"),
        partitions: map.maps("partitions", "a partition", partition),
    }
}

fn partition(map: &mut Map<'_, '_>) -> Partition {
    let has_resize = map.since("resize", Version::V3_2);
    Partition {
        span: map.span(),
        number: map.integer("number"),
        label: map.text("label"),
        start_mib: map.integer("startMiB"),
        size_mib: map.integer("sizeMiB"),
        guid: map.text("guid"),
        type_guid: map.text("typeGuid"),
        should_exist: map.boolean("shouldExist"),
        wipe_partition_entry: map.boolean("wipePartitionEntry"),
        resize: if has_resize { map.boolean("resize") } else { None },
    }
}

fn raid(map: &mut Map<'_, '_>) -> Raid {
    Raid {
        span: map.span(),
        name: map.required("name"),
        level: map.text("level"),
        devices: map.texts("devices"),
        spares: map.integer("spares"),
        options: map.texts("options"),
    }
}

fn luks(map: &mut Map<'_, '_>) -> Luks {
    let has_discard = map.since("discard", Version::V3_4);
    let has_open_options = map.since("openOptions", Version::V3_4);
    let has_cex = map.since("cex", Version::V3_5);
    Luks {
        span: map.span(),
        name: map.required("name"),
        device: map.text("device"),
        key_file: map.map("keyFile", "`keyFile`", resource),
        label: map.text("label"),
        uuid: map.text("uuid"),
        options: map.texts("options"),
        discard: if has_discard { map.boolean("discard") } else { None },
        open_options: if has_open_options { map.texts("openOptions") } else { Vec::new() },
        wipe_volume: map.boolean("wipeVolume"),
        clevis: map.map("clevis", "`clevis`", clevis),
        cex: if has_cex {
            map.map("cex", "`cex`", |map| Cex { span: map.span(), enabled: map.boolean("enabled") })
        } else {
            None
        },
    }
}

fn clevis(map: &mut Map<'_, '_>) -> Clevis {
    Clevis {
        span: map.span(),
        tang: map.maps("tang", "a tang server", |map| {
            let has_advertisement = map.since("advertisement", Version::V3_4);
            Tang {
                span: map.span(),
                url: map.required("url"),
                thumbprint: map.text("thumbprint"),
                advertisement: if has_advertisement { map.text("advertisement") } else { None },
            }
        }),
        tpm2: map.boolean("tpm2"),
        threshold: map.integer("threshold"),
        custom: map.map("custom", "`custom`", |map| Custom {
            span: map.span(),
            pin: map.text("pin"),
            config: map.text("config"),
            needs_network: map.boolean("needsNetwork"),
        }),
    }
}

fn filesystem(map: &mut Map<'_, '_>) -> Filesystem {
    let has_mount_options = map.since("mountOptions", Version::V3_1);
    Filesystem {
        span: map.span(),
        device: map.required("device"),
        format: map.text("format"),
        path: map.text("path"),
        label: map.text("label"),
        uuid: map.text("uuid"),
        options: map.texts("options"),
        mount_options: if has_mount_options { map.texts("mountOptions") } else { Vec::new() },
        wipe_filesystem: map.boolean("wipeFilesystem"),
    }
}

fn entry(map: &mut Map<'_, '_>) -> Entry {
    let account = |map: &mut Map<'_, '_>| Account {
        span: map.span(),
        id: map.integer("id"),
        name: map.text("name"),
    };
    Entry {
        span: map.span(),
        path: map.required("path"),
        overwrite: map.boolean("overwrite"),
        user: map.map("user", "`user`", account),
        group: map.map("group", "`group`", account),
    }
}
