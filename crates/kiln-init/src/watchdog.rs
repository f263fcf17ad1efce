//! The hardware watchdog, from the verified root until systemd takes it over.
//!
//! Armed only for a first process that is known to take over: for any other program it would be a
//! restart after a minute. While this program works the watchdog is served from beside it, because
//! making or checking a large file system takes longer than a minute; what limits that work is the
//! boot's own deadline.

use crate::console::note;
use crate::devices::Devices;
use crate::error::Error;
use kiln_sys::watchdog::Watchdog;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// The first watchdog (kernel, Documentation/watchdog/watchdog-kernel-api.rst).
const NODE: &str = "/dev/watchdog0";
/// Seconds without a sign of life until the machine restarts. systemd signs on within a few.
const TIMEOUT: u32 = 60;
/// How often it is served.
const PAUSE: Duration = Duration::from_secs(10);
/// How often at most: longer than the boot's own deadline of 10 minutes and the half hour that each half
/// of a configuration may take, with all that follows them.
const ROUNDS: u32 = 435;

/// Loads drivers of watchdogs that are there, and arms the first watchdog if there is one.
pub(crate) fn arm(devices: &mut Devices) {
    devices.load_watchdogs();
    if !Path::new(NODE).exists() {
        return;
    }
    match start() {
        Ok(seconds) => note(&format!("watchdog armed with {seconds} s")),
        Err(error) => note(&Error::from(error).sentence()),
    }
}

fn start() -> Result<u32, kiln_sys::Error> {
    let watchdog = Watchdog::open(NODE)?;
    let seconds = watchdog.set_timeout(TIMEOUT)?;
    // The thread ends with the exec of systemd; the watchdog stays armed then. Without a thread it
    // is armed all the same, and a boot of less than a minute gets through.
    let served = thread::Builder::new().spawn(move || {
        for _ in 0..ROUNDS {
            if watchdog.keep_alive().is_err() {
                return;
            }
            thread::sleep(PAUSE);
        }
    });
    if served.is_err() {
        note("the watchdog is not served: cannot start a thread");
    }
    Ok(seconds)
}
