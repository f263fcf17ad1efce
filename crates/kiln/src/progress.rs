//! How a build's progress looks on standard error.
//!
//! A line for each step with the time since the start; details only with `-v`, nothing but warnings
//! with `-q`. Lines instead of a bar that redraws itself: they read the same in a terminal, a CI log
//! and a file.

use std::time::Instant;

use kiln_build::{Progress, Step};

use crate::render;

/// Prints the progress of one build.
#[derive(Debug)]
pub(crate) struct Lines {
    start: Instant,
    quiet: bool,
    verbose: bool,
}

impl Lines {
    pub(crate) fn new(quiet: bool, verbose: bool) -> Self {
        Self { start: Instant::now(), quiet, verbose }
    }

    /// Prints one line with the time since the start.
    pub(crate) fn line(&self, text: &str) {
        if !self.quiet {
            render::message(&format!("{:6.1}s  {text}", self.start.elapsed().as_secs_f64()));
        }
    }
}

impl Progress for Lines {
    fn step(&mut self, step: Step) {
        self.line(step.describe());
    }

    fn warning(&mut self, message: &str) {
        render::warning(message);
    }

    fn detail(&mut self, message: &str) {
        if self.verbose {
            self.line(&format!("  {message}"));
        }
    }
}
