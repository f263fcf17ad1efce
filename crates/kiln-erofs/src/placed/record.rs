//! Where a content was put, as bytes: what a machine keeps of it until the image stands.
//!
//! All numbers are little-endian with 32 bits but the size with 64: digest, size, first block,
//! number of segments; for each its number of pieces; for each piece the bytes it stands for and the
//! bytes that it has, whose highest bit says that they are compressed. It never leaves its machine,
//! and is replaced together with the program; still nothing in it is believed.

use super::PlacedContent;
use crate::extent::{Extent, SEGMENT};

/// Bit of a stored length that says `compressed`; lengths are at most a segment and a block.
const COMPRESSED: u32 = 1 << 31;

impl PlacedContent {
    /// The bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.digest.to_vec();
        bytes.extend(self.size.to_le_bytes());
        bytes.extend(self.first_block.to_le_bytes());
        bytes.extend((self.segments.len() as u32).to_le_bytes());
        for pieces in &self.segments {
            bytes.extend((pieces.len() as u32).to_le_bytes());
            for piece in pieces {
                let flag = if piece.compressed { COMPRESSED } else { 0 };
                bytes.extend(piece.logical.to_le_bytes());
                bytes.extend((piece.stored | flag).to_le_bytes());
            }
        }
        bytes
    }

    /// Reads them back; `tail_at` is where the tail lies now, 0 if there is none. `None` for anything
    /// that [`Self::to_bytes`] does not write.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], tail_at: u32) -> Option<Self> {
        let (digest, mut rest) = bytes.split_first_chunk::<32>()?;
        let (size, behind) = rest.split_first_chunk::<8>()?;
        rest = behind;
        let size = u64::from_le_bytes(*size);
        let first_block = number(&mut rest)?;
        let count = number(&mut rest)?;
        if u64::from(count) != size.div_ceil(SEGMENT as u64) {
            return None;
        }
        let (mut segments, mut total) = (Vec::new(), 0);
        for _ in 0..count {
            let mut pieces = Vec::new();
            for _ in 0..number(&mut rest)? {
                let (logical, stored) = (number(&mut rest)?, number(&mut rest)?);
                let (stored, compressed) = (stored & !COMPRESSED, stored & COMPRESSED != 0);
                if logical as usize > SEGMENT || stored as usize > 2 * SEGMENT {
                    return None;
                }
                total += u64::from(logical);
                pieces.push(Extent { logical, stored, compressed });
            }
            segments.push(pieces);
        }
        let digest = *digest;
        let content = Self { digest, size, first_block, tail_at, segments };
        (rest.is_empty() && total == size && size > 0).then_some(content)
    }
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (number, behind) = rest.split_first_chunk::<4>()?;
    *rest = behind;
    Some(u32::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> PlacedContent {
        let piece = |logical, stored, compressed| Extent { logical, stored, compressed };
        PlacedContent {
            digest: [7; 32],
            size: SEGMENT as u64 + 5,
            first_block: 9,
            tail_at: 70,
            segments: vec![vec![piece(SEGMENT as u32, 8192, true)], vec![piece(5, 5, false)]],
        }
    }

    #[test]
    fn a_record_reads_back_and_half_of_one_does_not() {
        let bytes = example().to_bytes();
        assert_eq!(PlacedContent::from_bytes(&bytes, 70), Some(example()));
        for length in 0..bytes.len() {
            assert_eq!(PlacedContent::from_bytes(&bytes[..length], 70), None, "{length}");
        }
        // Size, number of segments, length of a piece.
        for at in [32, 44, 53] {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(PlacedContent::from_bytes(&bad, 70), None, "{at}");
        }
    }

    proptest::proptest! {
        #[test]
        fn rubbish_never_panics(bytes: Vec<u8>) {
            let _ = PlacedContent::from_bytes(&bytes, 1);
        }
    }
}
