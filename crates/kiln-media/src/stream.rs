//! Writing a file from its start to its end, in large pieces, knowing where one is.

use crate::Error;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

/// Bytes that are collected before they are written.
const COLLECTED: usize = 1 << 20;

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct Stream<'a> {
    out: &'a File,
    collected: Vec<u8>,
    /// Bytes that are in the file.
    written: u64,
}

impl<'a> Stream<'a> {
    /// Empties `out` and begins at its start.
    pub(crate) fn new(mut out: &'a File) -> Result<Self, Error> {
        out.set_len(0)
            .and_then(|()| out.seek(SeekFrom::Start(0)))
            .map_err(|source| Error::Write { offset: 0, source })?;
        Ok(Self { out, collected: Vec::with_capacity(2 * COLLECTED), written: 0 })
    }

    /// Bytes given so far.
    pub(crate) fn position(&self) -> u64 {
        self.written + self.collected.len() as u64
    }

    /// Adds bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.collected.extend_from_slice(bytes);
        if self.collected.len() >= COLLECTED { self.flush() } else { Ok(()) }
    }

    /// Adds zeros up to a multiple of `alignment`.
    pub(crate) fn align(&mut self, alignment: u64) -> Result<(), Error> {
        let missing = self.position().next_multiple_of(alignment) - self.position();
        // Less than the alignment, which is at most 64 KiB.
        self.put(&vec![0; missing as usize])
    }

    /// Gives all bytes to the file and returns their number.
    pub(crate) fn finish(mut self) -> Result<u64, Error> {
        self.flush()?;
        Ok(self.written)
    }

    fn flush(&mut self) -> Result<(), Error> {
        let offset = self.written;
        self.out.write_all(&self.collected).map_err(|source| Error::Write { offset, source })?;
        self.written += self.collected.len() as u64;
        self.collected.clear();
        Ok(())
    }
}
