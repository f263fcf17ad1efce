//! Output files that appear whole or not at all.
//!
//! Every file is written under a temporary name in the output folder and renamed when all of the
//! build's files are complete: the renames in [`Outputs::commit`] are the one commit point. A build
//! that fails, is killed or fills the disk leaves the older files as they were. Temporary files
//! of a failed build are removed, and so are the folders that it made; those of a killed one carry a
//! name that says what they are.

use std::fs::File;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};

use crate::Error;
use crate::assemble::Place;

/// How names of unfinished files begin.
const UNFINISHED: &str = ".kiln-unfinished-";

/// The files of one build, none of which has its final name yet.
#[derive(Debug)]
pub(crate) struct Outputs {
    folder: PathBuf,
    files: Vec<(NamedTempFile, PathBuf)>,
    /// Behind `files`, because fields are dropped in order and only empty folders can be removed.
    made: MadeFolders,
}

/// Folders that were made for a build, outermost first. Dropping removes those that are empty.
#[derive(Debug, Default)]
struct MadeFolders(Vec<PathBuf>);

impl MadeFolders {
    /// Makes `folder` and its parents as far as they are missing.
    fn make(folder: &Path) -> Result<Self, Error> {
        let mut missing = Vec::new();
        for ancestor in folder.ancestors() {
            if ancestor.as_os_str().is_empty() || ancestor.exists() {
                break;
            }
            missing.push(ancestor);
        }
        let mut made = Self::default();
        for path in missing.into_iter().rev() {
            match std::fs::create_dir(path) {
                Ok(()) => made.0.push(path.to_owned()),
                // `a/../b` names a folder that exists once `a` does; another build may be faster.
                Err(_) if path.is_dir() => {}
                Err(source) => return Err(Error::write(path, source)),
            }
        }
        if folder.is_dir() {
            return Ok(made);
        }
        Err(Error::write(folder, std::io::ErrorKind::NotADirectory.into()))
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        for folder in self.0.iter().rev() {
            // Somebody else's file in it keeps the folder; the error that led here is the one to tell.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

impl Outputs {
    /// Files for `folder`, which is made if missing.
    pub(crate) fn new(folder: &Path) -> Result<Self, Error> {
        let made = MadeFolders::make(folder)?;
        Ok(Self { folder: folder.to_owned(), files: Vec::new(), made })
    }

    /// A new empty file that will be called `name`; reading and writing.
    pub(crate) fn create(&mut self, name: &str) -> Result<File, Error> {
        let path = self.folder.join(name);
        let file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(&self.folder)
            .map_err(|source| Error::write(&path, source))?;
        let handle = file.as_file().try_clone().map_err(|source| Error::write(&path, source))?;
        self.files.push((file, path));
        Ok(handle)
    }

    /// A file without a name for data that is needed only during the build.
    pub(crate) fn unnamed(&self) -> Result<File, Error> {
        tempfile::tempfile_in(&self.folder).map_err(|source| Error::write(&self.folder, source))
    }

    /// Makes all files durable and gives them their names. Returns the paths in order of creation.
    pub(crate) fn commit(self) -> Result<Vec<PathBuf>, Error> {
        let Self { folder, files, made } = self;
        for (file, path) in &files {
            file.as_file().sync_all().map_err(|source| Error::write(path, source))?;
            // The one foreseeable reason why a rename below could fail when others have happened.
            if path.is_dir() {
                return Err(Error::write(path, std::io::ErrorKind::IsADirectory.into()));
            }
        }
        let mut paths = Vec::with_capacity(files.len());
        for (file, path) in files {
            file.persist(&path).map_err(|error| Error::write(&path, error.error))?;
            paths.push(path);
        }
        File::open(&folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| Error::write(&folder, source))?;
        made.keep();
        Ok(paths)
    }
}

impl Place for Outputs {
    fn root(&mut self, name: &str) -> Result<File, Error> {
        self.create(&format!("{name}.root"))
    }

    fn spool(&self) -> Result<File, Error> {
        self.unnamed()
    }

    fn private_folder(&self) -> Result<TempDir, Error> {
        tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&self.folder)
            .map_err(|source| Error::write(&self.folder, source))
    }
}

#[cfg(test)]
mod tests {
    use super::Outputs;
    use std::io::Write as _;

    #[test]
    fn nothing_has_its_name_before_the_commit() {
        let folder = tempfile::tempdir().unwrap();
        let names = || {
            let mut names: Vec<_> = std::fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        let mut outputs = Outputs::new(folder.path()).unwrap();
        outputs.create("a.raw").unwrap().write_all(b"disk").unwrap();
        assert!(!names().contains(&"a.raw".to_owned()));
        drop(outputs);
        assert!(names().is_empty(), "a failed build leaves nothing: {:?}", names());

        let mut outputs = Outputs::new(folder.path()).unwrap();
        outputs.create("a.raw").unwrap().write_all(b"disk").unwrap();
        outputs.create("b.root").unwrap();
        outputs.commit().unwrap();
        assert_eq!(names(), ["a.raw", "b.root"]);
        assert_eq!(std::fs::read(folder.path().join("a.raw")).unwrap(), b"disk");
    }
    #[test]
    fn folders_made_for_a_failed_build_go_away_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b/c");
        let mut outputs = Outputs::new(&inner).unwrap();
        outputs.create("x").unwrap();
        drop(outputs);
        assert!(!folder.path().join("a").exists());

        std::fs::create_dir(folder.path().join("a")).unwrap();
        drop(Outputs::new(&inner).unwrap());
        assert!(folder.path().join("a").is_dir(), "it was there before");
        assert!(!folder.path().join("a/b").exists());

        let outputs = Outputs::new(&inner).unwrap();
        std::fs::write(inner.join("foreign"), b"").unwrap();
        drop(outputs);
        assert!(inner.join("foreign").exists(), "files of others are not touched");
    }

    #[test]
    fn nothing_is_renamed_when_one_name_is_taken_by_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("b")).unwrap();
        let mut outputs = Outputs::new(folder.path()).unwrap();
        outputs.create("a").unwrap();
        outputs.create("b").unwrap();
        let error = outputs.commit().unwrap_err();
        assert!(error.to_string().ends_with("/b"), "{error}");
        assert!(!folder.path().join("a").exists());
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), b"").unwrap();
        for path in ["a", "a/b"] {
            let error = Outputs::new(&folder.path().join(path)).unwrap_err();
            assert!(error.to_string().contains(path), "{error}");
        }
    }
}
