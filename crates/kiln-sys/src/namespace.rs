//! A view of the file systems that belongs to one thread and what it starts.
//!
//! For work that mounts things only as long as it runs: whatever ends the process, nobody else ever saw
//! the mounts and the kernel takes them away. A child process that does the same was dropped: the
//! caller's values would have to travel to it and back.

use std::path::Path;

use rustix::mount::{MountFlags, mount_remount};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::Error;
use crate::error::failed;
use crate::mount::{bind, make_private};

/// Gives the calling thread, and what it starts from now on, mounts of its own: what it mounts is seen
/// nowhere else, what others mount is not seen here. Its working folder becomes its own, too. It cannot
/// be taken back, so call it from a thread that ends with the work.
///
/// # Errors
/// The kernel's answer, `EPERM` without the right to mount.
pub fn own_mounts() -> Result<(), Error> {
    // SAFETY: what makes unshare(2) unsafe is CLONE_FILES, which is not among the flags: file
    // descriptors stay shared by all threads.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.map_err(failed("unshare", "mounts"))?;
    make_private(Path::new("/"))
}

/// Shows what is at `source`, without mounts below it, also at `target`, where it cannot be written.
///
/// # Errors
/// The kernel's answer; `target` may be bound and writable then.
pub fn bind_read_only(source: &Path, target: &Path) -> Result<(), Error> {
    bind(source, target)?;
    mount_remount(target, MountFlags::BIND | MountFlags::RDONLY, c"")
        .map_err(failed("remount", target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::{Options, mount};

    #[test]
    fn what_a_thread_mounts_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("a"), folder.path().join("b"));
        for path in [&source, &target] {
            std::fs::create_dir(path).unwrap();
        }
        std::fs::write(source.join("file"), b"x").unwrap();
        let (from, to) = (source.clone(), target.clone());
        let seen = std::thread::spawn(move || {
            match own_mounts() {
                // Whoever runs the tests may not mount.
                Err(error) if error.number() == Some(libc::EPERM) => return None,
                other => other.unwrap(),
            }
            bind_read_only(&from, &to).unwrap();
            let written = std::fs::write(to.join("file"), b"y").unwrap_err();
            assert_eq!(written.raw_os_error(), Some(libc::EROFS));
            mount("tmpfs", &from, "tmpfs", Options::default(), "").unwrap();
            Some((to.join("file").exists(), from.join("file").exists()))
        });
        if let Some(seen) = seen.join().unwrap() {
            assert_eq!(seen, (true, false));
        }
        assert!(source.join("file").exists() && !target.join("file").exists());
    }
}
