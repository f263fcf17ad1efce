//! A folder for one test, which goes when the test has passed and stays when it has failed.
//!
//! The folder of a failed test holds the disk and the transcript of its machines: the evidence.
//! Its place is printed by the errors that mention the transcript.

use std::path::{Path, PathBuf};
use std::thread;

use tempfile::TempDir;

use crate::error::{Error, file_error, has_failed};

/// A test's own folder.
#[derive(Debug)]
pub struct WorkDirectory {
    folder: Option<TempDir>,
    path: PathBuf,
}

impl WorkDirectory {
    /// Creates a folder whose name starts with `name`, in the folder for temporary files.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn new(name: &str) -> Result<Self, Error> {
        let base = std::env::temp_dir();
        let folder = tempfile::Builder::new()
            .prefix(&format!("kiln-{name}-"))
            .tempdir_in(&base)
            .map_err(file_error("create a folder in", &base))?;
        let path = folder.path().to_owned();
        Ok(Self { folder: Some(folder), path })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The place of a file in it.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for WorkDirectory {
    fn drop(&mut self) {
        // A test that returns its error has told so before this folder goes.
        if (thread::panicking() || has_failed())
            && let Some(folder) = self.folder.take()
        {
            let _kept = folder.keep();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_stays_only_after_a_failure() {
        let work = WorkDirectory::new("passes").unwrap();
        let path = work.path().to_owned();
        assert!(path.is_dir());
        drop(work);
        assert!(!path.exists());

        let work = WorkDirectory::new("fails").unwrap();
        let path = work.path().to_owned();
        let failed = thread::spawn(move || {
            let _work = work;
            panic!("on purpose");
        });
        assert!(failed.join().is_err());
        assert!(path.is_dir());
        std::fs::remove_dir(path).unwrap();
    }
}
