//! A root image whose every block is checked when it is read, as the kernel does for what runs.
//!
//! The running system proves its root below its mount; the partition itself is read past that. So a
//! slot that lends encoded bytes is read through here: they go into the next root as they are, and a
//! machine that builds its own release has no root hash to compare with. Proving the slot once
//! beforehand was dropped: it costs as much, and what rots a minute later would pass.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_erofs::{Lender, Profile, ReadAt};
use kiln_verity::{BLOCK, DIGEST, decode_hex, hash_block, verify_block};

use crate::contents::hex;
use crate::{Error, Release};

/// Largest image that lends, in blocks: 8 GiB. Its lowest level of hashes takes 64 MiB of memory.
const DATA_BLOCKS_MAX: u64 = 8 << 18;
/// Blocks kept for small reads: inodes and indexes are read a few bytes at a time, in the order of
/// the disk by each thread.
const KEPT: usize = 64;

/// A proven root image.
#[derive(Debug)]
pub(super) struct ProvenRoot {
    root: File,
    salt: [u8; DIGEST],
    /// One digest for each block of data.
    digests: Vec<u8>,
    data_blocks: u64,
    /// Number and bytes of blocks that were checked.
    kept: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl ProvenRoot {
    /// Reads the hashes behind the image and compares them with the root hash of `release`.
    ///
    /// # Errors
    /// [`Error::RootHash`] if this is not its root, or its hashes are damaged.
    pub(super) fn open(root: &File, release: &Release) -> Result<Self, Error> {
        let facts = &release.root;
        let (salt, data_blocks) = (decode_hex(&facts.salt)?, facts.data_blocks);
        if !(2..=DATA_BLOCKS_MAX).contains(&data_blocks) {
            return Err(Error::malformed("root", "its number of blocks is out of range"));
        }
        let block = BLOCK as u64;
        let leaves = data_blocks.div_ceil((BLOCK / DIGEST) as u64);
        // The lowest level is the last one.
        let end = data_blocks.saturating_add(kiln_verity::tree_blocks(data_blocks));
        // Bounded by the number of blocks.
        let mut digests = vec![0; (leaves * block) as usize];
        FileExt::read_exact_at(root, &mut digests, (end - leaves) * block)
            .map_err(Error::io("read the hash tree of a slot"))?;
        // Upper levels follow from it, so those on the disk need not be read.
        let actual = match leaves {
            1 => hex(&hash_block(&salt, &digests)),
            _ => kiln_verity::build(&digests, leaves, &salt, 1)?.root.to_string(),
        };
        if actual != facts.hash {
            return Err(Error::RootHash { expected: facts.hash.clone(), actual });
        }
        let root = root.try_clone().map_err(Error::io("open a slot"))?;
        Ok(Self { root, salt, digests, data_blocks, kept: Mutex::default() })
    }

    /// Fills `buffer`, which is whole blocks, from the block `first` on.
    fn blocks(&self, buffer: &mut [u8], first: u64) -> io::Result<()> {
        FileExt::read_exact_at(&self.root, buffer, first.saturating_mul(BLOCK as u64))?;
        for (number, bytes) in (first..).zip(buffer.chunks(BLOCK)) {
            let place = usize::try_from(number).ok().and_then(|number| number.checked_mul(DIGEST));
            let digest = place
                .filter(|_| number < self.data_blocks)
                .and_then(|place| self.digests.get(place..)?.first_chunk())
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            if !verify_block(&self.salt, bytes, digest) {
                let reason = format!("block {number} of a slot is damaged");
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
        }
        Ok(())
    }

    /// Fills `buffer` from a part of one block.
    fn part(&self, buffer: &mut [u8], number: u64, from: usize) -> io::Result<()> {
        let place = (number % KEPT as u64) as usize;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.resize_with(KEPT, || (u64::MAX, Vec::new()));
        let Some((known, bytes)) = kept.get_mut(place) else { return Ok(()) };
        if *known != number {
            *known = u64::MAX;
            bytes.resize(BLOCK, 0);
            self.blocks(bytes, number)?;
            *known = number;
        }
        let part = bytes.get(from..from.saturating_add(buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl ReadAt for ProvenRoot {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let (first, from) = (offset / BLOCK as u64, (offset % BLOCK as u64) as usize);
        if buffer.is_empty() {
            return Ok(());
        }
        if from == 0 && buffer.len().is_multiple_of(BLOCK) {
            return self.blocks(buffer, first);
        }
        let end = from.saturating_add(buffer.len());
        if end <= BLOCK {
            return self.part(buffer, first, from);
        }
        let mut bytes = vec![0; end.next_multiple_of(BLOCK)];
        self.blocks(&mut bytes, first)?;
        buffer.copy_from_slice(bytes.get(from..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.data_blocks.saturating_mul(BLOCK as u64))
    }
}

/// What the root image of `release`, at the beginning of a file or partition, can lend to a root of
/// `profile`; `None` if it is of another profile, is not there, or nothing of it can be read. Reads
/// and decodes all of it with so many threads.
#[must_use]
pub fn lender(
    root: &File,
    release: &Release,
    profile: Profile,
    threads: usize,
) -> Option<Arc<Lender>> {
    if release.profile != profile.number() {
        return None;
    }
    let proven = ProvenRoot::open(root, release).ok()?;
    Lender::new(Arc::new(proven), profile, threads).ok().map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FORMAT, Root, Sequence, Source};

    fn release(root: &File, data_blocks: u64) -> Release {
        let salt = [7; DIGEST];
        let tree = kiln_verity::build(root, data_blocks, &salt, 1).unwrap();
        root.write_all_at(&tree.bytes, data_blocks * BLOCK as u64).unwrap();
        Release {
            format: FORMAT.into(),
            name: "edge".into(),
            version: "1".into(),
            title: "Edge".into(),
            sequence: Sequence(1),
            architecture: "amd64".into(),
            kernel: "6.12".into(),
            profile: 101,
            tree_digest: hex(&[0; 32]),
            root: Root {
                length: data_blocks * BLOCK as u64 + tree.bytes.len() as u64,
                hash: tree.root.to_string(),
                data_blocks,
                salt: hex(&salt),
            },
            boot_files: Vec::new(),
            source: Source { kind: "tree".into(), manifest_digest: None },
            packages: Vec::new(),
            addons: Vec::new(),
            minimum_agent: "0.1.0".into(),
        }
    }

    #[test]
    fn every_read_is_checked_whatever_its_form() {
        for blocks in [2, 128, 129, 300] {
            let file = tempfile::tempfile().unwrap();
            let bytes: Vec<u8> =
                (0..blocks * BLOCK).map(|place| (place / 5 % 251 + place / BLOCK) as u8).collect();
            file.write_all_at(&bytes, 0).unwrap();
            let facts = release(&file, blocks as u64);
            let proven = ProvenRoot::open(&file, &facts).unwrap();
            assert_eq!(proven.length().unwrap(), bytes.len() as u64);
            let read = |offset: usize, length: usize| {
                let mut buffer = vec![0; length];
                proven.read_exact_at(&mut buffer, offset as u64).map(|()| buffer)
            };
            let last = bytes.len() - BLOCK;
            let forms = [
                (0, 0),
                (0, 1),
                (5, 100),
                (0, BLOCK),
                (BLOCK - 1, 2),
                (3, BLOCK),
                (0, 2 * BLOCK),
                (last, BLOCK),
                (last + 4000, 96),
                (last - 10, 20),
            ];
            for (offset, length) in forms {
                assert!(read(offset, length).unwrap() == bytes[offset..offset + length]);
            }
            for (offset, length) in [(last + 1, BLOCK), (bytes.len(), 1), (bytes.len(), BLOCK)] {
                assert!(read(offset, length).is_err(), "{offset} {length} is behind the data");
            }
            // Rot is found where it is, and nowhere else; what was kept is still good.
            file.write_all_at(&[!bytes[last + 9]], last as u64 + 9).unwrap();
            assert!(read(last, BLOCK).is_err() && read(last - 10, 20).is_err());
            assert!(read(0, BLOCK).unwrap() == bytes[..BLOCK]);
            assert!(read(last + 4000, 96).unwrap() == bytes[last + 4000..]);
        }
    }

    #[test]
    fn another_root_or_damaged_hashes_are_refused() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[3; 300 * BLOCK], 0).unwrap();
        let facts = release(&file, 300);
        let mut other = facts.clone();
        other.root.hash = hex(&[1; 32]);
        assert!(matches!(ProvenRoot::open(&file, &other), Err(Error::RootHash { .. })));
        for blocks in [0, 1, 299, u64::MAX] {
            let mut other = facts.clone();
            other.root.data_blocks = blocks;
            assert!(ProvenRoot::open(&file, &other).is_err(), "{blocks}");
        }
        // In the lowest level.
        file.write_all_at(&[9], facts.root.length - 2 * BLOCK as u64).unwrap();
        assert!(matches!(ProvenRoot::open(&file, &facts), Err(Error::RootHash { .. })));
    }
}
