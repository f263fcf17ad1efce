//! A part of a disk as the readers of the crates below want it: bytes from a partition's start.
//!
//! One type serves both traits, so that raw files, qcow2 images and tests take the same path.

use std::io;

use kiln_disk::BlockDevice;
use kiln_erofs::ReadAt;

/// A read-only window on a device.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    device: &'a dyn BlockDevice,
    start: u64,
    length: u64,
    sector_size: u32,
}

impl<'a> View<'a> {
    /// The device as it is.
    pub(super) fn whole(device: &'a dyn BlockDevice) -> Self {
        Self { device, start: 0, length: device.length(), sector_size: device.sector_size() }
    }

    /// The same bytes as a disk with other sectors.
    pub(super) fn with_sectors(self, sector_size: u32) -> Self {
        Self { sector_size, ..self }
    }

    /// A part, cut off where the device ends.
    pub(super) fn part(self, start: u64, length: u64) -> Self {
        let start = start.min(self.length);
        Self { start: self.start + start, length: length.min(self.length - start), ..self }
    }

    /// Length in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.length
    }
}

impl BlockDevice for View<'_> {
    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.device.read_at(self.start + offset, buffer)
    }

    fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ReadAt for View<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_at(offset, buffer)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.length)
    }
}
