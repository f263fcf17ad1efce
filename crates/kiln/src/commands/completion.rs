//! `kiln completion`: completion scripts for shells.

use std::process::ExitCode;

use clap::{Args, Command};

use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln completion bash > /etc/bash_completion.d/kiln
  kiln completion zsh > /usr/local/share/zsh/site-functions/_kiln
  kiln completion fish > ~/.config/fish/completions/kiln.fish";

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionArguments {
    /// The shell
    shell: clap_complete::Shell,
}

/// Prints the script for `command`, the whole command line.
pub(crate) fn run(
    arguments: &CompletionArguments,
    mut command: Command,
) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "kiln", &mut script);
    render::data(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
