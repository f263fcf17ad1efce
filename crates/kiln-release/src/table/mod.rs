//! The table: a root's tree with all metadata, and where in the [`crate::contents`] the bytes of
//! each file lie.
//!
//! It is cut into pieces that know nothing of each other, with an index of their digests in front:
//! a machine that has yesterday's pieces fetches the index and what changed. So a piece holds no
//! place in the contents, which would move with every change before it, but only lengths: places
//! follow from adding up all pieces in order. That is also why frames can neither overlap nor lie
//! outside of the contents.

pub mod dump;
pub mod format;
mod index;
mod reader;
mod writer;

pub use index::{Index, Piece};
pub use reader::{Assembler, unpack_piece};
pub use writer::{TableSource, write_table};

use kiln_tree::Tree;

/// A stretch of one file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
    /// Its bytes.
    pub length: u32,
    /// Where its frame begins in the contents.
    pub frame_offset: u64,
    /// Bytes of the frame.
    pub frame_length: u32,
}

impl Chunk {
    /// The first byte behind its frame.
    #[must_use]
    pub fn frame_end(&self) -> u64 {
        self.frame_offset.saturating_add(u64::from(self.frame_length))
    }
}

/// A distinct content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableContent {
    /// SHA-256 of all its bytes.
    pub digest: [u8; 32],
    /// Its bytes.
    pub size: u64,
    /// Its chunks, in [`Table::chunks`].
    pub chunks: std::ops::Range<usize>,
}

/// A whole table.
#[derive(Debug)]
pub struct Table {
    /// The tree; the ticket of a file that is not empty is its number in `contents`.
    pub tree: Tree,
    /// Distinct contents in canonical order.
    pub contents: Vec<TableContent>,
    /// All chunks in the order of the blob.
    pub chunks: Vec<Chunk>,
    /// Length of the contents in bytes.
    pub contents_length: u64,
    /// File system identifier of the root image.
    pub uuid: [u8; 16],
    /// Build time of the root image, seconds since 1970.
    pub build_time: u64,
}
