//! What an image's own installer left for a boot that will not happen.
//!
//! An initrd of the distribution is 10 to 80 MB that no loader of Kiln's ever reads. It is left out
//! and the user is told; the kernel beside it stays where it is.

use super::{Editor, LayerReport};

/// Name beginnings of initial RAM disks that distributions write to `/boot`.
const INITIAL_RAM_DISKS: [&[u8]; 3] = [b"initrd", b"initramfs", b"initrd.img"];

/// Removes initial RAM disks from `/boot`.
pub(super) fn remove_foreign_boot_files(editor: &mut Editor<'_>, report: &mut LayerReport) {
    for name in editor.names(b"boot") {
        if INITIAL_RAM_DISKS.iter().any(|prefix| name.starts_with(prefix)) {
            let path = [b"boot/", name.as_slice()].concat();
            editor.remove(&path);
            let path = String::from_utf8_lossy(&path).into_owned();
            report.notes.push(format!("/{path} is left out: Kiln makes its own initramfs"));
        }
    }
}
