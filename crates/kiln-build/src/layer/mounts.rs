//! The places that a running system mounts onto.
//!
//! The root is read-only, so a directory that is missing at build time can never be mounted onto.
//! Container images often lack `/proc` or `/home`; these get them.

use super::Editor;
use crate::Error;

/// Mount points with their modes. `/efi`: the ESP; `/state`: the state partition; `/oem`: its
/// configuration folder; the others are those of file-hierarchy(7).
const MOUNT_POINTS: [(&[u8], u16); 17] = [
    (b"dev", 0o755),
    (b"efi", 0o755),
    (b"etc", 0o755),
    (b"home", 0o755),
    (b"mnt", 0o755),
    (b"oem", 0o755),
    (b"opt", 0o755),
    (b"proc", 0o555),
    (b"root", 0o700),
    (b"run", 0o755),
    (b"srv", 0o755),
    (b"state", 0o755),
    (b"sys", 0o555),
    (b"tmp", 0o1777),
    (b"usr/local", 0o755),
    (b"usr/share/factory", 0o755),
    (b"var", 0o755),
];

/// Adds every mount point that the image lacks.
pub(super) fn add_mount_points(editor: &mut Editor<'_>) -> Result<(), Error> {
    for (path, mode) in MOUNT_POINTS {
        editor.directory(path, mode)?;
    }
    Ok(())
}
