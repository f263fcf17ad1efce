//! `kiln completion`: completion scripts for shells.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};

use crate::arguments::Arguments;
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

pub(crate) fn run(arguments: &CompletionArguments) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "kiln", &mut script);
    render::data(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
