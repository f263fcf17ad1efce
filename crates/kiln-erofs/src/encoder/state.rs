//! What threads of the encoder share: the records of finished segments and the memory budget.
//!
//! One lock for all records is enough: it is taken once per segment, and a segment costs
//! microseconds at least. All segments and all extents lie in one table each, because most of half a
//! million contents have one of each: a list per content cost three times as much memory. A failure of any worker is kept and given to everyone who waits, so that
//! a full disk ends the build with its real reason instead of a missing content.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::extent::{Extent, SEGMENT};
use crate::format::BLOCK;
use crate::lender::Lent;

/// Bytes of contents read but not yet encoded, at most. Bounds the encoder's memory together with
/// one segment and its output per worker.
const BUDGET: usize = 48 << 20;
/// The same for each worker: the segment that it encodes and two that wait, so that it never waits for
/// the reader. A machine with one processor upgrades itself in little memory.
const BUDGET_PER_WORKER: usize = 3 * SEGMENT;

/// Counted at least per segment, so that empty-looking work is bounded too.
const MINIMUM_CHARGE: usize = 1024;

/// A finished segment and where its extents lie, one behind the other.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Segment {
    /// Byte offset in the spool or the lender's image.
    pub(crate) offset: u64,
    /// Its pieces: first one in the table of all extents, and how many.
    extents: (u32, u32),
    /// Byte offset of the last piece in the lender's image if that does not lie behind the others,
    /// else zero.
    tail: u32,
    /// Number of the lender, counted from 1; zero for the spool.
    lender: u8,
}

impl Segment {
    /// One in the spool. Its extents are told later.
    pub(super) fn spooled(offset: u64) -> Self {
        Self { offset, ..Self::default() }
    }

    /// One in the image of a lender.
    pub(super) fn lent(lent: Lent, lender: u8) -> Self {
        let Lent { offset, tail, .. } = lent;
        Self { offset, tail, lender: lender.saturating_add(1), ..Self::default() }
    }

    /// The lender that has it, by its place among them; `None` for the spool.
    pub(super) fn lender(&self) -> Option<usize> {
        usize::from(self.lender).checked_sub(1)
    }

    /// Its pieces with the byte offsets where they begin.
    pub(crate) fn places<'a>(
        &self,
        extents: &'a [Extent],
    ) -> impl Iterator<Item = (Extent, u64)> + use<'a> {
        let segment = *self;
        let mut next = segment.offset;
        extents.iter().enumerate().map(move |(number, extent)| {
            let is_last = number + 1 == extents.len();
            let place = if is_last && segment.tail > 0 { u64::from(segment.tail) } else { next };
            let stored = u64::from(extent.stored);
            next = next.saturating_add(match segment.lender {
                0 => stored,
                _ => stored.next_multiple_of(BLOCK as u64),
            });
            (*extent, place)
        })
    }
}

/// Everything known about a content.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    /// Length in bytes.
    pub(crate) size: u64,
    /// SHA-256 of the bytes.
    pub(crate) digest: Option<[u8; 32]>,
    /// Segments still with a worker.
    pub(crate) pending: u32,
    /// Its segments: first one in the table of all segments, and how many.
    segments: (u32, u32),
}

/// Records of all contents.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// By content number.
    pub(crate) contents: Vec<Encoded>,
    /// Segments still with a worker, of all contents.
    pub(crate) pending: u64,
    /// Segments of all contents: those of one content are neighbours, by position.
    segments: Vec<Segment>,
    /// Extents of all segments: those of one segment are neighbours, in order.
    extents: Vec<Extent>,
    failure: Option<(io::ErrorKind, String)>,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    in_flight: Mutex<usize>,
    freed: Condvar,
    /// Bytes that may be in flight.
    budget: usize,
}

impl Shared {
    /// For so many workers.
    pub(super) fn new(workers: usize) -> Self {
        let budget = workers.saturating_mul(BUDGET_PER_WORKER).min(BUDGET);
        Self { budget, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves the records consistent, so a panic elsewhere does not spoil them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a content and gives its number. Its segments must all be announced before the next
    /// content begins.
    pub(super) fn open(&self, size: u64) -> io::Result<u32> {
        let mut state = self.lock();
        state.check()?;
        let number = u32::try_from(state.contents.len()).map_err(io::Error::other)?;
        let first = u32::try_from(state.segments.len()).map_err(io::Error::other)?;
        state.contents.push(Encoded { size, segments: (first, 0), ..Encoded::default() });
        Ok(number)
    }

    /// Counts a segment before it is sent.
    pub(super) fn announce(&self, content: u32) {
        let mut state = self.lock();
        state.pending += 1;
        if let Some(encoded) = state.contents.get_mut(content as usize) {
            encoded.pending += 1;
            encoded.segments.1 += 1;
            state.segments.push(Segment::default());
        }
    }

    /// Takes a content whose segments all have a place already.
    pub(super) fn take<'a>(
        &self,
        size: u64,
        digest: [u8; 32],
        segments: impl Iterator<Item = (Segment, &'a [Extent])>,
    ) -> io::Result<u32> {
        let number = self.open(size)?;
        let mut guard = self.lock();
        let state = &mut *guard;
        for (segment, extents) in segments {
            let first = u32::try_from(state.extents.len()).map_err(io::Error::other)?;
            // At most one extent per byte of a segment.
            state.segments.push(Segment { extents: (first, extents.len() as u32), ..segment });
            state.extents.extend_from_slice(extents);
            if let Some(encoded) = state.contents.get_mut(number as usize) {
                encoded.segments.1 += 1;
            }
        }
        if let Some(encoded) = state.contents.get_mut(number as usize) {
            encoded.digest = Some(digest);
        }
        Ok(number)
    }

    /// Keeps a finished segment.
    pub(super) fn finish(
        &self,
        content: u32,
        index: u32,
        segment: Segment,
        extents: &[Extent],
        digest: Option<[u8; 32]>,
    ) -> io::Result<()> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let first = u32::try_from(state.extents.len()).map_err(io::Error::other)?;
        state.pending -= 1;
        if let Some(encoded) = state.contents.get_mut(content as usize) {
            encoded.pending -= 1;
            encoded.digest = digest.or(encoded.digest);
            if let Some(place) = state.segments.get_mut((encoded.segments.0 + index) as usize) {
                // At most one extent per byte of a segment.
                *place = Segment { extents: (first, extents.len() as u32), ..segment };
                state.extents.extend_from_slice(extents);
            }
        }
        drop(guard);
        self.changed.notify_all();
        Ok(())
    }

    pub(super) fn set_digest(&self, content: u32, digest: [u8; 32]) {
        if let Some(encoded) = self.lock().contents.get_mut(content as usize) {
            encoded.digest = Some(digest);
        }
    }

    pub(super) fn fail(&self, error: &io::Error) {
        self.lock().failure.get_or_insert((error.kind(), error.to_string()));
        self.changed.notify_all();
    }

    /// Waits until `ready`, or gives the failure of a worker.
    pub(super) fn wait(&self, ready: impl Fn(&State) -> bool) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        loop {
            state.check()?;
            if ready(&state) {
                return Ok(state);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until the budget has room for a segment.
    pub(super) fn reserve(&self, bytes: usize) {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        while *in_flight > 0 && *in_flight + bytes.max(MINIMUM_CHARGE) > self.budget {
            in_flight = self.freed.wait(in_flight).unwrap_or_else(PoisonError::into_inner);
        }
        *in_flight += bytes.max(MINIMUM_CHARGE);
    }

    pub(super) fn release(&self, bytes: usize) {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        *in_flight -= bytes.max(MINIMUM_CHARGE);
        drop(in_flight);
        self.freed.notify_one();
    }
}

impl State {
    /// Finished segments of a content, by position.
    pub(crate) fn segments(&self, encoded: &Encoded) -> &[Segment] {
        part(&self.segments, encoded.segments)
    }

    /// Pieces of a segment, in order.
    pub(crate) fn extents(&self, segment: Segment) -> &[Extent] {
        part(&self.extents, segment.extents)
    }

    /// All pieces of a content, in order.
    pub(crate) fn pieces<'a>(
        &'a self,
        encoded: &Encoded,
    ) -> impl Iterator<Item = &'a Extent> + use<'a> {
        self.segments(encoded).iter().flat_map(|&segment| self.extents(segment))
    }

    fn check(&self) -> io::Result<()> {
        match &self.failure {
            Some((kind, reason)) => Err(io::Error::new(*kind, reason.clone())),
            None => Ok(()),
        }
    }
}

fn part<T>(table: &[T], (first, count): (u32, u32)) -> &[T] {
    let first = first as usize;
    table.get(first..first + count as usize).unwrap_or_default()
}
