//! A machine that runs: the emulator's process and the folder of its temporary files.
//!
//! A machine ends with the value that holds it. Nothing here may leave an emulator behind: it would
//! keep the disk open and a processor busy after the command that started it has failed.

use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use tempfile::TempDir;

use crate::machine::Boot;
use crate::{Console, Error, Host, Machine};

/// A started machine; dropping it ends it at once, as if power were cut.
#[derive(Debug)]
pub struct RunningMachine {
    child: Child,
    /// Held for its drop: the variable store of a machine without one of its own.
    _scratch: TempDir,
}

impl Machine {
    /// Starts the machine. With [`Console::Pipe`] its standard streams are pipes, with
    /// [`Console::Terminal`] they are the caller's, else input and output are closed.
    ///
    /// # Errors
    /// When firmware is missing or the emulator cannot be started.
    pub fn start(&self, host: &Host) -> Result<RunningMachine, Error> {
        let scratch = tempfile::tempdir().map_err(|source| Error::File {
            action: "create a folder in",
            path: std::env::temp_dir(),
            source,
        })?;
        let variables = scratch.path().join("variables.fd");
        let arguments = self.arguments(host, &variables)?;
        if let (Boot::Uefi { variables: own }, Some(firmware)) =
            (self.boot_method(), &host.firmware)
        {
            firmware.ensure_variables(own.as_deref().unwrap_or(&variables))?;
        }
        let mut command = Command::new(&host.emulator);
        command.args(arguments);
        match self.console_kind() {
            Console::Terminal => {}
            Console::Pipe => {
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            }
            Console::Socket(_) | Console::File(_) | Console::None => {
                command.stdin(Stdio::null()).stdout(Stdio::null());
            }
        }
        let child = command
            .spawn()
            .map_err(|source| Error::Start { program: host.emulator.clone(), source })?;
        Ok(RunningMachine { child, _scratch: scratch })
    }
}

impl RunningMachine {
    /// The guest's keyboard, once, with [`Console::Pipe`].
    pub fn take_input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The guest's screen, once, with [`Console::Pipe`].
    pub fn take_output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// What QEMU itself complains about, once, with [`Console::Pipe`].
    pub fn take_complaints(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// The emulator's process, for those who look at what it gets of the processors.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the guest powers off.
    ///
    /// # Errors
    /// When the system cannot wait for the process.
    pub fn wait(&mut self) -> Result<ExitStatus, Error> {
        self.child.wait().map_err(|source| Error::Process { action: "wait for", source })
    }

    /// Tells whether the machine has ended, and how.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.child.try_wait().map_err(|source| Error::Process { action: "look at", source })
    }

    /// Cuts the power.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub fn kill(&mut self) -> Result<(), Error> {
        if self.ended()?.is_none() {
            self.child.kill().map_err(|source| Error::Process { action: "kill", source })?;
            self.wait()?;
        }
        Ok(())
    }
}

impl Drop for RunningMachine {
    fn drop(&mut self) {
        // Nobody is left to tell, and a process that cannot be killed is already gone.
        let _ = self.kill();
    }
}
