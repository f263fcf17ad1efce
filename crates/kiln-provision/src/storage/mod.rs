//! The border to what changes disks, mounts, and the boot files.
//!
//! Those parts look at the whole disk before they change one byte of it, and know which partitions are
//! the system's own. The executor knows nothing of that and hands the operation over.

mod arrays;
mod attempt;
mod check;
mod devices;
mod disks;
mod filesystems;
mod kernel;
#[cfg(test)]
mod kit;
mod layout;
mod mounting;
mod partitions;
mod records;
mod reopen;
pub(crate) mod signature;
mod tables;
#[cfg(test)]
mod tests;
mod volumes;
#[cfg(test)]
mod whole;

use kiln_config::Action;

use crate::Error;
use crate::summary::summary;

pub use disks::{Disks, DisksOptions};
pub use layout::{LABELS, stands_for};
pub(crate) use records::NAME as RECORDS;

/// Why a document is not begun.
#[derive(Debug)]
pub struct Refusal {
    /// Which of its operations is at fault, where one is.
    pub operation: Option<usize>,
    /// What is wrong.
    pub error: Error,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { operation: None, error }
    }
}

/// Carries out operations on disks, mounts and kernel arguments.
pub trait Storage {
    /// Carries out one of [`Action::Disk`], [`Action::Raid`], [`Action::Luks`], [`Action::Filesystem`],
    /// [`Action::Layout`], [`Action::Volume`], [`Action::Persistence`] and [`Action::KernelArguments`].
    /// Keys and templates in it are bytes and plain text already.
    ///
    /// # Errors
    /// It was refused or failed.
    fn carry_out(&mut self, action: &Action) -> Result<(), Error>;

    /// A document that is all or nothing begins: looks at all its operations before the first one runs.
    /// `hash` is the document's.
    ///
    /// # Errors
    /// One of them would be refused; nothing has changed.
    fn begin(&mut self, _hash: &str, _actions: &[&Action]) -> Result<(), Refusal> {
        Ok(())
    }

    /// All operations of the document that began are carried out; its commit point follows.
    ///
    /// # Errors
    /// What is to be remembered cannot be written; the document fails.
    fn finish(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// The document that began has failed and its files are undone: takes out what was mounted and opened.
    fn abort(&mut self) {}

    /// An attempt that was cut off is about to be undone: mounts what it had mounted, so that paths mean
    /// what they meant.
    ///
    /// # Errors
    /// A device that is needed for it is missing.
    fn before_undo(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// The attempt that was cut off is undone: takes those mounts out again.
    fn after_undo(&mut self) {}
}

/// Where there are no disks to change: each such operation fails with its name.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoStorage;

impl Storage for NoStorage {
    fn carry_out(&mut self, action: &Action) -> Result<(), Error> {
        Err(Error::NotHere { what: summary(action) })
    }
}
