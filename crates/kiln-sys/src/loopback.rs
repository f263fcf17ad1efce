//! Loop devices: a window of a file or of a disk as a block device of its own.
//!
//! Used where the kernel has no partition for what is needed: a root inside a medium. The window is
//! set in the same call that opens the device (`LOOP_CONFIGURE`, Linux 5.8), so no other process can
//! ever see the device without its limits. Format: linux/loop.h.

use crate::Error;
use crate::error::failed;
use crate::ioctl;
use std::fs::File;
use std::os::fd::AsRawFd;

const CONTROL: &str = "/dev/loop-control";
/// `LOOP_CTL_GET_FREE`.
const GET_FREE: u32 = 0x4c82;
/// `LOOP_CONFIGURE`.
const CONFIGURE: u32 = 0x4c0a;
/// `LOOP_CLR_FD`.
const CLEAR: u32 = 0x4c01;
/// `LO_FLAGS_READ_ONLY`.
const READ_ONLY: u32 = 1;
/// `LO_FLAGS_AUTOCLEAR`: the device is freed when its last user closes it.
const AUTOMATIC: u32 = 4;
/// How often a lost race for the free device is tried again; a boot has no rivals.
const TRIES: usize = 8;

/// `struct loop_info64`.
#[repr(C)]
struct Information {
    device: u64,
    inode: u64,
    real_device: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encryption: u32,
    key_length: u32,
    flags: u32,
    file_name: [u8; 64],
    cipher_name: [u8; 64],
    key: [u8; 32],
    initial: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Configuration {
    descriptor: u32,
    block_size: u32,
    information: Information,
    reserved: [u64; 8],
}

/// Binds `length` bytes from `offset` of `backing` to a free loop device, read-only, with logical
/// sectors of `sector_size` bytes; gives the path of its node.
///
/// # Errors
/// The kernel's answer, for example `ENODEV` where the loop module is missing.
pub fn attach_read_only(
    backing: &File,
    offset: u64,
    length: u64,
    sector_size: u32,
) -> Result<String, Error> {
    let window = Window { offset, length, sector_size, flags: READ_ONLY };
    attach(backing, &window).map(|(node, _)| node)
}

/// A loop device that the kernel frees when this is dropped and nothing else uses it, also after a crash.
#[derive(Debug)]
pub struct Temporary {
    node: String,
    /// What keeps it.
    _device: File,
}

impl Temporary {
    /// Path of its node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }
}

/// Binds `length` bytes from `offset` of `backing`, as [`attach_read_only`] does, for as long as what
/// this gives; writable if `is_writable`.
///
/// # Errors
/// As [`attach_read_only`].
pub fn attach_temporarily(
    backing: &File,
    offset: u64,
    length: u64,
    sector_size: u32,
    is_writable: bool,
) -> Result<Temporary, Error> {
    let flags = if is_writable { AUTOMATIC } else { AUTOMATIC | READ_ONLY };
    let (node, device) = attach(backing, &Window { offset, length, sector_size, flags })?;
    Ok(Temporary { node, _device: device })
}

/// What of a file is shown, and how.
struct Window {
    offset: u64,
    length: u64,
    sector_size: u32,
    flags: u32,
}

/// Binds a window to a free device; gives its node, and the device as it was opened for that.
fn attach(backing: &File, window: &Window) -> Result<(String, File), Error> {
    let control =
        File::options().read(true).write(true).open(CONTROL).map_err(failed("open", CONTROL))?;
    let mut tries = 0;
    loop {
        // SAFETY: LOOP_CTL_GET_FREE takes no argument and answers with a number.
        let number = unsafe { ioctl::with_number(&control, GET_FREE, 0) }
            .map_err(failed("LOOP_CTL_GET_FREE", CONTROL))?;
        let node = format!("/dev/loop{number}");
        match configure(&node, backing, window) {
            Err(error) if error.number() == Some(libc::EBUSY) && tries < TRIES => tries += 1,
            Err(error) => return Err(error),
            Ok(device) => return Ok((node, device)),
        }
    }
}

fn configure(node: &str, backing: &File, window: &Window) -> Result<File, Error> {
    let is_writable = window.flags & READ_ONLY == 0;
    let device = File::options().read(true).write(is_writable).open(node);
    let device = device.map_err(failed("open", node))?;
    let mut configuration = Configuration {
        descriptor: backing.as_raw_fd().unsigned_abs(),
        block_size: window.sector_size,
        information: Information {
            device: 0,
            inode: 0,
            real_device: 0,
            offset: window.offset,
            size_limit: window.length,
            number: 0,
            encryption: 0,
            key_length: 0,
            flags: window.flags,
            file_name: [0; 64],
            cipher_name: [0; 64],
            key: [0; 32],
            initial: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: LOOP_CONFIGURE reads one loop_config, whose layout the structure above has; the
    // descriptor inside is open as long as `backing` is borrowed, and the kernel keeps its own
    // reference to the file behind it.
    unsafe { ioctl::with_value(&device, CONFIGURE, &mut configuration) }
        .map_err(failed("LOOP_CONFIGURE", node))?;
    Ok(device)
}

/// Frees a loop device.
///
/// # Errors
/// The kernel's answer.
pub fn detach(node: &str) -> Result<(), Error> {
    let device = File::options().read(true).open(node).map_err(failed("open", node))?;
    // SAFETY: LOOP_CLR_FD takes no argument.
    unsafe { ioctl::with_number(&device, CLEAR, 0) }.map(drop).map_err(failed("LOOP_CLR_FD", node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_layout_of_the_kernel_header() {
        assert_eq!(size_of::<Information>(), 232);
        assert_eq!(size_of::<Configuration>(), 304);
        assert_eq!(std::mem::offset_of!(Configuration, information), 8);
    }
}
