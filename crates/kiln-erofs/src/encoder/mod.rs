//! Takes file contents as they stream by, compresses them on all cores, and remembers where the
//! pieces lie in a spool file.
//!
//! Nothing about the image's layout is decided here: the spool's order depends on which thread was
//! faster, and only the writer's canonical order reaches the image. Files are cut into segments of
//! fixed length, so that one huge file keeps every core busy, and segments know nothing of each
//! other, so the number of threads cannot change a byte. Bytes waiting for a thread are bounded.
//! Compressing after the whole tree is known was dropped: it would read everything twice. What a
//! [`Lender`] holds in the same form is neither compressed nor spooled; it changes no byte either.

mod noise;
#[cfg(test)]
mod samples;
mod segment;
mod shorten;
mod state;
mod stored;

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use kiln_tree::{Content, ContentId, ContentStore, Opener};
use sha2::{Digest, Sha256};

use crate::extent::{Extent, SEGMENT};
use crate::lender::{Key, Lender};
use crate::profile::Codec;
pub(crate) use segment::{Compressor, INLINE_MAX, ZSTD_WINDOW_LOG, decode};
use state::Shared;
pub(crate) use state::{Encoded, Segment, State};
use stored::Stored;

/// What an [`Encoder`] needs.
#[derive(Debug)]
pub struct EncoderOptions {
    /// How contents are compressed.
    pub codec: Codec,
    /// Worker threads; at least one is started. Has no influence on the image.
    pub threads: usize,
    /// An empty file for the encoded pieces, normally unlinked and beside the output. It grows to
    /// about the size of the image, or of what nobody lends; where somebody does, the first 32 MiB
    /// stay in memory.
    pub spool: File,
}

/// One segment on its way to a worker.
struct Job {
    content: u32,
    index: u32,
    first: bool,
    last: bool,
    bytes: Vec<u8>,
}

/// The [`ContentStore`] that compresses. Dropping it ends its threads.
#[derive(Debug)]
pub struct Encoder {
    codec: Codec,
    stored: Arc<Stored>,
    shared: Arc<Shared>,
    jobs: Option<Sender<Job>>,
    workers: Vec<JoinHandle<()>>,
}

impl Encoder {
    /// Starts the worker threads.
    pub fn new(options: EncoderOptions) -> io::Result<Self> {
        Self::with_lenders(options, Vec::new())
    }

    /// The same with images whose encoded contents are taken as they are where they fit. Those of
    /// another profile lend nothing.
    pub fn with_lenders(options: EncoderOptions, lenders: Vec<Arc<Lender>>) -> io::Result<Self> {
        let stored = Arc::new(Stored::new(options.spool, lenders, options.codec));
        let shared = Arc::new(Shared::new(options.threads.max(1)));
        let (jobs, receiver) = crossbeam_channel::unbounded();
        let mut workers = Vec::new();
        for number in 0..options.threads.max(1) {
            let worker = Worker {
                compressor: Compressor::new(options.codec)?,
                stored: Arc::clone(&stored),
                shared: Arc::clone(&shared),
            };
            let receiver = receiver.clone();
            workers.push(
                std::thread::Builder::new()
                    .name(format!("encode-{number}"))
                    .spawn(move || worker.run(&receiver))?,
            );
        }
        Ok(Self { codec: options.codec, stored, shared, jobs: Some(jobs), workers })
    }

    /// The codec that contents are compressed with.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Takes a content that a lender holds, without reading it; `None` if none holds it. An empty one
    /// is held by none.
    pub fn borrow(&mut self, digest: &[u8; 32], size: u64) -> io::Result<Option<Content>> {
        let Some((number, lender, segments)) = self.stored.content(digest, size) else {
            return Ok(None);
        };
        let parts = segments
            .filter_map(|segment| lender.lent(segment))
            .map(|lent| (Segment::lent(lent, number), lender.extents(lent)));
        let content = self.shared.take(size, *digest, parts)?;
        Ok(Some(Content { id: ContentId(content), size }))
    }

    /// Bytes that were encoded here so far, and that nobody lent.
    pub fn encoded_bytes(&self) -> u64 {
        self.stored.spooled()
    }

    pub(crate) fn stored(&self) -> &Stored {
        &self.stored
    }

    /// Waits until everything is encoded and gives access to the records.
    pub(crate) fn settled(&self) -> io::Result<std::sync::MutexGuard<'_, State>> {
        self.shared.wait(|state| state.pending == 0)
    }

    fn wait_for(&self, content: Content) -> io::Result<std::sync::MutexGuard<'_, State>> {
        let index = content.id.0 as usize;
        let state = self
            .shared
            .wait(|state| state.contents.get(index).is_none_or(|encoded| encoded.pending == 0))?;
        if state.contents.get(index).is_none_or(|encoded| encoded.size != content.size) {
            return Err(unknown_content());
        }
        Ok(state)
    }
}

fn unknown_content() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "content is not of this encoder")
}

impl ContentStore for Encoder {
    fn store(&mut self, size: u64, reader: &mut dyn Read) -> io::Result<Content> {
        let jobs = self.jobs.as_ref().ok_or_else(unknown_content)?;
        let content = self.shared.open(size)?;
        let whole = size <= SEGMENT as u64;
        let mut running = (!whole || size == 0).then(Sha256::new);
        let mut remaining = size;
        let mut index = 0;
        while remaining > 0 {
            let length = remaining.min(SEGMENT as u64);
            // At most one segment is ever reserved on the word of the archive.
            let length_in_memory = length as usize;
            self.shared.reserve(length_in_memory);
            let mut bytes = vec![0; length_in_memory];
            if let Err(error) = reader.read_exact(&mut bytes) {
                self.shared.release(length_in_memory);
                return Err(error);
            }
            if let Some(hash) = &mut running {
                hash.update(&bytes);
            }
            remaining -= length;
            let job = Job { content, index, first: index == 0, last: remaining == 0, bytes };
            self.shared.announce(content);
            jobs.send(job).map_err(|_| unknown_content())?;
            index += 1;
        }
        if let Some(hash) = running {
            self.shared.set_digest(content, hash.finalize().into());
        }
        Ok(Content { id: ContentId(content), size })
    }

    fn opener(&self, content: Content) -> io::Result<Opener> {
        let state = self.wait_for(content)?;
        let encoded = &state.contents[content.id.0 as usize];
        let segments: Arc<[_]> = state
            .segments(encoded)
            .iter()
            .map(|&segment| (segment, state.extents(segment).into()))
            .collect();
        drop(state);
        let (codec, stored) = (self.codec, Arc::clone(&self.stored));
        Ok(Box::new(move || {
            Box::new(ContentReader {
                codec,
                stored: Arc::clone(&stored),
                segments: Arc::clone(&segments),
                next: 0,
                decoded: io::Cursor::default(),
            })
        }))
    }

    fn digest(&self, content: Content) -> io::Result<[u8; 32]> {
        let state = self.wait_for(content)?;
        state.contents[content.id.0 as usize].digest.ok_or_else(unknown_content)
    }
}

/// A content on its way back from where it lies: one segment in memory at a time.
struct ContentReader {
    codec: Codec,
    stored: Arc<Stored>,
    /// Each with its pieces.
    segments: Arc<[(Segment, Box<[Extent]>)]>,
    next: usize,
    decoded: io::Cursor<Vec<u8>>,
}

impl Read for ContentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.decoded.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            let Some((segment, extents)) = self.segments.get(self.next) else { return Ok(0) };
            self.next += 1;
            let mut bytes = Vec::new();
            for (extent, place) in segment.places(extents) {
                let mut stored = vec![0; extent.stored as usize];
                self.stored.read(segment, &mut stored, place)?;
                decode(self.codec, extent, &stored, &mut bytes)?;
            }
            self.decoded = io::Cursor::new(bytes);
        }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.jobs = None;
        for worker in self.workers.drain(..) {
            // A worker that panicked already printed why; dropping must not panic again.
            let _ = worker.join();
        }
    }
}

struct Worker {
    compressor: Compressor,
    stored: Arc<Stored>,
    shared: Arc<Shared>,
}

impl Worker {
    fn run(mut self, jobs: &Receiver<Job>) {
        let (mut out, mut extents) = (Vec::new(), Vec::new());
        while let Ok(job) = jobs.recv() {
            out.clear();
            extents.clear();
            let length = job.bytes.len();
            let outcome = self.encode(&job, &mut out, &mut extents);
            drop(job.bytes);
            self.shared.release(length);
            let outcome = outcome.and_then(|(segment, digest)| {
                self.shared.finish(job.content, job.index, segment, &extents, digest)
            });
            if let Err(error) = outcome {
                self.shared.fail(&error);
            }
        }
    }

    /// Finds a segment with a lender, or compresses it and puts it into the spool; where, and its
    /// digest if it is a whole file.
    fn encode(
        &mut self,
        job: &Job,
        out: &mut Vec<u8>,
        extents: &mut Vec<Extent>,
    ) -> io::Result<(Segment, Option<[u8; 32]>)> {
        let is_whole = job.first && job.last;
        let digest =
            (is_whole || self.stored.has_lenders()).then(|| Sha256::digest(&job.bytes).into());
        let whole = digest.filter(|_| is_whole);
        if let Some(digest) = digest {
            // At most a segment.
            let length = job.bytes.len() as u32;
            let key = Key { digest, length, ends: (job.first, job.last) };
            if let Some((number, lender, lent)) = self.stored.segment(&key) {
                extents.extend_from_slice(lender.extents(lent));
                return Ok((Segment::lent(lent, number), whole));
            }
        }
        self.compressor.encode(&job.bytes, job.first, job.last, out, extents)?;
        Ok((Segment::spooled(self.stored.spool(out)?), whole))
    }
}
