//! Writing a table: once at build time, and as a change that no power cut can break.
//!
//! The update is a list of writes (UEFI 2.10, section 5.3.2, demands two copies but no order), with
//! one invariant: at every moment the copy that a reader takes, the valid primary or else the
//! backup, is wholly old or wholly new.
//!
//! *Primary valid:* backup array, backup header, flush: a reader still takes the old primary. New
//! array at the spare one of two places behind the primary header, flush: nobody refers to it yet.
//! Primary header, flush: one sector, the commit. A torn header leaves the new backup.
//! Where a table made elsewhere has its first partition too near, there is no spare place and the
//! array is overwritten: that breaks the old primary, which makes the new backup count.
//!
//! *Primary damaged:* the other way round, because the backup is then all there is.
//!
//! Writing the primary first, as most tools do, was dropped: a cut in the middle then brings back an
//! old backup, or on a grown disk none at all, since that one is no longer at the end.

use super::format::{ENTRY_SIZE, Gpt, Guid, HEADER_SIZE, PRIMARY_LBA, REVISION, SIGNATURE, header};
use super::reader::{Copy, Located};
use crate::crc::crc32;
use crate::device::Write;
use crate::error::Error;

/// All writes of a table on an empty disk, protective MBR included. The order is of no use here.
///
/// # Errors
/// What [`Gpt::check`] refuses.
pub fn create(table: &Gpt) -> Result<Vec<Write<'static>>, Error> {
    table.check()?;
    let image = Image::new(table, 2);
    let mut writes = vec![image.write(0, protective_mbr(table, &[]), false)];
    writes.extend(image.primary(true));
    writes.extend(image.backup());
    Ok(writes)
}

/// The writes that replace the table `old`, as it was found on the disk, by `new`. The two may
/// differ in the length of the disk: that is how an image grows to the disk it was copied to.
///
/// # Errors
/// What [`Gpt::check`] refuses in `new`.
pub fn update(old: &Located, new: &Gpt) -> Result<Vec<Write<'static>>, Error> {
    let mut new = new.clone();
    let array = new.array_sectors();
    let both = 2 + 2 * array;
    let lowest = new.partitions.values().map(|partition| partition.first_lba).min();
    // Claiming room for both places makes the next update safe in the stronger sense, too.
    if lowest.is_none_or(|lowest| lowest >= both) {
        new.first_usable = new.first_usable.max(both);
    }
    new.check()?;

    let old_end = old.entries_lba.saturating_add(old.table.array_sectors());
    let occupied = |place: u64| {
        old.copy == Copy::Primary && place < old_end && old.entries_lba < place + array
    };
    let spare = [2, 2 + array]
        .into_iter()
        .find(|place| !occupied(*place) && place + array <= new.first_usable);
    let image = Image::new(&new, spare.unwrap_or(2));
    let mut writes = Vec::new();
    match old.copy {
        Copy::Primary => {
            writes.extend(image.backup());
            writes.extend(image.primary(spare.is_some()));
        }
        Copy::Backup => {
            writes.extend(image.primary(true));
            writes.extend(image.backup());
        }
    }
    // Last and alone: no reader of ours needs it, but some firmware does.
    let first_sector = protective_mbr(&new, &old.first_sector);
    if first_sector != old.first_sector {
        writes.push(image.write(0, first_sector, true));
    }
    Ok(writes)
}

/// A table rendered for a disk.
struct Image<'a> {
    table: &'a Gpt,
    entries: Vec<u8>,
    primary_entries_lba: u64,
}

impl<'a> Image<'a> {
    fn new(table: &'a Gpt, primary_entries_lba: u64) -> Self {
        Self { table, entries: render_entries(table), primary_entries_lba }
    }

    fn write(&self, lba: u64, bytes: Vec<u8>, flush: bool) -> Write<'static> {
        Write { offset: lba * u64::from(self.table.sector_size), bytes: bytes.into(), flush }
    }

    /// Array, then header. Without a flush between the two where the old array is overwritten in
    /// place: either order leaves the backup as the only valid copy.
    fn primary(&self, flush_between: bool) -> [Write<'static>; 2] {
        let header = self.header(PRIMARY_LBA, self.last(), self.primary_entries_lba);
        [
            self.write(self.primary_entries_lba, self.entries.clone(), flush_between),
            self.write(PRIMARY_LBA, header, true),
        ]
    }

    fn backup(&self) -> [Write<'static>; 2] {
        let entries_lba = self.last() - self.table.array_sectors();
        let header = self.header(self.last(), PRIMARY_LBA, entries_lba);
        [
            self.write(entries_lba, self.entries.clone(), false),
            self.write(self.last(), header, true),
        ]
    }

    fn last(&self) -> u64 {
        self.table.disk_sectors - 1
    }

    /// One header sector.
    fn header(&self, own: u64, other: u64, entries_lba: u64) -> Vec<u8> {
        let mut sector = vec![0; self.table.sector_size as usize];
        let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, SIGNATURE);
        put(header::REVISION, &REVISION.to_le_bytes());
        put(header::SIZE, &HEADER_SIZE.to_le_bytes());
        put(header::MY_LBA, &own.to_le_bytes());
        put(header::ALTERNATE_LBA, &other.to_le_bytes());
        put(header::FIRST_USABLE, &self.table.first_usable.to_le_bytes());
        put(header::LAST_USABLE, &self.table.last_usable.to_le_bytes());
        put(header::DISK_GUID, &self.table.disk_guid.0);
        put(header::ENTRIES_LBA, &entries_lba.to_le_bytes());
        put(header::ENTRY_COUNT, &self.table.entry_count.to_le_bytes());
        put(header::ENTRY_SIZE, &ENTRY_SIZE.to_le_bytes());
        let length = self.table.entry_count as usize * ENTRY_SIZE as usize;
        put(header::ENTRIES_CHECKSUM, &crc32(&self.entries[..length]).to_le_bytes());
        let checksum = crc32(&sector[..HEADER_SIZE as usize]);
        sector[header::CHECKSUM..header::CHECKSUM + 4].copy_from_slice(&checksum.to_le_bytes());
        sector
    }
}

/// The entry array in whole sectors.
fn render_entries(table: &Gpt) -> Vec<u8> {
    let mut bytes = vec![0; table.array_sectors() as usize * table.sector_size as usize];
    let mut slots = bytes.chunks_exact_mut(ENTRY_SIZE as usize);
    let mut next = 1;
    for (number, partition) in &table.partitions {
        // Ascending and inside the array, as `check` made sure.
        let Some(entry) = slots.nth((number - next) as usize) else { break };
        next = number + 1;
        let Guid(type_guid) = partition.type_guid;
        entry[..16].copy_from_slice(&type_guid);
        entry[16..32].copy_from_slice(&partition.guid.0);
        entry[32..40].copy_from_slice(&partition.first_lba.to_le_bytes());
        entry[40..48].copy_from_slice(&partition.last_lba.to_le_bytes());
        entry[48..56].copy_from_slice(&partition.attributes.to_le_bytes());
        for (target, unit) in entry[56..].chunks_exact_mut(2).zip(partition.name.encode_utf16()) {
            target.copy_from_slice(&unit.to_le_bytes());
        }
    }
    bytes
}

/// Sector 0: one partition of type 0xEE over the whole disk (UEFI 2.10, section 5.2.3). Everything
/// in front of the four partition records is taken from `before`.
fn protective_mbr(table: &Gpt, before: &[u8]) -> Vec<u8> {
    let mut sector = vec![0; table.sector_size as usize];
    let kept = before.get(..446).unwrap_or_default();
    sector[..kept.len()].copy_from_slice(kept);
    let length = u32::try_from(table.disk_sectors - 1).unwrap_or(u32::MAX);
    // Not active; start 0/0/2 and end 255/255/255 in cylinder notation; type; first sector.
    sector[446..458].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
    sector[458..462].copy_from_slice(&length.to_le_bytes());
    sector[510..512].copy_from_slice(&[0x55, 0xaa]);
    sector
}
