//! The index of a compressed file: one entry per block of the decompressed file, in the compacted
//! form (`fs/erofs/zmap.c`, `z_erofs_load_compact_lcluster`; Documentation of the packs there).
//!
//! Entries are packed: 16 entries in 32 bytes where the pack is 32-byte aligned, else 2 entries in
//! 8 bytes; each pack ends with a block address from which the addresses of its heads are counted
//! up. A head says where in its block the piece begins; the entry behind it says how many blocks
//! the piece takes; the others say how far the head is, but the last of a pack says how far the
//! next head is. The full form (8 bytes per entry) was dropped: it is four times as large.

use crate::format::{
    ADVISE_BIG_PCLUSTER_1, ADVISE_BIG_PCLUSTER_2, ADVISE_COMPACTED_2B, ADVISE_INLINE_PCLUSTER,
    BLOCK, BLOCK_BITS, CBLKCNT, CLUSTER_HEAD1, CLUSTER_NONHEAD, CLUSTER_PLAIN, MAP_HEADER,
};

/// A piece of the file and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// First byte of the file.
    pub(super) start: u64,
    /// Compressed or plain.
    pub(super) compressed: bool,
    /// First block; meaningless for a piece beside the inode.
    pub(super) block: u32,
    /// Blocks; 1 for a piece beside the inode.
    pub(super) blocks: u32,
}

/// Entries of the large pack and its bytes.
const LARGE: (usize, usize) = (16, 32);
/// Entries of the small pack and its bytes.
const SMALL: (usize, usize) = (2, 8);
/// Greatest distance an entry can state: the bit above it is [`CBLKCNT`].
const DISTANCE_MAX: usize = CBLKCNT as usize - 1;

#[derive(Debug, Clone, Copy)]
enum Cluster {
    Head { kind: u8, offset: u16, block: u32 },
    Second { blocks: u16, end: u32 },
    Other { back: usize, forward: usize },
}

/// Sizes of the packs for `clusters` entries behind a header at `start` (modulo 32).
fn packs(start: usize, clusters: usize) -> impl Iterator<Item = (usize, usize)> {
    let first = (start + MAP_HEADER) % LARGE.1;
    // Small packs up to the first 32-byte boundary, large ones, small ones for the rest.
    let initial = ((LARGE.1 - first) % LARGE.1 / 4).min(clusters.next_multiple_of(SMALL.0));
    let large = clusters.saturating_sub(initial) / LARGE.0;
    let rest = clusters.saturating_sub(initial + large * LARGE.0);
    std::iter::repeat_n(SMALL, initial / SMALL.0)
        .chain(std::iter::repeat_n(LARGE, large))
        .chain(std::iter::repeat_n(SMALL, rest.div_ceil(SMALL.0)))
}

/// Bytes of header and packs. `start` is the end of the attributes, which is rounded up to 8.
pub(super) fn index_length(start: usize, clusters: usize) -> usize {
    let aligned = start.next_multiple_of(8);
    let packs: usize = packs(aligned, clusters).map(|(_, bytes)| bytes).sum();
    aligned - start + MAP_HEADER + packs
}

/// Header and packs, with the padding before them. `algorithm` is one of `ALGORITHM_*`, `inline`
/// the length of the piece beside the inode or zero.
pub(super) fn encode_index(
    start: usize,
    pieces: &[Piece],
    size: u64,
    algorithm: u8,
    inline: usize,
) -> Vec<u8> {
    let count = size.div_ceil(BLOCK as u64) as usize;
    let clusters = clusters(pieces, count);
    let aligned = start.next_multiple_of(8);
    let mut advise = ADVISE_COMPACTED_2B | ADVISE_BIG_PCLUSTER_1 | ADVISE_BIG_PCLUSTER_2;
    if inline > 0 {
        advise |= ADVISE_INLINE_PCLUSTER;
    }
    let mut bytes = vec![0; aligned - start + 2];
    // INLINE_MAX is below a block.
    bytes.extend_from_slice(&(inline as u16).to_le_bytes());
    bytes.extend_from_slice(&advise.to_le_bytes());
    bytes.extend_from_slice(&[algorithm, 0]);
    let mut done = 0;
    for (entries, length) in packs(aligned, count) {
        let end = (done + entries).min(clusters.len());
        pack(clusters.get(done..end).unwrap_or_default(), entries, length, &mut bytes);
        done = end;
    }
    bytes
}

fn clusters(pieces: &[Piece], count: usize) -> Vec<Cluster> {
    let mut clusters = Vec::with_capacity(count);
    for (number, piece) in pieces.iter().enumerate() {
        let head = (piece.start / BLOCK as u64) as usize;
        let next =
            pieces.get(number + 1).map_or(count, |next| (next.start / BLOCK as u64) as usize);
        clusters.push(Cluster::Head {
            kind: if piece.compressed { CLUSTER_HEAD1 } else { CLUSTER_PLAIN },
            offset: (piece.start % BLOCK as u64) as u16,
            block: piece.block,
        });
        for position in head + 1..next {
            clusters.push(if position == head + 1 {
                Cluster::Second { blocks: piece.blocks as u16, end: piece.block + piece.blocks }
            } else {
                Cluster::Other { back: position - head, forward: next - position }
            });
        }
    }
    clusters
}

/// One pack; missing entries at the end of the file count as plain heads.
fn pack(clusters: &[Cluster], entries: usize, length: usize, bytes: &mut Vec<u8>) {
    let width = (length - 4) * 8 / entries;
    let mut bits = vec![0u8; length - 4];
    // The kernel counts up over what this pack states, so the base is the address of its first
    // head less the blocks that an entry before that head announces.
    let base = clusters
        .iter()
        .find_map(|cluster| match cluster {
            Cluster::Head { block, .. } => Some(*block),
            Cluster::Second { blocks, end } => Some(end - u32::from(*blocks)),
            Cluster::Other { .. } => None,
        })
        .unwrap_or(0);
    for (position, cluster) in clusters.iter().enumerate() {
        let (kind, low) = match *cluster {
            Cluster::Head { kind, offset, .. } => (kind, offset),
            Cluster::Second { blocks, .. } => (CLUSTER_NONHEAD, blocks | CBLKCNT),
            Cluster::Other { back, forward } => {
                let distance = if position + 1 == entries { forward } else { back };
                (CLUSTER_NONHEAD, distance.min(DISTANCE_MAX) as u16)
            }
        };
        let value = low | (u16::from(kind) << BLOCK_BITS);
        for bit in 0..width.min(16) {
            if value >> bit & 1 != 0 {
                let place = position * width + bit;
                bits[place / 8] |= 1 << (place % 8);
            }
        }
    }
    bytes.extend_from_slice(&bits);
    bytes.extend_from_slice(&base.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_cover_all_entries_and_large_ones_are_aligned() {
        for start in (0..32).step_by(8) {
            for clusters in 1..100 {
                let mut position = start + MAP_HEADER;
                let mut entries = 0;
                for (count, length) in packs(start, clusters) {
                    if (count, length) == LARGE {
                        assert_eq!(position % 32, 0, "{start} {clusters}");
                    }
                    position += length;
                    entries += count;
                }
                assert!((clusters..clusters + 2).contains(&entries), "{start} {clusters}");
                assert_eq!(index_length(start, clusters), position - start);
            }
        }
    }

    #[test]
    fn a_small_index_has_known_bytes() {
        // 12 KiB in one compressed piece of one block at block 7, behind a 64-byte inode.
        let pieces = [Piece { start: 0, compressed: true, block: 7, blocks: 1 }];
        let bytes = encode_index(64, &pieces, 12_000, 0, 0);
        let expected = [
            [0, 0, 0, 0, 0x07, 0, 0, 0],          // header
            [0x00, 0x10, 0x01, 0x28, 7, 0, 0, 0], // head; one block
            [0x02, 0x20, 0x00, 0x00, 0, 0, 0, 0], // two back; filler
        ];
        assert_eq!(bytes, expected.concat());
    }
}
