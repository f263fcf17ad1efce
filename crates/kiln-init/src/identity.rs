//! Who this machine is: the machine-id, made once and kept outside of every release.
//!
//! Form: machine-id(5). It is written before systemd starts, so systemd never sees a "first boot" of
//! its own and never resets which units the image has enabled.

use crate::Error;
use crate::error::file;
use crate::overlay::replace_file;
use std::fs;
use std::path::Path;

/// Hexadecimal digits of a machine-id.
const DIGITS: usize = 32;

/// The identity in the content of a machine-id file; `None` for an empty, `uninitialized` or damaged
/// one.
#[must_use]
pub fn parse(text: &str) -> Option<&str> {
    let text = text.trim_end_matches('\n');
    let valid = text.len() == DIGITS
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        && text.bytes().any(|byte| byte != b'0');
    valid.then_some(text)
}

/// A new identity from random bytes, marked as a random UUID like systemd's own (RFC 9562,
/// version 4).
#[must_use]
pub fn from_random(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    kiln_verity::encode_hex(&bytes)
}

/// Makes the identity if there is none, and gives it to a root that has none.
pub(crate) fn establish(sysroot: &Path) -> Result<(), Error> {
    let kept = sysroot.join("state/identity/machine-id");
    let text = fs::read_to_string(&kept).unwrap_or_default();
    let identity = match parse(&text) {
        Some(identity) => identity.to_owned(),
        None => {
            let identity = from_random(kiln_sys::machine::random()?);
            replace_file(&kept, format!("{identity}\n").as_bytes())?;
            identity
        }
    };
    let shown = sysroot.join("etc/machine-id");
    let present = match fs::read_to_string(&shown) {
        Ok(text) => parse(&text).is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(file("read", &shown)(error)),
    };
    if !present && sysroot.join("etc").is_dir() {
        fs::write(&shown, format!("{identity}\n")).map_err(file("write", &shown))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_real_identity_counts() {
        let good = "0123456789abcdef0123456789abcdef";
        let cases = [
            (format!("{good}\n"), Some(good)),
            (good.to_owned(), Some(good)),
            (String::new(), None),
            ("uninitialized\n".to_owned(), None),
            ("0".repeat(32), None),
            ("A".repeat(32), None),
            (format!("{good}0"), None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(&text), expected, "{text:?}");
        }
        let made = from_random([0xff; 16]);
        assert_eq!(made, "ffffffffffff4fffbfffffffffffffff");
        assert!(parse(&made).is_some());
    }

    #[test]
    fn it_is_made_once_and_fills_only_what_is_empty() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("state/identity")).unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        let shown = root.path().join("etc/machine-id");
        fs::write(&shown, "uninitialized\n").unwrap();
        establish(root.path()).unwrap();
        let first = fs::read_to_string(&shown).unwrap();
        assert!(parse(&first).is_some(), "{first:?}");
        fs::remove_file(&shown).unwrap();
        establish(root.path()).unwrap();
        assert_eq!(fs::read_to_string(&shown).unwrap(), first);
        let other = "1".repeat(32);
        fs::write(&shown, &other).unwrap();
        establish(root.path()).unwrap();
        assert_eq!(fs::read_to_string(&shown).unwrap(), other);
    }
}
