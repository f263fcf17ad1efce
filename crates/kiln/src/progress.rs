//! How a build's progress looks on standard error.
//!
//! A line for each step with the time since the start: it reads the same in a terminal, a CI log and
//! a file. On a terminal a bar below the line shows how far a long step is; it goes away with the
//! step. `-v` gives details instead of bars, `-q` nothing but warnings. Bars have no colour, so there
//! is none to turn off.

use std::io::IsTerminal as _;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kiln_build::{Progress, Step, Unit};

use crate::render;

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Quiet,
    Lines,
    Bars,
    Details,
}

impl Mode {
    fn of(quiet: bool, verbose: bool, is_terminal: bool, terminal: Option<&str>) -> Self {
        match (quiet, verbose) {
            (true, _) => Self::Quiet,
            (_, true) => Self::Details,
            // A dumb terminal cannot move its cursor back.
            _ if is_terminal && terminal.is_some_and(|name| name != "dumb") => Self::Bars,
            _ => Self::Lines,
        }
    }
}

/// Shows the progress of one verb.
#[derive(Debug)]
pub(crate) struct Lines {
    start: Instant,
    mode: Mode,
    bar: Option<ProgressBar>,
}

impl Lines {
    pub(crate) fn new(quiet: bool, verbose: bool) -> Self {
        let terminal = std::env::var("TERM").ok();
        let is_terminal = std::io::stderr().is_terminal();
        let mode = Mode::of(quiet, verbose, is_terminal, terminal.as_deref());
        Self { start: Instant::now(), mode, bar: None }
    }

    /// Prints one line with the time since the start.
    pub(crate) fn line(&mut self, text: &str) {
        if self.mode != Mode::Quiet {
            let seconds = self.start.elapsed().as_secs_f64();
            self.beside_the_bar(|| render::message(&format!("{seconds:6.1}s  {text}")));
        }
    }

    fn beside_the_bar(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Progress for Lines {
    fn step(&mut self, step: Step) {
        self.clear();
        self.line(step.describe());
    }

    fn expect(&mut self, unit: Unit, total: Option<u64>) {
        self.clear();
        if self.mode != Mode::Bars {
            return;
        }
        let template = match (unit, total) {
            (Unit::Bytes, Some(_)) => "         {bar:30} {bytes} of {total_bytes}",
            (Unit::Bytes, None) => "         {bytes}",
            (Unit::Files, Some(_)) => "         {bar:30} {human_pos} of {human_len} files",
            (Unit::Files, None) => "         {human_pos} files",
        };
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        // A template that cannot be read would only look different.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        self.bar = Some(bar);
    }

    fn advance(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    fn warning(&mut self, message: &str) {
        self.beside_the_bar(|| render::warning(message));
    }

    fn detail(&mut self, message: &str) {
        if self.mode == Mode::Details {
            self.line(&format!("  {message}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Mode;

    #[test]
    fn bars_are_for_terminals_that_nobody_asked_for_anything_else() {
        for (quiet, verbose, is_terminal, terminal, expected) in [
            (false, false, true, Some("xterm"), Mode::Bars),
            (false, false, true, Some("dumb"), Mode::Lines),
            (false, false, true, None, Mode::Lines),
            (false, false, false, Some("xterm"), Mode::Lines),
            (false, true, true, Some("xterm"), Mode::Details),
            (true, false, true, Some("xterm"), Mode::Quiet),
        ] {
            assert_eq!(Mode::of(quiet, verbose, is_terminal, terminal), expected);
        }
    }
}
