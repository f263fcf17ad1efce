//! The version of the state's layout, and the way from an older one.
//!
//! A state may be met by an older Kiln after a rollback and by a newer one after an upgrade. One that
//! is newer is refused and not touched: an older program would write what it understands over what it
//! does not. Each version's step forward can be repeated, and **the write of the new version is its
//! commit point**. Versions do not go down: format 2 only adds to format 1, so a release of format 1
//! still runs on it.
//!
//! | version | is |
//! |---|---|
//! | 1 | no file `kiln/format`; of the identity only the machine-id is kept |
//! | 2 | `kiln/format`; host name and host keys in `identity`, `kiln/accounts` |

use std::path::Path;

use crate::error::file;
use crate::file::{read_small, replace};
use crate::{Error, derived, identity, upper};

/// The version that this crate writes.
pub const CURRENT: u32 = 2;
/// The version of a state that does not name one.
const UNNAMED: u32 = 1;
/// Where the version stands, below the state.
const PATH: &str = "kiln/format";
/// Longest such file in bytes: a number and a line feed.
const MAXIMUM: u64 = 16;

/// The version of a state. Nothing is written.
///
/// # Errors
/// [`Error::Newer`], [`Error::Format`], [`Error::File`].
pub fn check(state: &Path) -> Result<u32, Error> {
    let path = state.join(PATH);
    if path.symlink_metadata().is_err() {
        return Ok(UNNAMED);
    }
    let text = read_small(&path, MAXIMUM)?.unwrap_or_default();
    let version = parse(&text).ok_or(Error::Format { path })?;
    if version > CURRENT {
        return Err(Error::Newer { found: version, known: CURRENT });
    }
    Ok(version)
}

/// The number in a file; versions begin at 1, and 1 itself is never written.
fn parse(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('\n')?;
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|version| is_number && *version > UNNAMED)
}

/// Brings a state to [`CURRENT`]; gives the version that it had, if that was another.
///
/// # Errors
/// As [`check`]; the state has then its old version and can be migrated again.
pub fn migrate(state: &Path) -> Result<Option<u32>, Error> {
    let version = check(state)?;
    if version == CURRENT {
        return Ok(None);
    }
    let path = state.join(PATH);
    let folder = state.join("kiln");
    std::fs::create_dir_all(&folder).map_err(file("create", &folder))?;
    one_to_two(state)?;
    // The commit point.
    replace(&path, format!("{CURRENT}\n").as_bytes(), 0o644)?;
    Ok(Some(version))
}

/// Host name and host keys become the machine's, and nested derived files, which format 1 carried
/// along, go.
fn one_to_two(state: &Path) -> Result<(), Error> {
    if let Some(last) = upper::last(state)? {
        identity::keep(&state.join("etc").join(last), None, &state.join("identity"))?;
    }
    for (name, _) in upper::present(state)? {
        derived::remove(&state.join("etc").join(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_plain_numbers() {
        let cases: [(&[u8], Option<u32>); 10] = [
            (b"2\n", Some(2)),
            (b"3\n", Some(3)),
            (b"4000000000\n", Some(4_000_000_000)),
            (b"1\n", None),
            (b"0\n", None),
            (b"2", None),
            (b"+2\n", None),
            (b"\n", None),
            (b"99999999999\n", None),
            (b"\xff\n", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
