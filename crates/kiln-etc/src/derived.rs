//! Files of `/etc` that programs derive from the image: a new release derives its own.
//!
//! Carried along, an old one would shadow what the new release brings: libraries that are not found,
//! devices that are not known. Which files these are cannot be asked of the image, so they are listed.
//! Files that mix what the image and what the machine says (`ssl/certs/ca-certificates.crt`) are not
//! among them: leaving one out would lose what somebody added.

use std::path::Path;

use crate::Error;
use crate::file;

/// Paths below `/etc`.
pub const DERIVED: [&str; 8] = [
    // When the image's files were last looked at; its absence makes the others be made again
    // (systemd-update-done.service(8)).
    ".updated",
    // The lock of a running account program, lckpwdf(3).
    ".pwd.lock",
    // Where libraries are, ldconfig(8).
    "ld.so.cache",
    // systemd-hwdb(8).
    "udev/hwdb.bin",
    // Compiled profiles, apparmor_parser(8).
    "apparmor.d/cache",
    // What libblkid found on devices.
    "blkid.tab",
    "blkid.tab.old",
    // lvm(8).
    "lvm/cache",
];

/// Whether a path below `/etc` is derived, or lies below one that is.
#[must_use]
pub fn is_derived(path: &Path) -> bool {
    DERIVED.iter().any(|derived| path.starts_with(derived))
}

/// Takes them out of an upper half.
///
/// # Errors
/// [`Error::File`].
pub fn remove(upper: &Path) -> Result<(), Error> {
    // A linked folder leads out of the upper half.
    let is_real = |path: &Path| {
        let mut folders = path.ancestors().skip(1).take_while(|folder| *folder != upper);
        folders.all(|folder| folder.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()))
    };
    let paths = DERIVED.iter().map(|derived| upper.join(derived));
    paths.filter(|path| is_real(path)).try_for_each(|path| file::remove(&path))
}
