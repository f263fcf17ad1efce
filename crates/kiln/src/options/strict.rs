//! What a failed hook means for the exit status.

use std::process::ExitCode;

use clap::Args;

use crate::exit;
use crate::hooks::DocumentHooks;

/// How strictly hooks are taken.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct StrictArguments {
    /// Fail where a hook failed; what was asked for is done all the same
    #[arg(long)]
    strict: bool,
}

impl StrictArguments {
    /// The exit code of a verb that did its work.
    pub(crate) fn code(self, hooks: &DocumentHooks) -> ExitCode {
        let failed = self.strict && hooks.has_failed();
        ExitCode::from(if failed { exit::FAILED } else { exit::DONE })
    }
}
