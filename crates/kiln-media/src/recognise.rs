//! Which format a file has, by its bytes and never by its name.

use crate::Format;
use crate::qcow2::Qcow2Device;
use crate::tape::{BLOCK, read_header};
use crate::vhd::read_footer;
use crate::vmdk::VmdkDevice;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// First bytes of a gzip file (RFC 1952, ID1 and ID2).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// First bytes of a Zstandard frame (RFC 8878, section 3.1.1).
const ZSTD: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

/// The format of a file; nothing for a raw disk and for what is no disk at all. A gzip and a
/// Zstandard file are taken for a disk that was packed, which only unpacking them shows.
///
/// # Errors
/// The file cannot be read.
pub fn recognise(file: &File) -> io::Result<Option<Format>> {
    let length = file.metadata()?.len();
    let mut first = [0; BLOCK];
    let there = usize::try_from(length).unwrap_or(BLOCK).min(BLOCK);
    if let Some(part) = first.get_mut(..there) {
        file.read_exact_at(part, 0)?;
    }
    let starts = [
        (Qcow2Device::recognises(&first), Format::Qcow2),
        (VmdkDevice::recognises(&first), Format::Vmdk),
        (first.starts_with(&ZSTD), Format::RawZst),
        (first.starts_with(&GZIP), Format::Gce),
        (
            matches!(read_header(&first), Ok(Some(header)) if header.name.ends_with(".ovf")),
            Format::Ova,
        ),
    ];
    if let Some((_, format)) = starts.into_iter().find(|(is_it, _)| *is_it) {
        return Ok(Some(format));
    }
    let mut last = [0; BLOCK];
    let Some(place) = length.checked_sub(BLOCK as u64) else { return Ok(None) };
    file.read_exact_at(&mut last, place)?;
    Ok(read_footer(&last).is_ok().then_some(Format::Vhd))
}
