//! The value of the kernel argument `kiln.root=`: `<root hash>:<data blocks>:<salt>`.
//!
//! Everything that the first process needs to find and prove a root, in one authenticated place.
//! Parsing is strict and total; a machine that cannot read this value must not guess.

use crate::{BLOCK, DIGEST, Error, RootHash, decode_hex, encode_hex, tree_blocks};
use std::fmt;
use std::str::FromStr;

/// Upper bound on data blocks: 256 TiB. Far above any image, and low enough that block numbers
/// times the block length never overflow 64 bits.
pub const MAXIMUM_DATA_BLOCKS: u64 = 1 << 36;

/// What a kernel command line says about the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootArgument {
    /// Digest of the top hash block.
    pub root: RootHash,
    /// Number of 4096-byte data blocks; the hash area starts directly behind them.
    pub data_blocks: u64,
    /// Salt in front of every block.
    pub salt: [u8; DIGEST],
}

impl RootArgument {
    /// Byte offset of the hash area, and of the top block, from the start of the image.
    pub fn hash_offset(&self) -> u64 {
        self.data_blocks.saturating_mul(BLOCK as u64)
    }

    /// Length in bytes of data and tree together: what a slot must hold.
    pub fn image_length(&self) -> u64 {
        self.data_blocks.saturating_add(tree_blocks(self.data_blocks)).saturating_mul(BLOCK as u64)
    }
}

impl fmt::Display for RootArgument {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.root, self.data_blocks, encode_hex(&self.salt))
    }
}

impl FromStr for RootArgument {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fields: Vec<&str> = text.splitn(4, ':').collect();
        let [root, blocks, salt] = fields[..] else {
            return Err(Error::Argument(text.chars().take(200).collect()));
        };
        let root = root.parse()?;
        let salt = decode_hex(salt)?;
        let plain = !blocks.starts_with('0') && blocks.bytes().all(|byte| byte.is_ascii_digit());
        match blocks.parse::<u64>() {
            Ok(data_blocks) if plain && (2..=MAXIMUM_DATA_BLOCKS).contains(&data_blocks) => {
                Ok(Self { root, data_blocks, salt })
            }
            _ => Err(Error::BlockCount(blocks.chars().take(40).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_written_form_is_read() {
        let hash = "ab".repeat(32);
        let salt = "01".repeat(32);
        let good = format!("{hash}:1000:{salt}");
        let argument: RootArgument = good.parse().unwrap();
        assert_eq!(argument.to_string(), good);
        assert_eq!(argument.hash_offset(), 4_096_000);
        assert_eq!(argument.image_length(), (1000 + 8 + 1) * 4096);
        for bad in [
            String::new(),
            hash.clone(),
            format!("{hash}:1000"),
            format!("{good}:"),
            format!("{good} "),
            format!(" {good}"),
            format!("{hash}:01000:{salt}"),
            format!("{hash}:+1000:{salt}"),
            format!("{hash}:1:{salt}"),
            format!("{hash}:0:{salt}"),
            format!("{hash}::{salt}"),
            format!("{hash}:68719476737:{salt}"),
            format!("{hash}:99999999999999999999:{salt}"),
            format!("{}:1000:{salt}", hash.to_uppercase()),
        ] {
            assert!(bad.parse::<RootArgument>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_read_back(text in "[0-9a-f:]{0,160}|.{0,80}") {
            if let Ok(argument) = text.parse::<RootArgument>() {
                prop_assert_eq!(argument.to_string(), text);
            }
        }
    }
}
