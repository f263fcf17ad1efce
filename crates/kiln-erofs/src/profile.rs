//! Codecs and profiles: the frozen choices that decide an image's bytes.
//!
//! A profile number stands for everything besides the tree that the bytes depend on: codec, level,
//! chunk sizes, layout order, and the versions of the codec libraries. Numbers are never reused
//! and what one means never changes; a better layout gets a new number. Tuning by free options
//! was dropped: two machines could then not rebuild the same root hash from a tree alone.

use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::format::{ALGORITHM_LZ4, ALGORITHM_ZSTD};

/// Default level of `lz4hc`, the one mkfs.erofs takes too.
pub const LZ4HC_DEFAULT_LEVEL: u8 = 9;
/// Default level of `zstd`.
pub const ZSTD_DEFAULT_LEVEL: u8 = 3;

/// Encoded size of an LZ4 cluster in bytes: mkfs.erofs -C65536, the value distributions use.
pub(crate) const LZ4_CLUSTER: usize = 64 << 10;

/// How file contents are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Stored as they are.
    None,
    /// LZ4, fast method.
    Lz4,
    /// LZ4, slow method; reads as fast as `Lz4`.
    Lz4hc {
        /// 3..=12.
        level: u8,
    },
    /// Zstandard; kernels ≥ 6.10.
    Zstd {
        /// 1..=22.
        level: u8,
    },
}

impl Codec {
    /// Its number on disk (`Z_EROFS_COMPRESSION_*`). Without compression none is ever written.
    pub(crate) fn algorithm(self) -> u8 {
        match self {
            Self::Zstd { .. } => ALGORITHM_ZSTD,
            Self::None | Self::Lz4 | Self::Lz4hc { .. } => ALGORITHM_LZ4,
        }
    }
}

impl FromStr for Codec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let unknown = || Error::UnknownCodec(text.to_owned());
        let (name, level) = match text.split_once(':') {
            None => (text, None),
            // Signs and leading zeros are refused: a profile has one spelling per meaning.
            Some((name, level)) if level.starts_with(|c: char| matches!(c, '1'..='9')) => {
                (name, Some(level.parse::<u8>().map_err(|_| unknown())?))
            }
            Some(_) => return Err(unknown()),
        };
        match (name, level) {
            ("none", None) => Ok(Self::None),
            ("lz4", None) => Ok(Self::Lz4),
            ("lz4hc", None) => Ok(Self::Lz4hc { level: LZ4HC_DEFAULT_LEVEL }),
            ("lz4hc", Some(level @ 3..=12)) => Ok(Self::Lz4hc { level }),
            ("zstd", None) => Ok(Self::Zstd { level: ZSTD_DEFAULT_LEVEL }),
            ("zstd", Some(level @ 1..=22)) => Ok(Self::Zstd { level }),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("none"),
            Self::Lz4 => formatter.write_str("lz4"),
            Self::Lz4hc { level } => write!(formatter, "lz4hc:{level}"),
            Self::Zstd { level } => write!(formatter, "zstd:{level}"),
        }
    }
}

/// A frozen number for layout, codec library and codec.
///
/// Generation 1, the hundreds digit, means: this crate's layout as pinned by
/// `tests/golden.rs`, lz4 1.10.0, zstd 1.5.7. The rest of the number is the codec:
///
/// | number | codec |
/// |---|---|
/// | 100 | `none` |
/// | 101 | `lz4` |
/// | 103–112 | `lz4hc` level 3–12, with 109 the default |
/// | 121–142 | `zstd` level 1–22, with 123 the default |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Profile(u16);

/// First number of the present generation.
const GENERATION: u16 = 100;
/// Added to a zstd level.
const ZSTD_OFFSET: u16 = 20;

impl Profile {
    /// The present profile of a codec.
    pub fn of(codec: Codec) -> Self {
        Self(
            GENERATION
                + match codec {
                    Codec::None => 0,
                    Codec::Lz4 => 1,
                    Codec::Lz4hc { level } => u16::from(level),
                    Codec::Zstd { level } => ZSTD_OFFSET + u16::from(level),
                },
        )
    }

    /// The profile with this number, or `None` if this build cannot write it.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::decode(number).map(|_| Self(number))
    }

    fn decode(number: u16) -> Option<Codec> {
        Some(match number.checked_sub(GENERATION)? {
            0 => Codec::None,
            1 => Codec::Lz4,
            level @ 3..=12 => Codec::Lz4hc { level: level as u8 },
            level @ 21..=42 => Codec::Zstd { level: (level - ZSTD_OFFSET) as u8 },
            _ => return None,
        })
    }

    /// The number, as it stands in a release.
    pub fn number(self) -> u16 {
        self.0
    }

    /// The codec of this profile.
    pub fn codec(self) -> Codec {
        // A `Profile` is only made from numbers that decode.
        Self::decode(self.0).unwrap_or(Codec::None)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_have_one_spelling() {
        for (text, codec, shown) in [
            ("none", Codec::None, "none"),
            ("lz4", Codec::Lz4, "lz4"),
            ("lz4hc", Codec::Lz4hc { level: 9 }, "lz4hc:9"),
            ("lz4hc:12", Codec::Lz4hc { level: 12 }, "lz4hc:12"),
            ("zstd", Codec::Zstd { level: 3 }, "zstd:3"),
            ("zstd:22", Codec::Zstd { level: 22 }, "zstd:22"),
        ] {
            assert_eq!(text.parse::<Codec>().unwrap(), codec);
            assert_eq!(codec.to_string(), shown);
            assert_eq!(shown.parse::<Codec>().unwrap(), codec);
        }
        for text in [
            "", "xz", "lz4:1", "lz4hc:2", "lz4hc:13", "zstd:0", "zstd:23", "zstd:", "zstd:+3",
            "zstd:03",
        ] {
            assert!(text.parse::<Codec>().is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_and_codecs_are_one_to_one() {
        let mut seen = 0;
        for number in 0..=u16::MAX {
            if let Some(profile) = Profile::from_number(number) {
                assert_eq!(Profile::of(profile.codec()), profile);
                seen += 1;
            }
        }
        assert_eq!(seen, 2 + 10 + 22);
        assert_eq!(Profile::of(Codec::Zstd { level: 3 }).number(), 123);
        assert_eq!(Profile::of(Codec::Lz4hc { level: 9 }).number(), 109);
    }
}
