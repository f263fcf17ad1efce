//! A raw disk: table and contents, sparse, in one regular file.
//!
//! The output is made empty first, so that everything not written reads as zeros; contents that are
//! zeros are not written either. Large files go through the kernel's own copying, which shares
//! extents where the file system can. Zeros inside such files are copied as they are: the root
//! image, the only large one, has hardly any.

use crate::Error;
use crate::disk::{Backing, Disk};
use crate::sparse::{GRAIN, is_zero};
use kiln_disk::Gpt;
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// What a disk shall be.
#[derive(Debug)]
pub struct DiskPlan<'a> {
    /// Partitions, sector size and length of the disk.
    pub table: Gpt,
    /// What is in the partitions; one that is not named is left as zeros.
    pub contents: Vec<Content<'a>>,
}

/// What is in one partition.
#[derive(Debug)]
pub struct Content<'a> {
    /// Number of the partition.
    pub partition: u32,
    /// Its pieces, in any order; they must not overlap.
    pub pieces: Vec<Piece<'a>>,
}

/// A run of bytes in a partition.
#[derive(Debug)]
pub enum Piece<'a> {
    /// From memory.
    Bytes {
        /// Byte offset in the partition.
        offset: u64,
        /// What is there.
        bytes: Cow<'a, [u8]>,
    },
    /// From a file. Its read position is moved.
    File {
        /// Byte offset in the partition.
        offset: u64,
        /// Where to read.
        file: &'a File,
        /// Byte offset in the file.
        from: u64,
        /// Bytes to copy.
        length: u64,
    },
}

impl Piece<'_> {
    /// Where the piece ends, in bytes from the start of the partition.
    pub(crate) fn end(&self) -> u64 {
        let (offset, length) = match self {
            Self::Bytes { offset, bytes } => (*offset, bytes.len() as u64),
            Self::File { offset, length, .. } => (*offset, *length),
        };
        offset.saturating_add(length)
    }
}

/// Writes the disk to `out`, a regular file that is emptied first, and returns its length in bytes.
/// Nothing is flushed; the caller knows whether it needs that.
///
/// # Errors
/// Those of [`Disk::planned`] before anything is written, [`Error::Read`] and [`Error::Write`]
/// afterwards.
pub fn write_raw(out: &File, plan: &DiskPlan<'_>) -> Result<u64, Error> {
    let disk = Disk::planned(plan)?;
    write_disk(out, &disk, disk.length())?;
    Ok(disk.length())
}

/// Writes a disk as it is into a file of `length` bytes that is emptied first.
pub(crate) fn write_disk(out: &File, disk: &Disk<'_>, length: u64) -> Result<(), Error> {
    out.set_len(0)
        .and_then(|()| out.set_len(length))
        .map_err(|source| Error::Write { offset: length, source })?;
    for extent in disk.extents() {
        match &extent.backing {
            Backing::Bytes(bytes) => write_bytes(out, extent.start, bytes)?,
            Backing::File { file, from } => {
                let copied = copy(out, extent.start, file, *from, extent.length)?;
                if copied < extent.length {
                    let source = io::ErrorKind::UnexpectedEof.into();
                    return Err(Error::Read { offset: from + copied, source });
                }
            }
        }
    }
    Ok(())
}

/// Writes what is not zero.
fn write_bytes(out: &File, start: u64, bytes: &[u8]) -> Result<(), Error> {
    // Runs of non-zero grains are written at once, so that a large piece costs few calls.
    let mut run = 0..0;
    let flush = |run: std::ops::Range<usize>| {
        let offset = start + run.start as u64;
        out.write_all_at(&bytes[run], offset).map_err(|source| Error::Write { offset, source })
    };
    for (index, grain) in bytes.chunks(GRAIN).enumerate() {
        let place = index * GRAIN..index * GRAIN + grain.len();
        if is_zero(grain) {
            flush(run)?;
            run = place.end..place.end;
        } else {
            run.end = place.end;
        }
    }
    flush(run)
}

/// Copies a range between files and returns how many bytes there were.
fn copy(out: &File, to: u64, file: &File, from: u64, length: u64) -> Result<u64, Error> {
    let read = |source| Error::Read { offset: from, source };
    let write = |source| Error::Write { offset: to, source };
    let (mut source, mut target) = (file, out);
    source.seek(SeekFrom::Start(from)).map_err(read)?;
    target.seek(SeekFrom::Start(to)).map_err(write)?;
    io::copy(&mut source.take(length), &mut target).map_err(write)
}
