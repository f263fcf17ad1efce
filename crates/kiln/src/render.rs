//! How this program speaks: the one place where errors, warnings and data are printed.
//!
//! Data goes to standard output and nothing else does, so that `kiln … --json | jq` always works.
//! Messages go to standard error: the error, its causes indented below it, an empty line and a
//! `hint:`. Colour is used only on a terminal, never with `NO_COLOR`, and never carries meaning that
//! the words do not.

use std::error::Error;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use crate::exit;

/// Why a verb failed, with what to do next. There is no failure without it.
#[derive(Debug)]
pub(crate) struct Failure {
    error: Box<dyn Error>,
    hint: String,
}

/// What is left to say when nothing below knows what to do.
const LAST_RESORT: &str = "try again with `-v`; if it stays, report it with these lines";

impl Failure {
    /// A failure that has no cause below it.
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        let error: Box<dyn Error + Send + Sync> = message.into().into();
        Self { error, hint: hint.into() }
    }

    /// A refusal of the operating system.
    pub(crate) fn system(message: impl Into<String>, source: std::io::Error) -> Self {
        Refused { message: message.into(), source }.into()
    }

    fn with(error: impl Error + 'static, hint: Option<String>) -> Self {
        let hint = hint.or_else(|| kiln_build::advice(&error));
        Self { hint: hint.unwrap_or_else(|| LAST_RESORT.into()), error: Box::new(error) }
    }
}

/// What was tried, and what the operating system said.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Refused {
    message: String,
    source: std::io::Error,
}

impl From<Refused> for Failure {
    fn from(error: Refused) -> Self {
        Self::with(error, None)
    }
}

/// Errors of the crates below bring their own hint.
macro_rules! failure_from {
    ($($error:ty),+) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let hint = error.hint();
                Self::with(error, hint)
            }
        })+
    };
}

failure_from!(
    crate::legacy::LegacyError,
    kiln_build::Error,
    kiln_host::Error,
    kiln_lint::Error,
    kiln_provision::Error,
    kiln_qemu::Error,
    kiln_release::Error
);

/// Prints a failure; the process ends with what this returns.
pub(crate) fn failure(failure: &Failure) -> ExitCode {
    let mut text = format!("{} {}\n", label("error:", "31"), failure.error);
    let mut cause = failure.error.source();
    let mut said = failure.error.to_string();
    while let Some(error) = cause {
        let message = error.to_string();
        // Transparent wrappers say the same words twice.
        if message != said {
            text.push_str(&format!("  caused by: {message}\n"));
        }
        said = message;
        cause = error.source();
    }
    text.push_str(&format!("\n{} {}\n", label("hint:", "36"), failure.hint));
    write_message(&text);
    ExitCode::from(exit::FAILED)
}

/// Prints one warning.
pub(crate) fn warning(message: &str) {
    write_message(&format!("{} {message}\n", label("warning:", "33")));
}

/// Prints one line of message.
pub(crate) fn message(text: &str) {
    write_message(&format!("{text}\n"));
}

/// Prints data on standard output. A reader that has gone away is no error.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    bytes(text.as_bytes())
}

/// Prints bytes on standard output. A reader that has gone away is no error.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::system("cannot write to standard output", error))
        }
        _ => Ok(()),
    }
}

/// Prints a value as JSON.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    data(&format!("{value:#}\n"))
}

/// Whether messages are coloured.
pub(crate) fn is_coloured() -> bool {
    std::io::stderr().is_terminal() && is_colour_wanted()
}

/// Whether data for people is coloured.
pub(crate) fn is_coloured_data() -> bool {
    std::io::stdout().is_terminal() && is_colour_wanted()
}

/// <https://no-color.org>: any value that is not empty says no.
fn is_colour_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A coloured word where colour is wanted.
fn label(word: &str, colour: &str) -> String {
    if is_coloured() { format!("\x1b[1;{colour}m{word}\x1b[0m") } else { word.to_owned() }
}

fn write_message(text: &str) {
    // Nobody is left to be told that standard error is closed.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
