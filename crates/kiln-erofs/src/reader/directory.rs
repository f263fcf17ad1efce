//! Reads directories, and walks a whole image without trusting that it is a tree.

use std::collections::BTreeSet;

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
        let bytes = self.read(inode, DIRECTORY_MAX)?;
        let mut entries = Vec::new();
        for block in bytes.chunks(BLOCK) {
            parse_block(block, &mut entries).map_err(|what| inode.damaged(what))?;
        }
        Ok(entries)
    }

    /// All entries in pre-order, the root first.
    pub fn walk(&self) -> Walk<'_, R> {
        Walk { image: self, stack: Vec::new(), seen: BTreeSet::new(), started: false, count: 0 }
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
