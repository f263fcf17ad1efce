//! What an update changes, measured without Kiln: trees that fsck.erofs took out of two root images,
//! and the length of their new contents in zstd's own hands.
//!
//! Contents are compared wholly, by digest, wherever they lie: a file that only moved is not new. Each
//! is compressed alone, because a machine can take only whole contents from what it has, and at the
//! level that releases are pushed with, so that the ratio tells what Kiln adds and not what a level
//! saves. All of them in one stream is printed beside it: what a download would be that no machine
//! could share parts of.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use kiln_lab::Oracle;
use sha2::{Digest as _, Sha256};

use crate::bench::lab_error;
use crate::bench::measure::length;
use crate::error::Error;

/// Level of zstd that contents of a release have.
pub(super) const LEVEL: &str = "-9";

type Digest = [u8; 32];

/// A tree's files.
#[derive(Debug)]
pub(super) struct Contents {
    /// Where each distinct content is, by digest. Empty files have none.
    files: BTreeMap<Digest, PathBuf>,
    /// Bytes of all files.
    pub(super) length: u64,
}

/// New contents.
#[derive(Debug, Clone, Copy)]
pub(super) struct Changed {
    /// How many.
    pub(super) count: usize,
    /// Their bytes.
    pub(super) length: u64,
    /// Their bytes, each compressed alone.
    pub(super) compressed: u64,
    /// Their bytes, compressed as one stream.
    pub(super) stream: u64,
}

impl Contents {
    /// Takes a root image apart into `folder` and reads all of it.
    pub(super) fn of_root(root: &Path, folder: &Path) -> Result<Self, Error> {
        Oracle::new("fsck.erofs")
            .arguments(["-d1", "--no-preserve"])
            .argument(format!("--extract={}", folder.display()))
            .argument(root)
            .run()?;
        Self::of_tree(folder)
    }

    fn of_tree(folder: &Path) -> Result<Self, Error> {
        let mut contents = Self { files: BTreeMap::new(), length: 0 };
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let reading = lab_error("read", &folder);
            for entry in fs::read_dir(&folder).map_err(&reading)? {
                let path = entry.map_err(&reading)?.path();
                let kind = fs::symlink_metadata(&path).map_err(lab_error("read", &path))?;
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() && kind.len() > 0 {
                    contents.length += kind.len();
                    contents.files.insert(digest(&path).map_err(lab_error("read", &path))?, path);
                }
            }
        }
        Ok(contents)
    }

    /// What is here and not in `old`; `folder` is for copies and is removed.
    pub(super) fn changed(&self, old: &Self, folder: &Path) -> Result<Changed, Error> {
        let (plain, packed) = (folder.join("plain"), folder.join("packed"));
        for path in [&plain, &packed] {
            fs::create_dir_all(path).map_err(lab_error("create", path))?;
        }
        let known: BTreeSet<&Digest> = old.files.keys().collect();
        let all = folder.join("all");
        let writing = lab_error("write", &all);
        let mut stream = File::create(&all).map_err(&writing)?;
        let mut changed = Changed { count: 0, length: 0, compressed: 0, stream: 0 };
        for (digest, path) in &self.files {
            if known.contains(digest) {
                continue;
            }
            let copy = plain.join(changed.count.to_string());
            changed.length += fs::copy(path, &copy).map_err(lab_error("copy", path))?;
            changed.count += 1;
            let mut file = File::open(path).map_err(lab_error("read", path))?;
            io::copy(&mut file, &mut stream).map_err(&writing)?;
        }
        let zstd =
            || Oracle::new("zstd").arguments(["--quiet", "--no-check", "--no-progress", LEVEL]);
        if changed.count > 0 {
            zstd()
                .arguments(["--output-dir-flat"])
                .argument(&packed)
                .argument("-r")
                .argument(&plain)
                .run()?;
        }
        zstd().argument(&all).run()?;
        changed.stream = length(&folder.join("all.zst"))?;
        for entry in fs::read_dir(&packed).map_err(lab_error("read", &packed))? {
            changed.compressed += length(&entry.map_err(lab_error("read", &packed))?.path())?;
        }
        fs::remove_dir_all(folder).map_err(lab_error("remove", folder))?;
        Ok(changed)
    }
}

fn digest(path: &Path) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_contents_that_are_nowhere_else_are_new() {
        let folder = tempfile::tempdir().unwrap();
        let tree = |name: &str, files: &[(&str, &[u8])]| {
            let tree = folder.path().join(name);
            for (path, bytes) in files {
                let path = tree.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
            Contents::of_tree(&tree).unwrap()
        };
        let old = tree("old", &[("a", b"same"), ("b", b"old")]);
        let new = tree(
            "new",
            &[("c/d", b"same"), ("b", b"newer"), ("e", b"newer"), ("f", b""), ("g", &[7; 5000])],
        );
        assert_eq!(new.length, 4 + 5 + 5 + 5000);
        let changed = new.changed(&old, &folder.path().join("work")).unwrap();
        assert_eq!((changed.count, changed.length), (2, 5005));
        assert!(changed.compressed < 100 && changed.stream <= changed.compressed, "{changed:?}");
        assert_eq!(new.changed(&new, &folder.path().join("work")).unwrap().compressed, 0);
    }
}
