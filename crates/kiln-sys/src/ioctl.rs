//! ioctl(2) for this crate: three shapes of argument, and the only place that calls libc for it.
//!
//! rustix's typed ioctl patterns were dropped: each use needs its own unsafe block with the same
//! claim, while here the claim is made once per shape and the request numbers stand beside their
//! structures. The functions are unsafe because a wrong pair of request and type lets the kernel
//! write past the value.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// A request without argument, or with an argument that is a plain number.
///
/// # Safety
/// `request` must be one whose argument is ignored or an integer, never a pointer.
pub(crate) unsafe fn with_number(
    file: &File,
    request: u32,
    argument: libc::c_ulong,
) -> io::Result<i32> {
    // SAFETY: the caller promises that the kernel takes the argument as a number, so no memory of
    // this process is touched; the descriptor is open as long as `file` is borrowed.
    check(unsafe { libc::ioctl(file.as_raw_fd(), request as libc::Ioctl, argument) })
}

/// A request whose argument is a pointer to a `Value`, read or written by the kernel.
///
/// # Safety
/// `request` must be one for which the kernel reads and writes at most the bytes of a `Value`, and
/// every byte pattern that it writes must be a valid `Value`. Pointers inside the value must stay
/// valid during the call.
pub(crate) unsafe fn with_value<Value>(
    file: &File,
    request: u32,
    value: &mut Value,
) -> io::Result<i32> {
    // SAFETY: the caller promises the size and validity; the exclusive borrow gives the kernel the
    // only access to the value while the call runs.
    check(unsafe {
        libc::ioctl(file.as_raw_fd(), request as libc::Ioctl, std::ptr::from_mut(value))
    })
}

/// A request whose argument points to a byte buffer that states its own length inside.
///
/// # Safety
/// The kernel must learn the buffer's length from the buffer's content, and that content must not
/// state more than `buffer.len()`.
pub(crate) unsafe fn with_buffer(file: &File, request: u32, buffer: &mut [u8]) -> io::Result<i32> {
    // SAFETY: the caller promises that the stated length is not above the real one; bytes have no
    // invalid patterns.
    check(unsafe { libc::ioctl(file.as_raw_fd(), request as libc::Ioctl, buffer.as_mut_ptr()) })
}

fn check(result: libc::c_int) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
