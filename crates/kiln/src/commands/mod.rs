//! One file a verb.
//!
//! A verb's file holds its arguments and turns them into a call of the crates below. It decides
//! nothing about images or disks.

pub(crate) mod bootstrap;
pub(crate) mod build;
pub(crate) mod completion;
pub(crate) mod inspect;
pub(crate) mod lint;
pub(crate) mod manual;
pub(crate) mod run;

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
        Verb::Completion(arguments) => completion::run(&arguments),
        Verb::Manual(arguments) => manual::run(&arguments),
    }
}
