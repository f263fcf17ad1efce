//! Formatting and filling: from a list of files to the pieces of a FAT32 file system.
//!
//! The result is a list of pieces for a range that reads as zeros, never the whole image: a 1 GiB
//! partition with 60 MiB in it is written as 60 MiB. File contents are borrowed, not copied.
//!
//! A name's entries never cross a sector: where they would, unused entries go in front. Renaming a
//! boot file, which is how its tries are counted, then changes one sector and cannot be torn.

use super::format::{
    BACKUP_SECTOR, DIRECTORY_ENTRY, END_OF_CHAIN, ENTRY_MASK, FIRST_CLUSTER, Geometry,
    INFORMATION_SECTOR, MAXIMUM_DIRECTORY, TABLES, attribute,
};
use super::names;
use crate::error::Error;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The earliest date that FAT can hold, 1980-01-01; times of day are zero.
const DATE: u16 = 1 << 5 | 1;
/// First byte of an entry that was deleted.
const UNUSED: u8 = 0xe5;
/// Media byte of a fixed disk.
const FIXED_DISK: u8 = 0xf8;

/// A file to put in. A path ending in `/` makes an empty directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FatFile<'a> {
    /// Path with `/` between names and none in front; directories are made as needed.
    pub path: &'a str,
    /// Content.
    pub bytes: &'a [u8],
}

/// A piece of a file system: byte offset from its start, and content.
pub type Chunk<'a> = (u64, Cow<'a, [u8]>);

/// A directory being collected. The key is the name in upper case, since names that differ only in
/// case are one name on FAT.
#[derive(Default)]
struct Directory<'a> {
    children: BTreeMap<String, (&'a str, Node<'a>)>,
}

enum Node<'a> {
    File(&'a [u8]),
    Directory(Directory<'a>),
}

/// Formats `length` bytes as FAT32 and fills it, as pieces with ascending offsets.
///
/// # Errors
/// [`Error::FatLength`] below about 33 MiB (257 MiB with 4096-byte sectors), [`Error::FatPath`] for
/// a path that FAT cannot hold or that is there twice, [`Error::FatFull`].
pub fn format_filesystem<'a>(
    length: u64,
    sector_size: u32,
    volume_id: u32,
    label: &[u8; 11],
    files: &[FatFile<'a>],
) -> Result<Vec<Chunk<'a>>, Error> {
    let geometry = Geometry::plan(length, sector_size)?;
    let mut root = Directory::default();
    for file in files {
        insert(&mut root, file)?;
    }
    let mut filler =
        Filler { geometry, table: vec![ENTRY_MASK & !7, ENTRY_MASK], data: Vec::new() };
    filler.directory(&root, None, Some(label))?;

    let Filler { table, data, .. } = filler;
    let used = table.len() as u64 - 2;
    if used > u64::from(geometry.clusters) {
        let cluster = geometry.cluster_bytes();
        let available = u64::from(geometry.clusters) * cluster;
        return Err(Error::FatFull { needed: used * cluster, available });
    }
    let boot = boot_sector(&geometry, volume_id, label);
    let information = information_sector(&geometry, used);
    let sector = u64::from(sector_size);
    let mut chunks: Vec<Chunk<'a>> = Vec::new();
    for base in [0, BACKUP_SECTOR] {
        chunks.push((base * sector, boot.clone().into()));
        chunks.push(((base + INFORMATION_SECTOR) * sector, information.clone().into()));
    }
    let table: Vec<u8> = table.into_iter().flat_map(u32::to_le_bytes).collect();
    for index in 0..TABLES {
        chunks.push((geometry.table_offset(index), table.clone().into()));
    }
    chunks.extend(data);
    // Parents are finished after their children, so the pieces arrive out of order.
    chunks.sort_by_key(|(offset, _)| *offset);
    Ok(chunks)
}

/// Puts one file into the tree.
fn insert<'a>(root: &mut Directory<'a>, file: &FatFile<'a>) -> Result<(), Error> {
    let refuse = |reason| Err(Error::FatPath { path: file.path.into(), reason });
    let (path, leaf) = match file.path.strip_suffix('/') {
        Some(path) if file.bytes.is_empty() => (path, Node::Directory(Directory::default())),
        Some(_) => return refuse("directory with content"),
        None => (file.path, Node::File(file.bytes)),
    };
    if u32::try_from(file.bytes.len()).is_err() {
        return refuse("file of 4 GiB or more");
    }
    let (parents, name) = match path.rsplit_once('/') {
        Some((parents, name)) => (Some(parents), name),
        None => (None, path),
    };
    let mut directory = root;
    for parent in parents.into_iter().flat_map(|parents| parents.split('/')) {
        if let Some(reason) = names::defect(parent) {
            return refuse(reason);
        }
        let fresh = || (parent, Node::Directory(Directory::default()));
        match &mut directory.children.entry(parent.to_uppercase()).or_insert_with(fresh).1 {
            Node::Directory(next) => directory = next,
            Node::File(_) => return refuse("parent is a file"),
        }
    }
    if let Some(reason) = names::defect(name) {
        return refuse(reason);
    }
    match (directory.children.get(&name.to_uppercase()), &leaf) {
        (None, _) => {
            directory.children.insert(name.to_uppercase(), (name, leaf));
            Ok(())
        }
        (Some((_, Node::Directory(_))), Node::Directory(_)) => Ok(()),
        (Some(_), _) => refuse("given twice"),
    }
}

/// Lays out clusters in the order in which they are asked for.
struct Filler<'a> {
    geometry: Geometry,
    /// The allocation table so far; its length is the next free cluster.
    table: Vec<u32>,
    data: Vec<Chunk<'a>>,
}

impl<'a> Filler<'a> {
    /// Takes clusters for `length` bytes, all in one run.
    fn allocate(&mut self, length: u64) -> Result<u32, Error> {
        let cluster_bytes = self.geometry.cluster_bytes();
        let count = length.div_ceil(cluster_bytes);
        let first = self.table.len() as u64;
        let end = first + count;
        // Refused later with the exact need; here only what would not fit a cluster number.
        let Some(end) = u32::try_from(end).ok().filter(|end| *end < END_OF_CHAIN) else {
            let available = u64::from(self.geometry.clusters) * cluster_bytes;
            return Err(Error::FatFull { needed: end * cluster_bytes, available });
        };
        let first = end - count as u32;
        self.table.extend(first + 1..end);
        self.table.push(ENTRY_MASK);
        Ok(first)
    }

    /// Byte offset of a cluster; beyond the end if there are too many, which the caller refuses.
    fn offset(&self, cluster: u32) -> u64 {
        self.geometry.cluster_offset(cluster).unwrap_or(u64::MAX)
    }

    /// Lays out a directory and everything below; returns its first cluster. `parent` is `None` for
    /// the root and the parent's cluster below, with 0 standing for the root (section 6.5).
    fn directory(
        &mut self,
        directory: &Directory<'a>,
        parent: Option<u32>,
        label: Option<&[u8; 11]>,
    ) -> Result<u32, Error> {
        // Names first: the length decides how many clusters the directory takes.
        let mut taken = BTreeSet::new();
        let mut bytes: Vec<u8> = Vec::new();
        let dots = if parent.is_some() { 2 } else { usize::from(label.is_some()) };
        bytes.resize(dots * DIRECTORY_ENTRY, 0);
        let mut places = Vec::with_capacity(directory.children.len());
        for (name, _) in directory.children.values() {
            let Some((short, whole)) = names::short_name(name, &mut taken) else {
                return Err(Error::FatPath { path: (*name).into(), reason: "too many like it" });
            };
            let long = if whole { Vec::new() } else { names::long_entries(name, &short) };
            let sector = self.geometry.sector_size as usize;
            let length = (long.len() + 1) * DIRECTORY_ENTRY;
            let room = sector - bytes.len() % sector;
            if length > room && length <= sector {
                let unused = std::iter::once(UNUSED).chain([0; DIRECTORY_ENTRY - 1]);
                bytes.extend(unused.cycle().take(room));
            }
            bytes.extend(long.into_iter().flatten());
            places.push((bytes.len(), short));
            bytes.resize(bytes.len() + DIRECTORY_ENTRY, 0);
        }
        if bytes.len() as u64 > MAXIMUM_DIRECTORY {
            let path = places.len().to_string() + " files in one directory";
            return Err(Error::FatPath { path, reason: "directory larger than 2 MiB" });
        }
        let own = self.allocate(bytes.len().max(1) as u64)?;

        let mut put = |place: usize, entry: [u8; DIRECTORY_ENTRY]| {
            bytes[place..place + DIRECTORY_ENTRY].copy_from_slice(&entry);
        };
        if let Some(parent) = parent {
            put(0, entry(b".          ", attribute::DIRECTORY, own, 0));
            put(DIRECTORY_ENTRY, entry(b"..         ", attribute::DIRECTORY, parent, 0));
        } else if let Some(label) = label {
            put(0, entry(label, attribute::VOLUME_LABEL, 0, 0));
        }
        let parent_of_children = if parent.is_some() { own } else { 0 };
        for ((_, node), (place, short)) in directory.children.values().zip(places) {
            put(
                place,
                match node {
                    Node::Directory(child) => {
                        let cluster = self.directory(child, Some(parent_of_children), None)?;
                        entry(&short, attribute::DIRECTORY, cluster, 0)
                    }
                    // An empty file has no cluster.
                    Node::File([]) => entry(&short, attribute::ARCHIVE, 0, 0),
                    Node::File(content) => {
                        let cluster = self.allocate(content.len() as u64)?;
                        self.data.push((self.offset(cluster), Cow::Borrowed(content)));
                        // Below 4 GiB, as `insert` made sure.
                        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
                        entry(&short, attribute::ARCHIVE, cluster, length)
                    }
                },
            );
        }
        self.data.push((self.offset(own), bytes.into()));
        Ok(own)
    }
}

/// One 8.3 entry.
pub(super) fn entry(
    name: &[u8; 11],
    attributes: u8,
    cluster: u32,
    length: u32,
) -> [u8; DIRECTORY_ENTRY] {
    let mut entry = [0; DIRECTORY_ENTRY];
    let [low0, low1, high0, high1] = cluster.to_le_bytes();
    entry[..11].copy_from_slice(name);
    entry[11] = attributes;
    // Created, accessed, written.
    for offset in [16, 18, 24] {
        entry[offset..offset + 2].copy_from_slice(&DATE.to_le_bytes());
    }
    entry[20..22].copy_from_slice(&[high0, high1]);
    entry[26..28].copy_from_slice(&[low0, low1]);
    entry[28..].copy_from_slice(&length.to_le_bytes());
    entry
}

/// Boot sector with the BIOS parameter block (section 3).
fn boot_sector(geometry: &Geometry, volume_id: u32, label: &[u8; 11]) -> Vec<u8> {
    let mut sector = vec![0; geometry.sector_size as usize];
    let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    let narrow = |value: u32| (value as u16).to_le_bytes();
    put(0, &[0xeb, 0x58, 0x90]);
    put(3, b"KILN    ");
    put(11, &narrow(geometry.sector_size));
    put(13, &[geometry.cluster_sectors as u8]);
    put(14, &narrow(geometry.reserved));
    put(16, &[TABLES as u8]);
    put(21, &[FIXED_DISK]);
    // Sectors per track and heads: ignored since disks are addressed by sector, but never zero.
    put(24, &narrow(63));
    put(26, &narrow(255));
    put(32, &geometry.total_sectors.to_le_bytes());
    put(36, &geometry.table_sectors.to_le_bytes());
    put(44, &FIRST_CLUSTER.to_le_bytes());
    put(48, &narrow(INFORMATION_SECTOR as u32));
    put(50, &narrow(BACKUP_SECTOR as u32));
    // Drive number, reserved, and the mark that the next three fields are there.
    put(64, &[0x80, 0, 0x29]);
    put(67, &volume_id.to_le_bytes());
    put(71, label);
    put(82, b"FAT32   ");
    // No boot code: jump to itself, for a BIOS that tries.
    put(90, &[0xeb, 0xfe]);
    put(510, &[0x55, 0xaa]);
    sector
}

/// Free clusters and where to look for one (section 5).
fn information_sector(geometry: &Geometry, used: u64) -> Vec<u8> {
    let mut sector = vec![0; geometry.sector_size as usize];
    // `used` is at most the number of clusters, so both fit.
    let used = used as u32;
    let mut put = |at: usize, value: u32| sector[at..at + 4].copy_from_slice(&value.to_le_bytes());
    put(0, 0x4161_5252);
    put(484, 0x6141_7272);
    put(488, geometry.clusters - used);
    put(492, FIRST_CLUSTER + used);
    put(508, 0xaa55_0000);
    sector
}
