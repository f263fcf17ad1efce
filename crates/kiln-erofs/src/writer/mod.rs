//! Lays out a validated tree and its encoded contents as an image.
//!
//! Order of the image: superblock, inodes with what lies beside them, shared attributes, blocks of
//! large directories and links, then file contents in the order of the tree, equal contents once.
//! Sizes are all known before the first address is given out, so it is one pass of planning
//! (`place`), one of encoding, and the output is written front to back. The output must never
//! depend on content numbers, spool offsets or node numbers of the tree.

mod directory;
mod index;
mod inode;
mod meta;
mod plan;
mod validate;
mod xattr;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::encoder::{Encoder, State};
use crate::error::Error;
use crate::format::{BLOCK, COMPAT_CHECKSUM, COMPAT_MTIME, SUPER_OFFSET, Superblock, seal};
use inode::Prepared;
use meta::{Allocator, configurations, incompatible_features};
use plan::{ContentPlan, Placement};
pub use validate::ValidatedTree;
use xattr::XattrTable;

/// Bytes collected before they are written to the image.
const WRITE_BUFFER: usize = 1 << 20;

/// What an image needs beside its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageOptions {
    /// File system identifier.
    pub uuid: [u8; 16],
    /// Seconds since 1970. Files with exactly this time get the short inode form.
    pub build_time: u64,
}

/// Figures of a finished image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageFacts {
    /// Length in bytes, a multiple of [`BLOCK`].
    pub length: u64,
    /// Number of inodes.
    pub inodes: u64,
    /// Bytes before the first content: inodes, attributes, directories, contents of small files.
    pub metadata_bytes: u64,
    /// Bytes of contents in blocks of their own.
    pub data_bytes: u64,
}

/// Writes the image to the beginning of `out`, which should be empty.
pub fn write_image(
    tree: &ValidatedTree<'_>,
    encoder: &Encoder,
    out: &File,
    options: ImageOptions,
) -> Result<ImageFacts, Error> {
    let state = encoder.settled().map_err(Error::io("encode file contents"))?;
    let mut writer = Writer {
        tree,
        encoder,
        state: &state,
        options,
        xattrs: XattrTable::new(tree),
        allocator: Allocator::new(configurations(encoder.codec()).len()),
        next_block: 0,
    };
    writer.run(out)
}

struct Writer<'a> {
    tree: &'a ValidatedTree<'a>,
    encoder: &'a Encoder,
    state: &'a State,
    options: ImageOptions,
    xattrs: XattrTable,
    allocator: Allocator,
    next_block: u64,
}

impl Writer<'_> {
    fn run(&mut self, out: &File) -> Result<ImageFacts, Error> {
        let (mut inodes, order) = self.prepare()?;
        let metadata_end = self.allocator.end();
        self.next_block = metadata_end.div_ceil(BLOCK) as u64;
        let xattr_block = block_number(self.next_block)?;
        self.next_block += self.xattrs.shared_bytes().len().div_ceil(BLOCK) as u64;
        self.encode_directories(&mut inodes);
        for prepared in inodes.iter_mut().filter(|prepared| !prepared.blocks.is_empty()) {
            prepared.first_block = block_number(self.next_block)?;
            self.next_block += prepared.blocks.len().div_ceil(BLOCK) as u64;
        }
        let data_start = self.next_block;
        let placements = self.place_contents(&order)?;

        let mut head = vec![0; data_start as usize * BLOCK];
        let shared = self.xattrs.shared_bytes();
        let at = xattr_block as usize * BLOCK;
        head[at..at + shared.len()].copy_from_slice(shared);
        for (number, prepared) in inodes.iter().enumerate() {
            let at = prepared.first_block as usize * BLOCK;
            head[at..at + prepared.blocks.len()].copy_from_slice(&prepared.blocks);
            let bytes = self.encode_inode(number, prepared, &placements)?;
            head[prepared.offset..prepared.offset + bytes.len()].copy_from_slice(&bytes);
        }
        self.encode_superblock(&mut head, &inodes, xattr_block)?;
        out.write_all_at(&head, 0).map_err(Error::io("write the image"))?;
        self.copy_contents(&placements, &order, data_start, out)?;
        Ok(ImageFacts {
            length: self.next_block * BLOCK as u64,
            inodes: inodes.len() as u64,
            metadata_bytes: data_start * BLOCK as u64,
            data_bytes: (self.next_block - data_start) * BLOCK as u64,
        })
    }

    /// Gives every inode its size and place; also the contents in order of first use.
    fn prepare(&mut self) -> Result<(Vec<Prepared>, Vec<ContentKey>), Error> {
        let mut inodes = Vec::with_capacity(self.tree.entries().len());
        let mut order = Vec::new();
        let mut seen = BTreeMap::new();
        for number in 0..self.tree.entries().len() {
            let mut prepared = self.prepare_inode(number)?;
            prepared.offset =
                self.allocator.place(prepared.before_inline(), prepared.inline_length);
            if let Some(key) = prepared.content {
                seen.entry(key).or_insert_with(|| order.push(key));
            }
            inodes.push(prepared);
        }
        Ok((inodes, order))
    }

    /// Gives every content that needs blocks its address.
    fn place_contents(
        &mut self,
        order: &[ContentKey],
    ) -> Result<BTreeMap<ContentKey, Placement>, Error> {
        let mut placements = BTreeMap::new();
        for &key in order {
            let plan = self.plan(key)?;
            let first_block = block_number(self.next_block)?;
            self.next_block += u64::from(plan.blocks);
            placements.insert(key, Placement { first_block, plan });
        }
        block_number(self.next_block)?;
        Ok(placements)
    }

    fn encode_superblock(
        &self,
        head: &mut [u8],
        inodes: &[Prepared],
        xattr_block: u32,
    ) -> Result<(), Error> {
        let codec = self.encoder.codec();
        let (configuration, algorithms) = (configurations(codec), meta::algorithms(codec));
        let root = inodes.first().map_or(0, Prepared::node);
        let superblock = Superblock {
            compat: COMPAT_CHECKSUM | COMPAT_MTIME,
            incompat: incompatible_features(codec),
            root: u16::try_from(root)
                .map_err(|_| Error::TooLarge { what: "the place of the root directory" })?,
            inodes: inodes.len() as u64,
            build_time: self.options.build_time,
            build_nanoseconds: 0,
            blocks: block_number(self.next_block)?,
            metadata_block: 0,
            xattr_block,
            uuid: self.options.uuid,
            algorithms,
        };
        let bytes = superblock.encode(&configuration);
        head[SUPER_OFFSET..SUPER_OFFSET + bytes.len()].copy_from_slice(&bytes);
        seal(head);
        Ok(())
    }

    /// Copies contents from the spool to their blocks, in the order of the image.
    fn copy_contents(
        &self,
        placements: &BTreeMap<ContentKey, Placement>,
        order: &[ContentKey],
        data_start: u64,
        out: &File,
    ) -> Result<(), Error> {
        let mut buffer = Vec::with_capacity(WRITE_BUFFER * 3);
        let mut position = data_start * BLOCK as u64;
        let mut flush = |buffer: &mut Vec<u8>| {
            out.write_all_at(buffer, position).map_err(Error::io("write the image"))?;
            position += buffer.len() as u64;
            buffer.clear();
            Ok::<(), Error>(())
        };
        for key in order {
            let Some(placement) = placements.get(key) else { continue };
            let encoded = self.encoded(placement.plan.content)?;
            let mut remaining = u64::from(placement.plan.blocks) * BLOCK as u64;
            for segment in &encoded.segments {
                let mut offset = segment.offset;
                for extent in &segment.extents {
                    let stored = (extent.stored as usize).min(remaining as usize);
                    // What lies beside the inode comes last and finds no room left here.
                    if stored == 0 || (extent.compressed && (extent.stored as u64) > remaining) {
                        break;
                    }
                    let padded = stored.next_multiple_of(BLOCK);
                    let start = buffer.len();
                    buffer.resize(start + padded, 0);
                    // Compressed data ends with its last block, plain data begins with its first.
                    let shift = if extent.compressed { padded - stored } else { 0 };
                    self.encoder
                        .spool()
                        .read_exact_at(&mut buffer[start + shift..start + shift + stored], offset)
                        .map_err(Error::io("read the spool"))?;
                    offset += u64::from(extent.stored);
                    remaining -= (padded as u64).min(remaining);
                    if buffer.len() >= WRITE_BUFFER {
                        flush(&mut buffer)?;
                    }
                }
            }
            // A flat file's tail may lie in the last block: pad to the planned length.
            buffer.resize(buffer.len() + remaining as usize, 0);
        }
        flush(&mut buffer)
    }

    fn plan(&self, key: ContentKey) -> Result<ContentPlan, Error> {
        ContentPlan::new(key.first, self.encoded(key.first)?)
    }

    fn encoded(&self, content: u32) -> Result<&crate::encoder::Encoded, Error> {
        self.state.contents.get(content as usize).ok_or(Error::UnknownContent { content })
    }
}

/// Equal contents share their blocks.
#[derive(Debug, Clone, Copy)]
struct ContentKey {
    digest: [u8; 32],
    size: u64,
    /// The content whose spooled bytes are used. Which of several equal ones it is changes nothing.
    first: u32,
}

impl PartialEq for ContentKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for ContentKey {}
impl PartialOrd for ContentKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for ContentKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.digest, self.size).cmp(&(other.digest, other.size))
    }
}

fn block_number(block: u64) -> Result<u32, Error> {
    u32::try_from(block).map_err(|_| Error::TooLarge { what: "an image of 16 TiB" })
}
