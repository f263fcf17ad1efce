//! `kiln diff`: what of `/etc` is not as the release has it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use kiln_host::etc::{self, DiffOptions};

use crate::options::machine::MachineArguments;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln diff
  kiln diff --text /etc/ssh /etc/passwd
  kiln diff --json | jq -r '.changes[] | select(.change == \"removed\") | .path'";

/// Show what of /etc is not as the running release has it
///
/// What programs derive from the image, such as ld.so.cache, is left out unless it is named.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DiffArguments {
    /// Files and folders in /etc; all of it without
    paths: Vec<PathBuf>,
    /// Show the changed lines; neither private files nor hashes of passwords are shown
    #[arg(long)]
    text: bool,
    /// Print JSON; the keys stand in docs/etc.md
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArguments,
}

pub(crate) fn run(arguments: &DiffArguments) -> Result<ExitCode, Failure> {
    let options = DiffOptions { paths: arguments.paths.clone(), with_text: arguments.text };
    let diff = etc::diff(&arguments.machine.paths(), &options)?;
    if arguments.json {
        let value = serde_json::to_value(&diff)
            .map_err(|error| Failure::system("cannot write the report", error.into()))?;
        render::json(&value)?;
    } else {
        render::data(&diff.to_text())?;
    }
    Ok(ExitCode::SUCCESS)
}
