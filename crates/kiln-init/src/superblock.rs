//! The few fields of an ext4 superblock that decide what to do with a state partition.
//!
//! Format: Documentation/filesystems/ext4/super.rst. Only reads; whether the file system is sound is
//! for e2fsck and the kernel to say.

/// Byte offset of the superblock on its device.
pub const OFFSET: u64 = 1024;
/// Length of the superblock in bytes.
pub const LENGTH: usize = 1024;

/// `s_magic`.
const MAGIC: u16 = 0xef53;
/// `s_state`: unmounted cleanly, and errors seen.
const STATE_CLEAN: u16 = 1;
const STATE_ERRORS: u16 = 2;
/// `s_feature_incompat`: block numbers have 64 bits.
const FEATURE_64BIT: u32 = 0x80;

/// `s_feature_ro_compat`: metadata and superblock carry checksums.
const FEATURE_CHECKSUMS: u32 = 0x400;
/// Byte offset of `s_checksum`, which covers everything before it.
const CHECKSUM: usize = 0x3fc;

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Bytes per block.
    pub block_length: u64,
    /// Number of blocks.
    pub blocks: u64,
    /// Whether e2fsck should look before the next mount. A journal to be replayed is no reason: the
    /// kernel does that.
    pub needs_check: bool,
    /// Whether the checksum is wrong: on a disk with 512-byte sectors the superblock is two of them,
    /// the kernel writes it outside of the journal at every mount, and a power cut between the two
    /// leaves what neither the kernel nor e2fsck accepts. Its copy is then to be used.
    pub torn: bool,
    /// Number of the block with that copy, in the second block group.
    pub copy: u64,
}

/// Reads the superblock; `None` if these bytes are none.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Superblock> {
    let half = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let logarithm = word(0x18)?;
    if bytes.len() < LENGTH || half(0x38)? != MAGIC || logarithm > 6 {
        return None;
    }
    let high = if word(0x60)? & FEATURE_64BIT != 0 { word(0x150)? } else { 0 };
    let state = half(0x3a)?;
    let checked = word(0x64)? & FEATURE_CHECKSUMS != 0;
    let torn = checked && word(CHECKSUM)? != crc32c(bytes.get(..CHECKSUM)?);
    Some(Superblock {
        block_length: 1024 << logarithm,
        blocks: u64::from(high) << 32 | u64::from(word(0x4)?),
        needs_check: torn || state & STATE_CLEAN == 0 || state & STATE_ERRORS != 0,
        torn,
        copy: u64::from(word(0x14)?) + u64::from(word(0x20)?),
    })
}

/// CRC-32C as ext4 has it: Castagnoli's polynomial, reflected, begun with all ones and not inverted
/// at the end. Bit by bit, because it runs once per boot over one kilobyte.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| (sum >> 1) ^ (POLYNOMIAL * (sum & 1)))
    })
}

impl Superblock {
    /// Arguments for e2fsck, without the device: repair what needs no decision (e2fsck(8)).
    #[must_use]
    pub fn check_arguments(&self) -> Vec<String> {
        if !self.torn {
            return vec!["-p".into()];
        }
        let (copy, block_length) = (self.copy.to_string(), self.block_length.to_string());
        vec!["-p".into(), "-b".into(), copy, "-B".into(), block_length]
    }

    /// Number of blocks to grow to on a device of `length` bytes; `None` if nothing is gained. Less
    /// than a thousandth is not worth the work.
    #[must_use]
    pub fn growth(&self, length: u64) -> Option<u64> {
        let blocks = length / self.block_length;
        (blocks > self.blocks.saturating_add(self.blocks / 1000)).then_some(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(state: u16, high: u32) -> Vec<u8> {
        let mut bytes = vec![0; LENGTH];
        bytes[0x4..0x8].copy_from_slice(&50_000_u32.to_le_bytes());
        bytes[0x18..0x1c].copy_from_slice(&2_u32.to_le_bytes());
        bytes[0x20..0x24].copy_from_slice(&32_768_u32.to_le_bytes());
        bytes[0x38..0x3a].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[0x3a..0x3c].copy_from_slice(&state.to_le_bytes());
        bytes[0x60..0x64].copy_from_slice(&FEATURE_64BIT.to_le_bytes());
        bytes[0x150..0x154].copy_from_slice(&high.to_le_bytes());
        bytes
    }

    #[test]
    fn fields_are_read() {
        for (state, needs_check) in [(1, false), (0, true), (3, true), (2, true)] {
            let expected = Superblock {
                block_length: 4096,
                blocks: 50_000,
                needs_check,
                torn: false,
                copy: 32_768,
            };
            assert_eq!(parse(&bytes(state, 0)), Some(expected), "state {state}");
        }
        assert_eq!(parse(&bytes(1, 1)).unwrap().blocks, (1 << 32) + 50_000);
        assert_eq!(parse(&vec![0; LENGTH]), None);
        assert_eq!(parse(&bytes(1, 0)[..LENGTH - 1]), None);
    }

    #[test]
    fn a_torn_superblock_is_seen() {
        // The check value of CRC-32C (RFC 3720, appendix B.4, "32 bytes of zeroes"), not inverted.
        assert_eq!(crc32c(&[0; 32]), !0x8a91_36aa);
        let mut whole = bytes(STATE_CLEAN, 0);
        whole[0x64..0x68].copy_from_slice(&FEATURE_CHECKSUMS.to_le_bytes());
        assert!(parse(&whole).unwrap().torn);
        let sum = crc32c(&whole[..CHECKSUM]);
        whole[CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
        assert!(!parse(&whole).unwrap().torn);
        // One more mount is counted in the first sector; the checksum is in the second.
        whole[0x34] += 1;
        assert!(parse(&whole).unwrap().torn);
        assert!(parse(&whole).unwrap().needs_check);
    }

    #[test]
    fn growth_ignores_the_odd_block() {
        let superblock = parse(&bytes(1, 0)).unwrap();
        let cases = [(0, None), (50_000, None), (50_050, None), (50_051, Some(50_051))];
        for (blocks, expected) in cases {
            assert_eq!(superblock.growth(blocks * 4096), expected, "{blocks}");
        }
    }

    #[test]
    fn a_torn_superblock_is_checked_by_its_copy() {
        let mut superblock = parse(&bytes(STATE_CLEAN, 0)).unwrap();
        assert_eq!(superblock.check_arguments(), ["-p"]);
        superblock.torn = true;
        assert_eq!(superblock.check_arguments(), ["-p", "-b", "32768", "-B", "4096"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..1100)) {
            if let Some(superblock) = parse(&bytes) {
                let grown = superblock.growth(u64::MAX);
                prop_assert!(grown.is_none_or(|blocks| blocks > superblock.blocks));
            }
        }
    }
}
