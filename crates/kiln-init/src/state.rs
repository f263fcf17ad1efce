//! The state partition: made on the first boot, checked and mounted on every one.
//!
//! It is formatted only under the temporary name that the first boot gave it, and gets its lasting
//! name after the new file system is on the disk: the name is the commit. A power cut before that
//! formats again at the next start, one after it never does. A partition with the lasting name and a
//! damaged file system is an error, whatever it costs in convenience: it may hold the only copy.

use crate::Error;
use crate::cmdline::{CommandLine, StateMode};
use crate::console::{note, note_time};
use crate::disks::Disk;
use crate::error::file;
use crate::extra;
use crate::plan::{self, Step};
use crate::root::SYSROOT;
use crate::superblock::{self, Superblock};
use crate::tools::{Workshop, describe};
use kiln_disk::Guid;
use kiln_disk::layout::{self, CompleteOptions, STATE};
use kiln_sys::mount::{self, Options};
use kiln_sys::process::Outcome;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Share of memory that may be filled where nothing is kept.
const MEMORY_STATE: &str = "mode=0755,size=50%";
/// Where failures are recorded, below the state's root.
const FAILURE: &str = "kiln/last-failure";
/// e2fsck's exit codes below this mean that the file system is sound now (e2fsck(8)).
const CHECK_FAILED: i32 = 4;

/// Where state is mounted.
pub(crate) fn mount_point() -> PathBuf {
    Path::new(SYSROOT).join("state")
}

/// Makes, checks, grows and mounts the state.
pub(crate) fn mount_state(disk: &mut Disk, line: &CommandLine) -> Result<(), Error> {
    let target = mount_point();
    if !target.is_dir() {
        return Err(Error::Image("the folder /state".into()));
    }
    if line.state == StateMode::Memory {
        mount::mount("tmpfs", &target, "tmpfs", Options::default(), MEMORY_STATE)?;
        return Ok(());
    }
    if plan::next(&disk.located, disk.length()).map_err(disk.failed())? == Step::Complete {
        complete_table(disk, line)?;
    }
    disk.tell_kernel()?;
    match plan::next(&disk.located, disk.length()).map_err(disk.failed())? {
        Step::Format => format(disk)?,
        Step::Grow(grown) => {
            disk.replace_table(&grown)?;
            note("state partition grown to the end of the disk");
        }
        Step::Repair => repair_table(disk),
        Step::Complete | Step::Use => {}
    }
    check_and_mount(&node(disk)?, &target)?;
    if let Err(error) = kiln_etc::format::check(&target) {
        // Not even this failure is written into it.
        mount::unmount(&target)?;
        return Err(error.into());
    }
    extra::prepare(disk)
}

fn node(disk: &Disk) -> Result<String, Error> {
    disk.partition_node(STATE.number).ok_or_else(|| Error::State {
        device: disk.node.clone(),
        reason: "the kernel shows no node for it".into(),
    })
}

/// The first boot: the whole layout, and identities of this machine's own.
fn complete_table(disk: &mut Disk, line: &CommandLine) -> Result<(), Error> {
    let guid = || kiln_sys::machine::random().map(Guid::from_random);
    let options = CompleteOptions {
        recovery: true,
        disk_guid: guid()?,
        esp_guid: guid()?,
        root_a_guid: guid()?,
        root_b_guid: guid()?,
        state_guid: guid()?,
        recovery_guid: guid()?,
    };
    let image = line.root.image_length();
    let wanted = extra::layout(disk);
    let mut identities = Vec::new();
    for _ in &wanted.partitions {
        identities.push(guid()?);
    }
    let mut identity = || identities.pop().unwrap_or_default();
    let (table, length) = (&disk.located.table, disk.length());
    let complete = layout::complete_by(table, length, image, &options, &wanted, &mut identity)
        .map_err(disk.failed())?;
    disk.replace_table(&complete)?;
    note_time("first boot: partition table completed");
    Ok(())
}

/// Makes both copies of the table agree again. The good copy was enough to come here, so a disk that
/// refuses the other is no reason not to start.
fn repair_table(disk: &mut Disk) {
    let table = disk.located.table.clone();
    match disk.replace_table(&table) {
        Ok(()) => note("partition table: the damaged copy was written again"),
        Err(error) => note(&error.sentence()),
    }
}

/// Writes the file system, then commits.
fn format(disk: &mut Disk) -> Result<(), Error> {
    let node = node(disk)?;
    let program = Workshop::find(&["mkfs.ext4", "mke2fs"])
        .ok_or_else(|| Error::Image("mkfs.ext4 (package e2fsprogs)".into()))?;
    let arguments =
        ["-q", "-t", "ext4", "-L", STATE.name, "-E", "lazy_itable_init=1", "-F", node.as_str()];
    Workshop::open()?.make_file_system(&program, &arguments, &node)?;
    if read_superblock(&node)?.is_none() {
        let reason = format!("{program} left no ext4 file system");
        return Err(Error::State { device: node, reason });
    }
    let finished = layout::finish_state(&disk.located.table).map_err(disk.failed())?;
    disk.replace_table(&finished)?;
    note_time("first boot: state formatted");
    Ok(())
}

fn check_and_mount(node: &str, target: &Path) -> Result<(), Error> {
    let damaged = |reason: &str| Error::State { device: node.to_owned(), reason: reason.into() };
    let superblock =
        read_superblock(node)?.ok_or_else(|| damaged("it holds no ext4 file system"))?;
    if superblock.needs_check {
        check(node, &superblock)?;
    }
    mount::mount(node, target, "ext4", Options::default(), "")
        .map_err(|error| damaged(&Error::from(error).sentence()))?;
    let length = File::open(node)
        .map_err(file("open", node))
        .and_then(|device| Ok(kiln_sys::block::length(&device, node)?))?;
    if let Some(blocks) = superblock.growth(length) {
        // A file system that stays small still works; the next boot tries again.
        match kiln_sys::extended::grow(target, blocks) {
            Ok(()) => note("state file system grown"),
            Err(error) => note(&Error::from(error).sentence()),
        }
    }
    Ok(())
}

/// Repairs what can be repaired without a decision.
fn check(node: &str, superblock: &Superblock) -> Result<(), Error> {
    let Some(program) = Workshop::find(&["e2fsck", "fsck.ext4"]) else {
        note("the image has no e2fsck: the state file system is not checked");
        return Ok(());
    };
    let arguments = superblock.check_arguments();
    let arguments: Vec<&str> =
        arguments.iter().map(String::as_str).chain(std::iter::once(node)).collect();
    match Workshop::open()?.run(&program, &arguments)? {
        Outcome::Code(code) if code < CHECK_FAILED => Ok(()),
        outcome => {
            let reason = format!("{program} ended with {}", describe(outcome));
            Err(Error::State { device: node.to_owned(), reason })
        }
    }
}

fn read_superblock(node: &str) -> Result<Option<Superblock>, Error> {
    let device = File::open(node).map_err(file("open", node))?;
    let mut bytes = [0; superblock::LENGTH];
    device.read_exact_at(&mut bytes, superblock::OFFSET).map_err(file("read", node))?;
    Ok(superblock::parse(&bytes))
}

/// Keeps the reason of a failed boot where the next one, or a person, finds it: in state if that is
/// mounted, which it may be below the new root already. Nothing is done if that fails.
pub(crate) fn record_failure(text: &str) {
    for state in [mount_point(), PathBuf::from("/state")] {
        record_failure_in(&state, text);
    }
}

/// [`record_failure`] for a state that is mounted at `state`.
pub(crate) fn record_failure_in(state: &Path, text: &str) {
    let path = state.join(FAILURE);
    if path.parent().is_some_and(Path::is_dir) {
        let _ = fs::write(path, format!("{text}\n"));
    }
}

/// Removes the record of an earlier failure after telling of it.
pub(crate) fn forget_failure() {
    let path = mount_point().join(FAILURE);
    if let Ok(text) = fs::read_to_string(&path) {
        note(&format!("an earlier {}", text.trim_end()));
        let _ = fs::remove_file(path);
    }
}
