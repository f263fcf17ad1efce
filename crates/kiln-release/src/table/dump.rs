//! A table for people: the index, then one line an entry.

use std::fmt::Write as _;

use kiln_tree::Kind;

use super::{Assembler, Index, unpack_piece};
use crate::Error;
use crate::contents::hex;

/// The text of a whole table's blob.
///
/// # Errors
/// All of reading it.
pub fn dump(blob: &[u8], index_length: u64) -> Result<String, Error> {
    let cut = || Error::malformed("table", "it is cut short");
    let part = |start: u64, length: u64| {
        let (start, length) = (usize::try_from(start).ok()?, usize::try_from(length).ok()?);
        blob.get(start..start.checked_add(length)?)
    };
    let index = Index::parse(part(0, index_length).ok_or_else(cut)?)?;
    let mut text = format!(
        "entries {} contents {} uuid {} time {}\n",
        index.entries,
        index.contents_length,
        hex(&index.uuid),
        index.build_time
    );
    let mut assembler = Assembler::new(&index);
    for piece in &index.pieces {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "piece {} at {} stored {} length {}",
            hex(&piece.digest),
            piece.offset,
            piece.stored,
            piece.length
        );
        let stored = part(piece.offset, u64::from(piece.stored)).ok_or_else(cut)?;
        assembler.add(&unpack_piece(piece, stored)?)?;
    }
    let table = assembler.finish()?;
    for (path, id) in table.tree.walk() {
        let node = table.tree.node(id);
        let kind = match &node.kind {
            Kind::Directory(_) => "directory".to_owned(),
            Kind::File(content) => match table.contents.get(content.id.0 as usize) {
                Some(known) => format!(
                    "file {} {} in {} chunks",
                    content.size,
                    hex(&known.digest),
                    known.chunks.len()
                ),
                None => "file 0".to_owned(),
            },
            Kind::Symlink(target) => format!("symlink {}", target.escape_ascii()),
            Kind::CharacterDevice { major, minor } => format!("character device {major}:{minor}"),
            Kind::BlockDevice { major, minor } => format!("block device {major}:{minor}"),
            Kind::Fifo => "fifo".to_owned(),
            Kind::Socket => "socket".to_owned(),
        };
        let metadata = &node.metadata;
        let _ = writeln!(
            text,
            "/{} {:04o} {}:{} {}.{:09} {kind}",
            path.escape_ascii(),
            metadata.mode,
            metadata.uid,
            metadata.gid,
            metadata.mtime_seconds,
            metadata.mtime_nanoseconds
        );
    }
    Ok(text)
}
