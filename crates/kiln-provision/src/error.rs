//! What can go wrong while a plan is carried out. Every message names the path, account, unit or
//! address, and none holds contents, passwords or tokens.

use std::io;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the machine cannot be used.
    #[error("cannot {action} `{path}`")]
    File {
        /// What was tried.
        action: &'static str,
        /// The path as the machine will see it.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A path is none that may be written.
    #[error("`{path}` is refused: {reason}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Something is there that was not to give way.
    #[error("`{path}` is there already and is {found}")]
    Exists {
        /// The path.
        path: String,
        /// What is there.
        found: &'static str,
    },
    /// Contents cannot be used.
    #[error("the contents from {origin} are refused: {reason}")]
    Contents {
        /// Address, or `the document`.
        origin: String,
        /// What is wrong with them.
        reason: String,
    },
    /// An account cannot be made or changed.
    #[error("account `{name}`: {reason}")]
    Account {
        /// Name of the user or group.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A unit cannot be used.
    #[error("unit `{name}`: {reason}")]
    Unit {
        /// Name of the unit.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A setting has a value that cannot be used.
    #[error("{what} cannot be set to `{value}`: {reason}")]
    Setting {
        /// What was to be set.
        what: &'static str,
        /// The value.
        value: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A program ended with an error.
    #[error("{program} ended with {status}{}", tail(output))]
    Program {
        /// What ran.
        program: String,
        /// Its exit status or signal, as text.
        status: String,
        /// The end of what it wrote.
        output: String,
    },
    /// A program took longer than it may, and was killed with all that it had started.
    #[error("`{program}` was killed, because it had not ended after {seconds} s{}", tail(output))]
    Late {
        /// What ran.
        program: String,
        /// What it may take.
        seconds: u64,
        /// The end of what it wrote.
        output: String,
    },
    /// The image lacks a program.
    #[error("the image has no program `{program}`")]
    NoProgram {
        /// Its name.
        program: String,
    },
    /// A template cannot be filled.
    #[error("the template cannot be filled: {reason}")]
    Template {
        /// Why.
        reason: String,
    },
    /// A condition has a pattern that is none.
    #[error("`{pattern}` is no regular expression: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why.
        reason: String,
    },
    /// Nothing here carries such an operation out.
    #[error("{what} cannot be carried out here")]
    NotHere {
        /// The operation.
        what: String,
    },
    /// A partition cannot be made, changed or removed as wanted; nothing of its disk was changed.
    #[error("partition {number} of {device}: {reason}")]
    Partition {
        /// The disk.
        device: String,
        /// Number of the partition; 0 where it has none yet.
        number: u32,
        /// What is wrong.
        reason: String,
    },
    /// Something else is on a device that was not to be wiped.
    #[error("{device} holds {found}, and not {wanted}")]
    Occupied {
        /// The device.
        device: String,
        /// What it holds.
        found: String,
        /// What was wanted there.
        wanted: String,
    },
    /// A device belongs to LVM.
    #[error("{device} is a physical volume of LVM, which is neither made nor opened here")]
    Lvm {
        /// The device.
        device: String,
    },
    /// A device is the system's own.
    #[error("{device} is {what} and cannot be changed")]
    Own {
        /// The device as it was called.
        device: String,
        /// What it is.
        what: String,
    },
    /// A file system that nobody makes.
    #[error("{device}: there is no program for the file system `{format}`")]
    Format {
        /// The device.
        device: String,
        /// The format.
        format: String,
    },
    /// A device did not appear.
    #[error("{device} did not appear within {seconds} s")]
    NoDevice {
        /// The device.
        device: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A name fits two devices.
    #[error("`{name}` is {one} and {other}")]
    TwoDevices {
        /// The name.
        name: String,
        /// One of them.
        one: String,
        /// The other.
        other: String,
    },
    /// An encrypted volume cannot be opened.
    #[error("encrypted volume `{name}`: {reason}")]
    Encrypted {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A partition table cannot be read or written.
    #[error("the partition table cannot be used")]
    Disk(#[source] kiln_disk::Error),
    /// The folder with marks and journals cannot be used.
    #[error("cannot {action} `{path}` among the marks of finished documents")]
    Marks {
        /// What was tried.
        action: &'static str,
        /// The path on the running system.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A system call failed.
    #[error(transparent)]
    System(#[from] kiln_sys::Error),
    /// The copy of a folder failed.
    #[error(transparent)]
    Copy(#[from] kiln_etc::Error),
    /// The network or a registry failed.
    #[error(transparent)]
    Network(#[from] kiln_registry::Error),
    /// There is no network before the system's own.
    #[error(transparent)]
    Link(#[from] kiln_net::Error),
    /// The kernel arguments of the next boots cannot be changed.
    #[error("the kernel arguments cannot be changed")]
    KernelArguments(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The end of a program's output, for one line.
fn tail(output: &str) -> String {
    let last = output.lines().rev().find(|line| !line.trim().is_empty());
    last.map(|line| format!(": {}", line.trim())).unwrap_or_default()
}

impl Error {
    /// What to do next, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Exists { .. } => "say that it may be overwritten, or take another path",
            Self::Occupied { .. } => {
                "say that it may be wiped (`wipeFilesystem`, `wipeVolume`), or name another device"
            }
            Self::Lvm { .. } => "say that it may be wiped, or name another device",
            Self::Own { .. } => "name another disk, or a free place on this one",
            Self::Partition { .. } => "look at the disk with `sgdisk -p`, and change the document",
            Self::NoDevice { .. } => "look whether the disk is connected and named right",
            Self::TwoDevices { .. } => "give one of them another name, or name a path",
            Self::Disk(source) => return source.hint(),
            Self::Late { .. } => "give it an end (`timeout`), or start it by a unit of systemd",
            Self::NoProgram { .. } => "add the package that has it to the image",
            Self::File { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                "only /etc, /var, /home, /root, /srv, /opt and /usr/local are writable"
            }
            Self::File { source, .. } | Self::Marks { source, .. }
                if source.kind() == io::ErrorKind::StorageFull =>
            {
                "free space on the state partition"
            }
            Self::System(source) => return source.hint(),
            Self::Copy(source) => return source.hint(),
            // The registry's own hints speak of repositories and logins there.
            Self::Network(kiln_registry::Error::Status { status: 401 | 403, .. }) => {
                "the server wants to know who asks: add its header to the document"
            }
            Self::Network(kiln_registry::Error::Status { status: 404, .. }) => {
                "check the address for typing"
            }
            Self::Network(source) => return source.hint(),
            Self::Link(source) => return source.hint(),
            _ => return None,
        };
        Some(hint.into())
    }

    /// Message and causes in one line.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// The adapter for `map_err` on calls about a path of the machine.
pub(crate) fn file<Source: Into<io::Error>>(
    action: &'static str,
    path: &str,
) -> impl FnOnce(Source) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path, source: source.into() }
}

/// The adapter for `map_err` on calls about a path among the marks.
pub(crate) fn marks<Source: Into<io::Error>>(
    action: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(Source) -> Error {
    let path = path.display().to_string();
    move |source| Error::Marks { action, path, source: source.into() }
}
