//! What can go wrong while media are written. Files are named by their role, because this crate is
//! handed open files and never sees a path; the caller adds that.

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input cannot be read.
    #[error("cannot read the input at byte {offset}")]
    Read {
        /// Byte offset of the access.
        offset: u64,
        /// Why.
        source: std::io::Error,
    },
    /// The output cannot be written.
    #[error("cannot write the medium at byte {offset}")]
    Write {
        /// Byte offset of the access.
        offset: u64,
        /// Why.
        source: std::io::Error,
    },
    /// An input file ended before the announced length.
    #[error("content of partition {partition} ends {missing} bytes early")]
    ShortContent {
        /// Number of the partition.
        partition: u32,
        /// Bytes that did not come.
        missing: u64,
    },
    /// Contents for a partition that the table does not have.
    #[error("partition {0} has contents but is not in the table")]
    NoPartition(u32),
    /// Contents that do not fit their partition.
    #[error("contents end at byte {end} of partition {partition}, which has {length} bytes")]
    TooLarge {
        /// Number of the partition.
        partition: u32,
        /// Where the contents end, in bytes from the start of the partition.
        end: u64,
        /// Length of the partition in bytes.
        length: u64,
    },
    /// The partition table is wrong in itself.
    #[error("cannot make the partition table of the medium")]
    Table(#[from] kiln_disk::Error),
    /// A virtual length that is too short, too long or no multiple of 512.
    #[error("virtual length of {length} bytes is not possible for a disk of {raw} bytes")]
    VirtualLength {
        /// The length asked for in bytes.
        length: u64,
        /// Length of the raw disk in bytes.
        raw: u64,
    },
    /// A compression level that zlib does not have.
    #[error("compression level {0} is not between 1 and 9")]
    Level(u32),
    /// The compressor failed, or a thread of it ended without a result.
    #[error("cannot compress the cluster at byte {0}")]
    Compress(u64),
    /// Bytes that are no qcow2 header.
    #[error("not a usable qcow2 header: {0}")]
    Header(&'static str),
    /// Two contents of a disk want the same place.
    #[error("two contents of the disk overlap at byte {0}")]
    Overlap(u64),
    /// A disk that is longer than its format can say.
    #[error("a disk of {length} bytes is too long for {format}, which ends at {maximum}")]
    TooLong {
        /// Name of the format.
        format: &'static str,
        /// Length asked for in bytes.
        length: u64,
        /// Longest disk of the format in bytes.
        maximum: u64,
    },
    /// A file that is not of its format, or is damaged.
    #[error("not a usable {format} file: {reason}")]
    Damaged {
        /// Name of the format.
        format: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A medium holds something else than it was made from.
    #[error("the {format} file does not hold the disk that was planned: byte {offset} differs")]
    Differs {
        /// Name of the format.
        format: &'static str,
        /// First byte of the disk that differs, or where one of the two ends.
        offset: u64,
    },
}

impl Error {
    /// What to do next, if there is something.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Write { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                "free some room beside the output or choose another folder".into()
            }
            Self::TooLarge { end, .. } => {
                format!("make the partition at least {} MiB", end.div_ceil(1 << 20))
            }
            Self::VirtualLength { raw, .. } => {
                format!("choose a multiple of 512 from {raw} to {}", crate::qcow2::MAXIMUM_LENGTH)
            }
            Self::TooLong { maximum, .. } => {
                format!("make slots and ESP smaller, together below {} GiB", maximum >> 30)
            }
            Self::Damaged { .. } => "fetch the file again, or build it again".into(),
            Self::Differs { .. } => {
                "build again; if it happens again, check memory and disk of this computer".into()
            }
            Self::Table(source) => return source.hint(),
            _ => return None,
        })
    }
}
