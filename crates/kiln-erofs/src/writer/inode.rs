//! Inodes: choice of form and layout, sizes before addresses, bytes after.
//!
//! The short form is used whenever it loses nothing; it has no time of its own, so it serves files
//! whose time is the image's build time, which is every file of a build with clamped times.

use kiln_tree::Kind;

use super::Writer;
use super::contents::{Placement, encoded};
use super::directory::{Name, directory_length, encode_directory};
use super::index::encode_index;
use super::xattr::area_count;
use crate::encoder::INLINE_MAX;
use crate::error::Error;
use crate::format::{
    BLOCK, INODE_COMPACT, INODE_EXTENDED, LAYOUT_COMPRESSED_COMPACT, LAYOUT_FLAT_INLINE,
    LAYOUT_FLAT_PLAIN, MODE_BLOCK, MODE_CHARACTER, MODE_DIRECTORY, MODE_FIFO, MODE_FILE,
    MODE_SOCKET, MODE_SYMLINK, RawInode, encode_device, entry_type,
};

/// An inode on its way into the image. There are as many as files, so it holds only what cannot be
/// found again quickly.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// Length of its content in bytes.
    pub(super) size: u64,
    /// Place in the image in units of [`crate::format::SLOT`]: the node number.
    pub(super) slot: u32,
    /// For files the number of their placement, else the first block of their own.
    pub(super) target: u32,
    /// Length of what lies beside the inode; at most [`INLINE_MAX`].
    pub(super) inline_length: u16,
    extended: bool,
}

impl Prepared {
    /// Divides bytes that the tree itself holds between blocks and the place beside the inode.
    fn split(&mut self, length: usize) {
        self.size = length as u64;
        let tail = length % BLOCK;
        self.inline_length = if tail <= INLINE_MAX { tail as u16 } else { 0 };
    }

    fn inode_length(&self) -> usize {
        if self.extended { INODE_EXTENDED } else { INODE_COMPACT }
    }
}

impl Writer<'_> {
    /// Sizes of an inode, and the bytes before its inline piece.
    pub(super) fn prepare_inode(&self, number: usize) -> Result<(Prepared, usize), Error> {
        let entry = &self.tree.entries()[number];
        let metadata = &entry.node.metadata;
        let mut prepared = Prepared::default();
        let mut plan = None;
        match &entry.node.kind {
            Kind::Directory(_) => prepared.split(directory_length(&self.names(number))),
            Kind::Symlink(target) => prepared.split(target.len()),
            Kind::File(content) if content.size > 0 => {
                let found = self.plan(content.id.0)?;
                prepared.size = content.size;
                // INLINE_MAX is below a block.
                prepared.inline_length = found.inline as u16;
                plan = Some(found);
            }
            _ => {}
        }
        let time_fits = u64::try_from(metadata.mtime_seconds) == Ok(self.options.build_time)
            && metadata.mtime_nanoseconds == 0;
        let short = u16::MAX.into();
        prepared.extended = !time_fits
            || metadata.uid > short
            || metadata.gid > short
            || entry.links > short
            || prepared.size > u32::MAX.into();
        let head = prepared.inode_length() + self.xattrs.area(metadata).len();
        Ok((prepared, head + plan.map_or(0, |plan| plan.index_length(head))))
    }

    /// Bytes of a directory or symbolic link that lie in blocks.
    pub(super) fn own_blocks(&self, number: usize, prepared: &Prepared) -> usize {
        match self.tree.entries()[number].node.kind {
            // Both came from lengths in memory.
            Kind::Directory(_) | Kind::Symlink(_) => {
                prepared.size as usize - usize::from(prepared.inline_length)
            }
            _ => 0,
        }
    }

    /// Content of a directory or symbolic link, once every node has its number.
    pub(super) fn own_bytes(&self, number: usize, inodes: &[Prepared]) -> Vec<u8> {
        match &self.tree.entries()[number].node.kind {
            Kind::Directory(_) => encode_directory(&self.names(number), |inode| {
                (inodes[inode].slot.into(), entry_type(self.mode(inode)))
            }),
            Kind::Symlink(target) => target.clone(),
            _ => Vec::new(),
        }
    }

    /// Names of a directory with `.` and `..`, sorted.
    fn names(&self, number: usize) -> Vec<Name<'_>> {
        let entry = &self.tree.entries()[number];
        let mut names = vec![
            Name { name: b".", inode: number },
            Name { name: b"..", inode: entry.parent as usize },
        ];
        if let Kind::Directory(children) = &entry.node.kind {
            names.extend(
                children.iter().map(|(name, &id)| Name { name, inode: self.tree.number(id) }),
            );
        }
        names.sort_unstable_by_key(|name| name.name);
        names
    }

    fn mode(&self, number: usize) -> u16 {
        let node = self.tree.entries()[number].node;
        let kind = match node.kind {
            Kind::Directory(_) => MODE_DIRECTORY,
            Kind::File(_) => MODE_FILE,
            Kind::Symlink(_) => MODE_SYMLINK,
            Kind::CharacterDevice { .. } => MODE_CHARACTER,
            Kind::BlockDevice { .. } => MODE_BLOCK,
            Kind::Fifo => MODE_FIFO,
            Kind::Socket => MODE_SOCKET,
        };
        kind | (node.metadata.mode & 0o7777)
    }

    /// Appends inode, attributes, index and inline piece.
    pub(super) fn encode_inode(
        &self,
        number: usize,
        inodes: &[Prepared],
        placements: &[Placement],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let entry = &self.tree.entries()[number];
        let prepared = &inodes[number];
        let metadata = &entry.node.metadata;
        let placement = match entry.node.kind {
            Kind::File(_) if prepared.size > 0 => placements.get(prepared.target as usize),
            _ => None,
        };
        let content = match placement {
            Some(placement) => {
                Some((encoded(self.state, placement.content)?, self.plan(placement.content)?))
            }
            None => None,
        };
        let compressed = content.is_some_and(|(_, plan)| plan.compressed);
        let union = match (&entry.node.kind, content, placement) {
            (&Kind::CharacterDevice { major, minor } | &Kind::BlockDevice { major, minor }, ..) => {
                encode_device(major, minor)
            }
            (_, Some((_, plan)), _) if compressed => plan.blocks,
            (_, Some((_, plan)), Some(placement)) if plan.blocks > 0 => placement.first_block,
            (Kind::Directory(_) | Kind::Symlink(_), ..) => prepared.target,
            _ => 0,
        };
        let inline_length = usize::from(prepared.inline_length);
        let layout = match (compressed, inline_length) {
            (true, _) => LAYOUT_COMPRESSED_COMPACT,
            (false, 0) => LAYOUT_FLAT_PLAIN,
            (false, _) => LAYOUT_FLAT_INLINE,
        };
        let xattrs = self.xattrs.area(metadata);
        let inode = RawInode {
            layout,
            extended: prepared.extended,
            xattr_count: area_count(&xattrs),
            mode: self.mode(number),
            size: prepared.size,
            union,
            // Only for stat on 32-bit systems: the position in canonical order.
            number: number as u32 + 1,
            uid: metadata.uid,
            gid: metadata.gid,
            mtime: metadata.mtime_seconds,
            mtime_nanoseconds: metadata.mtime_nanoseconds,
            links: entry.links,
        };
        out.extend_from_slice(&inode.encode());
        out.extend_from_slice(&xattrs);
        if let (Some((encoded, plan)), Some(placement)) = (content, placement) {
            if compressed {
                out.extend(encode_index(
                    prepared.inode_length() + xattrs.len(),
                    &plan.pieces(self.state, encoded, placement.first_block),
                    prepared.size,
                    self.encoder.codec().algorithm(),
                    inline_length,
                ));
            }
            if inline_length > 0
                && let Some(&segment) = self.state.segments(encoded).last()
            {
                // The inline piece is the very end of the last segment's last piece.
                let last = segment.places(self.state.extents(segment)).last();
                let end = last.map_or(0, |(extent, place)| place + u64::from(extent.stored));
                let start = out.len();
                out.resize(start + inline_length, 0);
                let place = end.saturating_sub(inline_length as u64);
                self.encoder
                    .stored()
                    .read(&segment, &mut out[start..], place)
                    .map_err(Error::io("read what was encoded"))?;
            }
        } else if inline_length > 0 {
            let bytes = self.own_bytes(number, inodes);
            out.extend_from_slice(&bytes[self.own_blocks(number, prepared)..]);
        }
        Ok(())
    }
}
