//! What can go wrong on a machine. Every message names the file, device or release.

use std::path::{Path, PathBuf};

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// `read`, `write`, `open` …
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// This machine was not started by Kiln.
    #[error("this machine does not run a system that Kiln built: {reason}")]
    NotKiln {
        /// What is missing.
        reason: String,
    },
    /// The ledger is none.
    #[error("the ledger of this machine cannot be used: {reason}")]
    Ledger {
        /// What is wrong with it.
        reason: String,
    },
    /// Something is not done because it must not or cannot be; nothing was changed.
    #[error("refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
        /// What to do next.
        hint: String,
    },
    /// A policy or key says nothing that could be kept to.
    #[error("the policy {} cannot be used: {reason}", path.display())]
    Policy {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The ESP is mounted, so changing it underneath would lose what the kernel holds of it.
    #[error("the ESP {node} is mounted")]
    Mounted {
        /// Its device node.
        node: String,
    },
    /// A disk, its table or its ESP.
    #[error("disk {device}")]
    Disk {
        /// The device node.
        device: String,
        /// Why.
        source: kiln_disk::Error,
    },
    /// A layout that cannot be read: file, line and column.
    #[error(transparent)]
    Layout(kiln_disk::Error),
    /// Reading or writing a device failed.
    #[error("cannot {action} {device}")]
    Device {
        /// `read`, `write`, `flush` …
        action: &'static str,
        /// The device node.
        device: String,
        /// Why.
        source: std::io::Error,
    },
    /// What was written to a slot is not what it should be.
    #[error("slot {slot} on {device} does not hold what was written: {reason}")]
    Slot {
        /// Which slot.
        slot: crate::ledger::Slot,
        /// Its device node.
        device: String,
        /// What is wrong.
        reason: String,
    },
    /// A disk that was installed to does not give back what was written; nothing on it can start.
    #[error("{device} does not hold what was written: {reason}")]
    Damaged {
        /// The disk.
        device: String,
        /// What is wrong.
        reason: String,
    },
    /// The image could not be fetched or turned into a release.
    #[error(transparent)]
    Build(#[from] kiln_build::Error),
    /// The image's reference or registry.
    #[error(transparent)]
    Registry(#[from] kiln_registry::Error),
    /// The release's facts.
    #[error(transparent)]
    Release(#[from] kiln_release::Error),
    /// `/etc` of a release, or the machine's identity.
    #[error(transparent)]
    Etc(#[from] kiln_etc::Error),
    /// A system call.
    #[error(transparent)]
    System(#[from] kiln_sys::Error),
    /// A program of the system, such as `systemctl`.
    #[error("{program} failed: {reason}")]
    Program {
        /// Which one.
        program: String,
        /// Its exit code and last lines.
        reason: String,
    },
}

impl Error {
    pub(crate) fn file(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::File { action, path: path.to_owned(), source }
    }

    pub(crate) fn disk(device: &str) -> impl FnOnce(kiln_disk::Error) -> Self + use<> {
        let device = device.to_owned();
        move |source| Self::Disk { device, source }
    }

    pub(crate) fn device(
        action: &'static str,
        device: &str,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let device = device.to_owned();
        move |source| Self::Device { action, device, source }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File { source, .. } | Self::Device { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                "run it as root".to_owned()
            }
            Self::NotKiln { .. } => {
                "`kiln build` makes a disk, `kiln install` puts Kiln onto a machine".to_owned()
            }
            Self::Ledger { .. } => {
                "the system itself is not affected; move /state/kiln/ledger.json away to begin a \
                 new one, history and quarantine are then forgotten"
                    .to_owned()
            }
            Self::Refused { hint, .. } => hint.clone(),
            Self::Policy { .. } => {
                "correct it as docs/signing.md writes it; nothing is fetched until \
                                    then"
                    .to_owned()
            }
            Self::Mounted { .. } => "unmount it (`umount /efi` or /boot) and try again".to_owned(),
            Self::Disk { source, .. } | Self::Layout(source) => return source.hint(),
            Self::Slot { .. } => {
                "the running system is not affected; try again, and if it happens twice the disk \
                 is failing"
                    .to_owned()
            }
            Self::Damaged { .. } => {
                "try again, and if it happens twice the disk is failing".to_owned()
            }
            Self::Etc(error) => return error.hint(),
            Self::System(error) => return error.hint(),
            Self::Build(error) => return error.hint(),
            Self::Registry(error) => return error.hint(),
            Self::Release(error) => return error.hint(),
            Self::Program { program, .. } => format!("`journalctl -b` says more about {program}"),
            Self::File { .. } | Self::Device { .. } => {
                "look at the kernel's log (`dmesg`) for what the disk reports".to_owned()
            }
        })
    }
}
