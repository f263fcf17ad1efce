//! Copying a folder as it is, and only wholly: under another name first, then renamed.
//!
//! Used for `/var` of a new machine and for `/etc` of a new release. Owners, modes, times, device
//! nodes, hard links and extended attributes are kept, because the upper half of an overlay means
//! things by them: a device 0:0 is a deleted file, an attribute makes a folder hide the one below. What
//! ties the upper half to the *old* release's files is left out.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::error::file;
use crate::file::{remove, sync_folder};

/// Deepest nesting that is copied, so that a damaged tree ends in an error and not in a full stack.
const DEPTH_MAXIMUM: usize = 128;
/// Attributes by which overlayfs remembers files of the old lower half (overlayfs.rst, "Inode
/// properties"); in another they would name anything.
const TIES: [&[u8]; 4] = [
    b"trusted.overlay.origin",
    b"trusted.overlay.impure",
    b"trusted.overlay.nlink",
    b"trusted.overlay.uuid",
];

/// Copies `from` to `to`, leaving out what `without` says of paths below `from`. `to` exists
/// afterwards wholly or not at all, also after a power cut.
///
/// # Errors
/// Reading or writing fails; what was copied so far is under a name that the next try replaces.
pub fn folder(from: &Path, to: &Path, without: &dyn Fn(&Path) -> bool) -> Result<(), Error> {
    commit(&draft(from, to, without)?, to)
}

/// The first half of [`folder`]: copies under a temporary name beside `to`, and gives that.
///
/// # Errors
/// As [`folder`].
pub fn draft(from: &Path, to: &Path, without: &dyn Fn(&Path) -> bool) -> Result<PathBuf, Error> {
    let mut partial = to.to_owned();
    partial.as_mut_os_string().push(".new");
    remove(&partial)?;
    let mut copy = Copy { from, without, linked: BTreeMap::new() };
    copy.folder(from, &partial, DEPTH_MAXIMUM)?;
    Ok(partial)
}

/// The second half of [`folder`]: brings a draft onto the disk and gives it its name.
///
/// # Errors
/// As [`folder`].
pub fn commit(draft: &Path, to: &Path) -> Result<(), Error> {
    kiln_sys::machine::write_back_file_system(draft)?;
    // The commit point.
    fs::rename(draft, to).map_err(file("rename", draft))?;
    to.parent().map_or(Ok(()), sync_folder)
}

/// Copies one thing, a folder with all in it, to a name that nothing has.
pub(crate) fn one(from: &Path, to: &Path) -> Result<(), Error> {
    let mut copy = Copy { from, without: &|_| false, linked: BTreeMap::new() };
    copy.entry(from, to, DEPTH_MAXIMUM)
}

/// A copy under way.
struct Copy<'a> {
    from: &'a Path,
    without: &'a dyn Fn(&Path) -> bool,
    /// Copies of files with several names, by device and inode.
    linked: BTreeMap<(u64, u64), PathBuf>,
}

impl Copy<'_> {
    fn folder(&mut self, from: &Path, to: &Path, depth: usize) -> Result<(), Error> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(file("copy", from)(std::io::Error::other("nested too deeply")));
        };
        fs::create_dir(to).map_err(file("create", to))?;
        for entry in fs::read_dir(from).map_err(file("read", from))? {
            let entry = entry.map_err(file("read", from))?;
            let path = entry.path();
            if !path.strip_prefix(self.from).is_ok_and(self.without) {
                self.entry(&path, &to.join(entry.file_name()), depth)?;
            }
        }
        let metadata = fs::symlink_metadata(from).map_err(file("look at", from))?;
        copy_metadata(from, &metadata, to)
    }

    fn entry(&mut self, from: &Path, to: &Path, depth: usize) -> Result<(), Error> {
        let metadata = fs::symlink_metadata(from).map_err(file("look at", from))?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            return self.folder(from, to, depth);
        }
        let number = (metadata.dev(), metadata.ino());
        if metadata.nlink() > 1 {
            if let Some(first) = self.linked.get(&number) {
                return fs::hard_link(first, to).map_err(file("create", to));
            }
            self.linked.insert(number, to.to_owned());
        }
        if kind.is_file() {
            fs::copy(from, to).map_err(file("copy", from))?;
        } else if kind.is_symlink() {
            let target = fs::read_link(from).map_err(file("read", from))?;
            std::os::unix::fs::symlink(target, to).map_err(file("create", to))?;
        } else {
            kiln_sys::inode::make_node(to, &metadata)?;
        }
        copy_metadata(from, &metadata, to)
    }
}

/// Gives `to` owner, mode, times and attributes of `from`.
pub(crate) fn copy_metadata(from: &Path, metadata: &Metadata, to: &Path) -> Result<(), Error> {
    kiln_sys::inode::copy_attributes(from, to, |name| !TIES.contains(&name))?;
    Ok(kiln_sys::inode::copy_metadata(to, metadata)?)
}

/// Makes the folder `path` with owner, mode and attributes of `like`, if it is not there.
///
/// # Errors
/// The kernel's answer.
pub fn ensure_folder_like(path: &Path, like: &Path) -> Result<(), Error> {
    if !path.is_dir() {
        fs::create_dir_all(path).map_err(file("create", path))?;
        let metadata = fs::symlink_metadata(like).map_err(file("look at", like))?;
        copy_metadata(like, &metadata, path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_copy_is_whole_and_leaves_out_what_it_should() {
        let base = tempfile::tempdir().unwrap();
        let (from, to) = (base.path().join("from"), base.path().join("to"));
        fs::create_dir_all(from.join("deep/ld.so.cache")).unwrap();
        fs::write(from.join("ld.so.cache"), b"derived").unwrap();
        fs::write(from.join("deep/file"), b"text").unwrap();
        fs::set_permissions(from.join("deep/file"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::hard_link(from.join("deep/file"), from.join("second-name")).unwrap();
        symlink("deep/file", from.join("link")).unwrap();
        // A deleted file, as overlayfs writes it.
        let status = std::process::Command::new("mknod")
            .arg(from.join("gone"))
            .args(["c", "0", "0"])
            .status();
        let has_whiteout = status.is_ok_and(|status| status.success());
        // Left behind by a copy that a power cut ended.
        fs::create_dir(base.path().join("to.new")).unwrap();
        fs::write(base.path().join("to.new/stale"), b"x").unwrap();

        folder(&from, &to, &|path| path == Path::new("ld.so.cache")).unwrap();
        assert!(!to.join("ld.so.cache").exists() && !to.join("stale").exists());
        assert!(to.join("deep/ld.so.cache").is_dir(), "only this path is left out");
        assert_eq!(fs::read(to.join("link")).unwrap(), b"text");
        let (a, b) = (fs::metadata(from.join("deep/file")), fs::metadata(to.join("deep/file")));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!((a.mode(), a.mtime_nsec()), (b.mode(), b.mtime_nsec()));
        assert_eq!(fs::metadata(to.join("second-name")).unwrap().ino(), b.ino());
        assert_ne!(a.ino(), b.ino());
        if has_whiteout {
            let gone = fs::symlink_metadata(to.join("gone")).unwrap();
            assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
        }
        assert!(!base.path().join("to.new").exists());
        assert!(folder(&base.path().join("none"), &base.path().join("x"), &|_| false).is_err());
    }

    #[test]
    fn endless_depth_is_an_error() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir_all(base.path().join("a/b/c")).unwrap();
        let from = base.path().join("a");
        let copy = |to: &str, depth| {
            let mut copy = Copy { from: &from, without: &|_| false, linked: BTreeMap::new() };
            copy.folder(&from, &base.path().join(to), depth)
        };
        assert!(copy("x", 2).is_err());
        assert!(copy("y", 3).is_ok());
    }
}
