//! The command tree, in one screen. Help, completion and manual pages come from here.
//!
//! The arguments of each verb stand beside the verb, in its file of `commands`.

use clap::{Parser, Subcommand};

use crate::commands::{
    bless, boot_failed, bootstrap, build, completion, debug, diff, explain, health, history,
    inspect, install, kargs, keep_identity, lint, manual, provision, push, recovery, reset,
    rollback, run, settle, sign, stage, status, upgrade, validate,
};

const EXAMPLES: &str = "\
Examples:
  kiln bootstrap debian trixie -o oci:base
  kiln lint oci:base
  kiln build oci:base -o out --user admin --ssh-key ~/.ssh/id_ed25519.pub
  kiln inspect out/debian.raw
  kiln run out/debian.raw --forward 2222:22
  kiln upgrade registry.example/edge:14 --reboot

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 `lint` found something, 10 `upgrade --check` did.";

/// Fires a container image into an operating system that does not change
#[derive(Debug, Parser)]
#[command(name = "kiln", version, disable_help_subcommand = true,
          after_help = EXAMPLES)]
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
    Validate(validate::ValidateArguments),
    Explain(explain::ExplainArguments),
    Stage(stage::StageArguments),
    Run(run::RunArguments),
    Inspect(inspect::InspectArguments),
    Install(Box<install::InstallArguments>),
    Upgrade(Box<upgrade::UpgradeArguments>),
    Push(Box<push::PushArguments>),
    Sign(sign::SignArguments),
    Rollback(rollback::RollbackArguments),
    Recovery(recovery::RecoveryArguments),
    Reset(reset::ResetArguments),
    Kargs(kargs::KernelArgumentArguments),
    Debug(debug::DebugArguments),
    Diff(diff::DiffArguments),
    Status(status::StatusArguments),
    History(history::HistoryArguments),
    Health(health::HealthArguments),
    #[command(hide = true)]
    Settle(settle::SettleArguments),
    #[command(hide = true)]
    KeepIdentity(keep_identity::KeepIdentityArguments),
    #[command(hide = true)]
    Provision(provision::ProvisionArguments),
    #[command(hide = true)]
    Bless(bless::BlessArguments),
    #[command(hide = true)]
    BootFailed(boot_failed::BootFailedArguments),
    Completion(completion::CompletionArguments),
    Manual(manual::ManualArguments),
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    use super::Arguments;

    fn check(command: &mut Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        let help = command.render_long_help().to_string();
        let examples = help.split("\nExamples:\n").nth(1).unwrap_or_default();
        let first = examples.lines().next().unwrap_or_default();
        assert!(first.starts_with("  kiln "), "{path} has no examples:\n{help}");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{path} {argument}: no help");
        }
        for verb in command.get_subcommands_mut() {
            check(verb, &path);
        }
    }

    #[test]
    fn every_verb_has_examples_and_every_argument_a_help() {
        let mut command = Arguments::command();
        command.build();
        command.clone().debug_assert();
        check(&mut command, "");
    }
}
