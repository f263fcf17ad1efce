//! Reads recipes. Total, and bounded before anything is allocated.

use super::format::{
    BLOB, FILE_MAX, HEADER, INLINE, MAGIC, NAME, PART, PARTS_MAX, RECIPE_MAX, ZEROS,
};
use crate::Error;
use crate::contents::{hex, sha256};

/// A stretch of the boot file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// These bytes.
    Inline {
        /// Of the section, for people.
        name: [u8; NAME],
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Zeros.
    Zeros {
        /// How many.
        length: u64,
    },
    /// A blob.
    Blob {
        /// Of the section, for people.
        name: [u8; NAME],
        /// Bytes.
        length: u64,
        /// SHA-256.
        digest: [u8; 32],
    },
}

impl Part {
    /// Bytes of the boot file.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Self::Inline { bytes, .. } => bytes.len() as u64,
            Self::Zeros { length } | Self::Blob { length, .. } => *length,
        }
    }
}

/// How a boot file is put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// SHA-256 of the boot file.
    pub digest: [u8; 32],
    /// Bytes of the boot file.
    pub length: u64,
    /// Its stretches in order.
    pub parts: Vec<Part>,
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// [`Error::Malformed`] for everything that no writer writes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        Self::read(bytes).map_err(|reason| Error::malformed("boot recipe", reason))
    }

    fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() as u64 > RECIPE_MAX {
            return Err("it is too long");
        }
        let (header, mut rest) = bytes.split_at_checked(HEADER).ok_or("it is cut short")?;
        if &header[..8] != MAGIC {
            return Err("it begins like no recipe of this version");
        }
        let count = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        let length = long(&header[12..20]);
        if count > PARTS_MAX || length > FILE_MAX {
            return Err("its numbers are impossible");
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(&header[20..HEADER]);
        let (mut parts, mut total) = (Vec::new(), 0_u64);
        for _ in 0..count {
            let (part, behind) = rest.split_at_checked(PART).ok_or("it is cut short")?;
            rest = behind;
            let mut name = [0; NAME];
            name.copy_from_slice(&part[1..1 + NAME]);
            let part_length = long(&part[1 + NAME..]);
            if part[0] == ZEROS && name != [0; NAME] {
                return Err("zeros have a name");
            }
            let taken = match part[0] {
                INLINE => usize::try_from(part_length).map_err(|_| "it is cut short")?,
                ZEROS => 0,
                BLOB => 32,
                _ => return Err("a part has an unknown kind"),
            };
            let (own, behind) = rest.split_at_checked(taken).ok_or("it is cut short")?;
            rest = behind;
            total = total.checked_add(part_length).ok_or("its parts are too long")?;
            if total > length || part_length == 0 {
                return Err("its parts are not its length");
            }
            parts.push(match part[0] {
                INLINE => Part::Inline { name, bytes: own.to_vec() },
                ZEROS => Part::Zeros { length: part_length },
                _ => {
                    let mut digest = [0; 32];
                    digest.copy_from_slice(own);
                    Part::Blob { name, length: part_length, digest }
                }
            });
        }
        if total != length || !rest.is_empty() {
            return Err("its parts are not its length");
        }
        Ok(Self { digest, length, parts })
    }

    /// The boot file, its blobs as `blob` gives them; verified.
    ///
    /// # Errors
    /// What `blob` says, [`Error::Digest`] if the whole is not the boot file.
    pub fn assemble(
        &self,
        mut blob: impl FnMut(&[u8; 32], u64) -> Result<Vec<u8>, Error>,
    ) -> Result<Vec<u8>, Error> {
        // Its parts are as long, of which the largest ones lie elsewhere; a file that grows would be
        // there twice.
        let mut file = Vec::with_capacity(usize::try_from(self.length).unwrap_or(0));
        for part in &self.parts {
            match part {
                Part::Inline { bytes, .. } => file.extend_from_slice(bytes),
                Part::Zeros { length } => {
                    // Bounded by the length of the file, which the header's check bounds.
                    let length = usize::try_from(*length).unwrap_or(usize::MAX);
                    file.resize(file.len().saturating_add(length), 0);
                }
                Part::Blob { digest, length, .. } => file.extend(blob(digest, *length)?),
            }
        }
        let actual = sha256(&file);
        if actual != self.digest {
            let what = "the boot file".to_owned();
            return Err(Error::Digest { what, expected: hex(&self.digest), actual: hex(&actual) });
        }
        Ok(file)
    }
}

fn long(bytes: &[u8]) -> u64 {
    let mut array = [0; 8];
    array.copy_from_slice(bytes.get(..8).unwrap_or(&[0; 8]));
    u64::from_le_bytes(array)
}
