//! Copying a folder as it is, and only wholly: under another name first, then renamed.
//!
//! Used for `/var` of a new machine and for `/etc` of a new release. Owners, modes, times, device
//! nodes, links and extended attributes are kept, because the upper half of an overlay means things
//! by them; hard links become files of their own.

use crate::Error;
use crate::error::file;
use std::fs;
use std::path::Path;

/// Deepest nesting that is copied, so that a damaged tree ends in an error and not in a full stack.
const DEPTH_MAXIMUM: usize = 128;

/// Copies `from` to `to`, leaving out entries of the top folder named in `without`. `to` exists
/// afterwards wholly or not at all, also after a power cut.
///
/// # Errors
/// Reading or writing fails; what was copied so far is under a name that the next try replaces.
pub fn folder(from: &Path, to: &Path, without: &[&str]) -> Result<(), Error> {
    let mut partial = to.as_os_str().to_owned();
    partial.push(".new");
    let partial = Path::new(&partial);
    if partial.symlink_metadata().is_ok() {
        fs::remove_dir_all(partial).map_err(file("remove", partial))?;
    }
    copy_folder(from, partial, without, DEPTH_MAXIMUM)?;
    kiln_sys::machine::write_back_file_system(partial)?;
    fs::rename(partial, to).map_err(file("rename", partial))
}

fn copy_folder(from: &Path, to: &Path, without: &[&str], depth: usize) -> Result<(), Error> {
    let Some(depth) = depth.checked_sub(1) else {
        let source = std::io::Error::other("nested too deeply");
        return Err(file("copy", from)(source));
    };
    fs::create_dir(to).map_err(file("create", to))?;
    for entry in fs::read_dir(from).map_err(file("read", from))? {
        let entry = entry.map_err(file("read", from))?;
        let name = entry.file_name();
        if without.iter().any(|left_out| name == *left_out) {
            continue;
        }
        copy_entry(&entry.path(), &to.join(&name), depth)?;
    }
    copy_metadata(from, to)
}

fn copy_entry(from: &Path, to: &Path, depth: usize) -> Result<(), Error> {
    let metadata = fs::symlink_metadata(from).map_err(file("look at", from))?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        return copy_folder(from, to, &[], depth);
    }
    if kind.is_file() {
        fs::copy(from, to).map_err(file("copy", from))?;
    } else if kind.is_symlink() {
        let target = fs::read_link(from).map_err(file("read", from))?;
        std::os::unix::fs::symlink(target, to).map_err(file("create", to))?;
    } else {
        kiln_sys::inode::make_node(to, &metadata)?;
    }
    copy_metadata(from, to)
}

fn copy_metadata(from: &Path, to: &Path) -> Result<(), Error> {
    let metadata = fs::symlink_metadata(from).map_err(file("look at", from))?;
    kiln_sys::inode::copy_attributes(from, to)?;
    Ok(kiln_sys::inode::copy_metadata(to, &metadata)?)
}

/// Makes the folder `path` with owner, mode and attributes of `like`, if it is not there.
///
/// # Errors
/// The kernel's answer.
pub fn ensure_folder_like(path: &Path, like: &Path) -> Result<(), Error> {
    if !path.is_dir() {
        fs::create_dir_all(path).map_err(file("create", path))?;
        copy_metadata(like, path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn a_copy_is_whole_and_leaves_out_what_it_should() {
        let base = tempfile::tempdir().unwrap();
        let (from, to) = (base.path().join("from"), base.path().join("to"));
        fs::create_dir_all(from.join("deep/ld.so.cache")).unwrap();
        fs::write(from.join("ld.so.cache"), b"derived").unwrap();
        fs::write(from.join("deep/file"), b"text").unwrap();
        fs::set_permissions(from.join("deep/file"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("deep/file", from.join("link")).unwrap();
        // Left behind by a copy that a power cut ended.
        fs::create_dir(base.path().join("to.new")).unwrap();
        fs::write(base.path().join("to.new/stale"), b"x").unwrap();

        folder(&from, &to, &["ld.so.cache"]).unwrap();
        assert!(!to.join("ld.so.cache").exists() && !to.join("stale").exists());
        assert!(to.join("deep/ld.so.cache").is_dir(), "only the top folder is filtered");
        assert_eq!(fs::read(to.join("link")).unwrap(), b"text");
        let (a, b) = (fs::metadata(from.join("deep/file")), fs::metadata(to.join("deep/file")));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!((a.mode(), a.mtime_nsec()), (b.mode(), b.mtime_nsec()));
        assert!(!base.path().join("to.new").exists());
        assert!(folder(&base.path().join("none"), &base.path().join("x"), &[]).is_err());
    }

    #[test]
    fn endless_depth_is_an_error() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir_all(base.path().join("a/b/c")).unwrap();
        assert!(copy_folder(&base.path().join("a"), &base.path().join("x"), &[], 2).is_err());
        assert!(copy_folder(&base.path().join("a"), &base.path().join("y"), &[], 3).is_ok());
    }
}
