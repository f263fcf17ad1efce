//! What threads of the encoder share: the records of finished segments and the memory budget.
//!
//! One lock for all records is enough: it is taken once per segment, and a segment costs
//! microseconds at least. A failure of any worker is kept and given to everyone who waits, so that
//! a full disk ends the build with its real reason instead of a missing content.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::segment::Extent;

/// Bytes of contents read but not yet encoded, at most. Bounds the encoder's memory together with
/// one segment and its output per worker.
const BUDGET: usize = 48 << 20;

/// Counted at least per segment, so that empty-looking work is bounded too.
const MINIMUM_CHARGE: usize = 1024;

/// A finished segment: where its extents lie in the spool, one behind the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    /// Byte offset in the spool.
    pub(crate) offset: u64,
    /// Pieces in order.
    pub(crate) extents: Vec<Extent>,
}

/// Everything known about a content.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    /// Length in bytes.
    pub(crate) size: u64,
    /// Segments still with a worker.
    pub(crate) pending: u32,
    /// Finished segments by position.
    pub(crate) segments: Vec<Segment>,
    /// SHA-256 of the bytes.
    pub(crate) digest: Option<[u8; 32]>,
}

/// Records of all contents.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// By content number.
    pub(crate) contents: Vec<Encoded>,
    /// Segments still with a worker, of all contents.
    pub(crate) pending: u64,
    failure: Option<(io::ErrorKind, String)>,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    in_flight: Mutex<usize>,
    freed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves the records consistent, so a panic elsewhere does not spoil them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a content and gives its number.
    pub(super) fn open(&self, size: u64) -> io::Result<u32> {
        let mut state = self.lock();
        state.check()?;
        let number = u32::try_from(state.contents.len()).map_err(io::Error::other)?;
        state.contents.push(Encoded { size, ..Encoded::default() });
        Ok(number)
    }

    /// Counts a segment before it is sent.
    pub(super) fn announce(&self, content: u32) {
        let mut state = self.lock();
        state.pending += 1;
        if let Some(encoded) = state.contents.get_mut(content as usize) {
            encoded.pending += 1;
            encoded.segments.push(Segment::default());
        }
    }

    pub(super) fn finish(
        &self,
        content: u32,
        index: u32,
        segment: Segment,
        digest: Option<[u8; 32]>,
    ) {
        let mut state = self.lock();
        state.pending -= 1;
        if let Some(encoded) = state.contents.get_mut(content as usize) {
            encoded.pending -= 1;
            encoded.digest = digest.or(encoded.digest);
            if let Some(place) = encoded.segments.get_mut(index as usize) {
                *place = segment;
            }
        }
        drop(state);
        self.changed.notify_all();
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
        while *in_flight > 0 && *in_flight + bytes.max(MINIMUM_CHARGE) > BUDGET {
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
    fn check(&self) -> io::Result<()> {
        match &self.failure {
            Some((kind, reason)) => Err(io::Error::new(*kind, reason.clone())),
            None => Ok(()),
        }
    }
}
