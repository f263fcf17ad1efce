//! Reading the header, for `kiln inspect`: what a qcow2 file says it is.
//!
//! Total on any bytes, and read also where the contents cannot be: those are `device.rs`.

use super::format::{HEADER_LENGTH, MAGIC, header};
use crate::Error;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qcow2Header {
    /// 2 or 3.
    pub version: u32,
    /// Bytes per cluster.
    pub cluster: u64,
    /// Length in bytes of the disk that a guest sees.
    pub length: u64,
    /// Whether the image is only the difference to another file.
    pub has_backing_file: bool,
    /// Whether contents are encrypted.
    pub encrypted: bool,
    /// Number of snapshots inside.
    pub snapshots: u32,
    /// Features that a reader must know (bit 0: was not closed, bit 3: other compression).
    pub incompatible_features: u64,
}

/// Reads the header from the first bytes of a file; 104 are enough.
///
/// # Errors
/// [`Error::Header`].
pub fn read_header(bytes: &[u8]) -> Result<Qcow2Header, Error> {
    let word = |at: usize| {
        let field = bytes.get(at..at + 4).and_then(|field| field.try_into().ok());
        field.map(u32::from_be_bytes).ok_or(Error::Header("too short"))
    };
    let long = |at: usize| Ok::<_, Error>(u64::from(word(at)?) << 32 | u64::from(word(at + 4)?));
    if bytes.get(..4) != Some(&MAGIC) {
        return Err(Error::Header("no signature"));
    }
    let version = word(header::VERSION)?;
    let incompatible_features = match version {
        2 => 0,
        3 if word(header::HEADER_LENGTH)? < HEADER_LENGTH => {
            return Err(Error::Header("header length"));
        }
        3 => long(header::INCOMPATIBLE)?,
        _ => return Err(Error::Header("version is neither 2 nor 3")),
    };
    let bits = word(header::CLUSTER_BITS)?;
    // Bounds of the format: 512 bytes to 2 MiB.
    if !(9..=21).contains(&bits) {
        return Err(Error::Header("cluster size"));
    }
    Ok(Qcow2Header {
        version,
        cluster: 1 << bits,
        length: long(header::LENGTH)?,
        has_backing_file: long(header::BACKING_OFFSET)? != 0,
        encrypted: word(header::ENCRYPTION)? != 0,
        snapshots: word(header::SNAPSHOTS)?,
        incompatible_features,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            version in 0..5_u8,
            bits in 0..40_u8,
        ) {
            for (target, byte) in bytes.iter_mut().zip([&MAGIC[..], &[0, 0, 0, version]].concat()) {
                *target = byte;
            }
            if bytes.len() >= 24 {
                bytes[20..24].copy_from_slice(&[0, 0, 0, bits]);
            }
            if let Ok(header) = read_header(&bytes) {
                prop_assert!(matches!(header.version, 2 | 3) && (9..=21).contains(&bits));
            }
        }
    }
}
