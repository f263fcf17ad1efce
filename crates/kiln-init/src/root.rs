//! The root: prove a candidate by its top hash block, map it through dm-verity, mount it.
//!
//! The top block is read at the computed place and hashed here, so that a partition with another
//! release is passed over without a word of the kernel; everything below it is the kernel's to
//! verify, block by block as it is read. No superblock of any kind is trusted before that.

use crate::Error;
use crate::choice::{holds_root, may_try, root_partitions};
use crate::cmdline::CommandLine;
use crate::console::note;
use crate::disks::{Disk, device_number};
use crate::error::file;
use crate::modules::Modules;
use kiln_sys::mapper::{self, VerityTable};
use kiln_sys::mount::{self, Options};
use kiln_verity::{RootArgument, encode_hex};
use std::fs;
use std::io::Read;
use std::path::Path;

/// Where the root is mounted until it takes over.
pub(crate) const SYSROOT: &str = "/sysroot";
/// The name under which a loop device asks for its driver.
const LOOP_ALIAS: &str = "devname:loop-control";
/// Name of the mapped device.
const MAPPED: &str = "kiln-root";
/// Bytes read as a first test: superblock, first metadata, and the hash blocks above them.
const FIRST_READS: u64 = 256 << 10;

/// Mounts the first candidate with the wanted hash whose first reads succeed; gives the name of its
/// partition.
pub(crate) fn mount_verified(
    disk: &Disk,
    line: &CommandLine,
    modules: &mut Modules,
) -> Result<String, Error> {
    let (mut tried, mut has_failed) = (Vec::new(), false);
    for number in root_partitions(&disk.located.table, line.mode) {
        if !may_try(line.mode, number, has_failed) {
            continue;
        }
        let Some(partition) = disk.located.table.partitions.get(&number) else { continue };
        let sector_size = disk.located.table.sector_size;
        let (offset, length) = (partition.offset(sector_size), partition.length(sector_size));
        let outcome = match holds_root(&disk.device, offset, length, &line.root) {
            Ok(true) => map_and_mount(disk, number, offset, &line.root, modules),
            Ok(false) => {
                tried.push(format!("{} has another root", partition.name));
                continue;
            }
            Err(error) => Err(file("read", &disk.node)(error)),
        };
        match outcome {
            Ok(()) => return Ok(partition.name.clone()),
            Err(error) => {
                let text = format!("{}: {}", partition.name, error.sentence());
                note(&text);
                tried.push(text);
                has_failed = true;
            }
        }
    }
    let tried = if tried.is_empty() { "it has no root partition".into() } else { tried.join(", ") };
    Err(Error::NoRoot { disk: disk.node.clone(), root: line.root.root.to_string(), tried })
}

fn map_and_mount(
    disk: &Disk,
    number: u32,
    offset: u64,
    root: &RootArgument,
    modules: &mut Modules,
) -> Result<(), Error> {
    let (node, window) = match disk.partition_node(number) {
        Some(node) => (node, None),
        None => {
            modules.load_for(LOOP_ALIAS);
            let sector_size = disk.located.table.sector_size;
            let length = root.image_length();
            let file = disk.device.file();
            let node = kiln_sys::loopback::attach_read_only(file, offset, length, sector_size)?;
            (node.clone(), Some(node))
        }
    };
    let outcome = map(&node, root);
    if outcome.is_err()
        && let Some(window) = window
    {
        // Only tidies up; the failure before it is the one to report.
        let _ = kiln_sys::loopback::detach(&window);
    }
    outcome
}

fn map(node: &str, root: &RootArgument) -> Result<(), Error> {
    let device = device_number(node)?;
    let (hash, salt) = (root.root.to_string(), encode_hex(&root.salt));
    let data_blocks = root.data_blocks;
    let table = VerityTable { device: &device, data_blocks, root: &hash, salt: &salt };
    let mapped = mapper::create_verity(MAPPED, &table)?;
    let outcome = first_reads(&mapped.node()).and_then(|()| mount_root(&mapped.node()));
    if outcome.is_err() {
        // Frees the name for the next candidate.
        mapper::remove(MAPPED)?;
    }
    outcome
}

fn first_reads(node: &str) -> Result<(), Error> {
    let mut device = fs::File::open(node).map_err(file("open", node))?.take(FIRST_READS);
    std::io::copy(&mut device, &mut std::io::sink()).map_err(file("verify", node))?;
    Ok(())
}

fn mount_root(node: &str) -> Result<(), Error> {
    let target = Path::new(SYSROOT);
    fs::create_dir_all(target).map_err(file("create", target))?;
    let options = Options { read_only: true, ..Options::default() };
    mount::mount(node, target, "erofs", options, "")?;
    // The root folder is the last of the first reads.
    let readable =
        fs::read_dir(target).and_then(|mut entries| entries.try_for_each(|entry| entry.map(drop)));
    if let Err(error) = readable {
        mount::unmount(target)?;
        return Err(file("read", target)(error));
    }
    Ok(())
}
