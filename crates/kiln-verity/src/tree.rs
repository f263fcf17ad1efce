//! Building the tree over a readable image.
//!
//! Hashing is the slowest step of a build after compression, so the lowest level is cut into ranges
//! that threads hash side by side; the result does not depend on how many there are. Upper levels
//! are 1/128 of the one below and are done in one thread. The tree of even a 16 GiB image is
//! 129 MiB, so it is held in memory rather than written through a second file.

use crate::{BLOCK, DIGEST, Error, MAXIMUM_DATA_BLOCKS, RootHash, hash_block};
use std::io;

/// Digests in one hash block.
const FANOUT: u64 = (BLOCK / DIGEST) as u64;

/// Data blocks per read: 1 MiB, large enough that a read costs nothing beside its hashing.
const READ_BLOCKS: u64 = 256;

/// Random-access reading by several threads at once.
pub trait ReadAt {
    /// Fills `buffer` from byte `offset`.
    ///
    /// # Errors
    /// Whatever the source reports, and an unexpected end.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for std::fs::File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let source = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buffer.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(source);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(buffer, offset)
    }
}

/// A finished tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashTree {
    /// Digest of the first block of `bytes`.
    pub root: RootHash,
    /// All levels, top first, each padded with zeros to whole blocks: goes directly behind the data.
    pub bytes: Vec<u8>,
}

/// Number of hash blocks of each level, lowest first. One data block has none, which
/// [`build`] refuses: there would be no top block to read.
fn level_blocks(data_blocks: u64) -> Vec<u64> {
    let mut levels = Vec::new();
    let mut blocks = data_blocks;
    while blocks > 1 {
        blocks = blocks.div_ceil(FANOUT);
        levels.push(blocks);
    }
    levels
}

/// Number of hash blocks behind `data_blocks` data blocks.
pub fn tree_blocks(data_blocks: u64) -> u64 {
    level_blocks(data_blocks).iter().sum()
}

/// Hashes `data_blocks` blocks of `data` with `threads` threads (at least one is used).
///
/// # Errors
/// [`Error::DataBlocks`] for fewer than 2 or more than 2^36 blocks, [`Error::Read`] if `data` is
/// shorter or cannot be read.
pub fn build<Data>(
    data: &Data,
    data_blocks: u64,
    salt: &[u8; DIGEST],
    threads: usize,
) -> Result<HashTree, Error>
where
    Data: ReadAt + Sync + ?Sized,
{
    if !(2..=MAXIMUM_DATA_BLOCKS).contains(&data_blocks) {
        return Err(Error::DataBlocks(data_blocks));
    }
    let levels = level_blocks(data_blocks);
    let length = |blocks: u64| {
        usize::try_from(blocks)
            .ok()
            .and_then(|blocks| blocks.checked_mul(BLOCK))
            .ok_or(Error::DataBlocks(data_blocks))
    };
    let total = length(levels.iter().sum())?;
    let mut bytes = vec![0; total];

    // `end` walks from the lowest level, which is last, to the top, which is first.
    let mut end = total;
    let mut below: Option<std::ops::Range<usize>> = None;
    for blocks in levels {
        let start = end - length(blocks)?;
        let (upper, lower) = bytes.split_at_mut(end);
        let target = &mut upper[start..];
        match below {
            None => hash_data(data, data_blocks, salt, threads, target)?,
            Some(range) => {
                let children = lower[..range.len()].chunks_exact(BLOCK);
                for (digest, child) in target.chunks_exact_mut(DIGEST).zip(children) {
                    digest.copy_from_slice(&hash_block(salt, child));
                }
            }
        }
        below = Some(start..end);
        end = start;
    }
    let root = RootHash(hash_block(salt, &bytes[..BLOCK]));
    Ok(HashTree { root, bytes })
}

/// Fills the lowest level; each thread owns a contiguous run of its digests.
fn hash_data<Data>(
    data: &Data,
    data_blocks: u64,
    salt: &[u8; DIGEST],
    threads: usize,
    target: &mut [u8],
) -> Result<(), Error>
where
    Data: ReadAt + Sync + ?Sized,
{
    let share = data_blocks.div_ceil(threads.clamp(1, 256) as u64).next_multiple_of(READ_BLOCKS);
    let share_bytes = usize::try_from(share.saturating_mul(DIGEST as u64))
        .map_err(|_| Error::DataBlocks(data_blocks))?;
    std::thread::scope(|scope| {
        let workers: Vec<_> = target
            .chunks_mut(share_bytes)
            .zip((0..data_blocks).step_by(usize::try_from(share).unwrap_or(usize::MAX)))
            .map(|(digests, first)| {
                let last = first.saturating_add(share).min(data_blocks);
                scope.spawn(move || hash_range(data, first..last, salt, digests))
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| Error::Thread)?)
    })
}

/// Hashes the blocks of `range` into `digests`.
fn hash_range<Data>(
    data: &Data,
    range: std::ops::Range<u64>,
    salt: &[u8; DIGEST],
    digests: &mut [u8],
) -> Result<(), Error>
where
    Data: ReadAt + ?Sized,
{
    let mut digests = digests.chunks_exact_mut(DIGEST);
    let mut buffer = vec![0; READ_BLOCKS as usize * BLOCK];
    let mut block = range.start;
    while block < range.end {
        let count = READ_BLOCKS.min(range.end - block);
        let part = &mut buffer[..count as usize * BLOCK];
        data.read_exact_at(part, block * BLOCK as u64)
            .map_err(|source| Error::Read { block, source })?;
        for (content, digest) in part.chunks_exact(BLOCK).zip(&mut digests) {
            digest.copy_from_slice(&hash_block(salt, content));
        }
        block += count;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_sizes_follow_the_fan_out() {
        let cases = [
            (2, 1),
            (128, 1),
            (129, 2 + 1),
            (16384, 128 + 1),
            (16385, 129 + 2 + 1),
            (1 << 21, (1 << 14) + 128 + 1),
        ];
        for (data, tree) in cases {
            assert_eq!(tree_blocks(data), tree, "{data}");
        }
    }

    #[test]
    fn the_number_of_threads_does_not_show() {
        let data: Vec<u8> = (0..700 * BLOCK).map(|index| (index / 7 % 251) as u8).collect();
        let one = build(&data, 700, &[3; DIGEST], 1).unwrap();
        for threads in [0, 2, 3, 16, 10_000] {
            assert_eq!(build(&data, 700, &[3; DIGEST], threads).unwrap(), one, "{threads}");
        }
    }

    #[test]
    fn a_changed_byte_changes_the_root() {
        let mut data = vec![0; 200 * BLOCK];
        let before = build(&data, 200, &[0; DIGEST], 2).unwrap().root;
        data[199 * BLOCK + 4095] = 1;
        assert_ne!(build(&data, 200, &[0; DIGEST], 2).unwrap().root, before);
    }

    #[test]
    fn short_data_and_bad_counts_are_refused() {
        let data = vec![0; 3 * BLOCK];
        assert!(matches!(build(&data, 4, &[0; DIGEST], 2), Err(Error::Read { block: 0, .. })));
        assert!(matches!(build(&data, 1, &[0; DIGEST], 2), Err(Error::DataBlocks(1))));
        assert!(matches!(build(&data, u64::MAX, &[0; DIGEST], 2), Err(Error::DataBlocks(_))));
    }
}
