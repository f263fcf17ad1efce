//! One boot, and when what happened in it.
//!
//! Inside the machine the kernel's own stamps on the console count: they were taken when a line was
//! logged, not when a slow serial line had carried it. From power on to the end the host's clock
//! counts, because firmware has none.

use std::time::Duration;

use kiln_lab::virtual_machine::BOOT;
use kiln_lab::{Error, VirtualMachine, WorkDirectory, debian};
use kiln_qemu::{Boot, Machine, Monitor};

/// What the kernel logs before it starts the first process of the initramfs.
const INIT: &str = "Run /init as init process";
/// What systemd logs first; with dracut twice, once in the initramfs.
const SYSTEMD: &str = "running in system mode";
/// What a system in multi-user shows for good. systemd's own line about the target cannot be waited
/// for: getty resets the terminal at the same moment, and the line is lost in every second boot.
const MULTI_USER: &str = "login: ";
/// How long the monitor may take to answer.
const MONITOR: Duration = Duration::from_secs(30);
/// From the power key to the end of the machine.
const POWER_OFF: Duration = Duration::from_secs(60);
/// How often the power key is pressed before the machine is called deaf, and how long it may take
/// to end before it is pressed again.
const PRESSES: u32 = 4;
const PRESS_AGAIN: Duration = Duration::from_secs(20);

/// Seconds since the kernel's start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stamps {
    /// The first process of the initramfs starts.
    pub(super) init: f64,
    /// systemd starts in the root.
    pub(super) systemd: f64,
}

/// Boots a kernel given by the host until systemd greets from the root, then cuts the power.
pub(super) fn until_systemd(
    name: &str,
    machine: Machine,
    work: &WorkDirectory,
) -> Result<Stamps, Error> {
    let mut machine = VirtualMachine::start(name, machine, work)?;
    // systemd in an initramfs greets too, but with more words before the exclamation mark.
    machine.expect(&format!("({})!", debian::SUITE), BOOT)?;
    let text = machine.shown();
    machine.cut_power()?;
    stamps(&text).ok_or_else(|| Error::Unexpected { what: "stamps of the kernel".into(), text })
}

/// Boots through firmware to multi-user, then cuts the power. Seconds since power on.
pub(super) fn until_multi_user(
    name: &str,
    machine: Machine,
    work: &WorkDirectory,
) -> Result<f64, Error> {
    let machine = machine.boot(Boot::Uefi { variables: None });
    let mut machine = VirtualMachine::start(name, machine, work)?;
    machine.expect(MULTI_USER, BOOT)?;
    let age = machine.age().as_secs_f64();
    machine.cut_power()?;
    Ok(age)
}

/// The first boot of a disk, which makes what every later one finds, ended by the power key.
pub(super) fn first_boot(name: &str, machine: Machine, work: &WorkDirectory) -> Result<(), Error> {
    let socket = work.join("monitor");
    let machine = machine.boot(Boot::Uefi { variables: None }).monitor(&socket);
    let mut machine = VirtualMachine::start(name, machine, work)?;
    machine.expect(MULTI_USER, BOOT)?;
    let mut monitor = Monitor::connect(&socket, MONITOR)?;
    // The login prompt may be there before whoever answers to the key has found it.
    for _ in 1..PRESSES {
        monitor.execute("system_powerdown", &serde_json::json!({}))?;
        if machine.wait_for_end(PRESS_AGAIN).is_ok() {
            return Ok(());
        }
    }
    monitor.execute("system_powerdown", &serde_json::json!({}))?;
    machine.wait_for_end(POWER_OFF)
}

/// Finds the stamps; none if a line is missing or without a stamp.
fn stamps(text: &str) -> Option<Stamps> {
    let of = |line: &str, before: usize| -> Option<f64> {
        let start = line[..before].rfind('[')?;
        line[start + 1..before].split(']').next()?.trim().parse().ok()
    };
    let find = |pattern: &str| -> Vec<f64> {
        text.lines().filter_map(|line| of(line, line.find(pattern)?)).collect()
    };
    // The name in `systemd[1]:` stands behind the stamp and has brackets of its own.
    let mut systemd = text.lines().filter(|line| line.contains(SYSTEMD)).filter_map(|line| {
        let before = line.find("] systemd[1]:")? + 1;
        of(line, before)
    });
    Some(Stamps { init: *find(INIT).first()?, systemd: systemd.next_back()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_systemd_counts() {
        let text = "[    0.000000] Linux version 6.12\n\
                    x[    1.500000] Run /init as init process\n\
                    [    2.000000] systemd[1]: systemd 257.8 running in system mode (+PAM [x])\n\
                    [   12.250000] systemd[1]: systemd 257.8 running in system mode (+PAM)\n";
        assert_eq!(stamps(text), Some(Stamps { init: 1.5, systemd: 12.25 }));
    }

    #[test]
    fn what_has_no_stamp_is_no_figure() {
        let init = "[    1.500000] Run /init as init process\n";
        for text in
            ["", init, "Run /init as init process\n[ 2.0] systemd[1]: running in system mode"]
        {
            assert_eq!(stamps(text), None, "{text}");
        }
        assert_eq!(stamps(&format!("{init}systemd[1]: {SYSTEMD}")), None);
    }
}
