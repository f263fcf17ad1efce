//! Cuts one segment of a file into extents and compresses each: the only place where codec and
//! chunk sizes meet, and a pure function of (codec, bytes, position in the file).
//!
//! LZ4 fills clusters of fixed output, which wastes nothing. zstd gets chunks of fixed input: it
//! cannot stop at a given output size without being run several times, and with large chunks the
//! unused end of the last block costs less than two per cent. An extent that saves no block is
//! stored as it is. Searching for better cuts was dropped: it multiplies the time.
//!
//! Rules that the index format needs: no two extents begin in the same block of the file, and a
//! plain one never crosses into a block that no other extent begins in. So compressed extents
//! cover at least a block, and plain ones begin with a crumb up to the next block boundary.

use std::io;

use kiln_sys::codec::{Filled, Lz4Hc, lz4_decompress, lz4_fill};
use zstd::bulk;

use super::noise::Noise;
use super::shorten::shortened;
use crate::extent::Extent;
use crate::format::BLOCK;
use crate::profile::{Codec, LZ4_CLUSTER};

/// Most that one LZ4 cluster may stand for: bounds the work of reading one byte of it.
const LZ4_LOGICAL_MAX: usize = 1 << 20;
/// Input of one zstd cluster.
const ZSTD_CHUNK: usize = 256 << 10;
/// A rest up to this long joins the chunk before it: a short frame of its own compresses badly.
const ZSTD_JOIN: usize = 64 << 10;
/// log2 of a window that covers the longest chunk (320 KiB).
pub(crate) const ZSTD_WINDOW_LOG: u32 = 19;
/// Longest piece stored beside its inode. Leaves room for seven bare inodes in the same block; a
/// longer piece would save less than an eighth of a block and leave a hole nothing fits into.
pub(crate) const INLINE_MAX: usize = BLOCK - 512;
/// Longest excess over a block boundary that is worth a second run to move it beside the inode.
const EXCESS_MAX: usize = 2560;
/// Bytes of index that a compressed file needs beside its data, at least.
const INDEX_COST: usize = 24;

/// Compression state of one thread; holds no history between calls.
pub(crate) struct Compressor {
    codec: Codec,
    high: Lz4Hc,
    zstd: Option<bulk::Compressor<'static>>,
    scratch: Vec<u8>,
    /// Room for the two pieces of a tail that is split.
    pieces: (Vec<u8>, Vec<u8>),
    noise: Noise,
}

impl Compressor {
    pub(crate) fn new(codec: Codec) -> io::Result<Self> {
        let zstd = match codec {
            Codec::Zstd { level } => Some(bulk::Compressor::new(i32::from(level))?),
            _ => None,
        };
        let capacity = zstd::zstd_safe::compress_bound(ZSTD_CHUNK + ZSTD_JOIN).max(LZ4_CLUSTER);
        Ok(Self {
            codec,
            high: Lz4Hc::new(),
            zstd,
            scratch: vec![0; capacity],
            pieces: Default::default(),
            noise: Noise::default(),
        })
    }

    /// Appends the encoded segment to `out` and its pieces to `extents`. `first` and `last` tell the segment's place in the
    /// file; only the last extent of a file can move beside the inode.
    pub(crate) fn encode(
        &mut self,
        bytes: &[u8],
        first: bool,
        last: bool,
        out: &mut Vec<u8>,
        extents: &mut Vec<Extent>,
    ) -> io::Result<()> {
        let mut position = 0;
        while position < bytes.len() {
            let rest = &bytes[position..];
            let filled = self.next(rest)?;
            let ends = filled.consumed == rest.len();
            let tail = ends && last;
            let alone = first && position == 0;
            if !worth(filled, position, tail, alone) {
                let length = match self.codec {
                    Codec::None => rest.len(),
                    Codec::Zstd { .. } => filled.consumed,
                    _ if position % BLOCK != 0 => rest.len().min(BLOCK - position % BLOCK),
                    // A short rest goes along, it would need a block of its own anyway.
                    _ if rest.len() <= LZ4_CLUSTER => rest.len(),
                    _ => LZ4_CLUSTER,
                };
                push_plain(extents, &rest[..length], out);
                position += length;
                continue;
            }
            if tail && self.split_tail(rest, position, filled, extents, out) {
                break;
            }
            push(extents, filled, &self.scratch, out);
            position += filled.consumed;
        }
        Ok(())
    }

    /// Compresses the beginning of `rest` into the scratch buffer.
    fn next(&mut self, rest: &[u8]) -> io::Result<Filled> {
        match &mut self.zstd {
            Some(zstd) => {
                let consumed =
                    if rest.len() <= ZSTD_CHUNK + ZSTD_JOIN { rest.len() } else { ZSTD_CHUNK };
                let written = zstd.compress_to_buffer(&rest[..consumed], &mut self.scratch[..])?;
                Ok(Filled { consumed, written })
            }
            None if matches!(self.codec, Codec::Lz4hc { .. }) && self.noise.is(rest) => {
                Ok(Filled { consumed: 0, written: 0 })
            }
            None => {
                let mut scratch = std::mem::take(&mut self.scratch);
                let filled = self.fill(rest, &mut scratch[..LZ4_CLUSTER]);
                self.scratch = scratch;
                Ok(filled.unwrap_or(Filled { consumed: 0, written: 0 }))
            }
        }
    }

    /// One LZ4 cluster that has at most the length of `out`.
    fn fill(&mut self, rest: &[u8], out: &mut [u8]) -> Option<Filled> {
        let window = &rest[..rest.len().min(LZ4_LOGICAL_MAX)];
        match self.codec {
            Codec::Lz4 => lz4_fill(window, out),
            Codec::Lz4hc { level } => self.high.fill(window, out, level),
            Codec::None | Codec::Zstd { .. } => None,
        }
    }

    /// If the end of a file spills a little over a block boundary, fills the blocks before it
    /// exactly and puts the spill into a piece of its own, which then goes beside the inode.
    /// LZ4 only; `filled`, which takes in all of `rest`, stands in the scratch buffer and stays
    /// there.
    fn split_tail(
        &mut self,
        rest: &[u8],
        position: usize,
        filled: Filled,
        extents: &mut Vec<Extent>,
        out: &mut Vec<u8>,
    ) -> bool {
        let excess = filled.written % BLOCK;
        let target = filled.written - excess;
        if self.zstd.is_some() || target == 0 || excess == 0 || excess > EXCESS_MAX {
            return false;
        }
        let mut pieces = std::mem::take(&mut self.pieces);
        let split = self.head(rest, filled, target, &mut pieces.0).filter(|head| {
            head.consumed >= BLOCK
                && head.consumed < rest.len()
                && worth(*head, position, false, false)
        });
        let split = split.and_then(|head| {
            let spill = &rest[head.consumed..];
            pieces.1.resize(INLINE_MAX, 0);
            let tail = self.fill(spill, &mut pieces.1)?;
            (tail.consumed == spill.len()).then_some((head, tail))
        });
        if let Some((head, tail)) = split {
            push(extents, head, &pieces.0, out);
            push(extents, tail, &pieces.1, out);
        }
        self.pieces = pieces;
        split.is_some()
    }

    /// The beginning of `rest` in a cluster of at most `target` bytes, where the scratch buffer
    /// holds all of it.
    fn head(
        &mut self,
        rest: &[u8],
        filled: Filled,
        target: usize,
        out: &mut Vec<u8>,
    ) -> Option<Filled> {
        if let Codec::Lz4hc { .. } = self.codec {
            let found = shortened(&self.scratch[..filled.written], rest, target, out);
            if found.is_some() {
                return found;
            }
        }
        out.resize(target, 0);
        self.fill(rest, out)
    }
}

/// Whether the compressed form takes less room than the bytes themselves, which begin at
/// `position` in the segment.
fn worth(filled: Filled, position: usize, tail: bool, alone: bool) -> bool {
    if filled.written == 0 {
        return false;
    }
    if tail && filled.written <= INLINE_MAX {
        // Beside the inode every byte counts; but a whole small file that hardly shrinks is
        // better read without decompressing, while a tail has no such choice.
        return if alone {
            filled.written + INDEX_COST + filled.consumed / 8 < filled.consumed
        } else {
            true
        };
    }
    let plain_blocks = (position % BLOCK + filled.consumed).div_ceil(BLOCK);
    filled.written < filled.consumed && filled.written.div_ceil(BLOCK) < plain_blocks
}

fn push(extents: &mut Vec<Extent>, filled: Filled, bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&bytes[..filled.written]);
    // Both lengths are at most a segment.
    extents.push(Extent {
        logical: filled.consumed as u32,
        stored: filled.written as u32,
        compressed: true,
    });
}

fn push_plain(extents: &mut Vec<Extent>, bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(bytes);
    let length = bytes.len() as u32;
    match extents.last_mut() {
        Some(extent) if !extent.compressed && (extent.logical as usize).is_multiple_of(BLOCK) => {
            extent.logical += length;
            extent.stored += length;
        }
        _ => extents.push(Extent { logical: length, stored: length, compressed: false }),
    }
}

/// Appends the bytes that an extent stands for.
pub(crate) fn decode(
    codec: Codec,
    extent: Extent,
    stored: &[u8],
    out: &mut Vec<u8>,
) -> io::Result<()> {
    if !extent.compressed {
        out.extend_from_slice(stored);
        return Ok(());
    }
    // Zeros fill up the first block of what lies in an image; no codec begins with one.
    let padding = stored.iter().take(BLOCK).take_while(|&&byte| byte == 0).count();
    let stored = stored.get(padding..).unwrap_or_default();
    let start = out.len();
    out.resize(start + extent.logical as usize, 0);
    let written = match codec {
        Codec::Zstd { .. } => zstd::bulk::decompress_to_buffer(stored, &mut out[start..]).ok(),
        _ => lz4_decompress(stored, &mut out[start..]),
    };
    if written == Some(extent.logical as usize) {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "an encoded extent does not decompress"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::noise;
    use super::*;
    use crate::extent::SEGMENT;

    fn text(length: usize) -> Vec<u8> {
        (0..)
            .flat_map(|n: u32| format!("line {} {}\n", n, n.wrapping_mul(n)).into_bytes())
            .take(length)
            .collect()
    }

    #[test]
    fn segments_read_back_and_keep_the_rule_on_extent_lengths() {
        let mut mixed = text(200_000);
        mixed.extend(noise(150_001, 1));
        mixed.extend(vec![0; 1_500_000]);
        mixed.extend(noise(3, 2));
        let inputs =
            [vec![7], text(100), text(4096), text(70_000), noise(4097, 3), vec![0; SEGMENT], mixed];
        for codec in ["none", "lz4", "lz4hc:3", "zstd:1"] {
            let codec: Codec = codec.parse().unwrap();
            let mut compressor = Compressor::new(codec).unwrap();
            for (number, input) in inputs.iter().enumerate() {
                for (first, last) in [(true, true), (false, true), (true, false)] {
                    let mut out = Vec::new();
                    let mut extents = Vec::new();
                    compressor.encode(input, first, last, &mut out, &mut extents).unwrap();
                    let mut back = Vec::new();
                    let (mut offset, mut before) = (0, None);
                    for &extent in &extents {
                        let head = back.len() / BLOCK;
                        assert!(before < Some(head), "{codec} {number}: two heads in a block");
                        before = Some(head);
                        assert!(
                            extent.compressed
                                || extent.logical as usize <= BLOCK - back.len() % BLOCK
                                || back.len() % BLOCK == 0
                        );
                        let end = offset + extent.stored as usize;
                        decode(codec, extent, &out[offset..end], &mut back).unwrap();
                        offset = end;
                    }
                    assert!(back == *input && offset == out.len(), "{codec} {number}");
                }
            }
        }
    }

    #[test]
    fn text_shrinks_and_noise_does_not_grow() {
        for (codec, limit) in [("lz4", 55), ("lz4hc", 50), ("zstd", 40)] {
            let mut compressor = Compressor::new(codec.parse().unwrap()).unwrap();
            let mut out = Vec::new();
            let mut extents = Vec::new();
            compressor.encode(&text(1_000_000), true, true, &mut out, &mut extents).unwrap();
            assert!(out.len() < 10_000 * limit, "{codec}: {}", out.len());
            out.clear();
            extents.clear();
            compressor.encode(&noise(500_000, 9), true, true, &mut out, &mut extents).unwrap();
            assert_eq!(extents, [Extent { logical: 500_000, stored: 500_000, compressed: false }]);
        }
    }
}
