//! Names of boot files, their counters, and the order in which systemd-boot lists them.
//!
//! A boot file is `EFI/Linux/kiln-<generation>+<left>-<done>.efi`. The generation has eight digits
//! and only grows on one machine, so that the newest revision is first in the menu whatever version
//! it carries. Both counters are always one digit wide while they exist: a renamed entry then keeps
//! its length, and the change on FAT stays inside one directory sector. A blessed entry has no
//! counters. What systemd-boot does with them is in its manual and in the boot loader
//! specification's section on boot counting; [`sort`] models only what Kiln relies on.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The folder of boot files on the EFI system partition.
pub const FOLDER: &str = "EFI/Linux";

/// How many starts a new entry may use before it counts as bad (DESIGN §4).
pub const TRIES: u8 = 3;

/// The largest generation that eight digits hold.
pub const MAXIMUM_GENERATION: u32 = 99_999_999;

/// Tries of an entry that nobody has blessed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Counter {
    /// Starts that are left, 0–9; 0 means that the entry is bad.
    pub left: u8,
    /// Starts already used, 0–9.
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

    /// The name that the loader gives it when it starts it: one try moves from left to done.
    /// An entry without counter, or with no try left, keeps its name.
    #[must_use]
    pub fn started(self) -> Self {
        let counter = self.counter.map(|counter| match counter.left {
            0 => counter,
            left => Counter { left: left - 1, done: (counter.done + 1).min(9) },
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
            (generation, Some(Counter { left: digit(left)?, done: digit(done)? }))
        }
    };
    if generation.len() != 8 || !generation.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(EntryName { generation: generation.parse().ok()?, counter })
}

fn digit(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [byte @ b'0'..=b'9'] => Some(byte - b'0'),
        _ => None,
    }
}

/// What systemd-boot reads of an entry when it sorts: the file's name and its `.osrel`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// File name in [`FOLDER`].
    pub file: String,
    /// `IMAGE_ID` if there is one, else `ID` (systemd-boot's sort key of a UKI).
    pub sort_key: String,
    /// `IMAGE_VERSION`, else `VERSION`, `VERSION_ID` …; empty in Kiln's own boot files, so that
    /// the file's name decides.
    pub version: String,
}

/// Puts entries into the menu's order; the first one is what systemd-boot starts by itself.
///
/// Bad entries (`+0`) go last; then the sort key ascending, the version descending, then the file
/// name without counter descending, versions and names compared by [`compare_versions`].
pub fn sort(entries: &mut [Listed]) {
    entries.sort_by(|left, right| {
        let (left_stem, left_bad) = split_counter(&left.file);
        let (right_stem, right_bad) = split_counter(&right.file);
        left_bad
            .cmp(&right_bad)
            .then_with(|| left.sort_key.cmp(&right.sort_key))
            .then_with(|| compare_versions(&right.version, &left.version))
            .then_with(|| compare_versions(right_stem, left_stem))
    });
}

/// A file name without counter and ending, and whether the counter says that no try is left.
fn split_counter(file: &str) -> (&str, bool) {
    let stem = match file.len().checked_sub(4).and_then(|at| file.split_at_checked(at)) {
        Some((stem, ending)) if ending.eq_ignore_ascii_case(".efi") => stem,
        _ => file,
    };
    match stem.rsplit_once('+') {
        Some((name, counter)) => {
            let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
            let numbers = [left, done];
            let valid = numbers.iter().all(|number| {
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            });
            if valid { (name, left.bytes().all(|byte| byte == b'0')) } else { (stem, false) }
        }
        None => (stem, false),
    }
}

/// Compares version strings as the UAPI version format specification orders them.
#[must_use]
pub fn compare_versions(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    loop {
        left = skip_separators(left);
        right = skip_separators(right);
        // Marks that end a version early rank in this order: `~` before the end of the string,
        // and `-`, `^`, `.` behind it.
        if let Some(order) = mark(&mut left, &mut right, b'~', Ordering::Less) {
            return order;
        }
        match (left.is_empty(), right.is_empty()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        let mut next = false;
        for (sign, side_with_it) in
            [(b'-', Ordering::Less), (b'^', Ordering::Less), (b'.', Ordering::Less)]
        {
            let before = (left.len(), right.len());
            if let Some(order) = mark(&mut left, &mut right, sign, side_with_it) {
                return order;
            }
            if before != (left.len(), right.len()) {
                next = true;
                break;
            }
        }
        if next {
            continue;
        }
        let order = compare_run(&mut left, &mut right);
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Characters that take part in the comparison; all others only separate.
fn is_significant(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"~-^.".contains(&byte)
}

fn skip_separators(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|&byte| is_significant(byte)).unwrap_or(text.len());
    &text[start..]
}

/// One mark: decides if only one side has it, skips it on both sides if both have it.
fn mark(left: &mut &[u8], right: &mut &[u8], sign: u8, with: Ordering) -> Option<Ordering> {
    match (left.first() == Some(&sign), right.first() == Some(&sign)) {
        (true, true) => {
            *left = &left[1..];
            *right = &right[1..];
            None
        }
        (true, false) => Some(with),
        (false, true) => Some(with.reverse()),
        (false, false) => None,
    }
}

/// Compares and consumes a run of digits (by value) or of letters (by ASCII, capitals first).
fn compare_run(left: &mut &[u8], right: &mut &[u8]) -> Ordering {
    let numeric = left.first().is_some_and(u8::is_ascii_digit)
        || right.first().is_some_and(u8::is_ascii_digit);
    let kind = |byte: &u8| if numeric { byte.is_ascii_digit() } else { byte.is_ascii_alphabetic() };
    let left_run = take(left, kind);
    let right_run = take(right, kind);
    if numeric {
        // A side without a number here ranks before any number.
        match (left_run.is_empty(), right_run.is_empty()) {
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            _ => {}
        }
        let (left_run, right_run) = (strip_zeros(left_run), strip_zeros(right_run));
        left_run.len().cmp(&right_run.len()).then_with(|| left_run.cmp(right_run))
    } else {
        left_run.cmp(right_run)
    }
}

fn take<'a>(text: &mut &'a [u8], accept: impl Fn(&u8) -> bool) -> &'a [u8] {
    let end = text.iter().position(|byte| !accept(byte)).unwrap_or(text.len());
    let (run, rest) = text.split_at(end);
    *text = rest;
    run
}

fn strip_zeros(digits: &[u8]) -> &[u8] {
    let start = digits.iter().position(|&byte| byte != b'0').unwrap_or(digits.len());
    &digits[start..]
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
    fn other_names_are_not_ours() {
        for name in [
            "kiln-1.efi",
            "kiln-000000001.efi",
            "kiln-00000001+.efi",
            "kiln-00000001+3-.efi",
            "kiln-00000001+10-0.efi",
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
            entry = entry.started();
            assert_eq!(entry.to_string(), expected);
        }
        assert!(entry.is_bad());
        assert_eq!(entry.started(), entry);
        assert_eq!(entry.blessed().to_string(), "kiln-00000007.efi");
        assert_eq!(entry.blessed().bad(), entry);
    }

    fn listed(file: &str, sort_key: &str) -> Listed {
        Listed { file: file.to_owned(), sort_key: sort_key.to_owned(), version: String::new() }
    }

    #[test]
    fn the_menu_has_the_newest_first_recovery_last_and_bad_ones_behind() {
        let mut entries = vec![
            listed("kiln-00000003.efi", "kiln-recovery"),
            listed("kiln-00000011+0-3.efi", "kiln"),
            listed("kiln-00000009.efi", "kiln"),
            listed("kiln-00000010+3-0.efi", "kiln"),
        ];
        sort(&mut entries);
        let order: Vec<&str> = entries.iter().map(|entry| entry.file.as_str()).collect();
        assert_eq!(
            order,
            [
                "kiln-00000010+3-0.efi",
                "kiln-00000009.efi",
                "kiln-00000003.efi",
                "kiln-00000011+0-3.efi"
            ]
        );
    }

    #[test]
    fn versions_compare_as_specified() {
        // Ascending chain of the UAPI specification's own rules.
        let ascending = [
            "~rc1", "", "-1", "1~rc1", "1", "1-1", "1^1", "1.0", "1.1", "1.2~x", "1.2", "1.10",
            "12", "a12",
        ];
        // The last pair checks letters against digits, which the next loop must not include.
        for pair in ascending[..13].windows(2) {
            assert_eq!(compare_versions(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare_versions(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare_versions("a12", "12"), Ordering::Less);
        assert_eq!(compare_versions("1_0", "1+0"), Ordering::Equal);
        assert_eq!(compare_versions("007", "7"), Ordering::Equal);
        assert_eq!(compare_versions("A", "a"), Ordering::Less);
    }

    proptest::proptest! {
        #[test]
        fn comparing_is_antisymmetric(left in "[a-cA-C0-2~^.+-]{0,8}", right in "[a-cA-C0-2~^.+-]{0,8}") {
            proptest::prop_assert_eq!(compare_versions(&left, &right), compare_versions(&right, &left).reverse());
        }

        #[test]
        fn parsing_never_panics(name in ".{0,30}") {
            if let Ok(entry) = name.parse::<EntryName>() {
                proptest::prop_assert_eq!(entry.to_string().parse::<EntryName>().ok(), Some(entry));
            }
        }
    }
}
