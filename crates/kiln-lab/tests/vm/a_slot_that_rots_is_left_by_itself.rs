//! Promise: a release that proved itself, and whose slot has rotted since, is left without anybody's
//! help: the machine starts the one before and says what it found, and the release can be brought again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kiln_lab::{Error, Failure, Left, Life, Oracle, Releases, WorkDirectory};

/// Number of the second slot's partition.
const SLOT_B: &str = "4";

/// Place of the EROFS superblock in the image, in bytes (kernel, fs/erofs/erofs_fs.h).
const SUPERBLOCK: u64 = 1024;

#[test]
fn a_slot_that_rots_is_left_by_itself() -> Result<(), Failure> {
    let work = WorkDirectory::new("rots")?;
    let releases = Releases::new(&work)?;
    releases.publish("14", &[])?;
    let mut life = Life::new("rots", &work)?;
    life.power_on()?;
    life.settle()?;
    // Recovery must not get the new release: its copy would be used in place of the rotten one.
    life.succeed("sudo -n systemctl mask --quiet kiln-settle.service")?;
    life.complete(&releases.call("14", ""))?;
    life.restart_by("sudo -n systemctl reboot")?;
    life.settle()?;
    assert_eq!(life.boot_files()?, ["kiln-00000001.efi", "kiln-00000002.efi"]);
    life.power_off()?;

    damage(life.disk())?;
    life.power_on()?;
    // The rotten one and the one before.
    life.starts_again(2)?;
    life.settle()?;
    life.runs_the_first_release()?;
    life.tells_of(&Left::first_upgrade("14", "boot", &["kiln-root-b: cannot verify"]))?;

    // It proved itself once, so bringing it again needs no force and is the repair.
    life.complete(&releases.call("14", ""))?;
    assert_eq!(life.boot_files()?, ["kiln-00000001.efi", "kiln-00000003+3-0.efi"]);

    Ok(life.power_off()?)
}

/// Changes a byte that every boot reads.
fn damage(disk: &Path) -> Result<(), Error> {
    let text = Oracle::new("sgdisk").arguments(["-i", SLOT_B]).argument(disk).run()?;
    let first = text
        .lines()
        .find_map(|line| line.strip_prefix("First sector: ")?.split(' ').next()?.parse().ok());
    let Some(first): Option<u64> = first else {
        return Err(Error::Unexpected { what: "sgdisk's description".into(), text });
    };
    let place = first * 512 + SUPERBLOCK;
    let change = || {
        let file = File::options().read(true).write(true).open(disk)?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, place)?;
        file.write_all_at(&[byte[0] ^ 0x10], place)
    };
    change().map_err(|source| Error::File { action: "damage", path: disk.to_owned(), source })
}
