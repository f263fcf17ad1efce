//! Digests of single blocks and their text form.
//!
//! Text is strict (64 lower-case digits): a root hash has exactly one spelling, so comparing two
//! command lines as text is the same as comparing what they mean.

use crate::{DIGEST, Error};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// SHA-256 over salt, then block: one node of a tree of hash type 1.
pub fn hash_block(salt: &[u8; DIGEST], block: &[u8]) -> [u8; DIGEST] {
    let mut hasher = Sha256::new();
    hasher.update(salt);
    hasher.update(block);
    hasher.finalize().into()
}

/// Whether `block` has the digest `expected`.
pub fn verify_block(salt: &[u8; DIGEST], block: &[u8], expected: &[u8; DIGEST]) -> bool {
    hash_block(salt, block) == *expected
}

/// Digest of the top block of a tree: names a root image completely.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RootHash(pub [u8; DIGEST]);

impl fmt::Display for RootHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&encode_hex(&self.0))
    }
}

impl fmt::Debug for RootHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RootHash({self})")
    }
}

impl FromStr for RootHash {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        decode_hex(text).map(Self)
    }
}

/// Lower-case hexadecimal text of any bytes.
pub fn encode_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Reads exactly 64 lower-case hexadecimal digits.
///
/// # Errors
/// [`Error::Hex`] for any other text.
pub fn decode_hex(text: &str) -> Result<[u8; DIGEST], Error> {
    let refuse = || Error::Hex(text.chars().take(80).collect());
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let bytes = text.as_bytes();
    if bytes.len() != DIGEST * 2 {
        return Err(refuse());
    }
    let mut digest = [0; DIGEST];
    for (target, pair) in digest.iter_mut().zip(bytes.chunks_exact(2)) {
        match (digit(pair[0]), digit(pair[1])) {
            (Some(high), Some(low)) => *target = high << 4 | low,
            _ => return Err(refuse()),
        }
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_salt_stands_before_the_block() {
        let mut both = vec![7; DIGEST];
        both.extend_from_slice(b"block");
        let expected: [u8; DIGEST] = Sha256::digest(&both).into();
        assert_eq!(hash_block(&[7; DIGEST], b"block"), expected);
        assert!(verify_block(&[7; DIGEST], b"block", &expected));
        assert!(!verify_block(&[8; DIGEST], b"block", &expected));
    }

    #[test]
    fn hexadecimal_text_has_one_spelling() {
        let good = "00ff".repeat(16);
        assert_eq!(RootHash::from_str(&good).unwrap().to_string(), good);
        for bad in [good.to_uppercase(), good[..62].into(), format!("{good}00"), "g".repeat(64)] {
            assert!(decode_hex(&bad).is_err(), "{bad}");
        }
    }
}
