//! Byte ranges (RFC 9110 section 14): which bytes of a blob a `Range` header asks for.
//!
//! Pure: a header and a length in, half-open intervals out.

/// How the registry takes `Range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ranges {
    /// As if the header were not there.
    Ignored,
    /// One range gives 206; several give the whole blob with 200, as the standard allows.
    #[default]
    Single,
    /// One range gives 206; several give 416.
    SingleOrRefused,
    /// One range gives 206, several give 206 with `multipart/byteranges`.
    Several,
}

/// What is to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Selection {
    Whole,
    /// Start and end (exclusive) of each part.
    Parts(Vec<(u64, u64)>),
    /// 416.
    Unsatisfiable,
}

/// Applies `header` to a blob of `length` bytes. Malformed headers are ignored, as the standard asks.
pub(super) fn select(header: Option<&str>, length: u64, policy: Ranges) -> Selection {
    let Some(list) = header.and_then(|header| header.strip_prefix("bytes=")) else {
        return Selection::Whole;
    };
    if policy == Ranges::Ignored {
        return Selection::Whole;
    }
    let mut parts = Vec::new();
    let mut count = 0;
    for spec in list.split(',') {
        let Some(part) = parse(spec.trim(), length) else { return Selection::Whole };
        count += 1;
        parts.extend(part);
    }
    match policy {
        Ranges::Single if count > 1 => Selection::Whole,
        Ranges::SingleOrRefused if count > 1 => Selection::Unsatisfiable,
        _ if parts.is_empty() => Selection::Unsatisfiable,
        _ => Selection::Parts(parts),
    }
}

/// `None` if malformed, `Some(None)` if nothing of it exists.
fn parse(spec: &str, length: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = spec.split_once('-')?;
    let (start, end) = match (first, last) {
        ("", suffix) => (length.saturating_sub(suffix.parse().ok()?), length),
        (first, "") => (first.parse().ok()?, length),
        (first, last) => {
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            if last < first {
                return None;
            }
            (first, last.saturating_add(1).min(length))
        }
    };
    Some((start < end).then_some((start, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ten_bytes() {
        use Ranges::{Ignored, Several, Single, SingleOrRefused};
        let parts = |parts: &[(u64, u64)]| Selection::Parts(parts.to_vec());
        for (header, policy, expected) in [
            (None, Single, Selection::Whole),
            (Some("bytes=4-"), Single, parts(&[(4, 10)])),
            (Some("bytes=4-"), Ignored, Selection::Whole),
            (Some("bytes=2-3"), Single, parts(&[(2, 4)])),
            (Some("bytes=2-99"), Single, parts(&[(2, 10)])),
            (Some("bytes=-3"), Single, parts(&[(7, 10)])),
            (Some("bytes=10-"), Single, Selection::Unsatisfiable),
            (Some("bytes=3-2"), Single, Selection::Whole),
            (Some("lines=1-2"), Single, Selection::Whole),
            (Some("bytes=0-0, 5-6"), Single, Selection::Whole),
            (Some("bytes=0-0, 5-6"), SingleOrRefused, Selection::Unsatisfiable),
            (Some("bytes=0-0, 5-6,50-"), Several, parts(&[(0, 1), (5, 7)])),
        ] {
            assert_eq!(select(header, 10, policy), expected, "{header:?} {policy:?}");
        }
    }
}
