//! What of `/etc` is not as the running release has it.

use std::path::{Component, Path, PathBuf};

use kiln_etc::derived::is_derived;
use serde::Serialize;

use super::compare::{Aspect, Change, Kind, compare};
use super::text::{Text, text};
use crate::Error;
use crate::machine::Paths;

/// The value of `format` in the report.
const FORMAT: &str = "kiln.diff.v1";

/// What to look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiffOptions {
    /// Paths in `/etc`, with or without that in front; all of it if there are none.
    pub paths: Vec<PathBuf>,
    /// Whether to compare the text of files.
    pub with_text: bool,
}

/// How `/etc` differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diff {
    format: &'static str,
    /// `persistent` or `ephemeral`: whether the changes are there after a restart.
    pub etc: &'static str,
    /// What differs, by path.
    pub changes: Vec<Difference>,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its path on the machine.
    pub path: String,
    /// What became of it.
    pub change: Change,
    /// What it is.
    pub kind: Kind,
    /// In what it differs; empty unless it was changed.
    pub aspects: Vec<Aspect>,
    /// The text, if it was asked for and this is a file with other bytes.
    pub text: Option<Text>,
}

/// Compares `/etc` with that of the release. What programs derive from the image is left out unless it
/// is named.
///
/// # Errors
/// [`Error::Refused`] for paths elsewhere and where the release's `/etc` cannot be seen,
/// [`Error::File`].
pub fn diff(paths: &Paths, options: &DiffOptions) -> Result<Diff, Error> {
    if !paths.release_etc.is_dir() {
        return Err(Error::Refused {
            reason: format!("the release's own /etc is not at {}", paths.release_etc.display()),
            hint: "this needs a system that kiln started, and not its recovery".to_owned(),
        });
    }
    let mut wanted = Vec::new();
    for path in &options.paths {
        wanted.push(below_etc(path)?);
    }
    if wanted.is_empty() {
        wanted.push(PathBuf::new());
    }
    let mut changes = Vec::new();
    for path in &wanted {
        let is_named = is_derived(path);
        let skip = |path: &Path| !is_named && is_derived(path);
        for found in compare(&paths.release_etc, &paths.etc, path, &skip)? {
            let has_text = found.kind == Kind::File
                && (found.change != Change::Changed || found.aspects.contains(&Aspect::Content));
            let text = match options.with_text && has_text {
                true => Some(text(&paths.release_etc, &paths.etc, &found.path)?),
                false => None,
            };
            changes.push(Difference {
                path: Path::new("/etc").join(&found.path).to_string_lossy().into_owned(),
                change: found.change,
                kind: found.kind,
                aspects: found.aspects,
                text,
            });
        }
    }
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    changes.dedup();
    let is_kept = !paths.ephemeral_etc.is_dir();
    Ok(Diff { format: FORMAT, etc: if is_kept { "persistent" } else { "ephemeral" }, changes })
}

/// A path as it is below `/etc`.
fn below_etc(path: &Path) -> Result<PathBuf, Error> {
    let refused = || Error::Refused {
        reason: format!("{} is not in /etc", path.display()),
        hint: "only /etc can differ from the release; all else is read-only or the machine's own"
            .to_owned(),
    };
    let below = match path.strip_prefix("/etc") {
        Ok(below) => below,
        Err(_) if path.is_absolute() => return Err(refused()),
        Err(_) => path,
    };
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !below.components().all(is_plain) {
        return Err(refused());
    }
    Ok(below.components().filter(|part| *part != Component::CurDir).collect())
}

impl Diff {
    /// The report for people: a line for each path, and its text below.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for change in &self.changes {
            let mark = match change.change {
                Change::Added => "added  ",
                Change::Changed => "changed",
                Change::Removed => "removed",
            };
            let mut line = format!("{mark}  {}", printable(&change.path));
            if change.kind == Kind::Directory {
                line.push('/');
            }
            let aspects: Vec<&str> = change
                .aspects
                .iter()
                .filter(|aspect| **aspect != Aspect::Content)
                .map(|aspect| match aspect {
                    Aspect::Kind => "kind",
                    Aspect::Content => "content",
                    Aspect::Mode => "mode",
                    Aspect::Owner => "owner",
                })
                .collect();
            if !aspects.is_empty() {
                line.push_str(&format!("  ({})", aspects.join(", ")));
            }
            match &change.text {
                None => out.push_str(&format!("{line}\n")),
                Some(Text::Shown(text)) => out.push_str(&format!("{line}\n{}", printable(text))),
                Some(Text::Private) => out.push_str(&format!("{line}  (private, not shown)\n")),
                Some(Text::Binary) => out.push_str(&format!("{line}  (not a text)\n")),
                Some(Text::Large) => out.push_str(&format!("{line}  (too long to show)\n")),
            }
        }
        out
    }
}

/// Without what a terminal would obey.
fn printable(text: &str) -> String {
    let is_obeyed = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
    text.chars().map(|letter| if is_obeyed(letter) { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn local_changes_are_told() {
        let base = tempfile::tempdir().unwrap();
        let paths = Paths::below(base.path());
        let options = |names: &[&str], with_text| DiffOptions {
            paths: names.iter().map(PathBuf::from).collect(),
            with_text,
        };
        assert!(diff(&paths, &options(&[], false)).unwrap_err().hint().is_some());
        for folder in [&paths.release_etc, &paths.etc] {
            fs::create_dir_all(folder.join("ssh")).unwrap();
            fs::write(folder.join("motd"), "hello\n").unwrap();
            fs::write(folder.join("same"), "same\n").unwrap();
        }
        assert_eq!(diff(&paths, &options(&[], true)).unwrap().to_text(), "");
        fs::write(paths.etc.join("motd"), "hello\nyou\u{1b}[2J\n").unwrap();
        fs::write(paths.etc.join("ssh/new"), "x\n").unwrap();
        fs::write(paths.etc.join("ld.so.cache"), "x\n").unwrap();
        fs::remove_file(paths.etc.join("same")).unwrap();
        let found = diff(&paths, &options(&[], false)).unwrap();
        assert_eq!(
            found.to_text(),
            "changed  /etc/motd\nremoved  /etc/same\nadded    /etc/ssh/new\n"
        );
        assert_eq!(found.etc, "persistent");
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!(json["format"], "kiln.diff.v1");
        assert_eq!(json["changes"][0]["aspects"][0], "content");

        let shown = diff(&paths, &options(&["/etc/motd", "./motd"], true)).unwrap();
        assert_eq!(
            shown.to_text(),
            "changed  /etc/motd\n--- release/etc/motd\n+++ machine/etc/motd\n@@ -1 +1,2 @@\n \
             hello\n+you\u{fffd}[2J\n"
        );
        let named = diff(&paths, &options(&["ld.so.cache"], false)).unwrap();
        assert_eq!(named.changes.len(), 1);
        for path in ["/var", "../var", "/etc/../var"] {
            assert!(diff(&paths, &options(&[path], false)).is_err(), "{path}");
        }
        fs::create_dir_all(&paths.ephemeral_etc).unwrap();
        assert_eq!(diff(&paths, &options(&["motd"], false)).unwrap().etc, "ephemeral");
    }
}
