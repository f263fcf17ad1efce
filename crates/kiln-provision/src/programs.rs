//! Programs of the image: how they are run, and what of their end is kept.
//!
//! Behind a trait, because tests have to see what would run without a systemd around them. Programs
//! get a fixed environment and no terminal; what this process was started with is no part of what a
//! document says.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use kiln_sys::capture::{Program, capture};
use kiln_sys::process::Outcome;

use crate::Error;

/// What every program finds in its environment.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("LANG", "C.UTF-8"),
];
/// Bytes of a program's output that are kept, from the end: a screen or two for whoever looks for the
/// reason of a failure.
const OUTPUT_BYTES: usize = 8 << 10;

/// A program that is to run.
#[derive(Debug, Clone)]
pub struct Invocation<'a> {
    /// Name or path inside the root.
    pub program: &'a str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables beside the fixed ones.
    pub environment: &'a [(String, String)],
    /// The root in which it runs.
    pub root: &'a Path,
}

/// How a program ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finished {
    /// Nothing where it ended well, else its exit status or signal in words.
    pub fault: Option<String>,
    /// The end of what it wrote.
    pub output: String,
}

/// Runs programs.
pub trait Programs {
    /// Runs one to its end.
    ///
    /// # Errors
    /// It cannot be started; [`Error::NoProgram`] where the image lacks it, [`Error::Late`] where it took
    /// longer than it may.
    fn run(&mut self, invocation: &Invocation<'_>) -> Result<Finished, Error>;
}

/// Runs programs for real.
#[derive(Debug, Clone, Copy, Default)]
pub struct Host {
    /// After which one is killed; nothing waits for ever.
    pub patience: Option<Duration>,
}

impl Programs for Host {
    fn run(&mut self, invocation: &Invocation<'_>) -> Result<Finished, Error> {
        let fixed = ENVIRONMENT.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let environment: Vec<(String, String)> =
            fixed.chain(invocation.environment.iter().cloned()).collect();
        let captured = capture(&Program {
            program: OsStr::new(invocation.program),
            arguments: invocation.arguments.iter().map(OsStr::new).collect(),
            environment: &environment,
            root: invocation.root,
            folder: Path::new("/"),
            input: b"",
            patience: self.patience,
            output_bytes: OUTPUT_BYTES,
        });
        let captured = match captured {
            Err(error) if error.number() == Some(rustix::io::Errno::NOENT.raw_os_error()) => {
                return Err(Error::NoProgram { program: invocation.program.to_owned() });
            }
            other => other?,
        };
        let output = String::from_utf8_lossy(&captured.output).into_owned();
        if captured.is_late {
            let program = invocation.program.to_owned();
            let seconds = self.patience.unwrap_or_default().as_secs();
            return Err(Error::Late { program, seconds, output });
        }
        let fault = match captured.outcome {
            Outcome::Code(0) => None,
            Outcome::Code(code) => Some(format!("exit status {code}")),
            Outcome::Signal(number) => Some(format!("signal {number}")),
        };
        Ok(Finished { fault, output })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_run_with_a_fixed_environment_and_their_end_is_told() {
        let variables = [("OWN".to_owned(), "1".to_owned())];
        let run = |program: &str, arguments: &[&str], patience| {
            Host { patience }.run(&Invocation {
                program,
                arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
                environment: &variables,
                root: Path::new("/"),
            })
        };
        let script = "echo $HOME $OWN; pwd; env | wc -l; exit 7";
        let finished = run("sh", &["-c", script], None).unwrap();
        assert_eq!(finished.fault.as_deref(), Some("exit status 7"));
        // The four variables, and those that the shell itself sets (`PWD`, for some `_` and `SHLVL`).
        assert!(finished.output.starts_with("/root 1\n/\n"), "{finished:?}");
        let count: usize = finished.output.lines().last().unwrap().trim().parse().unwrap();
        assert!((4..=7).contains(&count), "{finished:?}");
        assert_eq!(run("true", &[], None).unwrap().fault, None);
        let late = run("sh", &["-c", "echo on; sleep 60"], Some(Duration::from_millis(200)));
        assert_eq!(
            late.unwrap_err().sentence(),
            "`sh` was killed, because it had not ended after 0 s: on"
        );
        assert!(matches!(run("no-such-program", &[], None), Err(Error::NoProgram { .. })));
    }
}
