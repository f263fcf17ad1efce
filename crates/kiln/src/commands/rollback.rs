//! `kiln rollback`: back to the other revision, by hand.

use std::process::ExitCode;

use clap::Args;
use kiln_host::execute;

use crate::options::change::ChangeArguments;
use crate::options::machine::busy;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln rollback --dry-run
  kiln rollback --reboot

Exit codes: 0 the next boot starts the other revision, 1 there is none or it failed, 2 wrong usage.";

/// Let the next boot start the revision in the other slot
///
/// One rename on the ESP. Whatever its age, the other revision may always be returned to; calling it
/// again after the restart comes back, with counted tries.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RollbackArguments {
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    change: ChangeArguments,
}

pub(crate) fn run(arguments: &RollbackArguments) -> Result<ExitCode, Failure> {
    let (machine, back) =
        execute::rollback(&arguments.change.machine.paths(), arguments.dry_run, busy)?;
    let to = back.renumbered.unwrap_or(back.to);
    let version =
        machine.ledger.revision(back.to).map(|revision| revision.release.version.as_str());
    if arguments.change.json {
        render::json(&serde_json::json!({
            "format": "kiln.rollback.v1",
            "dry_run": arguments.dry_run,
            "from": back.from,
            "to": to,
            "version": version,
        }))?;
    } else {
        let verb = if arguments.dry_run { "would start" } else { "starts" };
        let version = version.map_or_else(String::new, |version| format!(" (version {version})"));
        render::message(&format!("the next boot {verb} generation {to}{version}"));
    }
    arguments.change.finish()
}
