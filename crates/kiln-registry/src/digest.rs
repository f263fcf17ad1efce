//! Content digests: the only names this crate trusts.
//!
//! A digest is written `sha256:<64 lower-case hex>` (OCI image spec 1.1, descriptor.md § Digests).
//! The spec also registers sha512; it is refused here, because two names for one blob would make
//! caches and cycle checks ambiguous, and no registry in use hands sha512 out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::Error;

/// Length of a SHA-256 value in bytes.
const SHA256_BYTES: usize = 32;

/// The SHA-256 of a blob, manifest or uncompressed layer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; SHA256_BYTES]);

impl Digest {
    /// Wraps 32 raw bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; SHA256_BYTES]) -> Self {
        Self(bytes)
    }

    /// The digest of `data`.
    #[must_use]
    pub fn of(data: &[u8]) -> Self {
        Self(Sha256::digest(data).into())
    }

    /// The 32 raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SHA256_BYTES] {
        &self.0
    }

    /// The 64 hexadecimal digits without the algorithm: the file name below `blobs/sha256`.
    #[must_use]
    pub fn hex(&self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(2 * SHA256_BYTES), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |reason| Error::InvalidDigest { given: shorten(text), reason };
        let (algorithm, hex) =
            text.split_once(':').ok_or_else(|| invalid("it has no algorithm before a colon"))?;
        match algorithm {
            "sha256" => {}
            "sha512" | "sha384" => return Err(invalid("only sha256 is supported")),
            _ => return Err(invalid("the algorithm is unknown")),
        }
        if hex.len() != 2 * SHA256_BYTES {
            return Err(invalid("sha256 needs 64 hexadecimal digits"));
        }
        let mut bytes = [0; SHA256_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let (Some(high), Some(low)) = (nibble(pair[0]), nibble(pair[1])) else {
                return Err(invalid("it has a character outside 0-9 and a-f"));
            };
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Upper-case digits are refused: the spec allows one spelling only.
fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Hostile text is quoted in errors only up to this many characters.
const QUOTED_CHARACTERS: usize = 160;

/// Cuts over-long hostile text for an error message.
pub(crate) fn shorten(text: &str) -> String {
    if text.chars().count() <= QUOTED_CHARACTERS {
        return text.to_owned();
    }
    text.chars().take(QUOTED_CHARACTERS).chain("…".chars()).collect()
}

/// A running SHA-256.
#[derive(Debug, Default, Clone)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn displays_what_it_parses() {
        assert_eq!(EMPTY.parse::<Digest>().unwrap().to_string(), EMPTY);
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
    }

    #[test]
    fn refuses_other_spellings() {
        let upper = EMPTY.to_uppercase().replace("SHA", "sha");
        let short = &EMPTY[..EMPTY.len() - 1];
        let sha512 = format!("sha512:{}", "0".repeat(128));
        for (text, reason) in [
            (upper.as_str(), "outside"),
            (short, "64"),
            (sha512.as_str(), "only sha256"),
            ("md5:00", "unknown"),
            ("abc", "no algorithm"),
            ("", "no algorithm"),
        ] {
            let message = text.parse::<Digest>().unwrap_err().to_string();
            assert!(message.contains(reason), "{text}: {message}");
        }
    }
}
