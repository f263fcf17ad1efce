//! Rock Ridge entries, and how they are spread over a record and the continuation area.
//!
//! A record has 254 bytes. What does not fit goes to one area behind the directories, in pieces that
//! never cross a sector, because Linux reads one sector for each. The same code runs when lengths
//! are found and when bytes are made, so the two cannot disagree.
//!
//! Format source: SUSP 1.12 (chapters 4 and 5), Rock Ridge 1.12 (chapter 4).

use crate::format::{SECTOR, both32, susp};

/// Names of a link's target: flags (Rock Ridge 4.1.3.1).
mod component {
    pub(super) const CONTINUES: u8 = 1;
    pub(super) const CURRENT: u8 = 2;
    pub(super) const PARENT: u8 = 4;
    pub(super) const ROOT: u8 = 8;
}

/// Sections of an entry follow in the next one.
const CONTINUES: u8 = 1;
/// Times that we give: modification, access, attributes, each in seven bytes.
const TIMES: u8 = 0x0e;
/// Version of every entry.
const VERSION: u8 = 1;

/// The area that records continue in.
#[derive(Debug)]
pub(crate) struct Continuations {
    first_sector: u32,
    pub(crate) bytes: Vec<u8>,
}

impl Continuations {
    /// An empty area from this sector on.
    pub(crate) fn new(first_sector: u32) -> Self {
        Self { first_sector, bytes: Vec::new() }
    }

    /// Finds the place of `length` bytes, at most a sector.
    fn allocate(&mut self, length: usize) -> usize {
        let rest = SECTOR - self.bytes.len() % SECTOR;
        if length > rest {
            self.bytes.resize(self.bytes.len() + rest, 0);
        }
        let place = self.bytes.len();
        self.bytes.resize(place + length, 0);
        place
    }

    /// The entry that names a place of the area.
    fn pointer(&self, place: usize, length: usize) -> Vec<u8> {
        // The area is bounded by the number of nodes, far below 4 GiB.
        let sector = self.first_sector + (place / SECTOR) as u32;
        let fields = [sector, (place % SECTOR) as u32, length as u32];
        entry(b"CE", &fields.map(both32).concat())
    }

    /// Spreads entries: those that have `room` bytes in a record are returned.
    pub(crate) fn place(&mut self, entries: &[Vec<u8>], room: usize) -> Vec<u8> {
        let total: usize = entries.iter().map(Vec::len).sum();
        if total <= room {
            return entries.concat();
        }
        let (mut inline, rest) = split(entries, room - susp::CONTINUATION);
        // Groups that leave room for a pointer to the next.
        let mut groups = Vec::new();
        let mut rest = rest;
        while rest.iter().map(Vec::len).sum::<usize>() > SECTOR {
            let (group, behind) = split(rest, SECTOR - susp::CONTINUATION);
            groups.push(group);
            rest = behind;
        }
        groups.push(rest.concat());
        let last = groups.len() - 1;
        let mut places = Vec::with_capacity(groups.len());
        for (number, group) in groups.iter().enumerate() {
            let length = group.len() + if number < last { susp::CONTINUATION } else { 0 };
            places.push((self.allocate(length), length));
        }
        for (number, mut group) in groups.into_iter().enumerate() {
            if let Some((place, length)) = places.get(number + 1) {
                group.extend(self.pointer(*place, *length));
            }
            let (place, length) = places[number];
            self.bytes[place..place + length].copy_from_slice(&group);
        }
        let (place, length) = places[0];
        inline.extend(self.pointer(place, length));
        inline
    }
}

/// As many entries as have `room` bytes, and the others. No entry is longer than `room` where it
/// matters: 255 bytes against a sector.
fn split(entries: &[Vec<u8>], room: usize) -> (Vec<u8>, &[Vec<u8>]) {
    let mut bytes = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        if bytes.len() + entry.len() > room {
            return (bytes, &entries[number..]);
        }
        bytes.extend(entry);
    }
    (bytes, &[])
}

fn entry(signature: &[u8; 2], data: &[u8]) -> Vec<u8> {
    // All callers keep to 255 bytes.
    let length = (susp::HEAD + data.len()) as u8;
    [signature, &[length, VERSION][..], data].concat()
}

/// The first entry of the volume: the protocol is in use, nothing is skipped.
pub(crate) fn start() -> Vec<u8> {
    entry(b"SP", &[susp::CHECK[0], susp::CHECK[1], 0])
}

/// Says which protocol.
pub(crate) fn protocol() -> Vec<u8> {
    let id = susp::ROCK_RIDGE;
    // Lengths of the identifier and of two descriptions that no reader looks at; version.
    entry(b"ER", &[&[id.len() as u8, 0, 0, 1], &id[..]].concat())
}

/// Type, permissions and number of links; everything belongs to root.
pub(crate) fn attributes(mode: u32, links: u32) -> Vec<u8> {
    entry(b"PX", &[mode, links, 0, 0].map(both32).concat())
}

/// The one time of the medium.
pub(crate) fn times(stamp: [u8; 7]) -> Vec<u8> {
    entry(b"TF", &[&[TIMES], &[stamp; 3].concat()[..]].concat())
}

/// The true name, in as many entries as it needs.
pub(crate) fn name(name: &[u8]) -> Vec<Vec<u8>> {
    let pieces: Vec<&[u8]> = name.chunks(susp::MAXIMUM - susp::HEAD - 1).collect();
    let last = pieces.len().saturating_sub(1);
    let pieces = pieces.into_iter().enumerate();
    pieces
        .map(|(number, piece)| {
            let flags = if number < last { CONTINUES } else { 0 };
            entry(b"NM", &[&[flags], piece].concat())
        })
        .collect()
}

/// A link's target.
pub(crate) fn target(target: &[u8]) -> Vec<Vec<u8>> {
    const ROOM: usize = susp::MAXIMUM - susp::HEAD - 1;
    let mut components: Vec<(u8, &[u8])> = Vec::new();
    if target.starts_with(b"/") {
        components.push((component::ROOT, b""));
    }
    for name in target.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        components.push(match name {
            b"." => (component::CURRENT, b""),
            b".." => (component::PARENT, b""),
            name => (0, name),
        });
    }
    let mut areas = vec![Vec::new()];
    for (flags, mut name) in components {
        while let Some(area) = areas.last_mut() {
            let room = ROOM - area.len();
            // Two bytes of head and, of a name, at least one.
            if room < 2 + usize::from(!name.is_empty()) {
                areas.push(Vec::new());
                continue;
            }
            let (piece, rest) = name.split_at(name.len().min(room - 2));
            let more = if rest.is_empty() { 0 } else { component::CONTINUES };
            area.extend([flags | more, piece.len() as u8]);
            area.extend(piece);
            name = rest;
            if rest.is_empty() {
                break;
            }
        }
    }
    let last = areas.len() - 1;
    let areas = areas.into_iter().enumerate();
    areas
        .map(|(number, area)| {
            let flags = if number < last { CONTINUES } else { 0 };
            entry(b"SL", &[&[flags], &area[..]].concat())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_their_lengths() {
        assert_eq!(start().len(), 7);
        assert_eq!(attributes(0o100_644, 1).len(), 36);
        assert_eq!(times([0; 7]).len(), 26);
        assert_eq!(name(b"abc"), [b"NM\x08\x01\0abc".to_vec()]);
        assert_eq!(name(&[b'n'; 255]).iter().map(Vec::len).collect::<Vec<_>>(), [255, 10]);
        assert_eq!(
            target(b"/a//../b/./"),
            [b"SL\x11\x01\0\x08\0\0\x01a\x04\0\0\x01b\x02\0".to_vec()]
        );
        for length in 1..1200 {
            let entries = target(&b"name/".repeat(length)[..length]);
            assert!(entries.iter().all(|entry| entry.len() == usize::from(entry[2])), "{length}");
        }
    }

    #[test]
    fn continuations_never_cross_a_sector() {
        let mut area = Continuations::new(100);
        for length in (10..4000).step_by(37) {
            let inline = area.place(&target(&vec![b'x'; length.min(255)]), 186);
            assert!(inline.len() <= 186);
            let many: Vec<Vec<u8>> = name(&vec![b'y'; length]);
            let inline = area.place(&many, 186);
            // The last entry points to what is not inline, if there is such.
            let end =
                |bytes: &[u8]| bytes[bytes.len().saturating_sub(susp::CONTINUATION)..].to_vec();
            let (mut pointer, mut found) = (end(&inline), inline.len());
            while pointer.starts_with(b"CE") {
                let field = |at| crate::format::word(&pointer, at) as usize;
                let (sector, offset, length) = (field(4), field(12), field(20));
                assert!(offset + length <= SECTOR && length > 0);
                found = found + length - susp::CONTINUATION;
                let start = (sector - 100) * SECTOR + offset;
                pointer = end(&area.bytes[start..start + length]);
            }
            let whole: usize = many.iter().map(Vec::len).sum();
            assert_eq!(found, whole, "{length}");
        }
    }
}
