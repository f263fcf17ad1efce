//! `kiln debug`: a writable system until the next restart.

use std::process::ExitCode;

use clap::Args;
use kiln_host::{Error, debug};

use crate::options::machine::MachineArguments;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln debug
  kiln status --json | jq .debug_overlay

Exit codes: 0 the system is writable, 1 refused or failed, 2 wrong usage.";

/// Make /usr writable in memory, until the next restart
///
/// For poking around: install a tracer, edit a unit, try a fix. Everything lies in RAM and is gone after
/// a restart; the disk, the boot files and the root hash stay as they are. `kiln status` says so.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DebugArguments {
    /// Explain how to end it: by a restart
    #[arg(long)]
    stop: bool,
    /// Print the result as JSON
    #[arg(long, conflicts_with = "stop")]
    json: bool,
    #[command(flatten)]
    machine: MachineArguments,
}

pub(crate) fn run(arguments: &DebugArguments) -> Result<ExitCode, Failure> {
    let paths = arguments.machine.paths();
    if arguments.stop {
        let reason = if debug::is_active(&paths) {
            "a debug overlay ends with a restart: programs run from it"
        } else {
            "there is no debug overlay"
        };
        let hint = "`systemctl reboot` leads to the system as its root hash proves it".to_owned();
        return Err(Error::Refused { reason: reason.to_owned(), hint }.into());
    }
    let overlays = debug::start(&paths)?;
    let folders: Vec<&str> = overlays.iter().map(|overlay| overlay.folder.as_str()).collect();
    if arguments.json {
        render::json(&serde_json::json!({ "format": "kiln.debug.v1", "writable": folders }))?;
    } else {
        render::message(&format!("writable until the next restart: {}", folders.join(", ")));
    }
    Ok(ExitCode::SUCCESS)
}
