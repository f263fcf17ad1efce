//! What the kernel command line says to the first process.
//!
//! Strict where it decides what is booted, blind to everything else: the same line also speaks to
//! the kernel and to systemd. A second `kiln.root` is refused rather than overriding the first,
//! because a boot loader may append arguments that nobody signed.

use crate::Error;
use kiln_verity::RootArgument;

/// Which partitions are looked at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The two slots.
    System,
    /// The recovery partition, then the slots.
    Recovery,
}

/// Where written files go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateMode {
    /// To the state partition.
    Disk,
    /// To memory: nothing lasts (`kiln.state=none`), and no disk is written.
    Memory,
}

/// The arguments that concern this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The root to boot (`kiln.root=`).
    pub root: RootArgument,
    /// Where to look for it (`kiln.mode=`).
    pub mode: Mode,
    /// Where written files go (`kiln.state=`).
    pub state: StateMode,
    /// Program to hand over to (`init=`), an absolute path inside the root.
    pub init: Option<String>,
}

impl CommandLine {
    /// Reads the content of `/proc/cmdline`.
    ///
    /// # Errors
    /// [`Error::CommandLine`] unless there is exactly one valid `kiln.root`, and for unknown values
    /// of `kiln.mode` and `kiln.state`, which could otherwise be misspelt unnoticed.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |reason: &str| Error::CommandLine(reason.to_owned());
        let (mut root, mut mode, mut state, mut init) = (None, Mode::System, StateMode::Disk, None);
        for word in words(text) {
            let Some((key, value)) = word.split_once('=') else {
                // Behind a lone `--` everything belongs to the next first process.
                if word == "--" {
                    break;
                }
                continue;
            };
            match key {
                "kiln.root" if root.is_some() => return Err(refuse("kiln.root is given twice")),
                "kiln.root" => {
                    let argument = value.parse::<RootArgument>();
                    root = Some(argument.map_err(|error| Error::CommandLine(error.to_string()))?);
                }
                "kiln.mode" => {
                    mode = match value {
                        "system" => Mode::System,
                        "recovery" => Mode::Recovery,
                        _ => return Err(refuse("kiln.mode is neither system nor recovery")),
                    }
                }
                "kiln.state" => {
                    state = match value {
                        "disk" => StateMode::Disk,
                        "none" => StateMode::Memory,
                        _ => return Err(refuse("kiln.state is neither disk nor none")),
                    }
                }
                "init" if value.starts_with('/') => init = Some(value.to_owned()),
                _ => {}
            }
        }
        let root = root.ok_or_else(|| refuse("kiln.root is missing"))?;
        Ok(Self { root, mode, state, init })
    }
}

/// Splits at white space; double quotes hold a word together and vanish, as in the kernel's
/// `next_arg` (lib/cmdline.c).
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            letter if letter.is_ascii_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            letter => word.push(letter),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn root() -> String {
        format!("kiln.root={}:100:{}", "ab".repeat(32), "01".repeat(32))
    }

    #[test]
    fn arguments_are_found_among_others() {
        let cases = [
            ("quiet panic=10", Mode::System, StateMode::Disk, None),
            ("kiln.mode=recovery systemd.mask=x.service", Mode::Recovery, StateMode::Disk, None),
            ("kiln.mode=system kiln.state=none", Mode::System, StateMode::Memory, None),
            ("init=/bin/sh", Mode::System, StateMode::Disk, Some("/bin/sh")),
            ("init=relative", Mode::System, StateMode::Disk, None),
            ("x=\"a kiln.state=none b\"", Mode::System, StateMode::Disk, None),
            ("-- kiln.state=none init=/x", Mode::System, StateMode::Disk, None),
        ];
        for (text, mode, state, init) in cases {
            let line = CommandLine::parse(&format!("{} {text}\n", root())).unwrap();
            assert_eq!(
                (line.mode, line.state, line.init.as_deref()),
                (mode, state, init),
                "{text}"
            );
            assert_eq!(line.root.data_blocks, 100);
        }
    }

    #[test]
    fn what_could_boot_the_wrong_thing_is_refused() {
        let root = root();
        let cases = [
            (String::new(), "missing"),
            ("kiln.rootx=1".to_owned(), "missing"),
            (format!("{root} {root}"), "twice"),
            (format!("-- {root}"), "missing"),
            ("kiln.root=abc".to_owned(), "abc"),
            (format!("{root} kiln.mode=sytem"), "kiln.mode"),
            (format!("{root} kiln.state=ram"), "kiln.state"),
        ];
        for (text, reason) in cases {
            let error = CommandLine::parse(&text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_line_is_too_much(text in "\\PC{0,300}") {
            prop_assert!(CommandLine::parse(&text).is_err());
        }
    }
}
