//! Promise: what a build may be asked for beside the usual also boots: a root compressed by zstd, a
//! root without compression, and a disk with sectors of 4096 bytes.
//!
//! Each test first makes sure, on the written bytes, that it has what it asked for: a build that
//! quietly fell back to the usual would boot just as well.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kiln_lab::{Error, Failure, Product, VirtualMachine, WorkDirectory, debian, product};
use kiln_qemu::{Disk, DiskFormat, Machine};

/// Place of `feature_incompat` in the image, in bytes (kernel, fs/erofs/erofs_fs.h).
const FEATURES: u64 = 1024 + 80;

/// Place of `available_compr_algs`, valid with [`WITH_CONFIGURATIONS`].
const ALGORITHMS: u64 = 1024 + 84;

/// `EROFS_FEATURE_INCOMPAT_LZ4_0PADDING`: set in every image with compressed files.
const WITH_COMPRESSION: u32 = 1;

/// `EROFS_FEATURE_INCOMPAT_COMPR_CFGS`.
const WITH_CONFIGURATIONS: u32 = 2;

/// `Z_EROFS_COMPRESSION_ZSTD`, as a bit.
const ZSTD: u32 = 1 << 3;

#[test]
fn a_root_compressed_by_zstd_boots() -> Result<(), Failure> {
    let work = WorkDirectory::new("zstd")?;
    let system = Product::from_environment()?.debian_system(&["--compress", "zstd"])?;
    let image = system.root_image();
    assert_ne!(number(&image, FEATURES)? & WITH_CONFIGURATIONS, 0);
    assert_eq!(number(&image, ALGORITHMS)? & 0xffff, ZSTD);
    boots("zstd", product::machine(&system.disk(&work)?)?, &work)
}

#[test]
fn a_root_without_compression_boots() -> Result<(), Failure> {
    let work = WorkDirectory::new("uncompressed")?;
    let system = Product::from_environment()?.debian_system(&["--compress", "none"])?;
    let features = number(&system.root_image(), FEATURES)?;
    assert_eq!(features & (WITH_COMPRESSION | WITH_CONFIGURATIONS), 0, "{features:#x}");
    boots("uncompressed", product::machine(&system.disk(&work)?)?, &work)
}

#[test]
fn a_disk_with_sectors_of_4096_bytes_boots() -> Result<(), Failure> {
    let work = WorkDirectory::new("sectors")?;
    let system = Product::from_environment()?.debian_system(&["--sector-size", "4096"])?;
    // The table's signature is at the start of the second sector, wherever that is.
    assert_eq!(&bytes::<8>(&system.raw_disk(), 4096)?, b"EFI PART");
    let disk = Disk::new(system.disk(&work)?, DiskFormat::Qcow2)
        .unsafe_cache(true)
        .sector_size(4096)
        .map_err(Error::from)?;
    let machine = product::machine_with(disk);
    boots("sectors", machine, &work)
}

/// Boots to a login, to files that read as they should, and to no failed unit.
fn boots(name: &str, machine: Machine, work: &WorkDirectory) -> Result<(), Failure> {
    let mut machine = VirtualMachine::start(name, machine, work)?;
    machine.login(debian::USER, product::PASSWORD)?;
    let canary = machine.succeed(&format!("sort -u {0}; stat -c %s {0}", debian::CANARY))?;
    assert_eq!(canary, format!("{}65536", debian::CANARY_LINE));
    // The kernel decompresses and checks every block of every program and library.
    machine.succeed("cat /usr/bin/* /usr/lib/x86_64-linux-gnu/*.so* > /dev/null")?;
    assert_eq!(machine.succeed("findmnt -no FSTYPE /")?, "erofs");
    assert_eq!(machine.succeed("findmnt -no FSTYPE /var")?, "ext4");
    let failed = machine.succeed("systemctl list-units --state=failed --no-legend --plain")?;
    assert_eq!(failed, "", "failed units");
    Ok(machine.power_off()?)
}

fn number(image: &Path, place: u64) -> Result<u32, Error> {
    bytes(image, place).map(u32::from_le_bytes)
}

fn bytes<const N: usize>(path: &Path, place: u64) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    File::open(path)
        .and_then(|file| file.read_exact_at(&mut bytes, place))
        .map_err(|source| Error::File { action: "read", path: path.to_owned(), source })?;
    Ok(bytes)
}
