//! Names of boot files and their counters.
//!
//! A boot file is `EFI/Linux/kiln-<generation>+<left>-<done>.efi`. The generation has eight digits
//! and only grows on one machine, so that the newest revision is first in the menu whatever version
//! it carries. Both counters are one digit wide in what Kiln writes: a renamed entry then keeps its
//! length, and the change on FAT stays inside one directory sector. A blessed entry has no
//! counters. What systemd-boot does with them is in its manual and in the boot loader
//! specification's section on boot counting; [`sort`] says in which order it lists them.

use std::fmt;
use std::str::FromStr;

pub use crate::order::{Listed, compare_versions, sort};

/// The folder of boot files on the EFI system partition.
pub const FOLDER: &str = "EFI/Linux";

/// The boot file of recovery, in [`FOLDER`]. It has no generation and no counter: it is the last
/// resort, so nothing may ever rank it as bad, and what systemd-boot sorts it behind is the `ID` of its
/// `.osrel`, not its name.
pub const RECOVERY_FILE: &str = "kiln-recovery.efi";

/// Path of [`RECOVERY_FILE`] on the ESP.
pub const RECOVERY_PATH: &str = "EFI/Linux/kiln-recovery.efi";

/// How the note of a failed boot on the ESP begins if the deadline ended that boot, and nothing in it
/// failed. Every other note is a sentence of the first process, none of which begins so.
pub const DEADLINE_NOTE: &str = "deadline: ";

/// How many starts a new entry may use before it counts as bad (DESIGN §4).
pub const TRIES: u8 = 3;

/// The largest generation that eight digits hold.
pub const MAXIMUM_GENERATION: u32 = 99_999_999;

/// What the name of a boot file and this make is the folder of its addons.
const ADDON_FOLDER_SUFFIX: &str = ".extra.d";

/// Tries of an entry that nobody has blessed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Counter {
    /// Starts that are left, 0–9; 0 means that the entry is bad.
    pub left: u8,
    /// Starts already used: up to 9 in what Kiln writes, more where the loader had nothing but bad
    /// entries to start.
    pub done: u8,
}

/// The name of a boot file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryName {
    /// Number of the revision on this machine, at most [`MAXIMUM_GENERATION`].
    pub generation: u32,
    /// Counter, or none once blessed.
    pub counter: Option<Counter>,
}

/// The text is no name of a Kiln boot file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnEntry {
    /// The name as it was found.
    pub name: String,
}

impl fmt::Display for NotAnEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "`{}` is not a boot file name of the form kiln-00000001+3-0.efi",
            self.name
        )
    }
}

impl std::error::Error for NotAnEntry {}

impl EntryName {
    /// The name of an entry that was never started: all tries left.
    #[must_use]
    pub fn fresh(generation: u32) -> Self {
        Self {
            generation: generation.min(MAXIMUM_GENERATION),
            counter: Some(Counter { left: TRIES, done: 0 }),
        }
    }

    /// The name that the loader gives it when it starts it: one try moves from left to done. With no
    /// try left the others are counted on; an entry without counter keeps its name.
    #[must_use]
    pub fn started(self) -> Self {
        let counter = self.counter.map(|Counter { left, done }| Counter {
            left: left.saturating_sub(1),
            done: done.saturating_add(1),
        });
        Self { counter, ..self }
    }

    /// The name before it was started: the inverse of [`EntryName::started`]. More starts in all than
    /// [`TRIES`] are those of an entry that was bad already, and stays so.
    #[must_use]
    pub fn given_back(self) -> Self {
        let counter = self.counter.map(|Counter { left, done }| match done.checked_sub(1) {
            None => Counter { left, done },
            Some(done) if left.saturating_add(done) >= TRIES => Counter { left, done },
            Some(done) => Counter { left: left.saturating_add(1), done },
        });
        Self { counter, ..self }
    }

    /// The name of a revision that proved itself: no counter.
    #[must_use]
    pub fn blessed(self) -> Self {
        Self { counter: None, ..self }
    }

    /// The name that makes the loader prefer every other entry: `+0-3`, also for a blessed one.
    #[must_use]
    pub fn bad(self) -> Self {
        Self { counter: Some(Counter { left: 0, done: TRIES }), ..self }
    }

    /// Whether the loader ranks it behind all others.
    #[must_use]
    pub fn is_bad(self) -> bool {
        matches!(self.counter, Some(Counter { left: 0, .. }))
    }

    /// The name without counter and ending, which is the same for the whole life of an entry; it
    /// is the loader's identifier of it as well, without the `.efi` that systemd-boot keeps.
    #[must_use]
    pub fn stem(self) -> String {
        format!("kiln-{:08}", self.generation)
    }

    /// Folder of the addons that belong to a generation, whatever its counters are: systemd's stub
    /// leaves them out of the name (systemd-stub(7)).
    #[must_use]
    pub fn addon_folder(generation: u32) -> String {
        format!("{FOLDER}/kiln-{generation:08}.efi{ADDON_FOLDER_SUFFIX}")
    }

    /// The generation of a folder in [`FOLDER`] that [`EntryName::addon_folder`] names.
    #[must_use]
    pub fn of_addon_folder(name: &str) -> Option<u32> {
        let lower = name.to_ascii_lowercase();
        let entry: Self = lower.strip_suffix(ADDON_FOLDER_SUFFIX)?.parse().ok()?;
        entry.counter.is_none().then_some(entry.generation)
    }

    /// Path from the root of the EFI system partition, with slashes.
    #[must_use]
    pub fn path(self) -> String {
        format!("{FOLDER}/{self}")
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "kiln-{:08}", self.generation)?;
        if let Some(Counter { left, done }) = self.counter {
            write!(formatter, "+{left}-{done}")?;
        }
        formatter.write_str(".efi")
    }
}

impl FromStr for EntryName {
    type Err = NotAnEntry;

    /// Reads a file name (no folders). Case is ignored, as FAT does; counters may also have the
    /// short form `+3` that systemd-boot itself accepts for an entry that was never started.
    fn from_str(name: &str) -> Result<Self, NotAnEntry> {
        parse(name).ok_or_else(|| NotAnEntry { name: name.to_owned() })
    }
}

fn parse(name: &str) -> Option<EntryName> {
    let lower = name.to_ascii_lowercase();
    let rest = lower.strip_prefix("kiln-")?.strip_suffix(".efi")?;
    let (generation, counter) = match rest.split_once('+') {
        None => (rest, None),
        Some((generation, counter)) => {
            let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
            (generation, Some(Counter { left: digit(left)?, done: number(done)? }))
        }
    };
    if generation.len() != 8 || !generation.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(EntryName { generation: generation.parse().ok()?, counter })
}

/// A number in its only spelling, so that printing it gives the same name again.
fn number(text: &str) -> Option<u8> {
    let is_plain = digit(text.get(..1)?).is_some_and(|first| first > 0 || text.len() == 1);
    is_plain.then(|| text.parse().ok())?
}

fn digit(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [byte @ b'0'..=b'9'] => Some(byte - b'0'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_a_round_trip() {
        let cases = [
            ("kiln-00000001+3-0.efi", 1, Some((3, 0))),
            ("kiln-00000042+0-3.efi", 42, Some((0, 3))),
            ("kiln-99999999.efi", 99_999_999, None),
        ];
        for (name, generation, counter) in cases {
            let entry: EntryName = name.parse().unwrap();
            let expected = counter.map(|(left, done)| Counter { left, done });
            assert_eq!(entry, EntryName { generation, counter: expected });
            assert_eq!(entry.to_string(), name);
        }
    }

    #[test]
    fn folders_of_addons_have_no_counter() {
        assert_eq!(EntryName::addon_folder(3), "EFI/Linux/kiln-00000003.efi.extra.d");
        for (name, expected) in [
            ("KILN-00000003.EFI.EXTRA.D", Some(3)),
            ("kiln-00000003+3-0.efi.extra.d", None),
            ("kiln-00000003.efi", None),
            ("other.efi.extra.d", None),
        ] {
            assert_eq!(EntryName::of_addon_folder(name), expected, "{name}");
        }
    }

    #[test]
    fn other_names_are_not_ours() {
        for name in [
            "kiln-1.efi",
            "kiln-000000001.efi",
            "kiln-00000001+.efi",
            "kiln-00000001+3-.efi",
            "kiln-00000001+10-0.efi",
            "kiln-00000001+3-00.efi",
            "kiln-00000001+0-+1.efi",
            "kiln-00000001+0-256.efi",
            "kiln-0000000a.efi",
            "kiln-00000001.efi.new",
            "debian-00000001.efi",
            "",
        ] {
            assert!(name.parse::<EntryName>().is_err(), "{name}");
        }
        let shouted: EntryName = "KILN-00000001+3-0.EFI".parse().unwrap();
        assert_eq!(shouted, EntryName::fresh(1));
        assert_eq!(
            "kiln-00000001+2.efi".parse::<EntryName>().unwrap().to_string(),
            "kiln-00000001+2-0.efi"
        );
    }

    #[test]
    fn an_entry_lives_through_its_counters() {
        let mut entry = EntryName::fresh(7);
        for expected in ["kiln-00000007+2-1.efi", "kiln-00000007+1-2.efi", "kiln-00000007+0-3.efi"]
        {
            assert_eq!(entry.started().given_back(), entry);
            entry = entry.started();
            assert_eq!(entry.to_string(), expected);
        }
        assert!(entry.is_bad());
        // As it happens on a machine that has nothing better to start.
        let mut worse = entry;
        for _ in 0..7 {
            assert_eq!(worse.started().given_back(), worse);
            worse = worse.started();
        }
        assert_eq!(worse.to_string(), "kiln-00000007+0-10.efi");
        assert_eq!("kiln-00000007+0-10.efi".parse(), Ok(worse));
        assert!(worse.is_bad());
        assert_eq!(worse.bad(), entry);
        assert_eq!(entry.blessed().to_string(), "kiln-00000007.efi");
        assert_eq!(entry.blessed().bad(), entry);
    }

    fn listed(file: &str, sort_key: &str) -> Listed {
        Listed { file: file.to_owned(), sort_key: sort_key.to_owned(), version: String::new() }
    }

    #[test]
    fn the_menu_has_the_newest_first_recovery_last_and_bad_ones_behind() {
        let mut entries = vec![
            listed(RECOVERY_FILE, "kiln-recovery"),
            listed("kiln-00000011+0-3.efi", "kiln"),
            listed("kiln-00000009.efi", "kiln"),
            listed("kiln-00000010+3-0.efi", "kiln"),
        ];
        sort(&mut entries);
        let order: Vec<&str> = entries.iter().map(|entry| entry.file.as_str()).collect();
        assert_eq!(
            order,
            ["kiln-00000010+3-0.efi", "kiln-00000009.efi", RECOVERY_FILE, "kiln-00000011+0-3.efi"]
        );
    }

    #[test]
    fn recovery_starts_by_itself_only_when_nothing_else_is_good() {
        assert_eq!(RECOVERY_PATH, format!("{FOLDER}/{RECOVERY_FILE}"));
        assert!(RECOVERY_FILE.parse::<EntryName>().is_err(), "it is no revision");
        let cases: [(&[&str], &str); 5] = [
            (&["kiln-00000001.efi"], "kiln-00000001.efi"),
            (&["kiln-00000001+1-2.efi"], "kiln-00000001+1-2.efi"),
            (&["kiln-00000001+0-3.efi", "kiln-00000002.efi"], "kiln-00000002.efi"),
            (&["kiln-00000001+0-3.efi", "kiln-00000002+0-3.efi"], RECOVERY_FILE),
            (&[], RECOVERY_FILE),
        ];
        for (systems, first) in cases {
            let mut entries = vec![listed(RECOVERY_FILE, "kiln-recovery")];
            entries.extend(systems.iter().map(|file| listed(file, "kiln")));
            sort(&mut entries);
            assert_eq!(entries[0].file, first, "{systems:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(name in ".{0,30}") {
            if let Ok(entry) = name.parse::<EntryName>() {
                proptest::prop_assert_eq!(entry.to_string().parse::<EntryName>().ok(), Some(entry));
            }
        }
    }
}
