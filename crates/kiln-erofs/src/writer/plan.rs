//! What a content needs in the image: blocks, index and piece beside the inode; pure figures.
//!
//! Two forms. A content none of whose extents is compressed becomes a flat file, which kernels
//! read without any index; all others get one index entry per block of the file. The last piece
//! goes beside the inode when it is short, except for plain pieces of indexed files: old kernels
//! disagree about those.

use super::index::{Piece, index_length};
use crate::encoder::{Encoded, INLINE_MAX, State};
use crate::error::Error;
use crate::extent::Extent;
use crate::format::BLOCK;

/// How a content lies in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContentPlan {
    /// Flat or with index.
    pub(super) compressed: bool,
    /// Blocks of its own.
    pub(crate) blocks: u32,
    /// Bytes beside the inode.
    pub(crate) inline: usize,
    /// Blocks of the file, decompressed: number of index entries.
    pub(super) clusters: usize,
}

impl ContentPlan {
    /// Plans a content.
    pub(super) fn new(state: &State, encoded: &Encoded) -> Result<Self, Error> {
        Self::of(encoded.size, || state.pieces(encoded))
    }

    /// Plans a content of `size` bytes with these pieces, as a spool has them.
    pub(crate) fn of<'a, Pieces: Iterator<Item = &'a Extent>>(
        size: u64,
        extents: impl Fn() -> Pieces,
    ) -> Result<Self, Error> {
        let too_large = || Error::TooLarge { what: "a file" };
        let clusters = usize::try_from(size.div_ceil(BLOCK as u64)).map_err(|_| too_large())?;
        if !extents().any(|extent| extent.compressed) {
            let tail = (size % BLOCK as u64) as usize;
            let inline = if tail <= INLINE_MAX { tail } else { 0 };
            let blocks = clusters - usize::from(inline > 0);
            let blocks = u32::try_from(blocks).map_err(|_| too_large())?;
            return Ok(Self { compressed: false, blocks, inline, clusters });
        }
        let mut blocks = extents().map(|extent| extent.stored.div_ceil(BLOCK as u32)).sum::<u32>();
        let mut inline = 0;
        if let Some(last) = extents().last()
            && last.compressed
            && last.stored as usize <= INLINE_MAX
        {
            inline = last.stored as usize;
            blocks -= 1;
        }
        Ok(Self { compressed: true, blocks, inline, clusters })
    }

    /// Bytes between attributes and inline piece, for an index that begins `start` bytes behind a
    /// 32-byte boundary.
    pub(super) fn index_length(&self, start: usize) -> usize {
        if self.compressed { index_length(start, self.clusters) } else { 0 }
    }

    /// The pieces of an indexed file in order.
    pub(super) fn pieces(&self, state: &State, encoded: &Encoded, first_block: u32) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let (mut start, mut block) = (0u64, first_block);
        let mut extents = state.pieces(encoded).peekable();
        while let Some(extent) = extents.next() {
            let inline = self.inline > 0 && extents.peek().is_none();
            if extent.compressed {
                let blocks = if inline { 1 } else { extent.stored.div_ceil(BLOCK as u32) };
                pieces.push(Piece { start, compressed: true, block, blocks });
                block += blocks;
            } else {
                // A plain cluster is always one block.
                for part in 0..extent.stored.div_ceil(BLOCK as u32) {
                    let start = start + u64::from(part) * BLOCK as u64;
                    pieces.push(Piece { start, compressed: false, block, blocks: 1 });
                    block += 1;
                }
            }
            start += u64::from(extent.logical);
        }
        pieces
    }
}
