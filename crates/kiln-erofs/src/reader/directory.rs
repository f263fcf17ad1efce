//! Reads directories, and walks a whole image without trusting that it is a tree.

use std::collections::BTreeSet;
use std::io;

use super::{Image, Inode, ReadAt};
use crate::error::Error;
use crate::format::{BLOCK, DIRENT, MODE_DIRECTORY, NAME_MAX, le16, le64};

/// Longest directory that is read: far beyond two million names of ordinary length.
const DIRECTORY_MAX: u64 = 256 << 20;
/// Most entries of one walk; more than the tree crate lets into an image.
const WALK_MAX: u64 = 4_000_000;
/// Deepest path of a walk in bytes: Linux' PATH_MAX.
const PATH_MAX: usize = 4096;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The name, without slash or NUL.
    pub name: Vec<u8>,
    /// Node number.
    pub node: u64,
    /// File type, as `entry_type` gives it.
    pub kind: u8,
}

impl<R: ReadAt> Image<R> {
    /// Names of a directory in stored order, with `.` and `..`.
    pub fn read_directory(&self, inode: &Inode) -> Result<Vec<DirectoryEntry>, Error> {
        if !inode.is(MODE_DIRECTORY) {
            return Err(inode.damaged("it is no directory"));
        }
        let mut blocks = Blocks::default();
        let copied = self.copy(inode, DIRECTORY_MAX, &mut blocks);
        if let Some(what) = blocks.damage {
            return Err(inode.damaged(what));
        }
        copied?;
        blocks.parse().map_err(|what| inode.damaged(what))?;
        Ok(blocks.entries)
    }

    /// All entries in pre-order, the root first.
    pub fn walk(&self) -> Walk<'_, R> {
        Walk { image: self, stack: Vec::new(), seen: BTreeSet::new(), started: false, count: 0 }
    }
}

/// Parses a directory while it is read. A few hundred KiB of compressed image can claim a directory
/// of many MiB, so it is never held as a whole and the first block that is out of order ends it:
/// names are stored in ascending order, because the kernel searches them by halving.
#[derive(Default)]
struct Blocks {
    /// Bytes of the block that is not complete yet.
    block: Vec<u8>,
    entries: Vec<DirectoryEntry>,
    damage: Option<&'static str>,
}

impl Blocks {
    /// Parses what has been collected of a block, if anything.
    fn parse(&mut self) -> Result<(), &'static str> {
        if self.block.is_empty() {
            return Ok(());
        }
        let known = self.entries.len();
        parse_block(&self.block, &mut self.entries)?;
        self.block.clear();
        let news = &self.entries[known.saturating_sub(1)..];
        if news.windows(2).any(|pair| pair[0].name >= pair[1].name) {
            return Err("the names of a directory are not in order");
        }
        Ok(())
    }
}

impl io::Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..length]);
        if self.block.len() == BLOCK
            && let Err(what) = self.parse()
        {
            self.damage = Some(what);
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn parse_block(block: &[u8], entries: &mut Vec<DirectoryEntry>) -> Result<(), &'static str> {
    let names = usize::from(le16(block, 8));
    if names < DIRENT || names % DIRENT != 0 || names > block.len() {
        return Err("a directory block has an impossible number of entries");
    }
    for position in (0..names).step_by(DIRENT) {
        let begin = usize::from(le16(block, position + 8));
        let last = position + DIRENT == names;
        let end = if last { block.len() } else { usize::from(le16(block, position + DIRENT + 8)) };
        let name = block.get(begin..end).ok_or("a name lies outside of its directory block")?;
        let name = match name.iter().position(|&byte| byte == 0) {
            Some(length) if last => &name[..length],
            _ => name,
        };
        if name.is_empty() || name.len() > NAME_MAX || name.contains(&b'/') || name.contains(&0) {
            return Err("a directory has an impossible name");
        }
        entries.push(DirectoryEntry {
            name: name.to_vec(),
            node: le64(block, position),
            kind: block[position + 10],
        });
    }
    Ok(())
}

/// One step of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalkEntry {
    /// Path without leading slash; empty for the root.
    pub path: Vec<u8>,
    /// The inode; the same one again for each hard link.
    pub inode: Inode,
}

/// Iterator over an image; ends behind the first error.
#[derive(Debug)]
pub struct Walk<'a, R> {
    image: &'a Image<R>,
    stack: Vec<(Vec<u8>, u64)>,
    seen: BTreeSet<u64>,
    started: bool,
    count: u64,
}

impl<R: ReadAt> Walk<'_, R> {
    fn step(&mut self) -> Result<Option<WalkEntry>, Error> {
        if !self.started {
            self.started = true;
            self.stack.push((Vec::new(), u64::from(self.image.superblock.root)));
        }
        let Some((path, node)) = self.stack.pop() else { return Ok(None) };
        let inode = self.image.inode(node)?;
        self.count += 1;
        if self.count > WALK_MAX {
            return Err(inode.damaged("the image has too many entries"));
        }
        if inode.is(MODE_DIRECTORY) {
            if !self.seen.insert(node) {
                return Err(inode.damaged("a directory has two parents"));
            }
            let entries = self.image.read_directory(&inode)?;
            // Backwards, because the stack gives the last one first.
            for entry in entries.into_iter().rev() {
                if entry.name == b"." || entry.name == b".." {
                    continue;
                }
                let mut below = path.clone();
                if !below.is_empty() {
                    below.push(b'/');
                }
                below.extend_from_slice(&entry.name);
                if below.len() > PATH_MAX || self.stack.len() as u64 > WALK_MAX {
                    return Err(inode.damaged("a path is too long"));
                }
                self.stack.push((below, entry.node));
            }
        }
        Ok(Some(WalkEntry { path, inode }))
    }
}

impl<R: ReadAt> Iterator for Walk<'_, R> {
    type Item = Result<WalkEntry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.stack.clear();
        }
        step.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A directory block of these names, full to its end.
    fn block(names: &[&str]) -> Vec<u8> {
        let mut bytes = vec![0; names.len() * DIRENT];
        for (index, name) in names.iter().enumerate() {
            let begin = bytes.len() as u16;
            bytes[index * DIRENT + 8..][..2].copy_from_slice(&begin.to_le_bytes());
            bytes.extend_from_slice(name.as_bytes());
        }
        bytes.resize(BLOCK, 0);
        bytes
    }

    #[test]
    fn names_must_ascend_within_and_across_blocks() {
        let good = [block(&[".", "..", "a"]), block(&["b", "c"])].concat();
        let cases = [
            (good.clone(), true),
            (block(&["b", "a"]), false),
            (block(&["a", "a"]), false),
            ([&good[..BLOCK], &good[..BLOCK]].concat(), false),
            ([&good[BLOCK..], &good[..BLOCK]].concat(), false),
        ];
        for (bytes, accepted) in cases {
            let mut blocks = Blocks::default();
            // In pieces that fit no block.
            let written = bytes.chunks(1000).try_for_each(|piece| blocks.write_all(piece));
            assert_eq!((written.is_ok(), blocks.damage.is_none()), (accepted, accepted));
            assert!(!accepted || blocks.entries.len() == 5);
        }
    }
}
