//! Where a core image lies on a disk or a CD: the places that stand in the image itself.

use super::format::{
    ANY_DRIVE, BOOT_CODE, BOOT_DRIVE, BOOT_SIGNATURE, CD_BLOCK, CD_BOOT, CD_TABLE, CD_TABLE_END,
    CD_VOLUME_DESCRIPTOR, CHECK_DONE, CHECK_SKIPPED, DRIVE_CHECK, KERNEL_SECTOR, LIST_START,
    SECTOR, put,
};
use crate::Error;

/// Code for sector 0 of a disk, from boot.img: it loads the sector `first_sector` and starts it.
///
/// It has [`BOOT_CODE`] bytes; the rest of the sector is the disk's signature and the protective
/// partition table, which stay as they are.
pub(super) fn boot_code(
    boot: &[u8],
    path: &str,
    first_sector: u64,
) -> Result<[u8; BOOT_CODE], Error> {
    let damaged = |reason| Error::Damaged { path: path.to_owned(), reason };
    let sector: &[u8; SECTOR] = boot.try_into().map_err(|_| damaged("it has not one sector"))?;
    if sector[SECTOR - BOOT_SIGNATURE.len()..] != BOOT_SIGNATURE {
        return Err(damaged("it has no boot signature"));
    }
    let check = &sector[DRIVE_CHECK..DRIVE_CHECK + CHECK_SKIPPED.len()];
    if sector[BOOT_DRIVE] != ANY_DRIVE || (check != CHECK_SKIPPED && check != CHECK_DONE) {
        return Err(damaged("it is not laid out as GRUB's boot sector is"));
    }
    let mut code = [0; BOOT_CODE];
    code.copy_from_slice(&sector[..BOOT_CODE]);
    put(&mut code, KERNEL_SECTOR, &first_sector.to_le_bytes());
    put(&mut code, DRIVE_CHECK, &CHECK_DONE);
    Ok(code)
}

/// Writes down where the rest of a core image is, which begins at `first_sector` of its disk.
pub(super) fn on_disk(image: &mut Vec<u8>, first_sector: u64) -> Result<(), Error> {
    let place = || Error::Place { reason: "the partition lies beyond what GRUB can address" };
    let second = first_sector.checked_add(1).ok_or_else(place)?;
    put(image, LIST_START, &second.to_le_bytes());
    image.resize(image.len().next_multiple_of(SECTOR), 0);
    Ok(())
}

/// Writes down where an image for a CD lies: `block` is its first one, of 2048 bytes. That is the
/// boot information table, as mkisofs writes it, and the sector with the rest of the core image.
///
/// # Errors
/// [`Error::Place`] for an image that is none.
pub fn on_cd(image: &mut [u8], block: u32) -> Result<(), Error> {
    let refused = || Error::Place { reason: "it is no image for a CD" };
    let length = u32::try_from(image.len()).map_err(|_| refused())?;
    if image.len() < CD_BOOT + SECTOR {
        return Err(refused());
    }
    // The four sectors of cdboot.img and the one of diskboot.img are loaded before it is read.
    let rest = u64::from(block) * (CD_BLOCK / SECTOR as u64) + (CD_BOOT / SECTOR) as u64 + 1;
    put(image, CD_BOOT + LIST_START, &rest.to_le_bytes());
    let sum = (CD_TABLE_END..image.len()).step_by(4).fold(0_u32, |sum, at| {
        let mut word = [0; 4];
        let rest = image.get(at..).unwrap_or_default();
        word.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        sum.wrapping_add(u32::from_le_bytes(word))
    });
    let numbers = [CD_VOLUME_DESCRIPTOR, block, length, sum];
    let table: Vec<u8> = numbers.into_iter().flat_map(u32::to_le_bytes).collect();
    put(image, CD_TABLE, &table);
    put(image, CD_TABLE + table.len(), &[0; CD_TABLE_END - CD_TABLE - 16]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::format::u32_at;

    pub(crate) fn boot_file() -> Vec<u8> {
        let mut sector = vec![0x11; SECTOR];
        put(&mut sector, BOOT_DRIVE, &[ANY_DRIVE]);
        put(&mut sector, DRIVE_CHECK, &CHECK_SKIPPED);
        put(&mut sector, SECTOR - 2, &BOOT_SIGNATURE);
        sector
    }

    #[test]
    fn the_boot_sector_names_the_core_image() {
        let file = boot_file();
        let code = boot_code(&file, "boot.img", 0x1_0000_0800).unwrap();
        assert_eq!(code[KERNEL_SECTOR..BOOT_DRIVE], [0, 8, 0, 0, 1, 0, 0, 0]);
        assert_eq!(code[BOOT_DRIVE..DRIVE_CHECK + 2], [0xff, 0x11, 0x90, 0x90]);
        assert!(
            code[..KERNEL_SECTOR].iter().chain(&code[DRIVE_CHECK + 2..]).all(|byte| *byte == 0x11)
        );
        for at in [BOOT_DRIVE, DRIVE_CHECK, SECTOR - 1] {
            let mut file = file.clone();
            file[at] ^= 1;
            assert!(boot_code(&file, "boot.img", 1).is_err(), "{at}");
        }
        assert!(boot_code(&file[..511], "boot.img", 1).is_err());
    }

    #[test]
    fn a_disk_has_whole_sectors_and_their_place() {
        let mut image = vec![0; 1000];
        on_disk(&mut image, 2048).unwrap();
        assert_eq!(image.len(), 1024);
        assert_eq!(u32_at(&image, LIST_START), Some(2049));
        assert!(on_disk(&mut image, u64::MAX).is_err());
    }

    #[test]
    fn a_cd_has_its_table() {
        let mut image = vec![0; 3001];
        image[100] = 7;
        image[3000] = 9;
        on_cd(&mut image, 40).unwrap();
        let numbers = [8, 12, 16].map(|at| u32_at(&image, at).unwrap());
        assert_eq!(numbers, [16, 40, 3001]);
        assert_eq!(u32_at(&image, CD_BOOT + LIST_START), Some(40 * 4 + 5));
        assert_eq!(u32_at(&image, 20), Some(7 + 9 + 40 * 4 + 5));
        assert!(on_cd(&mut [0; 2048], 40).is_err());
    }
}
