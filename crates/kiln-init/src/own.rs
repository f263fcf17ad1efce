//! Which boot file this boot came from: pure reading of what loader and stub left in UEFI variables.
//!
//! The stub's word comes first, because it is the path of the image that really runs; the loader
//! renames a counted file before it starts it, and tells the new path in a variable of its own. Both
//! may be missing or lie (they are only as good as the firmware), so nothing is renamed by this name
//! alone: see [`crate::blame`].
//!
//! Format: systemd's boot loader interface; a variable is four bytes of attributes (kernel,
//! Documentation/filesystems/efivarfs.rst), then UTF-16LE text.

use kiln_boot::entry::{EntryName, FOLDER};

/// Longest variable that is read, in bytes: paths on FAT have at most 260 characters.
const VARIABLE_MAXIMUM: usize = 2048;

/// What the three variables hold, as far as they are there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Variables<'a> {
    /// `StubImageIdentifier`: path of the unified kernel image that runs.
    pub stub: Option<&'a [u8]>,
    /// `LoaderBootCountPath`: path of the boot file, only set while it has a counter.
    pub counted: Option<&'a [u8]>,
    /// `LoaderEntrySelected`: the entry's identifier, a file name without folder and counter.
    pub selected: Option<&'a [u8]>,
}

/// The boot file of this boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnEntry {
    /// Path from the root of the ESP, with slashes.
    pub path: String,
    /// Whether nobody has blessed it yet: its name has a counter.
    pub counted: bool,
}

impl OwnEntry {
    /// Its number on this machine; `None` for recovery, and for a file that Kiln did not name.
    #[must_use]
    pub fn generation(&self) -> Option<u32> {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.parse::<EntryName>().ok().map(|name| name.generation)
    }
}

/// The text of a variable: up to the first zero. `None` for anything else.
#[must_use]
pub fn text(variable: &[u8]) -> Option<String> {
    if variable.len() > VARIABLE_MAXIMUM {
        return None;
    }
    let units: Vec<u16> = variable
        .get(4..)?
        .chunks_exact(2)
        .map(|pair| u16::from(pair[0]) | u16::from(pair[1]) << 8)
        .take_while(|&unit| unit != 0)
        .collect();
    String::from_utf16(&units).ok()
}

/// The boot file, from the first variable that names one.
#[must_use]
pub fn entry(variables: Variables<'_>) -> Option<OwnEntry> {
    let path_of = |variable: Option<&[u8]>| path(&text(variable?)?);
    let counted_path = path_of(variables.counted);
    let selected = || Some(format!("{FOLDER}/{}", path_of(variables.selected)?));
    // The loader sets its counting path for counted entries only, whatever name the stub shows.
    let counted = counted_path.is_some();
    let path = path_of(variables.stub).or(counted_path).or_else(selected)?;
    Some(OwnEntry { counted: counted || has_counter(&path), path })
}

/// A path with slashes and without those in front. Control characters would forge lines among the
/// facts of the boot.
fn path(text: &str) -> Option<String> {
    let path = text.replace('\\', "/");
    let path = path.trim_start_matches('/');
    (!path.is_empty() && !path.chars().any(char::is_control)).then(|| path.to_owned())
}

/// Whether a boot file's name ends in `+LEFT` or `+LEFT-DONE` before `.efi`.
#[must_use]
pub fn has_counter(path: &str) -> bool {
    counter(path).is_some()
}

/// The tries that a boot file's name says are left.
#[must_use]
pub fn counter(path: &str) -> Option<u32> {
    let name = path.rsplit('/').next()?.to_ascii_lowercase();
    let (_, counter) = name.strip_suffix(".efi")?.rsplit_once('+')?;
    let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if plain { digits.parse::<u32>().ok() } else { None }
    };
    number(done)?;
    number(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn variable(text: &str) -> Vec<u8> {
        let units = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
        [6, 0, 0, 0].into_iter().chain(units).collect()
    }

    #[test]
    fn the_first_variable_that_names_a_file_wins() {
        let counted = r"\EFI\Linux\kiln-00000002+2-1.efi";
        let older = r"\EFI\Linux\kiln-00000002+3-0.efi";
        let blessed = r"\EFI\Linux\kiln-00000007.efi";
        let recovery = r"\EFI\Linux\kiln-recovery.efi";
        type Case<'a> = (&'a str, &'a str, &'a str, Option<(&'a str, bool, Option<u32>)>);
        let cases: [Case<'_>; 9] = [
            (counted, counted, "", Some(("EFI/Linux/kiln-00000002+2-1.efi", true, Some(2)))),
            (older, counted, "", Some(("EFI/Linux/kiln-00000002+3-0.efi", true, Some(2)))),
            (blessed, "", "", Some(("EFI/Linux/kiln-00000007.efi", false, Some(7)))),
            ("", counted, "x", Some(("EFI/Linux/kiln-00000002+2-1.efi", true, Some(2)))),
            ("", "", "kiln-00000007.efi", Some(("EFI/Linux/kiln-00000007.efi", false, Some(7)))),
            (recovery, "", "", Some(("EFI/Linux/kiln-recovery.efi", false, None))),
            ("EFI/BOOT/BOOTX64.EFI", "", "", Some(("EFI/BOOT/BOOTX64.EFI", false, None))),
            ("a\nmode=recovery", "", "", None),
            ("", "", "", None),
        ];
        for (stub, count, selected, expected) in cases {
            let bytes = [stub, count, selected].map(variable);
            let given = |index: usize, text: &str| (!text.is_empty()).then_some(&bytes[index][..]);
            let variables = Variables {
                stub: given(0, stub),
                counted: given(1, count),
                selected: given(2, selected),
            };
            let found = entry(variables);
            let found =
                found.as_ref().map(|own| (own.path.as_str(), own.counted, own.generation()));
            assert_eq!(found, expected, "{stub:?} {count:?} {selected:?}");
        }
    }

    #[test]
    fn counters_are_those_of_the_loader() {
        let cases = [
            ("EFI/Linux/kiln-00000002+2-1.efi", Some(2)),
            ("kiln-00000002+3.EFI", Some(3)),
            ("kiln-recovery+0-3.efi", Some(0)),
            ("kiln-00000002.efi", None),
            ("a+1/kiln.efi", None),
            ("kiln+x.efi", None),
            ("kiln+1-.efi", None),
            ("kiln+99999999999.efi", None),
        ];
        for (path, expected) in cases {
            assert_eq!(counter(path), expected, "{path}");
            assert_eq!(has_counter(path), expected.is_some(), "{path}");
        }
    }

    #[test]
    fn damaged_variables_name_nothing() {
        let long = variable(&"x".repeat(VARIABLE_MAXIMUM));
        for bytes in [&[][..], &[6, 0, 0], &[6, 0, 0, 0, 0, 0xd8], &long] {
            let variables = Variables { stub: Some(bytes), ..Variables::default() };
            assert_eq!(entry(variables), None, "{} bytes", bytes.len());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let variables = Variables { stub: Some(&bytes), ..Variables::default() };
            if let Some(own) = entry(variables) {
                prop_assert!(!own.path.contains('\n') && !own.path.starts_with('/'));
            }
        }
    }
}
