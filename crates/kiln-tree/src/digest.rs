//! The digest of a tree: one SHA-256 over everything a user of the file system can see, and nothing else.
//!
//! Two trees have the same digest exactly if they have the same names, kinds, metadata, contents and hard links; node numbers,
//! tickets of the store and the way the tree was made do not matter. The serialisation is frozen, all numbers little-endian:
//!
//! ```text
//! "kiln tree 1\n"
//! for each entry in canonical order (pre-order, names by bytes; the root, with the empty path, is entry 0):
//!   u32 length of path, path
//!   u8  kind: d f l c b p s, or h for a further name of a node that is no directory
//!   h:  u64 number of the entry that named the node first; nothing else follows
//!   u16 mode, u32 uid, u32 gid, i64 seconds, u32 nanoseconds
//!   u32 number of extended attributes, by name: u32 length, name, u32 length, value
//!   f:  u64 length, 32 bytes SHA-256 of the content
//!   l:  u32 length, target
//!   c b: u32 major, u32 minor
//! u64 number of entries
//! ```
//!
//! A digest per directory (Merkle tree) was dropped: nobody compares subtrees, and hard links across directories have no place
//! in one.

use std::io;

use sha2::{Digest as _, Sha256};

use crate::content::ContentStore;
use crate::metadata::Metadata;
use crate::tree::{Kind, Tree};

/// Names the format; a change of a single byte of the serialisation needs a new one.
const MAGIC: &[u8] = b"kiln tree 1\n";

/// SHA-256 of the tree's serialisation as the module's text defines it.
pub fn tree_digest(tree: &Tree, store: &dyn ContentStore) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    hash.update(MAGIC);
    // Number of the entry that named a node first, plus one; 0 = not named yet.
    let mut first = vec![0u64; tree.node_limit()];
    let mut entries = 0u64;
    for (path, id) in tree.walk() {
        let number = entries;
        entries += 1;
        bytes(&mut hash, &path)?;
        let node = tree.node(id);
        if first[id.index()] > 0 {
            hash.update(b"h");
            hash.update((first[id.index()] - 1).to_le_bytes());
            continue;
        }
        first[id.index()] = number + 1;
        hash.update([letter(&node.kind)]);
        metadata(&mut hash, &node.metadata)?;
        match &node.kind {
            Kind::File(content) => {
                hash.update(content.size.to_le_bytes());
                hash.update(store.digest(*content)?);
            }
            Kind::Symlink(target) => bytes(&mut hash, target)?,
            Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                hash.update(major.to_le_bytes());
                hash.update(minor.to_le_bytes());
            }
            Kind::Directory(_) | Kind::Fifo | Kind::Socket => {}
        }
    }
    hash.update(entries.to_le_bytes());
    Ok(hash.finalize().into())
}

fn letter(kind: &Kind) -> u8 {
    match kind {
        Kind::Directory(_) => b'd',
        Kind::File(_) => b'f',
        Kind::Symlink(_) => b'l',
        Kind::CharacterDevice { .. } => b'c',
        Kind::BlockDevice { .. } => b'b',
        Kind::Fifo => b'p',
        Kind::Socket => b's',
    }
}

fn metadata(hash: &mut Sha256, metadata: &Metadata) -> io::Result<()> {
    hash.update(metadata.mode.to_le_bytes());
    hash.update(metadata.uid.to_le_bytes());
    hash.update(metadata.gid.to_le_bytes());
    hash.update(metadata.mtime_seconds.to_le_bytes());
    hash.update(metadata.mtime_nanoseconds.to_le_bytes());
    length(hash, metadata.xattrs.len())?;
    for (name, value) in &metadata.xattrs {
        bytes(hash, name)?;
        bytes(hash, value)?;
    }
    Ok(())
}

fn bytes(hash: &mut Sha256, bytes: &[u8]) -> io::Result<()> {
    length(hash, bytes.len())?;
    hash.update(bytes);
    Ok(())
}

fn length(hash: &mut Sha256, length: usize) -> io::Result<()> {
    hash.update(u32::try_from(length).map_err(io::Error::other)?.to_le_bytes());
    Ok(())
}
