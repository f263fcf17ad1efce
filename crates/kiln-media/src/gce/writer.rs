//! Writing the archive: what is not zero is looked for first, because the map of the sparse file
//! stands in front of it.
//!
//! The gzip file has one member. Its parts are compressed side by side, each ended at the border of a
//! byte, and their checksums are combined, as other parallel compressors do it.

use super::format::{
    ALIGNMENT, ENTRIES_IN_BLOCK, ENTRIES_IN_HEADER, GRAIN, GZIP_HEAD, MAP_ENTRY, MAP_IN_HEADER,
    MAP_NUMBER, MAXIMUM_LENGTH, MEMBER, MORE_IN_BLOCK, MORE_IN_HEADER, MOST_ENTRIES, PART,
    REAL_SIZE, WINDOW_BITS,
};
use crate::deflate::{Frame, Packer};
use crate::ordered::ordered;
use crate::stream::Stream;
use crate::tape::{BLOCK, END, MAGIC_GNU, SPARSE, put_number, render, seal};
use crate::{Disk, Error, MediumFacts};
use flate2::Crc;
use std::fs::File;
use std::ops::Range;

/// How to write an archive for Compute Engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GceOptions {
    /// zlib level from 1 to 9.
    pub level: u32,
    /// Threads for compression; at least one is used.
    pub threads: usize,
}

/// Writes the disk to `out`, a regular file that is emptied first; zeros are added up to a whole
/// number of GiB. Nothing is flushed.
///
/// # Errors
/// [`Error::Level`] and [`Error::TooLong`] before anything is written, [`Error::Read`],
/// [`Error::Write`] and [`Error::Compress`] afterwards.
pub fn write_gce(disk: &Disk<'_>, out: &File, options: &GceOptions) -> Result<MediumFacts, Error> {
    if !(1..=9).contains(&options.level) {
        return Err(Error::Level(options.level));
    }
    let length = disk.length().max(1).checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX);
    if length > MAXIMUM_LENGTH {
        return Err(Error::TooLong { format: "GCE", length, maximum: MAXIMUM_LENGTH });
    }
    let map = map(disk)?;
    let head = head(&map, length);
    let data: u64 = map.iter().map(|range| range.end - range.start).sum();
    let tar = head.len() as u64 + data + END as u64;

    let mut stream = Stream::new(out)?;
    stream.put(&GZIP_HEAD)?;
    let mut check = Crc::new();
    ordered(
        options.threads,
        parts(disk, head, map, tar),
        || Ok(Packer::new(Frame::Raw(WINDOW_BITS), options.level)),
        |packer, Part { bytes, is_last }| {
            let mut check = Crc::new();
            check.update(&bytes);
            let packed = packer.part(&bytes, is_last).ok_or(Error::Compress(0))?;
            Ok((packed, check))
        },
        |(packed, part)| {
            check.combine(&part);
            stream.put(&packed)
        },
    )?;
    stream.put(&check.sum().to_le_bytes())?;
    // Modulo 2^32 (RFC 1952, ISIZE).
    stream.put(&(tar as u32).to_le_bytes())?;
    Ok(MediumFacts { length: stream.finish()?, virtual_length: length })
}

/// What is not zero, in order, merged, in whole grains.
fn map(disk: &Disk<'_>) -> Result<Vec<Range<u64>>, Error> {
    let mut map: Vec<Range<u64>> = Vec::new();
    for chunk in disk.chunks(GRAIN) {
        let start = chunk?.index * GRAIN;
        // A map that readers refuse would be worse than zeros that are not left out.
        let is_long = map.len() >= MOST_ENTRIES / 2;
        match map.last_mut() {
            Some(last) if last.end == start || is_long => {
                last.end = start + GRAIN;
            }
            _ => map.push(start..start + GRAIN),
        }
    }
    Ok(map)
}

/// Header and map.
fn head(map: &[Range<u64>], length: u64) -> Vec<u8> {
    let data = map.iter().map(|range| range.end - range.start).sum();
    let mut header = render(MEMBER, data, SPARSE, MAGIC_GNU);
    put_number(&mut header[REAL_SIZE], length);
    let mut entries: Vec<(u64, u64)> =
        map.iter().map(|range| (range.start, range.end - range.start)).collect();
    if map.last().is_none_or(|last| last.end < length) {
        // How GNU tar says that a file ends with zeros.
        entries.push((length, 0));
    }
    let (first, more) = entries.split_at(entries.len().min(ENTRIES_IN_HEADER));
    put_map(&mut header[MAP_IN_HEADER..], first);
    header[MORE_IN_HEADER] = u8::from(!more.is_empty());
    seal(&mut header);
    let mut head = header.to_vec();
    let blocks = more.chunks(ENTRIES_IN_BLOCK);
    let count = blocks.len();
    for (number, entries) in blocks.enumerate() {
        let mut block = [0; BLOCK];
        put_map(&mut block, entries);
        block[MORE_IN_BLOCK] = u8::from(number + 1 < count);
        head.extend(block);
    }
    head
}

fn put_map(bytes: &mut [u8], entries: &[(u64, u64)]) {
    for (place, (offset, length)) in bytes.chunks_exact_mut(MAP_ENTRY).zip(entries) {
        let (first, second) = place.split_at_mut(MAP_NUMBER);
        put_number(first, *offset);
        put_number(second, *length);
    }
}

/// A part of the tar.
struct Part {
    bytes: Vec<u8>,
    is_last: bool,
}

/// The tar in parts: head, ranges, end.
fn parts(
    disk: &Disk<'_>,
    head: Vec<u8>,
    map: Vec<Range<u64>>,
    tar: u64,
) -> impl Iterator<Item = Result<Part, Error>> {
    let (mut bytes, mut ranges, mut current, mut given) = (head, map.into_iter(), 0..0, 0);
    std::iter::from_fn(move || {
        if given >= tar {
            return None;
        }
        while bytes.len() < PART {
            if current.is_empty() {
                match ranges.next() {
                    Some(range) => current = range,
                    None => break,
                }
            }
            let length = (current.end - current.start).min((PART - bytes.len()) as u64);
            let place = bytes.len();
            bytes.resize(place + length as usize, 0);
            if let Err(error) = disk.read_at(current.start, &mut bytes[place..]) {
                return Some(Err(error));
            }
            current.start += length;
        }
        if given + bytes.len() as u64 + END as u64 == tar {
            bytes.resize(bytes.len() + END, 0);
        }
        given += bytes.len() as u64;
        Some(Ok(Part { bytes: std::mem::take(&mut bytes), is_last: given >= tar }))
    })
}
