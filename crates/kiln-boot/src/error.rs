//! Everything that can go wrong while boot files are made, as one enum.
//!
//! Paths are those inside the image, without leading slash. Each variant that a user can do
//! something about has a hint; the binary prints it below the message.

use std::io;

use crate::capability::Missing;

/// Why no boot files could be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image has no kernel where distributions put one.
    #[error("the image has no kernel in usr/lib/modules/*/vmlinuz or boot/vmlinuz-*")]
    NoKernel,
    /// More than one kernel: which one boots would be a guess.
    #[error("the image has {} kernels: {}", .found.len(), .found.join(", "))]
    SeveralKernels {
        /// Path of each, with its release.
        found: Vec<String>,
    },
    /// A kernel file is no EFI program for a known machine.
    #[error("kernel {path} cannot be started by UEFI: {reason}")]
    KernelFormat {
        /// Path of the kernel in the image.
        path: String,
        /// What is wrong with the file.
        reason: &'static str,
    },
    /// The kernel has no folder of modules.
    #[error("kernel {release} has no module index {path}")]
    NoModuleIndex {
        /// Release of the kernel, as `uname -r` prints it.
        release: String,
        /// Path that was looked for.
        path: String,
    },
    /// The kernel lacks something that a Kiln system cannot boot without.
    #[error("kernel {release} lacks {}", list(.missing))]
    Incapable {
        /// Release of the kernel.
        release: String,
        /// What it lacks.
        missing: Vec<Missing>,
    },
    /// A module asked for by name does not exist.
    #[error("kernel {release} has no module `{name}`")]
    NoSuchModule {
        /// Release of the kernel.
        release: String,
        /// Name as it was given.
        name: String,
    },
    /// A module index, kernel module or other input of the image is damaged.
    #[error("{path}: {reason}")]
    Damaged {
        /// Path in the image.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the image is larger than anything of its kind can be.
    #[error("{path} has {size} bytes, more than the {limit} allowed for it")]
    TooLarge {
        /// Path in the image.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The bytes of a file could not be read back.
    #[error("cannot read {path}")]
    Read {
        /// Path in the image.
        path: String,
        /// What the store said.
        source: io::Error,
    },
    /// Decompression or compression failed.
    #[error("cannot {action} {path}")]
    Codec {
        /// `decompress` or `compress`.
        action: &'static str,
        /// Path in the image, or what is compressed.
        path: String,
        /// What the codec said.
        source: io::Error,
    },
    /// The image has no systemd stub or no systemd-boot for its architecture.
    #[error("the image has no {what} ({path})")]
    NoBootFile {
        /// `systemd stub` or `boot loader`.
        what: &'static str,
        /// Path that was looked for.
        path: String,
    },
    /// A PE file (stub, UKI) is damaged or of a kind that cannot carry a system.
    #[error("not a usable PE file: {reason}")]
    Pe {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Stub and kernel are for different machines.
    #[error("the systemd stub is for {stub}, the kernel for {kernel}")]
    Architecture {
        /// Architecture of the stub.
        stub: &'static str,
        /// Architecture of the kernel.
        kernel: &'static str,
    },
    /// A boot file would pass the limits of its format.
    #[error("{what} is too large for its format")]
    FormatLimit {
        /// The thing that does not fit.
        what: &'static str,
    },
}

impl Error {
    /// What to do next, when there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoKernel => Some(
                "install the distribution's kernel package in the image, such as \
                 linux-image-amd64 (Debian), kernel-core (Fedora) or kernel-default (openSUSE)"
                    .to_owned(),
            ),
            Self::SeveralKernels { .. } => {
                Some("remove all kernels but one from the image".to_owned())
            }
            Self::KernelFormat { .. } => {
                Some("use a kernel built with CONFIG_EFI_STUB for x86-64 or arm64".to_owned())
            }
            Self::NoModuleIndex { release, .. } => {
                Some(format!("run `depmod {release}` as the last step of the image's build"))
            }
            Self::Incapable { missing, .. } => {
                let mut remedies: Vec<String> = missing.iter().map(Missing::remedy).collect();
                remedies.dedup();
                Some(remedies.join("; "))
            }
            Self::NoSuchModule { release, .. } => Some(format!(
                "`ls usr/lib/modules/{release}` in the image shows what there is; drivers are \
                 often in a package of their own, such as linux-modules-extra"
            )),
            Self::NoBootFile { .. } => Some(
                "install systemd-boot in the image (systemd-boot-efi in Debian, systemd-boot in \
                 Fedora and openSUSE), or take it from another image with --boot-files"
                    .to_owned(),
            ),
            Self::Architecture { .. } => {
                Some("take stub and kernel from images of one architecture".to_owned())
            }
            Self::Damaged { .. }
            | Self::TooLarge { .. }
            | Self::Read { .. }
            | Self::Codec { .. }
            | Self::Pe { .. }
            | Self::FormatLimit { .. } => None,
        }
    }
}

fn list(missing: &[Missing]) -> String {
    let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
    names.join(", ")
}
