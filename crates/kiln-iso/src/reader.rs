//! Reads images, also damaged and hostile ones.
//!
//! Total on any bytes: sizes are bounded before memory is taken, a directory is read once however
//! many names lead to it, and every extent lies inside of the device before it is believed. Names
//! are Rock Ridge's where there is Rock Ridge, else Joliet's, else those of ISO 9660 without version.
//! Path tables are not read: the tree alone decides what a system sees.
//!
//! Directories that Rock Ridge has moved elsewhere are shown where they really are; following them
//! back was dropped, since no image of Kiln has any.

mod catalog;
mod record;
mod susp;

pub use catalog::BootEntry;

use std::collections::BTreeSet;

use kiln_disk::BlockDevice;

use crate::error::Error;
use crate::format::{
    FIRST_DESCRIPTOR, MAXIMUM_DEPTH, MAXIMUM_DESCRIPTORS, MAXIMUM_NODES, Place, SECTOR,
    SECTOR_BYTES, descriptor, mode, record as field, take, word,
};
use crate::tree::names;
use record::Record;
use susp::RockRidge;

/// Most bytes of all directories of an image that are read: 300 for each of [`MAXIMUM_NODES`].
const MAXIMUM_DIRECTORIES: u64 = 64 << 20;

/// Where names come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// True names, modes and links.
    RockRidge,
    /// UTF-16.
    Joliet,
    /// Capital letters.
    Plain,
}

/// Texts and length of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Label.
    pub volume_id: String,
    /// For which system.
    pub system_id: String,
    /// Who made it.
    pub publisher: String,
    /// What is on it.
    pub application_id: String,
    /// `YYYYMMDDHHMMSScc`; other tools take it for the UUID of the volume.
    pub modified: String,
    /// Length in bytes.
    pub length: u64,
    /// Whether there is a tree for Joliet.
    pub joliet: bool,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A file with its extents, in their order.
    File(Vec<Place>),
    /// A symbolic link with its target.
    Symlink(Vec<u8>),
    /// A device, pipe or socket, or a directory that is elsewhere.
    Other,
}

/// Something with a name in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Names with `/` between them and none in front; never a name of dots only.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits; those of anybody's reading without Rock Ridge.
    pub permissions: u32,
    /// Where a directory is.
    place: Place,
}

impl Entry {
    /// Length in bytes of a file, else zero.
    pub fn length(&self) -> u64 {
        match &self.kind {
            EntryKind::File(extents) => {
                extents.iter().fold(0, |sum, extent| extent.length.saturating_add(sum))
            }
            _ => 0,
        }
    }

    /// The path for people.
    pub fn display_path(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

/// An opened image.
#[derive(Clone)]
pub struct Iso<'d> {
    device: &'d dyn BlockDevice,
    volume: Volume,
    names: NameKind,
    root: Place,
    /// Bytes in front of the system use entries of each record.
    skip: usize,
    catalog: Option<u64>,
}

impl std::fmt::Debug for Iso<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Iso").field("volume", &self.volume).finish_non_exhaustive()
    }
}

/// Whether these bytes, from byte 32768 of a file on, start a volume descriptor.
pub fn recognises(bytes: &[u8]) -> bool {
    bytes.get(1..1 + descriptor::IDENTIFIER.len()) == Some(descriptor::IDENTIFIER)
}

/// Reads bytes of a device.
fn fetch(device: &dyn BlockDevice, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; length];
    device.read_at(offset, &mut bytes).map_err(|source| Error::Read {
        offset,
        length: length as u64,
        source,
    })?;
    Ok(bytes)
}

impl<'d> Iso<'d> {
    /// Opens an image.
    ///
    /// # Errors
    /// [`Error::NotIso`], [`Error::Damaged`], [`Error::Read`].
    pub fn open(device: &'d dyn BlockDevice) -> Result<Self, Error> {
        let (mut primary, mut joliet, mut catalog) = (None, None, None);
        for number in 0..MAXIMUM_DESCRIPTORS {
            let offset = (FIRST_DESCRIPTOR + number) * SECTOR_BYTES;
            if offset + SECTOR_BYTES > device.length() {
                break;
            }
            let bytes = fetch(device, offset, SECTOR)?;
            if !recognises(&bytes) {
                break;
            }
            match bytes.first().copied() {
                Some(descriptor::PRIMARY) => primary = primary.or(Some((offset, bytes))),
                Some(descriptor::SUPPLEMENTARY) if is_joliet(&bytes) => {
                    joliet = joliet.or(Some((offset, bytes)));
                }
                Some(descriptor::BOOT_RECORD) if is_el_torito(&bytes) => {
                    let sector = word(&bytes, descriptor::CATALOG);
                    catalog = catalog.or(Some(u64::from(sector) * SECTOR_BYTES));
                }
                Some(descriptor::TERMINATOR) => break,
                _ => {}
            }
        }
        let (offset, primary) = primary.ok_or(Error::NotIso)?;
        if take::<2>(&primary, descriptor::BLOCK_SIZE) != (SECTOR as u16).to_le_bytes() {
            return Err(Error::Damaged { offset, reason: "blocks have not 2048 bytes" });
        }
        let text = |at, length| printed(&primary, at, length);
        let volume = Volume {
            volume_id: text(descriptor::VOLUME_ID, 32),
            system_id: text(descriptor::SYSTEM_ID, 32),
            publisher: text(descriptor::PUBLISHER, 128),
            application_id: text(descriptor::APPLICATION, 128),
            modified: text(descriptor::MODIFIED, 16),
            length: u64::from(word(&primary, descriptor::SPACE)) * SECTOR_BYTES,
            joliet: joliet.is_some(),
        };
        let root = root_place(device, &primary, offset)?;
        let mut iso = Self { device, volume, names: NameKind::Plain, root, skip: 0, catalog };
        // The very first record says whether there is Rock Ridge.
        if let Some(skip) = iso.rock_ridge()? {
            (iso.names, iso.skip) = (NameKind::RockRidge, skip);
        } else if let Some((offset, joliet)) = joliet {
            iso.root = root_place(device, &joliet, offset)?;
            iso.names = NameKind::Joliet;
        }
        Ok(iso)
    }

    /// Texts and length.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Where names come from.
    pub fn names(&self) -> NameKind {
        self.names
    }

    /// The partition table, read with sectors of 512 bytes, which is what `device` must have; a CD
    /// has it as well.
    ///
    /// # Errors
    /// As [`kiln_disk::gpt::read`], in [`Error::Table`].
    pub fn table(&self) -> Result<kiln_disk::gpt::Located, Error> {
        kiln_disk::gpt::read(self.device).map_err(Error::Table)
    }

    /// What firmware may start, in the order of the catalog; empty without one.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`].
    pub fn boot_entries(&self) -> Result<Vec<BootEntry>, Error> {
        let Some(offset) = self.catalog else { return Ok(Vec::new()) };
        catalog::parse(&fetch(self.device, offset, SECTOR)?, offset)
    }

    /// Everything that has a name, directories before what is in them.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::TooMany`], [`Error::Read`].
    pub fn entries(&self) -> Result<Vec<Entry>, Error> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::from([self.root.offset]);
        let mut bytes = 0_u64;
        let mut open = vec![(self.root, Vec::new(), 0)];
        while let Some((place, path, depth)) = open.pop() {
            bytes = bytes.saturating_add(place.length);
            if bytes > MAXIMUM_DIRECTORIES {
                let limit = MAXIMUM_DIRECTORIES;
                return Err(Error::TooMany { what: "bytes of directories", limit });
            }
            let below = self.directory(place, &path)?;
            for entry in &below {
                if entry.kind == EntryKind::Directory {
                    if depth >= MAXIMUM_DEPTH {
                        let limit = MAXIMUM_DEPTH as u64;
                        return Err(Error::TooMany { what: "directories on a path", limit });
                    }
                    if !seen.insert(entry.place.offset) {
                        let offset = entry.place.offset;
                        let reason = "a directory is in two others";
                        return Err(Error::Damaged { offset, reason });
                    }
                    open.push((entry.place, entry.path.clone(), depth + 1));
                }
            }
            found.extend(below);
            if found.len() > MAXIMUM_NODES {
                let limit = MAXIMUM_NODES as u64;
                return Err(Error::TooMany { what: "files, directories and links", limit });
            }
        }
        Ok(found)
    }

    /// The entry with this path; links are not followed.
    ///
    /// # Errors
    /// [`Error::NoFile`], [`Error::Path`], [`Error::Damaged`], [`Error::Read`].
    pub fn find(&self, path: &str) -> Result<Entry, Error> {
        let names = names(path.as_bytes())?;
        let none = || Error::NoFile(path.to_owned());
        let mut place = self.root;
        let mut above = Vec::new();
        for (depth, name) in names.iter().enumerate() {
            let wanted = if above.is_empty() { name.to_vec() } else { [&above, *name].join(&b'/') };
            let entries = self.directory(place, &above)?;
            let entry = entries.into_iter().find(|entry| entry.path == wanted).ok_or_else(none)?;
            if depth + 1 == names.len() {
                return Ok(entry);
            }
            if entry.kind != EntryKind::Directory {
                return Err(none());
            }
            (place, above) = (entry.place, wanted);
        }
        Err(none())
    }

    /// Fills `buffer` with the content of a file from byte `offset` on.
    ///
    /// # Errors
    /// [`Error::NoFile`] for what is no file, [`Error::Read`] also beyond its end.
    pub fn read_at(&self, entry: &Entry, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let EntryKind::File(extents) = &entry.kind else {
            return Err(Error::NoFile(entry.display_path()));
        };
        let mut skipped = offset;
        let mut rest = buffer;
        for extent in extents {
            if rest.is_empty() {
                break;
            }
            if skipped >= extent.length {
                skipped -= extent.length;
                continue;
            }
            let here = (extent.length - skipped).min(rest.len() as u64) as usize;
            let (part, behind) = rest.split_at_mut(here);
            let (offset, length) = (extent.offset + skipped, here as u64);
            self.device.read_at(offset, part).map_err(|source| Error::Read {
                offset,
                length,
                source,
            })?;
            (rest, skipped) = (behind, 0);
        }
        if rest.is_empty() {
            return Ok(());
        }
        let (length, source) = (rest.len() as u64, std::io::ErrorKind::UnexpectedEof.into());
        Err(Error::Read { offset, length, source })
    }

    /// The content of a file of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::TooLong`], and as [`Iso::read_at`].
    pub fn read(&self, entry: &Entry, limit: usize) -> Result<Vec<u8>, Error> {
        let length = entry.length();
        let fits = usize::try_from(length).ok().filter(|length| *length <= limit);
        let Some(fits) = fits else {
            let limit = limit as u64;
            return Err(Error::TooLong { what: entry.display_path(), length, limit });
        };
        let mut bytes = vec![0; fits];
        self.read_at(entry, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// How many bytes the first record of the root says to skip, if it says that entries follow.
    fn rock_ridge(&self) -> Result<Option<usize>, Error> {
        let bytes = fetch(self.device, self.root.offset, SECTOR.min(self.root.length as usize))?;
        let record = record::parse(&bytes, 0, self.root.offset)?;
        Ok(record.and_then(|(record, _)| susp::start(record.system_use)))
    }

    /// Entries of one directory.
    fn directory(&self, place: Place, path: &[u8]) -> Result<Vec<Entry>, Error> {
        // At most MAXIMUM_DIRECTORIES, as everything that makes a place checks.
        let bytes = fetch(self.device, place.offset, place.length as usize)?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut unfinished: Option<(Vec<u8>, Vec<Place>)> = None;
        let mut at = 0;
        while let Some((record, next)) = record::parse(&bytes, at, place.offset)? {
            let offset = place.offset + at as u64;
            at = next;
            if matches!(record.identifier, [0] | [1]) {
                continue;
            }
            let extent = self.extent(&record, offset)?;
            let mut extents = match unfinished.take() {
                None => Vec::new(),
                Some((identifier, extents)) if identifier == record.identifier => extents,
                Some(_) => {
                    let reason = "a file has fewer extents than announced";
                    return Err(Error::Damaged { offset, reason });
                }
            };
            extents.push(extent);
            if record.flags & field::MORE != 0 {
                unfinished = Some((record.identifier.to_vec(), extents));
                continue;
            }
            entries.push(self.entry(&record, extents, path, offset)?);
            if entries.len() > MAXIMUM_NODES {
                let limit = MAXIMUM_NODES as u64;
                return Err(Error::TooMany { what: "files, directories and links", limit });
            }
        }
        match unfinished {
            None => Ok(entries),
            Some(_) => {
                let reason = "a file has fewer extents than announced";
                Err(Error::Damaged { offset: place.offset, reason })
            }
        }
    }

    fn entry(
        &self,
        record: &Record<'_>,
        extents: Vec<Place>,
        above: &[u8],
        offset: u64,
    ) -> Result<Entry, Error> {
        let damaged = |reason| Err(Error::Damaged { offset, reason });
        let rock_ridge = match self.names {
            NameKind::RockRidge => {
                let area = record.system_use.get(self.skip..).unwrap_or_default();
                susp::parse(self.device, area, offset)?
            }
            _ => RockRidge::default(),
        };
        let name = match rock_ridge.name {
            Some(name) => name,
            None if self.names == NameKind::Joliet => record::joliet_name(record.identifier),
            None => record::plain_name(record.identifier),
        };
        if name.is_empty() || name.len() > 3 * crate::format::MAXIMUM_NAME {
            return damaged("a name is empty or too long");
        }
        if matches!(&*name, b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return damaged("a name leads elsewhere");
        }
        let is_directory = record.flags & field::DIRECTORY != 0;
        let place = extents.first().copied().unwrap_or(Place { offset: 0, length: 0 });
        let bits = rock_ridge.mode.unwrap_or(if is_directory {
            mode::DIRECTORY | 0o555
        } else {
            mode::FILE | 0o444
        });
        let kind = match bits & mode::TYPE {
            _ if rock_ridge.moved => EntryKind::Other,
            mode::DIRECTORY if is_directory => {
                check_directory(place, offset)?;
                EntryKind::Directory
            }
            mode::FILE if !is_directory => EntryKind::File(extents),
            mode::SYMLINK if !is_directory => {
                EntryKind::Symlink(rock_ridge.target.unwrap_or_default())
            }
            _ if is_directory => return damaged("a directory has the mode of a file"),
            mode::DIRECTORY => return damaged("a file has the mode of a directory"),
            _ => EntryKind::Other,
        };
        let path = if above.is_empty() { name } else { [above, &name].join(&b'/') };
        Ok(Entry { path, kind, permissions: bits & 0o7777, place })
    }

    /// The extent of a record, inside of the device. An empty one may be anywhere.
    fn extent(&self, record: &Record<'_>, offset: u64) -> Result<Place, Error> {
        let place = record.place;
        if place.length > 0 && place.end() > self.device.length() {
            let reason = "a file or directory lies behind the end of the image";
            return Err(Error::Damaged { offset, reason });
        }
        Ok(place)
    }
}

/// The root directory that a volume descriptor names.
fn root_place(device: &dyn BlockDevice, bytes: &[u8], offset: u64) -> Result<Place, Error> {
    let record = bytes.get(descriptor::ROOT..).unwrap_or_default();
    let place = Place {
        offset: u64::from(word(record, field::EXTENT)) * SECTOR_BYTES,
        length: u64::from(word(record, field::LENGTH)),
    };
    if place.end() > device.length() {
        let reason = "the root directory lies behind the end of the image";
        return Err(Error::Damaged { offset, reason });
    }
    check_directory(place, offset)?;
    Ok(place)
}

fn check_directory(place: Place, offset: u64) -> Result<(), Error> {
    if place.length == 0 || place.length > MAXIMUM_DIRECTORIES {
        return Err(Error::Damaged { offset, reason: "a directory is empty or too long" });
    }
    Ok(())
}

fn is_joliet(bytes: &[u8]) -> bool {
    let escape = take::<3>(bytes, descriptor::ESCAPES);
    escape[..2] == *b"%/" && matches!(escape[2], b'@' | b'C' | b'E')
}

fn is_el_torito(bytes: &[u8]) -> bool {
    bytes
        .get(descriptor::SYSTEM_ID - 1..)
        .is_some_and(|rest| rest.starts_with(descriptor::EL_TORITO))
}

/// A text of a descriptor without the spaces behind it.
fn printed(bytes: &[u8], at: usize, length: usize) -> String {
    let text = bytes.get(at..at + length).unwrap_or_default();
    String::from_utf8_lossy(text).trim_end_matches([' ', '\0']).to_owned()
}
