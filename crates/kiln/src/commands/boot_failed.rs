//! `kiln boot-failed`: what units call when a boot has failed.
//!
//! It must never be the reason why a machine stays where it is: if the disk or the ledger cannot be
//! read, the word of the first process decides whether a restart helps.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use kiln_host::execute::{self, Assessment};
use kiln_host::ledger::Stage;
use kiln_host::machine::{Paths, is_counted};
use kiln_host::{motd, system};

use crate::options::machine::{MachineArguments, busy};
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln boot-failed --stage health
  kiln boot-failed --stage health --reason 'no network'";

/// Give up this boot: write down why, and restart if that leads to another try or another release
///
/// Called by units. A release that proved itself in an earlier boot is left running.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BootFailedArguments {
    /// Where the boot stopped
    #[arg(long, value_name = "STAGE", value_enum)]
    stage: StageName,
    /// What was wrong [default: what failed in the health checks, or the failed units]
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    machine: MachineArguments,
}

/// Where a boot stops.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum StageName {
    /// In the first process
    Boot,
    /// Before the health checks
    Start,
    /// In systemd's emergency or rescue mode
    Emergency,
    /// In the health checks
    Health,
    /// Nowhere: the time ran out
    Deadline,
}

pub(crate) fn run(arguments: &BootFailedArguments) -> Result<ExitCode, Failure> {
    let paths = arguments.machine.paths();
    let stage = match arguments.stage {
        StageName::Boot => Stage::Boot,
        StageName::Start => Stage::Start,
        StageName::Emergency => Stage::Emergency,
        StageName::Health => Stage::Health,
        StageName::Deadline => Stage::Deadline,
    };
    let reason = arguments.reason.clone().unwrap_or_else(|| found_reason(&paths));
    render::message(&format!("this boot failed: {stage}: {}", reason.trim_end()));
    let assessment = execute::fail(&paths, stage, &reason, busy).unwrap_or_else(|error| {
        render::warning(&format!("this is not written down: {error}"));
        if is_counted(&paths) { Assessment::Counted } else { Assessment::Unknown }
    });
    let told = execute::status(&paths).and_then(|machine| motd::write(&paths, &machine));
    if let Err(error) = told {
        render::warning(&error.to_string());
    }
    match assessment {
        Assessment::Counted => {
            render::message("restarting: the loader has another try or another release");
            arguments.machine.restart_for_certain()?;
        }
        Assessment::Alone => {
            render::message("all tries are used up and nothing else can start: this stays");
        }
        Assessment::Blessed => {
            render::message("this release proved itself in an earlier boot: it stays");
        }
        Assessment::Unknown => {
            render::message("nothing says what the loader would start instead: this stays");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn found_reason(paths: &Paths) -> String {
    // A missing file only means that the checks are not what failed.
    let told = std::fs::read(&paths.health_failure).unwrap_or_default();
    let told = String::from_utf8_lossy(&told).trim().to_owned();
    if !told.is_empty() {
        return told;
    }
    match system::failed_units() {
        units if units.is_empty() => "nothing failed, but it took too long".to_owned(),
        units => format!("failed units: {units}"),
    }
}
