//! Directory records and path tables of one tree of names.
//!
//! Everything is rendered twice: once to learn how long it is, once with the places that follow from
//! that. Computing lengths by other code would be faster and would some day be wrong.
//!
//! Format source: ECMA-119, 9.1 and 9.4; sorting 9.3.

use super::flat::{Flat, FlatChild, FlatKind};
use super::names;
use super::susp::{self, Continuations};
use crate::format::{MAXIMUM_EXTENT, Place, SECTOR, SECTOR_BYTES, both16, both32, mode, record};

/// Identifiers of a directory itself and of the one above.
const SELF: &[u8] = &[0];
const PARENT: &[u8] = &[1];

/// Which names a tree has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// ISO 9660, with Rock Ridge beside.
    Primary,
    /// Joliet, which has no links.
    Joliet,
}

/// A tree of names over the lists of files and directories.
#[derive(Debug)]
pub(crate) struct NameTree {
    kind: Kind,
    /// Of each directory, its children with their identifiers, sorted by them.
    children: Vec<Vec<(usize, Vec<u8>)>>,
    /// Identifier of each directory.
    own: Vec<Vec<u8>>,
    /// Directories in the order of the path table.
    order: Vec<usize>,
    /// Of each directory, its number in the path table.
    numbers: Vec<u16>,
    /// Of each directory, where it is.
    pub(crate) places: Vec<Place>,
}

impl NameTree {
    pub(crate) fn new(flat: &Flat<'_>, kind: Kind) -> Self {
        let count = flat.directories.len();
        let mut own = vec![SELF.to_vec(); count];
        let mut children = Vec::with_capacity(count);
        for directory in &flat.directories {
            let shown = |child: &FlatChild| {
                kind == Kind::Primary || !matches!(child.kind, FlatKind::Symlink(_))
            };
            let numbers: Vec<usize> = (0..directory.children.len())
                .filter(|at| shown(&directory.children[*at]))
                .collect();
            let wanted: Vec<names::Name<'_>> = numbers
                .iter()
                .map(|at| &directory.children[*at])
                .map(|child| (&*child.name, child.directory().is_some()))
                .collect();
            let identifiers = match kind {
                Kind::Primary => names::iso(&wanted),
                Kind::Joliet => names::joliet(&wanted),
            };
            for (at, identifier) in numbers.iter().zip(&identifiers) {
                if let Some(below) = directory.children[*at].directory() {
                    own[below].clone_from(identifier);
                }
            }
            let mut named: Vec<_> = numbers.into_iter().zip(identifiers).collect();
            named.sort_by(|(_, left), (_, right)| left.cmp(right));
            children.push(named);
        }
        // Level by level, each in the order of its parents: what the path table wants.
        let mut order = vec![0];
        let mut next = 0;
        while let Some(directory) = order.get(next).copied() {
            let named = children[directory].iter();
            let below =
                named.filter_map(|(at, _)| flat.directories[directory].children[*at].directory());
            order.extend(below.collect::<Vec<_>>());
            next += 1;
        }
        let mut numbers = vec![0; count];
        for (position, directory) in order.iter().enumerate() {
            // At most MAXIMUM_DIRECTORIES.
            numbers[*directory] = position as u16 + 1;
        }
        let places = vec![Place { offset: 0, length: 0 }; count];
        Self { kind, children, own, order, numbers, places }
    }

    /// Gives every directory its place from byte `offset` on, and returns where the last one ends.
    pub(crate) fn lay_out(&mut self, flat: &Flat<'_>, offset: u64) -> u64 {
        let mut offset = offset;
        let mut area = Continuations::new(0);
        for directory in &self.order {
            let length = self.render_one(flat, *directory, &mut area, [0; 7]).len() as u64;
            self.places[*directory] = Place { offset, length };
            offset += length;
        }
        offset
    }

    /// Where the root directory is.
    pub(crate) fn root(&self) -> Place {
        self.places[0]
    }

    /// All directories one behind the other, and the continuation area behind them.
    pub(crate) fn render(&self, flat: &Flat<'_>, area: u32, stamp: [u8; 7]) -> (Vec<u8>, Vec<u8>) {
        let mut area = Continuations::new(area);
        let mut bytes = Vec::new();
        for directory in &self.order {
            bytes.extend(self.render_one(flat, *directory, &mut area, stamp));
        }
        (bytes, area.bytes)
    }

    fn render_one(
        &self,
        flat: &Flat<'_>,
        number: usize,
        area: &mut Continuations,
        stamp: [u8; 7],
    ) -> Vec<u8> {
        let directory = &flat.directories[number];
        let mut sectors = Sectors::default();
        let rock_ridge = self.kind == Kind::Primary;
        let mut system_use = |entries: Vec<Vec<u8>>, identifier: &[u8]| {
            if rock_ridge {
                area.place(&entries, record::MAXIMUM - base(identifier))
            } else {
                Vec::new()
            }
        };
        for (identifier, target) in [(SELF, number), (PARENT, directory.parent)] {
            let shown = &flat.directories[target];
            let mut entries = Vec::new();
            if number == 0 && identifier == SELF {
                entries.push(susp::start());
            }
            entries.push(susp::attributes(mode::DIRECTORY | shown.mode, shown.links()));
            entries.push(susp::times(stamp));
            if number == 0 && identifier == SELF {
                entries.push(susp::protocol());
            }
            let system_use = system_use(entries, identifier);
            let place = self.places[target];
            sectors.push(make(identifier, record::DIRECTORY, place, stamp, &system_use));
        }
        for (at, identifier) in &self.children[number] {
            let child = &directory.children[*at];
            let (bits, links, flags, place) = match &child.kind {
                FlatKind::Directory(below) => {
                    let shown = &flat.directories[*below];
                    let bits = mode::DIRECTORY | shown.mode;
                    (bits, shown.links(), record::DIRECTORY, self.places[*below])
                }
                FlatKind::File(permissions, file) => {
                    (mode::FILE | permissions, 1, 0, flat.files[*file].place)
                }
                FlatKind::Symlink(_) => {
                    (mode::SYMLINK | 0o777, 1, 0, Place { offset: 0, length: 0 })
                }
            };
            let mut entries = vec![susp::attributes(bits, links), susp::times(stamp)];
            entries.extend(susp::name(&child.name));
            if let FlatKind::Symlink(target) = &child.kind {
                entries.extend(susp::target(target));
            }
            let system_use = system_use(entries, identifier);
            let extents: Vec<Place> = extents(place).collect();
            let last = extents.len().saturating_sub(1);
            for (part, extent) in extents.into_iter().enumerate() {
                let more = if part < last { record::MORE } else { 0 };
                sectors.push(make(identifier, flags | more, extent, stamp, &system_use));
            }
        }
        sectors.finish()
    }

    /// The path table, with numbers little-endian or big-endian.
    pub(crate) fn path_table(&self, flat: &Flat<'_>, big: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in &self.order {
            let identifier = &self.own[*number];
            let sector = sector(self.places[*number]);
            let parent = self.numbers[flat.directories[*number].parent];
            // At most 128 bytes, Joliet's 64 units.
            bytes.extend([identifier.len() as u8, 0]);
            if big {
                bytes.extend(sector.to_be_bytes());
                bytes.extend(parent.to_be_bytes());
            } else {
                bytes.extend(sector.to_le_bytes());
                bytes.extend(parent.to_le_bytes());
            }
            bytes.extend(identifier);
            if identifier.len() % 2 == 1 {
                bytes.push(0);
            }
        }
        bytes
    }
}

/// The extents of a place: one, but for files of 4 GiB and more.
pub(crate) fn extents(place: Place) -> impl Iterator<Item = Place> {
    let count = place.length.div_ceil(MAXIMUM_EXTENT).max(1);
    (0..count).map(move |number| {
        let skipped = number * MAXIMUM_EXTENT;
        let length = (place.length - skipped).min(MAXIMUM_EXTENT);
        Place { offset: place.offset + skipped, length }
    })
}

/// The sector of a place. The planner makes sure that all sectors have 32 bits.
fn sector(place: Place) -> u32 {
    (place.offset / SECTOR_BYTES) as u32
}

/// Bytes of a record without system use: always even.
fn base(identifier: &[u8]) -> usize {
    (record::IDENTIFIER + identifier.len()).next_multiple_of(2)
}

/// The record of the root directory that a volume descriptor has.
pub(crate) fn root_record(place: Place, stamp: [u8; 7]) -> Vec<u8> {
    make(SELF, record::DIRECTORY, place, stamp, &[])
}

fn make(identifier: &[u8], flags: u8, place: Place, stamp: [u8; 7], system_use: &[u8]) -> Vec<u8> {
    let length = (base(identifier) + system_use.len()).next_multiple_of(2);
    // At most record::MAXIMUM, as the room for system use was computed from it.
    let mut bytes = vec![length as u8, 0];
    bytes.extend(both32(sector(place)));
    // One extent of a file, or a directory far below 4 GiB.
    bytes.extend(both32(place.length as u32));
    bytes.extend(stamp);
    // Flags, no interleaving, volume 1.
    bytes.extend([flags, 0, 0]);
    bytes.extend(both16(1));
    bytes.push(identifier.len() as u8);
    bytes.extend(identifier);
    bytes.resize(base(identifier), 0);
    bytes.extend(system_use);
    bytes.resize(length, 0);
    bytes
}

/// Records in sectors: none crosses into the next.
#[derive(Default)]
struct Sectors(Vec<u8>);

impl Sectors {
    fn push(&mut self, record: Vec<u8>) {
        let Self(bytes) = self;
        if bytes.len() % SECTOR + record.len() > SECTOR {
            bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
        }
        bytes.extend(record);
    }

    fn finish(self) -> Vec<u8> {
        let Self(mut bytes) = self;
        bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_have_several_extents() {
        let parts = |length| -> Vec<u64> {
            let place = Place { offset: 2048, length };
            let all: Vec<Place> = extents(place).collect();
            assert!(all.windows(2).all(|pair| pair[0].end() == pair[1].offset));
            assert!(all.iter().all(|extent| extent.offset % SECTOR_BYTES == 0));
            all.iter().map(|extent| extent.length).collect()
        };
        assert_eq!(parts(0), [0]);
        assert_eq!(parts(MAXIMUM_EXTENT), [MAXIMUM_EXTENT]);
        assert_eq!(parts(MAXIMUM_EXTENT + 1), [MAXIMUM_EXTENT, 1]);
        assert_eq!(
            parts(9 << 30),
            [MAXIMUM_EXTENT, MAXIMUM_EXTENT, (9 << 30) - 2 * MAXIMUM_EXTENT]
        );
    }
}
