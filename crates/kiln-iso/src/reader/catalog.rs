//! A boot catalog of any origin (El Torito 1.0, chapter 2). Only its first sector is read: 64
//! entries, of which media have four.

use crate::boot::word_sum;
use crate::error::Error;
use crate::format::{SECTOR_BYTES, catalog, take, word};

/// Something that firmware may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootEntry {
    /// 0 for a BIOS, 0xef for UEFI.
    pub platform: u8,
    /// Whether it is marked as bootable.
    pub bootable: bool,
    /// Which disk it pretends to be; 0 for none.
    pub emulation: u8,
    /// Sectors of 512 bytes that are loaded; for UEFI, 0 and 1 mean all that follows.
    pub sectors: u16,
    /// Where it is, in bytes.
    pub offset: u64,
}

/// Reads a catalog that lies at byte `offset`.
pub(super) fn parse(bytes: &[u8], offset: u64) -> Result<Vec<BootEntry>, Error> {
    let mut entries = bytes.chunks_exact(catalog::ENTRY);
    let damaged = |reason| Error::Damaged { offset, reason };
    let validation = entries.next().ok_or_else(|| damaged("no boot catalog"))?;
    let signed = take::<2>(validation, 30) == [0x55, 0xaa];
    if validation.first() != Some(&catalog::VALIDATION) || !signed || word_sum(validation) != 0 {
        return Err(damaged("the boot catalog has no valid first entry"));
    }
    let platform = take::<1>(validation, 1)[0];
    let mut found: Vec<BootEntry> =
        entries.next().map(|entry| boot_entry(entry, platform)).into_iter().collect();
    loop {
        let Some(section) = entries.next() else { return Ok(found) };
        let [kind, platform] = take::<2>(section, 0);
        if !matches!(kind, catalog::SECTION | catalog::LAST_SECTION) {
            return Ok(found);
        }
        let mut left = u16::from_le_bytes(take(section, 2));
        while left > 0 {
            let Some(entry) = entries.next() else {
                return Err(damaged("the boot catalog is cut off"));
            };
            if entry.first() != Some(&catalog::EXTENSION) {
                found.push(boot_entry(entry, platform));
                left -= 1;
            }
        }
        if kind == catalog::LAST_SECTION {
            return Ok(found);
        }
    }
}

fn boot_entry(entry: &[u8], platform: u8) -> BootEntry {
    let [indicator, emulation] = take::<2>(entry, 0);
    BootEntry {
        platform,
        bootable: indicator == catalog::BOOTABLE,
        emulation: emulation & 0x0f,
        sectors: u16::from_le_bytes(take(entry, 6)),
        offset: u64::from(word(entry, 8)) * SECTOR_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::boot_catalog;

    #[test]
    fn what_is_written_is_read() {
        let bytes = boot_catalog(Some(40), Some((512, 1 << 20)));
        let both = parse(&bytes, 0).unwrap();
        let [bios, uefi] = both[..] else { panic!("{both:?}") };
        assert_eq!((bios.platform, bios.sectors, bios.offset), (0, 4, 40 * 2048));
        assert_eq!((uefi.platform, uefi.sectors, uefi.offset), (0xef, 2048, 512 * 2048));
        assert!(bios.bootable && uefi.bootable);
        for at in 0..32 {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(parse(&bad, 0).is_err(), "{at}");
        }
        let mut endless = bytes;
        endless[66] = 0xff;
        assert!(parse(&endless, 0).is_err());
        assert!(parse(&[], 0).is_err());
    }
}
