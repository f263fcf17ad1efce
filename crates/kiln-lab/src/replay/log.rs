//! Reading the record of a disk that QEMU's `blklogwrites` kept.
//!
//! Format: dm-log-writes, version 1 (Linux, Documentation/admin-guide/device-mapper/log-writes.rst
//! and drivers/md/dm-log-writes.c; QEMU, block/blklogwrites.c). All numbers are little-endian.
//!
//! | at | superblock, one sector | at | entry, one sector, then its data |
//! |---|---|---|---|
//! | 0 | magic, 8 bytes | 0 | first sector, 8 bytes |
//! | 8 | version, 8 bytes | 8 | number of sectors, 8 bytes |
//! | 16 | number of entries, 8 bytes | 16 | flags, 8 bytes |
//! | 24 | sector size, 4 bytes | 24 | length of a mark's text, 8 bytes |
//!
//! Data follows unless the entry is a discard; a mark's text lies in the entry's own sector. The
//! number of entries is brought up to date at every flush of the guest, so what a machine wrote
//! between its last flush and its end is not part of the record: nobody was promised it.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use super::operation::Operation;
use crate::error::{Error, file_error};

/// First eight bytes of a log, as a number.
const MAGIC: u64 = 0x006a_7366_7773_6872;
/// The only version there is.
const VERSION: u64 = 1;
/// Bytes of the fields in an entry's sector.
const ENTRY_FIELDS: usize = 32;
/// Longest data of one entry in bytes: QEMU cuts requests at 2 GiB, guests of ours far below.
const MAXIMUM_DATA: u64 = 1 << 30;
/// Most entries of a log: a boot has hundreds, an installation some ten thousand.
const MAXIMUM_ENTRIES: u64 = 1 << 20;

mod flag {
    /// Everything before this entry is on stable storage.
    pub(super) const FLUSH: u64 = 1;
    /// This entry's data is on stable storage when it completes.
    pub(super) const FUA: u64 = 2;
    /// The sectors hold nothing of use any more.
    pub(super) const DISCARD: u64 = 4;
    /// A place that somebody marked.
    pub(super) const MARK: u64 = 8;
}

/// A place in a log, to be compared with others of the same log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

/// What a disk was asked to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    operations: Vec<Operation>,
    /// Number of the entry that each operation came from.
    entries: Vec<u64>,
}

impl Log {
    /// Reads a whole log file.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Log`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(file_error("open", path))?;
        Self::parse(BufReader::new(file)).map_err(log_error(path))
    }

    /// Where a log that is still being written stands: all that the guest has flushed.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Log`].
    pub fn position(path: &Path) -> Result<Position, Error> {
        let mut file = File::open(path).map_err(file_error("open", path))?;
        let (entries, _) = read_superblock(&mut file).map_err(log_error(path))?;
        Ok(Position(entries))
    }

    /// Parses a log from its first byte.
    ///
    /// # Errors
    /// What is not a log of version 1, exceeds the bounds or ends in the middle.
    pub fn parse(mut source: impl Read) -> io::Result<Self> {
        let (count, sector) = read_superblock(&mut source)?;
        let mut log = Self { operations: Vec::new(), entries: Vec::new() };
        let mut header = vec![0; sector as usize];
        for number in 0..count {
            source.read_exact(&mut header)?;
            log.take_entry(number, &header, sector, &mut source)?;
        }
        Ok(log)
    }

    fn take_entry(
        &mut self,
        number: u64,
        header: &[u8],
        sector: u64,
        source: &mut impl Read,
    ) -> io::Result<()> {
        let refuse = |what: &str| invalid(format!("entry {number}: {what}"));
        let field = |index: usize| long(header, index * 8);
        let (first, sectors, flags) = (field(0), field(1), field(2));
        if flags & !(flag::FLUSH | flag::FUA | flag::DISCARD | flag::MARK) != 0 {
            return Err(refuse("unknown flags"));
        }
        let bytes = |sectors: u64| sectors.checked_mul(sector).ok_or_else(|| refuse("length"));
        let (offset, length) = (bytes(first)?, bytes(sectors)?);
        offset.checked_add(length).ok_or_else(|| refuse("place"))?;
        if flags & flag::FLUSH != 0 {
            self.push(number, Operation::Flush);
        }
        if flags & flag::MARK != 0 || length == 0 {
            return Ok(());
        }
        if flags & flag::DISCARD != 0 {
            self.push(number, Operation::Discard { offset, length });
            return Ok(());
        }
        if length > MAXIMUM_DATA {
            return Err(refuse("length"));
        }
        let mut data = Vec::new();
        source.take(length).read_to_end(&mut data)?;
        if data.len() as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let durable = flags & flag::FUA != 0;
        self.push(number, Operation::Write { offset, bytes: Arc::from(data), durable });
        Ok(())
    }

    fn push(&mut self, entry: u64, operation: Operation) {
        self.operations.push(operation);
        self.entries.push(entry);
    }

    /// All operations.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Number of operations before a position, which is an index into [`Log::operations`].
    #[must_use]
    pub fn before(&self, position: Position) -> usize {
        self.entries.partition_point(|entry| *entry < position.0)
    }
}

/// Number of entries, and bytes of a sector.
fn read_superblock(source: &mut impl Read) -> io::Result<(u64, u64)> {
    let mut fields = [0; ENTRY_FIELDS];
    source.read_exact(&mut fields)?;
    if long(&fields, 0) != MAGIC {
        return Err(invalid("no log of writes".into()));
    }
    if long(&fields, 8) != VERSION {
        return Err(invalid(format!("version {}", long(&fields, 8))));
    }
    let count = long(&fields, 16);
    let sector = long(&fields, 24) & u64::from(u32::MAX);
    if count > MAXIMUM_ENTRIES {
        return Err(invalid(format!("{count} entries")));
    }
    if !matches!(sector, 512 | 4096) {
        return Err(invalid(format!("sector size {sector}")));
    }
    io::copy(&mut source.take(sector - ENTRY_FIELDS as u64), &mut io::sink())?;
    Ok((count, sector))
}

/// Eight bytes as a number; the caller's buffer is long enough by construction.
fn long(bytes: &[u8], at: usize) -> u64 {
    let field = bytes.get(at..at + 8).and_then(|field| field.try_into().ok());
    u64::from_le_bytes(field.unwrap_or_default())
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn log_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Log { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log with one entry of every kind, written down by hand.
    fn golden() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut sector = |numbers: &[u64], rest: &[u8]| {
            let start = bytes.len();
            bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            bytes.extend(rest);
            bytes.resize(start + 512, 0);
        };
        sector(&[0x6a_7366_7773_6872, 1, 6, 512], &[]);
        sector(&[8, 1, 0, 0], &[]);
        sector(&[], &[0xaa; 512]);
        sector(&[0, 0, 1, 0], &[]);
        sector(&[2048, 1 << 30, 4, 0], &[]);
        sector(&[0, 0, 8, 4], b"here");
        sector(&[9, 2, 1 | 2, 0], &[]);
        sector(&[], &[0xbb; 512]);
        sector(&[], &[0xcc; 512]);
        sector(&[1, 1, 0, 0], &[]);
        sector(&[], &[0xdd; 512]);
        bytes
    }

    #[test]
    fn every_kind_of_entry_is_read() {
        let log = Log::parse(&golden()[..]).unwrap();
        let write = |offset, bytes: Vec<u8>, durable| Operation::Write {
            offset,
            bytes: Arc::from(bytes),
            durable,
        };
        let expected = [
            write(4096, vec![0xaa; 512], false),
            Operation::Flush,
            Operation::Discard { offset: 1 << 20, length: 1 << 39 },
            Operation::Flush,
            write(9 * 512, [[0xbb; 512], [0xcc; 512]].concat(), true),
            write(512, vec![0xdd; 512], false),
        ];
        assert_eq!(log.operations(), expected);
        let before: Vec<usize> = (0..7).map(|entry| log.before(Position(entry))).collect();
        assert_eq!(before, [0, 1, 2, 3, 3, 5, 6]);
    }

    #[test]
    fn damaged_logs_are_refused() {
        type Change = fn(&mut Vec<u8>);
        let cases: [(&str, Change); 9] = [
            ("magic", |log| log[0] ^= 1),
            ("version", |log| log[8] = 2),
            ("entries", |log| log[20] = 1),
            ("sector size", |log| log[25] = 3),
            ("flags", |log| log[512 + 16] = 0x10),
            ("place", |log| log[512 + 7] = 0xff),
            ("length", |log| log[512 + 12] = 1),
            ("end in data", |log| log.truncate(512 + 512 + 100)),
            ("end in an entry", |log| log.truncate(512 + 100)),
        ];
        for (name, change) in cases {
            let mut log = golden();
            change(&mut log);
            assert!(Log::parse(&log[..]).is_err(), "{name}");
        }
    }
}
