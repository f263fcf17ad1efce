//! What this computer offers to run machines with.
//!
//! Everything here is found by looking, so a [`Host`] can also be written out by hand: the tests of
//! the argument list do that and need no QEMU at all.

use std::env;
use std::path::{Path, PathBuf};

use crate::probe::{KvmVerdict, probe_kvm};
use crate::{Architecture, Error, Firmware};

/// How guest instructions are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// By the processor, through the kernel.
    Kvm,
    /// By translation, one host thread per guest processor. Ten to twenty times slower.
    Tcg,
}

impl Accelerator {
    /// Accelerator and processor model: with KVM the host's own, with translation everything that
    /// QEMU can do, since distributions start to demand newer instruction sets.
    pub(crate) fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

/// An emulator, its firmware and its accelerator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The architecture of the guests.
    pub architecture: Architecture,
    /// QEMU's program.
    pub emulator: PathBuf,
    /// UEFI firmware; without it only direct kernel boots work.
    pub firmware: Option<Firmware>,
    /// The accelerator that was proved to work.
    pub accelerator: Accelerator,
}

impl Host {
    /// Looks for the emulator in PATH and for firmware in the usual folders, and tries KVM, which
    /// takes about a second where `/dev/kvm` exists.
    ///
    /// # Errors
    /// When there is no emulator. Missing firmware is told when a machine needs it.
    pub fn discover(architecture: Architecture) -> Result<Self, Error> {
        let program = architecture.emulator();
        let emulator = find_program(program).ok_or(Error::NoEmulator { program, architecture })?;
        let accelerator = match probe_kvm(architecture, &emulator) {
            KvmVerdict::Works => Accelerator::Kvm,
            _ => Accelerator::Tcg,
        };
        let firmware = Firmware::find(architecture).ok();
        Ok(Self { architecture, emulator, firmware, accelerator })
    }
}

/// Finds an executable file of this name in PATH.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_an_executable_file() {
        assert!(find_program("sh").is_some());
        assert_eq!(find_program("no-such-program-anywhere"), None);
        assert!(!is_executable(Path::new("/etc/passwd")));
        assert!(!is_executable(Path::new("/etc")));
    }
}
