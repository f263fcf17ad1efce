//! What the kernel command line says to the first process.
//!
//! Strict where it decides what is booted, blind to everything else: the same line also speaks to
//! the kernel and to systemd. A second `kiln.root` is refused rather than overriding the first,
//! because a boot loader may append arguments that nobody signed.

use crate::Error;
use kiln_etc::EtcMode;
use kiln_sys::command_line::words;
use kiln_verity::RootArgument;
use std::time::Duration;

/// How long a boot may take until it is blessed, unless the line says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(600);
/// The longest deadline that can be asked for, in seconds: a day. More is a misspelling.
const DEADLINE_MAXIMUM: u64 = 86_400;

/// Which partitions are looked at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The two slots; recovery only if one of them fails with the very root that is wanted.
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
    /// Whether changes of `/etc` are kept (`kiln.etc=`); `None` leaves it to the root.
    pub etc: Option<EtcMode>,
    /// How long after the kernel's start a counted boot must be blessed (`kiln.deadline=`, in
    /// seconds); `None` for 0: for ever.
    pub deadline: Option<Duration>,
    /// Program to hand over to (`init=`), an absolute path inside the root.
    pub init: Option<String>,
}

impl CommandLine {
    /// Reads the content of `/proc/cmdline`.
    ///
    /// # Errors
    /// [`Error::CommandLine`] unless there is exactly one valid `kiln.root`, and for unknown values
    /// of `kiln.mode`, `kiln.state`, `kiln.etc` and `kiln.deadline`, which could otherwise be misspelt unnoticed.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |reason: &str| Error::CommandLine(reason.to_owned());
        let (mut root, mut mode, mut state, mut init) = (None, Mode::System, StateMode::Disk, None);
        let (mut deadline, mut etc) = (Some(DEADLINE), None);
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
                "kiln.etc" => {
                    let refused = || refuse("kiln.etc is neither persistent nor ephemeral");
                    etc = Some(EtcMode::parse(value).ok_or_else(refused)?);
                }
                "kiln.deadline" => {
                    deadline = parse_deadline(value).ok_or_else(|| {
                        refuse("kiln.deadline is no number of seconds up to 86400")
                    })?;
                }
                "init" if value.starts_with('/') => init = Some(value.to_owned()),
                _ => {}
            }
        }
        let root = root.ok_or_else(|| refuse("kiln.root is missing"))?;
        Ok(Self { root, mode, state, etc, deadline, init })
    }
}

/// Plain digits only, so that a sign or a unit is refused rather than guessed.
fn parse_deadline(value: &str) -> Option<Option<Duration>> {
    if !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = value.parse::<u64>().ok().filter(|&seconds| seconds <= DEADLINE_MAXIMUM)?;
    Some((seconds > 0).then(|| Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn root() -> String {
        format!("kiln.root={}:100:{}", "ab".repeat(32), "01".repeat(32))
    }

    #[test]
    fn the_deadline_is_a_bounded_number_of_seconds() {
        let seconds = |seconds| Some(Some(Duration::from_secs(seconds)));
        let cases = [
            ("", seconds(600)),
            ("kiln.deadline=90", seconds(90)),
            ("kiln.deadline=86400", seconds(86_400)),
            ("kiln.deadline=0", Some(None)),
            ("kiln.deadline", seconds(600)),
            ("kiln.deadline=86401", None),
            ("kiln.deadline=99999999999999999999", None),
            ("kiln.deadline=", None),
            ("kiln.deadline=-1", None),
            ("kiln.deadline=+1", None),
            ("kiln.deadline=10min", None),
        ];
        for (text, expected) in cases {
            let line = CommandLine::parse(&format!("{} {text}", root()));
            assert_eq!(line.ok().map(|line| line.deadline), expected, "{text}");
        }
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
    fn the_line_may_say_whether_etc_is_kept() {
        for (text, expected) in [
            ("", None),
            ("kiln.etc=ephemeral", Some(EtcMode::Ephemeral)),
            ("kiln.etc=ephemeral kiln.etc=persistent", Some(EtcMode::Persistent)),
        ] {
            let line = CommandLine::parse(&format!("{} {text}", root())).unwrap();
            assert_eq!(line.etc, expected, "{text}");
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
            (format!("{root} kiln.etc=ephemral"), "kiln.etc"),
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
