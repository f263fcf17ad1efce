//! The contents: every distinct file content of a root as independent zstd frames, one behind the
//! other.
//!
//! A content of more than [`format::WHOLE_MAX`] bytes is cut where its bytes say so, so that an
//! insertion changes the chunks around it and no others. The blob as a whole is one valid zstd
//! stream of all contents. It carries no index: where a frame lies is in the [`crate::table`].

mod cut;
pub mod dump;
pub mod format;
mod reader;
mod writer;

pub use cut::{ChunkWriter, Cutter};
pub use reader::decode_frame;
pub use writer::{Contents, Copy, FrameRecord, write_contents};

use sha2::{Digest as _, Sha256};

/// SHA-256 of bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    kiln_verity::encode_hex(bytes)
}
