//! Deflate as the formats want it: in one piece, or as a part of a longer stream.
//!
//! The compressor is pure Rust and its output does not depend on the processor, so equal input gives
//! equal bytes everywhere. zstd clusters, which qcow2 knows since QEMU 5.1, were dropped: several
//! clouds read older images only.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Which frame is around the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame {
    /// None (RFC 1951), with a window of so many bits.
    Raw(u8),
    /// zlib (RFC 1950).
    Zlib,
}

/// A compressor with its memory.
#[derive(Debug)]
pub(crate) struct Packer {
    state: Compress,
    buffer: Vec<u8>,
}

impl Packer {
    pub(crate) fn new(frame: Frame, level: u32) -> Self {
        let level = Compression::new(level);
        let state = match frame {
            Frame::Raw(bits) => Compress::new_with_window_bits(level, false, bits),
            Frame::Zlib => Compress::new(level, true),
        };
        Self { state, buffer: Vec::new() }
    }

    /// All of `bytes` as one stream, or `None` if it takes more than `most` bytes.
    pub(crate) fn within(&mut self, bytes: &[u8], most: usize) -> Option<Vec<u8>> {
        self.state.reset();
        self.buffer.resize(most, 0);
        let status = self.state.compress(bytes, &mut self.buffer, FlushCompress::Finish).ok()?;
        let length = usize::try_from(self.state.total_out()).ok()?;
        // The buffer is filled anew each time: a copy of the right length is what is kept.
        (status == Status::StreamEnd).then(|| self.buffer.get(..length).map(<[u8]>::to_vec))?
    }

    /// `bytes` as a part of a raw stream that ends at a byte's border; the last part ends the stream.
    /// No part refers to the one before it.
    pub(crate) fn part(&mut self, bytes: &[u8], is_last: bool) -> Option<Vec<u8>> {
        self.state.reset();
        let flush = if is_last { FlushCompress::Finish } else { FlushCompress::Sync };
        // Stored blocks need 5 bytes for each 64 KiB; what is not enough is made longer below.
        let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 1000 + 1024);
        loop {
            // At most what was given.
            let consumed = self.state.total_in() as usize;
            let status = self.state.compress_vec(bytes.get(consumed..)?, &mut out, flush).ok()?;
            let is_done = match status {
                Status::StreamEnd => true,
                // A flush is complete if it left room (zlib.h, deflate()).
                _ => {
                    !is_last
                        && out.len() < out.capacity()
                        && self.state.total_in() == bytes.len() as u64
                }
            };
            if is_done {
                return Some(out);
            }
            out.reserve(4096);
        }
    }
}

/// Unpacks a whole stream that gives exactly `length` bytes.
pub(crate) fn unpack(packed: &[u8], frame: Frame, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut state = Decompress::new(frame == Frame::Zlib);
    let status = state.decompress(packed, &mut bytes, FlushDecompress::Finish).ok()?;
    let is_whole = state.total_out() == length as u64 && status == Status::StreamEnd;
    is_whole.then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_one_stream_and_what_does_not_pack_is_refused() {
        let mut state = 1_u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            (state >> 56) as u8
        };
        let bytes: Vec<u8> =
            (0..300_000).map(|index| if index < 90_000 { noise() } else { 7 }).collect();
        let mut packer = Packer::new(Frame::Raw(15), 6);
        let parts: Vec<_> = bytes.chunks(80_000).collect();
        let mut stream = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            stream.extend(packer.part(part, index + 1 == parts.len()).unwrap());
        }
        assert!(stream.len() < 100_000, "{}", stream.len());
        assert_eq!(unpack(&stream, Frame::Raw(15), bytes.len()), Some(bytes.clone()));
        assert_eq!(unpack(&stream, Frame::Raw(15), bytes.len() - 1), None);
        assert!(packer.within(&bytes[..9000], 8999).is_none());
        let packed = Packer::new(Frame::Zlib, 6).within(&bytes[90_000..], 8999).unwrap();
        assert_eq!(unpack(&packed, Frame::Zlib, 210_000).unwrap(), bytes[90_000..]);
        assert_eq!(unpack(&packed[..9], Frame::Zlib, 210_000), None);
    }
}
