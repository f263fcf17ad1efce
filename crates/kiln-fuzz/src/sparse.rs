//! Disks of megabytes out of inputs of a few hundred bytes.
//!
//! An input is a list of pieces: four bytes of head (bit 0 of the first: sectors of 4096 bytes; then
//! the length in KiB, 24 bits little-endian), then for each piece its offset in units of 512 bytes
//! (24 bits), its length (16 bits) and its bytes. What no piece covers is zero. Whole disk images as
//! inputs were dropped: the smallest FAT32 has 33 MiB, and a fuzzer wastes its time in zeros.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;

use kiln_disk::BlockDevice;

/// Unit of offsets and of storage, in bytes.
const UNIT: usize = 512;
/// Bytes that may be read from one disk; a walk that needs more has lost its bound.
const READ_BUDGET: u64 = 1 << 30;

/// A disk that stores only what was written.
#[derive(Debug, Clone)]
pub struct SparseDisk {
    sector_size: u32,
    length: u64,
    units: BTreeMap<u64, [u8; UNIT]>,
    read: Cell<u64>,
}

impl SparseDisk {
    /// Reads the form above; pieces beyond the end are dropped.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let (head, mut rest) = data.split_first_chunk::<4>()?;
        let kib = u32::from_le_bytes([head[1], head[2], head[3], 0]);
        let sector_size = if head[0] & 1 == 0 { 512 } else { 4096 };
        let mut disk = Self::empty(sector_size, u64::from(kib) << 10);
        while let Some((piece, behind)) = rest.split_first_chunk::<5>() {
            let unit = u32::from_le_bytes([piece[0], piece[1], piece[2], 0]);
            let length = usize::from(u16::from_le_bytes([piece[3], piece[4]]));
            let (bytes, behind) = behind.split_at(length.min(behind.len()));
            // Beyond the end: nobody could read it.
            let _ = disk.write_at(u64::from(unit) * UNIT as u64, bytes);
            rest = behind;
        }
        Some(disk)
    }

    /// A disk of zeros.
    pub fn empty(sector_size: u32, length: u64) -> Self {
        Self { sector_size, length, units: BTreeMap::new(), read: Cell::new(0) }
    }

    /// The input that [`SparseDisk::parse`] reads as this disk; none if it is too long for one.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let kib = u32::try_from(self.length >> 10).ok().filter(|kib| *kib < 1 << 24)?;
        let mut bytes = vec![u8::from(self.sector_size == 4096)];
        bytes.extend(&kib.to_le_bytes()[..3]);
        for (unit, content) in &self.units {
            let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if used == 0 {
                continue;
            }
            bytes.extend(&u32::try_from(*unit).ok()?.to_le_bytes()[..3]);
            bytes.extend(u16::try_from(used).ok()?.to_le_bytes());
            bytes.extend(&content[..used]);
        }
        Some(bytes)
    }

    /// What is stored, by byte offset.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.units.iter().map(|(unit, bytes)| (unit * UNIT as u64, &bytes[..]))
    }

    fn range(&self, offset: u64, length: usize) -> io::Result<()> {
        let end = offset.checked_add(length as u64);
        if end.is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

impl BlockDevice for SparseDisk {
    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.range(offset, buffer.len())?;
        self.read.set(self.read.get() + buffer.len() as u64);
        assert!(self.read.get() <= READ_BUDGET, "more than {READ_BUDGET} bytes were read");
        let mut offset = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let within = offset as usize % UNIT;
            let (part, behind) = rest.split_at_mut((UNIT - within).min(rest.len()));
            match self.units.get(&(offset / UNIT as u64)) {
                Some(unit) => part.copy_from_slice(&unit[within..within + part.len()]),
                None => part.fill(0),
            }
            offset += part.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.range(offset, bytes.len())?;
        let mut offset = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = offset as usize % UNIT;
            let (part, behind) = rest.split_at((UNIT - within).min(rest.len()));
            let unit = self.units.entry(offset / UNIT as u64).or_insert([0; UNIT]);
            unit[within..within + part.len()].copy_from_slice(part);
            offset += part.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_survives_its_encoded_form() {
        let mut disk = SparseDisk::empty(4096, 40 << 20);
        disk.write_at(700, b"across the border of two units, and more than one of them").unwrap();
        disk.write_at((40 << 20) - 1, b"x").unwrap();
        assert!(disk.write_at(40 << 20, b"x").is_err());
        let again = SparseDisk::parse(&disk.encode().unwrap()).unwrap();
        assert_eq!((again.length(), again.sector_size()), (40 << 20, 4096));
        let mut found = [0; 40];
        again.read_at(690, &mut found).unwrap();
        assert_eq!(&found[..16], b"\0\0\0\0\0\0\0\0\0\0across");
        assert_eq!(again.units, disk.units);
    }
}
