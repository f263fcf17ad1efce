//! A block device as a trait, so that the same code runs on a disk, an image file and memory.
//!
//! A flush is part of the contract: what was written before it is on stable storage after it, and
//! nothing is promised about the order of writes between two flushes. A single sector is the unit
//! that a disk writes whole; the table update relies on that and on nothing larger.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// The two sector lengths in bytes that disks have.
pub const SECTOR_SIZES: [u32; 2] = [512, 4096];

/// Random access to something made of sectors. Offsets and lengths are in bytes and need not be
/// multiples of the sector size for reading; writers of this crate always write whole sectors.
pub trait BlockDevice {
    /// Bytes per sector: 512 or 4096.
    fn sector_size(&self) -> u32;
    /// Length in bytes.
    fn length(&self) -> u64;
    /// Fills `buffer` from byte `offset`.
    ///
    /// # Errors
    /// What the device reports, and an end in the middle.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes` at byte `offset`.
    ///
    /// # Errors
    /// What the device reports, and writing beyond the end.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Waits until everything written is on stable storage.
    ///
    /// # Errors
    /// What the device reports; the state of the disk is then unknown.
    fn flush(&mut self) -> io::Result<()>;
}

/// One step of an ordered change of a disk: data, never a closure, so that a test can stop anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write<'a> {
    /// Byte offset on the disk.
    pub offset: u64,
    /// What to write; whole sectors.
    pub bytes: Cow<'a, [u8]>,
    /// Whether everything so far must be on stable storage before the next step.
    pub flush: bool,
}

/// Carries out `writes` in their order.
///
/// # Errors
/// The first error of the device; later steps are not tried.
pub fn apply(device: &mut dyn BlockDevice, writes: &[Write<'_>]) -> io::Result<()> {
    for write in writes {
        device.write_at(write.offset, &write.bytes)?;
        if write.flush {
            device.flush()?;
        }
    }
    Ok(())
}

/// A disk or image file.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    sector_size: u32,
    length: u64,
}

impl FileDevice {
    /// Uses an open file. Its length is found by seeking to the end, which also works for a disk.
    ///
    /// # Errors
    /// A sector size other than 512 or 4096, and what seeking reports.
    pub fn new(file: File, sector_size: u32) -> io::Result<Self> {
        check_sector_size(sector_size)?;
        let length = io::Seek::seek(&mut &file, io::SeekFrom::End(0))?;
        Ok(Self { file, sector_size, length })
    }

    /// The file underneath.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl BlockDevice for FileDevice {
    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        // A file would silently grow where a disk refuses.
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.write_all_at(bytes, offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Bytes of a page of [`MemoryDevice`].
const PAGE: usize = 4096;

/// A disk in memory, for tests and for planning. Only pages that hold something take memory, and
/// clones share them, so that crash replay can have thousands of disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryDevice {
    /// Pages by number; one that is not there reads as zeros.
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
    length: u64,
    sector_size: u32,
}

impl MemoryDevice {
    /// A disk with the given content.
    ///
    /// # Errors
    /// A sector size other than 512 or 4096.
    pub fn new(bytes: &[u8], sector_size: u32) -> io::Result<Self> {
        let mut device = Self::empty(bytes.len() as u64, sector_size)?;
        for (number, page) in bytes.chunks(PAGE).enumerate() {
            if page.iter().any(|byte| *byte != 0) {
                device.write_at((number * PAGE) as u64, page)?;
            }
        }
        Ok(device)
    }

    /// A disk of `length` bytes that reads as zeros.
    ///
    /// # Errors
    /// A sector size other than 512 or 4096.
    pub fn empty(length: u64, sector_size: u32) -> io::Result<Self> {
        check_sector_size(sector_size)?;
        Ok(Self { pages: BTreeMap::new(), length, sector_size })
    }

    /// The whole content.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length as usize];
        for (number, page) in &self.pages {
            let start = *number as usize * PAGE;
            let length = PAGE.min(bytes.len() - start);
            bytes[start..start + length].copy_from_slice(&page[..length]);
        }
        bytes
    }

    /// The pieces that hold something, with their byte offsets; everything else reads as zeros.
    pub fn pieces(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.pages.iter().map(|(number, page)| {
            let offset = number * PAGE as u64;
            let length = (self.length - offset).min(PAGE as u64) as usize;
            (offset, &page[..length])
        })
    }

    fn check_range(&self, offset: u64, length: usize) -> io::Result<()> {
        match offset.checked_add(length as u64) {
            Some(end) if end <= self.length => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Number of a page, where in it, and how much of the rest lies in it.
fn in_page(position: u64, rest: usize) -> (u64, usize, usize) {
    let within = (position % PAGE as u64) as usize;
    (position / PAGE as u64, within, rest.min(PAGE - within))
}

impl BlockDevice for MemoryDevice {
    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.check_range(offset, buffer.len())?;
        let mut done = 0;
        while done < buffer.len() {
            let (number, within, length) = in_page(offset + done as u64, buffer.len() - done);
            let target = &mut buffer[done..done + length];
            match self.pages.get(&number) {
                Some(page) => target.copy_from_slice(&page[within..within + length]),
                None => target.fill(0),
            }
            done += length;
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_range(offset, bytes.len())?;
        let mut done = 0;
        while done < bytes.len() {
            let (number, within, length) = in_page(offset + done as u64, bytes.len() - done);
            let page = self.pages.entry(number).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[within..within + length]
                .copy_from_slice(&bytes[done..done + length]);
            done += length;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn check_sector_size(sector_size: u32) -> io::Result<()> {
    if SECTOR_SIZES.contains(&sector_size) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("sector size {sector_size}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_or_read_beyond_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create_new(folder.path().join("disk")).unwrap();
        file.set_len(4096).unwrap();
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(folder.path().join("disk"))
            .unwrap();
        let mut devices: [Box<dyn BlockDevice>; 2] = [
            Box::new(FileDevice::new(file, 512).unwrap()),
            Box::new(MemoryDevice::empty(4096, 512).unwrap()),
        ];
        for device in &mut devices {
            assert_eq!(device.length(), 4096);
            device.write_at(3584, &[1; 512]).unwrap();
            let mut read = [0; 512];
            device.read_at(3584, &mut read).unwrap();
            assert_eq!(read, [1; 512]);
            for offset in [3585, 4096, u64::MAX] {
                assert!(device.write_at(offset, &[1; 512]).is_err());
                assert!(device.read_at(offset, &mut read).is_err());
            }
        }
        assert!(MemoryDevice::empty(0, 1024).is_err());
    }
}
