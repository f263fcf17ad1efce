//! Cuts long contents into chunks by what they hold.
//!
//! A gear hash: each byte shifts a 64-bit value left by one and adds a number that belongs to the
//! byte, so the value depends on the last 64 bytes alone and an inserted byte moves no cut behind
//! the next one. It is our own because its bytes are frozen for ever and it is thirty lines; a crate
//! could change its table with any version.

use std::io::{self, Write};
use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

use super::format::{
    BITS_ABOVE, BITS_BELOW, CHUNK_MAX, CHUNK_MIN, CHUNK_NORMAL, GEAR_SEED, WHOLE_MAX, WINDOW,
};

static GEAR: LazyLock<[u64; 256]> = LazyLock::new(|| {
    let mut table = [0; 256];
    for (byte, value) in (0..=u8::MAX).zip(&mut table) {
        let digest = Sha256::new().chain_update(GEAR_SEED).chain_update([byte]).finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        *value = u64::from_le_bytes(first);
    }
    table
});

/// Finds the ends of chunks in one content as its bytes come.
#[derive(Debug)]
pub struct Cutter {
    /// The content is one chunk.
    whole: bool,
    /// Bytes of the present chunk so far.
    length: usize,
    value: u64,
}

impl Cutter {
    /// For a content of `size` bytes.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self { whole: size <= WHOLE_MAX, length: 0, value: 0 }
    }

    /// Looks at the next bytes. `Some(n)`: the chunk ends behind the first `n` of them, and the rest
    /// is to be given again. `None`: it goes on, or ends with the content.
    pub fn cut(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.whole {
            return None;
        }
        let gear = &*GEAR;
        // What lies more than a window before the first possible cut has no influence on it.
        let mut at = (CHUNK_MIN - WINDOW).saturating_sub(self.length).min(bytes.len());
        self.length += at;
        while at < bytes.len() {
            self.value = (self.value << 1).wrapping_add(gear[usize::from(bytes[at])]);
            at += 1;
            self.length += 1;
            if self.length < CHUNK_MIN {
                continue;
            }
            let bits = if self.length < CHUNK_NORMAL { BITS_BELOW } else { BITS_ABOVE };
            if self.value >> (u64::BITS - bits) == 0 || self.length == CHUNK_MAX {
                self.length = 0;
                self.value = 0;
                return Some(at);
            }
        }
        None
    }
}

/// Collects what is written into chunks and hands each on.
pub struct ChunkWriter<F> {
    cutter: Cutter,
    chunk: Vec<u8>,
    take: F,
}

impl<F> std::fmt::Debug for ChunkWriter<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ChunkWriter").field("cutter", &self.cutter).finish_non_exhaustive()
    }
}

impl<F: FnMut(Vec<u8>) -> io::Result<()>> ChunkWriter<F> {
    /// For a content of `size` bytes.
    pub fn new(size: u64, take: F) -> Self {
        Self { cutter: Cutter::new(size), chunk: Vec::new(), take }
    }

    /// Hands the last chunk on.
    ///
    /// # Errors
    /// What the taker says.
    pub fn finish(mut self) -> io::Result<()> {
        if self.chunk.is_empty() { Ok(()) } else { (self.take)(self.chunk) }
    }
}

impl<F: FnMut(Vec<u8>) -> io::Result<()>> Write for ChunkWriter<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.cutter.cut(bytes);
        let length = end.unwrap_or(bytes.len());
        self.chunk.extend_from_slice(&bytes[..length]);
        if end.is_some() {
            (self.take)(std::mem::take(&mut self.chunk))?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn noise(length: usize, mut seed: u64) -> Vec<u8> {
        (0..length)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 56) as u8
            })
            .collect()
    }

    fn chunks(bytes: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut writer = ChunkWriter::new(bytes.len() as u64, |chunk| {
            found.push(chunk);
            Ok(())
        });
        bytes.chunks(step).for_each(|part| writer.write_all(part).unwrap());
        writer.finish().unwrap();
        found
    }

    #[test]
    fn cuts_are_frozen_and_do_not_depend_on_how_bytes_arrive() {
        let bytes = noise(3 << 20, 1);
        let lengths: Vec<usize> = chunks(&bytes, 1 << 20).iter().map(Vec::len).collect();
        assert_eq!(lengths, chunks(&bytes, 977).iter().map(Vec::len).collect::<Vec<_>>());
        assert_eq!(lengths.iter().sum::<usize>(), bytes.len());
        assert_eq!(lengths[..4], FROZEN, "the format says where cuts are");
        let (last, others) = lengths.split_last().unwrap();
        assert!(others.iter().all(|length| (CHUNK_MIN..=CHUNK_MAX).contains(length)));
        assert!(*last <= CHUNK_MAX);
    }

    /// Computed once from the definition in docs/formats/release.md.
    const FROZEN: [usize; 4] = [141_385, 161_216, 152_736, 163_285];

    #[test]
    fn an_insertion_changes_the_chunks_around_it() {
        let old = noise(4 << 20, 2);
        let mut new = old.clone();
        new.splice(2_000_000..2_000_000, *b"inserted");
        let known: std::collections::BTreeSet<Vec<u8>> =
            chunks(&old, 1 << 16).into_iter().collect();
        let fresh: usize =
            chunks(&new, 1 << 16).iter().filter(|c| !known.contains(*c)).map(Vec::len).sum();
        assert!(fresh <= 2 * CHUNK_MAX, "{fresh}");
    }

    #[test]
    fn short_contents_and_zeros_have_bounded_chunks() {
        assert_eq!(chunks(&noise(256 << 10, 3), 1000).len(), 1);
        let zeros = chunks(&vec![0; 3 << 20], 100_000);
        assert!(zeros.iter().all(|chunk| chunk.len() <= CHUNK_MAX));
        assert!(chunks(b"", 1).is_empty());
    }
}
