//! What is done to disks: partitions, arrays, encrypted volumes, file systems.
//!
//! Apart from the other actions because these destroy: the executor looks at the whole disk and at what
//! belongs to the system itself before it changes one of them.

use serde::Serialize;

use crate::action::Contents;
use crate::operation::Text;

/// Partitions of a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// The disk.
    pub device: String,
    /// Whether the table is made anew.
    pub wipe_table: bool,
    /// The partitions.
    pub partitions: Vec<Partition>,
}

/// A partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Number; 0 or nothing is found by label, or the next free one.
    pub number: Option<u32>,
    /// Name in the table.
    pub label: Option<String>,
    /// Start in MiB; nothing or 0 is the start of the largest free stretch.
    pub start_mib: Option<u64>,
    /// Size in MiB; nothing or 0 is all that is free.
    pub size_mib: Option<u64>,
    /// Its GUID.
    pub guid: Option<String>,
    /// GUID of its type.
    pub type_guid: Option<String>,
    /// Whether it is to be absent.
    pub absent: bool,
    /// Whether one that does not match is removed first.
    pub wipe_entry: bool,
    /// Whether one that differs only in size is resized.
    pub resize: bool,
}

/// A RAID array.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Raid {
    /// Name below `/dev/md`.
    pub name: String,
    /// Level as `mdadm` names it.
    pub level: String,
    /// Members.
    pub devices: Vec<String>,
    /// Number of spares.
    pub spares: u32,
    /// Further options.
    pub options: Vec<String>,
}

/// An encrypted volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Luks {
    /// Name below `/dev/mapper`.
    pub name: String,
    /// What is encrypted.
    pub device: String,
    /// The key; nothing makes a random one, kept on state.
    pub key: Option<Contents>,
    /// Label of the header.
    pub label: Option<String>,
    /// UUID of the header.
    pub uuid: Option<String>,
    /// Options for making it.
    pub options: Vec<String>,
    /// Options for opening it.
    pub open_options: Vec<String>,
    /// Whether discards pass through.
    pub discard: bool,
    /// Whether what is there is wiped.
    pub wipe: bool,
}

/// A file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Filesystem {
    /// The device.
    pub device: String,
    /// `ext4`, `btrfs`, `xfs`, `swap`, `vfat` or `none`.
    pub format: Option<String>,
    /// Where it is mounted while the files are written, and later.
    pub path: Option<String>,
    /// Label.
    pub label: Option<String>,
    /// UUID.
    pub uuid: Option<String>,
    /// Options for making it.
    pub options: Vec<String>,
    /// mount(8) options.
    pub mount_options: Vec<String>,
    /// Whether what is there is wiped.
    pub wipe: bool,
}

/// Elemental's `layout`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Layout {
    /// Label that finds the disk.
    pub label: Option<String>,
    /// Path that finds the disk, or `script://COMMAND`.
    pub path: Option<Text>,
    /// Whether a disk without a table gets one.
    pub init_disk: bool,
    /// Size in MiB to which the last partition grows; 0 is all there is.
    pub expand: Option<u64>,
    /// Partitions that are added where none has their label.
    pub add: Vec<LayoutPartition>,
    /// Whether partitions are added before the last one grows (yip) or after (toolkit). With it, one is
    /// there if its name is in the table (yip), without it, if a file system has its label (toolkit).
    pub add_first: bool,
    /// Name of the table that a disk without one gets, for finding it again.
    pub disk_name: Option<String>,
}

/// A partition of a `layout`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LayoutPartition {
    /// Label of the file system.
    pub fs_label: Option<String>,
    /// Name in the table.
    pub p_label: Option<String>,
    /// Size in MiB; 0 is the rest.
    pub size_mib: u64,
    /// File system; nothing is left unformatted.
    pub format: Option<String>,
    /// Whether it is marked as one to boot from.
    pub bootable: bool,
}
