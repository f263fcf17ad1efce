//! From what a document says of contents to bytes: fetched, unpacked, and proved by their hash.
//!
//! The hash is that of the unpacked bytes (Ignition 3.x, "verification"). Unpacking stops at a bound, so
//! that a small archive cannot fill the machine's memory.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use kiln_config::action::{Contents, Source};
use sha2::{Digest, Sha256, Sha512};

use crate::fetch::address;
use crate::{Error, Surroundings};

/// Largest contents of one file, in bytes, as fetched and as unpacked; they are held in memory, of
/// which the smallest machine has 1 GiB. Archives of images come through `unpack_images`.
const MAXIMUM_BYTES: u64 = 256 << 20;

impl Surroundings<'_> {
    /// The bytes.
    pub(crate) fn contents(&mut self, contents: &Contents) -> Result<Vec<u8>, Error> {
        let (origin, bytes) = match &contents.source {
            Source::Bytes(bytes) => ("the document".to_owned(), bytes.clone()),
            Source::Template(text) => ("the document".to_owned(), self.filled(text)?.into_bytes()),
            Source::Remote(remote) => {
                (address(&remote.url), self.fetch.get(remote, MAXIMUM_BYTES)?)
            }
        };
        let refused = |reason: String| Error::Contents { origin: origin.clone(), reason };
        let bytes =
            if contents.gzip { unpacked(&bytes, MAXIMUM_BYTES).map_err(refused)? } else { bytes };
        if let Some(hash) = &contents.hash {
            verify(&bytes, hash).map_err(refused)?;
        }
        Ok(bytes)
    }
}

/// The bytes inside of gzip, all members of it.
pub(crate) fn unpacked(bytes: &[u8], limit: u64) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(bytes)
        .take(limit.saturating_add(1))
        .read_to_end(&mut unpacked)
        .map_err(|error| format!("they are no gzip: {error}"))?;
    if unpacked.len() as u64 > limit {
        return Err(format!("they have more than {limit} bytes when they are unpacked"));
    }
    Ok(unpacked)
}

/// Compares bytes with a hash in the form `sha256-<hex>` or `sha512-<hex>`.
pub(crate) fn verify(bytes: &[u8], hash: &str) -> Result<(), String> {
    let (function, expected) = hash.split_once('-').unwrap_or((hash, ""));
    let actual = match function {
        "sha256" => hexadecimal(&Sha256::digest(bytes)),
        "sha512" => hexadecimal(&Sha512::digest(bytes)),
        other => return Err(format!("`{other}` is no hash that is known")),
    };
    if actual.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(format!("their hash is {function}-{actual}, and {function}-{expected} was expected"))
}

/// Bytes as text.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_is_unpacked_within_a_bound() {
        let two = [gzip(b"ab"), gzip(b"c")].concat();
        assert_eq!(unpacked(&two, 3).unwrap(), b"abc");
        assert!(unpacked(&gzip(&[0; 1 << 20]), 1000).unwrap_err().contains("more than 1000"));
        assert!(unpacked(b"plain", 10).unwrap_err().contains("no gzip"));
        let whole = gzip(&[7; 1000]);
        assert!(unpacked(&whole[..whole.len() - 9], 2000).is_err(), "cut off");
    }

    #[test]
    fn hashes_are_compared() {
        // FIPS 180-2, "abc".
        let right = "sha256-ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        verify(b"abc", right).unwrap();
        verify(b"abc", &right.to_uppercase().replace("SHA256", "sha256")).unwrap();
        assert!(verify(b"abd", right).unwrap_err().contains("was expected"));
        assert!(verify(b"abc", "md5-00").is_err());
        let long = "sha512-ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                    2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        verify(b"abc", long).unwrap();
    }
}
