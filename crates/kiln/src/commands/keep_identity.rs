//! `kiln keep-identity`: keeps machine-id, host name and host keys when they change.

use std::process::ExitCode;

use clap::Args;
use kiln_host::etc;

use crate::options::machine::MachineArguments;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln keep-identity";

/// Keep machine-id, host name and host keys of /etc in the state
///
/// A unit calls this whenever one of them changes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct KeepIdentityArguments {
    #[command(flatten)]
    machine: MachineArguments,
}

pub(crate) fn run(arguments: &KeepIdentityArguments) -> Result<ExitCode, Failure> {
    for kept in etc::keep_identity(&arguments.machine.paths())? {
        render::data(&format!("kept /etc/{kept}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
