//! Subsets, all of them or a repeatable sample.

/// Proper subsets of `count` things: all of them up to `exhaustive` things, else at most `samples`
/// each of prefixes, single losses, single survivors and random ones.
pub(super) fn subsets(
    count: usize,
    exhaustive: usize,
    samples: usize,
    random: &mut Random,
) -> Vec<Vec<bool>> {
    if count <= exhaustive {
        let subset = |bits: u64| (0..count).map(|index| bits >> index & 1 == 1).collect();
        return (0..(1_u64 << count) - 1).map(subset).collect();
    }
    let mut found: Vec<Vec<bool>> = Vec::new();
    let places: Vec<usize> = if count <= samples {
        (0..count).collect()
    } else {
        (0..samples).map(|_| random.below(count)).collect()
    };
    for place in places {
        found.push((0..count).map(|index| index < place).collect());
        found.push((0..count).map(|index| index != place).collect());
        found.push((0..count).map(|index| index == place).collect());
    }
    for _ in 0..samples {
        found.push((0..count).map(|_| random.below(2) == 1).collect());
    }
    found
}

/// Repeatable chance: xorshift64* (Vigna 2016); any generator would do.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    /// A stream of its own for each window, so that a change of one leaves the others alone.
    pub(super) fn new(seed: u64, stream: usize) -> Self {
        let mixed = (seed ^ (stream as u64).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(mixed | 1)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn few_things_give_all_subsets_and_many_a_sample() {
        for (count, exhaustive, expected) in [(0, 6, 0), (1, 6, 1), (3, 6, 7), (6, 6, 63)] {
            let found = subsets(count, exhaustive, 4, &mut Random::new(1, 0));
            let distinct: BTreeSet<&Vec<bool>> = found.iter().collect();
            assert_eq!((found.len(), distinct.len()), (expected, expected), "{count}");
            assert!(!found.contains(&vec![true; count]), "{count}");
        }
        let sample = subsets(40, 6, 40, &mut Random::new(1, 0));
        assert_eq!(sample.len(), 160);
        for lost in 0..40 {
            let single: Vec<bool> = (0..40).map(|index| index != lost).collect();
            assert!(sample.contains(&single), "{lost}");
        }
        assert_eq!(subsets(1000, 6, 8, &mut Random::new(1, 0)).len(), 32);
    }
}
