//! Takes file contents as they stream by, compresses them on all cores, and remembers where the
//! pieces lie in a spool file.
//!
//! Nothing about the image's layout is decided here: the spool's order depends on which thread was
//! faster, and only the writer's canonical order reaches the image. Files are cut into segments of
//! fixed length, so that one huge file keeps every core busy, and segments know nothing of each
//! other, so the number of threads cannot change a byte. Bytes waiting for a thread are bounded.
//! Compressing after the whole tree is known was dropped: it would read everything twice.

mod noise;
mod segment;
mod shorten;
mod state;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use kiln_tree::{Content, ContentId, ContentStore, Opener};
use sha2::{Digest, Sha256};

use crate::profile::Codec;
use segment::{Compressor, Extent, SEGMENT, decode};
pub(crate) use segment::{INLINE_MAX, ZSTD_WINDOW_LOG};
use state::Shared;
pub(crate) use state::{Encoded, State};

/// What an [`Encoder`] needs.
#[derive(Debug)]
pub struct EncoderOptions {
    /// How contents are compressed.
    pub codec: Codec,
    /// Worker threads; at least one is started. Has no influence on the image.
    pub threads: usize,
    /// An empty file for the encoded pieces, normally unlinked and beside the output. It grows to
    /// about the size of the image.
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
    spool: Arc<File>,
    shared: Arc<Shared>,
    jobs: Option<Sender<Job>>,
    workers: Vec<JoinHandle<()>>,
}

impl Encoder {
    /// Starts the worker threads.
    pub fn new(options: EncoderOptions) -> io::Result<Self> {
        let spool = Arc::new(options.spool);
        let shared = Arc::new(Shared::default());
        let end = Arc::new(AtomicU64::new(0));
        let (jobs, receiver) = crossbeam_channel::unbounded();
        let mut workers = Vec::new();
        for number in 0..options.threads.max(1) {
            let worker = Worker {
                compressor: Compressor::new(options.codec)?,
                spool: Arc::clone(&spool),
                shared: Arc::clone(&shared),
                end: Arc::clone(&end),
            };
            let receiver = receiver.clone();
            workers.push(
                std::thread::Builder::new()
                    .name(format!("encode-{number}"))
                    .spawn(move || worker.run(&receiver))?,
            );
        }
        Ok(Self { codec: options.codec, spool, shared, jobs: Some(jobs), workers })
    }

    /// The codec that contents are compressed with.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    pub(crate) fn spool(&self) -> &File {
        &self.spool
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
            .map(|&segment| (segment.offset, state.extents(segment).into()))
            .collect();
        drop(state);
        let (codec, spool) = (self.codec, Arc::clone(&self.spool));
        Ok(Box::new(move || {
            Box::new(ContentReader {
                codec,
                spool: Arc::clone(&spool),
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

/// A content on its way back from the spool: one segment in memory at a time.
struct ContentReader {
    codec: Codec,
    spool: Arc<File>,
    /// Offset in the spool and pieces of each.
    segments: Arc<[(u64, Box<[Extent]>)]>,
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
            let Some((offset, extents)) = self.segments.get(self.next) else { return Ok(0) };
            self.next += 1;
            let mut bytes = Vec::new();
            let mut offset = *offset;
            for extent in extents {
                let mut stored = vec![0; extent.stored as usize];
                self.spool.read_exact_at(&mut stored, offset)?;
                offset += u64::from(extent.stored);
                decode(self.codec, *extent, &stored, &mut bytes)?;
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
    spool: Arc<File>,
    shared: Arc<Shared>,
    end: Arc<AtomicU64>,
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
            let outcome = outcome.and_then(|(offset, digest)| {
                self.shared.finish(job.content, job.index, offset, &extents, digest)
            });
            if let Err(error) = outcome {
                self.shared.fail(&error);
            }
        }
    }

    /// Compresses a segment and puts it into the spool; where, and its digest if it is a whole file.
    fn encode(
        &mut self,
        job: &Job,
        out: &mut Vec<u8>,
        extents: &mut Vec<Extent>,
    ) -> io::Result<(u64, Option<[u8; 32]>)> {
        let digest = (job.first && job.last).then(|| Sha256::digest(&job.bytes).into());
        self.compressor.encode(&job.bytes, job.first, job.last, out, extents)?;
        let offset = self.end.fetch_add(out.len() as u64, Ordering::Relaxed);
        self.spool.write_all_at(out, offset)?;
        Ok((offset, digest))
    }
}
