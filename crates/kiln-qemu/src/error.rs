//! What can go wrong before and while a machine runs.
//!
//! Every variant names the program, path or value it is about. Most failures here are a missing
//! package, so [`Error::hint`] says which one; it must never guess at more than one cause, because
//! a wrong hint costs more than none.

use std::io;
use std::path::PathBuf;

use crate::Architecture;

/// A failure of finding, describing or running a machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The emulator is not on the search path.
    #[error("{program} is not in PATH")]
    NoEmulator {
        /// Name of the program looked for.
        program: &'static str,
        /// The architecture it emulates.
        architecture: Architecture,
    },
    /// No UEFI firmware in any of the places that distributions use.
    #[error("no UEFI firmware for {architecture} under {searched}")]
    NoFirmware {
        /// The architecture the firmware is for.
        architecture: Architecture,
        /// The folders that were looked at, joined by ", ".
        searched: String,
    },
    /// A file could not be read, copied or changed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The emulator could not be started at all.
    #[error("cannot start {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Waiting for the emulator, or ending it, failed.
    #[error("cannot {action} the virtual machine")]
    Process {
        /// What was tried, as a verb.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A request to grow a disk would have cut it.
    #[error("{} holds {current} bytes: a disk cannot be grown to {wanted}", path.display())]
    WouldShrink {
        /// The disk.
        path: PathBuf,
        /// Its length in bytes.
        current: u64,
        /// The asked length in bytes.
        wanted: u64,
    },
    /// Only raw disks are grown here.
    #[error("{} is a {format} disk: only raw disks can be grown here", path.display())]
    CannotGrow {
        /// The disk.
        path: PathBuf,
        /// Its format.
        format: crate::DiskFormat,
    },
    /// The asked length is not a whole number of sectors.
    #[error("a disk of {wanted} bytes is not a whole number of 4096-byte sectors")]
    OddLength {
        /// The asked length in bytes.
        wanted: u64,
    },
    /// A port forwarding that is not `HOST:GUEST`.
    #[error("`{text}` is not a port forwarding")]
    Forward {
        /// What was written.
        text: String,
    },
    /// A sector size that no disk has.
    #[error("{sector_size} is not a sector size: 512 and 4096 are")]
    SectorSize {
        /// What was asked, in bytes.
        sector_size: u32,
    },
    /// The machine monitor answered with something that is not its protocol, or not at all.
    #[error("the machine monitor {problem}")]
    Monitor {
        /// What it did.
        problem: String,
    },
    /// The connection to the machine monitor broke.
    #[error("cannot talk to the machine monitor at {}", path.display())]
    MonitorConnection {
        /// Its socket.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl Error {
    /// What to do next, where there is one likely answer.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoEmulator { architecture, .. } => Some(format!(
                "install {} (Debian, Ubuntu) or {} (Fedora)",
                architecture.debian_emulator_package(),
                architecture.fedora_emulator_package()
            )),
            Self::NoFirmware { architecture, .. } => Some(format!(
                "install {} (Debian, Ubuntu) or {} (Fedora)",
                architecture.debian_firmware_package(),
                architecture.fedora_firmware_package()
            )),
            Self::CannotGrow { path, .. } => {
                Some(format!("use `qemu-img resize {} SIZE`", path.display()))
            }
            Self::Forward { .. } => {
                Some("write HOST:GUEST, for instance 2222:22 (TCP, on the loopback address)".into())
            }
            Self::WouldShrink { .. } => Some("ask for a larger size, or none".into()),
            Self::OddLength { .. } => Some("ask for a multiple of 4096 bytes".into()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_package_is_named() {
        for (architecture, package) in
            [(Architecture::X86_64, "qemu-system-x86"), (Architecture::Aarch64, "qemu-system-arm")]
        {
            let error = Error::NoEmulator { program: architecture.emulator(), architecture };
            assert!(error.hint().unwrap().contains(package), "{error}");
        }
        let error =
            Error::NoFirmware { architecture: Architecture::Aarch64, searched: "/x".into() };
        assert!(error.hint().unwrap().contains("qemu-efi-aarch64"));
    }
}
