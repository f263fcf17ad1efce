//! Writing a disk and its footer.

use super::format::{
    ALIGNMENT, COOKIE, CREATOR, CREATOR_HOST, CREATOR_VERSION, FEATURES, FIXED, FOOTER_LENGTH,
    MAXIMUM_LENGTH, NO_HEADER, TIME_STAMP, VERSION, checksum, footer, geometry,
};
use crate::raw::write_disk;
use crate::{Disk, Error, MediumFacts};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// How to write a VHD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VhdOptions {
    /// The disk's identifier: derived from its contents, so that equal builds give equal files.
    pub identifier: [u8; 16],
}

/// Writes the disk to `out`, a regular file that is emptied first; zeros are added up to a whole
/// number of MiB. Nothing is flushed.
///
/// # Errors
/// [`Error::TooLong`] before anything is written, [`Error::Read`] and [`Error::Write`] afterwards.
pub fn write_vhd(disk: &Disk<'_>, out: &File, options: &VhdOptions) -> Result<MediumFacts, Error> {
    let length = disk.length().max(1).next_multiple_of(ALIGNMENT);
    if length > MAXIMUM_LENGTH {
        return Err(Error::TooLong { format: "VHD", length, maximum: MAXIMUM_LENGTH });
    }
    let whole = length + FOOTER_LENGTH as u64;
    write_disk(out, disk, whole)?;
    out.write_all_at(&render(length, options), length)
        .map_err(|source| Error::Write { offset: length, source })?;
    Ok(MediumFacts { length: whole, virtual_length: length })
}

fn render(length: u64, options: &VhdOptions) -> [u8; FOOTER_LENGTH] {
    let mut bytes = [0; FOOTER_LENGTH];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    let (cylinders, heads, sectors) = geometry(length);
    put(0, &COOKIE);
    put(footer::FEATURES, &FEATURES.to_be_bytes());
    put(footer::VERSION, &VERSION.to_be_bytes());
    put(footer::DATA_OFFSET, &NO_HEADER.to_be_bytes());
    put(footer::TIME_STAMP, &TIME_STAMP.to_be_bytes());
    put(footer::CREATOR, &CREATOR);
    put(footer::CREATOR_VERSION, &CREATOR_VERSION.to_be_bytes());
    put(footer::CREATOR_HOST, &CREATOR_HOST);
    put(footer::ORIGINAL_SIZE, &length.to_be_bytes());
    put(footer::CURRENT_SIZE, &length.to_be_bytes());
    put(footer::GEOMETRY, &cylinders.to_be_bytes());
    put(footer::GEOMETRY + 2, &[heads, sectors]);
    put(footer::DISK_TYPE, &FIXED.to_be_bytes());
    put(footer::IDENTIFIER, &options.identifier);
    let sum = checksum(&bytes);
    bytes[footer::CHECKSUM..footer::CHECKSUM + 4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_no_vhd_can_hold_is_refused_first() {
        let (raw, out) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        raw.set_len(MAXIMUM_LENGTH + 1).unwrap();
        out.write_all_at(b"before", 0).unwrap();
        let disk = Disk::of_file(&raw).unwrap();
        let error = write_vhd(&disk, &out, &VhdOptions { identifier: [1; 16] }).unwrap_err();
        assert!(matches!(error, Error::TooLong { .. }) && error.hint().is_some(), "{error}");
        assert_eq!(out.metadata().unwrap().len(), 6);
    }
}
