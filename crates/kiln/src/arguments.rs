//! The command tree, in one screen. Help, completion and manual pages come from here.
//!
//! The arguments of each verb stand beside the verb, in its file of `commands`.

use clap::{Parser, Subcommand};

use crate::commands::{bootstrap, build, completion, inspect, lint, manual, run};

/// Fires a container image into an operating system that does not change
#[derive(Debug, Parser)]
#[command(name = "kiln", version, propagate_version = true, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    /// Print nothing but warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print details of every step
    #[arg(short, long, global = true)]
    pub verbose: bool,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Bootstrap(bootstrap::BootstrapArguments),
    Build(Box<build::BuildArguments>),
    Lint(lint::LintArguments),
    Run(run::RunArguments),
    Inspect(inspect::InspectArguments),
    Completion(completion::CompletionArguments),
    Manual(manual::ManualArguments),
}
