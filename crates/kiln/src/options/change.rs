//! What verbs have in common that change what this machine starts or keeps.

use std::process::ExitCode;

use clap::Args;

use super::machine::MachineArguments;
use crate::hooks::DocumentHooks;
use crate::hooks::tools::Power;
use crate::render::Failure;

/// Which machine, and what comes after the change. The verb brings its own `--dry-run`.
#[derive(Debug, Args)]
pub(crate) struct ChangeArguments {
    /// Restart when it is done
    #[arg(long, conflicts_with = "dry_run")]
    reboot: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) machine: MachineArguments,
}

impl ChangeArguments {
    /// Ends a verb with hooks: with what the call or one of them asked for.
    pub(crate) fn finish_with(&self, hooks: &DocumentHooks) -> Result<(), Failure> {
        hooks.finish(&self.machine, self.reboot.then_some(Power::Restart))
    }

    /// Ends a verb whose change was made: with a restart, if one was asked for.
    pub(crate) fn finish(&self) -> Result<ExitCode, Failure> {
        if self.reboot {
            self.machine.restart()?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
