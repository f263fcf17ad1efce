//! Contents that lie in the new image before it is laid out: who knows where each will be writes its
//! blocks there at once, and the image is then put around them.
//!
//! Otherwise what is encoded waits in a spool and is written twice, which wears a machine's flash. A
//! content's place comes from outside and is believed by nobody: [`write_image`](crate::write_image)
//! takes only what lies where the layout puts it and fails for anything else, and what is read again
//! after an interruption is decoded and compared by digest. What lies beside an inode has no place
//! until all inodes have one, so it is kept in a file of its own. Writing it into the area of inodes
//! at once was dropped: their blocks would be written again with what else lies in them.

mod record;

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::encoder::{Compressor, decode};
use crate::extent::{Extent, SEGMENT};
use crate::format::BLOCK;
use crate::lender::Lender;
use crate::profile::Codec;
use crate::profile::Profile;
use crate::reader::ReadAt;
use crate::writer::ContentPlan;

/// Where addresses of blocks begin in what a lender of placed contents reads; below are the tails.
pub(crate) const BLOCKS_BEGIN: u64 = 1 << 32;

/// Encodes single contents as an [`Encoder`](crate::Encoder) of the same codec does.
pub struct ContentEncoder(Compressor);

impl std::fmt::Debug for ContentEncoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ContentEncoder").finish_non_exhaustive()
    }
}

impl ContentEncoder {
    /// For the codec of a profile.
    ///
    /// # Errors
    /// The codec cannot be started.
    pub fn new(codec: Codec) -> io::Result<Self> {
        Compressor::new(codec).map(Self)
    }

    /// Encodes a content of `size` bytes, which the caller has bounded: what is encoded is in memory, and
    /// of the content itself one segment.
    ///
    /// # Errors
    /// What reading says; the codec failed.
    pub fn encode(&mut self, size: u64, content: &mut dyn Read) -> io::Result<EncodedContent> {
        let too_long = || io::Error::other("a content is longer than an image can hold");
        let (mut stored, mut segments) = (Vec::new(), Vec::new());
        let (mut rest, mut bytes) = (size, Vec::new());
        let mut hash = Sha256::new();
        while rest > 0 {
            // At most a segment.
            let length = rest.min(SEGMENT as u64) as usize;
            bytes.resize(length, 0);
            content.read_exact(&mut bytes)?;
            hash.update(&bytes);
            let first = rest == size;
            rest -= length as u64;
            // Not more at a time than this: a vector that grows by itself needs twice as much.
            stored.reserve_exact(length + length / 8);
            let mut extents = Vec::new();
            self.0.encode(&bytes, first, rest == 0, &mut stored, &mut extents)?;
            segments.push(extents);
        }
        let plan = ContentPlan::of(size, || segments.iter().flatten()).map_err(|_| too_long())?;
        let (blocks, inline) = (plan.blocks, plan.inline);
        let digest = hash.finalize().into();
        Ok(EncodedContent { size, digest, stored, blocks, inline, segments })
    }
}

/// A content as it will lie in an image.
#[derive(Debug)]
pub struct EncodedContent {
    size: u64,
    digest: [u8; 32],
    /// Its pieces, one behind the other.
    stored: Vec<u8>,
    segments: Vec<Vec<Extent>>,
    blocks: u32,
    inline: usize,
}

impl EncodedContent {
    /// SHA-256 of the content.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// How many blocks of its own it has, possibly none.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// What lies beside the inode, possibly nothing.
    #[must_use]
    pub fn tail(&self) -> &[u8] {
        self.stored.get(self.stored.len().saturating_sub(self.inline)..).unwrap_or_default()
    }

    /// Writes its blocks into an image, from this one on.
    ///
    /// # Errors
    /// The file's.
    pub fn write(&self, image: &File, first_block: u32) -> io::Result<()> {
        let mut place = u64::from(first_block) * BLOCK as u64;
        let (mut from, mut block) = (0, Vec::new());
        let end = self.stored.len().saturating_sub(self.inline);
        for extent in self.segments.iter().flatten() {
            let next = (from + extent.stored as usize).min(end);
            let piece = self.stored.get(from..next).unwrap_or_default();
            from += extent.stored as usize;
            // Compressed data ends with its last block, plain data begins with its first.
            let odd = piece.len() % BLOCK;
            let (head, tail) = match extent.compressed {
                true => piece.split_at(odd),
                false => piece.split_at(piece.len() - odd),
            };
            for (part, is_odd) in [(head, extent.compressed), (tail, !extent.compressed)] {
                if part.is_empty() {
                    continue;
                }
                if is_odd {
                    block.clear();
                    let padding = BLOCK - part.len();
                    block.resize(if extent.compressed { padding } else { 0 }, 0);
                    block.extend_from_slice(part);
                    block.resize(BLOCK, 0);
                    write_all_at(image, &block, place)?;
                    place += BLOCK as u64;
                } else {
                    write_all_at(image, part, place)?;
                    place += part.len() as u64;
                }
            }
        }
        Ok(())
    }

    /// Tells where it was put: its blocks from this one of the image on, its tail at this byte of the
    /// file of tails, which must not be 0 if there is one.
    #[must_use]
    pub fn placed(&self, first_block: u32, tail_at: u32) -> PlacedContent {
        let count = self.segments.iter().flatten().count();
        let mut number = 0;
        let mut segments = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            let mut pieces = Vec::with_capacity(segment.len());
            for extent in segment {
                number += 1;
                let inline = if number == count { self.inline } else { 0 };
                let in_blocks = (extent.stored as usize).saturating_sub(inline);
                if in_blocks > 0 {
                    pieces.push(match extent.compressed {
                        // With the zeros that fill up its first block.
                        true => {
                            Extent { stored: in_blocks.next_multiple_of(BLOCK) as u32, ..*extent }
                        }
                        false => plain(in_blocks),
                    });
                }
                if inline > 0 {
                    pieces.push(if extent.compressed { *extent } else { plain(inline) });
                }
            }
            segments.push(pieces);
        }
        PlacedContent { digest: self.digest, size: self.size, first_block, tail_at, segments }
    }
}

/// A piece of at most a segment.
fn plain(length: usize) -> Extent {
    Extent { logical: length as u32, stored: length as u32, compressed: false }
}

fn write_all_at(image: &File, bytes: &[u8], place: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(image, bytes, place)
}

/// Where a content was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedContent {
    pub(crate) digest: [u8; 32],
    pub(crate) size: u64,
    pub(crate) first_block: u32,
    pub(crate) tail_at: u32,
    /// Pieces of each segment. All take whole blocks, but what is plain and what lies in the tail.
    pub(crate) segments: Vec<Vec<Extent>>,
}

impl PlacedContent {
    /// SHA-256 of the content.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Its bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether what lies in `image` and `tails` decodes to this content.
    #[must_use]
    pub fn is_there(&self, image: &File, tails: &File, codec: Codec) -> bool {
        let mut hash = Sha256::new();
        let read = self.each_segment(image, tails, codec, &mut |bytes| hash.update(bytes));
        read.is_some() && <[u8; 32]>::from(hash.finalize()) == self.digest
    }

    /// Its bytes, which the caller has bounded; not compared with anything.
    #[must_use]
    pub fn read(&self, image: &File, tails: &File, codec: Codec) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        let read = self.each_segment(image, tails, codec, &mut |bytes| content.extend(bytes));
        read.map(|()| content)
    }

    /// Bytes in blocks before each segment, and all pieces of it.
    fn in_blocks(&self) -> impl Iterator<Item = (u64, &[Extent])> {
        let mut place = u64::from(self.first_block) * BLOCK as u64;
        let count = self.segments.len();
        self.segments.iter().enumerate().map(move |(number, pieces)| {
            let has_tail = self.tail_at > 0 && number + 1 == count;
            let in_blocks = pieces.len() - usize::from(has_tail && !pieces.is_empty());
            let begin = place;
            let stored = pieces.iter().take(in_blocks).map(|piece| u64::from(piece.stored));
            place += stored.map(|stored| stored.next_multiple_of(BLOCK as u64)).sum::<u64>();
            (begin, &pieces[..])
        })
    }

    fn each_segment(
        &self,
        image: &File,
        tails: &File,
        codec: Codec,
        take: &mut dyn FnMut(&[u8]),
    ) -> Option<()> {
        let (mut total, count) = (0, self.segments.len());
        for (number, (mut place, pieces)) in self.in_blocks().enumerate() {
            let mut bytes = Vec::new();
            for (position, piece) in pieces.iter().enumerate() {
                let is_tail =
                    self.tail_at > 0 && number + 1 == count && position + 1 == pieces.len();
                let mut stored = vec![0; piece.stored as usize];
                if is_tail {
                    tails.read_exact_at(&mut stored, self.tail_at.into()).ok()?;
                } else {
                    image.read_exact_at(&mut stored, place).ok()?;
                    place += u64::from(piece.stored).next_multiple_of(BLOCK as u64);
                }
                decode(codec, *piece, &stored, &mut bytes).ok()?;
            }
            total += bytes.len() as u64;
            take(&bytes);
        }
        (total == self.size).then_some(())
    }
}

impl Lender {
    /// What lends contents that lie already in the image that they are for. Who gives them vouches
    /// that an encoder of `profile` made them.
    #[must_use]
    pub fn placed(image: File, tails: File, profile: Profile, contents: &[PlacedContent]) -> Self {
        let parts = contents.iter().map(|content| {
            let count = content.segments.len();
            let segments = content.in_blocks().enumerate().map(move |(number, (place, pieces))| {
                let tail = if number + 1 == count { content.tail_at } else { 0 };
                (BLOCKS_BEGIN + place, tail, pieces)
            });
            (content.digest, content.size, segments)
        });
        Self::of_parts(Arc::new(PlacedSource { image, tails }), profile, parts)
    }
}

/// Tails, and behind them the image's blocks.
#[derive(Debug)]
struct PlacedSource {
    image: File,
    tails: File,
}

impl ReadAt for PlacedSource {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match offset.checked_sub(BLOCKS_BEGIN) {
            Some(place) => self.image.read_exact_at(buffer, place),
            None => self.tails.read_exact_at(buffer, offset),
        }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}
