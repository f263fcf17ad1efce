//! Running other programs, told before they run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::Error;

/// The checkout's root folder.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// Runs a command in the checkout with its output shown, and fails when it fails.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    let line = told(command);
    println!("$ {line}");
    let status = command.current_dir(root()).status().map_err(|source| start(command, source))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed { command: line, status: status.to_string() })
}

/// Runs a command with its output kept; tells whether it succeeded, and what it wrote.
pub(crate) fn captured(command: &mut Command) -> Result<(bool, String), Error> {
    let output = command.stdin(Stdio::null()).output().map_err(|source| start(command, source))?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

/// Cargo, as it was called for this program.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

pub(crate) fn told(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    std::iter::once(program.to_string_lossy().into_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

fn start(command: &Command, source: std::io::Error) -> Error {
    Error::Start { program: command.get_program().to_string_lossy().into_owned(), source }
}
