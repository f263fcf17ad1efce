//! `kiln settle`: what the unit calls when a boot has proved itself.

use std::process::ExitCode;

use clap::Args;
use kiln_host::execute::{self, Settled};

use crate::options::machine::{MachineArguments, busy};
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln settle";

/// Do what can wait until a boot proved itself
///
/// Called by kiln-settle.service. Fills recovery if it is empty, deletes what a reset set aside, and in
/// an image that starts in recovery writes the system and restarts into it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SettleArguments {
    #[command(flatten)]
    machine: MachineArguments,
}

pub(crate) fn run(arguments: &SettleArguments) -> Result<ExitCode, Failure> {
    match execute::settle(&arguments.machine.paths(), busy)? {
        Settled::Nothing(reason) => render::message(&format!("nothing to do: {reason}")),
        Settled::Filled(generation) => {
            render::message(&format!("recovery holds generation {generation}"));
        }
        Settled::Deployed(generation) => {
            render::message(&format!("generation {generation} is on this disk and starts now"));
            arguments.machine.restart()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
