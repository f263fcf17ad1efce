//! Turns the index of a compressed file into extents, front to back.
//!
//! The kernel looks entries up backwards and forwards at random; reading in order needs none of the
//! stored distances, only heads and block counts, so wrong distances cannot mislead. The index is
//! read a window at a time: a file may claim any size, but memory stays bounded.

use super::{Image, Inode, ReadAt};
use crate::error::Error;
use crate::format::{
    ADVISE_BIG_PCLUSTER_1, ADVISE_BIG_PCLUSTER_2, ADVISE_COMPACTED_2B, ADVISE_INLINE_PCLUSTER,
    ADVISE_INTERLACED_PCLUSTER, BLOCK, BLOCK_BITS, CBLKCNT, CLUSTER_HEAD2, CLUSTER_NONHEAD,
    CLUSTER_PLAIN, INCOMPAT_ZERO_PADDING, LAYOUT_COMPRESSED_FULL, MAP_HEADER, PCLUSTER_MAX_BLOCKS,
    PCLUSTER_MAX_DECODED, le16, le32,
};

/// Advices that this reader understands.
const ADVISE_KNOWN: u16 = ADVISE_COMPACTED_2B
    | ADVISE_BIG_PCLUSTER_1
    | ADVISE_BIG_PCLUSTER_2
    | ADVISE_INLINE_PCLUSTER
    | ADVISE_INTERLACED_PCLUSTER;
/// Bytes of one entry in the full index, and of the reserved space before the first.
const FULL_ENTRY: u64 = 8;

/// A piece of a compressed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// First byte in the file.
    pub start: u64,
    /// Bytes of the file, at most 12 MiB.
    pub length: u64,
    /// One of `ALGORITHM_*`, or `None` for plain bytes.
    pub algorithm: Option<u8>,
    /// Plain bytes that keep their offset in the block.
    pub interlaced: bool,
    /// Where it lies.
    pub place: Place,
}

/// Where the stored bytes of an extent lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In blocks of their own.
    Blocks {
        /// First block.
        first: u32,
        /// Number of blocks.
        count: u32,
    },
    /// Beside the inode.
    Inline {
        /// Byte offset in the image.
        offset: u64,
        /// Bytes.
        length: u16,
    },
}

/// An entry of the index.
#[derive(Debug, Clone, Copy)]
enum Cluster {
    Head { kind: u8, offset: u16, block: u32 },
    Other { blocks: Option<u32> },
}

/// Iterator over the extents of a file; ends behind the first error.
#[derive(Debug)]
pub struct Extents<'a, R> {
    image: &'a Image<R>,
    inode: Inode,
    advise: u16,
    algorithms: u8,
    inline_length: u16,
    clusters: u64,
    /// Clusters taken from the index.
    done: u64,
    /// Where the next pack or entry lies.
    position: u64,
    pack: std::vec::IntoIter<Cluster>,
    head: Option<(u64, u8, u32, u32)>,
    ended: bool,
}

impl<R: ReadAt> Image<R> {
    /// The extents of a compressed file in order.
    pub fn extents(&self, inode: &Inode) -> Result<Extents<'_, R>, Error> {
        if self.superblock.incompat & INCOMPAT_ZERO_PADDING == 0 {
            // Images for kernels before 5.3 do not tell where compressed data ends.
            return Err(Error::Unsupported("compressed data without padding".to_owned()));
        }
        let start = inode.body().next_multiple_of(8);
        let header = self.bytes(inode.node, start, MAP_HEADER)?;
        let advise = le16(&header, 4);
        if header[7] != 0 || advise & !ADVISE_KNOWN != 0 {
            return Err(Error::Unsupported(format!(
                "compressed file form {advise:#x}/{:#x}",
                header[7]
            )));
        }
        let full = inode.raw.layout == LAYOUT_COMPRESSED_FULL;
        Ok(Extents {
            image: self,
            inode: inode.clone(),
            advise,
            algorithms: header[6],
            inline_length: if advise & ADVISE_INLINE_PCLUSTER == 0 { 0 } else { le16(&header, 2) },
            clusters: inode.raw.size.div_ceil(BLOCK as u64),
            done: 0,
            position: start + MAP_HEADER as u64 + if full { FULL_ENTRY } else { 0 },
            pack: Vec::new().into_iter(),
            head: None,
            ended: false,
        })
    }
}

impl<R: ReadAt> Extents<'_, R> {
    fn step(&mut self) -> Result<Option<Extent>, Error> {
        while self.done < self.clusters {
            let cluster = self.cluster()?;
            let position = self.done * BLOCK as u64;
            self.done += 1;
            match cluster {
                Cluster::Head { kind, offset, block } => {
                    let start = position + u64::from(offset);
                    if start >= self.inode.raw.size && self.head.is_some() {
                        // mkfs.erofs ends a file with a head that nothing follows.
                        continue;
                    }
                    let before = self.head.replace((start, kind, block, 1));
                    match before {
                        Some(before) => return self.extent(before, start, false).map(Some),
                        None if start > 0 => {
                            return Err(self.inode.damaged("its first piece begins late"));
                        }
                        None => {}
                    }
                }
                Cluster::Other { blocks } => match &mut self.head {
                    None => return Err(self.inode.damaged("its index begins without a head")),
                    Some(head) => head.3 = blocks.unwrap_or(head.3),
                },
            }
        }
        let last = self.head.take();
        last.map(|head| self.extent(head, self.inode.raw.size, true)).transpose()
    }

    fn extent(
        &self,
        (start, kind, block, blocks): (u64, u8, u32, u32),
        end: u64,
        last: bool,
    ) -> Result<Extent, Error> {
        let length = end
            .checked_sub(start)
            .filter(|&length| length > 0 && length <= PCLUSTER_MAX_DECODED)
            .ok_or_else(|| self.inode.damaged("a piece has an impossible length"))?;
        let plain = kind == CLUSTER_PLAIN;
        let big = self.advise & ADVISE_BIG_PCLUSTER_1 != 0;
        let count = if plain || !big { 1 } else { blocks };
        if count == 0 || count > PCLUSTER_MAX_BLOCKS {
            return Err(self.inode.damaged("a piece has an impossible number of blocks"));
        }
        let place = if last && self.inline_length > 0 {
            if self.position as usize % BLOCK + usize::from(self.inline_length) > BLOCK {
                return Err(self.inode.damaged("its last piece crosses a block boundary"));
            }
            Place::Inline { offset: self.position, length: self.inline_length }
        } else {
            Place::Blocks { first: block, count }
        };
        let algorithm = match kind {
            CLUSTER_PLAIN => None,
            CLUSTER_HEAD2 => Some(self.algorithms >> 4),
            _ => Some(self.algorithms & 15),
        };
        let interlaced = plain && self.advise & ADVISE_INTERLACED_PCLUSTER != 0;
        Ok(Extent { start, length, algorithm, interlaced, place })
    }

    fn cluster(&mut self) -> Result<Cluster, Error> {
        if let Some(cluster) = self.pack.next() {
            return Ok(cluster);
        }
        let pack = if self.inode.raw.layout == LAYOUT_COMPRESSED_FULL {
            vec![self.full_entry()?]
        } else {
            self.compact_pack()?
        };
        self.pack = pack.into_iter();
        self.pack.next().ok_or_else(|| self.inode.damaged("its index is empty"))
    }

    fn full_entry(&mut self) -> Result<Cluster, Error> {
        let bytes = self.image.bytes(self.inode.node, self.position, FULL_ENTRY as usize)?;
        self.position += FULL_ENTRY;
        let kind = (le16(&bytes, 0) & 3) as u8;
        if kind == CLUSTER_NONHEAD {
            let distance = le16(&bytes, 4);
            let blocks = (distance & CBLKCNT != 0).then(|| u32::from(distance & !CBLKCNT));
            return Ok(Cluster::Other { blocks });
        }
        let offset = le16(&bytes, 2);
        if usize::from(offset) >= BLOCK {
            return Err(self.inode.damaged("a piece begins outside of its block"));
        }
        Ok(Cluster::Head { kind, offset, block: le32(&bytes, 4) })
    }

    /// Reads the next pack; see `writer/index.rs` for the form.
    fn compact_pack(&mut self) -> Result<Vec<Cluster>, Error> {
        let large = self.advise & ADVISE_COMPACTED_2B != 0
            && self.position.is_multiple_of(32)
            && self.clusters - self.done >= 16;
        let (entries, length) = if large { (16, 32) } else { (2, 8) };
        let bytes = self.image.bytes(self.inode.node, self.position, length)?;
        self.position += length as u64;
        let base = le32(&bytes, length - 4);
        let width = (length - 4) * 8 / entries;
        let big = self.advise & ADVISE_BIG_PCLUSTER_1 != 0;
        // With one block per piece the base is the block before the first head's.
        let (mut blocks, mut open) = (u32::from(!big), false);
        let mut clusters = Vec::with_capacity(entries);
        for index in 0..entries {
            let bit = index * width;
            let value = le32(&bytes, (bit / 8).min(length - 4)) >> (bit - bit / 8 * 8);
            let (low, kind) = ((value & 0xfff) as u16, (value >> BLOCK_BITS & 3) as u8);
            if kind != CLUSTER_NONHEAD {
                blocks = blocks.saturating_add(u32::from(open));
                open = true;
                let block = base.wrapping_add(blocks);
                clusters.push(Cluster::Head { kind, offset: low, block });
            } else if low & CBLKCNT != 0 && big {
                let count = u32::from(low & !CBLKCNT);
                blocks = blocks.saturating_add(count);
                open = false;
                clusters.push(Cluster::Other { blocks: Some(count) });
            } else {
                clusters.push(Cluster::Other { blocks: None });
            }
        }
        Ok(clusters)
    }
}

impl<R: ReadAt> Iterator for Extents<'_, R> {
    type Item = Result<Extent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step();
        self.ended = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}
