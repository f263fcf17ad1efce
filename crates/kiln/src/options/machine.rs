//! Which machine: this one, or in tests a folder that looks like one.

use std::path::{Path, PathBuf};

use clap::Args;
use kiln_host::machine::Paths;

use crate::render::{self, Failure};

/// Where the machine's files are.
#[derive(Debug, Args)]
pub(crate) struct MachineArguments {
    /// A folder that stands for the machine's root, for tests
    #[arg(long = "machine", value_name = "DIR", hide = true)]
    root: Option<PathBuf>,
}

impl MachineArguments {
    /// Where its files are.
    pub(crate) fn paths(&self) -> Paths {
        self.root.as_deref().map_or_else(Paths::default, Paths::below)
    }

    /// The folder of its root.
    pub(crate) fn folder(&self) -> &Path {
        self.root.as_deref().unwrap_or(Path::new("/"))
    }

    /// Switches it off, this machine only.
    pub(crate) fn power_off(&self) -> Result<(), Failure> {
        if self.root.is_some() {
            render::message("a folder cannot be switched off");
            return Ok(());
        }
        kiln_host::system::power_off().map_err(Failure::from)
    }

    /// Asks for a restart, of this machine only.
    pub(crate) fn restart(&self) -> Result<(), Failure> {
        if self.root.is_some() {
            render::message("a folder cannot be restarted");
            return Ok(());
        }
        kiln_host::system::restart().map_err(Failure::from)
    }

    /// Restarts for certain, this machine only.
    pub(crate) fn restart_for_certain(&self) -> Result<(), Failure> {
        if self.root.is_some() {
            return self.restart();
        }
        kiln_host::system::restart_for_certain().map_err(Failure::from)
    }
}

/// Said when another call holds the lock.
pub(crate) fn busy() {
    render::message("waiting for another kiln on this machine");
}
