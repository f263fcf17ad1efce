//! Telling people: short lines in the kernel log, and one that every console shows.
//!
//! The kernel log reaches every console and survives in `dmesg`, so it is the one channel. Only when
//! it is not there, or tuned so low that it shows nothing, the consoles are written directly.

use std::fs;
use std::io::Write;
use std::path::Path;

/// Where a line for the kernel log is written.
const KERNEL_LOG: &str = "/dev/kmsg";
/// Kernel log levels, linux/kern_levels.h.
const CRITICAL: u8 = 2;
const NOTICE: u8 = 5;

/// Writes one line to the kernel log. Nothing is done if that fails: there is nobody to tell.
pub fn note(text: &str) {
    let _ = log(NOTICE, text, Path::new(KERNEL_LOG));
}

/// One line with the time since the kernel started, in milliseconds.
pub fn note_time(text: &str) {
    let time = kiln_sys::machine::since_start().as_millis();
    note(&format!("{text} {time} ms"));
}

/// One line that every console shows, for a process that has the kernel's log elsewhere.
pub fn note_critical(text: &str, kernel_log: &Path) {
    let _ = log(CRITICAL, text, kernel_log);
}

fn log(level: u8, text: &str, kernel_log: &Path) -> std::io::Result<()> {
    // One write is one record; longer ones than about 900 bytes are refused by the kernel.
    let text: String = text.chars().take(800).collect();
    let mut file = fs::File::options().write(true).open(kernel_log)?;
    file.write_all(format!("<{level}>kiln-init: {text}\n").as_bytes())
}

/// Shows one line on every console, whatever the kernel's log is tuned to.
pub(crate) fn shout(text: &str) {
    let logged = log(CRITICAL, text, Path::new(KERNEL_LOG)).is_ok();
    let shown = fs::read_to_string("/proc/sys/kernel/printk").is_ok_and(|text| log_shows(&text));
    if !(logged && shown) {
        let consoles = fs::read_to_string("/proc/consoles").unwrap_or_default();
        for name in console_names(&consoles) {
            if let Ok(mut console) = fs::File::options().write(true).open(name) {
                let _ = console.write_all(format!("\r\nkiln-init: {text}\r\n").as_bytes());
            }
        }
    }
}

/// Whether a critical record is shown, by the first number of `/proc/sys/kernel/printk`.
fn log_shows(text: &str) -> bool {
    let level = text.split_ascii_whitespace().next().and_then(|word| word.parse::<u8>().ok());
    level.is_some_and(|level| level > CRITICAL)
}

/// Device paths from `/proc/consoles` (Documentation/filesystems/proc.rst), at least `/dev/console`.
fn console_names(text: &str) -> Vec<String> {
    let mut names: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().next())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .map(|name| format!("/dev/{name}"))
        .collect();
    if names.is_empty() {
        names.push("/dev/console".into());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consoles_are_listed_by_the_kernel() {
        let text = "tty0                 -WU (EC  p  )    4:7\nttyS0                -W- (E   p a)    4:64\n";
        assert_eq!(console_names(text), ["/dev/tty0", "/dev/ttyS0"]);
        assert_eq!(console_names(""), ["/dev/console"]);
        assert_eq!(console_names("../x y\n"), ["/dev/console"]);
    }

    #[test]
    fn the_log_level_tells_whether_the_log_is_seen() {
        let cases = [("7\t4\t1\t7\n", true), ("3 4 1 7", true), ("2 4 1 7", false), ("", false)];
        for (text, expected) in cases {
            assert_eq!(log_shows(text), expected, "{text:?}");
        }
    }
}
