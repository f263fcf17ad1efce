//! Promise: one changed bit of a slot is an error or a refused boot, and never other content.
//!
//! Two places are tried. In the image's first block the boot itself must be refused, because there
//! is no other slot to fall back to. In a file's content the system boots and reading that file
//! fails, while its neighbours can be read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use kiln_lab::virtual_machine::BOOT;
use kiln_lab::{Error, Failure, Oracle, Product, VirtualMachine, WorkDirectory, debian, product};

/// Number of the first slot's partition.
const SLOT_A: &str = "3";

/// Place of the EROFS superblock in the image, in bytes (kernel, fs/erofs/erofs_fs.h).
const SUPERBLOCK: u64 = 1024;

/// How long a damaged system is watched; its init needs a tenth of that to find the damage.
const WATCH: Duration = Duration::from_secs(15);

#[test]
fn a_flipped_bit_in_the_first_block_refuses_the_boot() -> Result<(), Failure> {
    let work = WorkDirectory::new("flipped-superblock")?;
    let system = Product::from_environment()?.debian_system(&[])?;
    let disk = system.raw_copy(&work)?;
    flip(&disk, slot_start(&disk)? + SUPERBLOCK)?;

    let machine = product::machine(&disk)?.reboot(false);
    let mut machine = VirtualMachine::start("flipped-superblock", machine, &work)?;
    // The refusal ends in a restart, which this machine turns into its end.
    match machine.expect_any(&["login: ", "Welcome to"], BOOT + WATCH) {
        Ok((_, before)) => panic!("a damaged root was booted:\n{before}"),
        Err(Error::Console { problem, .. }) if problem.contains("ended") => {}
        Err(other) => return Err(other.into()),
    }
    let shown = machine.shown();
    assert!(shown.contains("verity"), "the console does not say why:\n{shown}");
    Ok(())
}

#[test]
fn a_flipped_bit_in_a_file_is_an_error_and_not_content() -> Result<(), Failure> {
    let work = WorkDirectory::new("flipped-file")?;
    // Without compression the file's bytes can be found on the disk.
    let system = Product::from_environment()?.debian_system(&["--compress", "none"])?;
    let disk = system.raw_copy(&work)?;
    let start = slot_start(&disk)?;
    let place = start + find_canary(&system.root_image())?;
    flip(&disk, place)?;

    let machine = product::machine(&disk)?;
    let mut machine = VirtualMachine::start("flipped-file", machine, &work)?;
    machine.login(debian::USER, product::PASSWORD)?;
    let read = machine.run(&format!("cat {} > /dev/null", debian::CANARY))?;
    assert_ne!(read.status, 0, "changed content was read");
    assert!(read.text.contains("Input/output error"), "{}", read.text);
    machine.succeed("cat /usr/bin/* > /dev/null")?;
    Ok(machine.power_off()?)
}

fn flip(disk: &Path, place: u64) -> Result<(), Error> {
    let change = || {
        let file = File::options().read(true).write(true).open(disk)?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, place)?;
        file.write_all_at(&[byte[0] ^ 0x10], place)
    };
    change().map_err(|source| Error::File { action: "damage", path: disk.to_owned(), source })
}

/// Place of the slot on the disk in bytes, as sgdisk sees it.
fn slot_start(disk: &Path) -> Result<u64, Error> {
    let text = Oracle::new("sgdisk").arguments(["-i", SLOT_A]).argument(disk).run()?;
    text.lines()
        .find_map(|line| line.strip_prefix("First sector: ")?.split(' ').next()?.parse().ok())
        .map(|sector: u64| sector * 512)
        .ok_or(Error::Unexpected { what: "sgdisk's description".into(), text })
}

/// Place of the canary's content in the image, in bytes.
fn find_canary(image: &Path) -> Result<u64, Error> {
    let wanted = debian::CANARY_LINE.repeat(64);
    let bytes = std::fs::read(image).map_err(|source| Error::File {
        action: "read",
        path: image.to_owned(),
        source,
    })?;
    // File content starts at a block.
    let block = bytes.chunks(4096).position(|block| block.starts_with(wanted.as_bytes()));
    block
        .map(|number| number as u64 * 4096 + 100)
        .ok_or(Error::Unexpected { what: "the canary".into(), text: "not in the image".into() })
}
