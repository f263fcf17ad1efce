//! Numbers of the form on disk and the geometry of one file system.

use crate::error::Error;

/// Fewer clusters make a volume FAT16, whatever its boot sector says (section 3.5).
pub(super) const MINIMUM_CLUSTERS: u64 = 65_525;
/// Largest count whose numbers stay below the reserved values of a 28-bit entry.
pub(super) const MAXIMUM_CLUSTERS: u64 = 0x0fff_fff4;
/// Number of the first cluster of the data area.
pub(super) const FIRST_CLUSTER: u32 = 2;
/// Bits of an entry that count; the upper four are reserved.
pub(super) const ENTRY_MASK: u32 = 0x0fff_ffff;
/// Values from here on end a chain.
pub(super) const END_OF_CHAIN: u32 = 0x0fff_fff8;
/// Bytes of a directory entry.
pub(super) const DIRECTORY_ENTRY: usize = 32;
/// Largest directory in bytes (section 6.1).
pub(super) const MAXIMUM_DIRECTORY: u64 = 65_536 * DIRECTORY_ENTRY as u64;
/// Sector of the file system information.
pub(super) const INFORMATION_SECTOR: u64 = 1;
/// Sector of the copy of the boot sector; the information sector's copy follows it.
pub(super) const BACKUP_SECTOR: u64 = 6;
/// Reserved sectors that every formatter keeps at least.
const RESERVED_SECTORS: u64 = 32;
/// Copies of the allocation table.
pub(super) const TABLES: u64 = 2;

/// Attribute bits of a directory entry.
pub(super) mod attribute {
    pub(in crate::fat) const VOLUME_LABEL: u8 = 0x08;
    pub(in crate::fat) const DIRECTORY: u8 = 0x10;
    pub(in crate::fat) const ARCHIVE: u8 = 0x20;
    /// Read-only, hidden, system and label together mark a part of a long name.
    pub(in crate::fat) const LONG_NAME: u8 = 0x0f;
}

/// Where things are, in sectors unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) sector_size: u32,
    pub(super) total_sectors: u32,
    pub(super) reserved: u32,
    pub(super) table_sectors: u32,
    pub(super) cluster_sectors: u32,
    pub(super) clusters: u32,
}

impl Geometry {
    /// Chooses a geometry for `length` bytes: 4 KiB clusters up to 8 GiB as other formatters do,
    /// smaller ones where FAT32 would otherwise have too few, data aligned to whole clusters.
    pub(super) fn plan(length: u64, sector_size: u32) -> Result<Self, Error> {
        if !crate::device::SECTOR_SIZES.contains(&sector_size) {
            return Err(Error::SectorSize(sector_size));
        }
        let refuse = || Error::FatLength { length, sector_size };
        let sector = u64::from(sector_size);
        let total = length / sector;
        let mut cluster = match length >> 30 {
            0..8 => 4096,
            8..16 => 8192,
            16..32 => 16384,
            _ => 32768,
        };
        while cluster >= sector {
            let cluster_sectors = cluster / sector;
            // Counting the tables' own sectors as data makes them a little too long, which is
            // allowed and spares solving for both at once.
            let most = total.saturating_sub(RESERVED_SECTORS) / cluster_sectors;
            let table_sectors = ((most + 2) * 4).div_ceil(sector);
            let data =
                (RESERVED_SECTORS + TABLES * table_sectors).next_multiple_of(cluster_sectors);
            let clusters = total.saturating_sub(data) / cluster_sectors;
            if clusters >= MINIMUM_CLUSTERS {
                let narrow = |value: u64| u32::try_from(value).map_err(|_| refuse());
                if clusters > MAXIMUM_CLUSTERS {
                    return Err(refuse());
                }
                return Ok(Self {
                    sector_size,
                    total_sectors: narrow(total)?,
                    reserved: narrow(data - TABLES * table_sectors)?,
                    table_sectors: narrow(table_sectors)?,
                    cluster_sectors: narrow(cluster_sectors)?,
                    clusters: narrow(clusters)?,
                });
            }
            cluster /= 2;
        }
        Err(refuse())
    }

    /// Bytes per cluster.
    pub(super) fn cluster_bytes(&self) -> u64 {
        u64::from(self.cluster_sectors) * u64::from(self.sector_size)
    }

    /// Byte offset of copy `index` of the allocation table.
    pub(super) fn table_offset(&self, index: u64) -> u64 {
        (u64::from(self.reserved) + index * u64::from(self.table_sectors))
            * u64::from(self.sector_size)
    }

    /// Byte offset of a cluster, or `None` for a number that is not of the data area.
    pub(super) fn cluster_offset(&self, cluster: u32) -> Option<u64> {
        let index = cluster.checked_sub(FIRST_CLUSTER).filter(|index| *index < self.clusters)?;
        Some(self.table_offset(TABLES) + u64::from(index) * self.cluster_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_shrink_with_the_file_system() {
        let mebibyte = 1 << 20;
        let cases = [
            (34 * mebibyte, 512, Some(512)),
            (64 * mebibyte, 512, Some(512)),
            (100 * mebibyte, 512, Some(1024)),
            (1024 * mebibyte, 512, Some(4096)),
            (10 * 1024 * mebibyte, 512, Some(8192)),
            (260 * mebibyte, 4096, Some(4096)),
            (1024 * mebibyte, 4096, Some(4096)),
            (32 * mebibyte, 512, None),
            (200 * mebibyte, 4096, None),
            (0, 512, None),
            (u64::MAX, 512, None),
        ];
        for (length, sector_size, cluster) in cases {
            let plan = Geometry::plan(length, sector_size).ok();
            assert_eq!(plan.map(|plan| plan.cluster_bytes()), cluster, "{length} {sector_size}");
            if let Some(plan) = plan {
                assert_eq!(plan.cluster_offset(2).unwrap() % plan.cluster_bytes(), 0);
                let last = plan.cluster_offset(plan.clusters + 1).unwrap();
                assert!(last + plan.cluster_bytes() <= length);
                assert_eq!(plan.cluster_offset(plan.clusters + 2), None);
            }
        }
    }
}
