//! Reading a table: the primary if it is whole, else the backup.
//!
//! Total on any bytes: every field is bounded before it is used, because this runs in the first
//! process of a machine on whatever disks are plugged in. A header whose partitions overlap or leave
//! the disk counts as damaged, like one with a wrong checksum. The protective MBR is not asked: the
//! two checksums prove more than it could, and a boot must not depend on a sector that old tools
//! rewrite.

use super::format::{
    ENTRY_SIZE, Gpt, Guid, HEADER_SIZE, MAXIMUM_ENTRY_COUNT, PRIMARY_LBA, PartitionEntry, REVISION,
    SIGNATURE, array_sectors, header,
};
use crate::crc::crc32;
use crate::device::BlockDevice;
use crate::error::{Error, TableDefect};
use std::collections::BTreeMap;

/// Which of the two copies a table was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// The one at the start of the disk.
    Primary,
    /// The one at its end; the primary is damaged.
    Backup,
}

/// A table and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// What it says. `disk_sectors` is what the table believes, which is less than the disk has if
    /// an image was copied to a larger one.
    pub table: Gpt,
    /// The copy that was read.
    pub copy: Copy,
    /// First sector of the entry array of that copy.
    pub entries_lba: u64,
    /// Whether the other copy, where this one says it is, is valid and says the same.
    pub other_agrees: bool,
    /// Sector 0 as it is, because a change must keep boot code and disk signature in it.
    pub first_sector: Vec<u8>,
}

/// One valid copy with the places its header names.
struct Parsed {
    table: Gpt,
    entries_lba: u64,
    alternate_lba: u64,
}

/// Reads the table of a disk.
///
/// # Errors
/// [`Error::NoTable`] if neither copy is valid, [`Error::Device`] if the disk fails.
pub fn read(device: &dyn BlockDevice) -> Result<Located, Error> {
    let last = (device.length() / u64::from(device.sector_size())).saturating_sub(1);
    let located = |parsed: Parsed, copy, other_agrees| {
        Ok(Located {
            table: parsed.table,
            copy,
            entries_lba: parsed.entries_lba,
            other_agrees,
            first_sector: fetch(device, 0, device.sector_size() as usize)?,
        })
    };
    let defect = match read_copy(device, PRIMARY_LBA, last)? {
        Ok(parsed) => {
            let other = read_copy(device, parsed.alternate_lba, last)?;
            let agrees = other.is_ok_and(|other| other.table == parsed.table);
            return located(parsed, Copy::Primary, agrees);
        }
        Err(defect) => defect,
    };
    match read_copy(device, last, last)? {
        Ok(parsed) => located(parsed, Copy::Backup, false),
        Err(backup) => Err(Error::NoTable { primary: defect, backup }),
    }
}

/// Reads one copy; the outer error is the device's, the inner one the table's.
fn read_copy(
    device: &dyn BlockDevice,
    lba: u64,
    last: u64,
) -> Result<Result<Parsed, TableDefect>, Error> {
    let sector = u64::from(device.sector_size());
    if lba == 0 || lba > last {
        return Ok(Err(TableDefect::Short));
    }
    let bytes = fetch(device, lba * sector, sector as usize)?;
    let fields = match parse_header(&bytes, lba, last) {
        Ok(fields) => fields,
        Err(defect) => return Ok(Err(defect)),
    };
    let length = fields.count as usize * ENTRY_SIZE as usize;
    let entries = fetch(device, fields.entries_lba * sector, length)?;
    if crc32(&entries) != fields.entries_checksum {
        return Ok(Err(TableDefect::EntriesChecksum));
    }
    let backup_lba = if lba == PRIMARY_LBA { fields.alternate_lba } else { lba };
    let table = Gpt {
        sector_size: device.sector_size(),
        disk_sectors: backup_lba + 1,
        disk_guid: fields.disk_guid,
        first_usable: fields.first_usable,
        last_usable: fields.last_usable,
        entry_count: fields.count,
        partitions: parse_entries(&entries),
    };
    Ok(table.check_partitions().map(|()| Parsed {
        table,
        entries_lba: fields.entries_lba,
        alternate_lba: fields.alternate_lba,
    }))
}

/// Header fields after their bounds were checked.
struct Fields {
    alternate_lba: u64,
    first_usable: u64,
    last_usable: u64,
    disk_guid: Guid,
    entries_lba: u64,
    count: u32,
    entries_checksum: u32,
}

/// Checks one header sector of a disk whose last sector is `last`.
fn parse_header(bytes: &[u8], lba: u64, last: u64) -> Result<Fields, TableDefect> {
    let word = |at: usize| u32::from_le_bytes(take(bytes, at));
    let long = |at: usize| u64::from_le_bytes(take(bytes, at));
    if take::<8>(bytes, 0) != *SIGNATURE {
        return Err(TableDefect::Signature);
    }
    let size = word(header::SIZE);
    if size < HEADER_SIZE || size as usize > bytes.len() {
        return Err(TableDefect::Field("header size"));
    }
    let mut covered = bytes[..size as usize].to_vec();
    covered[header::CHECKSUM..header::CHECKSUM + 4].fill(0);
    if crc32(&covered) != word(header::CHECKSUM) {
        return Err(TableDefect::HeaderChecksum);
    }
    if word(header::REVISION) != REVISION {
        return Err(TableDefect::Field("revision"));
    }
    if long(header::MY_LBA) != lba {
        return Err(TableDefect::Field("own sector"));
    }
    let count = word(header::ENTRY_COUNT);
    if count == 0 || count > MAXIMUM_ENTRY_COUNT {
        return Err(TableDefect::Field("number of entries"));
    }
    if word(header::ENTRY_SIZE) != ENTRY_SIZE {
        return Err(TableDefect::Field("entry size"));
    }
    let fields = Fields {
        alternate_lba: long(header::ALTERNATE_LBA),
        first_usable: long(header::FIRST_USABLE),
        last_usable: long(header::LAST_USABLE),
        disk_guid: Guid(take(bytes, header::DISK_GUID)),
        entries_lba: long(header::ENTRIES_LBA),
        count,
        entries_checksum: word(header::ENTRIES_CHECKSUM),
    };
    let array = array_sectors(count, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    if fields.entries_lba < 2 || fields.entries_lba > last || last - fields.entries_lba + 1 < array
    {
        return Err(TableDefect::Field("place of the entries"));
    }
    // A disk cut shorter than its table would otherwise be believed to hold partitions it lost.
    if fields.last_usable > last || fields.first_usable > fields.last_usable {
        return Err(TableDefect::Field("usable sectors"));
    }
    if fields.alternate_lba > last {
        return Err(TableDefect::Field("sector of the other copy"));
    }
    Ok(fields)
}

/// Used entries by number. A name that is not UTF-16 gets replacement characters.
fn parse_entries(bytes: &[u8]) -> BTreeMap<u32, PartitionEntry> {
    let entries = (1..).zip(bytes.chunks_exact(ENTRY_SIZE as usize));
    entries
        .map(|(number, entry)| {
            let units: Vec<u16> = entry[56..]
                .chunks_exact(2)
                .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
                .take_while(|unit| *unit != 0)
                .collect();
            let partition = PartitionEntry {
                type_guid: Guid(take(entry, 0)),
                guid: Guid(take(entry, 16)),
                first_lba: u64::from_le_bytes(take(entry, 32)),
                last_lba: u64::from_le_bytes(take(entry, 40)),
                attributes: u64::from_le_bytes(take(entry, 48)),
                name: String::from_utf16_lossy(&units),
            };
            (number, partition)
        })
        .filter(|(_, partition)| partition.type_guid != Guid::ZERO)
        .collect()
}

/// `LENGTH` bytes at `offset`; zeros behind the end, which no caller reaches.
fn take<const LENGTH: usize>(bytes: &[u8], offset: usize) -> [u8; LENGTH] {
    let mut field = [0; LENGTH];
    if let Some(source) = bytes.get(offset..offset + LENGTH) {
        field.copy_from_slice(source);
    }
    field
}

fn fetch(device: &dyn BlockDevice, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; length];
    device.read_at(offset, &mut bytes).map_err(|source| Error::Device {
        action: "read",
        offset,
        length: length as u64,
        source,
    })?;
    Ok(bytes)
}
