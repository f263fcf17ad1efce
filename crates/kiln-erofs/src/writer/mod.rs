//! Lays out a validated tree and its encoded contents as an image.
//!
//! Order of the image: superblock, inodes with what lies beside them, shared attributes, blocks of
//! large directories and links, then file contents in the order of the tree, equal contents once.
//! Sizes are all known before the first address is given out, so it is one pass of planning
//! (`place`), one of encoding, and the output is written front to back. Between the passes an inode
//! is a few numbers; what can be made again from the tree is made again. The output must never
//! depend on content numbers, spool offsets or node numbers of the tree.

mod contents;
mod directory;
mod index;
mod inode;
mod meta;
mod plan;
mod stream;
mod validate;
mod xattr;

use std::fs::File;

use crate::encoder::{Encoded, Encoder, State};
use crate::error::Error;
use crate::format::{BLOCK, COMPAT_CHECKSUM, COMPAT_MTIME, SLOT, Superblock};
use crate::placed::BLOCKS_BEGIN;
use contents::{Placement, encoded, first_with_same};
use inode::Prepared;
use kiln_tree::Kind;
use meta::{Allocator, configurations, incompatible_features};
pub(crate) use plan::ContentPlan;
use stream::Stream;
pub use validate::ValidatedTree;
use xattr::XattrTable;

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
    Writer::new(tree, encoder, &state, options).run(out)
}

/// The length in bytes that [`write_image`] would give, for those who must know before they write.
pub fn image_length(
    tree: &ValidatedTree<'_>,
    encoder: &Encoder,
    options: ImageOptions,
) -> Result<u64, Error> {
    let state = encoder.settled().map_err(Error::io("encode file contents"))?;
    let mut writer = Writer::new(tree, encoder, &state, options);
    writer.lay_out()?;
    Ok(writer.next_block * BLOCK as u64)
}

/// What has its place: inodes, contents, and the blocks where attributes and contents begin.
struct Layout {
    inodes: Vec<Prepared>,
    placements: Vec<Placement>,
    xattr_block: u32,
    data_start: u64,
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

impl<'a> Writer<'a> {
    fn new(
        tree: &'a ValidatedTree<'a>,
        encoder: &'a Encoder,
        state: &'a State,
        options: ImageOptions,
    ) -> Self {
        Self {
            tree,
            encoder,
            state,
            options,
            xattrs: XattrTable::new(tree),
            allocator: Allocator::new(configurations(encoder.codec()).len()),
            next_block: 0,
        }
    }

    /// Gives everything its place; `next_block` is the image's end afterwards.
    fn lay_out(&mut self) -> Result<Layout, Error> {
        let (mut inodes, mut placements) = self.prepare()?;
        let metadata_end = self.allocator.end();
        self.next_block = metadata_end.div_ceil(BLOCK) as u64;
        let xattr_block = block_number(self.next_block)?;
        self.next_block += self.xattrs.shared_bytes().len().div_ceil(BLOCK) as u64;
        for (number, prepared) in inodes.iter_mut().enumerate() {
            let length = self.own_blocks(number, prepared);
            if length > 0 {
                prepared.target = block_number(self.next_block)?;
                self.next_block += length.div_ceil(BLOCK) as u64;
            }
        }
        let data_start = self.next_block;
        for placement in &mut placements {
            placement.first_block = block_number(self.next_block)?;
            self.next_block += u64::from(self.plan(placement.content)?.blocks);
        }
        block_number(self.next_block)?;
        Ok(Layout { inodes, placements, xattr_block, data_start })
    }

    fn run(&mut self, out: &File) -> Result<ImageFacts, Error> {
        let Layout { inodes, placements, xattr_block, data_start } = self.lay_out()?;
        let mut stream = Stream::new(out, self.superblock(&inodes, xattr_block)?);
        self.write_inodes(&inodes, &placements, &mut stream)?;
        stream.pad_to(u64::from(xattr_block) * BLOCK as u64);
        stream.buffer.extend_from_slice(self.xattrs.shared_bytes());
        stream.drain()?;
        self.write_own_blocks(&inodes, &mut stream)?;
        stream.pad_to(data_start * BLOCK as u64);
        self.write_contents(&placements, &mut stream)?;
        stream.flush()?;
        Ok(ImageFacts {
            length: self.next_block * BLOCK as u64,
            inodes: inodes.len() as u64,
            metadata_bytes: data_start * BLOCK as u64,
            data_bytes: (self.next_block - data_start) * BLOCK as u64,
        })
    }

    /// Gives every inode its size and place; also the contents in order of first use, which have no
    /// place yet.
    fn prepare(&mut self) -> Result<(Vec<Prepared>, Vec<Placement>), Error> {
        let first = first_with_same(self.tree, self.state)?;
        let mut inodes: Vec<Prepared> = Vec::with_capacity(first.len());
        let mut placements = Vec::new();
        for (number, &first) in first.iter().enumerate() {
            let (mut prepared, before_inline) = self.prepare_inode(number)?;
            let place = self.allocator.place(before_inline, usize::from(prepared.inline_length));
            prepared.slot = u32::try_from(place / SLOT)
                .map_err(|_| Error::TooLarge { what: "an area of inodes of 128 GiB" })?;
            if let Kind::File(content) = self.tree.entries()[number].node.kind
                && content.size > 0
            {
                prepared.target = match inodes.get(first as usize) {
                    Some(same) => same.target,
                    None => placements.len() as u32,
                };
                if first as usize == number {
                    placements.push(Placement { content: content.id.0, first_block: 0 });
                }
            }
            inodes.push(prepared);
        }
        Ok((inodes, placements))
    }

    /// The superblock with the configurations of the codec.
    fn superblock(&self, inodes: &[Prepared], xattr_block: u32) -> Result<Vec<u8>, Error> {
        let codec = self.encoder.codec();
        let (configuration, algorithms) = (configurations(codec), meta::algorithms(codec));
        let root = inodes.first().map_or(0, |root| root.slot);
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
        Ok(superblock.encode(&configuration))
    }

    /// Writes all inodes with what lies beside them, in the order of their places.
    fn write_inodes(
        &self,
        inodes: &[Prepared],
        placements: &[Placement],
        stream: &mut Stream<'_>,
    ) -> Result<(), Error> {
        let mut order: Vec<u32> = (0..inodes.len() as u32).collect();
        order.sort_unstable_by_key(|&number| inodes[number as usize].slot);
        for number in order {
            stream.pad_to(u64::from(inodes[number as usize].slot) * SLOT as u64);
            self.encode_inode(number as usize, inodes, placements, &mut stream.buffer)?;
            stream.drain()?;
        }
        Ok(())
    }

    /// Writes the blocks of directories and long symbolic links.
    fn write_own_blocks(&self, inodes: &[Prepared], stream: &mut Stream<'_>) -> Result<(), Error> {
        for (number, prepared) in inodes.iter().enumerate() {
            let length = self.own_blocks(number, prepared);
            if length > 0 {
                stream.pad_to(u64::from(prepared.target) * BLOCK as u64);
                stream.buffer.extend_from_slice(&self.own_bytes(number, inodes)[..length]);
                stream.drain()?;
            }
        }
        Ok(())
    }

    /// Copies contents from where they are to their blocks, in the order of the image.
    fn write_contents(
        &self,
        placements: &[Placement],
        stream: &mut Stream<'_>,
    ) -> Result<(), Error> {
        for placement in placements {
            let encoded = encoded(self.state, placement.content)?;
            let blocks = self.plan(placement.content)?.blocks;
            if self.is_in_place(encoded, placement)? {
                stream.skip(u64::from(blocks) * BLOCK as u64)?;
                continue;
            }
            let mut remaining = u64::from(blocks) * BLOCK as u64;
            for &segment in self.state.segments(encoded) {
                for (extent, place) in segment.places(self.state.extents(segment)) {
                    let stored = (extent.stored as usize).min(remaining as usize);
                    // What lies beside the inode comes last and finds no room left here.
                    if stored == 0 || (extent.compressed && (extent.stored as u64) > remaining) {
                        break;
                    }
                    let padded = stored.next_multiple_of(BLOCK);
                    let buffer = &mut stream.buffer;
                    let start = buffer.len();
                    buffer.resize(start + padded, 0);
                    // Compressed data ends with its last block, plain data begins with its first.
                    let shift = if extent.compressed { padded - stored } else { 0 };
                    self.encoder
                        .stored()
                        .read(&segment, &mut buffer[start + shift..start + shift + stored], place)
                        .map_err(Error::io("read what was encoded"))?;
                    remaining -= (padded as u64).min(remaining);
                    stream.drain()?;
                }
            }
            // A flat file's tail may lie in the last block: pad to the planned length.
            stream.buffer.resize(stream.buffer.len() + remaining as usize, 0);
        }
        Ok(())
    }

    /// Whether a content's blocks lie already where they belong. Elsewhere in the new image they
    /// cannot be copied from: something may have been written over them.
    fn is_in_place(&self, encoded: &Encoded, placement: &Placement) -> Result<bool, Error> {
        let mut place = BLOCKS_BEGIN + u64::from(placement.first_block) * BLOCK as u64;
        let mut is_in_place = false;
        for segment in self.state.segments(encoded) {
            if !self.encoder.stored().is_placed(segment) {
                return Ok(false);
            }
            let mut end = place;
            for (extent, at) in segment.places(self.state.extents(*segment)) {
                if at >= BLOCKS_BEGIN {
                    if at != end {
                        return Err(Error::Misplaced { content: placement.content });
                    }
                    end += u64::from(extent.stored).next_multiple_of(BLOCK as u64);
                    is_in_place = true;
                }
            }
            place = end;
        }
        Ok(is_in_place)
    }

    fn plan(&self, content: u32) -> Result<ContentPlan, Error> {
        ContentPlan::new(self.state, encoded(self.state, content)?)
    }
}

fn block_number(block: u64) -> Result<u32, Error> {
    u32::try_from(block).map_err(|_| Error::TooLarge { what: "an image of 16 TiB" })
}
