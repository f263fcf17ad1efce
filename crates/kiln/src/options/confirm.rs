//! Asking before something is destroyed: a word to type, so that nobody confirms by habit.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use clap::Args;

use crate::render::{self, Failure};

/// Longest answer that is read, in bytes.
const MAXIMUM_ANSWER: u64 = 256;

/// Whether to ask, and whether to do it at all.
#[derive(Debug, Args)]
pub(crate) struct ConfirmArguments {
    /// Only say what would happen
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do it without asking
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
}

impl ConfirmArguments {
    /// Asks for a word, unless `--yes` was given.
    ///
    /// # Errors
    /// Another answer, or nobody to ask.
    pub(crate) fn ask(&self, what: &str, word: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        let stopped = |message: &str| {
            Failure::new(message, format!("nothing was changed; type `{word}`, or give `--yes`"))
        };
        if !io::stdin().is_terminal() {
            return Err(stopped("there is nobody to ask"));
        }
        render::message(&format!("{what}; type `{word}` to go on:"));
        let mut answer = String::new();
        io::stdin()
            .lock()
            .take(MAXIMUM_ANSWER)
            .read_line(&mut answer)
            .map_err(|source| Failure::system("cannot read the answer", source))?;
        if answer.trim() == word { Ok(()) } else { Err(stopped("not confirmed")) }
    }
}
