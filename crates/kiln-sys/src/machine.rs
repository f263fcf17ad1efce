//! The machine as a whole: random numbers, writing back, and the end.

use crate::Error;
use crate::error::failed;
use std::path::Path;

/// 16 random bytes from the kernel, waiting until its generator is seeded.
///
/// # Errors
/// The kernel's answer, after interruptions by signals were tried again.
pub fn random() -> Result<[u8; 16], Error> {
    let mut bytes = [0; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        match rustix::rand::getrandom(&mut bytes[filled..], flags) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed("getrandom", "the kernel")(error)),
        }
    }
    Ok(bytes)
}

/// Writes back everything that is not yet on its device, and waits for it.
pub fn write_back() {
    rustix::fs::sync();
}

/// Writes back the file system that holds `path`, and waits for it.
///
/// # Errors
/// The path cannot be opened, or a write failed.
pub fn write_back_file_system(path: &Path) -> Result<(), Error> {
    let file = std::fs::File::open(path).map_err(failed("open", path))?;
    rustix::fs::syncfs(&file).map_err(failed("syncfs", path))
}

/// Restarts the machine at once. Whoever wants data kept calls [`write_back`] before.
///
/// # Errors
/// The kernel refused, as it does for anyone but root.
pub fn restart() -> Result<(), Error> {
    rustix::system::reboot(rustix::system::RebootCommand::Restart)
        .map_err(failed("reboot", "the machine"))
}

/// Time since the machine's kernel started, suspended time included.
#[must_use]
pub fn since_start() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    std::time::Duration::new(time.tv_sec.unsigned_abs(), nanoseconds)
}

/// Whether this is the first process of the machine.
#[must_use]
pub fn is_first_process() -> bool {
    rustix::process::getpid().is_init()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_differ() {
        assert_ne!(random().unwrap(), random().unwrap());
        assert!(!is_first_process());
    }
}
