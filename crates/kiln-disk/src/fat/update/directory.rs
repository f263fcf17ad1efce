//! One directory: which entries belong together, and where the next ones can go.

use crate::error::Error;
use crate::fat::format::{DIRECTORY_ENTRY, attribute};
use crate::fat::names;
use crate::fat::reader::{LongName, plain};
use std::collections::BTreeSet;
use std::ops::Range;

/// First byte of an entry that was deleted.
pub(super) const UNUSED: u8 = 0xe5;
/// First byte of the entry that ends the directory.
const END: u8 = 0;

/// A directory in memory. Positions are in bytes from its start and multiples of 32.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    pub(super) clusters: Vec<u32>,
    pub(super) bytes: Vec<u8>,
    pub(super) sector_size: usize,
}

/// The entries of one name: its long parts and then the 8.3 entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) short: [u8; 11],
    /// All its entries; the 8.3 entry is the last.
    pub(super) range: Range<usize>,
    pub(super) is_directory: bool,
    pub(super) cluster: u32,
    pub(super) length: u32,
}

/// Where new entries go and what has to be written before they count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Room {
    /// Into a sector that readers already reach: writing it is the commit.
    Inside(usize),
    /// Behind the end mark: that sector first; then the one whose end mark becomes unused entries.
    Behind {
        /// Position of the new entries.
        at: usize,
        /// Position of the end mark.
        end: usize,
    },
    /// The directory needs another cluster; the end mark is there if the last cluster has one.
    Grow {
        /// Position of the end mark.
        end: Option<usize>,
    },
}

impl Directory {
    /// Everything but `.`, `..` and the label.
    pub(super) fn entries(&self) -> Vec<Named> {
        let mut found = Vec::new();
        let mut long = LongName::default();
        let mut start = 0;
        for (index, entry) in self.bytes.chunks_exact(DIRECTORY_ENTRY).enumerate() {
            let at = index * DIRECTORY_ENTRY;
            match entry[0] {
                END => break,
                UNUSED => {
                    long = LongName::default();
                    start = at + DIRECTORY_ENTRY;
                    continue;
                }
                _ => {}
            }
            if entry[11] & attribute::LONG_NAME == attribute::LONG_NAME {
                if entry[0] & names::LAST_PART != 0 {
                    start = at;
                }
                long.add(entry);
                continue;
            }
            let mut short = [0; 11];
            short.copy_from_slice(&entry[..11]);
            let name = std::mem::take(&mut long).finish(&short);
            // Long parts that do not belong to this entry are left where they are.
            let first = if name.is_some() { start } else { at };
            start = at + DIRECTORY_ENTRY;
            if entry[11] & attribute::VOLUME_LABEL != 0 || short[0] == b'.' {
                continue;
            }
            found.push(Named {
                name: name.unwrap_or_else(|| plain(&short)),
                short,
                range: first..at + DIRECTORY_ENTRY,
                is_directory: entry[11] & attribute::DIRECTORY != 0,
                cluster: u32::from_le_bytes([entry[26], entry[27], entry[20], entry[21]]),
                length: u32::from_le_bytes([entry[28], entry[29], entry[30], entry[31]]),
            });
        }
        found
    }

    /// The entry with a name, case ignored.
    pub(super) fn find(&self, name: &str) -> Option<Named> {
        let wanted = name.to_uppercase();
        self.entries().into_iter().find(|entry| entry.name.to_uppercase() == wanted)
    }

    /// An 8.3 form that no other entry has.
    pub(super) fn short_name(&self, name: &str) -> Result<([u8; 11], bool), Error> {
        let mut taken: BTreeSet<_> = self.entries().iter().map(|entry| entry.short).collect();
        names::short_name(name, &mut taken)
            .ok_or_else(|| Error::FatPath { path: name.into(), reason: "too many like it" })
    }

    /// Finds room for `length` bytes of entries that lie in one sector.
    pub(super) fn room(&self, length: usize) -> Room {
        let mut free = 0;
        for (index, entry) in self.bytes.chunks_exact(DIRECTORY_ENTRY).enumerate() {
            let at = index * DIRECTORY_ENTRY;
            if at.is_multiple_of(self.sector_size) {
                free = 0;
            }
            match entry[0] {
                UNUSED => {
                    free += DIRECTORY_ENTRY;
                    if free == length {
                        return Room::Inside(at + DIRECTORY_ENTRY - length);
                    }
                }
                END => {
                    let start = at - free;
                    let sector_end = (at / self.sector_size + 1) * self.sector_size;
                    if sector_end - start >= length {
                        return Room::Inside(start);
                    }
                    if sector_end < self.bytes.len() {
                        return Room::Behind { at: sector_end, end: at };
                    }
                    return Room::Grow { end: Some(at) };
                }
                _ => free = 0,
            }
        }
        Room::Grow { end: None }
    }

    /// Puts entries at a position. What follows them in their sector was behind the end mark if
    /// `is_end`, and then begins with an end mark again.
    pub(super) fn put(&mut self, at: usize, entries: &[u8], is_end: bool) {
        let end = at + entries.len();
        self.bytes[at..end].copy_from_slice(entries);
        let sector_end = at / self.sector_size * self.sector_size + self.sector_size;
        if is_end {
            self.bytes[end..sector_end].fill(0);
        }
    }

    /// Whether the end mark is at this position or before it.
    pub(super) fn ends_by(&self, position: usize) -> bool {
        let starts = self.bytes.chunks_exact(DIRECTORY_ENTRY);
        starts.take(position / DIRECTORY_ENTRY + 1).any(|entry| entry[0] == END)
    }

    /// Marks entries as unused.
    pub(super) fn free(&mut self, range: Range<usize>) {
        for at in range.step_by(DIRECTORY_ENTRY) {
            self.bytes[at] = UNUSED;
        }
    }

    /// Turns everything from the end mark to the end of its sector into unused entries.
    pub(super) fn open_end(&mut self, end: usize) {
        let sector_end = (end / self.sector_size + 1) * self.sector_size;
        self.free(end..sector_end);
    }

    /// Clears what lies behind the end mark, and says in which sectors something did. The
    /// specification wants zeros there (section 6, `DIR_Name[0]`), and firmware that adds a name
    /// without moving the mark counts on them.
    pub(super) fn clear_behind_end(&mut self) -> BTreeSet<usize> {
        let mut starts = self.bytes.chunks_exact(DIRECTORY_ENTRY);
        let Some(end) = starts.position(|entry| entry[0] == END) else { return BTreeSet::new() };
        let mut sectors = BTreeSet::new();
        for (at, byte) in self.bytes.iter_mut().enumerate().skip(end * DIRECTORY_ENTRY) {
            if std::mem::take(byte) != 0 {
                sectors.insert(at / self.sector_size * self.sector_size);
            }
        }
        sectors
    }
}
