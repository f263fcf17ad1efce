//! Where encoded pieces lie: in the spool, or in the image of a lender.
//!
//! Where somebody lends, the spool begins in memory: what changes in a usual update fits there, and a
//! machine's flash memory is not written for it. Without lenders all is encoded, and memory would
//! make no difference.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::state::Segment;
use crate::lender::{Key, Lender, Lent};
use crate::profile::{Codec, Profile};

/// Lenders at most: a segment counts them with a byte, and a machine has three slots.
const LENDERS_MAX: usize = 250;
/// Bytes of the spool in memory. What else an upgrade needs is about 100 MiB (from a container image),
/// and 150 MiB are what it may.
const IN_MEMORY: usize = 32 << 20;

/// The spool and all lenders.
#[derive(Debug)]
pub(crate) struct Stored {
    spool: File,
    /// What would be the beginning of the spool.
    memory: Mutex<Vec<u8>>,
    /// Bytes of the spool that go to memory.
    in_memory: usize,
    end: AtomicU64,
    lenders: Vec<Arc<Lender>>,
}

impl Stored {
    /// Lenders of another profile than that of `codec` are left out.
    pub(super) fn new(spool: File, mut lenders: Vec<Arc<Lender>>, codec: Codec) -> Self {
        lenders.retain(|lender| lender.profile() == Profile::of(codec));
        lenders.truncate(LENDERS_MAX);
        let in_memory = if lenders.is_empty() { 0 } else { IN_MEMORY };
        let (memory, end) = (Mutex::default(), AtomicU64::new(0));
        Self { spool, memory, in_memory, end, lenders }
    }

    /// Whether anybody lends.
    pub(super) fn has_lenders(&self) -> bool {
        !self.lenders.is_empty()
    }

    /// The first lender that has this segment, with its number.
    pub(super) fn segment(&self, key: &Key) -> Option<(u8, &Lender, Lent)> {
        self.numbered().find_map(|(number, lender)| Some((number, lender, lender.segment(key)?)))
    }

    /// The first lender that has this content, with its number and the numbers of the segments.
    pub(super) fn content(
        &self,
        digest: &[u8; 32],
        size: u64,
    ) -> Option<(u8, &Lender, Range<usize>)> {
        self.numbered()
            .find_map(|(number, lender)| Some((number, lender, lender.content(digest, size)?)))
    }

    /// Whether a segment is lent by the very image that is made.
    pub(crate) fn is_placed(&self, segment: &Segment) -> bool {
        let lender = segment.lender().and_then(|number| self.lenders.get(number));
        lender.is_some_and(|lender| lender.is_placed())
    }

    /// Bytes of a segment from the byte offset `place` on, which [`Segment::places`] gave.
    pub(crate) fn read(&self, segment: &Segment, buffer: &mut [u8], place: u64) -> io::Result<()> {
        match segment.lender() {
            None => self.read_spool(buffer, place),
            Some(number) => match self.lenders.get(number) {
                Some(lender) => lender.read(buffer, place),
                None => Err(io::ErrorKind::NotFound.into()),
            },
        }
    }

    /// Puts bytes into the spool, and tells at which byte offset they lie.
    pub(super) fn spool(&self, bytes: &[u8]) -> io::Result<u64> {
        let offset = self.end.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let Some(range) = self.range_in_memory(offset, bytes.len()) else {
            self.spool.write_all_at(bytes, offset)?;
            return Ok(offset);
        };
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.len() < range.end {
            // At once, because a vector that grows needs twice as much; untouched pages cost nothing.
            let room = self.in_memory.saturating_sub(memory.len());
            memory.reserve_exact(room);
            memory.resize(range.end, 0);
        }
        if let Some(room) = memory.get_mut(range) {
            room.copy_from_slice(bytes);
        }
        Ok(offset)
    }

    /// Bytes that were put into the spool.
    pub(super) fn spooled(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    fn read_spool(&self, buffer: &mut [u8], place: u64) -> io::Result<()> {
        if let Some(range) = self.range_in_memory(place, buffer.len()) {
            let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            // The one piece that reaches beyond is in the file as a whole, and memory ends before it.
            if let Some(bytes) = memory.get(range) {
                buffer.copy_from_slice(bytes);
                return Ok(());
            }
        }
        self.spool.read_exact_at(buffer, place)
    }

    fn range_in_memory(&self, offset: u64, length: usize) -> Option<Range<usize>> {
        let offset = usize::try_from(offset).ok()?;
        let end = offset.checked_add(length)?;
        (end <= self.in_memory).then_some(offset..end)
    }

    fn numbered(&self) -> impl Iterator<Item = (u8, &Lender)> {
        (0..).zip(self.lenders.iter().map(|lender| &**lender))
    }
}
