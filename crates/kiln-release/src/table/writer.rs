//! Writes a table from a tree whose contents have their frames.

use std::collections::{BTreeMap, BTreeSet};

use kiln_tree::{Content, Kind, Metadata, Tree};

use super::format::{
    BEFORE, BLOCK, CHARACTER, DIRECTORY, EMPTY, FIFO, FILE, HARD_LINK, HERE, LEVEL, PIECE_CUT,
    PIECE_FULL, PIECE_MIN, SOCKET, SYMLINK,
};
use super::index::{Index, Piece};
use crate::Error;
use crate::contents::{FrameRecord, sha256};

/// What a table is made of.
pub struct TableSource<'a> {
    /// The tree; it must be one that an image can hold.
    pub tree: &'a Tree,
    /// SHA-256 of a file's content.
    pub digest: &'a dyn Fn(Content) -> Result<[u8; 32], Error>,
    /// The frames of each distinct content.
    pub frames: &'a BTreeMap<[u8; 32], Vec<FrameRecord>>,
    /// Length of the contents in bytes.
    pub contents_length: u64,
    /// File system identifier of the root image.
    pub uuid: [u8; 16],
    /// Build time of the root image, seconds since 1970.
    pub build_time: u64,
}

impl std::fmt::Debug for TableSource<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TableSource").field("uuid", &self.uuid).finish_non_exhaustive()
    }
}

/// The blob of a table, and how many of its first bytes are the index.
///
/// # Errors
/// A tree beyond the bounds of the format, a content without frames.
pub fn write_table(source: &TableSource<'_>) -> Result<(Vec<u8>, u64), Error> {
    let mut pieces = Pieces::default();
    let mut stored = BTreeSet::new();
    let mut first_names: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    let links = source.tree.link_counts();
    let mut entries = 0;
    for (path, id) in source.tree.walk() {
        entries += 1;
        let node = source.tree.node(id);
        pieces.begin(&path, node.is_directory())?;
        let out = &mut pieces.raw;
        if let Some(first) = first_names.get(&id.index()) {
            out.push(HARD_LINK);
            text(out, first)?;
            continue;
        }
        let letter = match &node.kind {
            Kind::Directory(_) => DIRECTORY,
            Kind::File(_) => FILE,
            Kind::Symlink(_) => SYMLINK,
            Kind::CharacterDevice { .. } => CHARACTER,
            Kind::BlockDevice { .. } => BLOCK,
            Kind::Fifo => FIFO,
            Kind::Socket => SOCKET,
        };
        out.push(letter);
        metadata(out, &node.metadata)?;
        match &node.kind {
            Kind::Symlink(target) => text(out, target)?,
            Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                out.extend(major.to_le_bytes());
                out.extend(minor.to_le_bytes());
            }
            Kind::File(content) => file(out, *content, source, &mut stored)?,
            Kind::Directory(_) | Kind::Fifo | Kind::Socket => {}
        }
        if !node.is_directory() && links.get(id.index()).is_some_and(|count| *count > 1) {
            first_names.insert(id.index(), path);
        }
    }
    pieces.finish()?;
    let mut index = Index {
        pieces: Vec::new(),
        entries,
        contents_length: source.contents_length,
        uuid: source.uuid,
        build_time: source.build_time,
    };
    let mut offset = Index::length(pieces.done.len());
    for (bytes, length) in &pieces.done {
        let stored = fits(bytes.len())?;
        index.pieces.push(Piece { digest: sha256(bytes), offset, stored, length: *length });
        offset += u64::from(stored);
    }
    let mut blob = index.encode();
    let index_length = blob.len() as u64;
    for (bytes, _) in pieces.done {
        blob.extend(bytes);
    }
    // What the reader would refuse is refused here, where it can still be helped.
    Index::parse(blob.get(..Index::length(index.pieces.len()) as usize).unwrap_or_default())?;
    Ok((blob, index_length))
}

/// Finished pieces and the present one.
#[derive(Default)]
struct Pieces {
    raw: Vec<u8>,
    /// The path before, in this piece.
    before: Vec<u8>,
    /// Stored bytes and unpacked length.
    done: Vec<(Vec<u8>, u32)>,
}

impl Pieces {
    /// Ends the piece if its time has come, and begins the record of `path`.
    fn begin(&mut self, path: &[u8], is_directory: bool) -> Result<(), Error> {
        let length = self.raw.len();
        let ends = length >= PIECE_FULL
            || (length >= PIECE_MIN && is_directory && sha256(path)[0] < PIECE_CUT);
        if ends {
            self.finish()?;
        }
        let pairs = self.before.iter().zip(path);
        let shared = pairs.take_while(|(before, now)| before == now).count();
        self.raw.extend(short(shared)?.to_le_bytes());
        text(&mut self.raw, path.get(shared..).unwrap_or_default())?;
        self.before = path.to_vec();
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        let raw = std::mem::take(&mut self.raw);
        self.before.clear();
        let stored = zstd::bulk::compress(&raw, LEVEL).map_err(Error::io("compress the table"))?;
        self.done.push((stored, fits(raw.len())?));
        Ok(())
    }
}

fn file(
    out: &mut Vec<u8>,
    content: Content,
    source: &TableSource<'_>,
    stored: &mut BTreeSet<[u8; 32]>,
) -> Result<(), Error> {
    out.extend(content.size.to_le_bytes());
    if content.size == 0 {
        out.push(EMPTY);
        return Ok(());
    }
    let digest = (source.digest)(content)?;
    if !stored.insert(digest) {
        out.push(BEFORE);
        out.extend(digest);
        return Ok(());
    }
    let frames = source.frames.get(&digest).filter(|frames| !frames.is_empty());
    let frames = frames.ok_or_else(|| Error::malformed("table", "a content has no frames"))?;
    out.push(HERE);
    out.extend(digest);
    out.extend(fits(frames.len())?.to_le_bytes());
    for frame in frames {
        out.extend(frame.length.to_le_bytes());
        out.extend(frame.frame_length.to_le_bytes());
        if frames.len() > 1 {
            out.extend(frame.digest);
        }
    }
    Ok(())
}

fn metadata(out: &mut Vec<u8>, metadata: &Metadata) -> Result<(), Error> {
    out.extend(metadata.mode.to_le_bytes());
    out.extend(metadata.uid.to_le_bytes());
    out.extend(metadata.gid.to_le_bytes());
    out.extend(metadata.mtime_seconds.to_le_bytes());
    out.extend(metadata.mtime_nanoseconds.to_le_bytes());
    out.extend(short(metadata.xattrs.len())?.to_le_bytes());
    for (name, value) in &metadata.xattrs {
        text(out, name)?;
        out.extend(fits(value.len())?.to_le_bytes());
        out.extend(value);
    }
    Ok(())
}

/// A length in two bytes, and the bytes.
fn text(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Error> {
    out.extend(short(bytes.len())?.to_le_bytes());
    out.extend(bytes);
    Ok(())
}

fn short(length: usize) -> Result<u16, Error> {
    u16::try_from(length).map_err(|_| Error::malformed("table", "a name or list is too long"))
}

fn fits(length: usize) -> Result<u32, Error> {
    u32::try_from(length).map_err(|_| Error::malformed("table", "a piece is too long"))
}
