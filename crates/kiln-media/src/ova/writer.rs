//! Packing a VMDK that is there with its description and digests.
//!
//! The digest of the disk stands in front of it, but is as long whatever it is: so the disk is
//! copied to its place first and hashed on the way, and the rest is written afterwards.

use super::description;
use super::format::{DESCRIPTION, DISK, LONGEST_NAME, MANIFEST, MAXIMUM_DISK};
use crate::tape::{BLOCK, END, MAGIC_POSIX, REGULAR, render};
use crate::{Error, MediumFacts};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes that are copied at a time.
const COPIED: u64 = 1 << 20;

/// What a description says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appliance<'a> {
    /// Short name, also that of the files inside; what is no letter, digit, `.`, `_`, `-` or `+` is
    /// left out of those, and they are cut at 90 characters.
    pub name: &'a str,
    /// Name for people.
    pub title: &'a str,
    /// Version of the system.
    pub version: &'a str,
    /// Whether it is for x86-64.
    pub is_x86: bool,
    /// The disk, as [`crate::write_vmdk`] gave it.
    pub disk: MediumFacts,
}

/// Writes the OVA of the VMDK in `disk` to `out`, a regular file that is emptied first, and returns
/// its length. Nothing is flushed.
///
/// # Errors
/// [`Error::TooLong`] before anything is written, [`Error::Read`] and [`Error::Write`] afterwards.
pub fn write_ova(disk: &File, out: &File, appliance: &Appliance<'_>) -> Result<u64, Error> {
    let length = appliance.disk.length;
    if length > MAXIMUM_DISK {
        return Err(Error::TooLong { format: "OVA", length, maximum: MAXIMUM_DISK });
    }
    let is_kept = |letter: &char| letter.is_ascii_alphanumeric() || "._-+".contains(*letter);
    let name: String = appliance.name.chars().filter(is_kept).take(LONGEST_NAME).collect();
    let name_of = |ending: &str| format!("{name}{ending}");
    let text = description::render(appliance, &name_of(DISK), length);
    let line = |ending: &str, digest: &[u8]| {
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("SHA256({})= {digits}\n", name_of(ending))
    };
    let first = line(DESCRIPTION, &Sha256::digest(&text));
    let manifest_length = first.len() + line(DISK, &[0; 32]).len();

    out.set_len(0).map_err(|source| Error::Write { offset: 0, source })?;
    let write = |bytes: &[u8], offset: u64| {
        out.write_all_at(bytes, offset).map_err(|source| Error::Write { offset, source })
    };
    let header = |ending: &str, size: u64| render(&name_of(ending), size, REGULAR, MAGIC_POSIX);
    let filled = |length: usize| length.next_multiple_of(BLOCK);
    let manifest_at = (BLOCK + filled(text.len())) as u64;
    let disk_at = manifest_at + (BLOCK + filled(manifest_length)) as u64;
    let digest = copy(disk, out, disk_at + BLOCK as u64, length)?;
    write(&header(DESCRIPTION, text.len() as u64), 0)?;
    write(text.as_bytes(), BLOCK as u64)?;
    write(&header(MANIFEST, manifest_length as u64), manifest_at)?;
    write((first + &line(DISK, &digest)).as_bytes(), manifest_at + BLOCK as u64)?;
    write(&header(DISK, length), disk_at)?;
    let end = disk_at + BLOCK as u64 + length.next_multiple_of(BLOCK as u64) + END as u64;
    out.set_len(end).map_err(|source| Error::Write { offset: end, source })?;
    Ok(end)
}

/// Copies so many bytes to a place in `out` and returns their digest.
fn copy(disk: &File, out: &File, to: u64, length: u64) -> Result<[u8; 32], Error> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; COPIED as usize];
    let mut offset = 0;
    while offset < length {
        let part = &mut buffer[..COPIED.min(length - offset) as usize];
        disk.read_exact_at(part, offset).map_err(|source| Error::Read { offset, source })?;
        hasher.update(&*part);
        let place = to + offset;
        out.write_all_at(part, place).map_err(|source| Error::Write { offset: place, source })?;
        offset += part.len() as u64;
    }
    Ok(hasher.finalize().into())
}
