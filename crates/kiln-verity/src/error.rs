//! What can go wrong with a hash tree. Messages name the value that was refused, so that the line on
//! a machine's console is enough to find the cause.

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data cannot be read.
    #[error("cannot read data block {block} for hashing")]
    Read {
        /// Number of the first block of the read that failed.
        block: u64,
        /// Why.
        source: std::io::Error,
    },
    /// The number of data blocks is outside what the format allows.
    #[error("{0} data blocks cannot be hashed: need at least 2 and at most 2^36")]
    DataBlocks(u64),
    /// A thread of the hasher ended without a result.
    #[error("a hashing thread ended without a result")]
    Thread,
    /// A digest or salt is not 64 lower-case hexadecimal digits.
    #[error("{0:?} is not 64 lower-case hexadecimal digits")]
    Hex(String),
    /// The value of `kiln.root=` has not exactly three fields.
    #[error("{0:?} is not of the form <hash>:<data blocks>:<salt>")]
    Argument(String),
    /// The block count of `kiln.root=` is not a plain decimal number in range.
    #[error("{0:?} is not a number of data blocks (2 to 2^36, no sign, no leading zero)")]
    BlockCount(String),
}

impl Error {
    /// What to do next, if there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => Some("check that the image is complete".into()),
            Self::DataBlocks(_) => {
                Some("the root image must be a file system of at least 8192 bytes".into())
            }
            Self::Hex(_) | Self::Argument(_) | Self::BlockCount(_) => Some(
                "the kernel argument kiln.root= is written by the build; take it from there".into(),
            ),
            Self::Thread => None,
        }
    }
}
