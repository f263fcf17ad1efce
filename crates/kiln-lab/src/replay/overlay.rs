//! A disk as a file that is never written, and the few blocks in which it differs from that file.
//!
//! Thousands of states of one disk of many gigabytes are looked at in seconds because none is ever
//! copied: states share the blocks that they have in common, and each knows its digest. That is the
//! sum of one number per differing block, so a write changes it without looking at the rest, and
//! two states have the same digest exactly if they have the same bytes, whatever order and number
//! of writes led there. 128 bits of SHA-256 per block make an accident impossible in practice;
//! nobody attacks it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use kiln_disk::BlockDevice;
use rustix::fs::SeekFrom;
use sha2::{Digest, Sha256};

use crate::error::{Error, file_error};

/// Bytes of a block, the unit of sharing: the page of every kernel that writes here.
pub const BLOCK: u64 = 4096;

/// The disk before anything happened: a sparse file, opened read-only.
#[derive(Debug)]
pub struct Base {
    file: File,
    length: u64,
    sector_size: u32,
    /// Block numbers that may hold something else than zeros, ascending.
    data: Vec<Range<u64>>,
}

impl Base {
    /// Opens a raw disk with sectors of this many bytes. `length` in bytes may exceed the file's:
    /// the rest is zeros.
    ///
    /// # Errors
    /// [`Error::File`], also for a file system that cannot tell where a file has holes.
    pub fn open(path: &Path, length: u64, sector_size: u32) -> Result<Self, Error> {
        let file = File::open(path).map_err(file_error("open", path))?;
        let data = extents(&file).map_err(file_error("find the holes of", path))?;
        Ok(Self { file, length, sector_size, data })
    }

    /// Block numbers inside `range` that may not be zeros.
    fn data_in(&self, range: &Range<u64>) -> impl Iterator<Item = u64> {
        let (start, end) = (range.start, range.end);
        self.data.iter().flat_map(move |piece| piece.start.max(start)..piece.end.min(end))
    }

    fn has_data(&self, block: u64) -> bool {
        let after = self.data.partition_point(|piece| piece.start <= block);
        after.checked_sub(1).is_some_and(|index| self.data[index].contains(&block))
    }

    fn block(&self, number: u64) -> io::Result<Block> {
        if !self.has_data(number) {
            return Ok(Block::zero());
        }
        let mut bytes = vec![0; BLOCK as usize];
        self.read(number, 0, &mut bytes)?;
        Ok(Block::new(number, &bytes))
    }

    /// Bytes of one block from `start` on, without the digest that only a change needs.
    fn read(&self, number: u64, start: usize, target: &mut [u8]) -> io::Result<()> {
        target.fill(0);
        let mut filled = 0;
        // The file may end inside the block, and the disk goes on in zeros.
        while self.has_data(number) && filled < target.len() {
            let offset = number * BLOCK + (start + filled) as u64;
            match self.file.read_at(&mut target[filled..], offset)? {
                0 => break,
                length => filled += length,
            }
        }
        Ok(())
    }
}

/// Block numbers of a file that are not holes.
fn extents(file: &File) -> io::Result<Vec<Range<u64>>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    let mut position = 0;
    loop {
        let start = match rustix::fs::seek(file, SeekFrom::Data(position)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => return Ok(found),
            Err(error) => return Err(error.into()),
        };
        position = rustix::fs::seek(file, SeekFrom::Hole(start))?;
        found.push(start / BLOCK..position.div_ceil(BLOCK));
    }
}

/// The content of one block at one place.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// `None` for zeros.
    bytes: Option<Arc<[u8]>>,
    digest: u128,
}

impl Block {
    fn zero() -> Self {
        Self { bytes: None, digest: 0 }
    }

    pub(super) fn new(number: u64, bytes: &[u8]) -> Self {
        if bytes.iter().all(|byte| *byte == 0) {
            return Self::zero();
        }
        let hash = Sha256::new().chain_update(number.to_le_bytes()).chain_update(bytes).finalize();
        let mut digest = [0; 16];
        digest.copy_from_slice(&hash[..16]);
        Self { bytes: Some(Arc::from(bytes)), digest: u128::from_le_bytes(digest) }
    }

    fn copy(&self, from: usize, target: &mut [u8]) {
        match &self.bytes {
            Some(bytes) => target.copy_from_slice(&bytes[from..from + target.len()]),
            None => target.fill(0),
        }
    }
}

type Blocks = BTreeMap<u64, Block>;

/// One state of a disk. Cloning is cheap; writing changes this state only.
#[derive(Debug, Clone)]
pub struct Overlay {
    base: Arc<Base>,
    /// Shared with other states.
    lower: Arc<Blocks>,
    /// Where this state differs from `lower`.
    upper: Blocks,
    digest: u128,
}

impl Overlay {
    /// The untouched disk.
    #[must_use]
    pub fn new(base: Arc<Base>) -> Self {
        Self { base, lower: Arc::default(), upper: Blocks::new(), digest: 0 }
    }

    /// Digest of all bytes of the disk, comparable between states of one base; 0 for the base.
    #[must_use]
    pub fn digest(&self) -> u128 {
        self.digest
    }

    /// Digest of a range of bytes, rounded outwards to whole blocks; 0 if it is as in the base.
    ///
    /// # Errors
    /// The base cannot be read.
    pub fn digest_of(&self, range: Range<u64>) -> io::Result<u128> {
        let blocks = range.start / BLOCK..range.end.div_ceil(BLOCK);
        let mut sum = 0_u128;
        for (number, block) in self.changed(blocks) {
            sum = sum.wrapping_add(block.digest).wrapping_sub(self.base.block(number)?.digest);
        }
        Ok(sum)
    }

    /// Blocks that were written, in order of their numbers.
    fn changed(&self, range: Range<u64>) -> impl Iterator<Item = (u64, &Block)> {
        let hidden = |number: &u64| !self.upper.contains_key(number);
        let mut blocks: BTreeMap<u64, &Block> = self
            .lower
            .range(range.clone())
            .filter(|(number, _)| hidden(number))
            .map(|(number, block)| (*number, block))
            .collect();
        blocks.extend(self.upper.range(range).map(|(number, block)| (*number, block)));
        blocks.into_iter()
    }

    fn written(&self, number: u64) -> Option<&Block> {
        self.upper.get(&number).or_else(|| self.lower.get(&number))
    }

    fn block(&self, number: u64) -> io::Result<Block> {
        self.written(number).map_or_else(|| self.base.block(number), |block| Ok(block.clone()))
    }

    pub(super) fn put(&mut self, number: u64, block: Block) -> io::Result<()> {
        let before = self.block(number)?.digest;
        self.digest = self.digest.wrapping_sub(before).wrapping_add(block.digest);
        self.upper.insert(number, block);
        Ok(())
    }

    /// Makes a range of bytes read as zeros.
    ///
    /// # Errors
    /// The base cannot be read, or the range is not inside the disk.
    pub fn discard(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let end = self.check(offset, length)?;
        // Whole blocks are dropped where there are any; the ragged ends are written.
        let whole = offset.div_ceil(BLOCK)..end / BLOCK;
        if whole.start >= whole.end {
            return self.write_at(offset, &vec![0; usize::try_from(length).unwrap_or_default()]);
        }
        let head = whole.start * BLOCK - offset;
        let tail = end - whole.end * BLOCK;
        self.write_at(offset, &vec![0; head as usize])?;
        self.write_at(end - tail, &vec![0; tail as usize])?;
        let mut numbers: Vec<u64> = self.changed(whole.clone()).map(|(number, _)| number).collect();
        numbers.extend(self.base.data_in(&whole));
        for number in numbers {
            self.put(number, Block::zero())?;
        }
        Ok(())
    }

    /// Shares this state's own blocks with all states that are cloned from it.
    pub fn settle(&mut self) {
        let upper = std::mem::take(&mut self.upper);
        Arc::make_mut(&mut self.lower).extend(upper);
    }

    /// Writes a range of bytes into a new sparse file, from the file's start: a partition, or with
    /// `0..length` the whole disk. What the base holds is read through it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn materialise(&self, range: Range<u64>, path: &Path) -> Result<(), Error> {
        let failed = file_error("write", path);
        let file = File::create(path).map_err(&failed)?;
        file.set_len(range.end.saturating_sub(range.start)).map_err(&failed)?;
        let blocks = range.start / BLOCK..range.end.div_ceil(BLOCK);
        let mut numbers: Vec<u64> =
            self.changed(blocks.clone()).map(|(number, _)| number).collect();
        numbers.extend(self.base.data_in(&blocks));
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let block = self.block(number).map_err(&failed)?;
            let Some(bytes) = &block.bytes else { continue };
            let start = (number * BLOCK).max(range.start);
            let end = ((number + 1) * BLOCK).min(range.end);
            let skipped = (start - number * BLOCK) as usize;
            let piece = &bytes[skipped..skipped + (end - start) as usize];
            file.write_all_at(piece, start - range.start).map_err(&failed)?;
        }
        Ok(())
    }

    /// Writes what differs from the base into a copy of it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn change_copy(&self, copy: &Path) -> Result<(), Error> {
        let failed = file_error("write", copy);
        let file = File::options().write(true).open(copy).map_err(&failed)?;
        let zeros = [0; BLOCK as usize];
        for (number, block) in self.changed(0..self.base.length.div_ceil(BLOCK)) {
            let bytes = block.bytes.as_deref().unwrap_or(&zeros);
            file.write_all_at(bytes, number * BLOCK).map_err(&failed)?;
        }
        Ok(())
    }

    /// The end of a range that is inside the disk.
    fn check(&self, offset: u64, length: u64) -> io::Result<u64> {
        let end = offset.checked_add(length).filter(|end| *end <= self.base.length);
        end.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// The pieces of a range of bytes: block number, place in the block, place in the range.
pub(super) fn pieces(
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (u64, Range<usize>, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let position = offset + done as u64;
        let start = (position % BLOCK) as usize;
        let count = (BLOCK as usize - start).min(length - done);
        let piece = (position / BLOCK, start..start + count, done);
        done += count;
        (count > 0).then_some(piece)
    })
}

impl BlockDevice for Overlay {
    fn sector_size(&self) -> u32 {
        self.base.sector_size
    }

    fn length(&self) -> u64 {
        self.base.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.check(offset, buffer.len() as u64)?;
        for (number, inside, done) in pieces(offset, buffer.len()) {
            let target = &mut buffer[done..done + inside.len()];
            match self.written(number) {
                Some(block) => block.copy(inside.start, target),
                None => self.base.read(number, inside.start, target)?,
            }
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(offset, bytes.len() as u64)?;
        for (number, inside, done) in pieces(offset, bytes.len()) {
            let mut content = vec![0; BLOCK as usize];
            if inside.len() < content.len() {
                self.block(number)?.copy(0, &mut content);
            }
            let length = inside.len();
            content[inside].copy_from_slice(&bytes[done..done + length]);
            self.put(number, Block::new(number, &content))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: u64 = 64 * BLOCK;

    /// Eight blocks of ones at block 4, zeros elsewhere.
    fn base(folder: &Path) -> Arc<Base> {
        let path = folder.join("base");
        let file = File::create(&path).unwrap();
        file.set_len(32 * BLOCK).unwrap();
        file.write_all_at(&[1; 8 * BLOCK as usize], 4 * BLOCK).unwrap();
        Arc::new(Base::open(&path, LENGTH, 512).unwrap())
    }

    #[test]
    fn a_state_is_like_a_disk_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = Overlay::new(base(folder.path()));
        let mut bytes = vec![0; LENGTH as usize];
        bytes[4 * BLOCK as usize..12 * BLOCK as usize].fill(1);
        for (offset, length, value) in
            [(0, 512, 2), (4 * 4096 + 512, 4096, 3), (40 * 4096, 9000, 4), (5 * 4096, 512, 0)]
        {
            state.write_at(offset as u64, &vec![value; length]).unwrap();
            bytes[offset..offset + length].fill(value);
        }
        state.settle();
        let other = state.clone();
        for (offset, length) in [(3 * 4096 + 512, 3 * 4096), (40 * 4096, 4096), (0, 512)] {
            state.discard(offset as u64, length as u64).unwrap();
            bytes[offset..offset + length].fill(0);
        }
        let mut read = vec![9; bytes.len()];
        state.read_at(0, &mut read).unwrap();
        assert!(read == bytes);
        assert_ne!(state.digest(), other.digest());
        assert!(state.write_at(LENGTH - 1, &[1, 2]).is_err());
        assert!(state.discard(0, LENGTH + 1).is_err());

        let path = folder.path().join("part");
        state.materialise(512..LENGTH - 512, &path).unwrap();
        assert!(std::fs::read(&path).unwrap() == bytes[512..bytes.len() - 512]);
    }

    #[test]
    fn the_digest_is_of_the_bytes_and_not_of_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let untouched = Overlay::new(base(folder.path()));
        let mut one = untouched.clone();
        one.write_at(8192, &[5; 512]).unwrap();
        one.write_at(5 * 4096, &[6; 4096]).unwrap();
        let mut two = untouched.clone();
        two.write_at(5 * 4096, &[7; 512]).unwrap();
        two.settle();
        two.write_at(5 * 4096, &[6; 4096]).unwrap();
        two.write_at(8192, &[5; 512]).unwrap();
        assert_eq!(one.digest(), two.digest());
        assert_eq!(one.digest_of(0..LENGTH).unwrap(), one.digest());
        assert_eq!(one.digest_of(6 * 4096..LENGTH).unwrap(), 0);
        two.write_at(5 * 4096, &[1; 4096]).unwrap();
        two.discard(8192, 4096).unwrap();
        assert_eq!(two.digest(), untouched.digest());
        // The same bytes elsewhere are another disk.
        let mut three = untouched.clone();
        three.write_at(12288, &[5; 512]).unwrap();
        three.write_at(5 * 4096, &[6; 4096]).unwrap();
        assert_ne!(one.digest(), three.digest());
    }
}
