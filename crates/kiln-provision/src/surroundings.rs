//! All that the executor reaches outside of the plan: one value, so that a test replaces each part.

use std::path::PathBuf;

use kiln_config::operation::Text;
use kiln_config::template::{Values, render};

use crate::{Error, Fetch, Finished, Invocation, Ledger, Programs, Root, Storage};

/// The machine as the executor sees it.
pub struct Surroundings<'a> {
    /// The root in which files are changed and programs run.
    pub root: Root,
    /// Whether that root is the running system, with its systemd.
    pub is_running: bool,
    /// Where the kernel's files lie; `/proc` but in tests.
    pub kernel: PathBuf,
    /// Days since 1 January 1970, for `/etc/shadow` (shadow(5)).
    pub today: u64,
    /// Runs programs.
    pub programs: &'a mut dyn Programs,
    /// Fetches contents and keys.
    pub fetch: &'a mut dyn Fetch,
    /// Changes disks and mounts.
    pub storage: &'a mut dyn Storage,
    /// What templates are filled with.
    pub values: Values,
    /// Random bytes, for salts of passwords.
    pub random: &'a mut dyn FnMut() -> Result<[u8; 16], Error>,
    /// How container images are reached.
    pub images: kiln_registry::Options,
    /// Marks of documents that run once; without it none does, and nothing can be undone.
    pub ledger: Option<Ledger>,
    /// Told what happens, line by line: the console or the journal.
    pub say: &'a mut dyn FnMut(&str),
    /// Variables for programs, beside the fixed ones.
    pub environment: Vec<(String, String)>,
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Surroundings")
            .field("root", &self.root)
            .field("is_running", &self.is_running)
            .finish_non_exhaustive()
    }
}

impl Surroundings<'_> {
    /// A text with its holes filled.
    pub(crate) fn text(&self, text: &Text) -> Result<String, Error> {
        match text {
            Text::Plain(text) => Ok(text.clone()),
            Text::Template(text) => self.filled(text),
        }
    }

    /// A template with its holes filled.
    pub(crate) fn filled(&self, text: &str) -> Result<String, Error> {
        render(text, &self.values).map_err(|error| Error::Template { reason: error.to_string() })
    }

    /// Runs a program of the image, and gives how it ended.
    pub(crate) fn try_program(
        &mut self,
        program: &str,
        arguments: &[&str],
    ) -> Result<Finished, Error> {
        self.programs.run(&Invocation {
            program,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            environment: &self.environment,
            root: self.root.path(),
        })
    }

    /// Runs a program of the image; that it ends badly is an error under the name `shown`.
    pub(crate) fn program(
        &mut self,
        shown: &str,
        program: &str,
        arguments: &[&str],
    ) -> Result<(), Error> {
        let finished = self.try_program(program, arguments)?;
        for line in finished.output.lines() {
            (self.say)(line);
        }
        match finished.fault {
            None => Ok(()),
            Some(status) => {
                Err(Error::Program { program: shown.to_owned(), status, output: finished.output })
            }
        }
    }
}
