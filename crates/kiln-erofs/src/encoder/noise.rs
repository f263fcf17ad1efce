//! Finds out cheaply that LZ4 cannot make something smaller: archives, modules and pictures that
//! are compressed already, a fifth of the bytes of usual images.
//!
//! The answer "noise" is a proof and never a guess, because profiles are frozen: what is stored as
//! it is must be exactly what the method itself would have failed at. A match of `n` bytes takes
//! three bytes at least, and `n - 3` of its positions begin with four bytes that stood somewhere
//! before. So a block saves at most one byte for each such position, and it loses one for every 255
//! literals. If there are fewer than the literals lose, no choice of matches gains anything.
//! Positions are counted with a Bloom filter: it takes some for repeated that are not, which only
//! makes the answer "noise" rarer. Looking at a sample or at the distribution of bytes was dropped:
//! both are quicker and prove nothing.

/// Bytes looked at, at most: a block of noise that fills a cluster stands for no more.
const LOOK: usize = crate::profile::LZ4_CLUSTER;
/// Bytes looked at first, so that everything else is recognised before it costs anything.
const FIRST_LOOK: usize = 8 << 10;
/// Shortest input that is worth a look. Longer than anything that lies beside an inode, for which
/// other rules hold.
const SHORTEST: usize = 16 << 10;
/// Repeated positions that are still noise: one in so many. Literals lose one byte in 255, and each
/// match brings at most one extra run of literals, so less than twice as many is safe.
const TOLERATED: usize = 512;
/// Bytes of input for each word of the filter: three bits of 64 for each of two positions, so that
/// about one in three thousand is taken for repeated by mistake.
const INPUT_PER_WORD: usize = 2;

/// The filter of one thread; holds nothing between calls.
#[derive(Debug, Default)]
pub(super) struct Noise {
    seen: Vec<u64>,
}

impl Noise {
    /// Whether every LZ4 block that fills a cluster with the beginning of `input`, or takes in all
    /// of it, is at least as long as what it stands for.
    pub(super) fn is(&mut self, input: &[u8]) -> bool {
        let input = &input[..input.len().min(LOOK)];
        input.len() >= SHORTEST
            && self.repeats_few(&input[..FIRST_LOOK], FIRST_LOOK / TOLERATED)
            && self.repeats_few(input, input.len() / TOLERATED)
    }

    /// Whether at most `tolerated` positions begin with four bytes that stood before.
    fn repeats_few(&mut self, input: &[u8], tolerated: usize) -> bool {
        let words = (input.len() / INPUT_PER_WORD).next_power_of_two();
        self.seen.clear();
        self.seen.resize(words, 0);
        // The last three positions have no four bytes in here, but may have them behind.
        let mut repeated = 3;
        for bytes in input.windows(4) {
            let value = bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
            // The fraction of the golden ratio: neighbouring values come far apart.
            let hash = value.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let bits =
                (1 << (hash >> 43 & 63)) | (1 << (hash >> 37 & 63)) | (1 << (hash >> 31 & 63));
            // Fewer words than the upper 15 bits tell apart.
            if let Some(word) = self.seen.get_mut((hash >> 49) as usize & (words - 1)) {
                repeated += usize::from(*word & bits == bits);
                *word |= bits;
            }
            if repeated > tolerated {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::noise;
    use super::*;
    use kiln_sys::codec::Lz4Hc;

    #[test]
    fn noise_is_recognised_and_what_shrinks_is_not() {
        let mut test = Noise::default();
        for seed in 0..10 {
            for length in [SHORTEST, 20_001, LOOK, 300_000] {
                assert!(test.is(&noise(length, seed)), "{seed} {length}");
            }
        }
        let text: Vec<u8> = (0..20_000_u32).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        assert!(!test.is(&text));
        assert!(!test.is(&vec![0; LOOK]));
        assert!(!test.is(&noise(SHORTEST - 1, 1)));
    }

    /// What is called noise gains nothing, whatever is mixed into it and whatever follows.
    #[test]
    fn the_library_fails_at_all_that_is_called_noise() {
        let (mut test, mut high) = (Noise::default(), Lz4Hc::new());
        let mut out = vec![0; LOOK];
        let mut called = [0; 2];
        for round in 0..400_usize {
            let seed = round as u64 * 7919 + 1;
            let length = [SHORTEST, 30_000, LOOK, LOOK + 5000, 3 * LOOK][round % 5];
            let mut bytes = noise(length, seed);
            // Repeats of all lengths, near and far, up to far more than are tolerated.
            let choices = noise(8 * (round % 97), seed + 1);
            for choice in choices.chunks(8) {
                let number =
                    |at: usize| usize::from(choice[at]) * 256 + usize::from(choice[at + 1]);
                let count = 4 + number(0) % (1 + round % 13);
                let from = number(2) * 4 % (length - count);
                let to = number(4) * 4 % (length - count);
                bytes.copy_within(from..from + count, to);
            }
            if round % 3 == 0 && length > LOOK {
                bytes[LOOK..].fill(0);
            }
            let is_noise = test.is(&bytes);
            called[usize::from(is_noise)] += 1;
            let level = [3, 9, 12][round % 3];
            let filled = high.fill(&bytes, &mut out, level).unwrap();
            assert!(!is_noise || filled.written >= filled.consumed, "{round}: {filled:?}");
        }
        assert!(called[0] > 50 && called[1] > 50, "{called:?}");
    }
}
