//! Numbers of tar headers (POSIX.1-2024, pax, "ustar Interchange Format"; GNU tar's manual, "Basic
//! Tar Format").

use std::ops::Range;

/// Bytes of a header; what contents are filled up to.
pub(crate) const BLOCK: usize = 512;
/// Bytes of zeros that end an archive: two headers.
pub(crate) const END: usize = 2 * BLOCK;
/// Magic and version of POSIX.
pub(crate) const MAGIC_POSIX: [u8; 8] = *b"ustar\x0000";
/// The same of GNU tar's older format.
pub(crate) const MAGIC_GNU: [u8; 8] = *b"ustar  \0";
/// Kind of a regular file.
pub(crate) const REGULAR: u8 = b'0';
/// Kind of a sparse file in GNU tar's older format.
pub(crate) const SPARSE: u8 = b'S';

/// Places of a header's fields.
pub(crate) mod field {
    use super::Range;

    pub(crate) const NAME: Range<usize> = 0..100;
    pub(crate) const MODE: Range<usize> = 100..108;
    pub(crate) const USER: Range<usize> = 108..116;
    pub(crate) const GROUP: Range<usize> = 116..124;
    pub(crate) const SIZE: Range<usize> = 124..136;
    pub(crate) const TIME: Range<usize> = 136..148;
    pub(crate) const CHECKSUM: Range<usize> = 148..156;
    pub(crate) const KIND: usize = 156;
    pub(crate) const MAGIC: Range<usize> = 257..265;
}

/// Sum of all bytes of a header, its checksum taken as blanks.
pub(super) fn checksum(bytes: &[u8; BLOCK]) -> u32 {
    let sum = |(index, byte): (usize, &u8)| {
        u32::from(if field::CHECKSUM.contains(&index) { b' ' } else { *byte })
    };
    bytes.iter().enumerate().map(sum).sum()
}

/// Writes a number: octal digits and a zero, or where these do not suffice GNU's form, in which the
/// first bit is set and the number stands big-endian.
pub(crate) fn put_number(bytes: &mut [u8], value: u64) {
    let digits = format!("{value:0width$o}", width = bytes.len().saturating_sub(1));
    if digits.len() < bytes.len() {
        for (target, byte) in bytes.iter_mut().zip(digits.bytes().chain([0])) {
            *target = byte;
        }
        return;
    }
    for (target, byte) in bytes.iter_mut().rev().zip(value.to_le_bytes().into_iter().chain([0; 8]))
    {
        *target = byte;
    }
    if let Some(first) = bytes.first_mut() {
        *first |= 0x80;
    }
}
