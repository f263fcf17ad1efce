//! `kiln manual`: manual pages.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _};

use crate::arguments::Arguments;
use crate::render::Failure;

/// Write manual pages, one for each verb
///
/// Example: `kiln manual /usr/local/share/man/man1`
#[derive(Debug, Args)]
pub(crate) struct ManualArguments {
    /// The folder to write to; made if missing
    folder: PathBuf,
}

pub(crate) fn run(arguments: &ManualArguments) -> Result<ExitCode, Failure> {
    write_pages(&arguments.folder).map_err(|error| {
        Failure::new(format!("cannot write to {}: {error}", arguments.folder.display()), None)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn write_pages(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Arguments::command(), folder)
}
