//! Writing a release into the slot that does not run, and its boot file where no loader lists it.
//!
//! Two ways lead here: a container image is built right into the slot, a pushed release is rebuilt
//! from what the slots hold and what is fetched. Both make room before the first byte is written: that
//! is when everything else is there, but for a large pushed release, which goes into the slot as it
//! comes and is not written twice. Both are proved by reading the slot back before a boot file appears.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use kiln_boot::entry::FOLDER;
use kiln_boot::os_release::Mode;
use kiln_boot::uki::mode::for_mode;
use kiln_build::{Assembled, BuildOptions, Place, Progress, assemble};
use kiln_erofs::{Lender, Profile};
use kiln_release::Release;
use kiln_release::fetch::{LocalContents, RebuildOptions, Remote, Spool, bring, lender};
use kiln_verity::{RootArgument, decode_hex};
use tempfile::TempDir;

use super::fetching::FetchProgress;
use super::kargs::{Carried, carry};
use super::{now, open_exclusively};
use crate::Error;
use crate::esp::SystemPartitionDevice;
use crate::ledger::{Event, Revision, Slot, State, Store, Verification};
use crate::machine::{Machine, Paths, SlotPartition, Staged};
use crate::plan::Plan;

/// Largest boot file that is read back from the ESP, in bytes.
pub(super) const MAXIMUM_BOOT_FILE: u32 = 256 << 20;

/// What both ways need.
pub(super) struct Stage<'a> {
    pub(super) paths: &'a Paths,
    pub(super) store: &'a Store,
    pub(super) plan: &'a Plan,
    /// The reference, for the ledger.
    pub(super) source: String,
    /// Digest of what the reference names.
    pub(super) digest: Option<String>,
    /// Who vouches for it.
    pub(super) verification: Verification,
}

/// Builds a container image into the slot; gives the generation.
pub(super) fn stage_image(
    stage: Stage<'_>,
    machine: &mut Machine,
    options: &BuildOptions,
    manifest_digest: &str,
    progress: &mut dyn Progress,
) -> Result<u32, Error> {
    let (partition, root) = open_slot(machine, stage.plan)?;
    let profile = Profile::of(options.codec);
    let lenders = lenders(machine, partition.slot, profile, options.threads);
    let mut place = SlotPlace {
        root: root.try_clone().map_err(Error::device("open", &partition.node))?,
        folder: stage.paths.ledger.clone(),
        slot: (partition.slot, partition.length),
        lenders: &lenders,
        make_room: &mut || make_room(stage.store, machine, stage.plan),
        failure: None,
    };
    let assembled = match assemble(options, &mut place, progress) {
        Ok(assembled) => assembled,
        Err(error) => return Err(place.failure.take().unwrap_or_else(|| error.into())),
    };
    check_source(&assembled, manifest_digest)?;
    let (release, boot_file) = needed(assembled);
    finish(stage, machine, &partition, &root, release, &boot_file)
}

/// What is staged of a build. The rest, another boot file among it, leaves memory here.
fn needed(assembled: Assembled) -> (Release, Vec<u8>) {
    let Assembled { release, boot_file, .. } = assembled;
    (release, boot_file)
}

/// Rebuilds a pushed release in the slot; gives the generation.
pub(super) fn stage_release(
    stage: Stage<'_>,
    machine: &mut Machine,
    remote: &Remote,
    threads: usize,
    progress: &mut dyn Progress,
) -> Result<u32, Error> {
    let (partition, root) = open_slot(machine, stage.plan)?;
    let mut local = LocalContents::none();
    for slot in machine.slots.iter().filter(|slot| slot.slot != partition.slot) {
        // A slot that cannot be read only means more to fetch.
        if let Ok(file) = File::open(&slot.node) {
            local.add_root(&file, threads);
        }
    }
    local.add_target(&root, threads);
    // The plan has seen the slot's top hash block alone; a slot that rots is written again.
    let keeps_slot = stage.plan.keeps_slot && prove(&root, &remote.release).is_ok();
    if let Some(profile) = Profile::from_number(remote.release.profile).filter(|_| !keeps_slot) {
        for lender in lenders(machine, partition.slot, profile, threads) {
            local.add_lender(lender);
        }
    }
    let boot_files = boot_files(machine)?;
    let mut spool = Spool::open(&stage.paths.ledger.join("fetch"))?;
    let mut place = SlotPlace {
        root: root.try_clone().map_err(Error::device("open", &partition.node))?,
        folder: stage.paths.ledger.clone(),
        slot: (partition.slot, partition.length),
        lenders: &[],
        make_room: &mut || make_room(stage.store, machine, stage.plan),
        failure: None,
    };
    let rebuild = RebuildOptions { spool: place.spool()?, threads };
    let listener = FetchProgress::new(progress);
    let watch = |part, done, total| listener.watch(part, done, total);
    let fetched = if keeps_slot {
        let fetched = remote.boot_files(&boot_files, &mut spool, &watch)?;
        (place.make_room)()?;
        fetched
    } else {
        let name = remote.release.name.clone();
        let mut open = || place.root(&name).map_err(std::io::Error::other);
        match bring(remote, &local, &boot_files, &mut spool, &mut open, rebuild, &watch) {
            Ok(brought) => brought.boot_files,
            Err(error) => return Err(place.failure.take().unwrap_or_else(|| error.into())),
        }
    };
    let boot_file = fetched.get("system").ok_or_else(|| Error::Refused {
        reason: "the release has no boot file for the system mode".to_owned(),
        hint: "build and push it again".to_owned(),
    })?;
    // What was there to take from is as large as what came.
    drop((boot_files, local));
    let release = remote.release.clone();
    let generation = finish(stage, machine, &partition, &root, release, boot_file)?;
    spool.clear()?;
    Ok(generation)
}

/// What the slots beside `target` hold of releases with this profile, encoded as it will be again.
fn lenders(machine: &Machine, target: Slot, profile: Profile, threads: usize) -> Vec<Arc<Lender>> {
    let beside = machine.slots.iter().filter(|partition| partition.slot != target);
    let found = beside.filter_map(|partition| {
        let root = File::open(&partition.node).ok()?;
        // The newest first; the image's hash says which of them is there, if any.
        let held = machine.ledger.revisions.iter().rev();
        let mut held = held.filter(|revision| revision.slot == partition.slot);
        held.find_map(|revision| lender(&root, &revision.release, profile, threads))
    });
    found.collect()
}

/// Boot files that are here, whose kernels need not travel again.
fn boot_files(machine: &Machine) -> Result<Vec<Vec<u8>>, Error> {
    let esp = SystemPartitionDevice::open(&machine.system_partition.node, machine.sector_size)?;
    let listed = machine.entries.iter().map(|entry| format!("{FOLDER}/{}", entry.file));
    let staged = machine.staged.iter().map(|staged| Staged::path(staged.generation));
    listed.chain(staged).map(|path| esp.read(&path, MAXIMUM_BOOT_FILE)).collect()
}

/// Opens the slot that will be written, for this process alone.
pub(super) fn open_slot(machine: &Machine, plan: &Plan) -> Result<(SlotPartition, File), Error> {
    let Some(partition) = machine.partition(plan.target).cloned() else {
        return Err(Error::NotKiln { reason: format!("no slot {}", plan.target) });
    };
    let root = open_exclusively(&partition.node)?;
    Ok((partition, root))
}

/// Takes away what starts from the slot that will be overwritten, and what was staged.
pub(super) fn make_room(store: &Store, machine: &mut Machine, plan: &Plan) -> Result<(), Error> {
    let mut esp = SystemPartitionDevice::open(&machine.system_partition.node, machine.sector_size)?;
    // Whether it can be written at all; it would be too late to find out that state is full.
    store.write(&machine.ledger)?;
    for path in &plan.removes {
        esp.remove(path)?;
    }
    esp.remove_addons_except(&machine.generations_beside(&plan.replaces))?;
    for generation in &plan.replaces {
        let event = Event { time: now(), state: State::Replaced, failure: None };
        machine.ledger.record(*generation, event);
    }
    // The ESP is held open by nobody while the slot is written, which may take minutes.
    store.write(&machine.ledger)
}

/// Proves the slot and puts the boot file where no loader lists it. What went to recovery is listed at
/// once, and is no revision: its generation is 0.
pub(super) fn finish(
    stage: Stage<'_>,
    machine: &mut Machine,
    partition: &SlotPartition,
    root: &File,
    release: Release,
    boot_file: &[u8],
) -> Result<u32, Error> {
    root.sync_all().map_err(Error::device("write back", &partition.node))?;
    let refuse =
        |reason| Error::Slot { slot: partition.slot, device: partition.node.clone(), reason };
    drop_cache(root, partition.slot, &partition.node)?;
    prove(root, &release).map_err(refuse)?;

    let mut esp = SystemPartitionDevice::open(&machine.system_partition.node, machine.sector_size)?;
    if partition.slot == Slot::Recovery {
        let boot_file = for_mode(boot_file, Mode::Recovery).map_err(kiln_build::Error::from)?;
        esp.put_recovery(&release, &boot_file)?;
        return Ok(0);
    }
    let Carried { arguments, boot_file, addons } = carry(machine, boot_file, root)?;
    let of_addons: u64 = addons.iter().map(|addon| addon.facts.length).sum();
    let (needed, free) = (boot_file.len() as u64 + of_addons, esp.free()?);
    if needed > free {
        return Err(Error::Refused {
            reason: format!(
                "its boot file of {needed} bytes does not fit the ESP, {free} are free"
            ),
            hint: "remove files that are not Kiln's from the ESP".to_owned(),
        });
    }
    let event = Event { time: now(), state: State::Staged, failure: None };
    let generation = machine.ledger.add(Revision {
        generation: 0,
        slot: partition.slot,
        release,
        reference: Some(stage.source),
        digest: stage.digest,
        verification: stage.verification,
        arguments,
        events: vec![event],
    });
    // The number is used up before a file carries it.
    stage.store.write(&machine.ledger)?;
    esp.put_addons(generation, &addons)?;
    esp.put(&Staged::path(generation), &boot_file)?;
    Ok(generation)
}

/// So that a proof reads the medium. A file has no cache of its own to drop.
pub(super) fn drop_cache(root: &File, slot: Slot, node: &str) -> Result<(), Error> {
    let metadata = root.metadata().map_err(Error::device("look at", node))?;
    if !metadata.file_type().is_block_device() {
        return Ok(());
    }
    let device = node.to_owned();
    kiln_sys::block::drop_cache(root, node).map_err(|error| Error::Slot {
        slot,
        device,
        reason: error.to_string(),
    })
}

/// The image may have changed under its tag between the check and the build.
fn check_source(assembled: &Assembled, manifest_digest: &str) -> Result<(), Error> {
    if assembled.release.source.manifest_digest.as_deref() == Some(manifest_digest) {
        return Ok(());
    }
    Err(Error::Refused {
        reason: "the image changed under its tag while it was fetched".to_owned(),
        hint: "run the upgrade again, or name the image by its digest".to_owned(),
    })
}

/// Reads the whole slot back and compares its root hash.
pub(super) fn prove(root: &File, release: &Release) -> Result<(), String> {
    let facts = &release.root;
    let salt = decode_hex(&facts.salt).map_err(|error| error.to_string())?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let tree = kiln_verity::build(root, facts.data_blocks, &salt, threads)
        .map_err(|error| error.to_string())?;
    if tree.root.to_string() != facts.hash {
        return Err(format!("its root hash is {}, not {}", tree.root, facts.hash));
    }
    let argument = RootArgument { root: tree.root, data_blocks: facts.data_blocks, salt };
    let mut stored = vec![0; tree.bytes.len()];
    root.read_exact_at(&mut stored, argument.hash_offset()).map_err(|error| error.to_string())?;
    if stored == tree.bytes { Ok(()) } else { Err("its hash tree differs".to_owned()) }
}

/// The slot as the place of a root image.
struct SlotPlace<'a> {
    root: File,
    /// Where data goes that is needed only while building.
    folder: PathBuf,
    /// The slot, and its length in bytes.
    slot: (Slot, u64),
    /// What the other slots give to a build.
    lenders: &'a [Arc<Lender>],
    /// Makes room for the root.
    make_room: &'a mut dyn FnMut() -> Result<(), Error>,
    /// Why there is no room, which the builder cannot carry.
    failure: Option<Error>,
}

impl Place for SlotPlace<'_> {
    /// What an image becomes is known only when it is encoded; still before anything was removed.
    fn check(&mut self, length: u64) -> Result<(), kiln_build::Error> {
        let (slot, available) = self.slot;
        if length <= available {
            return Ok(());
        }
        self.failure = Some(Error::Refused {
            reason: format!(
                "its root of {length} bytes does not fit slot {slot} of {available} bytes"
            ),
            hint: "build a smaller image, or install anew with larger slots".to_owned(),
        });
        Err(kiln_build::Error::write(&self.folder, std::io::ErrorKind::FileTooLarge.into()))
    }

    /// Asked right before the first byte is written. An image, and a small update from a pushed release,
    /// was fetched and encoded then: one that cannot be fetched costs no revision that could be gone
    /// back to.
    fn root(&mut self, _name: &str) -> Result<File, kiln_build::Error> {
        let failed = |source| kiln_build::Error::write(&self.folder, source);
        if let Err(error) = (self.make_room)() {
            self.failure = Some(error);
            return Err(failed(std::io::Error::other("there is no room for the root")));
        }
        self.root.try_clone().map_err(failed)
    }

    fn spool(&self) -> Result<File, kiln_build::Error> {
        let folder = self.folder.join("spool");
        let make = || {
            fs::create_dir_all(&folder)?;
            // Without a name, so that it is gone with the process, whatever ends it.
            let flags = rustix::fs::OFlags::TMPFILE.bits().cast_signed();
            File::options().read(true).write(true).custom_flags(flags).mode(0o600).open(&folder)
        };
        make().map_err(|source| kiln_build::Error::write(&folder, source))
    }

    fn private_folder(&self) -> Result<TempDir, kiln_build::Error> {
        let failed = |source| kiln_build::Error::write(&self.folder, source);
        tempfile::Builder::new().prefix(".build-").tempdir_in(&self.folder).map_err(failed)
    }

    fn lenders(&self, _profile: Profile) -> Vec<Arc<Lender>> {
        self.lenders.to_vec()
    }
}
