//! `kiln health`: the checks that decide whether a boot counts as good.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use kiln_host::health::{self, Check, Kind, Outcome};
use kiln_host::machine::Paths;
use serde_json::json;

use crate::exit;
use crate::options::machine::MachineArguments;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln health list
  kiln health run";

const RUN_EXAMPLES: &str = "\
Examples:
  kiln health run
  kiln health run --json

Exit codes: 0 all passed, 1 one failed, 2 wrong usage.";

const LIST_EXAMPLES: &str = "\
Examples:
  kiln health list
  kiln health list --json";

/// Run or list the checks that decide whether a boot was good
///
/// Checks are executables in /usr/lib/kiln/health.d and /etc/kiln/health.d; see docs/health.md.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct HealthArguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(RunArguments),
    List(ListArguments),
}

/// Run all checks, one after the other
///
/// Each has two minutes. On a machine that is starting, a failure here leads back to the release
/// before; calling it later only tells.
#[derive(Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
struct RunArguments {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArguments,
}

/// List all checks in the order in which they run
#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
struct ListArguments {
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArguments,
}

pub(crate) fn run(arguments: &HealthArguments) -> Result<ExitCode, Failure> {
    match &arguments.verb {
        Verb::Run(arguments) => run_checks(arguments.json, &arguments.machine.paths()),
        Verb::List(arguments) => list(arguments.json, &arguments.machine.paths()),
    }
}

fn run_checks(as_json: bool, paths: &Paths) -> Result<ExitCode, Failure> {
    let checks = health::list(&paths.health_checks)?;
    for check in checks.iter().filter(|check| check.kind == Kind::NotExecutable) {
        render::warning(&format!("{} may not be executed and does not run", check.path.display()));
    }
    let outcomes = health::run(&checks, health::TIME_LIMIT, &mut |outcome| {
        render::message(&describe(outcome));
    });
    let passed = health::conclude(paths, &outcomes)?;
    if as_json {
        let checks: Vec<_> = outcomes.iter().map(to_json).collect();
        render::json(&json!({ "format": "kiln.health.v1", "passed": passed, "checks": checks }))?;
    }
    Ok(ExitCode::from(if passed { exit::DONE } else { exit::FAILED }))
}

fn describe(outcome: &Outcome) -> String {
    let seconds = outcome.duration.as_secs_f64();
    match &outcome.failure {
        None => format!("{}: passed in {seconds:.1} s", outcome.name),
        Some(failure) => {
            let output = outcome.output.trim_end();
            let indented: String = output.lines().map(|line| format!("\n  {line}")).collect();
            format!("{}: {failure}{indented}", outcome.name)
        }
    }
}

fn to_json(outcome: &Outcome) -> serde_json::Value {
    json!({
        "name": outcome.name,
        "passed": outcome.failure.is_none(),
        "failure": outcome.failure,
        "output": outcome.output,
        "milliseconds": u64::try_from(outcome.duration.as_millis()).unwrap_or(u64::MAX),
    })
}

fn list(as_json: bool, paths: &Paths) -> Result<ExitCode, Failure> {
    let checks = health::list(&paths.health_checks)?;
    let kind = |check: &Check| match check.kind {
        Kind::Runs => "runs",
        Kind::Masked => "masked",
        Kind::NotExecutable => "not-executable",
    };
    if as_json {
        let checks: Vec<_> = checks
            .iter()
            .map(|check| {
                json!({ "name": check.name, "path": check.path.display().to_string(),
                        "state": kind(check) })
            })
            .collect();
        render::json(&json!({ "format": "kiln.health-list.v1", "checks": checks }))?;
    } else {
        let line = |check: &Check| format!("{:<15} {}\n", kind(check), check.path.display());
        render::data(&checks.iter().map(line).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}
