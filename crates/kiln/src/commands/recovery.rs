//! `kiln recovery`: start it once, or let it write a slot.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use kiln_host::hooks::NoHooks;
use kiln_host::{execute, one_shot};

use crate::hooks::{self, DocumentHooks};
use crate::options::change::ChangeArguments;
use crate::options::confirm::ConfirmArguments;
use crate::options::machine::{MachineArguments, busy};
use crate::options::strict::StrictArguments;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln recovery next --reboot
  kiln recovery install --reboot
  kiln upgrade --recovery

Exit codes: 0 done, 1 failed or refused, 2 wrong usage.";

const NEXT_EXAMPLES: &str = "\
Examples:
  kiln recovery next --reboot
  kiln recovery next --cancel";

const INSTALL_EXAMPLES: &str = "\
Examples:
  kiln recovery install --dry-run
  kiln recovery install --yes --reboot";

/// Start recovery once, or let it bring a system back
///
/// Recovery is a release of its own partition that starts when nothing else does. It is filled by
/// itself with the first release that proved itself; `kiln upgrade --recovery` refreshes it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RecoveryArguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Next(NextArguments),
    Install(InstallArguments),
}

/// Let the next boot, and no other, start recovery
#[derive(Debug, Args)]
#[command(after_help = NEXT_EXAMPLES)]
struct NextArguments {
    /// Restart at once
    #[arg(long)]
    reboot: bool,
    /// Take it back
    #[arg(long, conflicts_with = "reboot")]
    cancel: bool,
    #[command(flatten)]
    machine: MachineArguments,
}

/// Write the release that recovery holds into a slot, and let the next boot try it
///
/// Only in recovery. The slot that still starts is kept if there is one. Hooks are before-deploy,
/// after-deploy-chroot, after-deploy and post-deploy.
#[derive(Debug, Args)]
#[command(after_help = INSTALL_EXAMPLES)]
struct InstallArguments {
    #[command(flatten)]
    confirm: ConfirmArguments,
    #[command(flatten)]
    strict: StrictArguments,
    #[command(flatten)]
    change: ChangeArguments,
}

pub(crate) fn run(arguments: &RecoveryArguments, quiet: bool) -> Result<ExitCode, Failure> {
    match &arguments.verb {
        Verb::Next(arguments) => next(arguments),
        Verb::Install(arguments) => install(arguments, quiet),
    }
}

fn next(arguments: &NextArguments) -> Result<ExitCode, Failure> {
    let paths = arguments.machine.paths();
    if arguments.cancel {
        let text = if one_shot::cancel(&paths)? { "taken back" } else { "nothing was chosen" };
        render::message(text);
        return Ok(ExitCode::SUCCESS);
    }
    one_shot::start_recovery(&paths, &execute::status(&paths)?)?;
    render::message("the next boot starts recovery, the one after it the system");
    if arguments.reboot {
        arguments.machine.restart()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn install(arguments: &InstallArguments, quiet: bool) -> Result<ExitCode, Failure> {
    let paths = arguments.change.machine.paths();
    let (plan, release, _) = execute::deploy(&paths, true, &mut NoHooks, busy)?;
    let mut hooks = DocumentHooks::new("deploy", &arguments.change.machine, &[], quiet)?;
    let planned = hooks.planned();
    let what = format!("{} ({} {})", release.title, release.name, release.version);
    let mut generation = None;
    if !arguments.confirm.dry_run {
        let goes = plan.removes.len();
        let question = format!("{what} is written into slot {}, {goes} boot files go", plan.target);
        arguments.confirm.ask(&question, "install")?;
        (_, _, generation) = execute::deploy(&paths, false, &mut hooks, busy)?;
    }
    if arguments.change.json {
        render::json(&serde_json::json!({
            "format": "kiln.recovery.v1",
            "dry_run": arguments.confirm.dry_run,
            "slot": plan.target,
            "generation": generation,
            "version": release.version,
            "root_hash": release.root.hash,
            "hooks": hooks::to_json(&planned),
        }))?;
    } else {
        render::message(&match generation {
            Some(generation) => format!("generation {generation} starts at the next boot"),
            None => format!("{what} would be written into slot {}", plan.target),
        });
        if arguments.confirm.dry_run {
            render::data(&hooks::describe(&planned))?;
        }
    }
    arguments.change.finish_with(&hooks)?;
    Ok(arguments.strict.code(&hooks))
}
