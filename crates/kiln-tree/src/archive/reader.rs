//! The stream: headers turned into entries, data handed out once.
//!
//! Reads forwards only and keeps nothing but the entry at hand, so a layer of any length costs the same memory. Follows the
//! readers of the container world where formats leave a choice: entries that are only a header have no data whatever their size
//! says, global extended headers are ignored, one block of zeros ends the archive.

use std::io::{self, BufRead, BufReader, Read};

use crate::archive::header::{BLOCK, HeaderBlock, gnu_sparse_extension, until_zero};
use crate::archive::number;
use crate::archive::pax::{self, ACCESS_ACL, DEFAULT_ACL, Pax};
use crate::archive::sparse::{self, EXTENT_LIMIT, Extent, SparseReader};
use crate::error::{Error, show};
use crate::limits::Limits;
use crate::metadata::{Metadata, XattrPool};
use crate::path::{Refusal, normalise};

/// Bytes of one extension header; the most that other readers of container layers take.
const EXTENSION_LIMIT: u64 = 1 << 20;
/// Bytes after the end of the archive: padding to the largest record any writer uses, far exceeded only by something hidden.
const TRAILING_LIMIT: u64 = 64 << 20;
/// Bytes read at once: a few headers of small files.
const BUFFER: usize = 128 << 10;

/// One file of the archive.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Canonical path, empty for the root.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryKind,
    pub(crate) metadata: Metadata,
    /// Number of the entry in the archive, extension headers not counted.
    pub(crate) ordinal: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Directory,
    /// Regular file of this many bytes, to be read by [`TarReader::data`].
    File(u64),
    /// Canonical path of the target.
    HardLink(Vec<u8>),
    Symlink(Vec<u8>),
    CharacterDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// Extension headers seen before the header they describe.
#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// Reads one archive; all errors name `layer`.
pub(crate) struct TarReader<'r> {
    source: BufReader<Box<dyn Read + 'r>>,
    layer: &'r str,
    limits: Limits,
    /// Bytes taken from the source.
    offset: u64,
    /// Position of the header at hand.
    header_offset: u64,
    /// Path of the entry at hand, for errors.
    path: Vec<u8>,
    /// Data bytes of the entry not read yet, then bytes up to the next block.
    remaining: u64,
    padding: u64,
    map: Option<Vec<Extent>>,
    file_size: u64,
    entries: u64,
    /// Why reading data failed, kept while an `io::Error` travels through a content store.
    fault: Option<Error>,
}

impl<'r> TarReader<'r> {
    pub(crate) fn new(layer: &'r str, source: Box<dyn Read + 'r>, limits: Limits) -> TarReader<'r> {
        TarReader {
            source: BufReader::with_capacity(BUFFER, source),
            layer,
            limits,
            offset: 0,
            header_offset: 0,
            path: Vec::new(),
            remaining: 0,
            padding: 0,
            map: None,
            file_size: 0,
            entries: 0,
            fault: None,
        }
    }

    /// The next entry, what is left of the last one's data skipped; `None` at the end of the archive.
    pub(crate) fn next_entry(&mut self, pool: &mut XattrPool) -> Result<Option<Entry>, Error> {
        let mut extensions = Extensions::default();
        loop {
            self.skip(self.remaining)?;
            self.skip(self.padding)?;
            (self.remaining, self.padding) = (0, 0);
            self.path.clear();
            self.header_offset = self.offset;
            let mut block = [0; BLOCK];
            if !self.read_block(&mut block)? || block.iter().all(|byte| *byte == 0) {
                let open = extensions.pax.is_some()
                    || extensions.name.is_some()
                    || extensions.link.is_some();
                return if open {
                    Err(self.corrupt("it ends after an extension header"))
                } else {
                    Ok(None)
                };
            }
            let header = HeaderBlock::new(&block).map_err(|reason| self.corrupt(reason))?;
            match header.type_flag() {
                b'x' => {
                    let bytes = self.extension(&header, extensions.pax.is_some())?;
                    extensions.pax =
                        Some(pax::parse(&bytes).map_err(|reason| self.corrupt(reason))?);
                }
                b'L' => {
                    let bytes = self.extension(&header, extensions.name.is_some())?;
                    extensions.name = Some(until_zero(&bytes).to_vec());
                }
                b'K' => {
                    let bytes = self.extension(&header, extensions.link.is_some())?;
                    extensions.link = Some(until_zero(&bytes).to_vec());
                }
                // Global records (git puts a comment there) and volume labels say nothing about files.
                b'g' | b'V' => {
                    let size = header.size().map_err(|reason| self.corrupt(reason))?;
                    self.expect_data(size);
                }
                _ => return self.entry(&header, extensions, pool).map(Some),
            }
        }
    }

    fn entry(
        &mut self,
        header: &HeaderBlock<'_>,
        extensions: Extensions,
        pool: &mut XattrPool,
    ) -> Result<Entry, Error> {
        let mut pax = extensions.pax.unwrap_or_default();
        let raw = pax.sparse.name.take().or(pax.path.take()).or(extensions.name);
        let raw = raw.unwrap_or_else(|| header.name());
        self.path = self.canonical(&raw)?;
        let xattr_bytes: usize =
            pax.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if xattr_bytes > self.limits.xattr_bytes {
            return Err(self.limit("bytes of extended attributes", self.limits.xattr_bytes as u64));
        }
        let raw_link = pax.link.take().or(extensions.link).unwrap_or_else(|| header.link_name());
        let device = || header.device().map_err(|reason| self.corrupt(reason));
        let kind = match header.type_flag() {
            // The first Unix tar had no type for directories but the slash at the end.
            0 if raw.ends_with(b"/") => EntryKind::Directory,
            0 | b'0' | b'7' | b'S' => EntryKind::File(self.file(header, &mut pax)?),
            b'1' => EntryKind::HardLink(self.canonical(&raw_link)?),
            b'2' => EntryKind::Symlink(self.symlink(raw_link)?),
            b'3' => device().map(|(major, minor)| EntryKind::CharacterDevice { major, minor })?,
            b'4' => device().map(|(major, minor)| EntryKind::BlockDevice { major, minor })?,
            b'5' => EntryKind::Directory,
            // A directory of an incremental GNU archive, with the list of its names as data.
            b'D' => {
                let size = header.size().map_err(|reason| self.corrupt(reason))?;
                self.expect_data(pax.size.unwrap_or(size));
                EntryKind::Directory
            }
            b'6' => EntryKind::Fifo,
            _ => return Err(self.refused("its entry type is unknown")),
        };
        if kind != EntryKind::Directory && pax.default_acl.is_some() {
            return Err(self.refused("it has a default access control list and is no directory"));
        }
        if matches!(kind, EntryKind::Symlink(_)) && pax.access_acl.is_some() {
            return Err(self.refused("its symbolic link has an access control list"));
        }
        let metadata = self.metadata(header, pax, pool)?;
        let ordinal = self.entries;
        self.entries += 1;
        Ok(Entry { path: self.path.clone(), kind, metadata, ordinal })
    }

    fn metadata(
        &self,
        header: &HeaderBlock<'_>,
        mut pax: Pax,
        pool: &mut XattrPool,
    ) -> Result<Metadata, Error> {
        let corrupt = |reason| self.corrupt(reason);
        let owner = |number: u64| {
            u32::try_from(number).map_err(|_| self.refused("its owner does not fit 32 bits"))
        };
        // A record replaces the field, which may then hold anything.
        let uid = pax.uid.map_or_else(|| header.uid(), Ok).map_err(corrupt)?;
        let gid = pax.gid.map_or_else(|| header.gid(), Ok).map_err(corrupt)?;
        let mtime = pax.mtime.map_or_else(|| header.mtime().map(|seconds| (seconds, 0)), Ok);
        let (mtime_seconds, mtime_nanoseconds) = mtime.map_err(corrupt)?;
        let mut mode = header.mode().map_err(corrupt)?;
        if let Some(acl) = pax.access_acl.take() {
            // As on a disk, where setting the list sets the mode.
            mode = mode & 0o7000 | acl.permissions();
            if !acl.is_a_mode() {
                pax.xattrs.insert(ACCESS_ACL.to_vec(), acl.attribute());
            }
        }
        if let Some(acl) = pax.default_acl.take() {
            pax.xattrs.insert(DEFAULT_ACL.to_vec(), acl.attribute());
        }
        Ok(Metadata {
            mode,
            uid: owner(uid)?,
            gid: owner(gid)?,
            mtime_seconds,
            mtime_nanoseconds,
            xattrs: pool.share(pax.xattrs),
        })
    }

    /// Prepares the data of a regular file and returns its length.
    fn file(&mut self, header: &HeaderBlock<'_>, pax: &mut Pax) -> Result<u64, Error> {
        let stored =
            pax.size.map_or_else(|| header.size(), Ok).map_err(|reason| self.corrupt(reason))?;
        self.expect_data(stored);
        self.map = None;
        self.file_size = stored;
        let mut map = None;
        if header.type_flag() == b'S' {
            let (size, extents) = self.gnu_map(header)?;
            self.file_size = size;
            map = Some(extents);
        } else if let Some(major) = pax.sparse.major {
            if (major, pax.sparse.minor) != (1, Some(0)) {
                return Err(self.refused("its sparse format is unknown"));
            }
            self.file_size =
                pax.sparse.real_size.ok_or_else(|| self.corrupt("a sparse file has no size"))?;
            map = Some(self.map_in_data()?);
        } else if let Some(extents) = pax.sparse.map.take() {
            self.file_size =
                pax.sparse.real_size.ok_or_else(|| self.corrupt("a sparse file has no size"))?;
            map = Some(extents);
        }
        if let Some(map) = map {
            let checked = sparse::checked(map, self.file_size, self.remaining);
            self.map = Some(checked.map_err(|reason| self.corrupt(reason))?);
        }
        if self.file_size > self.limits.file_bytes {
            return Err(self.limit("bytes of one file", self.limits.file_bytes));
        }
        Ok(self.file_size)
    }

    fn gnu_map(&mut self, header: &HeaderBlock<'_>) -> Result<(u64, Vec<Extent>), Error> {
        let (size, mut map, mut more) =
            header.gnu_sparse().map_err(|reason| self.corrupt(reason))?;
        while more {
            let mut block = [0; BLOCK];
            if !self.read_block(&mut block)? {
                return Err(self.corrupt("it ends inside a sparse map"));
            }
            let (extents, again) =
                gnu_sparse_extension(&block).map_err(|reason| self.corrupt(reason))?;
            map.extend(extents);
            more = again;
            self.check_extents(map.len() as u64)?;
        }
        Ok((size, map))
    }

    /// The map in front of the data (PAX 1.0): decimal lines, the first is the number of extents, filled up to a block.
    fn map_in_data(&mut self) -> Result<Vec<Extent>, Error> {
        let mut digits = Vec::new();
        let mut numbers: Vec<u64> = Vec::new();
        let mut expected: Option<u64> = None;
        while expected != Some(numbers.len() as u64) {
            let mut block = [0; BLOCK];
            if self.remaining < BLOCK as u64 || !self.read_block(&mut block)? {
                return Err(self.corrupt("it ends inside a sparse map"));
            }
            self.remaining -= BLOCK as u64;
            for byte in block {
                if byte != b'\n' {
                    digits.push(byte);
                    continue;
                }
                let number = number::decimal(&digits)
                    .ok_or_else(|| self.corrupt("the sparse map is malformed"))?;
                digits.clear();
                match expected {
                    None => {
                        self.check_extents(number)?;
                        expected = Some(number * 2);
                    }
                    Some(_) => numbers.push(number),
                }
                if expected == Some(numbers.len() as u64) {
                    break;
                }
            }
            if digits.len() > 20 {
                return Err(self.corrupt("the sparse map is malformed"));
            }
        }
        let pairs = numbers.chunks_exact(2);
        Ok(pairs.map(|pair| Extent { offset: pair[0], length: pair[1] }).collect())
    }

    fn check_extents(&self, count: u64) -> Result<(), Error> {
        let limit = EXTENT_LIMIT as u64;
        if count > limit { Err(self.limit("extents of a sparse file", limit)) } else { Ok(()) }
    }

    fn symlink(&self, target: Vec<u8>) -> Result<Vec<u8>, Error> {
        if target.is_empty() {
            return Err(self.refused("its symbolic link has no target"));
        }
        if target.contains(&0) {
            return Err(self.refused("its symbolic link has a zero byte"));
        }
        if target.len() > self.limits.symlink_bytes {
            return Err(self.limit("bytes of a symbolic link", self.limits.symlink_bytes as u64));
        }
        Ok(target)
    }

    fn canonical(&self, raw: &[u8]) -> Result<Vec<u8>, Error> {
        let path = || show(raw);
        let limit = |what, limit: usize| Error::Limit {
            origin: format!("layer {}", self.layer),
            path: path(),
            what,
            limit: limit as u64,
        };
        normalise(raw, &self.limits).map_err(|refusal| match refusal {
            Refusal::Reason(reason) => {
                Error::Entry { layer: self.layer.into(), path: path(), reason }
            }
            Refusal::NameTooLong => limit("bytes of a name", self.limits.name_bytes),
            Refusal::PathTooLong => limit("bytes of a path", self.limits.path_bytes),
        })
    }

    /// The data of an extension header.
    fn extension(&mut self, header: &HeaderBlock<'_>, second: bool) -> Result<Vec<u8>, Error> {
        if second {
            return Err(self.corrupt("two extension headers describe one entry"));
        }
        let size = header.size().map_err(|reason| self.corrupt(reason))?;
        if size > EXTENSION_LIMIT {
            return Err(self.limit("bytes of an extension header", EXTENSION_LIMIT));
        }
        self.expect_data(size);
        let mut bytes = Vec::new();
        match Raw(self).read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(self.fault.take().unwrap_or_else(|| self.read_error(error))),
        }
    }

    fn expect_data(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// The data of the regular file that `next_entry` returned last, holes filled with zeros; to be taken once.
    pub(crate) fn data(&mut self) -> Box<dyn Read + '_> {
        match self.map.take() {
            Some(map) => {
                let size = self.file_size;
                Box::new(SparseReader::new(Raw(self), map, size))
            }
            None => Box::new(Raw(self)),
        }
    }

    /// Why the last read of data failed, if the archive was the reason.
    pub(crate) fn take_fault(&mut self) -> Option<Error> {
        self.fault.take()
    }

    /// Reads what follows the end of the archive, so that whoever checks the digest sees every byte.
    pub(crate) fn drain(&mut self) -> Result<(), Error> {
        let mut left = TRAILING_LIMIT;
        loop {
            let count = match self.source.fill_buf() {
                Ok(buffer) => buffer.len(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.read_error(error)),
            };
            if count == 0 {
                return Ok(());
            }
            left = left
                .checked_sub(count as u64)
                .ok_or_else(|| self.limit("bytes after the end of its archive", TRAILING_LIMIT))?;
            self.consume(count);
        }
    }

    fn skip(&mut self, mut bytes: u64) -> Result<(), Error> {
        while bytes > 0 {
            let available = match self.source.fill_buf() {
                Ok(buffer) => buffer.len(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.read_error(error)),
            };
            if available == 0 {
                return Err(self.corrupt("it ends inside a file"));
            }
            let count = usize::try_from(bytes).unwrap_or(usize::MAX).min(available);
            self.consume(count);
            bytes -= count as u64;
        }
        Ok(())
    }

    fn consume(&mut self, count: usize) {
        self.source.consume(count);
        self.offset += count as u64;
    }

    /// Fills `block`; false if the stream ends right before it.
    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, Error> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(self.corrupt("it ends inside a header")),
                Ok(count) => {
                    filled += count;
                    self.offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.read_error(error)),
            }
        }
        Ok(true)
    }

    pub(crate) fn corrupt(&self, reason: &'static str) -> Error {
        let (offset, path) = (self.header_offset, self.shown_path());
        Error::Corrupt { layer: self.layer.into(), offset, path, reason }
    }

    fn read_error(&self, source: io::Error) -> Error {
        let path = self.shown_path();
        Error::Read { layer: self.layer.into(), offset: self.offset, path, source }
    }

    fn refused(&self, reason: &'static str) -> Error {
        Error::Entry { layer: self.layer.into(), path: show(&self.path), reason }
    }

    fn limit(&self, what: &'static str, limit: u64) -> Error {
        let origin = format!("layer {}", self.layer);
        Error::Limit { origin, path: show(&self.path), what, limit }
    }

    fn shown_path(&self) -> String {
        if self.path.is_empty() { String::new() } else { show(&self.path) }
    }
}

/// The stored bytes of the entry at hand.
struct Raw<'t, 'r>(&'t mut TarReader<'r>);

impl Read for Raw<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.0.remaining).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        match self.0.source.read(&mut buffer[..room]) {
            Ok(0) => {
                self.0.fault = Some(self.0.corrupt("it ends inside a file"));
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(count) => {
                self.0.remaining -= count as u64;
                self.0.offset += count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                // The store sees only that reading failed; the cause must survive the way through it.
                let kind = error.kind();
                self.0.fault = Some(self.0.read_error(error));
                Err(kind.into())
            }
        }
    }
}
