//! The file systems that the kernel shows itself with, before anything else.

use crate::Error;
use crate::devices::Devices;
use crate::error::file;
use kiln_sys::mount::{self, Options};
use std::fs;
use std::path::Path;

/// What the kernel asks modprobe for when their file system is mounted.
const VARIABLES_ALIAS: &str = "fs-efivarfs";
/// Where UEFI variables appear; only on machines that were started by UEFI.
const VARIABLES: &str = "/sys/firmware/efi/efivars";

/// Mounts `/proc`, `/sys`, `/dev` and `/run`.
pub(crate) fn mount_kernel_file_systems() -> Result<(), Error> {
    let safe =
        Options { no_set_user: true, no_devices: true, no_execute: true, ..Options::default() };
    let device = Options { no_set_user: true, ..Options::default() };
    let run = Options { no_set_user: true, no_devices: true, ..Options::default() };
    let table = [
        ("proc", "/proc", "proc", safe, ""),
        ("sysfs", "/sys", "sysfs", safe, ""),
        ("devtmpfs", "/dev", "devtmpfs", device, "mode=0755"),
        ("tmpfs", "/run", "tmpfs", run, "mode=0755,size=20%"),
    ];
    for (source, target, kind, options, data) in table {
        fs::create_dir_all(target).map_err(file("create", target))?;
        match mount::mount(source, Path::new(target), kind, options, data) {
            // The kernel may have mounted devtmpfs itself (CONFIG_DEVTMPFS_MOUNT).
            Err(error) if error.number() == Some(16) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Makes UEFI variables readable, if there are any.
pub(crate) fn mount_variables(devices: &mut Devices) {
    let target = Path::new(VARIABLES);
    if target.is_dir() {
        devices.want(VARIABLES_ALIAS);
        let options =
            Options { no_set_user: true, no_devices: true, no_execute: true, ..Options::default() };
        if let Err(error) = mount::mount("efivarfs", target, "efivarfs", options, "") {
            crate::console::note(&Error::from(error).sentence());
        }
    }
}
