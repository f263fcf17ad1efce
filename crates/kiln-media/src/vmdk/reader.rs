//! A streamOptimized VMDK as a read-only disk, in a file of its own or inside an OVA.
//!
//! Total on any bytes: entries of directory and tables are read where they are needed and checked by
//! reading what they name, so nothing large is believed or held. Other kinds of VMDK are refused:
//! `qemu-img convert` exists.

use super::descriptor::KIND;
use super::format::{
    AT_END, COMPRESSED, DEFLATE, ENTRIES, GRAIN_HEAD, MAGIC, MARKERS, MAXIMUM_LENGTH, NEWLINE_TEST,
    SECTOR, VERSION, header, mark, marker,
};
use crate::Error;
use crate::deflate::{Frame, unpack};
use kiln_disk::BlockDevice;
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Sectors of a grain that are read: 4 KiB to 1 MiB, powers of two.
const GRAINS: std::ops::RangeInclusive<u64> = 8..=2048;
/// Sectors of the longest descriptor that is read.
const LONGEST_DESCRIPTOR: u64 = 128;
/// Highest entry of a table that names no grain: 0, or 1 for one that was set to zeros ("Grain Table
/// Entry"); both in bytes.
const ZEROED: u64 = SECTOR;
/// Sectors behind the directory: footer marker, footer and end marker.
const TAIL: u64 = 3;

/// An open stream.
#[derive(Debug)]
pub struct VmdkDevice {
    file: File,
    /// Where in the file it is.
    place: Range<u64>,
    header: Header,
    /// The grain that was read last, by its number; readers come back to it.
    unpacked: RefCell<Option<(u64, Vec<u8>)>>,
}

/// What header or footer say, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    length: u64,
    grain: u64,
    descriptor: u64,
    descriptor_length: u64,
    directory: u64,
}

impl VmdkDevice {
    /// Whether these first bytes of a file are those of a sparse VMDK.
    #[must_use]
    pub fn recognises(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Opens a file that is one stream.
    ///
    /// # Errors
    /// [`Error::Read`], and [`Error::Damaged`] for what is none.
    pub fn open(file: File) -> Result<Self, Error> {
        let length = file.metadata().map_err(|source| Error::Read { offset: 0, source })?.len();
        Self::open_part(file, 0..length)
    }

    /// Opens a stream that is a part of a file.
    ///
    /// # Errors
    /// The same.
    pub fn open_part(file: File, place: Range<u64>) -> Result<Self, Error> {
        let refuse = |reason| Err(Error::Damaged { format: "VMDK", reason });
        let length = place.end.saturating_sub(place.start);
        let Some(tail) = length.checked_sub(TAIL * SECTOR).filter(|tail| *tail >= SECTOR) else {
            return refuse("too short");
        };
        let sector = |offset: u64| {
            let (mut bytes, offset) = ([0; SECTOR as usize], place.start + offset);
            file.read_exact_at(&mut bytes, offset)
                .map_err(|source| Error::Read { offset, source })?;
            Ok::<_, Error>(bytes)
        };
        let first = read_header(&sector(0)?)?;
        // QEMU knows the directory's place before it writes, and then writes no footer.
        let footer = match first.directory {
            AT_END => read_header(&sector(tail + SECTOR)?)?,
            _ => first,
        };
        if first.directory == AT_END {
            if (Header { directory: AT_END, ..footer }) != first {
                return refuse("header and footer do not fit each other");
            }
            for (offset, kind) in [(tail, marker::FOOTER), (tail + 2 * SECTOR, marker::END)] {
                if read_marker(&sector(offset)?) != kind {
                    return refuse("no marker where one must be");
                }
            }
        }
        let mut text = vec![0; footer.descriptor_length as usize];
        let offset = place.start.saturating_add(footer.descriptor);
        file.read_exact_at(&mut text, offset).map_err(|source| Error::Read { offset, source })?;
        if !text.windows(KIND.len()).any(|window| window == KIND.as_bytes()) {
            return refuse("its descriptor names another kind of disk");
        }
        Ok(Self { file, place, header: footer, unpacked: RefCell::new(None) })
    }

    /// Reads bytes of the stream.
    fn part(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = self.place.start.checked_add(offset);
        let end = start.and_then(|start| start.checked_add(buffer.len() as u64));
        match (start, end) {
            (Some(start), Some(end)) if end <= self.place.end => {
                self.file.read_exact_at(buffer, start)
            }
            _ => Err(damaged("a table or a grain lies outside")),
        }
    }

    /// An entry of directory or table, in bytes from the start of the stream.
    fn entry(&self, table: u64, index: u64) -> io::Result<u64> {
        let mut bytes = [0; 4];
        let offset = index.checked_mul(4).and_then(|index| table.checked_add(index));
        self.part(offset.unwrap_or(u64::MAX), &mut bytes)?;
        Ok(u64::from(u32::from_le_bytes(bytes)) * SECTOR)
    }

    /// The contents of a grain, or `None` if it is of zeros.
    fn grain(&self, number: u64) -> io::Result<Option<Vec<u8>>> {
        let table = self.entry(self.header.directory, number / u64::from(ENTRIES))?;
        if table == 0 {
            return Ok(None);
        }
        let place = self.entry(table, number % u64::from(ENTRIES))?;
        if place <= ZEROED {
            return Ok(None);
        }
        let mut head = [0; GRAIN_HEAD];
        self.part(place, &mut head)?;
        let first = long(&head, 0);
        let length = u64::from(word(&head, 8));
        if first.checked_mul(SECTOR) != Some(number * self.header.grain) {
            return Err(damaged("a grain belongs to another place"));
        }
        if length > 2 * self.header.grain {
            return Err(damaged("a grain is too long"));
        }
        // At most 2 MiB.
        let mut packed = vec![0; length as usize];
        self.part(place + GRAIN_HEAD as u64, &mut packed)?;
        let whole = self.header.grain as usize;
        // QEMU ends the last grain where the disk ends.
        let rest = self.header.length.saturating_sub(number * self.header.grain) as usize;
        let bytes = unpack(&packed, Frame::Zlib, whole).or_else(|| {
            let mut bytes = unpack(&packed, Frame::Zlib, rest.min(whole))?;
            bytes.resize(whole, 0);
            Some(bytes)
        });
        bytes.map(Some).ok_or_else(|| damaged("a grain does not unpack"))
    }

    fn read_grain(&self, number: u64, within: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut unpacked = self.unpacked.borrow_mut();
        if unpacked.as_ref().is_none_or(|(last, _)| *last != number) {
            match self.grain(number)? {
                Some(bytes) => *unpacked = Some((number, bytes)),
                None => {
                    buffer.fill(0);
                    return Ok(());
                }
            }
        }
        let bytes = unpacked.as_ref().and_then(|(_, bytes)| bytes.get(within as usize..));
        let bytes = bytes.and_then(|bytes| bytes.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or_else(|| damaged("a grain is short"))?);
        Ok(())
    }
}

fn read_header(bytes: &[u8; SECTOR as usize]) -> Result<Header, Error> {
    let refuse = |reason| Err(Error::Damaged { format: "VMDK", reason });
    if !bytes.starts_with(&MAGIC) {
        return refuse("no signature");
    }
    let flags = word(bytes, header::FLAGS);
    let algorithm = word(bytes, header::ALGORITHM) & 0xffff;
    if !(1..=VERSION).contains(&word(bytes, header::VERSION)) {
        return refuse("unknown version");
    }
    if flags & (COMPRESSED | MARKERS) != COMPRESSED | MARKERS || algorithm != u32::from(DEFLATE) {
        return refuse("it is not of the kind streamOptimized");
    }
    if bytes.get(header::NEWLINE_TEST..header::NEWLINE_TEST + 4) != Some(&NEWLINE_TEST) {
        return refuse("it was changed as if it were text");
    }
    let grain = long(bytes, header::GRAIN);
    if !GRAINS.contains(&grain) || !grain.is_power_of_two() {
        return refuse("impossible grain size");
    }
    if word(bytes, header::ENTRIES) != ENTRIES {
        return refuse("impossible table size");
    }
    let length = long(bytes, header::CAPACITY).saturating_mul(SECTOR);
    if length > MAXIMUM_LENGTH {
        return refuse("the disk is too long");
    }
    let sectors = long(bytes, header::DESCRIPTOR_LENGTH);
    if sectors > LONGEST_DESCRIPTOR {
        return refuse("its descriptor is too long");
    }
    let directory = long(bytes, header::DIRECTORY);
    Ok(Header {
        length,
        grain: grain * SECTOR,
        descriptor: long(bytes, header::DESCRIPTOR).saturating_mul(SECTOR),
        descriptor_length: sectors * SECTOR,
        directory: if directory == AT_END { AT_END } else { directory.saturating_mul(SECTOR) },
    })
}

/// The kind of a marker; of none if the sector says that data follow, as before a grain.
fn read_marker(bytes: &[u8; SECTOR as usize]) -> u32 {
    if word(bytes, 8) == 0 { word(bytes, mark::KIND) } else { u32::MAX }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let field = bytes.get(at..at + 4).and_then(|field| field.try_into().ok());
    field.map_or(0, u32::from_le_bytes)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at + 4)) << 32 | u64::from(word(bytes, at))
}

impl BlockDevice for VmdkDevice {
    fn sector_size(&self) -> u32 {
        SECTOR as u32
    }

    fn length(&self) -> u64 {
        self.header.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.header.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut offset, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let within = offset % self.header.grain;
            let length = (self.header.grain - within).min(rest.len() as u64);
            let (part, behind) = rest.split_at_mut(length as usize);
            self.read_grain(offset / self.header.grain, within, part)?;
            offset += length;
            rest = behind;
        }
        Ok(())
    }

    fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn damaged(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Disk;
    use crate::vmdk::{GRAIN, VmdkOptions, write_vmdk};
    use proptest::prelude::*;

    /// Text across two grains, a hole of more than a table, and noise.
    fn contents() -> (Vec<u8>, u64, Vec<u8>) {
        let text = (0..GRAIN + 77).map(|index| (index / 9 % 61) as u8).collect();
        let mut state = 1_u64;
        let noise = (0..GRAIN).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            (state >> 56) as u8
        });
        (text, 600 * GRAIN, noise.collect())
    }

    fn vmdk() -> File {
        let (raw, out) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let (text, place, noise) = contents();
        raw.write_all_at(&text, 0).unwrap();
        raw.write_all_at(&noise, place).unwrap();
        let options =
            VmdkOptions { virtual_length: Some(1 << 30), level: 6, threads: 1, content: 7 };
        write_vmdk(&Disk::of_file(&raw).unwrap(), &out, &options).unwrap();
        out
    }

    #[test]
    fn the_disk_is_read_back_also_from_inside_another_file() {
        let (text, place, noise) = contents();
        let inside = tempfile::tempfile().unwrap();
        let mut bytes = vec![0; vmdk().metadata().unwrap().len() as usize];
        vmdk().read_exact_at(&mut bytes, 0).unwrap();
        inside.write_all_at(&bytes, 1000).unwrap();
        inside.write_all_at(&[9; 5000], 1000 + bytes.len() as u64).unwrap();
        let part = VmdkDevice::open_part(inside, 1000..1000 + bytes.len() as u64).unwrap();
        for device in [VmdkDevice::open(vmdk()).unwrap(), part] {
            assert_eq!(device.length(), 1 << 30);
            let mut found = vec![1; text.len() + 9000];
            device.read_at(0, &mut found).unwrap();
            assert!(found[..text.len()] == text && found[text.len()..].iter().all(|b| *b == 0));
            let mut found = vec![1; noise.len()];
            device.read_at(place, &mut found).unwrap();
            assert!(found == noise);
            assert!(device.read_at((1 << 30) - 9, &mut [0; 10]).is_err());
        }
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        let cases: [(usize, &[u8], &str); 6] = [
            (0, b"X", "signature"),
            (header::VERSION, &[9], "version"),
            (header::FLAGS + 2, &[0], "streamOptimized"),
            (header::NEWLINE_TEST, b"\r", "text"),
            (header::GRAIN, &[127], "grain size"),
            (header::CAPACITY, &[1], "do not fit"),
        ];
        for (at, value, expected) in cases {
            let file = vmdk();
            file.write_all_at(value, at as u64).unwrap();
            let error = VmdkDevice::open(file).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        let cut = vmdk();
        cut.set_len(cut.metadata().unwrap().len() - 512).unwrap();
        assert!(VmdkDevice::open(cut).is_err());
        let flat = vmdk();
        flat.write_all_at(b"createType=\"monolithicFlat\" ", SECTOR + 64).unwrap();
        assert!(VmdkDevice::open(flat).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damage_is_an_error_or_other_contents(
            from_end: bool, place in 0_u64..4000, bytes: [u8; 8],
        ) {
            let file = vmdk();
            let length = file.metadata().unwrap().len();
            let at = if from_end { length - 8 - place } else { place };
            file.write_all_at(&bytes, at).unwrap();
            if let Ok(device) = VmdkDevice::open(file) {
                let mut buffer = vec![0; 3 * GRAIN as usize];
                for offset in [0, GRAIN, 600 * GRAIN] {
                    let read = device.read_at(offset, &mut buffer);
                    prop_assert!(read.is_err() || device.length() >= offset + 3 * GRAIN);
                }
            }
        }
    }
}
