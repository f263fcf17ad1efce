//! The text of a difference, or why it is not shown.
//!
//! `/etc` is full of secrets, and what `kiln diff` prints ends in tickets and chats. So only what
//! everybody on the machine may read is shown, private keys never, and of account files all but the
//! hashes.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use kiln_etc::accounts::{AccountFile, mask};
use kiln_etc::file::read_small;
use serde::Serialize;
use similar::TextDiff;

use crate::Error;

/// Largest file whose text is compared, in bytes; time grows with the square in the worst case.
const TEXT_MAXIMUM: u64 = 256 << 10;
/// Lines around a change.
const CONTEXT: usize = 3;
/// What every private key in text form has.
const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----";
/// Permission of all others to read.
const OTHERS_READ: u32 = 0o004;

/// A difference as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Text {
    /// Unified, the release's first.
    Shown(String),
    /// Not everybody may read the file.
    Private,
    /// It is no text in UTF-8.
    Binary,
    /// It is longer than 256 KiB.
    Large,
}

/// The text of what became of a file; `path` is below `/etc`. A file that is not there is empty.
pub(super) fn text(old: &Path, new: &Path, path: &Path) -> Result<Text, Error> {
    let account = account_file(path);
    let mut sides = Vec::new();
    for file in [old.join(path), new.join(path)] {
        let metadata = match fs::symlink_metadata(&file) {
            Ok(metadata) if metadata.is_file() => metadata,
            // A folder or a link on this side: only the other side has text.
            _ => {
                sides.push(Vec::new());
                continue;
            }
        };
        if account.is_none() && metadata.mode() & OTHERS_READ == 0 {
            return Ok(Text::Private);
        }
        let Some(bytes) = read_small(&file, TEXT_MAXIMUM)? else { return Ok(Text::Large) };
        if bytes.windows(PRIVATE_KEY.len()).any(|part| part == PRIVATE_KEY) {
            return Ok(Text::Private);
        }
        sides.push(bytes);
    }
    if let Some(account) = account {
        let mut seen = Vec::new();
        sides = sides.iter().map(|side| mask(account, side, &mut seen)).collect();
    }
    let sides: Result<Vec<String>, _> = sides.into_iter().map(String::from_utf8).collect();
    let Ok(sides) = sides else { return Ok(Text::Binary) };
    let [before, now] = &sides[..] else { return Ok(Text::Binary) };
    if before.contains('\0') || now.contains('\0') {
        return Ok(Text::Binary);
    }
    let name = format!("/etc/{}", path.display());
    let difference = TextDiff::from_lines(before, now);
    let mut unified = difference.unified_diff();
    let unified = unified.context_radius(CONTEXT);
    let (release, machine) = (format!("release{name}"), format!("machine{name}"));
    Ok(Text::Shown(unified.header(&release, &machine).to_string()))
}

/// The account file that a path is, or is a backup or a draft of (`shadow-`, `.bak`, `.orig`).
fn account_file(path: &Path) -> Option<AccountFile> {
    let name = path.to_str()?;
    AccountFile::ALL.into_iter().find(|file| {
        let rest = name.strip_prefix(file.name());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.', '+', '~']))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn secrets_are_never_shown() {
        let base = tempfile::tempdir().unwrap();
        let (old, new) = (base.path().join("old"), base.path().join("new"));
        for side in [&old, &new] {
            fs::create_dir(side).unwrap();
        }
        let write = |path: &str, mode: u32, before: &str, now: &str| {
            for (side, text) in [(&old, before), (&new, now)] {
                let file = side.join(path);
                fs::write(&file, text).unwrap();
                fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            }
            text(&old, &new, Path::new(path)).unwrap()
        };
        let key = "-----BEGIN PRIVATE KEY-----\n";
        assert_eq!(write("key", 0o644, "", key), Text::Private);
        assert_eq!(write("secret", 0o640, "a\n", "b\n"), Text::Private);
        assert_eq!(write("binary", 0o644, "", "a\0b"), Text::Binary);
        assert_eq!(write("large", 0o644, "", &"x\n".repeat(200_000)), Text::Large);
        let shadow = write(
            "shadow",
            0o640,
            "root:*:1::::::\nanna:$y$old:1::::::\n",
            "root:*:1::::::\nanna:$y$new:1::::::\n",
        );
        let expected = "--- release/etc/shadow\n+++ machine/etc/shadow\n@@ -1,2 +1,2 @@\n \
                        root:*:1::::::\n-anna:<hidden 1>:1::::::\n+anna:<hidden 2>:1::::::\n";
        assert_eq!(shadow, Text::Shown(expected.into()));
        let Text::Shown(backup) = write("shadow-", 0o600, "", "anna:$y$new:1::::::\n") else {
            panic!("backups are shown as the file is")
        };
        assert!(!backup.contains("$y$"), "{backup}");
        fs::remove_file(old.join("binary")).unwrap();
        fs::write(new.join("binary"), "now text\n").unwrap();
        let Text::Shown(added) = text(&old, &new, Path::new("binary")).unwrap() else { panic!() };
        assert!(added.ends_with("@@ -0,0 +1 @@\n+now text\n"), "{added}");
    }
}
