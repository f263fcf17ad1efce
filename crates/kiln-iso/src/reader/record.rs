//! Directory records of any origin (ECMA-119, 9.1).

use crate::error::Error;
use crate::format::{Place, SECTOR, SECTOR_BYTES, record, word};

/// A record, its parts inside of it.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) identifier: &'a [u8],
    pub(super) flags: u8,
    pub(super) place: Place,
    pub(super) system_use: &'a [u8],
}

/// The record at `at` of a directory's bytes, or the next one behind unused bytes, and where the one
/// behind it starts; none at the end. `directory` is the byte offset of the directory, for messages.
pub(super) fn parse(
    bytes: &[u8],
    at: usize,
    directory: u64,
) -> Result<Option<(Record<'_>, usize)>, Error> {
    let mut at = at;
    loop {
        match bytes.get(at) {
            None => return Ok(None),
            // The rest of the sector is unused.
            Some(0) => at = (at / SECTOR + 1) * SECTOR,
            Some(length) => {
                let offset = directory + at as u64;
                let damaged = |reason| Error::Damaged { offset, reason };
                let end = at + usize::from(*length);
                let bytes = bytes.get(at..end).ok_or_else(|| damaged("a record is cut off"))?;
                if at % SECTOR + bytes.len() > SECTOR {
                    return Err(damaged("a record crosses a sector"));
                }
                return split(bytes)
                    .map(|record| Some((record, end)))
                    .ok_or_else(|| damaged("a record is shorter than its name"));
            }
        }
    }
}

fn split(bytes: &[u8]) -> Option<Record<'_>> {
    let length = usize::from(*bytes.get(record::IDENTIFIER_LENGTH)?);
    let end = record::IDENTIFIER + length;
    let identifier = bytes.get(record::IDENTIFIER..end)?;
    if identifier.is_empty() {
        return None;
    }
    Some(Record {
        identifier,
        flags: *bytes.get(record::FLAGS)?,
        place: Place {
            offset: u64::from(word(bytes, record::EXTENT)) * SECTOR_BYTES,
            length: u64::from(word(bytes, record::LENGTH)),
        },
        system_use: bytes.get(end.next_multiple_of(2)..).unwrap_or_default(),
    })
}

/// A name of ISO 9660 without version and without the dot of an empty extension.
pub(super) fn plain_name(identifier: &[u8]) -> Vec<u8> {
    let end = identifier.iter().position(|byte| *byte == b';').unwrap_or(identifier.len());
    let name = identifier.get(..end).unwrap_or_default();
    name.strip_suffix(b".").unwrap_or(name).to_vec()
}

/// A name of Joliet without version, in UTF-8.
pub(super) fn joliet_name(identifier: &[u8]) -> Vec<u8> {
    let units = identifier.chunks_exact(2).map(|pair| match pair {
        [high, low] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    });
    let text: String =
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    text.strip_suffix(";1").unwrap_or(&text).as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_version() {
        for (identifier, name) in
            [("GRUB.CFG;1", "GRUB.CFG"), ("KERNEL.;1", "KERNEL"), ("DIR", "DIR"), (";1", "")]
        {
            assert_eq!(plain_name(identifier.as_bytes()), name.as_bytes());
        }
        let wide: Vec<u8> = "größe;1".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(joliet_name(&wide), "größe".as_bytes());
    }

    #[test]
    fn bad_records_are_refused() {
        let mut good = vec![0; 34];
        (good[0], good[32], good[33]) = (34, 1, b'A');
        assert_eq!(parse(&good, 0, 0).unwrap().unwrap().1, 34);
        assert!(parse(&good, 34, 0).unwrap().is_none());
        assert!(parse(&[0; 5000], 0, 0).unwrap().is_none());
        for (at, value) in [(0, 33), (0, 35), (0, 1), (32, 0), (32, 2)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(parse(&bad, 0, 0).is_err(), "{at} {value}");
        }
        let crossing = [vec![0; SECTOR - 20], good].concat();
        assert!(parse(&crossing, SECTOR - 20, 0).is_err());
    }
}
