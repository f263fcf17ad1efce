//! Small files: read with a bound, replaced whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::error::file;

/// The bytes of a regular file of at most `maximum` bytes, links not followed; `None` for anything
/// else.
///
/// # Errors
/// [`Error::File`] when it is there and cannot be read.
pub fn read_small(path: &Path, maximum: u64) -> Result<Option<Vec<u8>>, Error> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.len() <= maximum => {}
        Ok(_) => return Ok(None),
        Err(error) if is_missing(&error) => return Ok(None),
        Err(source) => return Err(file("look at", path)(source)),
    }
    let mut bytes = Vec::new();
    let reader = File::open(path).map_err(file("open", path))?;
    reader.take(maximum + 1).read_to_end(&mut bytes).map_err(file("read", path))?;
    Ok((bytes.len() as u64 <= maximum).then_some(bytes))
}

/// Whether nothing has this name.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Writes a small file with this mode so that it has the old or the new content, whatever happens. A
/// link with its name is replaced, not followed.
///
/// # Errors
/// [`Error::File`]; the old content is then still there.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let mut partial: PathBuf = path.to_owned();
    partial.as_mut_os_string().push(".new");
    let write = || -> io::Result<()> {
        match fs::remove_file(&partial) {
            Err(error) if !is_missing(&error) => return Err(error),
            _ => {}
        }
        let mut new = File::options().write(true).create_new(true).mode(mode).open(&partial)?;
        // The mask of the process took bits away.
        new.set_permissions(fs::Permissions::from_mode(mode))?;
        new.write_all(bytes)?;
        new.sync_all()?;
        // The commit point.
        fs::rename(&partial, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().map_err(file("write", path))
}

/// Removes a file or a folder with all below it, links not followed; it need not be there.
///
/// # Errors
/// [`Error::File`].
pub fn remove(path: &Path) -> Result<(), Error> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if !is_missing(&error) => Err(file("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Brings a folder's names onto the disk.
///
/// # Errors
/// The folder cannot be opened or written back.
pub fn sync_folder(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(file("write back", path))
}
