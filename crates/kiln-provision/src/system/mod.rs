//! Settings of the system: its name, the kernel's parameters and modules, environment, time, name
//! servers, and commands.
//!
//! What a file says afterwards is a pure function of what it said before; what a running kernel is told
//! is told only where the kernel is the machine's own, which it is in every stage but an image's build.

mod environment;
mod hostname;
mod kernel;
mod network;
mod time;

use kiln_config::action::Command;

use crate::{Error, Surroundings};

impl Surroundings<'_> {
    pub(crate) fn command(&mut self, command: &Command) -> Result<(), Error> {
        let script = self.text(&command.script)?;
        self.program("the command", "sh", &["-c", &script])
    }
}

/// Whether a value fits on one line of a settings file.
fn is_line(value: &str) -> bool {
    !value.contains(['\n', '\r', '\0'])
}
