//! The border to what changes disks, mounts, and the boot files.
//!
//! Those parts look at the whole disk before they change one byte of it, and know which partitions are
//! the system's own. The executor knows nothing of that and hands the operation over.

use kiln_config::Action;

use crate::Error;
use crate::summary::summary;

/// Carries out operations on disks, mounts and kernel arguments.
pub trait Storage {
    /// Carries out one of [`Action::Disk`], [`Action::Raid`], [`Action::Luks`], [`Action::Filesystem`],
    /// [`Action::Layout`], [`Action::Volume`], [`Action::Persistence`], [`Action::KernelArguments`] and
    /// [`Action::Datasource`].
    ///
    /// # Errors
    /// It was refused or failed.
    fn carry_out(&mut self, action: &Action) -> Result<(), Error>;
}

/// Where there are no disks to change: each such operation fails with its name.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoStorage;

impl Storage for NoStorage {
    fn carry_out(&mut self, action: &Action) -> Result<(), Error> {
        Err(Error::NotHere { what: summary(action) })
    }
}
