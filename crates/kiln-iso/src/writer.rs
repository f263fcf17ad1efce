//! Carries a layout out: to a file, with holes for zeros, or to a stream, from its first byte on.
//!
//! Nothing is decided here. Both ways go over the same pieces in the same order, so a medium is the
//! same whether it is written or sent. A content that ends early or is no longer what was planned is
//! an error and never padded.

pub(crate) mod descriptors;
pub(crate) mod directories;
pub(crate) mod flat;
pub(crate) mod names;
pub(crate) mod susp;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::Error;
use crate::plan::{Layout, What};
use crate::tree::{Content, ReadAt, Source};

/// Bytes that are moved at once.
const BUFFER: usize = 1 << 20;
/// Unit in bytes in which zeros are left out of a file, that of common file systems.
const GRAIN: usize = 4096;

/// Writes the medium to `out`, a regular file that is emptied first, and returns its length in
/// bytes. Zeros become holes. Nothing is flushed; the caller knows whether it needs that.
///
/// # Errors
/// [`Error::Write`], [`Error::ReadContent`], [`Error::ReadFile`], [`Error::Changed`].
pub fn write(layout: &Layout<'_>, out: &File) -> Result<u64, Error> {
    out.set_len(0)
        .and_then(|()| out.set_len(layout.length))
        .map_err(|source| Error::Write { offset: layout.length, source })?;
    carry_out(layout, &mut Sparse { out, position: 0 })
}

/// Sends the medium to `out` from its first byte to its last, and returns its length in bytes.
///
/// # Errors
/// As [`write`].
pub fn stream(layout: &Layout<'_>, out: &mut dyn Write) -> Result<u64, Error> {
    carry_out(layout, &mut Stream { out, position: 0 })
}

/// Where a medium goes. Everything is written in order.
trait Target {
    fn position(&self) -> u64;
    fn zeros(&mut self, length: u64) -> io::Result<()>;
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Takes bytes of a file another way than through memory; none if it cannot.
    fn file(&mut self, _file: &File, _start: u64, _length: u64) -> Option<io::Result<u64>> {
        None
    }
}

struct Sparse<'a> {
    out: &'a File,
    position: u64,
}

impl Target for Sparse<'_> {
    fn position(&self) -> u64 {
        self.position
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.position += length;
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Runs of grains that hold something are written at once.
        let mut run = 0..0;
        for (number, grain) in bytes.chunks(GRAIN).enumerate() {
            let place = number * GRAIN..number * GRAIN + grain.len();
            if grain.iter().all(|byte| *byte == 0) {
                self.out.write_all_at(&bytes[run.clone()], self.position + run.start as u64)?;
                run = place.end..place.end;
            } else {
                run.end = place.end;
            }
        }
        self.out.write_all_at(&bytes[run.clone()], self.position + run.start as u64)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn file(&mut self, file: &File, start: u64, length: u64) -> Option<io::Result<u64>> {
        // The kernel's own copying, which shares extents where the file system can.
        let (mut from, mut to) = (file, self.out);
        let copied = from
            .seek(SeekFrom::Start(start))
            .and_then(|_| to.seek(SeekFrom::Start(self.position)))
            .and_then(|_| io::copy(&mut from.take(length), &mut to));
        self.position += copied.as_ref().copied().unwrap_or(0);
        Some(copied)
    }
}

struct Stream<'a> {
    out: &'a mut dyn Write,
    position: u64,
}

impl Target for Stream<'_> {
    fn position(&self) -> u64 {
        self.position
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.position += io::copy(&mut io::repeat(0).take(length), &mut self.out)?;
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.position += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

fn carry_out(layout: &Layout<'_>, target: &mut dyn Target) -> Result<u64, Error> {
    for piece in &layout.pieces {
        fill(target, piece.place.offset)?;
        match &piece.what {
            What::Bytes(bytes) => put(target, bytes)?,
            What::Content(path, content) => copy(target, path, content)?,
        }
    }
    fill(target, layout.length)?;
    Ok(layout.length)
}

/// Zeros up to a place. Pieces are in order and apart, so it never lies behind.
fn fill(target: &mut dyn Target, end: u64) -> Result<(), Error> {
    let offset = target.position();
    let length = end.saturating_sub(offset);
    target.zeros(length).map_err(|source| Error::Write { offset, source })
}

fn put(target: &mut dyn Target, bytes: &[u8]) -> Result<(), Error> {
    let offset = target.position();
    target.bytes(bytes).map_err(|source| Error::Write { offset, source })
}

fn copy(target: &mut dyn Target, path: &str, content: &Content<'_>) -> Result<(), Error> {
    let length = content.length;
    let start = target.position();
    match &content.source {
        Source::Bytes(bytes) => put(target, bytes),
        Source::Pieces(pieces) => {
            for (offset, bytes) in pieces {
                let end = offset.saturating_add(bytes.len() as u64);
                if start.saturating_add(*offset) < target.position() || end > length {
                    let what = format!("a piece of {path}");
                    return Err(Error::TooLong { what, length: end, limit: length });
                }
                fill(target, start + offset)?;
                put(target, bytes)?;
            }
            fill(target, start + length)
        }
        Source::Range { file, start, .. } => copy_file(target, path, file, *start, length),
        Source::Path(place) => {
            let file = open(place, length)?;
            copy_file(target, path, &file, 0, length).map_err(|error| match error {
                Error::ReadContent { source, .. }
                    if source.kind() == io::ErrorKind::UnexpectedEof =>
                {
                    Error::Changed { path: place.clone() }
                }
                other => other,
            })
        }
        Source::Reader(reader) => copy_through(target, path, *reader, 0, length),
        // The planner gave such files the place of the partition, and no piece.
        Source::Partition(_) => Ok(()),
    }
}

/// Opens a file of an overlay, which must still be the one that was seen: no link, and as long.
fn open(path: &Path, length: u64) -> Result<File, Error> {
    let failed = |source| Error::ReadFile { path: path.to_owned(), source };
    // A pipe in its place must not make us wait.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() || metadata.len() != length {
        return Err(Error::Changed { path: path.to_owned() });
    }
    Ok(file)
}

fn copy_file(
    target: &mut dyn Target,
    path: &str,
    file: &File,
    start: u64,
    length: u64,
) -> Result<(), Error> {
    let offset = target.position();
    match target.file(file, start, length) {
        None => copy_through(target, path, file, start, length),
        Some(Ok(copied)) if copied == length => Ok(()),
        Some(Ok(copied)) => {
            let source = io::ErrorKind::UnexpectedEof.into();
            Err(Error::ReadContent { path: path.to_owned(), offset: copied, source })
        }
        Some(Err(source)) => Err(Error::Write { offset, source }),
    }
}

fn copy_through(
    target: &mut dyn Target,
    path: &str,
    reader: &dyn ReadAt,
    start: u64,
    length: u64,
) -> Result<(), Error> {
    let mut buffer = vec![0; BUFFER];
    let mut done = 0;
    while done < length {
        // At most BUFFER.
        let part = &mut buffer[..(length - done).min(BUFFER as u64) as usize];
        reader.read_exact_at(part, start + done).map_err(|source| Error::ReadContent {
            path: path.to_owned(),
            offset: done,
            source,
        })?;
        put(target, part)?;
        done += part.len() as u64;
    }
    Ok(())
}
