//! Writes the contents of a tree, compressing on all cores.
//!
//! Contents are read and cut in order by one thread, chunks are hashed and compressed by many, and
//! frames are written in order again: the blob depends on nothing but the tree. What waits is
//! bounded by the length of the channels.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};

use crossbeam_channel::bounded;
use sha2::{Digest as _, Sha256};

use super::cut::ChunkWriter;
use super::format::LEVEL;
use super::sha256;
use crate::Error;

/// Chunks on their way, for each thread.
const IN_FLIGHT: usize = 8;

/// A chunk as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRecord {
    /// SHA-256 of the chunk.
    pub digest: [u8; 32],
    /// Bytes of the chunk.
    pub length: u32,
    /// Bytes of its frame.
    pub frame_length: u32,
}

/// Contents that were written.
#[derive(Debug)]
pub struct Contents {
    /// Length of the blob in bytes.
    pub length: u64,
    /// SHA-256 of the blob.
    pub digest: [u8; 32],
    /// The frames of each content, in the order in which the contents were given.
    pub frames: Vec<Vec<FrameRecord>>,
}

/// Where contents are read: number and length of each, and a function that writes one.
pub type Copy<'a> = dyn Fn(usize, &mut dyn io::Write) -> Result<(), Error> + Sync + 'a;

struct Job {
    number: u64,
    content: usize,
    chunk: Vec<u8>,
}

struct Done {
    number: u64,
    content: usize,
    record: FrameRecord,
    frame: Vec<u8>,
}

/// Writes distinct contents of these `sizes` into `out`. `done` hears how many bytes were read.
///
/// # Errors
/// What reading gives; a full disk.
pub fn write_contents(
    sizes: &[u64],
    copy: &Copy<'_>,
    out: &File,
    threads: usize,
    done: &(dyn Fn(u64) + Sync),
) -> Result<Contents, Error> {
    let threads = threads.max(1);
    let (jobs, job_receiver) = bounded::<Job>(threads * IN_FLIGHT);
    let (results, result_receiver) = bounded::<io::Result<Done>>(threads * IN_FLIGHT);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (jobs, results) = (job_receiver.clone(), results.clone());
            scope.spawn(move || {
                let mut compressor = zstd::bulk::Compressor::new(LEVEL);
                for job in jobs {
                    let outcome = match &mut compressor {
                        Ok(compressor) => compress(job, compressor),
                        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
                    };
                    if results.send(outcome).is_err() {
                        return;
                    }
                }
            });
        }
        drop((job_receiver, results));
        let reader = scope.spawn(move || read(sizes, copy, &jobs, done));
        let written = write(sizes.len(), &result_receiver, out);
        // Ends the others if writing failed: they have nobody left to give to.
        drop(result_receiver);
        let read = reader.join().unwrap_or_else(|_| {
            Err(Error::malformed("contents", "the thread that reads them ended unexpectedly"))
        });
        match (read, written) {
            (_, Err(error)) | (Err(error), Ok(_)) => Err(error),
            (Ok(()), Ok(contents)) => Ok(contents),
        }
    })
}

fn read(
    sizes: &[u64],
    copy: &Copy<'_>,
    jobs: &crossbeam_channel::Sender<Job>,
    done: &(dyn Fn(u64) + Sync),
) -> Result<(), Error> {
    let mut number = 0;
    let mut total = 0;
    for (content, &size) in sizes.iter().enumerate() {
        let mut writer = ChunkWriter::new(size, |chunk| {
            let job = Job { number, content, chunk };
            number += 1;
            jobs.send(job).map_err(|_| io::ErrorKind::BrokenPipe.into())
        });
        // When the writer has gone its own error is the one that counts, whatever this one says.
        copy(content, &mut writer)?;
        writer.finish().map_err(Error::io("compress the contents"))?;
        total += size;
        done(total);
    }
    Ok(())
}

fn compress(job: Job, compressor: &mut zstd::bulk::Compressor<'_>) -> io::Result<Done> {
    let Job { number, content, chunk } = job;
    let frame = compressor.compress(&chunk)?;
    let record = FrameRecord {
        digest: sha256(&chunk),
        length: u32::try_from(chunk.len()).map_err(io::Error::other)?,
        frame_length: u32::try_from(frame.len()).map_err(io::Error::other)?,
    };
    Ok(Done { number, content, record, frame })
}

fn write(
    contents: usize,
    results: &crossbeam_channel::Receiver<io::Result<Done>>,
    out: &File,
) -> Result<Contents, Error> {
    let failed = || Error::io("write the contents");
    let mut frames = vec![Vec::new(); contents];
    let mut early = BTreeMap::new();
    let (mut next, mut length, mut hash) = (0, 0, Sha256::new());
    let mut out = BufWriter::with_capacity(1 << 20, out);
    for done in results {
        let done = done.map_err(failed())?;
        early.insert(done.number, done);
        while let Some(done) = early.remove(&next) {
            out.write_all(&done.frame).map_err(failed())?;
            hash.update(&done.frame);
            length += done.frame.len() as u64;
            frames[done.content].push(done.record);
            next += 1;
        }
    }
    out.flush().map_err(failed())?;
    Ok(Contents { length, digest: hash.finalize().into(), frames })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn the_blob_is_frozen_one_zstd_stream_and_the_same_with_any_number_of_threads() {
        let parts: Vec<Vec<u8>> = vec![
            b"first".to_vec(),
            (0..300_000_u32).flat_map(u32::to_le_bytes).collect(),
            vec![0; 700_000],
        ];
        let sizes: Vec<u64> = parts.iter().map(|part| part.len() as u64).collect();
        let copy = |number: usize, out: &mut dyn io::Write| {
            out.write_all(&parts[number]).map_err(Error::io("write"))
        };
        let mut digests = Vec::new();
        for threads in [1, 3] {
            let out = tempfile::tempfile().unwrap();
            let contents = write_contents(&sizes, &copy, &out, threads, &|_| ()).unwrap();
            let mut blob = Vec::new();
            let mut file = &out;
            std::io::Seek::rewind(&mut file).unwrap();
            file.read_to_end(&mut blob).unwrap();
            assert_eq!(sha256(&blob), contents.digest);
            assert_eq!(zstd::decode_all(&blob[..]).unwrap(), parts.concat());
            let lines = super::super::dump::dump(&blob).unwrap().lines().count();
            assert_eq!(lines, contents.frames.iter().map(Vec::len).sum::<usize>());
            digests.push(super::super::hex(&contents.digest));
        }
        assert_eq!(digests[0], digests[1]);
        assert_eq!(digests[0], "86ad38a7d9bbb4b0118676eb8f0b345c2223f3704b350a413f071df3db5a3f6f");
    }
}
