//! How many blocks each content has in the root image: what a machine needs to put contents where
//! they belong before it has all of them.
//!
//! A list beside the table and not in it, because the table's form is frozen and this is a hint: a
//! machine that finds none, or a wrong one, writes the same root, only more often. Where each piece
//! of a content ends was left out: it follows from encoding, which a machine does anyway.

use kiln_erofs::{Inode, format};

use crate::Error;

/// Media type of the list.
pub const MEDIA_TYPE: &str = "application/vnd.kiln.release.blocks.v1";
/// Longest list in bytes as it is stored: zstd's worst case for 2,000,000 contents.
pub const STORED_MAX: u64 = 9 << 20;
/// Bytes of a number.
const NUMBER: usize = 4;
/// zstd level of the list; readers do not care.
const LEVEL: i32 = 19;

/// The blocks of a file in the image that it was read from.
pub(crate) fn of_inode(inode: &Inode) -> u32 {
    let block = u64::from(format::BLOCK as u32);
    let blocks = match inode.raw.layout {
        format::LAYOUT_FLAT_PLAIN => inode.raw.size.div_ceil(block),
        format::LAYOUT_FLAT_INLINE => inode.raw.size.saturating_sub(1) / block,
        // Of an indexed file it is the number of its blocks.
        _ => u64::from(inode.raw.union),
    };
    u32::try_from(blocks).unwrap_or(u32::MAX)
}

/// The list of these numbers, in the order of the table's contents.
///
/// # Errors
/// The codec failed.
pub fn write(blocks: &[u32]) -> Result<Vec<u8>, Error> {
    let bytes: Vec<u8> = blocks.iter().flat_map(|blocks| blocks.to_le_bytes()).collect();
    zstd::bulk::compress(&bytes, LEVEL).map_err(Error::io("compress the list of blocks"))
}

/// Reads the list for so many contents, which the caller has bounded.
///
/// # Errors
/// [`Error::Malformed`] for any other number of contents, and what is no list.
pub fn read(stored: &[u8], contents: usize) -> Result<Vec<u32>, Error> {
    let refused = || Error::malformed("blocks", "they are not those of its contents");
    let mut bytes = vec![0; contents.checked_mul(NUMBER).ok_or_else(refused)?];
    match zstd::bulk::decompress_to_buffer(stored, &mut bytes[..]) {
        Ok(written) if written == bytes.len() => {}
        _ => return Err(refused()),
    }
    let (numbers, _) = bytes.as_chunks::<NUMBER>();
    Ok(numbers.iter().map(|number| u32::from_le_bytes(*number)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_back_for_its_own_contents_alone() {
        let blocks: Vec<u32> = (0..1000).map(|number| number * number % 77).collect();
        let stored = write(&blocks).unwrap();
        assert_eq!(read(&stored, 1000).unwrap(), blocks);
        for count in [0, 999, 1001] {
            assert!(read(&stored, count).is_err(), "{count}");
        }
        assert!(read(&stored[..stored.len() - 1], 1000).is_err());
        assert_eq!(read(&write(&[]).unwrap(), 0).unwrap(), Vec::<u32>::new());
    }

    proptest::proptest! {
        #[test]
        fn rubbish_never_panics(stored: Vec<u8>, contents in 0_usize..5000) {
            let _ = read(&stored, contents);
        }
    }
}
