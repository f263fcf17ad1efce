//! Growing a mounted ext4 file system.
//!
//! The kernel does the work (`EXT4_IOC_RESIZE_FS`), as it does for resize2fs on a mounted file
//! system; calling that program was dropped because an image need not have it.

use crate::Error;
use crate::error::failed;
use crate::ioctl;
use std::fs::File;
use std::path::Path;

/// `EXT4_IOC_RESIZE_FS`, fs/ext4/ext4.h: `_IOW('f', 16, __u64)`.
const RESIZE: u32 = 0x4008_6610;

/// Grows the ext4 file system mounted at `mount_point` to `blocks` of its own blocks.
///
/// # Errors
/// The kernel's answer: no ext4, read-only, or the file system needs a check first.
pub fn grow(mount_point: &Path, blocks: u64) -> Result<(), Error> {
    let root = File::open(mount_point).map_err(failed("open", mount_point))?;
    let mut blocks = blocks;
    // SAFETY: EXT4_IOC_RESIZE_FS reads one 64-bit number.
    unsafe { ioctl::with_value(&root, RESIZE, &mut blocks) }
        .map(drop)
        .map_err(failed("EXT4_IOC_RESIZE_FS", mount_point))
}
