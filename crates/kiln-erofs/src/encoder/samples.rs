//! Contents for the tests of the encoder's parts, the same on every computer.

/// Bytes that no codec makes smaller, others for each seed.
pub(super) fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    (0..length)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        })
        .collect()
}
