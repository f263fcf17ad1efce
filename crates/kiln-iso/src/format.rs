//! Numbers of the form on disk: ECMA-119 (ISO 9660), Joliet, SUSP and Rock Ridge, El Torito.
//!
//! Field offsets live here once, for reader and writer. Numbers that the standard wants in both byte
//! orders are written so and read little-endian: a reader that refused a difference would refuse
//! media that every system reads.

use crate::error::Error;

/// Bytes of a logical sector and block, the only size that media in use have (ECMA-119, 6.1.2).
pub const SECTOR: usize = 2048;
/// [`SECTOR`] for offsets.
pub const SECTOR_BYTES: u64 = SECTOR as u64;
/// Bytes of a sector of a disk, the unit of partition table and boot catalog.
pub const DISK_SECTOR: u64 = 512;
/// First sector of the volume descriptors; what is in front is free for boot code (ECMA-119, 6.2.1).
pub const FIRST_DESCRIPTOR: u64 = 16;
/// Volume descriptors that are read; media have four.
pub const MAXIMUM_DESCRIPTORS: u64 = 64;
/// Most bytes of one extent: the largest multiple of a sector that a record's 32 bits hold. Longer
/// files have several records (ECMA-119, 6.4.1 and 9.1.6, bit 7).
pub const MAXIMUM_EXTENT: u64 = 0xffff_f800;
/// Most files, directories and links of a medium, for writer and reader alike: bounds memory.
pub const MAXIMUM_NODES: usize = 200_000;
/// Most directories on a path. ECMA-119, 6.8.2.1, says 8; every reader in use takes more, and moving
/// deep directories elsewhere, as Rock Ridge can, makes other trees of them for all other readers.
pub const MAXIMUM_DEPTH: usize = 128;
/// Bytes of a name, as Linux has it (NAME_MAX).
pub const MAXIMUM_NAME: usize = 255;
/// Bytes of a link's target, as Linux has it (PATH_MAX with its end).
pub const MAXIMUM_TARGET: usize = 4095;

/// Types of volume descriptors (ECMA-119, 8.1.1).
pub mod descriptor {
    /// Says where the boot catalog is.
    pub const BOOT_RECORD: u8 = 0;
    /// The tree with names in capital letters.
    pub const PRIMARY: u8 = 1;
    /// Another tree; Joliet's, if the escape sequences say so.
    pub const SUPPLEMENTARY: u8 = 2;
    /// Ends the list.
    pub const TERMINATOR: u8 = 255;
    /// What stands behind the type, and version 1.
    pub const IDENTIFIER: &[u8; 6] = b"CD001\x01";
    /// Names in UTF-16, level 3 (Joliet specification, table 1).
    pub const JOLIET_ESCAPE: &[u8; 3] = b"%/E";
    /// System of a boot record (El Torito 1.0, figure 7), padded with zeros to 32 bytes.
    pub const EL_TORITO: &[u8; 23] = b"EL TORITO SPECIFICATION";

    /// Offsets in bytes.
    pub const SYSTEM_ID: usize = 8;
    /// Label.
    pub const VOLUME_ID: usize = 40;
    /// Sector of the boot catalog, in a boot record.
    pub const CATALOG: usize = 71;
    /// Sectors of the volume.
    pub const SPACE: usize = 80;
    /// Escape sequences.
    pub const ESCAPES: usize = 88;
    /// Number of volumes.
    pub const SET_SIZE: usize = 120;
    /// Number of this volume.
    pub const SEQUENCE: usize = 124;
    /// Bytes of a block.
    pub const BLOCK_SIZE: usize = 128;
    /// Bytes of a path table.
    pub const PATH_TABLE_LENGTH: usize = 132;
    /// Its sector, numbers little-endian.
    pub const PATH_TABLE_LITTLE: usize = 140;
    /// Its sector, numbers big-endian.
    pub const PATH_TABLE_BIG: usize = 148;
    /// Record of the root directory, 34 bytes.
    pub const ROOT: usize = 156;
    /// Four texts of 128 bytes: set, publisher, preparer, application.
    pub const SET_ID: usize = 190;
    /// Who made it.
    pub const PUBLISHER: usize = 318;
    /// What it was made with.
    pub const PREPARER: usize = 446;
    /// What is on it.
    pub const APPLICATION: usize = 574;
    /// Names of three files, 37 bytes each, none of which there is.
    pub const FILES: usize = 702;
    /// Four times: creation, modification, expiration, effective.
    pub const CREATED: usize = 813;
    /// Which is what other tools take for the UUID of the volume.
    pub const MODIFIED: usize = 830;
    /// Never.
    pub const EXPIRES: usize = 847;
    /// From then on.
    pub const EFFECTIVE: usize = 864;
    /// Version 1.
    pub const STRUCTURE: usize = 881;
}

/// A directory record (ECMA-119, 9.1): offsets in bytes.
pub mod record {
    /// Sector of the extent, both orders.
    pub const EXTENT: usize = 2;
    /// Bytes of the extent, both orders.
    pub const LENGTH: usize = 10;
    /// Seven bytes.
    pub const TIME: usize = 18;
    /// Flags.
    pub const FLAGS: usize = 25;
    /// Bytes of the identifier.
    pub const IDENTIFIER_LENGTH: usize = 32;
    /// Where it starts.
    pub const IDENTIFIER: usize = 33;
    /// It is a directory.
    pub const DIRECTORY: u8 = 2;
    /// More records of the same file follow.
    pub const MORE: u8 = 0x80;
    /// The longest record that we write: the length is one byte, and even.
    pub const MAXIMUM: usize = 254;
}

/// System use entries (SUSP 1.12, Rock Ridge 1.12).
pub mod susp {
    /// Signature, length and version.
    pub const HEAD: usize = 4;
    /// Length of the entry that says where the rest is.
    pub const CONTINUATION: usize = 28;
    /// The longest entry.
    pub const MAXIMUM: usize = 255;
    /// Continuations that are followed for one record, as many as Linux follows.
    pub const MAXIMUM_CONTINUATIONS: usize = 32;
    /// What the very first entry of a volume says besides its name.
    pub const CHECK: [u8; 2] = [0xbe, 0xef];
    /// Name of the protocol, as Rock Ridge 1.09 and all readers have it.
    pub const ROCK_RIDGE: &[u8; 10] = b"RRIP_1991A";
}

/// Bits of a POSIX mode that tell the type.
pub mod mode {
    /// All of them.
    pub const TYPE: u32 = 0o170_000;
    /// A regular file.
    pub const FILE: u32 = 0o100_000;
    /// A directory.
    pub const DIRECTORY: u32 = 0o040_000;
    /// A symbolic link.
    pub const SYMLINK: u32 = 0o120_000;
}

/// The boot catalog (El Torito 1.0, chapter 2).
pub mod catalog {
    /// Bytes of each entry.
    pub const ENTRY: usize = 32;
    /// First byte of the validation entry.
    pub const VALIDATION: u8 = 1;
    /// First byte of a bootable entry.
    pub const BOOTABLE: u8 = 0x88;
    /// First byte of a section that others follow.
    pub const SECTION: u8 = 0x90;
    /// First byte of the last section.
    pub const LAST_SECTION: u8 = 0x91;
    /// First byte of an entry that extends the one before it.
    pub const EXTENSION: u8 = 0x44;
    /// A BIOS.
    pub const BIOS: u8 = 0;
    /// UEFI (UEFI 2.10, section 13.3.2.1).
    pub const UEFI: u8 = 0xef;
}

/// A place in an image, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Byte offset.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
}

impl Place {
    /// Where it ends.
    pub const fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// Both orders of 16 bits.
pub(crate) fn both16(value: u16) -> [u8; 4] {
    let (little, big) = (value.to_le_bytes(), value.to_be_bytes());
    [little[0], little[1], big[0], big[1]]
}

/// Both orders of 32 bits.
pub(crate) fn both32(value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}

/// `N` bytes at `at`, zeros where there are none.
pub(crate) fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = at.checked_add(N).and_then(|end| bytes.get(at..end));
    found.and_then(|found| found.try_into().ok()).unwrap_or([0; N])
}

/// The little-endian half of a number in both orders.
pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(take(bytes, at))
}

/// A moment in UTC, from 1970 to 2155, which is as far as a directory record counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

/// Last second of the year 2155.
const LAST_SECOND: u64 = 5_869_583_999;

impl Moment {
    /// From seconds since 1970.
    ///
    /// # Errors
    /// [`Error::Field`] behind the year 2155.
    pub fn from_seconds(seconds: u64) -> Result<Self, Error> {
        if seconds > LAST_SECOND {
            let (field, value) = ("time", seconds.to_string());
            return Err(Error::Field { field, value, reason: "behind the year 2155" });
        }
        let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
        let mut year = 1970;
        loop {
            let length = if leap(year) { 366 } else { 365 };
            if days < length {
                break;
            }
            days -= length;
            year += 1;
        }
        let february = if leap(year) { 29 } else { 28 };
        let mut month = 1;
        for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            if days < length {
                break;
            }
            days -= length;
            month += 1;
        }
        // All are below 256 by their meaning.
        let [day, hour, minute, second] =
            [days + 1, rest / 3600, rest / 60 % 60, rest % 60].map(|value| value as u8);
        Ok(Self { year, month, day, hour, minute, second })
    }

    /// As in a directory record (ECMA-119, 9.1.5).
    pub(crate) fn short(self) -> [u8; 7] {
        // 1970 to 2155.
        let year = (self.year - 1900) as u8;
        [year, self.month, self.day, self.hour, self.minute, self.second, 0]
    }

    /// As in a volume descriptor (ECMA-119, 8.4.26.1).
    pub(crate) fn long(self) -> [u8; 17] {
        let Self { year, month, day, hour, minute, second } = self;
        let text = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}00\0");
        take(text.as_bytes(), 0)
    }
}

fn leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        for (seconds, long) in [
            (0, "1970010100000000"),
            (951_782_400, "2000022900000000"),
            (1_709_251_199, "2024022923595900"),
            (1_735_689_599, "2024123123595900"),
            (LAST_SECOND, "2155123123595900"),
        ] {
            let moment = Moment::from_seconds(seconds).unwrap();
            assert_eq!(moment.long(), *format!("{long}\0").as_bytes(), "{seconds}");
        }
        assert!(Moment::from_seconds(LAST_SECOND + 1).is_err());
        assert_eq!(Moment::from_seconds(3661).unwrap().short(), [70, 1, 1, 1, 1, 1, 0]);
    }

    #[test]
    fn both_orders() {
        assert_eq!(both16(0x0102), [2, 1, 1, 2]);
        assert_eq!(both32(0x0102_0304), [4, 3, 2, 1, 1, 2, 3, 4]);
        assert_eq!(word(&both32(77), 0), 77);
        assert_eq!(take::<4>(&[1, 2], usize::MAX), [0; 4]);
    }
}
