//! `kiln bless`: what the unit calls when all health checks of a boot have passed.

use std::process::ExitCode;

use clap::Args;
use kiln_host::{execute, motd};

use crate::options::machine::{MachineArguments, busy};
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln bless";

/// Keep what runs: stop counting its boots
///
/// Called by kiln-bless.service. Calling it by hand makes a system stay that has not proved itself.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BlessArguments {
    #[command(flatten)]
    machine: MachineArguments,
}

pub(crate) fn run(arguments: &BlessArguments) -> Result<ExitCode, Failure> {
    let paths = arguments.machine.paths();
    match execute::bless(&paths, busy)? {
        Some(generation) => render::message(&format!("generation {generation} is blessed")),
        None => render::message("nothing here is to be blessed"),
    }
    // What people read is no reason to go back.
    let told = execute::status(&paths).and_then(|machine| motd::write(&paths, &machine));
    if let Err(error) = told {
        render::warning(&error.to_string());
    }
    Ok(ExitCode::SUCCESS)
}
