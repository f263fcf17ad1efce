//! What can go wrong in the test kit itself, as opposed to in the product under test.
//!
//! A failing test is read by somebody who did not write it, often from a log alone. So each error
//! carries its evidence: the last lines of a screen, the standard error of a tool.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// A failure of a machine, a fixture or a tool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be used.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// An external tool is not installed.
    #[error("{program} is not in PATH")]
    MissingTool {
        /// Its program.
        program: String,
        /// The Debian package that has it, where known.
        package: Option<&'static str>,
    },
    /// An external tool could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// Its program.
        program: String,
        /// The system's answer.
        source: io::Error,
    },
    /// An external tool refused.
    #[error("{command} ended with {status}\n{output}")]
    Tool {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// What it wrote, standard output before standard error.
        output: String,
    },
    /// The machine could not be described or started.
    #[error("{source}")]
    Machine {
        /// The reason.
        #[from]
        source: kiln_qemu::Error,
    },
    /// The expected text did not appear on the console.
    #[error(
        "{machine}: {problem} while waiting for {wanted}; transcript in {}; the last lines:\n{tail}",
        transcript.display()
    )]
    Console {
        /// Name of the machine.
        machine: String,
        /// What happened instead.
        problem: String,
        /// The patterns.
        wanted: String,
        /// File with everything that the console showed.
        transcript: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A command in the guest ended with another status than 0.
    #[error("{machine}: `{command}` ended with {status}:\n{text}")]
    Guest {
        /// Name of the machine.
        machine: String,
        /// The command.
        command: String,
        /// Its exit status.
        status: i32,
        /// What it wrote.
        text: String,
    },
    /// A log of a disk's writes is damaged.
    #[error("{} is no usable log of writes: {source}", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The product does not keep a promise.
    #[error("it does not hold that {claim}; found: {found}")]
    Broken {
        /// What should hold.
        claim: String,
        /// What was found in its place.
        found: String,
    },
    /// An environment variable that the tests need is not set.
    #[error("{variable} is not set")]
    Unset {
        /// Its name.
        variable: &'static str,
    },
    /// A program's output was not in the expected form.
    #[error("cannot understand {what}: {text}")]
    Unexpected {
        /// What was read.
        what: String,
        /// The text.
        text: String,
    },
}

impl Error {
    /// What to do next, where there is one likely answer.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::MissingTool { package: Some(package), .. } => {
                Some(format!("`apt-get install {package}`, or `cargo xtask packages` for all"))
            }
            Self::Unset { .. } => Some("run the tests by `cargo xtask test`".into()),
            Self::Machine { source } => source.hint(),
            _ => None,
        }
    }
}

/// Turns a system error into [`Error::File`].
pub(crate) fn file_error(
    action: &'static str,
    path: &std::path::Path,
) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path: path.clone(), source }
}

/// An error as the outcome of a test: the test runner prints its `Debug` form, which is made to be
/// the message with all its lines, and the hint.
pub struct Failure(Error);

/// Set once a test of this process has ended with an error: its folder is evidence then.
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

/// Whether a test of this process has ended with an error.
pub(crate) fn has_failed() -> bool {
    HAS_FAILED.load(Ordering::Relaxed)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        HAS_FAILED.store(true, Ordering::Relaxed);
        Self(error)
    }
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)?;
        match self.0.hint() {
            Some(hint) => write!(formatter, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}
