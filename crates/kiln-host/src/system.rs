//! What is asked of systemd: to restart, and what failed.
//!
//! The program `systemctl` and not the bus: it works in emergency mode, where no bus runs.

use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::Error;

/// How long an orderly restart may take until it is forced: units may use their own stop time, 90
/// seconds by systemd's default.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks for an orderly restart and returns at once.
///
/// # Errors
/// [`Error::Program`].
pub fn restart() -> Result<(), Error> {
    systemctl(&["reboot"]).map(drop)
}

/// Asks for an orderly end and returns at once.
///
/// # Errors
/// [`Error::Program`].
pub fn power_off() -> Result<(), Error> {
    systemctl(&["poweroff"]).map(drop)
}

/// Restarts for certain: asks, and if the machine is still there, forces. Returns only if nothing
/// helped.
///
/// # Errors
/// [`Error::Program`] of the last means.
pub fn restart_for_certain() -> Result<(), Error> {
    for means in [&["reboot"][..], &["reboot", "--force"]] {
        if systemctl(means).is_ok() {
            thread::sleep(PATIENCE);
        }
    }
    systemctl(&["reboot", "--force", "--force"]).map(drop)
}

/// Names of failed units, by commas; empty if none failed or systemd does not say.
#[must_use]
pub fn failed_units() -> String {
    let list = systemctl(&["list-units", "--failed", "--plain", "--no-legend"]);
    units(&list.unwrap_or_default())
}

/// First words of all lines.
fn units(list: &str) -> String {
    let names: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    names.join(", ")
}

fn systemctl(arguments: &[&str]) -> Result<String, Error> {
    let program = || format!("systemctl {}", arguments.join(" "));
    let failed = |reason: String| Error::Program { program: program(), reason };
    let output = Command::new("systemctl")
        .args(arguments)
        .output()
        .map_err(|source| failed(source.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    Err(failed(format!("{}, {last}", output.status)))
}

#[cfg(test)]
mod tests {
    use super::units;

    #[test]
    fn failed_units_are_named() {
        let list = "a.service loaded failed failed A thing\n\nb.mount  loaded failed failed B\n";
        assert_eq!(units(list), "a.service, b.mount");
        assert_eq!(units(""), "");
    }
}
