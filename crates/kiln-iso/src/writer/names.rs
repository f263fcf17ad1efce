//! Names for readers that do not know Rock Ridge: ISO 9660's capital letters and Joliet's UTF-16.
//!
//! The true name is in Rock Ridge. What the other two cannot hold is mapped character by character,
//! cut, and numbered where two names of a directory become one; that depends on the names of the
//! directory alone and not on their order, so the same tree always gets the same names. Names that
//! need no change keep theirs before any other is given away.

use std::collections::{BTreeMap, BTreeSet};

/// Characters of an ISO 9660 name without its version, the dot not counted (ECMA-119, 7.5.1, level 2).
const ISO_LENGTH: usize = 30;
/// Characters of an ISO 9660 directory (ECMA-119, 7.6.3).
const ISO_DIRECTORY_LENGTH: usize = 31;
/// Units of a Joliet name (Joliet specification, "Relaxation of ISO 9660 limits").
const JOLIET_LENGTH: usize = 64;
/// Characters of an extension that a long name keeps.
const EXTENSION_LENGTH: usize = 8;

/// A name of a directory, and whether it is that of a directory.
pub(crate) type Name<'a> = (&'a [u8], bool);

/// Two parts of a name, the dot not among them.
type Parts = (Vec<char>, Vec<char>);

/// Identifiers of the primary tree for all names of one directory, in their order.
pub(crate) fn iso(names: &[Name<'_>]) -> Vec<Vec<u8>> {
    let map = |character: char| match character.to_ascii_uppercase() {
        upper @ ('A'..='Z' | '0'..='9' | '_') => Some(upper),
        _ => None,
    };
    let parts = names.iter().map(|(name, directory)| {
        let text = String::from_utf8_lossy(name).into_owned();
        let length = if *directory { ISO_DIRECTORY_LENGTH } else { ISO_LENGTH };
        // A directory has no extension, and a dot in front starts none.
        let (stem, extension) = if *directory { (&*text, "") } else { split(&text) };
        (cut(mapped(stem, map), mapped(extension, map), length), length, text.to_ascii_uppercase())
    });
    let unique = unique(parts.collect(), |(stem, extension)| {
        let text: String = stem.iter().collect();
        if extension.is_empty() { text } else { text + "." + &String::from_iter(extension) }
    });
    let identifiers = unique.into_iter().zip(names).map(|((stem, extension), (_, directory))| {
        let text: String = stem.into_iter().collect();
        match directory {
            true => text.into_bytes(),
            false => format!("{text}.{};1", String::from_iter(extension)).into_bytes(),
        }
    });
    identifiers.collect()
}

/// Identifiers of Joliet's tree, in UTF-16 big-endian.
pub(crate) fn joliet(names: &[Name<'_>]) -> Vec<Vec<u8>> {
    let map = |character: char| match character {
        '*' | '/' | ':' | ';' | '?' | '\\' | '\u{fffd}' => None,
        control if control < ' ' => None,
        // What one unit cannot hold.
        high if u32::from(high) > 0xffff => None,
        other => Some(other),
    };
    let parts = names.iter().map(|(name, _)| {
        let text = String::from_utf8_lossy(name).into_owned();
        let (stem, extension) = split(&text);
        // The dot between them is one of the units.
        let length = JOLIET_LENGTH - usize::from(stem.len() < text.len());
        (cut(mapped(stem, map), mapped(extension, map), length), length, text.to_uppercase())
    });
    let dots: Vec<bool> = names
        .iter()
        .map(|(name, _)| {
            let text = String::from_utf8_lossy(name);
            split(&text).0.len() < text.len()
        })
        .collect();
    let unique = unique(parts.collect(), |(stem, extension)| {
        let text: String = stem.iter().collect();
        let text =
            if extension.is_empty() { text } else { text + "." + &String::from_iter(extension) };
        text.to_uppercase()
    });
    let identifiers = unique.into_iter().zip(names).zip(dots).map(|((parts, name), dot)| {
        let (mut text, extension) = parts;
        if dot {
            text.push('.');
            text.extend(extension);
        }
        if !name.1 {
            text.extend([';', '1']);
        }
        // Each is one unit: the others were mapped.
        text.iter().flat_map(|character| (u32::from(*character) as u16).to_be_bytes()).collect()
    });
    identifiers.collect()
}

/// At the last dot, unless the name starts with it.
fn split(text: &str) -> (&str, &str) {
    match text.rfind('.') {
        Some(at) if at > 0 => (&text[..at], &text[at + 1..]),
        _ => (text, ""),
    }
}

fn mapped(text: &str, map: impl Fn(char) -> Option<char>) -> Vec<char> {
    text.chars().map(|character| map(character).unwrap_or('_')).collect()
}

/// Cuts to a length, the extension first to what tells a type.
fn cut(mut stem: Vec<char>, mut extension: Vec<char>, length: usize) -> Parts {
    if stem.len() + extension.len() > length {
        extension.truncate(EXTENSION_LENGTH);
        stem.truncate(length - extension.len());
    }
    (stem, extension)
}

/// Numbers what is not unique. `key` is the form in which two names of a directory must differ.
fn unique(names: Vec<(Parts, usize, String)>, key: impl Fn(&Parts) -> String) -> Vec<Parts> {
    let mut taken = BTreeSet::new();
    let mut given: Vec<Option<Parts>> = vec![None; names.len()];
    for ((parts, _, wanted), given) in names.iter().zip(&mut given) {
        let found = key(parts);
        if found == *wanted && taken.insert(found) {
            *given = Some(parts.clone());
        }
    }
    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    let numbered = names.into_iter().zip(given).map(|((parts, length, _), given)| {
        if let Some(given) = given {
            return given;
        }
        let first = key(&parts);
        if taken.insert(first.clone()) {
            return parts;
        }
        let next = next.entry(first).or_default();
        loop {
            let number: Vec<char> = format!("{next:03}").chars().collect();
            *next += 1;
            let (mut stem, extension) = parts.clone();
            stem.truncate(length.saturating_sub(extension.len() + number.len()));
            stem.extend(number);
            let candidate = (stem, extension);
            if taken.insert(key(&candidate)) {
                return candidate;
            }
        }
    });
    numbered.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(identifiers: Vec<Vec<u8>>) -> Vec<String> {
        identifiers.into_iter().map(|name| String::from_utf8(name).unwrap()).collect()
    }

    fn wide(identifiers: Vec<Vec<u8>>) -> Vec<String> {
        let units = |name: &Vec<u8>| -> Vec<u16> {
            name.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
        };
        identifiers.iter().map(|name| String::from_utf16(&units(name)).unwrap()).collect()
    }

    #[test]
    fn plain_names_keep_theirs() {
        let names: [Name<'_>; 9] = [
            (b"grub.cfg", false),
            (b"boot", true),
            (b"vmlinuz", false),
            (b"a-b", false),
            (b"a_b", false),
            (b"A+B", false),
            (b".hidden", false),
            (b"x.d", true),
            (b"tar.gz.sig", false),
        ];
        assert_eq!(
            text(iso(&names)),
            [
                "GRUB.CFG;1",
                "BOOT",
                "VMLINUZ.;1",
                "A_B000.;1",
                "A_B.;1",
                "A_B001.;1",
                "_HIDDEN.;1",
                "X_D",
                "TAR_GZ.SIG;1",
            ]
        );
        assert_eq!(
            wide(joliet(&names)),
            [
                "grub.cfg;1",
                "boot",
                "vmlinuz;1",
                "a-b;1",
                "a_b;1",
                "A+B;1",
                ".hidden;1",
                "x.d",
                "tar.gz.sig;1",
            ]
        );
    }

    #[test]
    fn long_and_foreign_names_stay_apart() {
        let long = ["x".repeat(255), "x".repeat(254) + "y", "X".repeat(70) + ".conf"];
        let mut names: Vec<Name<'_>> = long.iter().map(|name| (name.as_bytes(), false)).collect();
        names.extend([
            (&b"\xff\xfe"[..], false),
            (b"\xff\xfd", false),
            ("größe: 1".as_bytes(), false),
            ("𝄞".as_bytes(), true),
            ("case".as_bytes(), false),
            ("CASE".as_bytes(), false),
        ]);
        let (iso, joliet) = (text(iso(&names)), wide(joliet(&names)));
        let folded: BTreeSet<String> = joliet.iter().map(|name| name.to_uppercase()).collect();
        assert_eq!(iso.iter().collect::<BTreeSet<_>>().len(), names.len(), "{iso:?}");
        assert_eq!(folded.len(), names.len(), "{joliet:?}");
        assert!(iso.iter().all(|name| name.len() <= 33));
        assert!(joliet.iter().all(|name| name.encode_utf16().count() <= 66));
        assert_eq!(joliet[5], "größe_ 1;1");
        assert_eq!(joliet[8], "CASE000;1");
    }

    #[test]
    fn ten_thousand_that_become_one() {
        let names: Vec<String> = (0..10_000).map(|n| format!("{}{n}", "l".repeat(80))).collect();
        let names: Vec<Name<'_>> = names.iter().map(|name| (name.as_bytes(), false)).collect();
        assert_eq!(iso(&names).into_iter().collect::<BTreeSet<_>>().len(), 10_000);
        assert_eq!(joliet(&names).into_iter().collect::<BTreeSet<_>>().len(), 10_000);
    }
}
