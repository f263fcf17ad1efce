//! What a partition table says, and the numbers of its form on disk (UEFI 2.10, section 5.3).
//!
//! Field offsets live here once, for reader and writer. The table type holds only what both may
//! rely on; [`Gpt::check`] is the gate that every table passes before it is written.

use crate::error::{Error, TableDefect};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// First bytes of a header.
pub const SIGNATURE: &[u8; 8] = b"EFI PART";
/// Revision 1.0, the only one there is.
pub const REVISION: u32 = 0x0001_0000;
/// Bytes of a header that its checksum covers.
pub const HEADER_SIZE: u32 = 92;
/// Bytes of one entry. Larger ones are allowed by the standard but no tool writes them.
pub const ENTRY_SIZE: u32 = 128;
/// Entries that we write: with [`ENTRY_SIZE`] the 16 KiB that the standard demands at least.
pub const ENTRY_COUNT: u32 = 128;
/// Upper bound on entries that are read, against a header that asks for gigabytes.
pub const MAXIMUM_ENTRY_COUNT: u32 = 1024;
/// UTF-16 units of a partition name.
pub const NAME_UNITS: usize = 36;
/// Sector of the primary header.
pub const PRIMARY_LBA: u64 = 1;
/// Where the first partition of a table that we create starts, in bytes. 1 MiB suits every disk's
/// own block size and leaves room in front for two entry arrays, which the safe update needs.
pub const FIRST_USABLE_BYTE: u64 = 1 << 20;

/// Offsets in bytes of the header fields.
pub(crate) mod header {
    pub(crate) const REVISION: usize = 8;
    pub(crate) const SIZE: usize = 12;
    pub(crate) const CHECKSUM: usize = 16;
    pub(crate) const MY_LBA: usize = 24;
    pub(crate) const ALTERNATE_LBA: usize = 32;
    pub(crate) const FIRST_USABLE: usize = 40;
    pub(crate) const LAST_USABLE: usize = 48;
    pub(crate) const DISK_GUID: usize = 56;
    pub(crate) const ENTRIES_LBA: usize = 72;
    pub(crate) const ENTRY_COUNT: usize = 80;
    pub(crate) const ENTRY_SIZE: usize = 84;
    pub(crate) const ENTRIES_CHECKSUM: usize = 88;
}

/// A GUID in its byte order on disk: the first three fields little-endian, the rest as written
/// (UEFI 2.10, appendix A).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Guid(pub [u8; 16]);

/// Order in which the bytes on disk appear in the text form.
const TEXT_ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

impl Guid {
    /// Marks an unused entry.
    pub const ZERO: Self = Self([0; 16]);

    /// From the value as one would write it down, highest digit first.
    pub const fn from_u128(value: u128) -> Self {
        let text = value.to_be_bytes();
        let mut bytes = [0; 16];
        let mut index = 0;
        while index < 16 {
            bytes[TEXT_ORDER[index]] = text[index];
            index += 1;
        }
        Self(bytes)
    }

    /// Makes sixteen random bytes a well-formed random GUID (RFC 9562, version 4).
    pub const fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[7] = bytes[7] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, index) in TEXT_ORDER.into_iter().enumerate() {
            if matches!(position, 4 | 6 | 8 | 10) {
                formatter.write_str("-")?;
            }
            write!(formatter, "{:02x}", self.0[index])?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Guid({self})")
    }
}

impl FromStr for Guid {
    type Err = Error;

    /// Reads the 36-character form in either case.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = || Error::Guid(text.chars().take(60).collect());
        let dashes = text.len() == 36
            && text.bytes().enumerate().all(|(index, byte)| {
                if matches!(index, 8 | 13 | 18 | 23) {
                    byte == b'-'
                } else {
                    byte.is_ascii_hexdigit()
                }
            });
        if !dashes {
            return Err(refuse());
        }
        u128::from_str_radix(&text.replace('-', ""), 16).map(Self::from_u128).map_err(|_| refuse())
    }
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionEntry {
    /// What kind of content it is for.
    pub type_guid: Guid,
    /// Its own identity.
    pub guid: Guid,
    /// First sector.
    pub first_lba: u64,
    /// Last sector, inclusive.
    pub last_lba: u64,
    /// Attribute bits (UEFI 2.10, table 5.8).
    pub attributes: u64,
    /// Name, at most 36 UTF-16 units.
    pub name: String,
}

impl PartitionEntry {
    /// Number of sectors.
    pub fn sectors(&self) -> u64 {
        self.last_lba.saturating_sub(self.first_lba).saturating_add(1)
    }

    /// Byte offset on a disk with sectors of `sector_size` bytes.
    pub fn offset(&self, sector_size: u32) -> u64 {
        self.first_lba.saturating_mul(u64::from(sector_size))
    }

    /// Length in bytes on a disk with sectors of `sector_size` bytes.
    pub fn length(&self, sector_size: u32) -> u64 {
        self.sectors().saturating_mul(u64::from(sector_size))
    }
}

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpt {
    /// Bytes per sector: 512 or 4096.
    pub sector_size: u32,
    /// Sectors of the disk; the backup header is the last one.
    pub disk_sectors: u64,
    /// Identity of the disk.
    pub disk_guid: Guid,
    /// First sector that a partition may use.
    pub first_usable: u64,
    /// Last sector that a partition may use.
    pub last_usable: u64,
    /// Number of entries of the array.
    pub entry_count: u32,
    /// Partitions by number, from 1.
    pub partitions: BTreeMap<u32, PartitionEntry>,
}

impl Gpt {
    /// An empty table for a disk of `disk_length` bytes (a last incomplete sector is not used).
    ///
    /// # Errors
    /// [`Error::SectorSize`], or [`Error::DiskTooSmall`] below 1 MiB plus the backup.
    pub fn empty(sector_size: u32, disk_length: u64, disk_guid: Guid) -> Result<Self, Error> {
        if !crate::device::SECTOR_SIZES.contains(&sector_size) {
            return Err(Error::SectorSize(sector_size));
        }
        let sector = u64::from(sector_size);
        let mut table = Self {
            sector_size,
            disk_sectors: disk_length / sector,
            disk_guid,
            first_usable: FIRST_USABLE_BYTE / sector,
            last_usable: 0,
            entry_count: ENTRY_COUNT,
            partitions: BTreeMap::new(),
        };
        let behind = table.array_sectors() + 1;
        if table.disk_sectors <= table.first_usable + behind {
            let needed = (table.first_usable + behind + 1) * sector;
            return Err(Error::DiskTooSmall { needed, available: disk_length });
        }
        table.last_usable = table.disk_sectors - behind - 1;
        Ok(table)
    }

    /// Sectors that the entry array occupies.
    pub fn array_sectors(&self) -> u64 {
        array_sectors(self.entry_count, self.sector_size)
    }

    /// The partition with this name, if exactly one has it.
    pub fn named(&self, name: &str) -> Option<(u32, &PartitionEntry)> {
        let mut found = self.partitions.iter().filter(|(_, partition)| partition.name == name);
        let first = found.next();
        first.filter(|_| found.next().is_none()).map(|(number, partition)| (*number, partition))
    }

    /// Whether the table may be written: numbers and names fit, partitions lie in the usable area
    /// and do not overlap, and the usable area leaves room for headers and arrays.
    ///
    /// # Errors
    /// [`Error::Table`] naming the first defect.
    pub fn check(&self) -> Result<(), Error> {
        let field = |name| Err(Error::Table(TableDefect::Field(name)));
        if !crate::device::SECTOR_SIZES.contains(&self.sector_size) {
            return Err(Error::SectorSize(self.sector_size));
        }
        if !(ENTRY_COUNT..=MAXIMUM_ENTRY_COUNT).contains(&self.entry_count) {
            return field("number of entries");
        }
        let array = self.array_sectors();
        if self.first_usable < 2 + array {
            return field("first usable sector");
        }
        if self.last_usable < self.first_usable
            || self.disk_sectors.checked_sub(array + 2).is_none_or(|last| self.last_usable > last)
        {
            return field("last usable sector");
        }
        self.check_partitions().map_err(Error::Table)
    }

    /// Checks every partition against the usable area and the others.
    pub(crate) fn check_partitions(&self) -> Result<(), TableDefect> {
        let mut places = Vec::with_capacity(self.partitions.len());
        for (&number, partition) in &self.partitions {
            let defect = |reason| Err(TableDefect::Partition { number, reason });
            if number == 0 || number > self.entry_count {
                return defect("number outside the array");
            }
            if partition.type_guid == Guid::ZERO {
                return defect("type is that of an unused entry");
            }
            if partition.last_lba < partition.first_lba {
                return defect("ends before it starts");
            }
            if partition.first_lba < self.first_usable || partition.last_lba > self.last_usable {
                return defect("outside the usable sectors");
            }
            if partition.name.encode_utf16().count() > NAME_UNITS {
                return defect("name longer than 36 units");
            }
            places.push((partition.first_lba, partition.last_lba, number));
        }
        places.sort_unstable();
        for pair in places.windows(2) {
            if pair[1].0 <= pair[0].1 {
                return Err(TableDefect::Partition { number: pair[1].2, reason: "overlaps" });
            }
        }
        Ok(())
    }
}

/// Sectors of an array of `count` entries.
pub(crate) fn array_sectors(count: u32, sector_size: u32) -> u64 {
    (u64::from(count) * u64::from(ENTRY_SIZE)).div_ceil(u64::from(sector_size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_are_mixed_endian() {
        let text = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
        let guid: Guid = text.parse().unwrap();
        assert_eq!(guid.0[..8], [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11]);
        assert_eq!(guid.to_string(), text);
        assert_eq!(text.to_uppercase().parse::<Guid>().unwrap(), guid);
        assert_eq!(Guid::from_u128(0xc12a7328_f81f_11d2_ba4b_00a0c93ec93b), guid);
        assert_eq!(&Guid::from_random([0xff; 16]).to_string()[14..20], "4fff-b");
        for bad in ["", "c12a7328f81f11d2ba4b00a0c93ec93b", &text[1..], "{c12a7328}"] {
            assert!(bad.parse::<Guid>().is_err(), "{bad}");
        }
    }

    #[test]
    fn bad_tables_are_refused() {
        let entry = |first_lba, last_lba| PartitionEntry {
            type_guid: Guid([1; 16]),
            guid: Guid([2; 16]),
            first_lba,
            last_lba,
            attributes: 0,
            name: "x".into(),
        };
        let good = Gpt::empty(512, 8 << 20, Guid([9; 16])).unwrap();
        assert!(good.check().is_ok());
        assert_eq!((good.first_usable, good.last_usable), (2048, 16384 - 34));
        type Change = fn(&mut Gpt, &dyn Fn(u64, u64) -> PartitionEntry);
        let cases: [(&str, Change); 8] = [
            ("zero", |t, e| drop(t.partitions.insert(0, e(2048, 2048)))),
            ("number", |t, e| drop(t.partitions.insert(129, e(2048, 2048)))),
            ("backwards", |t, e| drop(t.partitions.insert(1, e(2049, 2048)))),
            ("before", |t, e| drop(t.partitions.insert(1, e(2047, 2048)))),
            ("behind", |t, e| drop(t.partitions.insert(1, e(2048, 16351)))),
            ("overlap", |t, e| {
                t.partitions.insert(1, e(3000, 4000));
                t.partitions.insert(2, e(2048, 3000));
            }),
            ("usable", |t, _| t.last_usable += 1),
            ("array", |t, _| t.first_usable = 33),
        ];
        for (name, change) in cases {
            let mut table = good.clone();
            change(&mut table, &entry);
            assert!(table.check().is_err(), "{name}");
        }
        assert!(Gpt::empty(512, 1 << 20, Guid::ZERO).is_err());
        assert!(Gpt::empty(520, 1 << 30, Guid::ZERO).is_err());
    }
}
