//! Paths as bytes, reduced to one spelling before anything compares them.
//!
//! A canonical path has no leading, trailing or double slash and no `.` component; the root is the empty path. `..` is never
//! interpreted here: what it means depends on symbolic links, so archives that use it are refused. `std::path` was dropped
//! because it keeps several spellings of one path equal only sometimes and names need not be UTF-8.

use crate::limits::Limits;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Reason(&'static str),
    NameTooLong,
    PathTooLong,
}

/// The components of a path: empty ones and `.` left out.
pub(crate) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

/// The canonical spelling of an untrusted path; absolute ones become relative to the root.
pub(crate) fn normalise(path: &[u8], limits: &Limits) -> Result<Vec<u8>, Refusal> {
    // A hostile name may be a megabyte long: bound it before walking it, with room for `./` and repeated slashes.
    if path.len() > limits.path_bytes.saturating_mul(2) {
        return Err(Refusal::PathTooLong);
    }
    let mut canonical = Vec::with_capacity(path.len());
    for name in components(path) {
        check_name(name, limits)?;
        if !canonical.is_empty() {
            canonical.push(b'/');
        }
        canonical.extend_from_slice(name);
    }
    if canonical.len() > limits.path_bytes { Err(Refusal::PathTooLong) } else { Ok(canonical) }
}

/// Whether `name` may stand in a directory.
pub(crate) fn check_name(name: &[u8], limits: &Limits) -> Result<(), Refusal> {
    if name == b".." {
        Err(Refusal::Reason("it has a `..` component"))
    } else if name.contains(&0) {
        Err(Refusal::Reason("it has a zero byte"))
    } else if name.len() > limits.name_bytes {
        Err(Refusal::NameTooLong)
    } else {
        Ok(())
    }
}

/// Canonical path split into its parent and last name; `None` for the root.
pub(crate) fn split_last(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    })
}

/// `parent/name`, or `name` at the root.
pub(crate) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(parent.len() + 1 + name.len());
    if !parent.is_empty() {
        path.extend_from_slice(parent);
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// The canonical path's proper ancestors from the root (empty) down, then the path itself.
pub(crate) fn prefixes(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let inner =
        path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at]);
    let root: Option<&[u8]> = (!path.is_empty()).then_some(b"");
    root.into_iter().chain(inner).chain(std::iter::once(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Expected<'a> = Result<&'a [u8], Refusal>;

    #[test]
    fn one_spelling_for_every_path() {
        let limits = Limits::default();
        let long = vec![b'n'; 256];
        let deep = b"d/".repeat(2049);
        let cases: [(&[u8], Expected<'_>); 11] = [
            (b"usr/bin", Ok(b"usr/bin")),
            (b"./usr//bin/", Ok(b"usr/bin")),
            (b"/etc/passwd", Ok(b"etc/passwd")),
            (b"./", Ok(b"")),
            (b"", Ok(b"")),
            (b"a/./b", Ok(b"a/b")),
            (b"a/../b", Err(Refusal::Reason("it has a `..` component"))),
            (b"..", Err(Refusal::Reason("it has a `..` component"))),
            (b"a\0b", Err(Refusal::Reason("it has a zero byte"))),
            (&long, Err(Refusal::NameTooLong)),
            (&deep, Err(Refusal::PathTooLong)),
        ];
        for (path, expected) in cases {
            assert_eq!(
                normalise(path, &limits),
                expected.map(<[u8]>::to_vec),
                "{}",
                path.escape_ascii()
            );
        }
        assert_eq!(normalise(b"...", &limits), Ok(b"...".to_vec()));
    }

    #[test]
    fn splitting_and_prefixes() {
        assert_eq!(split_last(b""), None);
        assert_eq!(split_last(b"a"), Some((&b""[..], &b"a"[..])));
        assert_eq!(split_last(b"a/b/c"), Some((&b"a/b"[..], &b"c"[..])));
        let all: Vec<&[u8]> = prefixes(b"a/bc/d").collect();
        assert_eq!(all, [&b""[..], b"a", b"a/bc", b"a/bc/d"]);
        assert_eq!(prefixes(b"").collect::<Vec<_>>(), [&b""[..]]);
        assert_eq!(join(b"", b"a"), b"a");
        assert_eq!(join(b"a", b"b"), b"a/b");
    }
}
