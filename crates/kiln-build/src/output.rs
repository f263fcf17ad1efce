//! Output files that appear whole or not at all.
//!
//! Every file is written under a temporary name in the output folder and renamed when all of the
//! build's files are complete: the renames in [`Outputs::commit`] are the one commit point. A build
//! that fails, is killed or fills the disk leaves the older files as they were. Temporary files
//! of a failed build are removed; those of a killed one carry a name that says what they are.

use std::fs::File;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::Error;

/// The files of one build, none of which has its final name yet.
#[derive(Debug)]
pub(crate) struct Outputs {
    folder: PathBuf,
    files: Vec<(NamedTempFile, PathBuf)>,
}

impl Outputs {
    /// Files for `folder`, which is made if missing.
    pub(crate) fn new(folder: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(folder).map_err(|source| Error::write(folder, source))?;
        Ok(Self { folder: folder.to_owned(), files: Vec::new() })
    }

    /// A new empty file that will be called `name`; reading and writing.
    pub(crate) fn create(&mut self, name: &str) -> Result<File, Error> {
        let path = self.folder.join(name);
        let file = tempfile::Builder::new()
            .prefix(".kiln-unfinished-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(&self.folder)
            .map_err(|source| Error::write(&path, source))?;
        let handle = file.as_file().try_clone().map_err(|source| Error::write(&path, source))?;
        self.files.push((file, path));
        Ok(handle)
    }

    /// A file without a name for data that is needed only during the build.
    pub(crate) fn spool(&self) -> Result<File, Error> {
        tempfile::tempfile_in(&self.folder).map_err(|source| Error::write(&self.folder, source))
    }

    /// Makes all files durable and gives them their names. Returns the paths in order of creation.
    pub(crate) fn commit(self) -> Result<Vec<PathBuf>, Error> {
        for (file, path) in &self.files {
            file.as_file().sync_all().map_err(|source| Error::write(path, source))?;
        }
        let mut paths = Vec::with_capacity(self.files.len());
        for (file, path) in self.files {
            file.persist(&path).map_err(|error| Error::write(&path, error.error))?;
            paths.push(path);
        }
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| Error::write(&self.folder, source))?;
        Ok(paths)
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
}
