//! The processor architectures that Kiln boots, and what each is called by whom.
//!
//! Every name that depends on the architecture stands in this file, so that a third architecture
//! is one more column and not a search through the crate.

use std::fmt;

/// A processor architecture of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Architecture {
    /// The architecture this program was compiled for, if Kiln boots it.
    #[must_use]
    pub fn of_this_host() -> Option<Self> {
        Self::from_name(std::env::consts::ARCH)
    }

    /// Reads the kernel's name (`x86_64`, `aarch64`) or the container world's (`amd64`, `arm64`).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "x86_64" | "amd64" => Some(Self::X86_64),
            "aarch64" | "arm64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// QEMU's program for the whole system.
    #[must_use]
    pub fn emulator(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86_64",
            Self::Aarch64 => "qemu-system-aarch64",
        }
    }

    /// QEMU's board: the one with PCIe and UEFI firmware on each architecture. On Arm the newest
    /// interrupt controller, since KVM offers only the one that the processor has.
    pub(crate) fn board(self) -> &'static str {
        match self {
            Self::X86_64 => "q35",
            Self::Aarch64 => "virt,gic-version=max",
        }
    }

    pub(crate) fn debian_emulator_package(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86",
            Self::Aarch64 => "qemu-system-arm",
        }
    }

    pub(crate) fn fedora_emulator_package(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86-core",
            Self::Aarch64 => "qemu-system-aarch64-core",
        }
    }

    pub(crate) fn debian_firmware_package(self) -> &'static str {
        match self {
            Self::X86_64 => "ovmf",
            Self::Aarch64 => "qemu-efi-aarch64",
        }
    }

    pub(crate) fn fedora_firmware_package(self) -> &'static str {
        match self {
            Self::X86_64 => "edk2-ovmf",
            Self::Aarch64 => "edk2-aarch64",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_worlds_names_are_read() {
        for (name, expected) in [
            ("x86_64", Some(Architecture::X86_64)),
            ("amd64", Some(Architecture::X86_64)),
            ("aarch64", Some(Architecture::Aarch64)),
            ("arm64", Some(Architecture::Aarch64)),
            ("riscv64", None),
            ("", None),
        ] {
            assert_eq!(Architecture::from_name(name), expected, "{name}");
        }
    }
}
