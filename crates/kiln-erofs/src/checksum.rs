//! CRC-32C as the superblock wants it: reflected, polynomial 0x1EDC6F41, seeded by the caller and
//! not inverted at the end (the kernel's `crc32c()`).
//!
//! Only 3 KiB per image pass through here, so it is bit by bit; a table would be more code than
//! the job is worth.

/// Reflected Castagnoli polynomial.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// Continues `seed` over `bytes`.
pub(crate) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |mut crc, &byte| {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(crc & 1));
        }
        crc
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn check_value_of_the_catalogue() {
        assert_eq!(!super::crc32c(!0, b"123456789"), 0xE306_9283);
    }
}
