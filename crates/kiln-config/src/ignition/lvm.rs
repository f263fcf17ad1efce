//! Devices that can only be logical volumes of LVM.
//!
//! Kiln sets up no LVM, and a path to a volume that nobody makes would be waited for in vain. Only what
//! is certain is refused: below `/dev`, udev and drivers use the folders listed here, and any other
//! folder with one name in it is a volume group.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Spanned;

/// Folders below `/dev` that belong to drivers, to udev or to the kernel.
const FOLDERS: [&str; 30] = [
    "ataraid",
    "block",
    "bsg",
    "bus",
    "cciss",
    "char",
    "cpu",
    "disk",
    "dm",
    "dri",
    "drbd",
    "fd",
    "i2o",
    "ida",
    "input",
    "loop",
    "mapper",
    "md",
    "mqueue",
    "mtd",
    "nbd",
    "net",
    "nvme",
    "pts",
    "rd",
    "shm",
    "snd",
    "virtio-ports",
    "zram",
    "zvol",
];

/// Reports a path like `/dev/GROUP/VOLUME`.
pub(super) fn check(device: &Spanned<String>, out: &mut Diagnostics) {
    let Some(rest) = device.value.strip_prefix("/dev/") else { return };
    let Some((group, volume)) = rest.split_once('/') else { return };
    if volume.contains('/') || FOLDERS.contains(&group) {
        return;
    }
    let message =
        format!("`{}` is a logical volume of LVM, which Kiln does not set up", device.value);
    out.push(
        Diagnostic::error("lvm", device.span, message)
            .hint("use a partition, a RAID array or a LUKS volume"),
    );
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::diagnostic::Diagnostics;
    use crate::fields::Spanned;

    #[test]
    fn only_what_is_certain_is_refused() {
        for (device, refused) in [
            ("/dev/vg0/root", true),
            ("/dev/rhel/var", true),
            ("/dev/mapper/vg0-root", false),
            ("/dev/disk/by-id/dm-name-vg0-root", false),
            ("/dev/disk/x", false),
            ("/dev/md/data", false),
            ("/dev/cciss/c0d0", false),
            ("/dev/vda", false),
            ("/run/vg0/root", false),
        ] {
            let mut out = Diagnostics::default();
            check(&Spanned { value: device.to_owned(), ..Spanned::default() }, &mut out);
            assert_eq!(out.has_errors(), refused, "{device}");
        }
    }
}
