//! Headers of regular files that belong to root and have no time.

use super::format::{BLOCK, checksum, field, put_number};

/// A header. `size` are the bytes that follow it; a name of more than 100 bytes is cut.
pub(crate) fn render(name: &str, size: u64, kind: u8, magic: [u8; 8]) -> [u8; BLOCK] {
    let mut bytes = [0; BLOCK];
    for (target, byte) in bytes[field::NAME].iter_mut().zip(name.bytes()) {
        *target = byte;
    }
    put_number(&mut bytes[field::MODE], 0o644);
    for place in [field::USER, field::GROUP, field::TIME] {
        put_number(&mut bytes[place], 0);
    }
    put_number(&mut bytes[field::SIZE], size);
    bytes[field::KIND] = kind;
    bytes[field::MAGIC].copy_from_slice(&magic);
    seal(&mut bytes);
    bytes
}

/// Writes the checksum, after a field was changed.
pub(crate) fn seal(bytes: &mut [u8; BLOCK]) {
    // Six digits, a zero, a blank.
    let digits = format!("{:06o}\0 ", checksum(bytes));
    bytes[field::CHECKSUM].copy_from_slice(digits.as_bytes());
}
