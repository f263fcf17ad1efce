//! Everything that can go wrong while files for GRUB are made, as one enum.
//!
//! Paths are those in GRUB's own folder of an image, or what the caller named.

use std::io;

/// Why something for GRUB could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image has no GRUB for BIOS, or a part of it is missing.
    #[error("the image has no {file}, a part of GRUB for BIOS")]
    MissingFile {
        /// Path of the file that was looked for.
        file: String,
    },
    /// A module that is wanted, by the menu or by another module, is not one of this GRUB's.
    #[error("GRUB in {folder} has no module `{name}`")]
    NoSuchModule {
        /// GRUB's folder.
        folder: String,
        /// Name of the module.
        name: String,
    },
    /// A file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// Path of the file.
        path: String,
        /// What the reader said.
        source: io::Error,
    },
    /// A file of GRUB is larger than anything of its kind can be.
    #[error("{path} has {size} bytes, more than the {limit} allowed for it")]
    TooLarge {
        /// Path of the file.
        path: String,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A file of GRUB is damaged or of a kind that this code does not know.
    #[error("{path} is no part of a GRUB that can be used: {reason}")]
    Damaged {
        /// Path of the file.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The core image passes a limit.
    #[error("{what} has {size} bytes, more than the {limit} it can have")]
    CoreTooLarge {
        /// The thing that is too large.
        what: &'static str,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The compressor failed.
    #[error("cannot compress the core image")]
    Compress {
        /// What it said.
        source: io::Error,
    },
    /// The place on the disk cannot hold a core image.
    #[error("GRUB cannot start from this place: {reason}")]
    Place {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A text has no place where it should go.
    #[error("{what} cannot be written for GRUB: {reason}")]
    Text {
        /// What it is, and the part of it.
        what: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The boot file has no kernel or no initramfs that GRUB could find.
    #[error("the boot file cannot be started by GRUB: {reason}")]
    BootFile {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The boot file is no PE program.
    #[error("the boot file cannot be read")]
    Pe {
        /// What the reader said.
        #[from]
        source: kiln_boot::Error,
    },
}

impl Error {
    /// What to do next, when there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::MissingFile { .. } => Some(
                "install GRUB's modules for BIOS in the image: grub-pc-bin (Debian, Ubuntu), \
                 grub2-pc-modules (Fedora), grub2-i386-pc (openSUSE), grub2-pc-modules (openEuler)"
                    .to_owned(),
            ),
            Self::NoSuchModule { .. } => {
                Some("use GRUB 2.06 or newer, with all modules of its package".to_owned())
            }
            Self::Text { .. } => Some(
                "GRUB passes no backslash and no quote within a word to the kernel; write the \
                 argument without them, or build for UEFI only"
                    .to_owned(),
            ),
            Self::Place { .. } => {
                Some("start from a disk with sectors of 512 bytes, or by UEFI".to_owned())
            }
            Self::CoreTooLarge { .. } => Some("leave modules out".to_owned()),
            Self::Read { .. }
            | Self::TooLarge { .. }
            | Self::Damaged { .. }
            | Self::Compress { .. }
            | Self::BootFile { .. }
            | Self::Pe { .. } => None,
        }
    }
}
