//! GRUB's folder of modules, wherever it is: in an image that is being built, or on a machine.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::format::FILE_LIMIT;
use crate::Error;

/// Where distributions have the folder, from the root: Debian, Ubuntu, Fedora, Alpine and Arch;
/// openSUSE; and what was before.
pub const FOLDERS: &[&str] =
    &["usr/lib/grub/i386-pc", "usr/share/grub2/i386-pc", "usr/lib/grub2/i386-pc"];

/// A folder that holds GRUB for BIOS.
pub trait Folder {
    /// Its path, for messages.
    fn path(&self) -> String;

    /// The file of this name, which has no folder in it; none if there is no such file. More than
    /// `limit` bytes need not be read.
    ///
    /// # Errors
    /// What reading reports.
    fn read(&self, file: &str, limit: usize) -> io::Result<Option<Vec<u8>>>;
}

/// A folder of the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory(PathBuf);

impl Directory {
    /// This folder.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl Folder for Directory {
    fn path(&self) -> String {
        self.0.display().to_string()
    }

    fn read(&self, file: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.0.join(file)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take((limit as u64).saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }
}

/// Reads a file that may be missing.
pub(super) fn find(folder: &dyn Folder, file: &str) -> Result<Option<Vec<u8>>, Error> {
    let path = || format!("{}/{file}", folder.path());
    let bytes =
        folder.read(file, FILE_LIMIT).map_err(|source| Error::Read { path: path(), source })?;
    match bytes {
        Some(bytes) if bytes.len() > FILE_LIMIT => {
            Err(Error::TooLarge { path: path(), size: bytes.len(), limit: FILE_LIMIT })
        }
        bytes => Ok(bytes),
    }
}

/// Reads a file that must be there.
pub(super) fn read(folder: &dyn Folder, file: &str) -> Result<Vec<u8>, Error> {
    let missing = || Error::MissingFile { file: format!("{}/{file}", folder.path()) };
    find(folder, file)?.ok_or_else(missing)
}
