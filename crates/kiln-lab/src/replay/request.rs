//! One request of a window, prepared to be applied to thousands of disks: whole, or some parts of it.

use std::io;
use std::ops::Range;

use kiln_disk::BlockDevice;

use super::operation::Operation;
use super::overlay::{BLOCK, Block, Overlay, pieces};

/// Parts into which a discard may fall.
const DISCARD_PARTS: u64 = 8;

/// A request that changes the disk, prepared to be applied many times.
#[derive(Debug)]
pub(super) struct Request<'run> {
    offset: u64,
    length: u64,
    /// `None` for a discard.
    bytes: Option<&'run [u8]>,
    /// Those blocks that it covers wholly.
    whole: Vec<Block>,
    /// Whether it is there if anything after it is.
    pub(super) durable: bool,
}

impl<'run> Request<'run> {
    pub(super) fn new(operation: &'run Operation) -> Option<Self> {
        match operation {
            Operation::Write { offset, bytes, durable } => Some(Self {
                offset: *offset,
                length: bytes.len() as u64,
                bytes: Some(bytes),
                whole: pieces(*offset, bytes.len())
                    .filter(|(_, inside, _)| inside.len() as u64 == BLOCK)
                    .map(|(number, _, at)| Block::new(number, &bytes[at..at + BLOCK as usize]))
                    .collect(),
                durable: *durable,
            }),
            Operation::Discard { offset, length } => Some(Self {
                offset: *offset,
                length: *length,
                bytes: None,
                whole: Vec::new(),
                durable: false,
            }),
            Operation::Flush => None,
        }
    }

    pub(super) fn apply(&self, disk: &mut Overlay) -> io::Result<()> {
        let Some(bytes) = self.bytes else { return disk.discard(self.offset, self.length) };
        let mut whole = self.whole.iter();
        for (number, inside, at) in pieces(self.offset, bytes.len()) {
            match whole.as_slice() {
                [_, ..] if inside.len() as u64 == BLOCK => {
                    whole.next().map_or(Ok(()), |block| disk.put(number, block.clone()))?;
                }
                _ => {
                    let offset = self.offset + at as u64;
                    disk.write_at(offset, &bytes[at..at + inside.len()])?;
                }
            }
        }
        Ok(())
    }

    /// Ranges of bytes, from the request's start, that survive or not independently of each other:
    /// the sectors in which it differs from `disk`.
    pub(super) fn parts(&self, disk: &Overlay) -> io::Result<Vec<Range<u64>>> {
        let Some(bytes) = self.bytes else {
            let step = (self.length / DISCARD_PARTS).max(BLOCK).next_multiple_of(BLOCK);
            let starts = (0..self.length).step_by(usize::try_from(step).unwrap_or(usize::MAX));
            return Ok(starts.map(|at| at..(at + step).min(self.length)).collect());
        };
        let mut before = vec![0; bytes.len()];
        disk.read_at(self.offset, &mut before)?;
        let sector = disk.sector_size() as usize;
        let pairs = before.chunks(sector).zip(bytes.chunks(sector)).enumerate();
        Ok(pairs
            .filter(|(_, (before, after))| before != after)
            .map(|(index, (_, after))| {
                let start = (index * sector) as u64;
                start..start + after.len() as u64
            })
            .collect())
    }

    pub(super) fn apply_part(&self, disk: &mut Overlay, range: Range<u64>) -> io::Result<()> {
        let offset = self.offset + range.start;
        match self.bytes {
            Some(bytes) => disk.write_at(offset, &bytes[range.start as usize..range.end as usize]),
            None => disk.discard(offset, range.end - range.start),
        }
    }
}
