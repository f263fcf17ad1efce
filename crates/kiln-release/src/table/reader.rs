//! Reads pieces of a table into one tree.
//!
//! Total: what a piece says is checked against the bounds of the format, against what the pieces
//! before said, and against the index. Entries must come in canonical order, each below a directory
//! that came before, so there are no cycles, no second meaning of a path and nothing that a symbolic
//! link could lead elsewhere.

use std::collections::HashMap;

use kiln_tree::{
    Children, Content, ContentId, Kind, Metadata, Node, NodeId, Tree, XattrMap, Xattrs,
};

use super::format::{
    BEFORE, BLOCK, CHARACTER, DIRECTORY, EMPTY, FIFO, FILE, FILE_MAX, HARD_LINK, HERE, NAME_MAX,
    PATH_MAX, SOCKET, SYMLINK, TARGET_MAX, XATTRS_MAX,
};
use super::index::{Index, Piece};
use super::{Chunk, Table, TableContent};
use crate::Error;
use crate::contents::format::{CHUNK_MAX, frame_max};
use crate::contents::{hex, sha256};

/// The records of a piece, from the bytes that are stored; verified.
///
/// # Errors
/// [`Error::Digest`] for other bytes, [`Error::Malformed`] for what does not unpack to its length.
pub fn unpack_piece(piece: &Piece, stored: &[u8]) -> Result<Vec<u8>, Error> {
    let actual = sha256(stored);
    if actual != piece.digest {
        let what = "a piece of the table".to_owned();
        return Err(Error::Digest { what, expected: hex(&piece.digest), actual: hex(&actual) });
    }
    let mut raw = vec![0; piece.length as usize];
    match zstd::bulk::decompress_to_buffer(stored, &mut raw[..]) {
        Ok(length) if length == raw.len() => Ok(raw),
        _ => Err(Error::malformed("table", "a piece does not unpack to its length")),
    }
}

/// Puts pieces together, in their order.
#[derive(Debug)]
pub struct Assembler {
    table: Table,
    expected: u64,
    entries: u64,
    /// The directories on the way to the entry before: end of each one's path, and node.
    open: Vec<(usize, NodeId)>,
    /// The path before.
    path: Vec<u8>,
    by_digest: HashMap<[u8; 32], u32>,
    frame_offset: u64,
    /// Equal sets of attributes share one map: labels repeat by the hundred thousand.
    xattrs: HashMap<XattrMap, Xattrs>,
}

impl Assembler {
    /// For the pieces of an index.
    #[must_use]
    pub fn new(index: &Index) -> Self {
        let table = Table {
            tree: Tree::new(),
            contents: Vec::new(),
            chunks: Vec::new(),
            contents_length: index.contents_length,
            uuid: index.uuid,
            build_time: index.build_time,
        };
        Self {
            table,
            expected: index.entries,
            entries: 0,
            open: Vec::new(),
            path: Vec::new(),
            by_digest: HashMap::new(),
            frame_offset: 0,
            xattrs: HashMap::new(),
        }
    }

    /// Adds the records of the next piece.
    ///
    /// # Errors
    /// [`Error::Malformed`] names the path at fault.
    pub fn add(&mut self, raw: &[u8]) -> Result<(), Error> {
        let mut records = Records { bytes: raw };
        let mut before = Vec::new();
        while !records.bytes.is_empty() {
            let next = self.record(&mut records, &before);
            before = next.map_err(|reason| {
                let path = String::from_utf8_lossy(&self.path).into_owned();
                Error::malformed("table", format!("behind {path:?}: {reason}"))
            })?;
        }
        Ok(())
    }

    /// The table, when all pieces were added.
    ///
    /// # Errors
    /// [`Error::Malformed`] where sums are not what the index says.
    pub fn finish(self) -> Result<Table, Error> {
        if self.entries != self.expected || self.frame_offset != self.table.contents_length {
            return Err(Error::malformed("table", "its pieces are not what its index says"));
        }
        Ok(self.table)
    }

    /// One record; gives its path.
    fn record(
        &mut self,
        records: &mut Records<'_>,
        before: &[u8],
    ) -> Result<Vec<u8>, &'static str> {
        let shared = usize::from(records.u16()?);
        let suffix = records.text(PATH_MAX)?;
        let mut path = before.get(..shared).ok_or("it shares more than there is")?.to_vec();
        path.extend_from_slice(suffix);
        self.entries += 1;
        if self.entries > self.expected {
            return Err("there are more entries than the index says");
        }
        let kind = records.u8()?;
        if self.entries == 1 {
            if !path.is_empty() || kind != DIRECTORY {
                return Err("the first entry is not the root directory");
            }
            let metadata = self.metadata(records)?;
            self.table.tree.node_mut(NodeId::ROOT).metadata = metadata;
            self.open.push((0, NodeId::ROOT));
            return Ok(path);
        }
        self.enter(&path)?;
        if kind == HARD_LINK {
            let target = records.text(PATH_MAX)?;
            let target = self.table.tree.lookup(target).ok_or("a link leads to nothing before")?;
            if target == NodeId::ROOT || self.table.tree.node(target).is_directory() {
                return Err("a link leads to a directory");
            }
            self.table.tree.link(&path, target).map_err(|_| "it cannot be in a tree")?;
        } else {
            let metadata = self.metadata(records)?;
            let kind = self.kind(kind, records)?;
            let is_directory = matches!(kind, Kind::Directory(_));
            let node = Node { kind, metadata };
            let id = self.table.tree.insert(&path, node).map_err(|_| "it cannot be in a tree")?;
            if is_directory {
                self.open.push((path.len(), id));
            }
        }
        self.path.clone_from(&path);
        Ok(path)
    }

    /// Checks that `path` may come now, and closes the directories that end before it.
    fn enter(&mut self, path: &[u8]) -> Result<(), &'static str> {
        if path.len() > PATH_MAX {
            return Err("its path is too long");
        }
        let cut = path.iter().rposition(|&byte| byte == b'/');
        let (parent, name) = match cut {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], path),
        };
        let is_bad = name.is_empty()
            || name.len() > NAME_MAX
            || name == b"."
            || name == b".."
            || name.contains(&0);
        if is_bad || path.first() == Some(&b'/') {
            return Err("its name is none");
        }
        // The parent must be open still: it is the beginning of the path before.
        while let Some(&(end, _)) = self.open.last() {
            if end == parent.len() && self.path.get(..end) == Some(parent) {
                break;
            }
            self.open.pop();
        }
        let Some(&(end, _)) = self.open.last() else {
            return Err("its directory did not come before");
        };
        // Within its directory it must come last so far.
        let start = if end == 0 { 0 } else { end + 1 };
        if self.path.len() > end {
            let rest = self.path.get(start..).unwrap_or_default();
            let last = rest.split(|&byte| byte == b'/').next().unwrap_or_default();
            if last >= name {
                return Err("it is out of order");
            }
        }
        Ok(())
    }

    fn metadata(&mut self, records: &mut Records<'_>) -> Result<Metadata, &'static str> {
        let mode = records.u16()?;
        if mode > 0o7777 {
            return Err("its mode is none");
        }
        let mut metadata = Metadata::with_mode(mode);
        metadata.uid = records.u32()?;
        metadata.gid = records.u32()?;
        metadata.mtime_seconds = i64::from_le_bytes(records.array()?);
        metadata.mtime_nanoseconds = records.u32()?;
        if metadata.mtime_nanoseconds >= 1_000_000_000 {
            return Err("its time is none");
        }
        let count = records.u16()?;
        let mut map = XattrMap::new();
        let mut total = 0;
        for _ in 0..count {
            let name = records.text(NAME_MAX)?;
            let length = records.u32()? as usize;
            total += name.len().saturating_add(length);
            if total > XATTRS_MAX {
                return Err("its attributes are too long");
            }
            let value = records.take(length)?;
            let follows = map.last_key_value().is_none_or(|(last, _)| &last[..] < name);
            if name.is_empty() || name.contains(&0) || !follows {
                return Err("its attributes are out of order");
            }
            map.insert(name.to_vec(), value.to_vec());
        }
        if !map.is_empty() {
            let shared = match self.xattrs.get(&map) {
                Some(shared) => shared.clone(),
                None => {
                    let shared = Xattrs::from(map.clone());
                    self.xattrs.insert(map, shared.clone());
                    shared
                }
            };
            metadata.xattrs = shared;
        }
        Ok(metadata)
    }

    fn kind(&mut self, letter: u8, records: &mut Records<'_>) -> Result<Kind, &'static str> {
        Ok(match letter {
            DIRECTORY => Kind::Directory(Children::new()),
            FILE => Kind::File(self.file(records)?),
            SYMLINK => {
                let target = records.text(TARGET_MAX)?;
                if target.is_empty() || target.contains(&0) {
                    return Err("its target is none");
                }
                Kind::Symlink(target.to_vec())
            }
            CHARACTER => Kind::CharacterDevice { major: records.u32()?, minor: records.u32()? },
            BLOCK => Kind::BlockDevice { major: records.u32()?, minor: records.u32()? },
            FIFO => Kind::Fifo,
            SOCKET => Kind::Socket,
            _ => return Err("its kind is unknown"),
        })
    }

    fn file(&mut self, records: &mut Records<'_>) -> Result<Content, &'static str> {
        let size = records.u64()?;
        let form = records.u8()?;
        if size > FILE_MAX || (size == 0) != (form == EMPTY) {
            return Err("its size is impossible");
        }
        if form == EMPTY {
            return Ok(Content { id: ContentId(u32::MAX), size: 0 });
        }
        let digest: [u8; 32] = records.array()?;
        let known = self.by_digest.get(&digest).copied();
        let number = match (form, known) {
            (HERE, None) => self.stored(digest, size, records)?,
            (HERE, Some(_)) => return Err("its content is stored twice"),
            (BEFORE, Some(number)) => number,
            (BEFORE, None) => return Err("its content did not come before"),
            _ => return Err("its content has an unknown form"),
        };
        let content = self.table.contents.get(number as usize);
        if content.is_none_or(|content| content.size != size) {
            return Err("its size is not that of its content");
        }
        Ok(Content { id: ContentId(number), size })
    }

    fn stored(
        &mut self,
        digest: [u8; 32],
        size: u64,
        records: &mut Records<'_>,
    ) -> Result<u32, &'static str> {
        let count = records.u32()?;
        let first = self.table.chunks.len();
        let mut total = 0;
        for _ in 0..count {
            let (length, frame_length) = (records.u32()?, records.u32()?);
            let digest = if count == 1 { digest } else { records.array()? };
            let fits = length > 0
                && length as usize <= CHUNK_MAX
                && frame_length > 0
                && u64::from(frame_length) <= frame_max(length);
            let frame_offset = self.frame_offset;
            self.frame_offset += u64::from(frame_length);
            total += u64::from(length);
            if !fits || self.frame_offset > self.table.contents_length || total > size {
                return Err("a chunk has an impossible length");
            }
            self.table.chunks.push(Chunk { digest, length, frame_offset, frame_length });
        }
        if total != size {
            return Err("its chunks are not its size");
        }
        let number = u32::try_from(self.table.contents.len()).map_err(|_| "too many contents")?;
        let chunks = first..self.table.chunks.len();
        self.table.contents.push(TableContent { digest, size, chunks });
        self.by_digest.insert(digest, number);
        Ok(number)
    }
}

/// What is left of a piece.
struct Records<'a> {
    bytes: &'a [u8],
}

impl<'a> Records<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or("a piece ends within it")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, &'static str> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, &'static str> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, &'static str> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A length in two bytes, at most `limit`, and so many bytes.
    fn text(&mut self, limit: usize) -> Result<&'a [u8], &'static str> {
        let length = usize::from(self.u16()?);
        if length > limit {
            return Err("a text in it is too long");
        }
        self.take(length)
    }
}
