//! Reading FAT32 on a device: for `inspect`, for tests, and for what a machine finds on its ESP.
//!
//! Total on any bytes: chains are bounded by the number of clusters, directories by their largest
//! size, the whole walk by a number of entries. The file system is not judged otherwise, because a
//! machine must read what a careless tool left on the ESP.

use super::format::{
    DIRECTORY_ENTRY, END_OF_CHAIN, ENTRY_MASK, Geometry, MAXIMUM_DIRECTORY, TABLES, attribute,
};
use super::names::{self, LAST_PART, UNIT_OFFSETS};
use crate::device::BlockDevice;
use crate::error::Error;

/// Directories inside each other that are followed.
const MAXIMUM_DEPTH: usize = 32;
/// Bytes of directories that one walk reads, against directories that contain each other.
const MAXIMUM_WALK: u64 = 32 << 20;

/// A file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path from the root, `/` between names.
    pub path: String,
    /// Whether it is a directory.
    pub directory: bool,
    /// Length in bytes; 0 for a directory.
    pub length: u32,
    /// First cluster; 0 for an empty file.
    cluster: u32,
}

/// An opened file system.
pub struct Fat<'a> {
    device: &'a dyn BlockDevice,
    offset: u64,
    geometry: Geometry,
    root: u32,
    volume_id: u32,
    label: [u8; 11],
}

impl std::fmt::Debug for Fat<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Fat")
            .field("offset", &self.offset)
            .field("geometry", &self.geometry)
            .finish_non_exhaustive()
    }
}

impl<'a> Fat<'a> {
    /// Opens the file system in `length` bytes from byte `offset` of `device`.
    ///
    /// # Errors
    /// [`Error::Fat`] if it is not FAT32 or does not fit, [`Error::Device`].
    pub fn open(device: &'a dyn BlockDevice, offset: u64, length: u64) -> Result<Self, Error> {
        let mut boot = [0; 512];
        read_device(device, offset, &mut boot)?;
        let short = |at: usize| u32::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
        let long = |at: usize| short(at) | short(at + 2) << 16;
        let sector_size = short(11);
        let cluster_sectors = u32::from(boot[13]);
        if boot[510..] != [0x55, 0xaa] || !crate::device::SECTOR_SIZES.contains(&sector_size) {
            return Err(Error::Fat("no boot sector"));
        }
        if !cluster_sectors.is_power_of_two() || short(14) == 0 {
            return Err(Error::Fat("boot sector field out of range"));
        }
        if u64::from(boot[16]) != TABLES || short(17) != 0 || short(22) != 0 || long(36) == 0 {
            return Err(Error::Fat("not FAT32"));
        }
        let mut geometry = Geometry {
            sector_size,
            total_sectors: long(32),
            reserved: short(14),
            table_sectors: long(36),
            cluster_sectors,
            clusters: 0,
        };
        let data = geometry.table_offset(TABLES) / u64::from(sector_size);
        let total = u64::from(geometry.total_sectors);
        if total * u64::from(sector_size) > length || data > total {
            return Err(Error::Fat("larger than its partition"));
        }
        let clusters = (total - data) / u64::from(cluster_sectors);
        let entries = u64::from(geometry.table_sectors) * u64::from(sector_size) / 4;
        // Both are below 2^32, being made from 32-bit fields.
        geometry.clusters = u32::try_from(clusters.min(entries.saturating_sub(2)))
            .map_err(|_| Error::Fat("too many clusters"))?;
        let mut label = [0; 11];
        label.copy_from_slice(&boot[71..82]);
        Ok(Self { device, offset, geometry, root: long(44), volume_id: long(67), label })
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// First cluster of the root directory.
    pub(super) fn root(&self) -> u32 {
        self.root
    }

    /// The volume identifier ("serial number").
    pub fn volume_id(&self) -> u32 {
        self.volume_id
    }

    /// The label of the boot sector.
    pub fn label(&self) -> [u8; 11] {
        self.label
    }

    /// Everything in it, directories before what they contain.
    ///
    /// # Errors
    /// [`Error::Fat`] for damage, [`Error::Device`].
    pub fn list(&self) -> Result<Vec<Entry>, Error> {
        let mut found: Vec<Entry> = Vec::new();
        let mut pending = vec![(String::new(), self.root, 0)];
        let mut walked = 0;
        while let Some((prefix, cluster, depth)) = pending.pop() {
            if depth > MAXIMUM_DEPTH {
                return Err(Error::Fat("directories too deep"));
            }
            let (entries, length) = self.directory(&prefix, cluster)?;
            walked += length;
            if walked > MAXIMUM_WALK {
                return Err(Error::Fat("directories too large"));
            }
            for entry in entries {
                if entry.directory {
                    pending.push((format!("{}/", entry.path), entry.cluster, depth + 1));
                }
                found.push(entry);
            }
        }
        found.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(found)
    }

    /// Content of the file at `path` (case does not matter) if it has at most `maximum` bytes.
    ///
    /// # Errors
    /// [`Error::NoFile`], [`Error::Fat`] for damage or a larger file, [`Error::Device`].
    pub fn read(&self, path: &str, maximum: u32) -> Result<Vec<u8>, Error> {
        let missing = || Error::NoFile(path.into());
        let mut cluster = self.root;
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            let (entries, _) = self.directory("", cluster)?;
            let wanted = name.to_uppercase();
            let entry = entries.into_iter().find(|entry| entry.path.to_uppercase() == wanted);
            let entry = entry.ok_or_else(missing)?;
            match (entry.directory, names.peek()) {
                (true, Some(_)) => cluster = entry.cluster,
                (false, None) if entry.length > maximum => {
                    return Err(Error::Fat("file larger than expected"));
                }
                (false, None) if entry.length == 0 => return Ok(Vec::new()),
                (false, None) => {
                    let bytes = self.chain(entry.cluster, u64::from(entry.length))?;
                    if bytes.len() < entry.length as usize {
                        return Err(Error::Fat("file shorter than its length"));
                    }
                    return Ok(bytes);
                }
                _ => return Err(missing()),
            }
        }
        Err(missing())
    }

    /// Content of a chain of clusters, cut to `maximum` bytes.
    fn chain(&self, first: u32, maximum: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut cluster = first;
        // Every round adds a cluster, so a circle ends at `maximum`.
        while (bytes.len() as u64) < maximum {
            let place = self.geometry.cluster_offset(cluster);
            let place = place.ok_or(Error::Fat("cluster number out of range"))?;
            let start = bytes.len();
            let length = self.geometry.cluster_bytes().min(maximum - start as u64);
            bytes.resize(start + length as usize, 0);
            self.read_at(place, &mut bytes[start..])?;
            let mut next = [0; 4];
            self.read_at(self.geometry.table_offset(0) + u64::from(cluster) * 4, &mut next)?;
            cluster = u32::from_le_bytes(next) & ENTRY_MASK;
            if cluster >= END_OF_CHAIN {
                break;
            }
        }
        Ok(bytes)
    }

    /// Entries of one directory, without `.`, `..` and the label, and the bytes it took to read.
    fn directory(&self, prefix: &str, cluster: u32) -> Result<(Vec<Entry>, u64), Error> {
        // 0 means the root in entries that refer to it.
        let cluster = if cluster == 0 { self.root } else { cluster };
        let bytes = self.chain(cluster, MAXIMUM_DIRECTORY)?;
        let mut entries = Vec::new();
        let mut long = LongName::default();
        for entry in bytes.chunks_exact(DIRECTORY_ENTRY) {
            match entry[0] {
                0 => break,
                0xe5 => {
                    long = LongName::default();
                    continue;
                }
                _ => {}
            }
            if entry[11] & attribute::LONG_NAME == attribute::LONG_NAME {
                long.add(entry);
                continue;
            }
            let mut short = [0; 11];
            short.copy_from_slice(&entry[..11]);
            let name = std::mem::take(&mut long).finish(&short).unwrap_or_else(|| plain(&short));
            if entry[11] & attribute::VOLUME_LABEL != 0 || short[0] == b'.' {
                continue;
            }
            let directory = entry[11] & attribute::DIRECTORY != 0;
            let length = u32::from_le_bytes([entry[28], entry[29], entry[30], entry[31]]);
            entries.push(Entry {
                path: format!("{prefix}{name}"),
                directory,
                length: if directory { 0 } else { length },
                cluster: u32::from_le_bytes([entry[26], entry[27], entry[20], entry[21]]),
            });
        }
        Ok((entries, bytes.len() as u64))
    }

    fn read_at(&self, place: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let offset = self.offset.checked_add(place).ok_or(Error::Fat("offset out of range"))?;
        read_device(self.device, offset, buffer)
    }
}

/// Parts of a long name as they come, the last part first.
#[derive(Default)]
pub(super) struct LongName {
    parts: Vec<[u16; UNIT_OFFSETS.len()]>,
    /// Number that the next part must have.
    expected: u8,
    checksum: u8,
}

impl LongName {
    pub(super) fn add(&mut self, entry: &[u8]) {
        let order = entry[0] & !LAST_PART;
        if entry[0] & LAST_PART != 0 {
            *self = Self { parts: Vec::new(), expected: order, checksum: entry[13] };
        }
        // At most 20 parts make 255 units.
        if order == 0 || order > 20 || order != self.expected || entry[13] != self.checksum {
            *self = Self::default();
            return;
        }
        self.expected -= 1;
        self.parts.push(UNIT_OFFSETS.map(|at| u16::from_le_bytes([entry[at], entry[at + 1]])));
    }

    /// The name if it is complete, belongs to `short` and could have been written.
    pub(super) fn finish(self, short: &[u8; 11]) -> Option<String> {
        if self.parts.is_empty() || self.expected != 0 || self.checksum != names::checksum(short) {
            return None;
        }
        let units = self.parts.into_iter().rev().flatten().take_while(|unit| *unit != 0);
        let units: Vec<u16> = units.collect();
        String::from_utf16(&units).ok().filter(|name| names::defect(name).is_none())
    }
}

/// An 8.3 name as text; what is not printable ASCII becomes `_`.
pub(super) fn plain(short: &[u8; 11]) -> String {
    let text = |bytes: &[u8]| -> String {
        let text: String = bytes
            .iter()
            .map(|byte| {
                if byte.is_ascii_graphic() && *byte != b'/' || *byte == b' ' { *byte } else { b'_' }
            })
            .map(char::from)
            .collect();
        text.trim_end().into()
    };
    let (base, extension) = (text(&short[..8]), text(&short[8..]));
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}

pub(super) fn read_device(
    device: &dyn BlockDevice,
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), Error> {
    let length = buffer.len() as u64;
    device.read_at(offset, buffer).map_err(|source| Error::Device {
        action: "read",
        offset,
        length,
        source,
    })
}
