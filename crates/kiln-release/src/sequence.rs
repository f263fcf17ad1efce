//! The integer that alone decides which of two releases is newer.
//!
//! Version strings are for people: `1.10` and `1.9`, `2024-b` and `trixie` have no order that all
//! projects agree on, so nothing in Kiln ever compares them. A sequence is never guessed from a
//! clock of the building machine: two builds of one image must be equal byte for byte.

use serde::{Deserialize, Serialize};

/// A release's place in the order of releases of one system; larger is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The sequence of an image that states none: the second in which the container image was
    /// created, read from an RFC 3339 time in UTC as container configurations carry it
    /// (OCI image specification, image configuration, `created`). Anything else gives 0.
    #[must_use]
    pub fn from_created(created: Option<&str>) -> Self {
        Self(created.and_then(seconds_since_epoch).unwrap_or(0))
    }
}

impl std::fmt::Display for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Seconds since 1970 of `YYYY-MM-DDTHH:MM:SS[.fraction]Z`; `None` for any other form, for times
/// before 1970 and for offsets other than UTC.
pub(crate) fn seconds_since_epoch(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| -> Option<u64> {
        let digits = text.get(range)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        digits.parse().ok()
    };
    let bytes = text.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, byte)| bytes.get(at) != Some(&byte)) {
        return None;
    }
    let fraction = text.get(19..)?.strip_suffix('Z')?;
    let fraction_is_valid = fraction.is_empty()
        || fraction.strip_prefix('.').is_some_and(|digits| {
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let in_range = year >= 1970
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !fraction_is_valid || !in_range {
        return None;
    }
    Some(days_since_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, `year` at least 1970. The year is
/// counted from March, so that the leap day is its last.
fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days_to_month = (153 * month + 2) / 5;
    // 719,468 days lie between March 1 of the year 0 and 1970-01-01.
    year * 365 + leap_days + days_to_month + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::Sequence;

    #[test]
    fn the_sequence_is_the_second_of_creation() {
        let cases = [
            (Some("1970-01-01T00:00:00Z"), 0),
            (Some("2000-02-29T12:34:56Z"), 951_827_696),
            (Some("2026-11-21T00:00:00.123456789Z"), 1_795_219_200),
            (Some("2026-11-21T00:00:00+01:00"), 0),
            (Some("2026-13-21T00:00:00Z"), 0),
            (Some("2026-11-21T00:00:00.Z"), 0),
            (Some("+026-11-21T00:00:00Z"), 0),
            (Some(""), 0),
            (None, 0),
        ];
        for (created, expected) in cases {
            assert_eq!(Sequence::from_created(created), Sequence(expected), "{created:?}");
        }
    }
}
