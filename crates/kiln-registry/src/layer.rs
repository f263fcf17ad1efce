//! The uncompressed tar of a layer, verified while it flows.
//!
//! Three stages, each a thread, joined by short queues of large buffers: *read* (blob bytes, size,
//! blob digest), *unpack* (gzip or zstd, size limit) and *hash* (diff id). Hashing and unpacking
//! cost about the same, so one thread for all would halve the speed. Nothing is unpacked to disk.
//! An uncompressed layer needs only the first stage: its diff id is its digest.
//!
//! The end of the stream is sent as its own message after all checks; a queue that just closes is
//! an error, never an end.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::blob::{Blob, check_length};
use crate::digest::Hasher;
use crate::media_type::Compression;
use crate::{Digest, Error, Limits};

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the layer as stored. For `docker save` archives, which have no such digests, the
    /// `diff_id`.
    pub digest: Digest,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Media type; for `docker save` archives the one that fits the bytes.
    pub media_type: String,
    /// How the layer is stored.
    pub compression: Compression,
    /// Stored size in bytes.
    pub size: u64,
}

/// Bytes that travel between stages at once: large enough to make a queue operation cheap, small
/// enough to stay in a processor's second-level cache.
const CHUNK_BYTES: usize = 512 << 10;
/// Chunks waiting between two stages.
const QUEUE_CHUNKS: usize = 4;
/// What libzstd accepts as the largest window, and the least that its default levels need.
const ZSTD_WINDOW_LOGS: std::ops::RangeInclusive<u32> = 27..=31;
/// Bytes that show a compression.
const MAGIC_BYTES: usize = 4;

enum Message {
    Data(Vec<u8>),
    End,
    Failed(Error),
}

/// Opens `layer`, whose bytes are `blob`.
pub(crate) fn open(
    blob: &Blob,
    layer: &Layer,
    limits: &Limits,
) -> Result<Box<dyn Read + Send>, Error> {
    let location = format!("layer {} in {}", layer.digest, blob.path.display());
    check_length(blob.length, layer.size, || location.clone())?;
    let mut magic = Vec::new();
    let start = blob.reader().take(MAGIC_BYTES as u64).read_to_end(&mut magic);
    start.map_err(Error::io("read", &blob.path))?;
    let found = Compression::detect(&magic);
    if found != layer.compression {
        return Err(Error::CompressionMismatch {
            location,
            expected: layer.compression.name(),
            found: found.name(),
        });
    }
    let is_plain = layer.compression == Compression::None;
    if is_plain && layer.digest != layer.diff_id {
        return Err(Error::DiffIdMismatch {
            location,
            expected: layer.diff_id,
            actual: layer.digest,
        });
    }
    // Layers of `docker save` archives are named by diff id even when compressed.
    let digest = (is_plain || layer.digest != layer.diff_id).then_some(layer.digest);
    let stored = {
        let (blob, location) = (blob.clone(), location.clone());
        stage("read", &location.clone(), move |out| read(&blob, digest, &location, out))?
    };
    if is_plain {
        return Ok(Box::new(Stream::new(stored, location)));
    }
    let unpacked = {
        let unpack = Unpack {
            compression: layer.compression,
            limit: limits
                .max_uncompressed_ratio
                .saturating_mul(layer.size)
                .max(limits.free_uncompressed_bytes),
            ratio: limits.max_uncompressed_ratio,
            window_log: limits
                .zstd_window_log
                .clamp(*ZSTD_WINDOW_LOGS.start(), *ZSTD_WINDOW_LOGS.end()),
            location: location.clone(),
        };
        let stored = Stream::new(stored, location.clone());
        stage("unpack", &location, move |out| unpack.run(stored, out))?
    };
    let hashed = {
        let (diff_id, location) = (layer.diff_id, location.clone());
        stage("hash", &location.clone(), move |out| hash(&unpacked, diff_id, location, out))?
    };
    Ok(Box::new(Stream::new(hashed, location)))
}

/// Why a stage ended before its end.
enum Stop {
    /// The reader was dropped: nobody wants to know.
    Unwanted,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Where a stage puts its chunks.
struct Out(SyncSender<Message>);

impl Out {
    fn send(&self, chunk: Vec<u8>) -> Result<(), Stop> {
        self.0.send(Message::Data(chunk)).map_err(|_| Stop::Unwanted)
    }
}

/// Runs one stage on its own thread.
fn stage(
    name: &str,
    location: &str,
    work: impl FnOnce(&Out) -> Result<(), Stop> + Send + 'static,
) -> Result<Receiver<Message>, Error> {
    let (sender, receiver) = sync_channel(QUEUE_CHUNKS);
    let run = move || {
        let out = Out(sender);
        let last = match work(&out) {
            Ok(()) => Message::End,
            Err(Stop::Failed(error)) => Message::Failed(error),
            Err(Stop::Unwanted) => return,
        };
        // A closed queue means the reader was dropped.
        let _ = out.0.send(last);
    };
    std::thread::Builder::new()
        .name(format!("layer-{name}"))
        .spawn(run)
        .map_err(Error::io("start a thread to read", location))?;
    Ok(receiver)
}

/// First stage: bytes as stored, their number and digest.
fn read(blob: &Blob, digest: Option<Digest>, location: &str, out: &Out) -> Result<(), Stop> {
    let mut reader = blob.reader();
    let mut hasher = Hasher::default();
    let mut total = 0;
    loop {
        let chunk = fill(&mut reader).map_err(Error::io("read", &blob.path))?;
        if chunk.is_empty() {
            break;
        }
        total += chunk.len() as u64;
        if digest.is_some() {
            hasher.update(&chunk);
        }
        out.send(chunk)?;
    }
    // The length was right when the layer was opened; the file may have shrunk since.
    check_length(total, blob.length, || location.to_owned())?;
    match (digest, hasher.finish()) {
        (Some(expected), actual) if expected != actual => {
            Err(Error::DigestMismatch { location: location.to_owned(), expected, actual }.into())
        }
        _ => Ok(()),
    }
}

/// A full chunk, or less at the end.
fn fill(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    // Zeroed pages are cheaper than `read_to_end`, which asks in small steps.
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut filled = 0;
    while filled < chunk.len() {
        match reader.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    chunk.truncate(filled);
    Ok(chunk)
}

/// Second stage.
struct Unpack {
    compression: Compression,
    /// Most bytes to unpack to.
    limit: u64,
    ratio: u64,
    window_log: u32,
    location: String,
}

impl Unpack {
    fn run(&self, mut stored: Stream, out: &Out) -> Result<(), Stop> {
        let outcome = match self.compression {
            Compression::None => self.pump(&mut stored, out),
            Compression::Gzip => {
                self.pump(&mut flate2::bufread::MultiGzDecoder::new(&mut stored), out)
            }
            Compression::Zstd => match zstd::stream::read::Decoder::with_buffer(&mut stored) {
                Ok(mut decoder) => match decoder.window_log_max(self.window_log) {
                    Ok(()) => self.pump(&mut decoder, out),
                    Err(source) => Err(self.failed(source)),
                },
                Err(source) => Err(self.failed(source)),
            },
        };
        match outcome {
            // Bytes behind the last frame, also what the decoder did not ask for.
            Ok(()) => match io::copy(&mut stored, &mut io::sink()) {
                Ok(0) => Ok(()),
                Ok(_) => Err(self.failed(io::Error::other("data follows the last frame"))),
                Err(error) => Err(self.failed(error)),
            },
            // Damage usually breaks the format first; the wrong digest explains it better.
            Err(Stop::Failed(error @ Error::Decompress { .. })) => {
                match io::copy(&mut stored, &mut io::sink()) {
                    Ok(_) => Err(Stop::Failed(error)),
                    Err(damage) => match self.failed(damage) {
                        Stop::Failed(Error::Decompress { .. }) => Err(Stop::Failed(error)),
                        better => Err(better),
                    },
                }
            }
            other => other,
        }
    }

    fn pump(&self, decoder: &mut impl Read, out: &Out) -> Result<(), Stop> {
        let mut total = 0_u64;
        loop {
            let chunk = fill(decoder).map_err(|source| self.failed(source))?;
            if chunk.is_empty() {
                return Ok(());
            }
            total += chunk.len() as u64;
            if total > self.limit {
                return Err(Stop::Failed(Error::Ratio {
                    location: self.location.clone(),
                    limit: self.limit,
                    ratio: self.ratio,
                }));
            }
            out.send(chunk)?;
        }
    }

    /// An error of the stage before comes through the decoder inside an I/O error.
    fn failed(&self, source: io::Error) -> Stop {
        Stop::Failed(match source.downcast::<Error>() {
            Ok(error) => error,
            Err(source) => Error::Decompress { location: self.location.clone(), source },
        })
    }
}

/// Third stage: passes chunks on and checks their digest.
fn hash(
    unpacked: &Receiver<Message>,
    expected: Digest,
    location: String,
    out: &Out,
) -> Result<(), Stop> {
    let mut hasher = Hasher::default();
    loop {
        match unpacked.recv() {
            Ok(Message::Data(chunk)) => {
                hasher.update(&chunk);
                out.send(chunk)?;
            }
            Ok(Message::End) => break,
            Ok(Message::Failed(error)) => return Err(Stop::Failed(error)),
            Err(_) => return Err(Stop::Failed(Error::Stopped { location })),
        }
    }
    let actual = hasher.finish();
    if actual != expected {
        return Err(Stop::Failed(Error::DiffIdMismatch { location, expected, actual }));
    }
    Ok(())
}

/// The reading end of a queue.
struct Stream {
    queue: Receiver<Message>,
    chunk: Vec<u8>,
    position: usize,
    ended: bool,
    location: String,
}

impl Stream {
    fn new(queue: Receiver<Message>, location: String) -> Self {
        Self { queue, chunk: Vec::new(), position: 0, ended: false, location }
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.position == self.chunk.len() && !self.ended {
            match self.queue.recv() {
                Ok(Message::Data(chunk)) => {
                    self.chunk = chunk;
                    self.position = 0;
                }
                Ok(Message::End) => {
                    self.chunk = Vec::new();
                    self.position = 0;
                    self.ended = true;
                }
                // The queue is closed now, so that reading on fails again, as `Stopped`.
                Ok(Message::Failed(error)) => return Err(error.into_io()),
                Err(_) => {
                    return Err(Error::Stopped { location: self.location.clone() }.into_io());
                }
            }
        }
        Ok(&self.chunk[self.position..])
    }

    fn consume(&mut self, amount: usize) {
        self.position = self.chunk.len().min(self.position.saturating_add(amount));
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}
