//! The core image: GRUB in one piece, made from the modules of an image's own GRUB package.
//!
//! [`disk`] gives what goes to a disk, [`cd`] what goes to a CD. Both are functions of GRUB's files
//! and the recipe alone: no clock, no random number, no program of the image. The payload is, byte
//! for byte, what grub-mkimage makes of the same parts; a test compares them. What packs it is
//! another encoder, so the packed bytes differ, and GRUB's own decoder reads them.
//!
//! A core image is frozen: it holds every module that the menu uses, so nothing is loaded from the
//! disk later, and a changed GRUB package on the machine changes nothing. A password can only
//! protect a GRUB that loads no code from a folder that somebody else can write.

mod folder;
mod format;
mod kernel;
mod modules;
mod place;
mod writer;

pub use folder::{Directory, FOLDERS, Folder};
pub use format::BOOT_CODE;
pub use place::on_cd;
pub use writer::{Recipe, payload};

use crate::Error;
use format::{CD_BOOT, SECTOR};

/// Modules of the core image of a disk, without those that they need: GPT and FAT of the disk that
/// the BIOS started from, what the menu uses, and what a person needs at GRUB's command line to
/// look around.
pub const MODULES: &[&str] = &[
    "biosdisk",
    "part_gpt",
    "fat",
    "normal",
    "configfile",
    "linux",
    "loopback",
    "loadenv",
    "regexp",
    "test",
    "true",
    "echo",
    "eval",
    "probe",
    "serial",
    "terminal",
    "keystatus",
    "sleep",
    "reboot",
    "password_pbkdf2",
    "minicmd",
    "ls",
    "cat",
];

/// Modules of the core image of a CD: those of a disk, what finds and reads a medium, and what
/// menus of others use.
pub const CD_MODULES: &[&str] = &[
    "biosdisk",
    "iso9660",
    "part_gpt",
    "part_msdos",
    "fat",
    "normal",
    "configfile",
    "linux",
    "loopback",
    "squash4",
    "search",
    "search_label",
    "search_fs_file",
    "search_fs_uuid",
    "regexp",
    "test",
    "true",
    "echo",
    "eval",
    "probe",
    "serial",
    "terminal",
    "gfxterm",
    "all_video",
    "font",
    "keystatus",
    "sleep",
    "reboot",
    "halt",
    "password_pbkdf2",
    "loadenv",
    "minicmd",
    "ls",
    "cat",
];

/// Where GRUB on a disk finds its menu: partition 2 of the disk that the BIOS started from,
/// whatever number that has.
pub const PREFIX: &str = "(,gpt2)/kiln/grub";

/// Where GRUB on a CD finds its menu, where everybody expects it.
pub const CD_PREFIX: &str = "/boot/grub";

/// The commands that a core image begins with, in GRUB's rescue language, which has no conditions:
/// a line that fails is told and passed over. So where there is no menu, or it was left, the
/// machine starts again and does not wait at a prompt.
pub const START: &str = "configfile $prefix/grub.cfg\n\
    echo \"kiln: the menu was left, or there is none; the machine restarts in 10 seconds\"\n\
    sleep 10\n\
    reboot\n";

/// What a disk needs to be started by a BIOS.
#[derive(Clone, PartialEq, Eq)]
pub struct BiosBoot {
    /// The first bytes of sector 0; what follows them there must stay.
    pub boot_code: [u8; BOOT_CODE],
    /// The core image in whole sectors, from the partition's first one on.
    pub core: Vec<u8>,
}

impl std::fmt::Debug for BiosBoot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("BiosBoot").field("core", &self.core.len()).finish_non_exhaustive()
    }
}

/// The partition that a core image goes to, `kiln-bios`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// First byte on the disk.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// Sector size of the disk in bytes.
    pub sector_size: u32,
}

/// GRUB for a disk: boot code for its first sector and a core image for its partition.
///
/// # Errors
/// What is missing or damaged in the folder, and a disk that a BIOS cannot start from.
pub fn disk(folder: &dyn Folder, partition: Partition) -> Result<BiosBoot, Error> {
    let sector = SECTOR as u64;
    if u64::from(partition.sector_size) != sector {
        return Err(Error::Place {
            reason: "the disk has sectors of another length than 512 bytes",
        });
    }
    if !partition.offset.is_multiple_of(sector) || partition.offset == 0 {
        return Err(Error::Place {
            reason: "the partition does not begin at a sector behind the first",
        });
    }
    let first_sector = partition.offset / sector;
    let recipe = Recipe { modules: MODULES, prefix: PREFIX, configuration: START };
    let mut core = writer::assemble(folder, &recipe)?;
    place::on_disk(&mut core, first_sector)?;
    let (size, limit) = (core.len() as u64, partition.length);
    if size > limit {
        return Err(Error::CoreTooLarge { what: "GRUB's core image", size, limit });
    }
    let boot = folder::read(folder, BOOT)?;
    let path = format!("{}/{BOOT}", folder.path());
    Ok(BiosBoot { boot_code: place::boot_code(&boot, &path, first_sector)?, core })
}

/// GRUB's boot sector.
const BOOT: &str = "boot.img";

/// GRUB for a CD: the image of an El Torito entry without emulation, of which the BIOS loads four
/// sectors. Who places it must tell it where it is, by [`on_cd`] or by what mkisofs calls
/// `-boot-info-table` and `--grub2-boot-info`.
///
/// # Errors
/// What is missing or damaged in the folder.
pub fn cd(folder: &dyn Folder, recipe: &Recipe<'_>) -> Result<Vec<u8>, Error> {
    let file = "cdboot.img";
    let mut image = folder::read(folder, file)?;
    if image.len() != CD_BOOT {
        let path = format!("{}/{file}", folder.path());
        return Err(Error::Damaged { path, reason: "it has not four sectors" });
    }
    image.extend(writer::assemble(folder, recipe)?);
    Ok(image)
}
