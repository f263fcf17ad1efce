//! What a disk can be asked to do, as far as a power cut can tell the difference.

use std::sync::Arc;

use kiln_disk::replay;

/// One request to a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Bytes at an offset.
    Write {
        /// Byte offset.
        offset: u64,
        /// What was written.
        bytes: Arc<[u8]>,
        /// Whether it was on stable storage when the next request could depend on it ("forced unit
        /// access"); says nothing about the requests before it.
        durable: bool,
    },
    /// A range that reads as zeros from then on.
    Discard {
        /// Byte offset.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// Everything before is on stable storage.
    Flush,
}

impl From<replay::Operation> for Operation {
    fn from(operation: replay::Operation) -> Self {
        match operation {
            replay::Operation::Write { offset, bytes } => {
                Self::Write { offset, bytes: Arc::from(bytes), durable: false }
            }
            replay::Operation::Flush => Self::Flush,
        }
    }
}
