//! Fetches what a plan says is missing, several stretches side by side.
//!
//! The first stretch goes alone and shows whether the registry knows ranges. If it does not, its
//! answer is the whole blob and brings everything, so nothing is asked for twice. Each frame is
//! verified as soon as its last byte is there, and what came of it is kept before: a break costs the
//! bytes that nobody has read yet.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln_registry::{Answer, RangeSink};

use super::placed::{Coming, Placed};
use super::plan::Plan;
use super::{LocalContents, Remote, Spool, Stage, Watch};
use crate::Error;
use crate::contents::decode_frame;
use crate::table::{Chunk, Table, TableContent};

/// Requests side by side.
pub(super) const CONNECTIONS: usize = 6;

/// Where chunks go that came: into the spool, or with their content into the new root.
pub(super) struct Taker<'a> {
    table: &'a Table,
    local: &'a LocalContents,
    spool: Mutex<&'a mut Spool>,
    placing: Option<(&'a Placed, &'a Coming)>,
    /// Held by who has a content of several chunks in memory.
    one_at_a_time: Mutex<()>,
}

impl<'a> Taker<'a> {
    pub(super) fn new(
        table: &'a Table,
        local: &'a LocalContents,
        spool: &'a mut Spool,
        placing: Option<(&'a Placed, &'a Coming)>,
    ) -> Self {
        let (spool, one_at_a_time) = (Mutex::new(spool), Mutex::default());
        Self { table, local, spool, placing, one_at_a_time }
    }

    /// Takes a chunk that was verified, with its frame.
    fn take(&self, chunk: &Chunk, frame: &[u8], bytes: &[u8]) -> io::Result<()> {
        let found = self
            .placing
            .and_then(|(placed, coming)| Some((placed, coming, coming.content(&chunk.digest)?)));
        let Some((placed, coming, number)) = found else {
            return lock(&self.spool).put(chunk, frame);
        };
        let Some(content) = self.table.contents.get(number) else { return Ok(()) };
        if content.digest == chunk.digest {
            return match placed.put(number, content, &mut &bytes[..])? {
                true => lock(&self.spool).forget(chunk),
                false => lock(&self.spool).put(chunk, frame),
            };
        }
        let chunks = self.table.chunks.get(content.chunks.clone()).unwrap_or_default();
        let before = chunks.iter().take_while(|one| one.digest != chunk.digest);
        let before = before.map(|one| u64::from(one.frame_length)).sum();
        match placed.wait(number, before, chunk, frame)? {
            true => lock(&self.spool).forget(chunk)?,
            false => lock(&self.spool).put(chunk, frame)?,
        }
        if coming.came(number) { self.place(placed, number, content) } else { Ok(()) }
    }

    /// Puts a content of several chunks into the root. One that cannot be put together waits for whoever
    /// encodes what is left.
    fn place(&self, placed: &Placed, number: usize, content: &TableContent) -> io::Result<()> {
        let chunks = self.table.chunks.get(content.chunks.clone()).unwrap_or_default();
        let _alone = lock(&self.one_at_a_time);
        let mut is_whole = true;
        let mut bytes = chunks.iter().map_while(|chunk| {
            let found = placed.waiting(chunk).or_else(|| match lock(&self.spool).read(chunk) {
                Ok(Some(bytes)) => Some(bytes),
                _ => self.local.read(chunk).ok().flatten(),
            });
            is_whole = found.is_some();
            found
        });
        let mut reader = Joined { parts: &mut bytes, part: io::Cursor::default() };
        match placed.put(number, content, &mut reader) {
            Err(error) if is_whole => Err(error),
            Ok(true) => {
                let mut spool = lock(&self.spool);
                chunks.iter().try_for_each(|chunk| spool.forget(chunk))
            }
            _ => Ok(()),
        }
    }
}

/// Chunks one behind the other.
struct Joined<'a> {
    parts: &'a mut dyn Iterator<Item = Vec<u8>>,
    part: io::Cursor<Vec<u8>>,
}

impl io::Read for Joined<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.part.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(next) = self.parts.next() else { return Ok(0) };
            self.part = io::Cursor::new(next);
        }
    }
}

/// Brings all missing chunks to the taker.
///
/// # Errors
/// All of reading; what was fetched is kept.
pub(super) fn gather(
    remote: &Remote,
    plan: &Plan,
    taker: &Taker<'_>,
    watch: &Watch<'_>,
) -> Result<(), Error> {
    let Some((first, rest)) = plan.stretches.split_first() else { return Ok(()) };
    let shared = Shared {
        plan,
        taker,
        is_done: plan.missing.iter().map(|_| AtomicBool::new(false)).collect(),
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

struct Shared<'a, 'b> {
    plan: &'a Plan,
    taker: &'a Taker<'b>,
    /// By place in the plan.
    is_done: Vec<AtomicBool>,
    /// One answer brings the whole blob; nobody else needs to ask.
    whole: AtomicBool,
    done: AtomicU64,
    watch: &'a Watch<'a>,
}

impl Shared<'_, '_> {
    fn fetch(&self, remote: &Remote, chunks: Range<usize>) -> Result<(), Error> {
        if self.whole.load(Ordering::Relaxed) {
            // Somebody has all; what is left here comes with it.
            return Ok(());
        }
        let missing = self.plan.missing.get(chunks.start);
        let begun = missing.map(|chunk| lock(&self.taker.spool).beginning(chunk));
        let mut sink = Frames {
            shared: self,
            next: chunks.start,
            end: chunks.end,
            position: 0,
            // What cannot be read is fetched.
            frame: begun.and_then(Result::ok).unwrap_or_default(),
            is_whole: false,
            is_idle: false,
        };
        let contents = &remote.layers.contents;
        remote.repository.stretch(contents.digest, contents.size, &mut sink)?;
        Ok(())
    }
}

/// Cuts frames out of what comes.
struct Frames<'a, 'b, 'c> {
    shared: &'a Shared<'b, 'c>,
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

impl Frames<'_, '_, '_> {
    /// The next chunk that is not here yet.
    fn advance(&mut self) {
        if self.is_whole {
            let is_done = |done: &AtomicBool| done.load(Ordering::Relaxed);
            while self.next < self.end && self.shared.is_done.get(self.next).is_some_and(is_done) {
                self.next += 1;
            }
        }
    }
}

impl RangeSink for Frames<'_, '_, '_> {
    fn wanted(&self) -> Range<u64> {
        match self.shared.plan.missing.get(self.next..self.end) {
            Some([first, rest @ ..]) if !self.is_idle => {
                let here = self.frame.len() as u64;
                first.frame_offset + here..rest.last().unwrap_or(first).frame_end()
            }
            _ => 0..0,
        }
    }

    fn begin(&mut self, offset: u64, answer: Answer) {
        self.position = offset;
        if answer == Answer::Whole && !self.is_whole {
            self.is_idle = self.shared.whole.swap(true, Ordering::Relaxed);
            self.is_whole = !self.is_idle;
            if self.is_whole {
                self.frame.clear();
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
                lock(&self.shared.taker.spool).begin(chunk, &self.frame)?;
                continue;
            }
            let frame = std::mem::take(&mut self.frame);
            let decoded = match decode_frame(&frame, chunk.length, &chunk.digest) {
                Ok(decoded) => decoded,
                Err(error) => {
                    // What was kept of it may be what is wrong.
                    lock(&self.shared.taker.spool).forget(chunk)?;
                    return Err(wrong(error.to_string()));
                }
            };
            self.shared.taker.take(chunk, &frame, &decoded)?;
            if let Some(is_done) = self.shared.is_done.get(self.next) {
                is_done.store(true, Ordering::Relaxed);
            }
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
