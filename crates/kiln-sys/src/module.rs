//! Loading kernel modules from files, also compressed ones.
//!
//! The kernel decompresses (Linux 5.17, `MODULE_DECOMPRESS`); whether it can was checked when the
//! initramfs was built, so nothing here decompresses. Dependencies are the caller's: this loads one
//! file.

use crate::Error;
use crate::error::failed;
use std::ffi::CStr;
use std::fs::File;
use std::path::Path;

/// `MODULE_INIT_COMPRESSED_FILE`, linux/module.h.
const COMPRESSED: i32 = 4;

/// What became of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It runs now.
    Now,
    /// It was there before, as a module or built in.
    Already,
}

/// Whether a file name says that the module is compressed.
#[must_use]
pub fn is_compressed(name: &str) -> bool {
    [".xz", ".gz", ".zst"].iter().any(|ending| name.ends_with(ending))
}

/// Loads one module file. What its driver finds at once is there when this returns.
///
/// # Errors
/// The kernel's answer: `ENOENT` for a missing symbol (a dependency is not loaded), `ENODEV` where
/// the module found no hardware, `EKEYREJECTED` for a missing signature under lockdown.
pub fn load(path: &Path) -> Result<Loaded, Error> {
    load_with(path, c"")
}

/// Loads one module file that drives no device, without waiting for the devices that other drivers
/// are probing.
///
/// At the end of every load the kernel waits until all probing in the whole machine is over, so that
/// a program which has loaded a driver finds its devices (`do_init_module`, kernel/module/main.c). A
/// file system has no devices, and would wait for a disk controller that resets its ports. Before
/// Linux 4.2 the kernel knows no such parameter, passes over it, and waits.
///
/// # Errors
/// As [`load`].
pub fn load_at_once(path: &Path) -> Result<Loaded, Error> {
    load_with(path, c"async_probe")
}

fn load_with(path: &Path, parameters: &CStr) -> Result<Loaded, Error> {
    let file = File::open(path).map_err(failed("open", path))?;
    let flags = if is_compressed(&path.to_string_lossy()) { COMPRESSED } else { 0 };
    match rustix::system::finit_module(&file, parameters, flags) {
        Ok(()) => Ok(Loaded::Now),
        Err(rustix::io::Errno::EXIST) => Ok(Loaded::Already),
        Err(error) => Err(failed("finit_module", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_tells_compression() {
        let cases = [
            ("erofs.ko", false),
            ("erofs.ko.xz", true),
            ("a.ko.zst", true),
            ("a.ko.gz", true),
            ("xz.ko", false),
        ];
        for (name, expected) in cases {
            assert_eq!(is_compressed(name), expected, "{name}");
        }
    }
}
