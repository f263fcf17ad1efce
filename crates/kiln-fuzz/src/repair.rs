//! Puts checksums right, so that a mutation reaches what lies behind them.
//!
//! A fuzzer finds no CRC by chance. Only checksums are repaired and never the fields they cover;
//! the checks themselves are the business of each parser's own tests.

use flate2::Crc;

/// Bytes of a tar block.
pub(crate) const TAR_BLOCK: usize = 512;
/// Place and length of a tar header's checksum, and the place of its magic (POSIX.1-2017, pax).
const TAR_CHECKSUM: std::ops::Range<usize> = 148..156;
const TAR_MAGIC: usize = 257;

/// Entry bytes whose checksum is worth computing; more than 128 entries of 128 bytes are rare.
const GPT_ARRAY_BYTES: usize = 64 << 10;

/// Gives every block with the magic of a tar header its checksum.
pub(crate) fn tar(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(TAR_BLOCK) {
        if block.get(TAR_MAGIC..TAR_MAGIC + 5) != Some(b"ustar") {
            continue;
        }
        block[TAR_CHECKSUM].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[TAR_CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// Gives a GPT header (UEFI 2.10, table 5.5) the checksums of itself and of its entries, which
/// `read` fetches by sector and length.
pub(crate) fn gpt_header(header: &mut [u8], read: impl Fn(u64, usize) -> Option<Vec<u8>>) {
    if !header.starts_with(b"EFI PART") {
        return;
    }
    let word = |at: usize| {
        let bytes = header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_le_bytes)
    };
    let entries_at = u64::from(word(72)) | u64::from(word(76)) << 32;
    let length = (word(80) as usize).saturating_mul(word(84) as usize);
    let header_length = word(12) as usize;
    if length <= GPT_ARRAY_BYTES
        && let Some(entries) = read(entries_at, length)
    {
        put(header, 88, crc32(&entries));
    }
    put(header, 16, 0);
    let sum = header.get(..header_length).map_or(0, crc32);
    put(header, 16, sum);
}

/// The checksum of a VHD's footer: one's complement of the sum of its other bytes, big-endian.
pub(crate) fn vhd_footer(footer: &mut [u8; 512]) {
    let own = 64..68;
    let others = footer.iter().enumerate().filter(|(index, _)| !own.contains(index));
    let sum = !others.map(|(_, byte)| u32::from(*byte)).sum::<u32>();
    footer[own].copy_from_slice(&sum.to_be_bytes());
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(field) = bytes.get_mut(at..at + 4) {
        field.copy_from_slice(&value.to_le_bytes());
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = Crc::new();
    sum.update(bytes);
    sum.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tar_blocks_get_the_sum_that_readers_compute() {
        let mut block = vec![0; 2 * TAR_BLOCK];
        block[0] = b'a';
        block[TAR_MAGIC..TAR_MAGIC + 5].copy_from_slice(b"ustar");
        tar(&mut block);
        let expected = u32::from(b'a') + b"ustar".iter().map(|&b| u32::from(b)).sum::<u32>() + 256;
        assert_eq!(block[TAR_CHECKSUM], *format!("{expected:06o}\0 ").as_bytes());
        assert!(block[TAR_BLOCK..].iter().all(|byte| *byte == 0));
    }
}
