//! What the device holds: boot sector, allocation tables, and directories as they are asked for.

use super::directory::Directory;
use crate::device::BlockDevice;
use crate::error::Error;
use crate::fat::format::{
    END_OF_CHAIN, ENTRY_MASK, FIRST_CLUSTER, Geometry, MAXIMUM_DIRECTORY, TABLES,
};
use crate::fat::reader::{Fat, read_device};

/// Byte of the boot sector whose lowest bit says that a change is under way, as Linux uses it.
pub(super) const STATE_BYTE: usize = 65;
/// The bit.
pub(super) const STATE_CHANGING: u8 = 1;
/// Bit of the table's second entry that firmware clears while it writes (section 4.2).
pub(super) const TABLE_CLEAN: u32 = 0x0800_0000;
/// Largest allocation table that is read, in bytes: 8 Mi clusters, an ESP of 32 GiB.
const MAXIMUM_TABLE: u64 = 32 << 20;

/// A FAT32 file system, read for changing it.
pub struct Volume<'a> {
    pub(super) device: &'a dyn BlockDevice,
    /// Byte offset of the file system on the device.
    pub(super) offset: u64,
    pub(super) geometry: Geometry,
    pub(super) root: u32,
    pub(super) boot_sector: Vec<u8>,
    /// Sector number of the free space count; 0 if there is none.
    pub(super) information: u64,
    /// The first copy of the table, which is the one that everybody reads.
    pub(super) table: Vec<u32>,
    /// The second copy, as it is.
    pub(super) copy: Vec<u32>,
}

impl std::fmt::Debug for Volume<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Volume")
            .field("offset", &self.offset)
            .field("geometry", &self.geometry)
            .finish_non_exhaustive()
    }
}

impl<'a> Volume<'a> {
    /// Reads the file system in `length` bytes from byte `offset` of `device`.
    ///
    /// # Errors
    /// [`Error::Fat`] if it is not FAT32 or does not fit, [`Error::Device`].
    pub fn open(device: &'a dyn BlockDevice, offset: u64, length: u64) -> Result<Self, Error> {
        let fat = Fat::open(device, offset, length)?;
        let (geometry, root) = (fat.geometry(), fat.root());
        if geometry.sector_size < device.sector_size() {
            return Err(Error::Fat("sectors smaller than those of the device"));
        }
        let mut boot_sector = vec![0; geometry.sector_size as usize];
        read_device(device, offset, &mut boot_sector)?;
        let information = u64::from(u16::from_le_bytes([boot_sector[48], boot_sector[49]]));
        let information = if information < u64::from(geometry.reserved) { information } else { 0 };
        let table = read_table(device, offset, &geometry, 0)?;
        let copy = read_table(device, offset, &geometry, 1)?;
        let volume = Self { device, offset, geometry, root, boot_sector, information, table, copy };
        Ok(volume)
    }

    /// Whether a change was begun and not finished, by us or by firmware.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.boot_sector[STATE_BYTE] & STATE_CHANGING != 0 || self.table[1] & TABLE_CLEAN == 0
    }

    /// Bytes in clusters that nobody uses.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        let free = self.clusters().filter(|cluster| self.next(*cluster) == 0).count();
        free as u64 * self.geometry.cluster_bytes()
    }

    /// Bytes that a file of `length` bytes takes, in whole clusters.
    #[must_use]
    pub fn occupied_bytes(&self, length: u64) -> u64 {
        length.div_ceil(self.geometry.cluster_bytes()) * self.geometry.cluster_bytes()
    }

    /// All cluster numbers of the data area.
    pub(super) fn clusters(&self) -> std::ops::Range<u32> {
        FIRST_CLUSTER..FIRST_CLUSTER + self.geometry.clusters
    }

    /// What the table says of a cluster.
    pub(super) fn next(&self, cluster: u32) -> u32 {
        self.table.get(cluster as usize).copied().unwrap_or(0) & ENTRY_MASK
    }

    /// The clusters of a chain in their order.
    pub(super) fn chain(&self, first: u32) -> Result<Vec<u32>, Error> {
        let mut clusters = Vec::new();
        let mut cluster = first;
        while cluster < END_OF_CHAIN {
            if self.geometry.cluster_offset(cluster).is_none() {
                return Err(Error::Fat("cluster number out of range"));
            }
            if clusters.len() >= self.geometry.clusters as usize {
                return Err(Error::Fat("chain of clusters without an end"));
            }
            clusters.push(cluster);
            cluster = self.next(cluster);
        }
        Ok(clusters)
    }

    /// Byte offset of a cluster on the device.
    pub(super) fn place(&self, cluster: u32) -> Result<u64, Error> {
        let place = self.geometry.cluster_offset(cluster);
        let place = place.ok_or(Error::Fat("cluster number out of range"))?;
        self.offset.checked_add(place).ok_or(Error::Fat("offset out of range"))
    }

    /// Reads the directory that begins at a cluster; 0 stands for the root.
    pub(super) fn directory(&self, first: u32) -> Result<Directory, Error> {
        let clusters = self.chain(if first == 0 { self.root } else { first })?;
        let cluster_bytes = self.geometry.cluster_bytes();
        if clusters.len() as u64 * cluster_bytes > MAXIMUM_DIRECTORY {
            return Err(Error::Fat("directory larger than 2 MiB"));
        }
        let mut bytes = vec![0; clusters.len() * cluster_bytes as usize];
        for (cluster, bytes) in clusters.iter().zip(bytes.chunks_mut(cluster_bytes as usize)) {
            read_device(self.device, self.place(*cluster)?, bytes)?;
        }
        Ok(Directory { clusters, bytes, sector_size: self.geometry.sector_size as usize })
    }
}

fn read_table(
    device: &dyn BlockDevice,
    offset: u64,
    geometry: &Geometry,
    index: u64,
) -> Result<Vec<u32>, Error> {
    debug_assert!(index < TABLES);
    let length = u64::from(geometry.table_sectors) * u64::from(geometry.sector_size);
    if length > MAXIMUM_TABLE {
        return Err(Error::Fat("allocation table larger than 32 MiB"));
    }
    let mut bytes = vec![0; length as usize];
    let place = offset.checked_add(geometry.table_offset(index));
    read_device(device, place.ok_or(Error::Fat("offset out of range"))?, &mut bytes)?;
    let entry = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    Ok(bytes.chunks_exact(4).map(entry).collect())
}
