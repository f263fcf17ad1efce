//! Into recovery and out of it: whole roots between partitions of one disk.
//!
//! Both ways have the order of an upgrade. What starts from the partition goes first, the root is
//! written, flushed and proved by its hash, and the boot file comes last: **that it appears is the
//! commit point.** A cut before it leaves a recovery that nothing starts, and the next call begins
//! again.
//!
//! The boot file is made from the one that proved itself, so that a disk has to carry only one.

use std::fs::{self, File};

use kiln_boot::entry::RECOVERY_PATH;
use kiln_boot::os_release::Mode;
use kiln_boot::reset::ASIDE;
use kiln_boot::uki::mode::for_mode;
use kiln_disk::{BlockDevice, FileDevice};
use kiln_release::Release;
use kiln_verity::{ReadAt, RootArgument};

use super::stage::{MAXIMUM_BOOT_FILE, Stage, finish, make_room, open_slot, prove};
use super::upgrade::{activate, run_written};
use super::{begin, open_exclusively};
use crate::Error;
use crate::esp::SystemPartitionDevice;
use crate::hooks::{Hooks, Moment};
use crate::ledger::{Slot, Store, Verification};
use crate::machine::{Machine, Paths, RECOVERY_FACTS};
use crate::plan::{self, Filling, Plan, Unfilled};

/// Bytes that are copied at once.
const PIECE: usize = 1 << 20;

/// What a boot that proved itself still had to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// Nothing about recovery, and why.
    Nothing(Unfilled),
    /// Recovery got this generation.
    Filled(u32),
    /// Recovery put the system onto its disk, as this generation; it starts at the next boot.
    Deployed(u32),
}

/// Does what can wait until a boot proved itself: deletes what a reset set aside, fills recovery, and
/// in a recovery that came alone puts the system onto its disk.
///
/// # Errors
/// As reading the machine and writing the disk; calling it again goes on.
pub fn settle(paths: &Paths, hooks: &mut dyn Hooks, busy: impl FnOnce()) -> Result<Settled, Error> {
    clear_aside(paths)?;
    let (store, mut machine) = begin(paths, busy)?;
    if plan::deploys_by_itself(&machine) {
        let (plan, release) = plan::deployment(&machine)?;
        let release = release.clone();
        let generation = deploy_planned(paths, &store, &mut machine, &plan, release, hooks)?;
        return Ok(Settled::Deployed(generation));
    }
    match plan::fill(&machine, false) {
        Filling::Nothing(reason) => Ok(Settled::Nothing(reason)),
        Filling::Write(fill) => write_running(&machine, &fill).map(Settled::Filled),
    }
}

/// Gives recovery the running release, whatever it holds; its generation, or `None` if it is there.
///
/// # Errors
/// [`Error::Refused`] with the reason, and as [`settle`].
pub fn refresh(paths: &Paths, busy: impl FnOnce()) -> Result<Option<u32>, Error> {
    let (_store, machine) = begin(paths, busy)?;
    match plan::fill(&machine, true) {
        Filling::Write(fill) => write_running(&machine, &fill).map(Some),
        Filling::Nothing(Unfilled::Filled) => Ok(None),
        Filling::Nothing(reason) => {
            let hint = match reason {
                Unfilled::NotProved => "wait until `kiln status` says `blessed`",
                Unfilled::Running => "restart into the system first",
                Unfilled::NoRoom { .. } => "remove files that are not Kiln's from the ESP",
                _ => "install anew, on a larger disk or with larger slots",
            };
            Err(Error::Refused { reason: reason.to_string(), hint: hint.to_owned() })
        }
    }
}

/// Writes recovery's release into a slot and makes it what boots next; its generation, or `None` for
/// a dry run.
///
/// # Errors
/// [`Error::Refused`] before anything was changed, and as an upgrade.
pub fn deploy(
    paths: &Paths,
    dry_run: bool,
    hooks: &mut dyn Hooks,
    busy: impl FnOnce(),
) -> Result<(Plan, Release, Option<u32>), Error> {
    let (store, mut machine) = begin(paths, busy)?;
    let (plan, release) = plan::deployment(&machine)?;
    let release = release.clone();
    if dry_run {
        return Ok((plan, release, None));
    }
    let generation = deploy_planned(paths, &store, &mut machine, &plan, release.clone(), hooks)?;
    Ok((plan, release, Some(generation)))
}

fn deploy_planned(
    paths: &Paths,
    store: &Store,
    machine: &mut Machine,
    plan: &Plan,
    release: Release,
    hooks: &mut dyn Hooks,
) -> Result<u32, Error> {
    let boot_file = {
        let partition = &machine.system_partition;
        let esp = SystemPartitionDevice::open(&partition.node, machine.sector_size)?;
        for_mode(&esp.read(RECOVERY_PATH, MAXIMUM_BOOT_FILE)?, Mode::System)
            .map_err(kiln_build::Error::from)?
    };
    let (source, _) = open_source(machine, Slot::Recovery)?;
    let (partition, root) = open_slot(machine, plan)?;
    let has_root = plan.keeps_slot && prove(&root, &release).is_ok();
    hooks.run(&Moment::Before);
    make_room(store, machine, plan)?;
    if !has_root {
        let copy = root.try_clone().and_then(|root| FileDevice::new(root, machine.sector_size));
        let mut target = copy.map_err(Error::device("open", &partition.node))?;
        copy_root(&source, &mut target, release.root.length)
            .map_err(Error::device("write", &partition.node))?;
    }
    let stage = Stage {
        paths,
        store,
        plan,
        source: "recovery".to_owned(),
        digest: None,
        verification: Verification::Delivered,
    };
    let generation = finish(stage, machine, &partition, &root, release, &boot_file)?;
    // What hooks mount the kernel gives to nobody who has to share it.
    drop(root);
    run_written(hooks, machine, generation);
    activate(store, machine, generation)?;
    hooks.run(&Moment::Committed);
    Ok(generation)
}

/// Copies the running root and lists its recovery.
fn write_running(machine: &Machine, fill: &plan::Fill) -> Result<u32, Error> {
    let (source, _) = open_source(machine, fill.source)?;
    let Some(partition) = machine.partition(Slot::Recovery) else {
        return Err(Error::NotKiln { reason: "no recovery".to_owned() });
    };
    let node = &partition.node;
    let file = open_exclusively(node)?;
    let mut target =
        FileDevice::new(file, machine.sector_size).map_err(Error::device("open", node))?;
    let esp_node = &machine.system_partition.node;
    let mut esp = SystemPartitionDevice::open(esp_node, machine.sector_size)?;
    let boot_file = esp.read(&fill.boot_path, MAXIMUM_BOOT_FILE)?;
    let recovery_file = for_mode(&boot_file, Mode::Recovery).map_err(kiln_build::Error::from)?;
    let release = machine.ledger.revision(fill.generation).map(|revision| &revision.release);
    let content = Content { root: fill.root, release, boot_file: &recovery_file };
    let mut before_proof =
        |target: &FileDevice| super::stage::drop_cache(target.file(), Slot::Recovery, node);
    write_recovery(&source, &mut target, &mut esp, &content, node, &mut before_proof)?;
    Ok(fill.generation)
}

/// What recovery is to hold.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// The root.
    pub root: RootArgument,
    /// Its facts, if they are known.
    pub release: Option<&'a Release>,
    /// The boot file of the recovery mode.
    pub boot_file: &'a [u8],
}

/// Writes recovery from `source`, in the one safe order. `before_proof` is called when everything was
/// flushed, so that the proof can be made to read the medium.
///
/// # Errors
/// The devices', and [`Error::Slot`] if what was copied is not the root; nothing starts it then.
pub fn write_recovery<Target: BlockDevice + Sync, Esp: BlockDevice>(
    source: &dyn BlockDevice,
    target: &mut Target,
    esp: &mut SystemPartitionDevice<Esp>,
    content: &Content<'_>,
    node: &str,
    before_proof: &mut dyn FnMut(&Target) -> Result<(), Error>,
) -> Result<(), Error> {
    esp.remove(RECOVERY_PATH)?;
    copy_root(source, target, content.root.image_length()).map_err(Error::device("write", node))?;
    before_proof(target)?;
    let refuse =
        |reason: String| Error::Slot { slot: Slot::Recovery, device: node.to_owned(), reason };
    let is_proved = holds(target, &content.root).map_err(|error| refuse(error.to_string()))?;
    if !is_proved {
        return Err(refuse("the slot that it was copied from is damaged, too".to_owned()));
    }
    match content.release {
        Some(release) => esp.put_recovery(release, content.boot_file),
        None => {
            esp.remove(RECOVERY_FACTS)?;
            esp.put(RECOVERY_PATH, content.boot_file)
        }
    }
}

fn copy_root(
    source: &dyn BlockDevice,
    target: &mut dyn BlockDevice,
    length: u64,
) -> std::io::Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut done = 0;
    while done < length {
        let left = usize::try_from(length - done).unwrap_or(PIECE).min(PIECE);
        let piece = buffer.get_mut(..left).unwrap_or_default();
        source.read_at(done, piece)?;
        target.write_at(done, piece)?;
        done += left as u64;
    }
    target.flush()
}

/// Whether a device holds a root, by reading all of it: the data, and the hash tree as it is stored.
///
/// # Errors
/// The device's.
pub fn holds<Device: BlockDevice + Sync>(
    device: &Device,
    root: &RootArgument,
) -> Result<bool, kiln_verity::Error> {
    struct Reader<'a, Device>(&'a Device);
    impl<Device: BlockDevice> ReadAt for Reader<'_, Device> {
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
            self.0.read_at(offset, buffer)
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let tree = kiln_verity::build(&Reader(device), root.data_blocks, &root.salt, threads)?;
    let mut stored = vec![0; tree.bytes.len()];
    if device.read_at(root.hash_offset(), &mut stored).is_err() {
        return Ok(false);
    }
    Ok(tree.root == root.root && stored == tree.bytes)
}

/// A slot to copy from. It may run meanwhile: nobody writes to it.
fn open_source(machine: &Machine, slot: Slot) -> Result<(FileDevice, String), Error> {
    let Some(partition) = machine.partition(slot) else {
        return Err(Error::NotKiln { reason: format!("no slot {slot}") });
    };
    let node = partition.node.clone();
    let file = File::open(&node).map_err(Error::device("open", &node))?;
    let device =
        FileDevice::new(file, machine.sector_size).map_err(Error::device("open", &node))?;
    Ok((device, node))
}

/// Deletes what the first process set aside when it reset the state.
fn clear_aside(paths: &Paths) -> Result<(), Error> {
    let Some(state) = paths.ledger.parent() else { return Ok(()) };
    let aside = state.join(ASIDE);
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("delete", &aside, error))
        }
        _ => Ok(()),
    }
}
