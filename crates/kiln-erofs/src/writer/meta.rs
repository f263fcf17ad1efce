//! The metadata area: where inodes lie, and what the superblock says about codecs.
//!
//! An inode and what lies beside it should share one block, and the piece beside it must not cross
//! a block boundary (`erofs_map_blocks_flatmode`, `z_erofs_fill_inode`). So inodes are placed into
//! the fullest of a few open blocks that still have room. Strictly sequential placing was dropped:
//! with compressed tails of up to seven eighths of a block it wastes a third of the area.

use crate::encoder::ZSTD_WINDOW_LOG;
use crate::format::{
    BLOCK, INCOMPAT_BIG_PCLUSTER, INCOMPAT_ZERO_PADDING, INCOMPAT_ZTAILPACKING, SLOT, SUPER_OFFSET,
    SUPER_SIZE,
};
use crate::profile::{Codec, LZ4_CLUSTER};

/// Blocks kept open for further inodes; bounds how far apart neighbours of the tree can lie
/// (256 KiB). Part of every profile.
const OPEN_BLOCKS: usize = 64;

/// Gives places in the metadata area, in bytes from the beginning of the image.
#[derive(Debug)]
pub(super) struct Allocator {
    end: usize,
    /// Free ranges (begin, end), each up to the end of its block.
    open: Vec<(usize, usize)>,
}

impl Allocator {
    /// An area behind the superblock and `configurations` bytes.
    pub(super) fn new(configurations: usize) -> Self {
        let begin = (SUPER_OFFSET + SUPER_SIZE + configurations).next_multiple_of(SLOT);
        Self { end: BLOCK, open: vec![(begin, BLOCK)] }
    }

    /// End of the area; always whole blocks.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// A place for `before` bytes of inode and `inline` bytes behind them.
    pub(super) fn place(&mut self, before: usize, inline: usize) -> usize {
        let length = before + inline;
        let fit = (0..self.open.len())
            .filter(|&index| self.open[index].1 - self.open[index].0 >= length)
            .min_by_key(|&index| (self.open[index].1 - self.open[index].0, self.open[index].0));
        if let Some(index) = fit {
            let (begin, end) = self.open.remove(index);
            self.keep_open(begin + length, end);
            return begin;
        }
        let mut begin = self.end;
        if length > BLOCK && inline > 0 {
            // Longer than a block: move on until the inline piece lies within one.
            while (begin + before) % BLOCK + inline > BLOCK {
                begin += SLOT;
            }
        }
        self.end = (begin + length).next_multiple_of(BLOCK);
        self.keep_open(begin + length, self.end);
        begin
    }

    fn keep_open(&mut self, begin: usize, end: usize) {
        let begin = begin.next_multiple_of(SLOT);
        if begin + SLOT <= end {
            self.open.push((begin, end));
        }
        if self.open.len() > OPEN_BLOCKS
            && let Some(fullest) =
                (0..self.open.len()).min_by_key(|&index| self.open[index].1 - self.open[index].0)
        {
            self.open.remove(fullest);
        }
    }
}

/// `available_compr_algs`.
pub(super) fn algorithms(codec: Codec) -> u16 {
    if codec == Codec::None { 0 } else { 1 << codec.algorithm() }
}

/// `feature_incompat`.
pub(super) fn incompatible_features(codec: Codec) -> u32 {
    if codec == Codec::None {
        0
    } else {
        INCOMPAT_ZERO_PADDING | INCOMPAT_BIG_PCLUSTER | INCOMPAT_ZTAILPACKING
    }
}

/// Codec configurations behind the superblock, each with its length before it
/// (`struct z_erofs_lz4_cfgs`, `struct z_erofs_zstd_cfgs`).
pub(super) fn configurations(codec: Codec) -> Vec<u8> {
    let body = match codec {
        Codec::None => return Vec::new(),
        Codec::Lz4 | Codec::Lz4hc { .. } => {
            // Distance: all of LZ4's 64 KiB. Blocks: the largest cluster in the image.
            let mut body = u16::MAX.to_le_bytes().to_vec();
            body.extend_from_slice(&((LZ4_CLUSTER / BLOCK) as u16).to_le_bytes());
            body.resize(14, 0);
            body
        }
        // Format 0, and the window's logarithm above 10.
        Codec::Zstd { .. } => vec![0, (ZSTD_WINDOW_LOG - 10) as u8, 0, 0, 0, 0],
    };
    let mut bytes = (body.len() as u16).to_le_bytes().to_vec();
    bytes.extend_from_slice(&body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_do_not_overlap_and_inline_pieces_stay_within_a_block() {
        let mut allocator = Allocator::new(16);
        let mut places = Vec::new();
        for number in 0..3000usize {
            let before = 64 + (number * 7919 % 13) * if number % 97 == 0 { 2000 } else { 4 };
            let inline = number * 104_729 % 3585;
            let begin = allocator.place(before, inline);
            assert_eq!(begin % SLOT, 0);
            assert!((begin + before) % BLOCK + inline <= BLOCK, "{number}");
            places.push((begin, begin + before + inline));
        }
        places.sort_unstable();
        assert!(places[0].0 >= SUPER_OFFSET + SUPER_SIZE + 16);
        assert!(places.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        assert!(places.last().unwrap().1 <= allocator.end());
    }
}
