//! Reads images: ours, mkfs.erofs's, damaged and hostile ones.
//!
//! Total by construction: every offset is computed with checks against the image's length, every
//! allocation is bounded by something that really lies in the image or by the caller's limit, and
//! what contradicts itself is an [`Error::Damaged`] that names the node. It must never trust a
//! count only because it was read. Mapping the image into memory was dropped: a truncated file
//! would then end the program instead of giving an error.

mod content;
mod directory;
mod map;
mod stretch;
mod xattr;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::error::Error;
use crate::format::{BLOCK, INODE_COMPACT, INODE_EXTENDED, RawInode, SLOT, Superblock, xattr_area};
pub use directory::{DirectoryEntry, Walk, WalkEntry};
pub use map::{Extent, Extents, Place};

/// Bytes at any place, as images and partitions give them.
pub trait ReadAt {
    /// Fills `buffer` from byte `offset` on; `UnexpectedEof` if there are not enough bytes.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;
}

impl ReadAt for File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }

    fn length(&self) -> io::Result<u64> {
        // A block device states no length, but its end can be sought.
        io::Seek::seek(&mut &*self, io::SeekFrom::End(0))
    }
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let found = usize::try_from(offset)
            .ok()
            .and_then(|begin| self.get(begin..begin.checked_add(buffer.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buffer, offset)
    }

    fn length(&self) -> io::Result<u64> {
        (**self).length()
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buffer, offset)
    }

    fn length(&self) -> io::Result<u64> {
        (**self).length()
    }
}

/// An open image.
#[derive(Debug)]
pub struct Image<R> {
    source: R,
    length: u64,
    superblock: Superblock,
}

/// An inode with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// Node number.
    pub node: u64,
    /// Mode, owner, time, size and the rest of the fields.
    pub raw: RawInode,
    /// Byte offset in the image.
    position: u64,
}

impl Inode {
    /// Whether it is of this type, one of the `MODE_*` types.
    pub fn is(&self, kind: u16) -> bool {
        self.raw.mode & crate::format::MODE_TYPE == kind
    }

    /// Byte offset behind inode and attributes.
    pub(crate) fn body(&self) -> u64 {
        self.position + (self.raw.length() + xattr_area(self.raw.xattr_count)) as u64
    }

    pub(crate) fn damaged(&self, what: &'static str) -> Error {
        Error::Damaged { node: self.node, what }
    }
}

impl<R: ReadAt> Image<R> {
    /// Reads and verifies the superblock. The image may be followed by anything, such as a hash
    /// tree, but not be shorter than the superblock says.
    pub fn open(source: R) -> Result<Self, Error> {
        let found = source.length().map_err(Error::io("find the length of the image"))?;
        if found < BLOCK as u64 {
            return Err(Error::NotErofs);
        }
        let mut block = vec![0; BLOCK];
        source.read_exact_at(&mut block, 0).map_err(Error::io("read the superblock"))?;
        let superblock = Superblock::parse(&block)?;
        let length = u64::from(superblock.blocks) * BLOCK as u64;
        if found < length {
            return Err(Error::Damaged { node: 0, what: "the image is cut short" });
        }
        Ok(Self { source, length, superblock })
    }

    /// The superblock.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// The root directory.
    pub fn root(&self) -> Result<Inode, Error> {
        self.inode(u64::from(self.superblock.root))
    }

    /// An inode by its node number.
    pub fn inode(&self, node: u64) -> Result<Inode, Error> {
        let damaged = || Error::Damaged { node, what: "the inode lies outside of the image" };
        let position = node
            .checked_mul(SLOT as u64)
            .and_then(|offset| {
                offset.checked_add(u64::from(self.superblock.metadata_block) * BLOCK as u64)
            })
            .ok_or_else(damaged)?;
        // The short form may be the last thing in the image.
        let available = self.length.saturating_sub(position).min(INODE_EXTENDED as u64) as usize;
        if available < INODE_COMPACT {
            return Err(damaged());
        }
        let bytes = self.bytes(node, position, available)?;
        let build = (self.superblock.build_time, self.superblock.build_nanoseconds);
        let raw = RawInode::parse(&bytes, build)
            .ok_or(Error::Damaged { node, what: "the inode has an unknown form" })?;
        Ok(Inode { node, raw, position })
    }

    /// The inode at a path such as `usr/bin/env`, if there is one; follows no symbolic link.
    pub fn lookup(&self, path: &[u8]) -> Result<Option<Inode>, Error> {
        let mut inode = self.root()?;
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            if !inode.is(crate::format::MODE_DIRECTORY) {
                return Ok(None);
            }
            let entries = self.read_directory(&inode)?;
            match entries.iter().find(|entry| entry.name == name) {
                Some(entry) => inode = self.inode(entry.node)?,
                None => return Ok(None),
            }
        }
        Ok(Some(inode))
    }

    /// Bytes of the image; an error if they are not all inside.
    fn bytes(&self, node: u64, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let outside = Error::Damaged { node, what: "it points outside of the image" };
        if offset.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(outside);
        }
        let mut bytes = vec![0; length];
        self.source.read_exact_at(&mut bytes, offset).map_err(Error::io("read the image"))?;
        Ok(bytes)
    }
}
