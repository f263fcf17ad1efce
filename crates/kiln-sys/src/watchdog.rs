//! The hardware watchdog: once armed, a machine that hangs restarts.
//!
//! Format: Documentation/watchdog/watchdog-api.rst. Dropping the guard leaves the watchdog armed on
//! purpose: the first process arms it and systemd takes it over, and a gap between the two would be
//! the one moment in which a hang is for ever.

use crate::Error;
use crate::error::failed;
use crate::ioctl;
use std::fs::File;
use std::io::Write;

/// `WDIOC_KEEPALIVE`, linux/watchdog.h.
const KEEP_ALIVE: u32 = 0x8004_5705;
/// `WDIOC_SETTIMEOUT`, linux/watchdog.h; seconds, and the driver answers with what it took.
const SET_TIMEOUT: u32 = 0xc004_5706;

/// An armed watchdog.
#[derive(Debug)]
pub struct Watchdog {
    device: File,
    node: String,
}

impl Watchdog {
    /// Opens and so arms the watchdog at `node`, such as `/dev/watchdog0`.
    ///
    /// # Errors
    /// There is none, or another process has it.
    pub fn open(node: &str) -> Result<Self, Error> {
        let device = File::options().write(true).open(node).map_err(failed("open", node))?;
        Ok(Self { device, node: node.to_owned() })
    }

    /// Sets after how many seconds without [`Watchdog::keep_alive`] the machine restarts; gives what
    /// the driver chose.
    ///
    /// # Errors
    /// The driver's answer; the watchdog stays armed with its own time.
    pub fn set_timeout(&self, seconds: u32) -> Result<u32, Error> {
        let mut value = i32::try_from(seconds).unwrap_or(i32::MAX);
        // SAFETY: WDIOC_SETTIMEOUT reads and writes one int.
        unsafe { ioctl::with_value(&self.device, SET_TIMEOUT, &mut value) }
            .map_err(failed("WDIOC_SETTIMEOUT", &self.node))?;
        Ok(value.unsigned_abs())
    }

    /// Starts the time anew.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn keep_alive(&self) -> Result<(), Error> {
        let mut ignored: libc::c_int = 0;
        // SAFETY: WDIOC_KEEPALIVE ignores its argument; the header types it as one int.
        unsafe { ioctl::with_value(&self.device, KEEP_ALIVE, &mut ignored) }
            .map(drop)
            .map_err(failed("WDIOC_KEEPALIVE", &self.node))
    }

    /// Disarms the watchdog (the magic `V`), where the driver allows that.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn disarm(mut self) -> Result<(), Error> {
        self.device.write_all(b"V").map_err(failed("write", &self.node))
    }
}
