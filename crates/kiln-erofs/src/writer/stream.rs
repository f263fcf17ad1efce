//! The image on its way to the file, front to back through one buffer.
//!
//! The area of inodes of a large tree has hundreds of megabytes, so nothing is collected but the
//! buffer. The superblock needs the checksum of the block that it shares with the first inodes: it
//! is put in when that block leaves.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::error::Error;
use crate::format::{BLOCK, SUPER_OFFSET, seal};

/// Bytes collected before they are written to the image. More than a block, so that the first one
/// is whole when it leaves.
const WRITE_BUFFER: usize = 1 << 20;

/// Where the image is written.
pub(super) struct Stream<'a> {
    out: &'a File,
    superblock: Vec<u8>,
    /// Bytes already in the file.
    written: u64,
    pub(super) buffer: Vec<u8>,
}

impl<'a> Stream<'a> {
    /// Begins an image with these bytes at [`SUPER_OFFSET`].
    pub(super) fn new(out: &'a File, superblock: Vec<u8>) -> Self {
        Self { out, superblock, written: 0, buffer: Vec::with_capacity(WRITE_BUFFER * 2) }
    }

    /// Fills up with zeros to this place, which is not behind the end.
    pub(super) fn pad_to(&mut self, place: u64) {
        let missing = place.saturating_sub(self.written + self.buffer.len() as u64);
        self.buffer.resize(self.buffer.len() + missing as usize, 0);
    }

    /// Leaves bytes out that are in the file already. The first block is none of them.
    pub(super) fn skip(&mut self, length: u64) -> Result<(), Error> {
        self.flush()?;
        self.written += length;
        Ok(())
    }

    /// Writes the buffer out if it is full.
    pub(super) fn drain(&mut self) -> Result<(), Error> {
        if self.buffer.len() < WRITE_BUFFER { Ok(()) } else { self.flush() }
    }

    /// Writes the buffer out.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        if self.written == 0 {
            let end = SUPER_OFFSET + self.superblock.len();
            self.buffer.resize(self.buffer.len().max(BLOCK), 0);
            self.buffer[SUPER_OFFSET..end].copy_from_slice(&self.superblock);
            seal(&mut self.buffer);
        }
        let written = self.out.write_all_at(&self.buffer, self.written);
        written.map_err(Error::io("write the image"))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
