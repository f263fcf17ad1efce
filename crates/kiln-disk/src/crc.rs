//! CRC-32 as GPT uses it (UEFI 2.10, section 5.3.2: the CCITT polynomial, reflected, inverted).
//!
//! Twenty lines instead of a dependency: the table headers and arrays are a few kilobytes, so speed
//! does not matter and the first process of a machine stays small.

/// The reflected CCITT polynomial 0x04c11db7.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// Checksum of `bytes`.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let mut remainder = u32::MAX;
    for byte in bytes {
        remainder ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = remainder & 1;
            remainder = remainder >> 1 ^ POLYNOMIAL & carry.wrapping_neg();
        }
    }
    !remainder
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_standard_check_value() {
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(super::crc32(b""), 0);
    }
}
