//! What firmware reads: the boot catalog, the numbers inside of GRUB's core, and its code in sector 0.
//!
//! Pure functions over bytes. The two loaders of a BIOS need to be told where they lie, in three
//! places that GRUB's own code fixes; everything else of them is taken as it comes.

use crate::error::Error;
use crate::format::{DISK_SECTOR, FIRST_DESCRIPTOR, SECTOR, SECTOR_BYTES, catalog};

/// Bytes of sector 0 that are code; behind them are the disk's number and the partitions.
pub const BOOT_CODE: usize = 440;
/// Where GRUB's `boot_hybrid.img` wants the sector of its core, 64 bits little-endian (GRUB,
/// `boot.S` built with HYBRID_BOOT).
const HYBRID_SECTOR: usize = 0x1b0;
/// The core for a CD starts with four disk sectors of CD loader; the disk loader is behind them.
const DISK_LOADER: u64 = 4;
/// Where the disk loader in the core wants the sector behind itself: the last block list entry of
/// the fifth disk sector.
const NEXT_SECTOR: usize = 5 * DISK_SECTOR as usize - 12;
/// Where the boot information table is, and where what it sums starts (genisoimage, "El Torito boot
/// information table").
const TABLE: usize = 8;
const TABLE_END: usize = 64;
/// Longest core in bytes: the catalog loads four sectors and the rest comes by number, but a core of
/// GRUB has at most some hundred KiB, as a BIOS has room for no more.
pub const MAXIMUM_CORE: usize = 4 << 20;
/// Disk sectors of the core that a BIOS loads: the CD loader, which fetches the rest.
const LOADED: u16 = 4;

/// The catalog of a medium: one sector.
///
/// An ESP of 65536 sectors and more gets the length zero, which means all that follows (UEFI 2.10,
/// section 13.3.2.1): the field has 16 bits, and the largest number instead of it, as other writers
/// have it, would hide files behind 32 MiB from firmware that believes it.
pub(crate) fn boot_catalog(core_sector: Option<u32>, esp: Option<(u32, u64)>) -> Vec<u8> {
    let platform = if core_sector.is_some() { catalog::BIOS } else { catalog::UEFI };
    let mut validation = [0; catalog::ENTRY];
    validation[0] = catalog::VALIDATION;
    validation[1] = platform;
    validation[4..8].copy_from_slice(b"KILN");
    validation[30..].copy_from_slice(&[0x55, 0xaa]);
    // All words of the entry must sum to zero.
    let checksum = word_sum(&validation).wrapping_neg();
    validation[28..30].copy_from_slice(&checksum.to_le_bytes());
    let mut entries = vec![validation];
    if let Some(sector) = core_sector {
        entries.push(boot_entry(LOADED, sector));
    }
    if let Some((sector, length)) = esp {
        if core_sector.is_some() {
            let mut section = [0; catalog::ENTRY];
            section[..4].copy_from_slice(&[catalog::LAST_SECTION, catalog::UEFI, 1, 0]);
            entries.push(section);
        }
        let sectors = u16::try_from(length.div_ceil(DISK_SECTOR)).unwrap_or(0);
        entries.push(boot_entry(sectors, sector));
    }
    let mut bytes = entries.concat();
    bytes.resize(SECTOR, 0);
    bytes
}

fn boot_entry(sectors: u16, first: u32) -> [u8; catalog::ENTRY] {
    let mut entry = [0; catalog::ENTRY];
    // Bootable, no emulation, the usual segment.
    entry[0] = catalog::BOOTABLE;
    entry[6..8].copy_from_slice(&sectors.to_le_bytes());
    entry[8..12].copy_from_slice(&first.to_le_bytes());
    entry
}

/// Sum of the 16-bit words of a validation entry.
pub(crate) fn word_sum(entry: &[u8]) -> u16 {
    let words = entry.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    words.fold(0, u16::wrapping_add)
}

/// Whether these can be the core for a CD that `grub-mkimage -O i386-pc-eltorito` makes.
///
/// # Errors
/// [`Error::BootImage`].
pub(crate) fn check_core(core: &[u8]) -> Result<(), Error> {
    let refuse = |reason| Err(Error::BootImage { what: "core image for BIOS", reason });
    if core.len() <= NEXT_SECTOR + 12 {
        return refuse("it is too short");
    }
    if core.len() > MAXIMUM_CORE {
        return refuse("it has more than 4 MiB");
    }
    Ok(())
}

/// Tells a core image that it lies from sector `sector` of the medium on: the block list of GRUB's
/// disk loader, then the boot information table, whose sum covers it.
///
/// # Errors
/// [`Error::BootImage`] for bytes that are too short or too long.
pub fn place_core(core: &[u8], sector: u32) -> Result<Vec<u8>, Error> {
    check_core(core)?;
    let mut placed = core.to_vec();
    let next = u64::from(sector) * (SECTOR_BYTES / DISK_SECTOR) + DISK_LOADER + 1;
    placed[NEXT_SECTOR..NEXT_SECTOR + 8].copy_from_slice(&next.to_le_bytes());
    let words = placed[TABLE_END..].chunks(4).map(|chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        u32::from_le_bytes(word)
    });
    let sum = words.fold(0, u32::wrapping_add);
    // At most MAXIMUM_CORE.
    let fields = [FIRST_DESCRIPTOR as u32, sector, core.len() as u32, sum];
    placed[TABLE..TABLE_END].fill(0);
    for (field, place) in fields.into_iter().zip(placed[TABLE..TABLE_END].chunks_exact_mut(4)) {
        place.copy_from_slice(&field.to_le_bytes());
    }
    Ok(placed)
}

/// GRUB's `boot_hybrid.img`, told that its core lies from sector `sector` of the medium on: what
/// goes to the start of the medium so that a BIOS starts it from a USB stick.
///
/// # Errors
/// [`Error::BootImage`] for bytes that are not 440 to 512.
pub fn place_boot_code(code: &[u8], sector: u32) -> Result<[u8; BOOT_CODE], Error> {
    let refuse = |reason| Error::BootImage { what: "boot code for sector 0", reason };
    if code.len() > DISK_SECTOR as usize {
        return Err(refuse("it is longer than 512 bytes"));
    }
    let mut placed: [u8; BOOT_CODE] = code
        .get(..BOOT_CODE)
        .and_then(|code| code.try_into().ok())
        .ok_or_else(|| refuse("it is shorter than 440 bytes"))?;
    let first = u64::from(sector) * (SECTOR_BYTES / DISK_SECTOR) + DISK_LOADER;
    placed[HYBRID_SECTOR..].copy_from_slice(&first.to_le_bytes());
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalogs() {
        let both = boot_catalog(Some(40), Some((512, 40 << 20)));
        assert_eq!(word_sum(&both[..32]), 0);
        assert_eq!(both[1], catalog::BIOS);
        assert_eq!(both[32..44], [0x88, 0, 0, 0, 0, 0, 4, 0, 40, 0, 0, 0]);
        assert_eq!(both[64..68], [0x91, 0xef, 1, 0]);
        assert_eq!(both[96..108], [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0]);
        let small = boot_catalog(None, Some((512, 1 << 20)));
        assert_eq!((small[1], &small[38..40]), (catalog::UEFI, &[0, 8][..]));
        assert_eq!(small[64..], [0; SECTOR - 64]);
    }

    #[test]
    fn loaders_are_told_where_they_are() {
        let core = vec![1; 5001];
        let placed = place_core(&core, 33).unwrap();
        assert_eq!(placed.len(), core.len());
        assert_eq!(placed[8..20], [16, 0, 0, 0, 33, 0, 0, 0, 0x89, 0x13, 0, 0]);
        assert_eq!(placed[24..64], [0; 40]);
        assert_eq!(placed[2548..2556], (33_u64 * 4 + 5).to_le_bytes());
        // 1234 words of ones, one byte, and what was patched in.
        let plain = 0x0101_0101_u32.wrapping_mul(1234).wrapping_add(1);
        let sum = plain.wrapping_sub(0x0202_0202).wrapping_add(33 * 4 + 5);
        assert_eq!(placed[20..24], sum.to_le_bytes());
        let code = place_boot_code(&[7; 512], 33).unwrap();
        assert_eq!((code[0], &code[432..]), (7, &(33_u64 * 4 + 4).to_le_bytes()[..]));
        for length in [0, 439, 513] {
            assert!(place_boot_code(&vec![0; length], 1).is_err());
        }
        assert!(place_core(&[0; 2560], 1).is_err());
        assert!(place_core(&vec![0; MAXIMUM_CORE + 1], 1).is_err());
    }
}
