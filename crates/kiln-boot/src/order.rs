//! The order in which systemd-boot lists boot files, and which of them it lists at all.
//!
//! What it starts by itself is the first of its list, so this is what decides between the old and
//! the new revision, and nothing in Kiln may hold another opinion. Only files in `EFI/Linux` are
//! modelled: their keys come from `.osrel` and their name, they have no machine identifier, and the
//! title says nothing about the place. The rules are in the boot loader specification ("Sorting",
//! "Boot counting") and in the version format specification; where those leave room the model does
//! what the loaders do. It is compared with loaders of several ages in a virtual machine
//! (`our_order_of_boot_entries_is_the_loaders`).
//!
//! What differs from age to age is nothing that Kiln's boot files have: an `ID=` without a value sorts
//! last up to systemd 257 and first in 262; single quotes are a part of the value in 252 and are taken
//! off since; 252 compares counters where nothing else differs, and since 257 a name with a counter
//! keeps its capitals, which sort behind.

use std::cmp::Ordering;

/// Keys of `.osrel` in the order in which they are asked for a title: a file without any of them is
/// not listed.
const TITLE: &[&str] = &["PRETTY_NAME", "IMAGE_ID", "NAME", "ID"];
/// The same for the version and for the sort key.
const VERSION: &[&str] = &["IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID"];
const SORT_KEY: &[&str] = &["IMAGE_ID", "ID"];

/// Names that begin like this are the loader's own (systemd-boot(7)).
const RESERVED: &str = "auto-";

/// The largest number that a counter may have; a name with a larger one has no counter at all.
const COUNTER_MAXIMUM: u64 = i32::MAX as u64;

/// What systemd-boot reads of an entry when it sorts: the file's name and its `.osrel`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// File name in [`FOLDER`](crate::entry::FOLDER).
    pub file: String,
    /// `IMAGE_ID` if there is one, else `ID` (systemd-boot's sort key of a UKI); empty if there is
    /// neither, and then it comes behind all that have one.
    pub sort_key: String,
    /// `IMAGE_VERSION`, else `VERSION`, `VERSION_ID` …; empty in Kiln's own boot files, so that
    /// the file's name decides.
    pub version: String,
}

impl Listed {
    /// What it lists for a file of this name with this `.osrel`; nothing if it leaves it out.
    #[must_use]
    pub fn read(file: &str, os_release: &str) -> Option<Self> {
        let lower = file.to_ascii_lowercase();
        if !lower.ends_with(".efi") || lower.starts_with(RESERVED) || lower.starts_with('.') {
            return None;
        }
        let first = |keys: &[&str]| keys.iter().find_map(|key| value(os_release, key));
        first(TITLE)?;
        let field = |keys: &[&str]| first(keys).unwrap_or_default().to_owned();
        Some(Self { file: file.to_owned(), sort_key: field(SORT_KEY), version: field(VERSION) })
    }

    /// What the loader calls the entry: its name in small letters without the counter. Up to systemd
    /// 252 the counter was a part of it.
    #[must_use]
    pub fn identifier(&self) -> String {
        split_counter(&self.file).0
    }
}

/// The last value of a key that is not empty, without blanks and quotes around it.
fn value<'a>(os_release: &'a str, key: &str) -> Option<&'a str> {
    let lines = os_release.split(['\n', '\r']).rev();
    lines.filter_map(|line| line.trim_matches([' ', '\t']).split_once('=')).find_map(
        |(name, text)| {
            let inside = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
            let text = inside('"').or_else(|| inside('\'')).unwrap_or(text);
            (name == key && !text.is_empty()).then_some(text)
        },
    )
}

/// Puts entries into the menu's order; the first one is what systemd-boot starts by itself.
///
/// Bad entries (`+0`) go last; then the sort key ascending, the version descending, then the file
/// name without counter descending, versions and names compared by [`compare_versions`].
pub fn sort(entries: &mut [Listed]) {
    entries.sort_by(|left, right| {
        let (left_stem, left_bad) = split_counter(&left.file);
        let (right_stem, right_bad) = split_counter(&right.file);
        let keyless = |entry: &Listed| entry.sort_key.is_empty();
        let by_version = || match keyless(left) {
            // Without a key the version has no say.
            true => Ordering::Equal,
            false => compare_versions(&right.version, &left.version),
        };
        left_bad
            .cmp(&right_bad)
            .then_with(|| keyless(left).cmp(&keyless(right)))
            .then_with(|| left.sort_key.cmp(&right.sort_key))
            .then_with(by_version)
            .then_with(|| compare_versions(&right_stem, &left_stem))
    });
}

/// A file name as the loader compares it, in small letters and without its counter, and whether the
/// counter says that no try is left.
fn split_counter(file: &str) -> (String, bool) {
    let name = file.to_ascii_lowercase();
    let parsed = name.strip_suffix(".efi").and_then(|stem| {
        let (stem, counter) = stem.rsplit_once('+')?;
        let (left, done) = match counter.split_once('-') {
            Some((left, done)) => (left, number(done)?),
            None => (counter, 0),
        };
        let left = number(left)?;
        (done <= COUNTER_MAXIMUM).then(|| (format!("{stem}.efi"), left == 0))
    });
    parsed.unwrap_or((name, false))
}

/// A counter: digits and nothing else, within what the loader holds.
fn number(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok())?.filter(|number| *number <= COUNTER_MAXIMUM)
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
        if let Some(order) = mark(&mut left, &mut right, b'~') {
            return order;
        }
        match (left.is_empty(), right.is_empty()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        // Behind a mark that both have, the run follows at once: a separator there is an empty run.
        for sign in *b"-^." {
            if let Some(order) = mark(&mut left, &mut right, sign) {
                return order;
            }
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

/// One mark: the side that has it ranks before the other; if both have it, it is skipped.
fn mark(left: &mut &[u8], right: &mut &[u8], sign: u8) -> Option<Ordering> {
    match (left.first() == Some(&sign), right.first() == Some(&sign)) {
        (true, true) => {
            *left = &left[1..];
            *right = &right[1..];
            None
        }
        (true, false) => Some(Ordering::Less),
        (false, true) => Some(Ordering::Greater),
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
    fn counters_are_the_last_thing_in_a_name() {
        let cases = [
            ("kiln-00000001+3-0.efi", "kiln-00000001.efi", false),
            ("KILN-00000001+0-3.EFI", "kiln-00000001.efi", true),
            ("a+0.efi", "a.efi", true),
            ("a+00-3.efi", "a.efi", true),
            ("a+1+0-2.efi", "a+1.efi", true),
            ("a+x.efi", "a+x.efi", false),
            ("a+3-.efi", "a+3-.efi", false),
            ("a+.efi", "a+.efi", false),
            ("a+0-3x.efi", "a+0-3x.efi", false),
            ("a+0-99999999999.efi", "a+0-99999999999.efi", false),
            ("a+99999999999999999999-0.efi", "a+99999999999999999999-0.efi", false),
            ("a.efi", "a.efi", false),
        ];
        for (file, stem, bad) in cases {
            assert_eq!(split_counter(file), (stem.to_owned(), bad), "{file}");
        }
    }

    #[test]
    fn files_without_a_title_or_with_another_name_are_left_out() {
        let text = "NAME=n\nID=\"kiln\"\nVERSION_ID=3\n  VERSION=2 \nIMAGE_VERSION=\n";
        let listed = Listed::read("A.EFI", text).unwrap();
        let expected = ("A.EFI", "kiln", "2");
        assert_eq!((&*listed.file, &*listed.sort_key, &*listed.version), expected);
        for (file, text) in [
            ("a.efi.new", text),
            ("a", text),
            ("auto-a.efi", text),
            (".a.efi", text),
            ("a.efi", ""),
            ("a.efi", "VERSION=3\n# ID=a\n"),
        ] {
            assert_eq!(Listed::read(file, text), None, "{file}");
        }
    }

    #[test]
    fn versions_compare_as_specified() {
        // Ascending chain of the UAPI specification's own rules.
        let ascending = [
            "~rc1", "", "-1", "1~rc1", "1", "1-_2", "1-1", "1^1", "1.0", "1.1", "1.2~x", "1.2",
            "1.10", "12",
        ];
        for pair in ascending.windows(2) {
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
    }
}
