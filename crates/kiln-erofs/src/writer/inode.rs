//! Inodes: choice of form and layout, sizes before addresses, bytes after.
//!
//! The short form is used whenever it loses nothing; it has no time of its own, so it serves files
//! whose time is the image's build time, which is every file of a build with clamped times.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;

use kiln_tree::Kind;

use super::directory::{Name, directory_length, encode_directory};
use super::index::encode_index;
use super::meta::algorithm;
use super::plan::{ContentPlan, Placement};
use super::xattr::area_count;
use super::{ContentKey, Writer};
use crate::encoder::INLINE_MAX;
use crate::error::Error;
use crate::format::{
    BLOCK, INODE_COMPACT, INODE_EXTENDED, LAYOUT_COMPRESSED_COMPACT, LAYOUT_FLAT_INLINE,
    LAYOUT_FLAT_PLAIN, MODE_BLOCK, MODE_CHARACTER, MODE_DIRECTORY, MODE_FIFO, MODE_FILE,
    MODE_SOCKET, MODE_SYMLINK, RawInode, SLOT, encode_device, entry_type,
};

/// An inode on its way into the image.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// Byte offset in the image.
    pub(super) offset: usize,
    /// Content in the encoder, for regular files that are not empty.
    pub(super) content: Option<ContentKey>,
    /// Whole blocks of a directory or a long symbolic link.
    pub(super) blocks: Vec<u8>,
    /// Where `blocks` lies.
    pub(super) first_block: u32,
    /// Length of what lies beside the inode.
    pub(super) inline_length: usize,
    extended: bool,
    size: u64,
    xattrs: Vec<u8>,
    index_length: usize,
    inline: Vec<u8>,
}

impl Prepared {
    /// Bytes before the inline piece.
    pub(super) fn before_inline(&self) -> usize {
        self.head_length() + self.index_length
    }

    /// Node number.
    pub(super) fn node(&self) -> u64 {
        (self.offset / SLOT) as u64
    }

    fn head_length(&self) -> usize {
        self.xattrs.len() + if self.extended { INODE_EXTENDED } else { INODE_COMPACT }
    }

    /// Divides bytes that the tree itself holds between blocks and the place beside the inode.
    fn split(&mut self, length: usize) {
        self.size = length as u64;
        let tail = length % BLOCK;
        self.inline_length = if tail <= INLINE_MAX { tail } else { 0 };
    }

    fn fill(&mut self, bytes: Vec<u8>) {
        let blocks = bytes.len() - self.inline_length;
        self.inline = bytes[blocks..].to_vec();
        self.blocks = bytes;
        self.blocks.truncate(blocks);
    }
}

impl Writer<'_> {
    pub(super) fn prepare_inode(&self, number: usize) -> Result<Prepared, Error> {
        let entry = &self.tree.entries()[number];
        let metadata = &entry.node.metadata;
        let mut prepared = Prepared { xattrs: self.xattrs.area(metadata), ..Prepared::default() };
        let mut plan = None;
        match &entry.node.kind {
            Kind::Directory(_) => prepared.split(directory_length(&self.names(number))),
            Kind::Symlink(target) => {
                prepared.split(target.len());
                prepared.fill(target.clone());
            }
            Kind::File(content) if content.size > 0 => {
                let encoded = self.encoded(content.id.0)?;
                if encoded.size != content.size {
                    return Err(Error::UnknownContent { content: content.id.0 });
                }
                let digest =
                    encoded.digest.ok_or(Error::UnknownContent { content: content.id.0 })?;
                let key = ContentKey { digest, size: content.size, first: content.id.0 };
                prepared.size = content.size;
                prepared.content = Some(key);
                let found: ContentPlan = self.plan(key)?;
                prepared.inline_length = found.inline;
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
        prepared.index_length = plan.map_or(0, |plan| plan.index_length(prepared.head_length()));
        Ok(prepared)
    }

    /// Encodes all directories, once every node has its number.
    pub(super) fn encode_directories(&self, inodes: &mut [Prepared]) {
        let nodes: Vec<(u64, u8)> = inodes
            .iter()
            .enumerate()
            .map(|(number, prepared)| (prepared.node(), entry_type(self.mode(number))))
            .collect();
        for (number, prepared) in inodes.iter_mut().enumerate() {
            if matches!(self.tree.entries()[number].node.kind, Kind::Directory(_)) {
                prepared.fill(encode_directory(&self.names(number), |inode| nodes[inode]));
            }
        }
    }

    /// Names of a directory with `.` and `..`, sorted.
    fn names(&self, number: usize) -> Vec<Name<'_>> {
        let entry = &self.tree.entries()[number];
        let mut names =
            vec![Name { name: b".", inode: number }, Name { name: b"..", inode: entry.parent }];
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

    /// Inode, attributes, index and inline piece.
    pub(super) fn encode_inode(
        &self,
        number: usize,
        prepared: &Prepared,
        placements: &BTreeMap<ContentKey, Placement>,
    ) -> Result<Vec<u8>, Error> {
        let entry = &self.tree.entries()[number];
        let metadata = &entry.node.metadata;
        let placement = prepared.content.as_ref().and_then(|key| placements.get(key));
        let compressed = placement.is_some_and(|placement| placement.plan.compressed);
        let union = match (&entry.node.kind, placement) {
            (&Kind::CharacterDevice { major, minor } | &Kind::BlockDevice { major, minor }, _) => {
                encode_device(major, minor)
            }
            (_, Some(placement)) if compressed => placement.plan.blocks,
            (_, Some(placement)) if placement.plan.blocks > 0 => placement.first_block,
            _ => prepared.first_block,
        };
        let layout = match (compressed, prepared.inline_length) {
            (true, _) => LAYOUT_COMPRESSED_COMPACT,
            (false, 0) => LAYOUT_FLAT_PLAIN,
            (false, _) => LAYOUT_FLAT_INLINE,
        };
        let inode = RawInode {
            layout,
            extended: prepared.extended,
            xattr_count: area_count(&prepared.xattrs),
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
        let mut bytes = inode.encode();
        bytes.extend_from_slice(&prepared.xattrs);
        if let Some(placement) = placement {
            let encoded = self.encoded(placement.plan.content)?;
            if compressed {
                bytes.extend(encode_index(
                    bytes.len(),
                    &placement.plan.pieces(encoded, placement.first_block),
                    prepared.size,
                    algorithm(self.encoder.codec()),
                    prepared.inline_length,
                ));
            }
            if prepared.inline_length > 0
                && let Some(segment) = encoded.segments.last()
            {
                // The inline piece is the very end of the last segment.
                let stored: u64 =
                    segment.extents.iter().map(|extent| u64::from(extent.stored)).sum();
                let mut piece = vec![0; prepared.inline_length];
                self.encoder
                    .spool()
                    .read_exact_at(
                        &mut piece,
                        segment.offset + stored - prepared.inline_length as u64,
                    )
                    .map_err(Error::io("read the spool"))?;
                bytes.extend_from_slice(&piece);
            }
        }
        bytes.extend_from_slice(&prepared.inline);
        Ok(bytes)
    }
}
