//! Further partitions in a table: made once, formatted once, never again.
//!
//! Until its file system is written and flushed, such a partition has a type of its own, which no
//! other program gives: only that type may ever be formatted. The name could not carry this, as it
//! does for state, because every name is somebody's; and a partition that was kept from an older
//! system has the lasting type from the start.

use super::{ExtraPartition, Layout};
use crate::error::Error;
use crate::gpt::{Gpt, Guid, PartitionEntry};

/// Type of a further partition: Linux file system data (UAPI discoverable partitions, "generic").
pub const EXTRA_TYPE: Guid = Guid::from_u128(0x0fc63daf_8483_4772_8e79_3d69d8477de4);

/// Its type until its file system is complete and flushed. Only such a partition is formatted.
pub const EXTRA_NEW_TYPE: Guid = Guid::from_u128(0x8426ee94_04da_4572_b9bc_5a628f655663);

/// First number of a further partition: behind those that are fixed.
pub const FIRST_EXTRA: u32 = 7;

/// The table's entry of a partition that was just made.
pub(super) fn entry(extra: &ExtraPartition, guid: Guid) -> PartitionEntry {
    PartitionEntry {
        type_guid: if extra.file_system.is_some() { EXTRA_NEW_TYPE } else { EXTRA_TYPE },
        guid,
        first_lba: 0,
        last_lba: 0,
        attributes: 0,
        name: extra.label.clone(),
    }
}

/// The first partition that still needs its file system: number and name.
#[must_use]
pub fn unformatted(table: &Gpt) -> Option<(u32, &str)> {
    let is_new = |(_, entry): &(&u32, &PartitionEntry)| entry.type_guid == EXTRA_NEW_TYPE;
    let found = table.partitions.iter().find(is_new);
    found.map(|(number, entry)| (*number, entry.name.as_str()))
}

/// Gives a partition its lasting type: from then on nothing formats it.
///
/// # Errors
/// [`Error::NotNew`] if it is not waiting for a file system.
pub fn finish_extra(table: &Gpt, number: u32) -> Result<Gpt, Error> {
    let mut new = table.clone();
    let entry = new.partitions.get_mut(&number);
    let entry = entry.filter(|entry| entry.type_guid == EXTRA_NEW_TYPE);
    entry.ok_or(Error::NotNew { number })?.type_guid = EXTRA_TYPE;
    Ok(new)
}

/// What is to be mounted: partition, its identity, where. In the layout's order; what has no file
/// system yet, is missing, or shares its name with another partition is left out.
#[must_use]
pub fn mounts<'l>(table: &Gpt, layout: &'l Layout) -> Vec<(&'l ExtraPartition, Guid, &'l str)> {
    let found = |extra: &'l ExtraPartition| {
        let (_, entry) = table.named(&extra.label)?;
        let is_ready = entry.type_guid != EXTRA_NEW_TYPE;
        Some((extra, entry.guid, extra.mount.as_deref()?)).filter(|_| is_ready)
    };
    layout.partitions.iter().filter_map(found).collect()
}
