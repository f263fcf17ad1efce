//! Names: the 8.3 form, the long form beside it, and the checksum that ties the two (section 7).
//!
//! A name that is already upper-case 8.3 gets no long form. Everything else gets both, also
//! `loader`: the case bits that some systems keep in a spare byte are unknown to most firmware.

use super::format::{DIRECTORY_ENTRY, attribute};
use std::collections::BTreeSet;

/// Characters of a long name, which is also the limit of most systems.
const MAXIMUM_UNITS: usize = 255;
/// UTF-16 units in one long-name entry.
pub(super) const UNITS_PER_ENTRY: usize = 13;
/// Where the units are in an entry.
pub(super) const UNIT_OFFSETS: [usize; UNITS_PER_ENTRY] =
    [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
/// Set in the number of the entry that holds the end of a name.
pub(super) const LAST_PART: u8 = 0x40;

/// Why a name cannot be on FAT, or nothing.
pub(super) fn defect(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("empty name")
    } else if name == "." || name == ".." {
        Some("relative name")
    } else if name.encode_utf16().count() > MAXIMUM_UNITS {
        Some("name longer than 255 units")
    } else if name.chars().any(|c| c.is_control() || r#""*/:<>?\|"#.contains(c)) {
        Some("character that FAT does not allow")
    } else if name.ends_with(['.', ' ']) || name.starts_with(' ') {
        Some("space at an end or dot at the end")
    } else {
        None
    }
}

/// Whether a character may stand in an 8.3 name.
fn is_short(character: char) -> bool {
    character.is_ascii_uppercase()
        || character.is_ascii_digit()
        || "!#$%&'()-@^_`{}~".contains(character)
}

/// The 11 bytes of a name that is 8.3 as it is.
fn exact(name: &str) -> Option<[u8; 11]> {
    let (base, extension) = match name.rsplit_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (name, ""),
    };
    let fits = !base.is_empty() && base.len() <= 8 && extension.len() <= 3;
    let plain = base.chars().chain(extension.chars()).all(is_short);
    (fits && plain).then(|| join(base, extension))
}

/// Base and extension, padded with spaces. Both must be ASCII and fit.
fn join(base: &str, extension: &str) -> [u8; 11] {
    let mut short = [b' '; 11];
    for (target, byte) in short[..8].iter_mut().zip(base.bytes()) {
        *target = byte;
    }
    for (target, byte) in short[8..].iter_mut().zip(extension.bytes()) {
        *target = byte;
    }
    short
}

/// The 8.3 form of `name` that is not in `taken`, and whether it says the whole name.
pub(super) fn short_name(name: &str, taken: &mut BTreeSet<[u8; 11]>) -> Option<([u8; 11], bool)> {
    if let Some(short) = exact(name).filter(|short| !taken.contains(short)) {
        taken.insert(short);
        return Some((short, true));
    }
    let upper = name.to_uppercase();
    if let Some(short) = exact(&upper).filter(|short| !taken.contains(short)) {
        taken.insert(short);
        return Some((short, false));
    }
    let clean = |text: &str, length: usize| -> String {
        let kept = text.chars().filter(|c| *c != ' ' && *c != '.');
        kept.map(|c| if is_short(c) { c } else { '_' }).take(length).collect()
    };
    let (base, extension) = match upper.rsplit_once('.') {
        Some(("", _)) | None => (upper.as_str(), ""),
        Some(parts) => parts,
    };
    let extension = clean(extension, 3);
    for number in 1_u32..=999_999 {
        let tail = format!("~{number}");
        let short = join(&format!("{}{tail}", clean(base, 8 - tail.len())), &extension);
        if taken.insert(short) {
            return Some((short, false));
        }
    }
    None
}

/// Ties the parts of a long name to their 8.3 entry.
pub(super) fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// The entries of a long name in their order on disk: the end of the name first.
pub(super) fn long_entries(name: &str, short: &[u8; 11]) -> Vec<[u8; DIRECTORY_ENTRY]> {
    let units: Vec<u16> = name.encode_utf16().collect();
    let parts = units.len().div_ceil(UNITS_PER_ENTRY);
    let mut entries = Vec::with_capacity(parts);
    for (index, part) in units.chunks(UNITS_PER_ENTRY).enumerate().rev() {
        let mut entry = [0; DIRECTORY_ENTRY];
        // At most 20 parts, since a name has at most 255 units.
        let order = u8::try_from(index + 1).unwrap_or(u8::MAX);
        entry[0] = if index + 1 == parts { order | LAST_PART } else { order };
        entry[11] = attribute::LONG_NAME;
        entry[13] = checksum(short);
        // One zero ends a name that does not fill its part, ones fill the rest.
        let padded = part.iter().copied().chain([0]).chain(std::iter::repeat(0xffff));
        for (offset, unit) in UNIT_OFFSETS.into_iter().zip(padded) {
            entry[offset..offset + 2].copy_from_slice(&unit.to_le_bytes());
        }
        entries.push(entry);
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_are_unique_and_exact_where_possible() {
        let mut taken = BTreeSet::new();
        let cases = [
            ("EFI", "EFI        ", true),
            ("BOOTX64.EFI", "BOOTX64 EFI", true),
            ("loader", "LOADER     ", false),
            ("loader.conf", "LOADER~1CON", false),
            ("loader.config", "LOADER~2CON", false),
            ("kiln-00000001+3-0.efi", "KILN-0~1EFI", false),
            (".hidden", "HIDDEN~1   ", false),
            ("a.b.c", "AB~1    C  ", false),
            ("größe", "GR_SSE~1   ", false),
        ];
        for (name, short, whole) in cases {
            let expected: [u8; 11] = short.as_bytes().try_into().unwrap();
            assert_eq!(short_name(name, &mut taken), Some((expected, whole)), "{name}");
        }
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for bad in ["", ".", "..", "a:b", "a/b", "a\\b", "a.", "a ", " a", "a\nb", &"x".repeat(256)]
        {
            assert!(defect(bad).is_some(), "{bad:?}");
        }
        for good in ["a", "kiln-00000001+3-0.efi", &"x".repeat(255)] {
            assert_eq!(defect(good), None, "{good:?}");
        }
    }

    #[test]
    fn a_long_name_is_cut_backwards() {
        let entries = long_entries("kiln-00000001+3-0.efi", b"KILN-0~1EFI");
        assert_eq!(entries.iter().map(|entry| entry[0]).collect::<Vec<_>>(), [0x42, 1]);
        assert_eq!(entries[1][1], b'k');
        assert_eq!(entries[0][22..26], [0xff; 4]);
    }
}
