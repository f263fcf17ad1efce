//! Pieces of files as they are encoded: what encoder, lender and writer all speak of.
//!
//! Where an extent ends is part of every profile. Nothing here knows where its bytes are.

/// Bytes of a file that one worker compresses at a time. A multiple of [`BLOCK`](crate::format::BLOCK); part of every
/// profile, because extents end here.
pub(crate) const SEGMENT: usize = 2 << 20;

/// A piece of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Bytes of the file it stands for.
    pub(crate) logical: u32,
    /// Bytes in the spool; in a lender's image whole blocks, unless it is plain or beside the inode.
    pub(crate) stored: u32,
    /// Compressed, or the bytes themselves.
    pub(crate) compressed: bool,
}
