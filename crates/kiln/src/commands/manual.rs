//! `kiln manual`: manual pages, and the same for a web site.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command};

use crate::reference;
use crate::render::Failure;

const EXAMPLES: &str = "\
Examples:
  kiln manual /usr/local/share/man/man1
  kiln manual --format markdown docs/reference";

/// Write manual pages, one for each verb
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ManualArguments {
    /// The folder to write to; made if missing
    folder: PathBuf,
    /// The form of the pages
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "man")]
    format: Format,
}

/// The form of the pages.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For man(1)
    Man,
    /// Markdown
    Markdown,
}

/// Writes the pages of `command`, the whole command line.
pub(crate) fn run(arguments: &ManualArguments, command: Command) -> Result<ExitCode, Failure> {
    write_pages(&arguments.folder, arguments.format, command).map_err(|error| {
        Failure::system(format!("cannot write to {}", arguments.folder.display()), error)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn write_pages(folder: &Path, format: Format, command: Command) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    match format {
        Format::Man => clap_mangen::generate_to(command, folder),
        Format::Markdown => reference::pages(command)
            .into_iter()
            .try_for_each(|(name, text)| std::fs::write(folder.join(name), text)),
    }
}
