//! The plan of a disk as one sorted list of extents: the source of every format.
//!
//! What no extent covers is zero and costs nothing, neither to read nor to write. Whatever wants
//! equal output from equal disks takes [`Disk::chunks`], which looks at the bytes: where a file has
//! holes depends on its file system, and the result must not.
//!
//! Dropped alternative: a raw disk without a name as the source of all others. It doubles what is
//! written, and needs room that a build of one small qcow2 does not have to have.

use crate::Error;
use crate::raw::{DiskPlan, Piece};
use crate::sparse::{is_zero, next_data};
use std::borrow::Cow;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// A disk that can be written: its extents are sorted, lie inside and do not overlap.
#[derive(Debug)]
pub struct Disk<'a> {
    length: u64,
    extents: Vec<Extent<'a>>,
}

/// A run of bytes that may be something else than zeros.
#[derive(Debug)]
pub(crate) struct Extent<'a> {
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) backing: Backing<'a>,
}

impl Extent<'_> {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }
}

/// Where the bytes of an extent are.
#[derive(Debug)]
pub(crate) enum Backing<'a> {
    Bytes(Cow<'a, [u8]>),
    File { file: &'a File, from: u64 },
}

/// Some bytes of a disk, at a multiple of their length.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Place in the disk, counted in chunks.
    pub(crate) index: u64,
    /// Exactly one chunk; behind the end of the disk are zeros.
    pub(crate) bytes: Vec<u8>,
}

impl<'a> Disk<'a> {
    /// The disk that a plan describes.
    ///
    /// # Errors
    /// [`Error::Table`], [`Error::NoPartition`], [`Error::TooLarge`], [`Error::ShortContent`] and
    /// [`Error::Overlap`], [`Error::Read`] for a file whose length is not known.
    pub fn planned(plan: &'a DiskPlan<'a>) -> Result<Self, Error> {
        let table = &plan.table;
        let sector_size = table.sector_size;
        let mut extents: Vec<Extent<'a>> = kiln_disk::gpt::create(table)?
            .into_iter()
            .map(|write| Extent {
                start: write.offset,
                length: write.bytes.len() as u64,
                backing: Backing::Bytes(write.bytes),
            })
            .collect();
        for content in &plan.contents {
            let partition = content.partition;
            let entry = table.partitions.get(&partition).ok_or(Error::NoPartition(partition))?;
            let length = entry.length(sector_size);
            for piece in &content.pieces {
                let end = piece.end();
                if end > length {
                    return Err(Error::TooLarge { partition, end, length });
                }
                extents.push(place(piece, partition, entry.offset(sector_size))?);
            }
        }
        extents.retain(|extent| extent.length > 0);
        extents.sort_by_key(|extent| extent.start);
        for pair in extents.windows(2) {
            if let [before, after] = pair
                && before.end() > after.start
            {
                return Err(Error::Overlap(after.start));
            }
        }
        Ok(Self { length: table.disk_sectors.saturating_mul(u64::from(sector_size)), extents })
    }

    /// The disk that a raw file holds. The read position of the file is moved by every use.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn of_file(file: &'a File) -> Result<Self, Error> {
        let length = file.metadata().map_err(|source| Error::Read { offset: 0, source })?.len();
        let backing = Backing::File { file, from: 0 };
        Ok(Self { length, extents: vec![Extent { start: 0, length, backing }] })
    }

    /// Length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes that are not known to be zeros: about what a raw disk takes.
    #[must_use]
    pub fn occupied(&self) -> u64 {
        self.extents.iter().map(|extent| extent.length).sum()
    }

    pub(crate) fn extents(&self) -> &[Extent<'a>] {
        &self.extents
    }

    /// The extents that end behind `offset`.
    fn behind(&self, offset: u64) -> &[Extent<'a>] {
        let first = self.extents.partition_point(|extent| extent.end() <= offset);
        self.extents.get(first..).unwrap_or_default()
    }

    /// The next range from `from` on that may hold something else than zeros.
    pub(crate) fn next_data(&self, from: u64) -> Option<Range<u64>> {
        self.behind(from).iter().find_map(|extent| {
            let start = from.max(extent.start);
            match &extent.backing {
                Backing::Bytes(_) => Some(start..extent.end()),
                Backing::File { file, from } => {
                    let inside = start - extent.start + from;
                    let data = next_data(file, inside, from + extent.length)?;
                    Some(data.start - from + extent.start..data.end - from + extent.start)
                }
            }
        })
    }

    /// Fills `buffer` from byte `offset`; what is behind the end reads as zeros.
    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        buffer.fill(0);
        let end = offset.saturating_add(buffer.len() as u64);
        for extent in self.behind(offset).iter().take_while(|extent| extent.start < end) {
            let (first, last) = (offset.max(extent.start), end.min(extent.end()));
            // Both lie inside the buffer, whose length is a usize.
            let target = &mut buffer[(first - offset) as usize..(last - offset) as usize];
            let inside = first - extent.start;
            match &extent.backing {
                Backing::Bytes(bytes) => {
                    let inside = inside as usize;
                    target.copy_from_slice(&bytes[inside..inside + target.len()]);
                }
                Backing::File { file, from } => file
                    .read_exact_at(target, from + inside)
                    .map_err(|source| Error::Read { offset: from + inside, source })?,
            }
        }
        Ok(())
    }

    /// All chunks of `size` bytes that are not zeros, in order.
    pub(crate) fn chunks(&self, size: u64) -> impl Iterator<Item = Result<Chunk, Error>> {
        let (mut position, mut data_end) = (0, 0);
        std::iter::from_fn(move || {
            loop {
                if position >= data_end {
                    let data = self.next_data(position)?;
                    // What lies before `position` was in the chunk before.
                    position = position.max(data.start / size * size);
                    data_end = data.end;
                }
                // A chunk is at most a few MiB.
                let mut bytes = vec![0; size as usize];
                if let Err(error) = self.read_at(position, &mut bytes) {
                    return Some(Err(error));
                }
                let index = position / size;
                position += size;
                if !is_zero(&bytes) {
                    return Some(Ok(Chunk { index, bytes }));
                }
            }
        })
    }
}

/// A piece at its place on the disk.
fn place<'a>(piece: &'a Piece<'a>, partition: u32, start: u64) -> Result<Extent<'a>, Error> {
    Ok(match piece {
        Piece::Bytes { offset, bytes } => Extent {
            start: start + offset,
            length: bytes.len() as u64,
            backing: Backing::Bytes(Cow::Borrowed(bytes)),
        },
        Piece::File { offset, file, from, length } => {
            let metadata = file.metadata().map_err(|source| Error::Read { offset: 0, source })?;
            // A device has no length here; one that ends early is found when it is read.
            let there = metadata.len().saturating_sub(*from);
            if metadata.is_file() && there < *length {
                return Err(Error::ShortContent { partition, missing: length - there });
            }
            let backing = Backing::File { file, from: *from };
            Extent { start: start + offset, length: *length, backing }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(start: u64, bytes: &'static [u8]) -> Extent<'static> {
        let backing = Backing::Bytes(Cow::Borrowed(bytes));
        Extent { start, length: bytes.len() as u64, backing }
    }

    #[test]
    fn extents_and_the_zeros_between_them_are_read() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(40_000).unwrap();
        file.write_all_at(b"file", 20_000).unwrap();
        let inside = Extent {
            start: 5000,
            length: 30_000,
            backing: Backing::File { file: &file, from: 10_000 },
        };
        let disk = Disk { length: 50_000, extents: vec![bytes(10, b"ab"), inside] };
        let mut buffer = [9; 16];
        for (offset, expected) in [
            (8, *b"\0\0ab\0\0\0\0\0\0\0\0\0\0\0\0"),
            (11, *b"b\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            (14_998, *b"\0\0file\0\0\0\0\0\0\0\0\0\0"),
            (49_990, [0; 16]),
        ] {
            disk.read_at(offset, &mut buffer).unwrap();
            assert_eq!(buffer, expected, "{offset}");
        }
        let chunks: Vec<_> = disk.chunks(1000).map(|chunk| chunk.unwrap()).collect();
        assert_eq!(chunks.iter().map(|chunk| chunk.index).collect::<Vec<_>>(), [0, 15]);
        assert_eq!(&chunks[1].bytes[..5], b"file\0");
        assert_eq!(disk.occupied(), 30_002);
        assert_eq!(disk.next_data(40_000), None);
    }
}
