//! The tables of keys of what is done to disks.
//!
//! Apart from the other tables as their actions are apart from the others. Sizes are in MiB because
//! that is what partitions are aligned to, and a number without a unit cannot be read in two ways.

use crate::provision::contents::ContentsShape;
use crate::provision::records::options;
use crate::provision::shape::{
    Flag, Holes, Many, Maybe, Number, Opposite, Path, Shape, Word, object, record,
};
use crate::provision::tree::Tree;
use crate::storage::{Disk, Filesystem, Layout, LayoutPartition, Luks, Partition, Raid};
use crate::{Diagnostics, Fields, Node};

options! {
    /// A partition.
    PartitionShape: Partition, "a partition";
    "number" number: Maybe<Number<u32>> = None, "Number; without it found by label, or the next free one.";
    "label" label: Maybe<Word> = None, "Name in the table.";
    "startMiB" start_mib: Maybe<Number<u64>> = None, "Start in MiB; without it the start of the largest free stretch.";
    "sizeMiB" size_mib: Maybe<Number<u64>> = None, "Size in MiB; without it all that is free.";
    "guid" guid: Maybe<Word> = None, "Its GUID.";
    "typeGuid" type_guid: Maybe<Word> = None, "GUID of its type.";
    "absent" absent: Flag = false, "Whether it is to be absent.";
    "wipe" wipe_entry: Flag = false, "Whether one that does not match is removed first.";
    "resize" resize: Flag = false, "Whether one that differs only in size is resized.";
}

record! {
    /// Partitions of a disk.
    DiskShape: Disk, "a disk";
    needs { "device" device: Path, "The disk, best below /dev/disk/by-path."; }
    takes {
        "wipe" wipe_table: Flag = false, "Whether the table is made anew; all that is there is lost.";
        "partitions" partitions: Many<PartitionShape> = Vec::new(), "The partitions.";
    }
}

record! {
    /// A RAID array.
    RaidShape: Raid, "a RAID array";
    needs {
        "name" name: Word, "Name below /dev/md.";
        "level" level: Word, "Level as mdadm names it.";
        "devices" devices: Many<Path>, "Members.";
    }
    takes {
        "spares" spares: Number<u32> = 0, "Number of spares.";
        "options" options: Many<Word> = Vec::new(), "Further options of mdadm.";
    }
}

record! {
    /// An encrypted volume.
    LuksShape: Luks, "an encrypted volume";
    needs {
        "name" name: Word, "Name below /dev/mapper.";
        "device" device: Path, "What is encrypted.";
    }
    takes {
        "key" key: Maybe<ContentsShape> = None, "The key; without it a random one, kept on state.";
        "label" label: Maybe<Word> = None, "Label of the header.";
        "uuid" uuid: Maybe<Word> = None, "UUID of the header.";
        "options" options: Many<Word> = Vec::new(), "Options of cryptsetup for making it.";
        "openOptions" open_options: Many<Word> = Vec::new(), "Options of cryptsetup for opening it.";
        "discard" discard: Flag = false, "Whether discards pass through.";
        "wipe" wipe: Flag = false, "Whether what is there is wiped.";
    }
}

record! {
    /// A file system.
    FilesystemShape: Filesystem, "a file system";
    needs { "device" device: Path, "The device."; }
    takes {
        "format" format: Maybe<Word> = None, "ext4, btrfs, xfs, swap, vfat or none.";
        "path" path: Maybe<Path> = None, "Where it is mounted.";
        "label" label: Maybe<Word> = None, "Label.";
        "uuid" uuid: Maybe<Word> = None, "UUID.";
        "options" options: Many<Word> = Vec::new(), "Options for making it.";
        "mountOptions" mount_options: Many<Word> = Vec::new(), "Options of mount(8).";
        "wipe" wipe: Flag = false, "Whether what is there is wiped.";
    }
}

options! {
    /// A partition of a layout.
    LayoutPartitionShape: LayoutPartition, "a partition of a layout";
    "fsLabel" fs_label: Maybe<Word> = None, "Label of the file system.";
    "pLabel" p_label: Maybe<Word> = None, "Name in the table.";
    "sizeMiB" size_mib: Number<u64> = 0, "Size in MiB; 0 is the rest.";
    "format" format: Maybe<Word> = None, "File system; without it none is made.";
    "bootable" bootable: Flag = false, "Whether it is marked as one to boot from.";
}

options! {
    /// Elemental's layout.
    LayoutShape: Layout, "a layout";
    "label" label: Maybe<Word> = None, "Label that finds the disk.";
    "path" path: Maybe<Holes> = None, "Path that finds the disk, or script://COMMAND.";
    "diskName" disk_name: Maybe<Word> = None, "Name of the table that a disk without one gets.";
    "initDisk" init_disk: Flag = false, "Whether a disk without a table gets one.";
    "expandMiB" expand: Maybe<Number<u64>> = None, "Size to which the last partition grows; 0 is all there is.";
    "add" add: Many<LayoutPartitionShape> = Vec::new(), "Partitions that are added where none has their label.";
    "growFirst" add_first: Opposite = false, "Whether the last partition grows before others are added.";
}
