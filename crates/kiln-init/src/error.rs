//! Why a boot ended here. Each message must be of use to somebody who sees nothing but a console.

use std::io;

/// A failure of the first process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel command line does not say what to boot, or says it twice.
    #[error("kernel command line: {0}")]
    CommandLine(String),
    /// The list of modules in the initramfs is damaged.
    #[error("damaged initramfs: {0}")]
    Manifest(#[from] kiln_boot::manifest::ParseError),
    /// A system call failed.
    #[error(transparent)]
    System(#[from] kiln_sys::Error),
    /// `/etc` or the format of the state.
    #[error(transparent)]
    Etc(#[from] kiln_etc::Error),
    /// A file or folder could not be used.
    #[error("cannot {action} `{path}`")]
    File {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No disk of this system appeared in time.
    #[error("no disk of this system appeared within {seconds} s; disks seen: {seen}")]
    NoBootDisk {
        /// How long was waited.
        seconds: u64,
        /// Names of the disks that are there.
        seen: String,
    },
    /// Two disks could be meant, and guessing could destroy the wrong one.
    #[error("two disks carry this system: {first} and {second}")]
    TwoBootDisks {
        /// One disk.
        first: String,
        /// The other.
        second: String,
    },
    /// No partition holds a usable root with the wanted hash.
    #[error("no partition of {disk} holds the root {root}: {tried}")]
    NoRoot {
        /// The boot disk.
        disk: String,
        /// The wanted root hash.
        root: String,
        /// What was wrong with each candidate.
        tried: String,
    },
    /// The partition table is not as Kiln writes it, or the disk fails.
    #[error("disk {disk}")]
    Disk {
        /// The disk.
        disk: String,
        /// What is wrong.
        source: kiln_disk::Error,
    },
    /// Writing the partition table failed.
    #[error("cannot write the partition table of {disk}")]
    Table {
        /// The disk.
        disk: String,
        /// The device's answer.
        source: io::Error,
    },
    /// The state partition holds no intact file system, and is never formatted again.
    #[error("the state partition {device} is damaged: {reason}")]
    State {
        /// Its device node.
        device: String,
        /// What is wrong.
        reason: String,
    },
    /// The image lacks something that booting needs.
    #[error("the image lacks {0}")]
    Image(String),
    /// A program of the image failed.
    #[error("{program} ended with {outcome}")]
    Program {
        /// Path of the program inside the root.
        program: String,
        /// How it ended.
        outcome: String,
    },
    /// What was to be done before the system starts could not be done.
    #[error("configuration failed: {reason}")]
    Configuration {
        /// Why, as far as the first process knows; the console says the rest.
        reason: String,
    },
    /// The boot came to no end in its time.
    #[error("no progress for {minutes} minutes")]
    NoProgress {
        /// How long was waited.
        minutes: u64,
    },
    /// A defect of this program.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// What to do next, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::CommandLine(_) => "start the boot entry as kiln built it, with one kiln.root=",
            Self::Configuration { .. } => {
                "mend the document where it lies, or start recovery; it is read again at each boot"
            }
            Self::NoBootDisk { .. } => {
                "check that the disk is attached and that its driver is in the image's modules"
            }
            Self::TwoBootDisks { .. } => "detach one of them",
            Self::NoRoot { .. } => "start another boot entry, or write the image to the disk again",
            Self::State { .. } => "repair it with e2fsck from another system, or restore a backup",
            Self::Image(_) => "add it to the container image and build again",
            Self::Disk { source, .. } => return source.hint(),
            Self::System(source) => return source.hint(),
            Self::Etc(source) => return source.hint(),
            Self::Manifest(_) => "build the image again",
            Self::File { .. }
            | Self::Table { .. }
            | Self::Program { .. }
            | Self::NoProgress { .. }
            | Self::Internal(_) => return None,
        };
        Some(hint.into())
    }

    /// The whole story in one sentence: message, causes, hint.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        if let Some(hint) = self.hint() {
            text.push_str(" (");
            text.push_str(&hint);
            text.push(')');
        }
        // One line whatever a name on a disk contains: consoles interpret control characters.
        text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
    }
}

/// The adapter for `map_err` on file operations.
pub(crate) fn file(
    action: &'static str,
    path: impl AsRef<std::path::Path>,
) -> impl FnOnce(io::Error) -> Error {
    let path = path.as_ref().display().to_string();
    move |source| Error::File { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_has_cause_and_hint_and_no_line_break() {
        let source = kiln_disk::Error::DiskTooSmall { needed: 3 << 20, available: 1 };
        let error = Error::Disk { disk: "/dev/\nvda".into(), source };
        assert_eq!(
            error.sentence(),
            "disk /dev/ vda: disk of 1 bytes is too small: the layout needs 3145728 bytes \
             (use a disk of at least 3 MiB)"
        );
        let error = file("read", "/x")(io::Error::from_raw_os_error(2));
        assert!(error.sentence().starts_with("cannot read `/x`: "), "{}", error.sentence());
    }
}
