//! The menu: settings of this machine, then a script that is the same everywhere.
//!
//! The script stands in `menu/grub.cfg`, and [`crate::choice`] is its model. It uses nothing that
//! GRUB 2.06 lacks, no program of the image, and no module that is not in the core image
//! ([`crate::core::MODULES`]). GRUB's language has no arithmetic: generations have eight digits and
//! are compared as texts, and one digit is counted down by looking for it in a row of all digits.
//!
//! It lies on the ESP, not in the core image: a file is replaced by one rename, a core image is
//! not. Who changes it must do it that way.
//!
//! A script that is generated for each state of the machine was dropped: it would have to be right
//! at every moment of every change, where this one looks at what is there.

use std::fmt::Write as _;

/// The script behind the settings.
const SCRIPT: &str = include_str!("grub.cfg");

/// A serial line (GRUB manual, "serial").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial {
    /// Number of the port, 0 for the first, `ttyS0`.
    pub unit: u8,
    /// Bits per second.
    pub speed: u32,
}

/// What differs from machine to machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long Escape opens the menu, in seconds. With 0 only a held shift key does, and nothing
    /// waits.
    pub seconds: u8,
    /// Where the menu is beside the screen. A machine that lacks the port starts all the same.
    pub serial: Option<Serial>,
}

impl Default for Settings {
    /// No waiting; the first serial port with the speed that consoles of servers have.
    fn default() -> Self {
        Self { seconds: 0, serial: Some(Serial { unit: 0, speed: 115_200 }) }
    }
}

/// The whole file, [`crate::MENU_PATH`].
#[must_use]
pub fn menu(settings: &Settings) -> String {
    let mut text = String::from("# Kiln's menu for GRUB. Kiln replaces it as a whole.\n");
    let _ = writeln!(text, "set menu_seconds={}", settings.seconds);
    match settings.serial {
        Some(Serial { unit, speed }) => {
            let _ = writeln!(text, "set serial_unit={unit}\nset serial_speed={speed}");
        }
        None => text.push_str("set serial_speed=\n"),
    }
    text.push_str(SCRIPT);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::MODULES;
    use std::collections::BTreeSet;

    #[test]
    fn settings_stand_in_front() {
        let text = menu(&Settings { seconds: 5, serial: Some(Serial { unit: 1, speed: 9600 }) });
        let head: Vec<&str> = text.lines().skip(1).take(3).collect();
        assert_eq!(head, ["set menu_seconds=5", "set serial_unit=1", "set serial_speed=9600"]);
        let text = menu(&Settings { seconds: 0, serial: None });
        assert!(text.contains("set menu_seconds=0\nset serial_speed=\n"));
        assert!(text.ends_with(SCRIPT));
    }

    #[test]
    fn every_command_is_in_the_core_image() {
        // Built into the language, or defined by the script itself.
        let known = [
            "if",
            "elif",
            "else",
            "fi",
            "for",
            "while",
            "do",
            "done",
            "function",
            "set",
            "unset",
            "return",
            "}",
            "menuentry",
            "look",
            "start",
            "list",
            "list_rank",
            "authenticate",
        ];
        let commands: BTreeSet<&str> = SCRIPT
            .lines()
            .map(str::trim_start)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| line.strip_prefix("if ").or(line.strip_prefix("elif ")).unwrap_or(line))
            .filter_map(|line| line.split([' ', ';']).next())
            .filter(|command| !known.contains(command))
            .collect();
        let modules = [
            ("[", "test"),
            ("boot", "linux"),
            ("echo", "echo"),
            ("eval", "eval"),
            ("keystatus", "keystatus"),
            ("load_env", "loadenv"),
            ("loopback", "loopback"),
            ("probe", "probe"),
            ("reboot", "reboot"),
            ("regexp", "regexp"),
            ("save_env", "loadenv"),
            ("serial", "serial"),
            ("sleep", "sleep"),
            ("source", "configfile"),
            ("terminal_input", "terminal"),
            ("terminal_output", "terminal"),
            ("true", "true"),
        ];
        let expected: BTreeSet<&str> = modules.iter().map(|(command, _)| *command).collect();
        assert_eq!(commands, expected);
        for (command, module) in modules {
            assert!(MODULES.contains(&module), "{command} needs {module}");
        }
    }
}
