//! GRUB for machines with BIOS: everything that it reads, and the program itself out of its parts.
//!
//! A BIOS starts a sector, the sector starts GRUB's core image, and the core image reads a menu
//! from the EFI system partition, the very one that UEFI firmware starts from. The boot files are
//! the same, too: the menu starts kernel and initramfs inside of the unified kernel image, by the
//! places that stand in a small file per revision ([`revision`]). So there is one set of boot
//! files, one way to bring, bless and mark them bad, and nothing that the two firmwares could
//! disagree about.
//!
//! What GRUB cannot do is rename: tries are counted down in its environment block
//! ([`environment`]), and the smaller of that number and the one in the name counts. [`choice`]
//! says what the menu will do with what is on the disk; a test in a virtual machine holds the two
//! together.
//!
//! | file on the ESP | is | made by |
//! |---|---|---|
//! | [`MENU_PATH`] | the menu's script | [`menu`] |
//! | [`ENVIRONMENT_PATH`] | tries left, one-shot wish; the one file that GRUB writes | [`environment`] |
//! | `kiln/grub/<generation>.cfg`, [`RECOVERY_PATH`] | how one boot file is started | [`revision`] |
//! | [`USERS_PATH`] | optional: who may change what is started | [`users`] |
//!
//! The core image ([`core`]) is made here from the modules of the image's own GRUB package, the way
//! grub-mkimage does it. Running that program in a sandbox was dropped: it would need the image's
//! processor, and builds shall need no privilege and no tool. The core holds every module that the
//! menu needs and loads none at run time, so it changes only when somebody replaces it.
//!
//! Must never write a disk itself: all that comes out is bytes for somebody who knows how to place
//! them without losing what was there.

pub mod choice;
#[cfg(feature = "build")]
pub mod core;
pub mod environment;
#[cfg(feature = "build")]
mod error;
#[cfg(feature = "build")]
pub mod menu;
#[cfg(feature = "build")]
mod quote;
#[cfg(feature = "build")]
pub mod revision;
#[cfg(feature = "build")]
pub mod users;

#[cfg(feature = "build")]
pub use error::Error;

/// The folder of everything that GRUB reads but the boot files, on the EFI system partition.
pub const FOLDER: &str = "kiln/grub";
/// The menu.
pub const MENU_PATH: &str = "kiln/grub/grub.cfg";
/// The environment block. It must be there, and be [`environment::LENGTH`] bytes long, or nothing
/// is counted and nothing on trial preferred.
pub const ENVIRONMENT_PATH: &str = "kiln/grub/grubenv";
/// How recovery is started.
pub const RECOVERY_PATH: &str = "kiln/grub/recovery.cfg";
/// Users of the menu, if it is protected.
pub const USERS_PATH: &str = "kiln/grub/users.cfg";

/// The word of the kernel command line that says which boot file was started: its name as it is on
/// the disk, in `EFI/Linux`. It takes the place of the variable `LoaderEntrySelected`.
pub const ENTRY_ARGUMENT: &str = "kiln.entry=";
/// The word of the kernel command line with the GUID of the EFI system partition that was started
/// from, in small letters. It takes the place of `LoaderDevicePartUUID`, and is missing where GRUB
/// does not know.
pub const DISK_ARGUMENT: &str = "kiln.disk=";

/// Path of the configuration of a generation.
#[must_use]
pub fn revision_path(generation: u32) -> String {
    format!("{FOLDER}/{generation:08}.cfg")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_lie_in_one_folder() {
        let revision = revision_path(42);
        assert_eq!(revision, "kiln/grub/00000042.cfg");
        for path in [MENU_PATH, ENVIRONMENT_PATH, RECOVERY_PATH, USERS_PATH, &revision] {
            assert_eq!(path.rsplit_once('/').map(|(folder, _)| folder), Some(FOLDER));
        }
    }
}
