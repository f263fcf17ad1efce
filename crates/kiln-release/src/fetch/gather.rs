//! Fetches what a plan says is missing, several stretches side by side.
//!
//! The first stretch goes alone and shows whether the registry knows ranges. If it does not, its
//! answer is the whole blob and brings everything, so nothing is asked for twice. Each frame is
//! verified and spooled as soon as its last byte is there; a break costs the frames under way.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln_registry::{Answer, RangeSink};

use super::{Plan, Remote, Spool, Stage, Watch};
use crate::Error;
use crate::contents::decode_frame;
use crate::table::Chunk;

/// Requests side by side.
pub(super) const CONNECTIONS: usize = 6;

/// Brings all missing chunks into the spool.
///
/// # Errors
/// All of reading; what was fetched stays in the spool.
pub fn gather(
    remote: &Remote,
    plan: &Plan,
    spool: &mut Spool,
    watch: &Watch<'_>,
) -> Result<(), Error> {
    let Some((first, rest)) = plan.stretches.split_first() else { return Ok(()) };
    let shared = Shared {
        plan,
        spool: Mutex::new(spool),
        whole: AtomicBool::new(false),
        done: AtomicU64::new(0),
        watch,
    };
    shared.fetch(remote, first.chunks.clone())?;
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS.min(rest.len()) {
            scope.spawn(|| {
                while let Some(stretch) = rest.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = shared.fetch(remote, stretch.chunks.clone()) {
                        next.store(rest.len(), Ordering::Relaxed);
                        lock(&failure).get_or_insert(error);
                    }
                }
            });
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// One chunk alone, for a place that did not keep what it promised.
pub(super) fn fetch_chunk(remote: &Remote, chunk: &Chunk) -> Result<Vec<u8>, Error> {
    let mut sink = One { chunk, frame: Vec::new(), skip: 0, bytes: None };
    let contents = &remote.layers.contents;
    remote.repository.stretch(contents.digest, contents.size, &mut sink)?;
    sink.bytes.ok_or_else(|| Error::malformed("contents", "a frame did not come"))
}

struct Shared<'a> {
    plan: &'a Plan,
    spool: Mutex<&'a mut Spool>,
    /// One answer brings the whole blob; nobody else needs to ask.
    whole: AtomicBool,
    done: AtomicU64,
    watch: &'a Watch<'a>,
}

impl Shared<'_> {
    fn fetch(&self, remote: &Remote, chunks: Range<usize>) -> Result<(), Error> {
        if self.whole.load(Ordering::Relaxed) {
            // Somebody has all; what is left here comes with it.
            return Ok(());
        }
        let mut sink = Frames {
            shared: self,
            next: chunks.start,
            end: chunks.end,
            position: 0,
            frame: Vec::new(),
            is_whole: false,
            is_idle: false,
        };
        let contents = &remote.layers.contents;
        remote.repository.stretch(contents.digest, contents.size, &mut sink)?;
        Ok(())
    }
}

/// Cuts frames out of what comes.
struct Frames<'a, 'b> {
    shared: &'a Shared<'b>,
    /// The next chunk of the plan, and the first that is another's.
    next: usize,
    end: usize,
    /// Where the next byte belongs.
    position: u64,
    frame: Vec<u8>,
    /// This one gets the whole blob.
    is_whole: bool,
    /// Another one gets it.
    is_idle: bool,
}

impl Frames<'_, '_> {
    /// The next chunk that is not here yet.
    fn advance(&mut self) {
        if self.is_whole {
            let spool = lock(&self.shared.spool);
            while self.next < self.end && spool.contains(&self.shared.plan.missing[self.next]) {
                self.next += 1;
            }
        }
    }
}

impl RangeSink for Frames<'_, '_> {
    fn wanted(&self) -> Range<u64> {
        match self.shared.plan.missing.get(self.next..self.end) {
            Some([first, rest @ ..]) if !self.is_idle => {
                first.frame_offset..rest.last().unwrap_or(first).frame_end()
            }
            _ => 0..0,
        }
    }

    fn begin(&mut self, offset: u64, answer: Answer) {
        self.position = offset;
        self.frame.clear();
        if answer == Answer::Whole && !self.is_whole {
            self.is_idle = self.shared.whole.swap(true, Ordering::Relaxed);
            self.is_whole = !self.is_idle;
            if self.is_whole {
                self.next = 0;
                self.end = self.shared.plan.missing.len();
                self.advance();
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some(chunk) = self
            .shared
            .plan
            .missing
            .get(self.next..self.end)
            .and_then(<[Chunk]>::first)
            .filter(|_| !self.is_idle && !bytes.is_empty())
        {
            let wrong = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
            let start = chunk.frame_offset + self.frame.len() as u64;
            if self.position > start {
                return Err(wrong("bytes of a frame are missing".to_owned()));
            }
            let skipped = (start - self.position).min(bytes.len() as u64) as usize;
            bytes = &bytes[skipped..];
            self.position += skipped as u64;
            let missing = chunk.frame_length as usize - self.frame.len();
            let taken = missing.min(bytes.len());
            self.frame.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            self.position += taken as u64;
            if taken < missing {
                continue;
            }
            let frame = std::mem::take(&mut self.frame);
            decode_frame(&frame, chunk.length, &chunk.digest)
                .map_err(|error| wrong(error.to_string()))?;
            lock(&self.shared.spool).put(chunk, &frame)?;
            self.next += 1;
            self.advance();
            let length = u64::from(chunk.frame_length);
            let done = self.shared.done.fetch_add(length, Ordering::Relaxed) + length;
            (self.shared.watch)(Stage::Contents, done, self.shared.plan.bytes);
        }
        self.position += bytes.len() as u64;
        Ok(())
    }
}

/// One frame.
struct One<'a> {
    chunk: &'a Chunk,
    frame: Vec<u8>,
    skip: u64,
    bytes: Option<Vec<u8>>,
}

impl RangeSink for One<'_> {
    fn wanted(&self) -> Range<u64> {
        match self.bytes {
            Some(_) => 0..0,
            None => self.chunk.frame_offset..self.chunk.frame_end(),
        }
    }

    fn begin(&mut self, offset: u64, _: Answer) {
        self.frame.clear();
        self.skip = self.chunk.frame_offset.saturating_sub(offset);
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let skipped = self.skip.min(bytes.len() as u64) as usize;
        self.skip -= skipped as u64;
        let missing = self.chunk.frame_length as usize - self.frame.len();
        let fresh = &bytes[skipped..];
        self.frame.extend_from_slice(&fresh[..fresh.len().min(missing)]);
        if self.frame.len() == self.chunk.frame_length as usize && self.bytes.is_none() {
            let decoded = decode_frame(&self.frame, self.chunk.length, &self.chunk.digest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            self.bytes = Some(decoded);
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change leaves the spool consistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
