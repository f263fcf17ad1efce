//! Leaving the initramfs: free its memory, put the real root in its place.
//!
//! The initramfs is the kernel's first root and cannot be unmounted or pivoted away, so its files
//! are deleted instead. That deletion must never touch anything else: it runs only as the first
//! process, only on a ramfs or tmpfs, and never crosses into another file system.

use crate::Error;
use crate::error::failed;
use crate::mount;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// `RAMFS_MAGIC` and `TMPFS_MAGIC`, linux/magic.h: what an initramfs may be.
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x8584_58f6, 0x0102_1994];

/// Deletes the files of the initramfs, moves the mount at `new_root` over `/` and enters it.
/// Mounts that should live on must have been moved below `new_root` before.
///
/// # Errors
/// This is not the first process in an initramfs, or the kernel's answer. When it fails after the
/// deletion has begun, only a reboot is left.
pub fn switch_root(new_root: &Path) -> Result<(), Error> {
    let refuse =
        |number| failed("switch root", new_root)(std::io::Error::from_raw_os_error(number));
    if !crate::machine::is_first_process() {
        return Err(refuse(libc::EPERM));
    }
    let kind = rustix::fs::statfs("/").map_err(failed("statfs", "/"))?.f_type as u64;
    if !MEMORY_FILE_SYSTEMS.contains(&(kind & 0xffff_ffff)) {
        return Err(refuse(libc::EINVAL));
    }
    let device = fs::symlink_metadata("/").map_err(failed("stat", "/"))?.dev();
    rustix::process::chdir(new_root).map_err(failed("chdir", new_root))?;
    delete_contents(Path::new("/"), device);
    mount::move_to(Path::new("."), Path::new("/"))?;
    rustix::process::chroot(".").map_err(failed("chroot", new_root))?;
    rustix::process::chdir("/").map_err(failed("chdir", "/"))
}

/// Deletes what lies below `folder` on the file system `device`; what cannot be deleted only keeps
/// its memory, so failures are passed over.
fn delete_contents(folder: &Path, device: u64) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.dev() != device {
            continue;
        }
        if metadata.is_dir() {
            delete_contents(&path, device);
            let _ = fs::remove_dir(&path);
        } else {
            let _ = fs::remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_process_may_switch() {
        let folder = tempfile::tempdir().unwrap();
        let error = switch_root(folder.path()).unwrap_err();
        assert_eq!(error.number(), Some(libc::EPERM));
    }

    #[test]
    fn deletion_stays_on_its_file_system_and_follows_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        let gone = folder.path().join("gone");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), b"x").unwrap();
        fs::create_dir_all(gone.join("deep")).unwrap();
        fs::write(gone.join("deep/file"), b"x").unwrap();
        std::os::unix::fs::symlink(&kept, gone.join("link")).unwrap();
        let device = fs::metadata(&gone).unwrap().dev();
        delete_contents(&gone, device + 1);
        assert!(gone.join("deep/file").exists(), "another file system was entered");
        delete_contents(&gone, device);
        assert_eq!(fs::read_dir(&gone).unwrap().count(), 0);
        assert!(kept.join("file").exists(), "a link was followed");
    }
}
