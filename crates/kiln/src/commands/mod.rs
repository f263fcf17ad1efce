//! One file a verb.
//!
//! A verb's file holds its arguments and turns them into a call of the crates below. It decides
//! nothing about images or disks.

pub(crate) mod bless;
pub(crate) mod boot_failed;
pub(crate) mod bootstrap;
pub(crate) mod build;
pub(crate) mod completion;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod inspect;
pub(crate) mod lint;
pub(crate) mod manual;
pub(crate) mod push;
pub(crate) mod rollback;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod upgrade;

use std::process::ExitCode;

use crate::arguments::{Arguments, Verb};
use crate::render::Failure;

/// Runs the verb that was typed.
pub(crate) fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Arguments { quiet, verbose, verb } = arguments;
    match verb {
        Verb::Bootstrap(arguments) => bootstrap::run(arguments, quiet, verbose),
        Verb::Build(arguments) => build::run(*arguments, quiet, verbose),
        Verb::Lint(arguments) => lint::run(arguments, quiet, verbose),
        Verb::Run(arguments) => run::run(arguments, quiet),
        Verb::Inspect(arguments) => inspect::run(&arguments),
        Verb::Upgrade(arguments) => upgrade::run(*arguments, quiet, verbose),
        Verb::Push(arguments) => push::run(&arguments, quiet, verbose),
        Verb::Rollback(arguments) => rollback::run(&arguments),
        Verb::Status(arguments) => status::run(&arguments),
        Verb::History(arguments) => history::run(&arguments),
        Verb::Health(arguments) => health::run(&arguments),
        Verb::Bless(arguments) => bless::run(&arguments),
        Verb::BootFailed(arguments) => boot_failed::run(&arguments),
        Verb::Completion(arguments) => completion::run(&arguments),
        Verb::Manual(arguments) => manual::run(&arguments),
    }
}
