//! What std cannot copy of a file: device nodes, owners of links, times and extended attributes.
//!
//! Needed to copy the upper half of an overlay, where a deleted file is a character device 0:0 and a
//! replaced folder has an attribute that only root sees. Programs of the image (`cp -a`) were
//! dropped: an image need not have them.

use crate::Error;
use crate::error::failed;
use rustix::fs::{AtFlags, CWD, FileType, Mode, RenameFlags, Timespec, Timestamps, XattrFlags};
use std::ffi::CString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// `XATTR_SIZE_MAX` and `XATTR_LIST_MAX`, linux/limits.h, in bytes.
const ATTRIBUTE_MAXIMUM: usize = 65_536;

/// Makes a device node, FIFO or socket like the one that `like` describes.
///
/// # Errors
/// The kernel's answer, or a kind that is none of these.
pub fn make_node(path: &Path, like: &Metadata) -> Result<(), Error> {
    let kind = FileType::from_raw_mode(like.mode());
    let mode = Mode::from_raw_mode(like.mode() & 0o7777);
    rustix::fs::mknodat(CWD, path, kind, mode, like.rdev()).map_err(failed("mknod", path))
}

/// Gives `path` (a link itself, not its target) the owner, mode and modification time of `like`.
///
/// # Errors
/// The kernel's answer.
pub fn copy_metadata(path: &Path, like: &Metadata) -> Result<(), Error> {
    let (owner, group) =
        (rustix::fs::Uid::from_raw(like.uid()), rustix::fs::Gid::from_raw(like.gid()));
    rustix::fs::chownat(CWD, path, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed("chown", path))?;
    if !like.file_type().is_symlink() {
        // After the change of owner, which clears set-user-id bits.
        let mode = Mode::from_raw_mode(like.mode() & 0o7777);
        rustix::fs::chmod(path, mode).map_err(failed("chmod", path))?;
    }
    let time = Timespec { tv_sec: like.mtime(), tv_nsec: like.mtime_nsec() };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed("utimensat", path))
}

/// Copies the extended attributes of `from` (a link itself) whose names satisfy `keep` to `to`.
///
/// # Errors
/// The kernel's answer; a file system without attributes on the source side is no error.
pub fn copy_attributes(from: &Path, to: &Path, keep: impl Fn(&[u8]) -> bool) -> Result<(), Error> {
    let mut names = vec![0_u8; ATTRIBUTE_MAXIMUM];
    let length = match rustix::fs::llistxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(failed("llistxattr", from)(error)),
    };
    let mut value = Vec::new();
    for name in names[..length.min(ATTRIBUTE_MAXIMUM)].split(|&byte| byte == 0) {
        if name.is_empty() || !keep(name) {
            continue;
        }
        let Ok(name) = CString::new(name) else { continue };
        value.resize(ATTRIBUTE_MAXIMUM, 0);
        let length = rustix::fs::lgetxattr(from, name.as_c_str(), &mut value[..])
            .map_err(failed("lgetxattr", from))?;
        rustix::fs::lsetxattr(to, name.as_c_str(), &value[..length], XattrFlags::empty())
            .map_err(failed("lsetxattr", to))?;
    }
    Ok(())
}

/// Whether `path` (a link itself) has an extended attribute of this name.
#[must_use]
pub fn has_attribute(path: &Path, name: &str) -> bool {
    let mut value = [0_u8; 1];
    // A value longer than the buffer is there as well.
    matches!(
        rustix::fs::lgetxattr(path, name, &mut value[..]),
        Ok(_) | Err(rustix::io::Errno::RANGE)
    )
}

/// Exchanges two names of one file system in one step (`RENAME_EXCHANGE`, rename(2)).
///
/// # Errors
/// The kernel's answer; both names are as before then.
pub fn exchange(one: &Path, other: &Path) -> Result<(), Error> {
    rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)
        .map_err(failed("exchange", one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn mode_and_time_arrive_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, b"x").unwrap();
        rustix::fs::chmod(&from, Mode::from_raw_mode(0o741)).unwrap();
        fs::write(&to, b"y").unwrap();
        let like = fs::metadata(&from).unwrap();
        copy_metadata(&to, &like).unwrap();
        copy_attributes(&from, &to, |_| true).unwrap();
        let now = fs::metadata(&to).unwrap();
        assert_eq!((now.mode(), now.mtime_nsec()), (like.mode(), like.mtime_nsec()));

        let link = folder.path().join("link");
        std::os::unix::fs::symlink("to", &link).unwrap();
        let like = fs::symlink_metadata(&link).unwrap();
        copy_metadata(&link, &like).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().mode(), now.mode());

        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let copy = folder.path().join("copy");
        make_node(&copy, &fs::symlink_metadata(&pipe).unwrap()).unwrap();
        assert_eq!(fs::symlink_metadata(&copy).unwrap().mode() & 0o170_000, 0o010_000);
    }
}
