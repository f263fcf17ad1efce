//! Rock Ridge entries of any origin: names, modes and targets (SUSP 1.12, Rock Ridge 1.12).
//!
//! What is not known is skipped, as the protocol wants. A name or target that grows beyond what a
//! system takes is refused, and so is a chain of continuations that Linux would not follow.

use kiln_disk::BlockDevice;

use crate::error::Error;
use crate::format::{MAXIMUM_NAME, MAXIMUM_TARGET, SECTOR, SECTOR_BYTES, susp, word};

/// What Rock Ridge says about an entry.
#[derive(Debug, Default)]
pub(super) struct RockRidge {
    pub(super) name: Option<Vec<u8>>,
    pub(super) mode: Option<u32>,
    pub(super) target: Option<Vec<u8>>,
    /// It stands for a directory that is elsewhere.
    pub(super) moved: bool,
}

/// How many bytes each record's area skips, if the root's first record starts the protocol.
pub(super) fn start(area: &[u8]) -> Option<usize> {
    match area {
        [b'S', b'P', 7, 1, first, second, skip, ..] if [*first, *second] == susp::CHECK => {
            Some(usize::from(*skip))
        }
        _ => None,
    }
}

/// Reads the entries of a record and of what continues it. `offset` is that of the record.
pub(super) fn parse(
    device: &dyn BlockDevice,
    area: &[u8],
    offset: u64,
) -> Result<RockRidge, Error> {
    let damaged = |reason| Error::Damaged { offset, reason };
    let mut found = Parsed::default();
    let mut next = found.area(area).map_err(damaged)?;
    for _ in 0..susp::MAXIMUM_CONTINUATIONS {
        let Some((sector, start, length)) = next else { return Ok(found.rock_ridge) };
        let end = start.checked_add(length).filter(|end| *end <= SECTOR as u64);
        let place = u64::from(sector) * SECTOR_BYTES + start;
        if end.is_none() || place.saturating_add(length) > device.length() {
            return Err(damaged("a continuation leaves its sector or the image"));
        }
        // At most a sector.
        let mut bytes = vec![0; length as usize];
        device.read_at(place, &mut bytes).map_err(|source| Error::Read {
            offset: place,
            length,
            source,
        })?;
        next = found.area(&bytes).map_err(damaged)?;
    }
    match next {
        None => Ok(found.rock_ridge),
        Some(_) => Err(damaged("a record is continued too often")),
    }
}

/// Sector, offset in it and length.
type Continuation = (u32, u64, u64);

#[derive(Default)]
struct Parsed {
    rock_ridge: RockRidge,
    /// Whether the last name of the target goes on.
    unfinished: bool,
    ended: bool,
}

impl Parsed {
    /// Reads one area and returns where it is continued.
    fn area(&mut self, mut area: &[u8]) -> Result<Option<Continuation>, &'static str> {
        let mut next = None;
        while let [first, second, length, _, ..] = area {
            let length = usize::from(*length);
            // Padding, or rubbish, ends an area.
            if length < susp::HEAD || length > area.len() || self.ended {
                break;
            }
            let (entry, behind) = area.split_at(length);
            let data = entry.get(susp::HEAD..).unwrap_or_default();
            match &[*first, *second] {
                b"CE" if data.len() >= 24 => {
                    let field = |at| u64::from(word(data, at));
                    next = Some((word(data, 0), field(8), field(16)));
                }
                b"ST" => self.ended = true,
                b"PX" if data.len() >= 8 => self.rock_ridge.mode = Some(word(data, 0)),
                b"NM" => self.name(data)?,
                b"SL" => self.target(data)?,
                b"CL" => self.rock_ridge.moved = true,
                _ => {}
            }
            area = behind;
        }
        Ok(next.filter(|_| !self.ended))
    }

    fn name(&mut self, data: &[u8]) -> Result<(), &'static str> {
        let Some((flags, name)) = data.split_first() else { return Ok(()) };
        // Names of the directory itself and of the one above (Rock Ridge 4.1.4).
        if flags & 6 != 0 {
            return Ok(());
        }
        let whole = self.rock_ridge.name.get_or_insert_default();
        whole.extend(name);
        if whole.len() > MAXIMUM_NAME { Err("a name has more than 255 bytes") } else { Ok(()) }
    }

    fn target(&mut self, data: &[u8]) -> Result<(), &'static str> {
        let Some((_, mut components)) = data.split_first() else { return Ok(()) };
        let target = self.rock_ridge.target.get_or_insert_default();
        while let [flags, length, rest @ ..] = components {
            let length = usize::from(*length);
            if length > rest.len() {
                return Err("a link's target is cut off");
            }
            let (name, behind) = rest.split_at(length);
            if !self.unfinished && !target.is_empty() && !target.ends_with(b"/") {
                target.push(b'/');
            }
            match flags & 0x0e {
                2 => target.push(b'.'),
                4 => target.extend(b".."),
                8 => *target = b"/".to_vec(),
                _ => target.extend(name),
            }
            self.unfinished = flags & 1 != 0;
            if target.len() > MAXIMUM_TARGET {
                return Err("a link's target has more than 4095 bytes");
            }
            components = behind;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::both32;
    use kiln_disk::MemoryDevice;

    #[test]
    fn endless_chains_end() {
        let mut device = MemoryDevice::empty(8192, 512).unwrap();
        let pointer = |sector, length| {
            [b"CE\x1c\x01".to_vec(), [sector, 0, length].map(both32).concat()].concat()
        };
        device.write_at(2048, &pointer(1, 28)).unwrap();
        assert!(parse(&device, &pointer(1, 28), 0).is_err());
        for (sector, length) in [(4, 1), (u32::MAX, 28), (1, 2049), (1, u32::MAX)] {
            assert!(parse(&device, &pointer(sector, length), 0).is_err(), "{sector} {length}");
        }
        assert!(parse(&device, &pointer(2, 28), 0).unwrap().name.is_none());
    }

    #[test]
    fn rubbish_is_skipped_and_bounded() {
        let device = MemoryDevice::empty(2048, 512).unwrap();
        let read = |area: &[u8]| parse(&device, area, 0);
        assert!(read(b"NM\x03\x01").unwrap().name.is_none());
        assert!(read(b"NM\xff\x01\0abc").unwrap().name.is_none());
        assert_eq!(read(b"XX\x04\x01NM\x06\x01\0a").unwrap().name.unwrap(), b"a");
        assert!(read(b"ST\x04\x01NM\x06\x01\0a").unwrap().name.is_none());
        assert!(read(&[b"NM\xff\x01\0", &[b'n'; 250][..]].concat().repeat(2)).is_err());
        assert!(read(b"SL\x08\x01\0\0\x09a").is_err());
        assert_eq!(read(b"SL\x0c\x01\0\x08\0\0\x03abc").unwrap().target.unwrap(), b"/abc");
        assert_eq!(start(b"SP\x07\x01\xbe\xef\x05"), Some(5));
        assert_eq!(start(b"SP\x07\x01\xbe\xee\x05"), None);
    }
}
