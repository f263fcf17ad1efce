//! Writing a stream: header, descriptor, grains with a table behind each 32 MiB of the disk that has
//! any, directory, footer, end.

use super::descriptor;
use super::format::{
    AT_END, DEFLATE, DESCRIPTOR, DESCRIPTOR_SECTORS, ENTRIES, FLAGS, GRAIN, GRAIN_HEAD,
    GRAIN_SECTORS, MAGIC, MAXIMUM_LENGTH, NEWLINE_TEST, OVERHEAD, SECTOR, VERSION, header, mark,
    marker,
};
use crate::deflate::{Frame, Packer};
use crate::ordered::ordered;
use crate::stream::Stream;
use crate::{Disk, Error, MediumFacts};
use std::fs::File;

/// How to write a VMDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmdkOptions {
    /// Length in bytes of the disk that a guest sees; that of the disk if `None`. Rounded up to
    /// whole grains of 64 KiB.
    pub virtual_length: Option<u64>,
    /// zlib level from 1 to 9. Grains are always compressed.
    pub level: u32,
    /// Threads for compression; at least one is used.
    pub threads: usize,
    /// The "content id": derived from the contents, so that equal builds give equal files.
    pub content: u32,
}

/// Writes the disk to `out`, a regular file that is emptied first. Nothing is flushed.
///
/// # Errors
/// [`Error::Level`] and [`Error::TooLong`] before anything is written, [`Error::Read`],
/// [`Error::Write`] and [`Error::Compress`] afterwards.
pub fn write_vmdk(
    disk: &Disk<'_>,
    out: &File,
    options: &VmdkOptions,
) -> Result<MediumFacts, Error> {
    if !(1..=9).contains(&options.level) {
        return Err(Error::Level(options.level));
    }
    let length = options.virtual_length.unwrap_or(0).max(disk.length()).max(1);
    let length = length.checked_next_multiple_of(GRAIN).unwrap_or(u64::MAX);
    if length > MAXIMUM_LENGTH {
        return Err(Error::TooLong { format: "VMDK", length, maximum: MAXIMUM_LENGTH });
    }
    let capacity = length / SECTOR;
    let tables = capacity.div_ceil(GRAIN_SECTORS * u64::from(ENTRIES));
    let mut image = Image {
        stream: Stream::new(out)?,
        table: vec![0; ENTRIES as usize],
        number: 0,
        is_used: false,
        // At most 65536, by the largest length.
        directory: vec![0; tables as usize],
    };
    image.stream.put(&render_header(capacity, AT_END))?;
    image.stream.put(&descriptor::render(capacity, options.content))?;
    image.stream.align(OVERHEAD * SECTOR)?;
    ordered(
        options.threads,
        disk.chunks(GRAIN),
        || Ok(Packer::new(Frame::Zlib, options.level)),
        |packer, grain| {
            // Noise gets longer: by an eighth on level 1, whose codes are fixed, else by much less.
            let packed = packer.within(&grain.bytes, grain.bytes.len() / 4 * 5);
            packed.map(|packed| (grain.index, packed)).ok_or(Error::Compress(grain.index * GRAIN))
        },
        |(index, packed)| image.add(index, &packed),
    )?;
    let length_of_file = image.finish(capacity)?;
    Ok(MediumFacts { length: length_of_file, virtual_length: length })
}

/// A stream being written.
struct Image<'a> {
    stream: Stream<'a>,
    /// The table of the grains that come now: sectors in the file.
    table: Vec<u32>,
    /// Its place in the directory.
    number: u64,
    /// Whether it has an entry.
    is_used: bool,
    directory: Vec<u32>,
}

impl Image<'_> {
    /// The sector that is written next.
    fn sector(&self) -> Result<u32, Error> {
        let sector = self.stream.position() / SECTOR;
        u32::try_from(sector).map_err(|_| Error::TooLong {
            format: "VMDK",
            length: self.stream.position(),
            maximum: MAXIMUM_LENGTH,
        })
    }

    fn add(&mut self, index: u64, packed: &[u8]) -> Result<(), Error> {
        let number = index / u64::from(ENTRIES);
        if number != self.number {
            self.end_table()?;
            self.number = number;
        }
        let sector = self.sector()?;
        if let Some(entry) = self.table.get_mut((index % u64::from(ENTRIES)) as usize) {
            *entry = sector;
        }
        self.is_used = true;
        let mut head = [0; GRAIN_HEAD];
        head[..8].copy_from_slice(&(index * GRAIN_SECTORS).to_le_bytes());
        // A grain and a little.
        head[8..].copy_from_slice(&(packed.len() as u32).to_le_bytes());
        self.stream.put(&head)?;
        self.stream.put(packed)?;
        self.stream.align(SECTOR)
    }

    /// Writes the table if it has entries, and begins an empty one.
    fn end_table(&mut self) -> Result<(), Error> {
        if !std::mem::take(&mut self.is_used) {
            return Ok(());
        }
        let bytes = little_endian(&self.table);
        self.marker(marker::TABLE, bytes.len() as u64)?;
        let sector = self.sector()?;
        if let Some(entry) = self.directory.get_mut(self.number as usize) {
            *entry = sector;
        }
        self.table.fill(0);
        self.stream.put(&bytes)
    }

    fn marker(&mut self, kind: u32, length: u64) -> Result<(), Error> {
        let mut bytes = [0; SECTOR as usize];
        bytes[mark::SECTORS..8].copy_from_slice(&length.div_ceil(SECTOR).to_le_bytes());
        bytes[mark::KIND..mark::KIND + 4].copy_from_slice(&kind.to_le_bytes());
        self.stream.put(&bytes)
    }

    fn finish(mut self, capacity: u64) -> Result<u64, Error> {
        self.end_table()?;
        let directory = little_endian(&self.directory);
        self.marker(marker::DIRECTORY, directory.len() as u64)?;
        let sector = self.sector()?;
        self.stream.put(&directory)?;
        self.stream.align(SECTOR)?;
        self.marker(marker::FOOTER, SECTOR)?;
        self.stream.put(&render_header(capacity, u64::from(sector)))?;
        self.marker(marker::END, 0)?;
        self.stream.finish()
    }
}

fn render_header(capacity: u64, directory: u64) -> [u8; SECTOR as usize] {
    let mut bytes = [0; SECTOR as usize];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &MAGIC);
    put(header::VERSION, &VERSION.to_le_bytes());
    put(header::FLAGS, &FLAGS.to_le_bytes());
    put(header::CAPACITY, &capacity.to_le_bytes());
    put(header::GRAIN, &GRAIN_SECTORS.to_le_bytes());
    put(header::DESCRIPTOR, &DESCRIPTOR.to_le_bytes());
    put(header::DESCRIPTOR_LENGTH, &DESCRIPTOR_SECTORS.to_le_bytes());
    put(header::ENTRIES, &ENTRIES.to_le_bytes());
    put(header::DIRECTORY, &directory.to_le_bytes());
    put(header::OVERHEAD, &OVERHEAD.to_le_bytes());
    put(header::NEWLINE_TEST, &NEWLINE_TEST);
    put(header::ALGORITHM, &DEFLATE.to_le_bytes());
    bytes
}

fn little_endian(entries: &[u32]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_le_bytes()).collect()
}
