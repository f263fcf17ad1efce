//! Mounting, unmounting and moving mounts.
//!
//! The classic mount(2) interface: the new file-system calls give better messages but are missing in
//! kernels that Kiln still supports, and two ways to mount would have to be tested as two.

use crate::Error;
use crate::error::failed;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use std::ffi::CString;
use std::path::Path;

/// How a file system is mounted. Nothing set means: writable, devices and set-user-id honoured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Nothing can be written.
    pub read_only: bool,
    /// Device nodes mean nothing there.
    pub no_devices: bool,
    /// Set-user-id bits mean nothing there.
    pub no_set_user: bool,
    /// Nothing can be executed from there.
    pub no_execute: bool,
    /// Reading a file does not change its access time.
    pub no_access_time: bool,
    /// Reading a folder does not change its access time.
    pub no_folder_access_time: bool,
    /// Times that change alone stay in memory for a while.
    pub lazy_time: bool,
    /// Each write waits for the disk.
    pub synchronous: bool,
}

impl Options {
    /// The flags of mount(2).
    fn flags(self) -> MountFlags {
        let mut flags = MountFlags::empty();
        flags.set(MountFlags::RDONLY, self.read_only);
        flags.set(MountFlags::NODEV, self.no_devices);
        flags.set(MountFlags::NOSUID, self.no_set_user);
        flags.set(MountFlags::NOEXEC, self.no_execute);
        flags.set(MountFlags::NOATIME, self.no_access_time);
        flags.set(MountFlags::NODIRATIME, self.no_folder_access_time);
        flags.set(MountFlags::LAZYTIME, self.lazy_time);
        flags.set(MountFlags::SYNCHRONOUS, self.synchronous);
        flags
    }
}

/// Mounts `source` as file system `kind` on `target`, with the file system's own options in `data`
/// (empty for none).
///
/// # Errors
/// The kernel's answer; it names the source, and the target where the source is only a label.
pub fn mount(
    source: &str,
    target: &Path,
    kind: &str,
    options: Options,
    data: &str,
) -> Result<(), Error> {
    let subject = format!("{source} at {} ({kind})", target.display());
    let Ok(data) = CString::new(data) else {
        return Err(Error::Text { call: "mount", subject });
    };
    let data = (!data.is_empty()).then_some(data.as_c_str());
    rustix::mount::mount(source, target, kind, options.flags(), data)
        .map_err(failed("mount", subject))
}

/// Shows what is at `source` also at `target`, without mounts below it.
///
/// # Errors
/// The kernel's answer.
pub fn bind(source: &Path, target: &Path) -> Result<(), Error> {
    rustix::mount::mount_bind(source, target).map_err(failed("bind mount", target))
}

/// Shows what is at `source`, with all mounts below it, also at `target`.
///
/// # Errors
/// The kernel's answer.
pub fn bind_all(source: &Path, target: &Path) -> Result<(), Error> {
    rustix::mount::mount_bind_recursive(source, target).map_err(failed("bind mount", target))
}

/// Lets mounts that are made below `target` appear below whatever is bound to it later, and the other
/// way round. The mounts that are below it already stay as they are.
///
/// # Errors
/// The kernel's answer.
pub fn make_shared(target: &Path) -> Result<(), Error> {
    rustix::mount::mount_change(target, MountPropagationFlags::SHARED)
        .map_err(failed("share mounts", target))
}

/// Moves the mount at `source`, with everything below it, to `target`.
///
/// # Errors
/// The kernel's answer.
pub fn move_to(source: &Path, target: &Path) -> Result<(), Error> {
    rustix::mount::mount_move(source, target).map_err(failed("move mount", target))
}

/// Makes all mounts below `target` private: nothing done here is seen in other namespaces.
///
/// # Errors
/// The kernel's answer.
pub fn make_private(target: &Path) -> Result<(), Error> {
    rustix::mount::mount_change(target, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(failed("make mounts private", target))
}

/// Unmounts `target`; refused while it is in use.
///
/// # Errors
/// The kernel's answer.
pub fn unmount(target: &Path) -> Result<(), Error> {
    rustix::mount::unmount(target, UnmountFlags::NOFOLLOW).map_err(failed("unmount", target))
}

/// Takes `target` out of the tree at once and frees it when its last user has gone.
///
/// # Errors
/// The kernel's answer.
pub fn detach(target: &Path) -> Result<(), Error> {
    rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .map_err(failed("detach", target))
}

/// Exchanges the root of this mount namespace (pivot_root(2)); not possible from an initramfs.
///
/// # Errors
/// The kernel's answer.
pub fn pivot(new_root: &Path, old_root: &Path) -> Result<(), Error> {
    rustix::process::pivot_root(new_root, old_root).map_err(failed("pivot_root", new_root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_in_options_is_refused_before_the_kernel_sees_it() {
        let error = mount("none", Path::new("/nowhere"), "tmpfs", Options::default(), "a\0b");
        assert!(matches!(error, Err(Error::Text { call: "mount", .. })), "{error:?}");
    }

    #[test]
    fn each_option_sets_its_own_flag() {
        let options = Options { read_only: true, no_execute: true, ..Options::default() };
        assert_eq!(options.flags(), MountFlags::RDONLY | MountFlags::NOEXEC);
        let options = Options {
            no_access_time: true,
            lazy_time: true,
            synchronous: true,
            ..Options::default()
        };
        assert_eq!(
            options.flags(),
            MountFlags::NOATIME | MountFlags::LAZYTIME | MountFlags::SYNCHRONOUS
        );
        let options = Options { no_folder_access_time: true, ..Options::default() };
        assert_eq!(options.flags(), MountFlags::NODIRATIME);
        assert_eq!(Options::default().flags(), MountFlags::empty());
    }
}
