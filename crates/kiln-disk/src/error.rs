//! What can go wrong with disks. Every message names the place, number or path that was refused.

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device failed.
    #[error("cannot {action} {length} bytes at byte {offset} of the disk")]
    Device {
        /// `read` or `write`.
        action: &'static str,
        /// Byte offset of the access.
        offset: u64,
        /// Length of the access in bytes.
        length: u64,
        /// Why.
        source: std::io::Error,
    },
    /// A sector size other than 512 or 4096 bytes.
    #[error("sector size of {0} bytes is not supported")]
    SectorSize(u32),
    /// Neither header with its entries is valid.
    #[error("no valid partition table: primary: {primary}; backup: {backup}")]
    NoTable {
        /// Why the primary was refused.
        primary: TableDefect,
        /// Why the backup was refused.
        backup: TableDefect,
    },
    /// A table that would not be written because it is wrong in itself.
    #[error("partition table refused: {0}")]
    Table(TableDefect),
    /// A text that is no GUID.
    #[error("{0:?} is not a GUID")]
    Guid(String),
    /// The disk cannot hold the layout.
    #[error("disk of {available} bytes is too small: the layout needs {needed} bytes")]
    DiskTooSmall {
        /// Length in bytes that would do.
        needed: u64,
        /// Length in bytes of the disk.
        available: u64,
    },
    /// A partition that the layout is built on is missing from the table.
    #[error("partition {number} ({name}) is missing from the table")]
    MissingPartition {
        /// Its fixed number.
        number: u32,
        /// Its name.
        name: &'static str,
    },
    /// A number of the layout is taken by a partition that is not Kiln's.
    #[error("partition {number} is {found:?} and not {expected:?}")]
    ForeignPartition {
        /// The fixed number.
        number: u32,
        /// The name found.
        found: String,
        /// The name that belongs there.
        expected: &'static str,
    },
    /// A layout that cannot be read.
    #[error("{place}: {reason}")]
    Document {
        /// `file:line:column`, from 1.
        place: String,
        /// What is wrong there.
        reason: String,
    },
    /// A partition that cannot stay on a disk that is installed to.
    #[error("partition {number} ({name:?}) cannot be kept: {reason}")]
    Keep {
        /// Its number in the present table.
        number: u32,
        /// Its name.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// A partition that was to get its lasting type but has it.
    #[error("partition {number} is not waiting for a file system")]
    NotNew {
        /// Its number.
        number: u32,
    },
    /// The image is larger than its slot.
    #[error("image of {image} bytes does not fit the slot of {slot} bytes")]
    SlotTooSmall {
        /// Length in bytes of the image with its hash tree.
        image: u64,
        /// Length in bytes of the slot.
        slot: u64,
    },
    /// A length for a FAT32 file system that cannot be one.
    #[error("{length} bytes with {sector_size}-byte sectors cannot be FAT32")]
    FatLength {
        /// The length in bytes asked for.
        length: u64,
        /// Bytes per sector.
        sector_size: u32,
    },
    /// The files need more room than the file system has.
    #[error("files need {needed} bytes but the FAT file system has {available}")]
    FatFull {
        /// Bytes in whole clusters that the files and directories need.
        needed: u64,
        /// Bytes in clusters that there are.
        available: u64,
    },
    /// A path that FAT cannot hold, or that is given twice.
    #[error("path {path:?} cannot be on FAT: {reason}")]
    FatPath {
        /// The path as given.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file system that does not read as FAT32.
    #[error("damaged FAT file system: {0}")]
    Fat(&'static str),
    /// A file that is not there.
    #[error("no file {0:?} in the FAT file system")]
    NoFile(String),
}

/// Why a partition table is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableDefect {
    /// Not even the sectors exist.
    #[error("disk too short")]
    Short,
    /// No `EFI PART`.
    #[error("no signature")]
    Signature,
    /// The header's own checksum is wrong.
    #[error("header checksum wrong")]
    HeaderChecksum,
    /// The checksum of the entries is wrong.
    #[error("entry array checksum wrong")]
    EntriesChecksum,
    /// A header field has a value that cannot be.
    #[error("header field {0} out of range")]
    Field(&'static str),
    /// A partition ends before it starts, lies outside the usable area or overlaps another.
    #[error("partition {number}: {reason}")]
    Partition {
        /// Number of the partition.
        number: u32,
        /// What is wrong.
        reason: &'static str,
    },
}

impl Error {
    /// What to do next, if there is something.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::DiskTooSmall { needed, .. } => {
                format!("use a disk of at least {} MiB", needed.div_ceil(1 << 20))
            }
            Self::SlotTooSmall { image, .. } => {
                format!("give --slot-size at least {} MiB", image.div_ceil(1 << 20))
            }
            Self::FatLength { .. } | Self::FatFull { .. } => {
                "give a larger --esp-size (1 GiB is the default)".into()
            }
            Self::NoTable { .. } => "check that this is the right disk and its sector size".into(),
            Self::ForeignPartition { .. } => {
                "the disk carries another system's partitions; nothing was changed".into()
            }
            Self::SectorSize(_) => "use 512 or 4096".into(),
            Self::Document { .. } => "docs/install.md shows a whole layout".into(),
            Self::Keep { .. } => "keep other partitions, or save what is on it elsewhere".into(),
            _ => return None,
        })
    }
}
