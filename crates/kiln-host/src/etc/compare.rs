//! Two folders compared: names, kinds, contents, owners and modes. Decides nothing, shows nothing.
//!
//! The overlay's upper half would tell the same faster, but it also has what was only copied up and is
//! as the release has it, and reading its marks needs root.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Error;

/// Deepest nesting that is compared; deeper folders than these do not fit a path.
const DEPTH_MAXIMUM: usize = 128;

/// What became of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The release does not have it.
    Added,
    /// Both have it, in different ways.
    Changed,
    /// Only the release has it.
    Removed,
}

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, socket or pipe.
    Special,
}

impl Kind {
    fn of(metadata: &Metadata) -> Self {
        let kind = metadata.file_type();
        if kind.is_file() {
            Self::File
        } else if kind.is_dir() {
            Self::Directory
        } else if kind.is_symlink() {
            Self::Link
        } else {
            Self::Special
        }
    }
}

/// In what two things of one name differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aspect {
    /// One is a file, the other a link, and so on.
    Kind,
    /// Bytes of a file, target of a link.
    Content,
    /// Permissions.
    Mode,
    /// User or group.
    Owner,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Below the two folders.
    pub(super) path: PathBuf,
    pub(super) change: Change,
    /// What it is now, or was.
    pub(super) kind: Kind,
    /// Empty unless changed.
    pub(super) aspects: Vec<Aspect>,
}

/// Everything below `path` in which `new` differs from `old`, sorted by path. `skip` leaves out a path
/// with all below it.
pub(super) fn compare(
    old: &Path,
    new: &Path,
    path: &Path,
    skip: &dyn Fn(&Path) -> bool,
) -> Result<Vec<Found>, Error> {
    let mut comparison = Comparison { old, new, skip, found: Vec::new() };
    comparison.entry(path, DEPTH_MAXIMUM)?;
    comparison.found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(comparison.found)
}

struct Comparison<'a> {
    old: &'a Path,
    new: &'a Path,
    skip: &'a dyn Fn(&Path) -> bool,
    found: Vec<Found>,
}

impl Comparison<'_> {
    fn entry(&mut self, path: &Path, depth: usize) -> Result<(), Error> {
        if (self.skip)(path) || depth == 0 {
            return Ok(());
        }
        let (old, new) = (self.old.join(path), self.new.join(path));
        let (before, now) = (look(&old)?, look(&new)?);
        let (change, kind, aspects) = match (&before, &now) {
            (None, None) => return Ok(()),
            (None, Some(now)) => (Change::Added, Kind::of(now), Vec::new()),
            (Some(before), None) => (Change::Removed, Kind::of(before), Vec::new()),
            (Some(before), Some(now)) => {
                let aspects = aspects((&old, before), (&new, now))?;
                (Change::Changed, Kind::of(now), aspects)
            }
        };
        if change != Change::Changed || !aspects.is_empty() {
            self.found.push(Found { path: path.to_owned(), change, kind, aspects });
        }
        let is_folder =
            |side: &Option<Metadata>| side.as_ref().is_some_and(|metadata| metadata.is_dir());
        let mut names = BTreeSet::new();
        for (folder, side) in [(&old, &before), (&new, &now)] {
            if is_folder(side) {
                names.extend(list(folder)?);
            }
        }
        for name in names {
            self.entry(&path.join(name), depth - 1)?;
        }
        Ok(())
    }
}

/// Metadata, links not followed; `None` where nothing is.
fn look(path: &Path) -> Result<Option<Metadata>, Error> {
    match fs::symlink_metadata(path) {
        // A deleted file, where an upper half is looked at itself.
        Ok(found) if found.file_type().is_char_device() && found.rdev() == 0 => Ok(None),
        Ok(found) => Ok(Some(found)),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(source) => Err(Error::file("look at", path, source)),
    }
}

fn list(folder: &Path) -> Result<Vec<OsString>, Error> {
    let failed = |source| Error::file("read", folder, source);
    let entries = fs::read_dir(folder).map_err(failed)?;
    entries.map(|entry| Ok(entry.map_err(failed)?.file_name())).collect()
}

fn aspects(old: (&Path, &Metadata), new: (&Path, &Metadata)) -> Result<Vec<Aspect>, Error> {
    let ((before, was), (after, now)) = (old, new);
    let mut aspects = Vec::new();
    let kind = Kind::of(now);
    if Kind::of(was) != kind {
        aspects.push(Aspect::Kind);
    } else {
        let is_other = match kind {
            Kind::File => was.len() != now.len() || !same_bytes(before, after)?,
            Kind::Link => target(before)? != target(after)?,
            Kind::Special => was.rdev() != now.rdev() || was.mode() >> 12 != now.mode() >> 12,
            Kind::Directory => false,
        };
        if is_other {
            aspects.push(Aspect::Content);
        }
        // A link's own permissions mean nothing.
        if kind != Kind::Link && was.mode() & 0o7777 != now.mode() & 0o7777 {
            aspects.push(Aspect::Mode);
        }
    }
    if (was.uid(), was.gid()) != (now.uid(), now.gid()) {
        aspects.push(Aspect::Owner);
    }
    Ok(aspects)
}

fn target(link: &Path) -> Result<PathBuf, Error> {
    fs::read_link(link).map_err(|source| Error::file("read", link, source))
}

fn same_bytes(one: &Path, other: &Path) -> Result<bool, Error> {
    let open = |path: &Path| File::open(path).map_err(|source| Error::file("read", path, source));
    let (mut left, mut right) = (open(one)?, open(other)?);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    loop {
        first.clear();
        second.clear();
        let read = |file: &mut File, into: &mut Vec<u8>, path: &Path| {
            file.take(PIECE).read_to_end(into).map_err(|source| Error::file("read", path, source))
        };
        read(&mut left, &mut first, one)?;
        read(&mut right, &mut second, other)?;
        if first != second || first.is_empty() {
            return Ok(first == second);
        }
    }
}

/// Bytes compared at once.
const PIECE: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn every_kind_of_difference_is_found_once() {
        let base = tempfile::tempdir().unwrap();
        let (old, new) = (base.path().join("old"), base.path().join("new"));
        for side in [&old, &new] {
            fs::create_dir_all(side.join("same/deep")).unwrap();
            fs::write(side.join("same/deep/file"), "x").unwrap();
            fs::write(side.join("mode"), "x").unwrap();
            fs::write(side.join("text"), vec![b'x'; 200_000]).unwrap();
        }
        fs::write(old.join("gone"), "x").unwrap();
        fs::create_dir_all(new.join("added/deep")).unwrap();
        fs::write(new.join("added/deep/file"), "x").unwrap();
        fs::set_permissions(new.join("mode"), fs::Permissions::from_mode(0o600)).unwrap();
        let mut text = vec![b'x'; 200_000];
        text[199_999] = b'y';
        fs::write(new.join("text"), text).unwrap();
        symlink("a", old.join("link")).unwrap();
        symlink("b", new.join("link")).unwrap();
        fs::create_dir(old.join("kind")).unwrap();
        fs::write(old.join("kind/inner"), "x").unwrap();
        symlink("same", new.join("kind")).unwrap();
        fs::write(new.join("skipped"), "x").unwrap();

        let found =
            compare(&old, &new, Path::new(""), &|path| path == Path::new("skipped")).unwrap();
        let found: Vec<(String, Change, Vec<Aspect>)> = found
            .into_iter()
            .map(|found| (found.path.display().to_string(), found.change, found.aspects))
            .collect();
        let is =
            |path: &str, change, aspects: &[Aspect]| (path.to_owned(), change, aspects.to_vec());
        assert_eq!(
            found,
            [
                is("added", Change::Added, &[]),
                is("added/deep", Change::Added, &[]),
                is("added/deep/file", Change::Added, &[]),
                is("gone", Change::Removed, &[]),
                is("kind", Change::Changed, &[Aspect::Kind]),
                is("kind/inner", Change::Removed, &[]),
                is("link", Change::Changed, &[Aspect::Content]),
                is("mode", Change::Changed, &[Aspect::Mode]),
                is("text", Change::Changed, &[Aspect::Content]),
            ]
        );
        let some = compare(&old, &new, Path::new("added/deep"), &|_| false).unwrap();
        assert_eq!(some.len(), 2);
        assert!(compare(&old, &new, Path::new("none"), &|_| false).unwrap().is_empty());
    }
}
