//! `kiln settle`: what the unit calls when a boot has proved itself.

use std::process::ExitCode;

use clap::Args;
use kiln_host::execute::{self, KEPT_SUFFIX, Settled};
use kiln_host::hooks::{Hooks, Moment};
use kiln_host::plan::LoaderVerdict;

use crate::hooks::DocumentHooks;
use crate::options::machine::{MachineArguments, busy};
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln settle";

/// Do what can wait until a boot proved itself
///
/// Called by kiln-settle.service. Puts the release's boot loader onto the ESP if it is newer, fills
/// recovery if it is empty, deletes what a reset set aside, and in an image that starts in recovery
/// writes the system and restarts into it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SettleArguments {
    #[command(flatten)]
    machine: MachineArguments,
}

/// Hooks that are looked for when they are due: nearly no boot deploys.
struct OnDemand<'a> {
    machine: &'a MachineArguments,
    hooks: Option<DocumentHooks>,
}

impl Hooks for OnDemand<'_> {
    fn run(&mut self, moment: &Moment<'_>) {
        if self.hooks.is_none() {
            self.hooks = DocumentHooks::new("deploy", self.machine, &[], false).ok();
        }
        if let Some(hooks) = &mut self.hooks {
            hooks.run(moment);
        }
    }
}

pub(crate) fn run(arguments: &SettleArguments) -> Result<ExitCode, Failure> {
    let paths = arguments.machine.paths();
    // First, because it takes a moment and a shutdown may end the rest; but it holds up nothing.
    let loaders = execute::update_loaders(&paths, busy);
    for plan in loaders.iter().flatten() {
        let path = &plan.path;
        render::message(&match &plan.verdict {
            LoaderVerdict::Replace { from, to } => format!(
                "boot loader {path}: {to} replaces {from}, which is kept as {path}{KEPT_SUFFIX}"
            ),
            LoaderVerdict::Keep(reason) => format!("boot loader {path} stays: {reason}"),
        });
    }
    let mut hooks = OnDemand { machine: &arguments.machine, hooks: None };
    match execute::settle(&paths, &mut hooks, busy)? {
        Settled::Nothing(reason) => render::message(&format!("nothing to do: {reason}")),
        Settled::Filled(generation) => {
            render::message(&format!("recovery holds generation {generation}"));
        }
        Settled::Deployed(generation) => {
            render::message(&format!("generation {generation} is on this disk and starts now"));
            arguments.machine.restart()?;
        }
    }
    loaders?;
    Ok(ExitCode::SUCCESS)
}
