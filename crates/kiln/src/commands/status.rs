//! `kiln status`: what runs, what comes next, and what failed.

use std::process::ExitCode;

use clap::Args;
use kiln_host::execute;
use kiln_host::machine::{Paths, glimpse};
use kiln_host::one_shot;
use kiln_host::report::Status;
use kiln_host::{Error, debug, provisioning, secure_boot};

use crate::options::machine::MachineArguments;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln status
  kiln status --json | jq .pending_reboot";

/// Show what runs, what starts next, and what failed and why
///
/// Without root the disk is not read; what runs and what failed is told all the same.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusArguments {
    /// Print JSON, all lengths in bytes; the keys stand in docs/upgrade.md
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArguments,
}

pub(crate) fn run(arguments: &StatusArguments) -> Result<ExitCode, Failure> {
    let paths = arguments.machine.paths();
    let status = status(&paths)?
        .with_debug_overlay(debug::is_active(&paths))
        .with_secure_boot(secure_boot::is_enforced(&paths))
        .with_provisioning_failure(provisioning::last_failure(&paths));
    if arguments.json {
        let value = serde_json::to_value(&status)
            .map_err(|error| Failure::system("cannot write the report", error.into()))?;
        render::json(&value)?;
    } else {
        render::data(&status.to_text())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The whole of it, or without the disk if that cannot be read.
fn status(paths: &Paths) -> Result<Status, Failure> {
    let is_blessed = paths.blessed.exists();
    match execute::status(paths) {
        Ok(machine) => {
            let recovery_next = one_shot::is_recovery_next(paths);
            Ok(Status { recovery_next, ..Status::of(&machine, is_blessed) })
        }
        // Nothing could be told then, with or without the disk.
        Err(error @ (Error::NotKiln { .. } | Error::Ledger { .. })) => Err(error.into()),
        Err(error) => {
            let hint = error.hint().unwrap_or_default();
            render::warning(&format!("this is not all: {error}; {hint}"));
            Ok(Status::of_glimpse(&glimpse(paths)?, is_blessed))
        }
    }
}
