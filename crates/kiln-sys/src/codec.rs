//! LZ4 block compression: safe functions over the C library, one call per EROFS physical cluster.
//!
//! EROFS wants "fill this output, tell me how much input went in", which no safe crate offers, so
//! the C functions are called here. Nothing here ever reads or writes outside the given slices,
//! and no call depends on an earlier one: the same input gives the same bytes, whoever asks.
//! A pure Rust LZ4 was dropped because it lacks both the fill-the-output mode and the HC levels.

use std::ffi::{c_char, c_int, c_void};

// Not declared by lz4-sys, but part of the stable interface of lz4.h and lz4hc.h (lz4 1.10).
unsafe extern "C" {
    fn LZ4_compress_destSize(
        source: *const c_char,
        destination: *mut c_char,
        source_size: *mut c_int,
        target: c_int,
    ) -> c_int;
    fn LZ4_compress_HC_destSize(
        state: *mut c_void,
        source: *const c_char,
        destination: *mut c_char,
        source_size: *mut c_int,
        target: c_int,
        level: c_int,
    ) -> c_int;
    fn LZ4_sizeofStateHC() -> c_int;
}

/// Largest input of one call, in bytes: LZ4_MAX_INPUT_SIZE of lz4.h.
pub const LZ4_MAX_INPUT: usize = 0x7E00_0000;

/// What one call took from the input and put into the output, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// Input bytes that the output stands for.
    pub consumed: usize,
    /// Output bytes written.
    pub written: usize,
}

fn clamp(length: usize) -> c_int {
    // LZ4_MAX_INPUT is below c_int::MAX, so this never truncates.
    length.min(LZ4_MAX_INPUT) as c_int
}

fn filled(consumed: c_int, written: c_int) -> Option<Filled> {
    let consumed = usize::try_from(consumed).ok()?;
    let written = usize::try_from(written).ok().filter(|&written| written > 0)?;
    Some(Filled { consumed, written })
}

/// Compresses as much of `source` as fits into `destination`, with LZ4's fast method.
/// `None` if nothing could be written (an empty slice on either side).
pub fn lz4_fill(source: &[u8], destination: &mut [u8]) -> Option<Filled> {
    if source.is_empty() || destination.is_empty() {
        return None;
    }
    let mut consumed = clamp(source.len());
    // SAFETY: both pointers come from live slices, and the sizes passed with them are at most
    // the slices' lengths; the function keeps no pointer after it returns.
    let written = unsafe {
        LZ4_compress_destSize(
            source.as_ptr().cast(),
            destination.as_mut_ptr().cast(),
            &raw mut consumed,
            clamp(destination.len()),
        )
    };
    filled(consumed, written)
}

/// Working memory of the high-compression method: one per thread, reusable, without history.
#[derive(Debug)]
pub struct Lz4Hc {
    // u64 elements give the 8-byte alignment that the library asks for.
    state: Vec<u64>,
}

impl Default for Lz4Hc {
    fn default() -> Self {
        Self::new()
    }
}

impl Lz4Hc {
    /// Allocates the working memory (about 256 KiB).
    pub fn new() -> Self {
        // SAFETY: takes no argument and only returns a constant.
        let bytes = unsafe { LZ4_sizeofStateHC() };
        let bytes = usize::try_from(bytes).unwrap_or(0);
        Self { state: vec![0; bytes.div_ceil(8)] }
    }

    /// Like [`lz4_fill`] with the high-compression method; `level` is clamped to 3..=12.
    pub fn fill(&mut self, source: &[u8], destination: &mut [u8], level: u8) -> Option<Filled> {
        if source.is_empty() || destination.is_empty() {
            return None;
        }
        let mut consumed = clamp(source.len());
        // SAFETY: the state has the size that LZ4_sizeofStateHC asked for and 8-byte alignment,
        // and is initialised by the function itself; the rest is as in `lz4_fill`.
        let written = unsafe {
            LZ4_compress_HC_destSize(
                self.state.as_mut_ptr().cast(),
                source.as_ptr().cast(),
                destination.as_mut_ptr().cast(),
                &raw mut consumed,
                clamp(destination.len()),
                c_int::from(level.clamp(3, 12)),
            )
        };
        filled(consumed, written)
    }
}

/// Decompresses one whole LZ4 block; the number of bytes written, or `None` if the block is
/// damaged or does not fit into `destination`.
pub fn lz4_decompress(source: &[u8], destination: &mut [u8]) -> Option<usize> {
    // SAFETY: pointers and lengths belong to live slices, and the "safe" decoder checks every
    // access against both lengths, whatever the input says.
    let written = unsafe {
        lz4_sys::LZ4_decompress_safe(
            source.as_ptr().cast(),
            destination.as_mut_ptr().cast(),
            clamp(source.len()),
            clamp(destination.len()),
        )
    };
    usize::try_from(written).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(length: usize) -> Vec<u8> {
        (0..length).map(|index| ((index * index) >> 9) as u8).collect()
    }

    #[test]
    fn both_methods_fill_the_output_and_read_back() {
        let source = sample(300_000);
        let mut high = Lz4Hc::new();
        for target in [64, 4096, 65536] {
            let mut out = vec![0; target];
            for level in [None, Some(3), Some(9), Some(12)] {
                let filled = match level {
                    None => lz4_fill(&source, &mut out),
                    Some(level) => high.fill(&source, &mut out, level),
                }
                .unwrap();
                assert!(filled.written <= target && filled.consumed >= filled.written / 2);
                let mut back = vec![0; filled.consumed];
                assert_eq!(
                    lz4_decompress(&out[..filled.written], &mut back),
                    Some(filled.consumed),
                    "target {target} level {level:?}"
                );
                assert_eq!(back, source[..filled.consumed]);
            }
        }
    }

    #[test]
    fn damaged_or_oversized_blocks_are_refused() {
        let source = sample(10_000);
        let mut out = vec![0; 65536];
        let filled = lz4_fill(&source, &mut out).unwrap();
        assert_eq!(lz4_decompress(&out[..filled.written], &mut [0; 100]), None);
        assert_eq!(lz4_decompress(&out[..filled.written / 2], &mut vec![0; 10_000]), None);
        assert_eq!(lz4_decompress(&[0xff; 40], &mut [0; 100]), None);
        assert_eq!(lz4_fill(&[], &mut out), None);
        assert_eq!(lz4_fill(&source, &mut []), None);
    }
}
