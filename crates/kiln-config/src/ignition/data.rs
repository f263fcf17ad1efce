//! `data:` URLs (RFC 2397), gzip (RFC 1952) and hashes: contents that stand in the document itself.
//!
//! What is inline is decoded, unpacked and verified where the document is checked, so a wrong hash is
//! found on the laptop and not on the machine. Unpacking is bounded, because a kilobyte of gzip can
//! hold a gigabyte.

use std::io::Read as _;

use base64ct::{Base64, Encoding as _};
use sha2::{Digest as _, Sha256, Sha512};

use crate::ignition::config::Resource;

/// Bytes of inline contents, unpacked: four times what a document may have. What is larger belongs
/// behind a URL.
pub const MAXIMUM_UNPACKED: usize = 4 * crate::source::MAXIMUM_BYTES;

/// Why inline contents are refused: code of the diagnostic and sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Stable name of the rule.
    pub code: &'static str,
    /// The sentence; never holds the contents, which may be secret.
    pub message: String,
}

impl Fault {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The bytes of a `data:` URL.
///
/// # Errors
/// The URL has no comma, a wrong escape, or is not base64 where it says so.
pub fn decode(url: &str) -> Result<Vec<u8>, Fault> {
    let fault = |message: &str| Fault::new("bad-data-url", message);
    let rest = url
        .get(..5)
        .filter(|scheme| scheme.eq_ignore_ascii_case("data:"))
        .and_then(|_| url.get(5..))
        .ok_or_else(|| fault("the URL is no `data:` URL"))?;
    let (media, data) = rest
        .split_once(',')
        .ok_or_else(|| fault("the `data:` URL has no comma before its data"))?;
    let bytes =
        unescape(data).ok_or_else(|| fault("the `data:` URL has `%` without two hex digits"))?;
    let is_base64 =
        media.rsplit(';').next().is_some_and(|last| last.eq_ignore_ascii_case("base64"))
            && media.contains(';');
    if !is_base64 {
        return Ok(bytes);
    }
    let text: Vec<u8> = bytes.into_iter().filter(|byte| !byte.is_ascii_whitespace()).collect();
    std::str::from_utf8(&text)
        .ok()
        .and_then(|text| Base64::decode_vec(text).ok())
        .ok_or_else(|| fault("the data of the `data:` URL is not base64"))
}

/// A `data:` URL that holds these bytes.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    format!("data:;base64,{}", Base64::encode_string(bytes))
}

/// The contents of a resource, unpacked and verified, where they stand in the document itself: a
/// `data:` URL, or an empty source, which is an empty file. Nothing for what has to be fetched.
///
/// # Errors
/// They cannot be decoded or unpacked, are too large, or are not what the hash says.
pub fn inline(resource: &Resource) -> Result<Option<Vec<u8>>, Fault> {
    let Some(source) = &resource.source else { return Ok(None) };
    let raw = if source.value.is_empty() {
        Vec::new()
    } else if super::url::scheme(&source.value) == Some("data".to_owned()) {
        decode(&source.value)?
    } else {
        return Ok(None);
    };
    opened(resource, raw).map(Some)
}

/// What was transferred for a resource, unpacked and verified.
///
/// # Errors
/// It cannot be unpacked, is too large, or is not what the hash says.
pub fn opened(resource: &Resource, raw: Vec<u8>) -> Result<Vec<u8>, Fault> {
    let is_gzip = resource.compression.as_ref().is_some_and(|name| name.value == "gzip");
    let bytes = if is_gzip && !raw.is_empty() { gunzip(&raw)? } else { raw };
    if let Some(hash) = &resource.hash
        && let Ok(expected) = Hash::parse(&hash.value)
    {
        let found = expected.of(&bytes);
        if found != expected {
            let message =
                format!("the contents have the hash `{}`, not `{}`", found.name(), expected.name());
            return Err(Fault::new("hash-mismatch", message));
        }
    }
    Ok(bytes)
}

fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut unpacked = Vec::new();
    let limit = u64::try_from(MAXIMUM_UNPACKED).unwrap_or(u64::MAX).saturating_add(1);
    flate2::read::MultiGzDecoder::new(bytes)
        .take(limit)
        .read_to_end(&mut unpacked)
        .map_err(|error| Fault::new("bad-gzip", format!("the contents are not gzip: {error}")))?;
    if unpacked.len() > MAXIMUM_UNPACKED {
        let message =
            format!("the contents unpack to more than {} MiB", MAXIMUM_UNPACKED / (1 << 20));
        return Err(Fault::new("too-large", message));
    }
    Ok(unpacked)
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' { hex(rest.next()?)? << 4 | hex(rest.next()?)? } else { byte });
    }
    Some(bytes)
}

fn hex(digit: u8) -> Option<u8> {
    u8::try_from(char::from(digit).to_digit(16)?).ok()
}

/// A hash as configs write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256, from 3.1.0 on.
    Sha256([u8; 32]),
    /// SHA-512.
    Sha512([u8; 64]),
}

impl Hash {
    /// Reads `<function>-<hex>`.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (function, digits) = text
            .split_once('-')
            .ok_or_else(|| format!("`{text}` is no hash: it has no `-` behind the function"))?;
        let bytes = || {
            let wrong = || "the hash has characters that are no hex digits".to_owned();
            let (pairs, odd) = digits.as_bytes().as_chunks::<2>();
            if !odd.is_empty() {
                return Err("the hash has an odd number of hex digits".to_owned());
            }
            pairs
                .iter()
                .map(|[high, low]| Some(hex(*high)? << 4 | hex(*low)?))
                .collect::<Option<Vec<u8>>>()
                .ok_or_else(wrong)
        };
        let length =
            |wanted: usize| format!("a {function} has {wanted} hex digits, not {}", digits.len());
        match function {
            "sha256" => Ok(Self::Sha256(bytes()?.try_into().map_err(|_| length(64))?)),
            "sha512" => Ok(Self::Sha512(bytes()?.try_into().map_err(|_| length(128))?)),
            _ => Err(format!("`{function}` is no hash function; there are sha256 and sha512")),
        }
    }

    /// The hash of some bytes by the same function.
    #[must_use]
    pub fn of(&self, bytes: &[u8]) -> Self {
        match self {
            Self::Sha256(_) => Self::Sha256(Sha256::digest(bytes).into()),
            Self::Sha512(_) => Self::Sha512(Sha512::digest(bytes).into()),
        }
    }

    /// As configs write it, in lower case.
    #[must_use]
    pub fn name(&self) -> String {
        let (function, bytes): (_, &[u8]) = match self {
            Self::Sha256(bytes) => ("sha256", bytes),
            Self::Sha512(bytes) => ("sha512", bytes),
        };
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{function}-{digits}")
    }
}

#[cfg(test)]
mod tests {
    use super::{Hash, MAXIMUM_UNPACKED, decode, encode, gunzip};

    #[test]
    fn data_urls_of_both_kinds() {
        for (url, expected) in [
            ("data:,worker-1", Some("worker-1")),
            ("data:,", Some("")),
            ("data:text/plain;charset=utf-8,a%20b%0A", Some("a b\n")),
            ("data:text/plain;charset=utf-8;base64,aGVsbG8=", Some("hello")),
            ("data:;base64,aGVs%62G8%3D", Some("hello")),
            ("DATA:;BASE64,aGVsbG8=", Some("hello")),
            ("data:base64,aGVsbG8=", Some("aGVsbG8=")),
            ("data:,a,b", Some("a,b")),
            ("data:;base64,aGVsbG8", None),
            ("data:;base64,a!b=", None),
            ("data:,%zz", None),
            ("data:,%4", None),
            ("data:text/plain", None),
            ("date:,x", None),
        ] {
            let found = decode(url).ok().map(|bytes| String::from_utf8(bytes).unwrap());
            assert_eq!(found.as_deref(), expected, "{url}");
        }
        assert_eq!(decode(&encode(b"\0\xffx")).unwrap(), b"\0\xffx");
    }

    #[test]
    fn a_gzip_bomb_ends_at_the_bound() {
        let zeros = vec![0; MAXIMUM_UNPACKED + 1];
        let packed = |bytes: &[u8]| {
            let mut packed = Vec::new();
            let mut encoder = flate2::read::GzEncoder::new(bytes, flate2::Compression::fast());
            std::io::Read::read_to_end(&mut encoder, &mut packed).unwrap();
            packed
        };
        assert_eq!(gunzip(&packed(&zeros)).unwrap_err().code, "too-large");
        assert_eq!(gunzip(&packed(b"x")).unwrap(), b"x");
        assert_eq!(gunzip(b"no gzip").unwrap_err().code, "bad-gzip");
    }

    #[test]
    fn hashes_are_read_and_made() {
        let empty = "sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let hash = Hash::parse(&format!("sha256-{}", empty[7..].to_uppercase())).unwrap();
        assert_eq!(hash.of(b"").name(), empty);
        assert_ne!(hash.of(b"x").name(), empty);
        for wrong in ["", "sha256", "sha256-", "sha256-abc", "sha1-00", "sha512-00", "sha256-zz"] {
            assert!(Hash::parse(wrong).is_err(), "{wrong}");
        }
    }
}
