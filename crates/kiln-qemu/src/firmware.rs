//! UEFI firmware: where distributions put it, and a machine's own copy of its variables.
//!
//! The code file is shared and read-only. The variables hold boot entries and keys, so each machine
//! needs its own copy: two machines on one file would boot each other's entries. Builds without
//! Secure Boot come first, since a machine without keys gains nothing from the others.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Architecture, Error};

/// Folder, code file and variable template of each packaging, best first. The 4 MiB builds come
/// before the 2 MiB ones: newer distributions ship only the former, and the pair must match.
const X86_64_PLACES: &[(&str, &str, &str)] = &[
    // Debian, Ubuntu
    ("/usr/share/OVMF", "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF", "OVMF_CODE.fd", "OVMF_VARS.fd"),
    // Fedora, RHEL
    ("/usr/share/edk2/ovmf", "OVMF_CODE.fd", "OVMF_VARS.fd"),
    // Arch
    ("/usr/share/edk2/x64", "OVMF_CODE.4m.fd", "OVMF_VARS.4m.fd"),
    // openSUSE
    ("/usr/share/qemu", "ovmf-x86_64-4m-code.bin", "ovmf-x86_64-4m-vars.bin"),
    // QEMU's own build
    ("/usr/share/qemu", "edk2-x86_64-code.fd", "edk2-i386-vars.fd"),
    ("/usr/local/share/qemu", "edk2-x86_64-code.fd", "edk2-i386-vars.fd"),
];

/// As above, for Arm; here both files are padded to 64 MiB, which the `virt` board demands.
const AARCH64_PLACES: &[(&str, &str, &str)] = &[
    ("/usr/share/AAVMF", "AAVMF_CODE.no-secboot.fd", "AAVMF_VARS.fd"),
    ("/usr/share/AAVMF", "AAVMF_CODE.fd", "AAVMF_VARS.fd"),
    ("/usr/share/edk2/aarch64", "QEMU_EFI-pflash.raw", "vars-template-pflash.raw"),
    ("/usr/share/qemu", "aavmf-aarch64-code.bin", "aavmf-aarch64-vars.bin"),
    ("/usr/share/qemu", "edk2-aarch64-code.fd", "edk2-arm-vars.fd"),
    ("/usr/local/share/qemu", "edk2-aarch64-code.fd", "edk2-arm-vars.fd"),
];

fn places(architecture: Architecture) -> &'static [(&'static str, &'static str, &'static str)] {
    match architecture {
        Architecture::X86_64 => X86_64_PLACES,
        Architecture::Aarch64 => AARCH64_PLACES,
    }
}

/// A pair of firmware files that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// The program, read-only.
    pub code: PathBuf,
    /// The empty variable store that machines copy.
    pub variables: PathBuf,
}

impl Firmware {
    /// Finds the firmware for an architecture among the distributions' places.
    ///
    /// # Errors
    /// When no place has both files.
    pub fn find(architecture: Architecture) -> Result<Self, Error> {
        Self::find_in(Path::new("/"), architecture)
    }

    /// The folders that are looked at, for the error message.
    pub(crate) fn searched(architecture: Architecture) -> String {
        let mut folders: Vec<&str> =
            places(architecture).iter().map(|(folder, ..)| *folder).collect();
        folders.dedup();
        folders.join(", ")
    }

    fn find_in(root: &Path, architecture: Architecture) -> Result<Self, Error> {
        for (folder, code, variables) in places(architecture) {
            let folder = root.join(folder.trim_start_matches('/'));
            let pair = Self { code: folder.join(code), variables: folder.join(variables) };
            if pair.code.is_file() && pair.variables.is_file() {
                return Ok(pair);
            }
        }
        Err(Error::NoFirmware { architecture, searched: Self::searched(architecture) })
    }

    /// Makes sure that `destination` is a variable store: an existing one is kept, so that boot
    /// entries outlive a restart; otherwise the template is copied and made writable.
    ///
    /// # Errors
    /// When the template cannot be read or the copy not written.
    pub fn ensure_variables(&self, destination: &Path) -> Result<(), Error> {
        if destination.is_file() {
            return Ok(());
        }
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { action, path, source }
        };
        // Read and write, not copy: the template is often read-only and a copy would inherit that.
        let template = fs::read(&self.variables).map_err(failed("read", &self.variables))?;
        fs::write(destination, template).map_err(failed("write", destination))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_only_with_both_files() {
        let root = tempfile::tempdir().unwrap();
        let find = || Firmware::find_in(root.path(), Architecture::X86_64);
        let error = find().unwrap_err().to_string();
        assert!(error.contains("/usr/share/OVMF, /usr/share/edk2/ovmf"), "{error}");

        let debian = root.path().join("usr/share/OVMF");
        let fedora = root.path().join("usr/share/edk2/ovmf");
        fs::create_dir_all(&debian).unwrap();
        fs::create_dir_all(&fedora).unwrap();
        fs::write(debian.join("OVMF_CODE_4M.fd"), b"code").unwrap();
        fs::write(fedora.join("OVMF_CODE.fd"), b"code").unwrap();
        fs::write(fedora.join("OVMF_VARS.fd"), b"variables").unwrap();
        assert_eq!(find().unwrap().code, fedora.join("OVMF_CODE.fd"));

        fs::write(debian.join("OVMF_VARS_4M.fd"), b"variables").unwrap();
        assert_eq!(find().unwrap().variables, debian.join("OVMF_VARS_4M.fd"));
    }

    #[test]
    fn a_machine_keeps_its_own_variables() {
        let folder = tempfile::tempdir().unwrap();
        let template = folder.path().join("template");
        fs::write(&template, b"empty").unwrap();
        let mut permissions = fs::metadata(&template).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&template, permissions).unwrap();
        let firmware = Firmware { code: "/x".into(), variables: template };

        let own = folder.path().join("own");
        firmware.ensure_variables(&own).unwrap();
        assert_eq!(fs::read(&own).unwrap(), b"empty");
        assert!(!fs::metadata(&own).unwrap().permissions().readonly());
        fs::write(&own, b"changed").unwrap();
        firmware.ensure_variables(&own).unwrap();
        assert_eq!(fs::read(&own).unwrap(), b"changed");
    }
}
