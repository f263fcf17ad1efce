//! One file a verb.
//!
//! A verb's file holds its arguments and turns them into a call of the crates below. It decides
//! nothing about images or disks.

pub(crate) mod bless;
pub(crate) mod boot_failed;
pub(crate) mod bootstrap;
pub(crate) mod build;
pub(crate) mod completion;
pub(crate) mod debug;
pub(crate) mod diff;
pub(crate) mod explain;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod inspect;
pub(crate) mod install;
pub(crate) mod kargs;
pub(crate) mod keep_identity;
pub(crate) mod lint;
pub(crate) mod manual;
pub(crate) mod provision;
pub(crate) mod push;
pub(crate) mod recovery;
pub(crate) mod reset;
pub(crate) mod rollback;
pub(crate) mod run;
pub(crate) mod settle;
pub(crate) mod sign;
pub(crate) mod stage;
pub(crate) mod status;
pub(crate) mod upgrade;
pub(crate) mod validate;

use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::arguments::{Arguments, Verb};
use crate::hooks::tools;
use crate::render::Failure;

/// Whether a verb holds the ledger of the machine while it works.
fn changes_machine(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::Upgrade(_)
            | Verb::Rollback(_)
            | Verb::Recovery(_)
            | Verb::Reset(_)
            | Verb::Settle(_)
            | Verb::Kargs(_)
            | Verb::Bless(_)
    )
}

/// Runs the verb that was typed.
pub(crate) fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Arguments { quiet, verbose, verb } = arguments;
    if tools::is_hook() && changes_machine(&verb) {
        // It would wait for ever for the one that runs the hook.
        return Err(Failure::new(
            "a hook cannot change what this machine starts: the kiln that runs it is about that",
            "do it in the stage boot or network",
        ));
    }
    match verb {
        Verb::Bootstrap(arguments) => bootstrap::run(arguments, quiet, verbose),
        Verb::Build(arguments) => build::run(*arguments, quiet, verbose),
        Verb::Lint(arguments) => lint::run(arguments, quiet, verbose),
        Verb::Validate(arguments) => validate::run(&arguments, quiet),
        Verb::Explain(arguments) => explain::run(&arguments, quiet),
        Verb::Stage(arguments) => stage::run(&arguments, quiet),
        Verb::Provision(arguments) => provision::run(&arguments, quiet),
        Verb::Run(arguments) => run::run(arguments, quiet),
        Verb::Inspect(arguments) => inspect::run(&arguments),
        Verb::Install(arguments) => install::run(*arguments, quiet, verbose),
        Verb::Upgrade(arguments) => upgrade::run(*arguments, quiet, verbose),
        Verb::Push(arguments) => push::run(*arguments, quiet, verbose),
        Verb::Sign(arguments) => sign::run(&arguments),
        Verb::Rollback(arguments) => rollback::run(&arguments),
        Verb::Recovery(arguments) => recovery::run(&arguments, quiet),
        Verb::Reset(arguments) => reset::run(&arguments, quiet),
        Verb::Settle(arguments) => settle::run(&arguments),
        Verb::Kargs(arguments) => kargs::run(&arguments),
        Verb::Debug(arguments) => debug::run(&arguments),
        Verb::Diff(arguments) => diff::run(&arguments),
        Verb::Status(arguments) => status::run(&arguments),
        Verb::History(arguments) => history::run(&arguments),
        Verb::Health(arguments) => health::run(&arguments),
        Verb::KeepIdentity(arguments) => keep_identity::run(&arguments),
        Verb::Bless(arguments) => bless::run(&arguments),
        Verb::BootFailed(arguments) => boot_failed::run(&arguments),
        Verb::Completion(arguments) => completion::run(&arguments, Arguments::command()),
        Verb::Manual(arguments) => manual::run(&arguments, Arguments::command()),
    }
}
