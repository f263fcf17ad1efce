//! `kiln history`: what this machine has run.

use std::process::ExitCode;

use clap::Args;
use kiln_host::execute;
use kiln_host::loader::Record;
use kiln_host::machine::glimpse;
use kiln_host::report::History;

use crate::options::machine::MachineArguments;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln history
  kiln history --json | jq '.revisions[] | select(.events[-1].state == \"failed\")'";

/// Show what this machine has run and what became of it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct HistoryArguments {
    /// Print JSON; the keys stand in docs/upgrade.md
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArguments,
}

pub(crate) fn run(arguments: &HistoryArguments) -> Result<ExitCode, Failure> {
    let paths = arguments.machine.paths();
    // With the disk it also knows what happened since the ledger was written.
    let ledger = match execute::status(&paths) {
        Ok(machine) => machine.ledger,
        Err(_) => glimpse(&paths)?.ledger,
    };
    let history = History::of(&ledger, &Record::read(&paths.ledger));
    if arguments.json {
        let value = serde_json::to_value(&history)
            .map_err(|error| Failure::system("cannot write the report", error.into()))?;
        render::json(&value)?;
    } else {
        render::data(&history.to_text())?;
    }
    Ok(ExitCode::SUCCESS)
}
