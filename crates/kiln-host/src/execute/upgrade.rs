//! A new release onto the machine: check, make room, write, prove, stage, activate.
//!
//! The order is what keeps a machine alive. Nothing is touched before everything was checked; the
//! boot file of the slot that will be overwritten goes first, so that nothing can start a half
//! written root; the new boot file appears last, and **that rename is the commit point**.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use kiln_build::{Assembled, BuildOptions, Input, Place, Progress, assemble};
use kiln_disk::fat::update::Change;
use kiln_registry::Source;
use kiln_release::Sequence;
use kiln_verity::{RootArgument, decode_hex};
use tempfile::TempDir;

use super::{begin, now};
use crate::Error;
use crate::esp::SystemPartitionDevice;
use crate::ledger::{Event, Revision, State, Store, Verification};
use crate::machine::{Machine, Paths, Staged};
use crate::plan::{self, Decision, Offer, Permissions, Plan, Reason};

/// What a boot file may need on the ESP, in bytes, before it is known: an unusually large kernel
/// with all its drivers.
const BOOT_FILE_GUESS: u64 = 64 << 20;

/// How far an upgrade goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Only say what there is.
    Check,
    /// Write everything, but leave the next boot as it is.
    Stage,
    /// Stage, and make it what boots next.
    Apply,
}

/// What an upgrade is to do.
#[derive(Debug)]
pub struct UpgradeOptions {
    /// How the root is built, `input` included: the image to fetch.
    pub build: BuildOptions,
    /// The image, as in `build.input`.
    pub source: Source,
    /// How far to go.
    pub action: Action,
    /// What is allowed.
    pub permissions: Permissions,
    /// What later upgrades without a reference fetch.
    pub follow: Option<String>,
}

/// What an upgrade did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: it runs, or it comes next already.
    Nothing(Reason),
    /// There is something to fetch: its manifest digest and sequence.
    Available {
        /// Digest of the image's manifest.
        manifest_digest: String,
        /// Its place in the order.
        sequence: Sequence,
    },
    /// It is on the disk; the next boot starts the old one.
    Staged {
        /// Its generation.
        generation: u32,
    },
    /// The next boot starts it.
    Activated {
        /// Its generation.
        generation: u32,
    },
}

/// Brings a release onto this machine.
///
/// # Errors
/// [`Error::Refused`] before anything was changed; later errors leave the running revision as the
/// one that boots.
pub fn upgrade(
    paths: &Paths,
    options: &UpgradeOptions,
    progress: &mut dyn Progress,
    busy: impl FnOnce(),
) -> Result<Outcome, Error> {
    let (store, mut machine) = begin(paths, busy)?;
    let image = kiln_registry::open(&options.source, &options.build.reading.registry)?;
    let manifest_digest = image.manifest_digest.to_string();
    let sequence = options
        .build
        .sequence
        .map_or_else(|| Sequence::from_created(image.config.created.as_deref()), Sequence);
    let offer = Offer {
        manifest_digest: Some(&manifest_digest),
        root_hash: None,
        sequence,
        architecture: &image.config.platform().architecture,
        root_length: 0,
        boot_length: BOOT_FILE_GUESS.min(machine.system_partition.free / 2),
        minimum_agent: None,
    };
    let own = env!("CARGO_PKG_VERSION");
    let host = kiln_registry::Platform::host().architecture;
    let decision = plan::upgrade(&machine, &offer, options.permissions, &host, own)?;
    if options.action == Action::Check {
        return Ok(match decision {
            Decision::Nothing(reason) => Outcome::Nothing(reason),
            _ => Outcome::Available { manifest_digest, sequence },
        });
    }
    if let Some(follow) = &options.follow
        && machine.ledger.follow.as_ref() != Some(follow)
    {
        machine.ledger.follow = Some(follow.clone());
        store.write(&machine.ledger)?;
    }
    let generation = match decision {
        Decision::Nothing(reason) => return Ok(Outcome::Nothing(reason)),
        Decision::Activate { generation } => generation,
        Decision::Write(plan) => {
            stage(paths, &store, &mut machine, &plan, options, &manifest_digest, progress)?
        }
    };
    if options.action == Action::Stage {
        return Ok(Outcome::Staged { generation });
    }
    activate(&store, &mut machine, generation)?;
    Ok(Outcome::Activated { generation })
}

/// Fetches, makes room, writes and proves the root, and puts the boot file where no loader lists it.
fn stage(
    paths: &Paths,
    store: &Store,
    machine: &mut Machine,
    plan: &Plan,
    options: &UpgradeOptions,
    manifest_digest: &str,
    progress: &mut dyn Progress,
) -> Result<u32, Error> {
    let Some(partition) = machine.partition(plan.target).cloned() else {
        return Err(Error::NotKiln { reason: format!("no slot {}", plan.target) });
    };
    // Exclusive: fails while anything has the slot, such as a mapped root.
    let exclusive = rustix::fs::OFlags::EXCL.bits().cast_signed();
    let root = File::options()
        .read(true)
        .write(true)
        .custom_flags(exclusive)
        .open(&partition.node)
        .map_err(Error::device("open", &partition.node))?;
    let mut place = SlotPlace {
        root: root.try_clone().map_err(Error::device("open", &partition.node))?,
        folder: paths.ledger.clone(),
        make_room: &mut || make_room(store, machine, plan),
        failure: None,
    };
    let assembled = match assemble(&options.build, &mut place, progress) {
        Ok(assembled) => assembled,
        Err(error) => return Err(place.failure.take().unwrap_or_else(|| error.into())),
    };
    check_source(&assembled, manifest_digest)?;
    root.sync_all().map_err(Error::device("write back", &partition.node))?;
    let refuse = |reason| Error::Slot { slot: plan.target, device: partition.node.clone(), reason };
    let metadata = root.metadata().map_err(Error::device("look at", &partition.node))?;
    // So that the proof below reads the medium. A file has no cache of its own to drop.
    if metadata.file_type().is_block_device() {
        kiln_sys::block::drop_cache(&root, &partition.node)
            .map_err(|error| refuse(error.to_string()))?;
    }
    prove(&root, &assembled).map_err(refuse)?;

    let mut esp = SystemPartitionDevice::open(&machine.system_partition.node, machine.sector_size)?;
    let (needed, free) = (assembled.boot_file.len() as u64, esp.free()?);
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
        slot: plan.target,
        release: assembled.release,
        reference: Some(options.source.to_string()),
        verification: Verification::Unverified,
        events: vec![event],
    });
    // The number is used up before a file carries it.
    store.write(&machine.ledger)?;
    esp.put(&Staged::path(generation), &assembled.boot_file)?;
    Ok(generation)
}

/// Takes away what starts from the slot that will be overwritten, and what was staged.
fn make_room(store: &Store, machine: &mut Machine, plan: &Plan) -> Result<(), Error> {
    let mut esp = SystemPartitionDevice::open(&machine.system_partition.node, machine.sector_size)?;
    for path in &plan.removes {
        esp.remove(path)?;
    }
    for generation in &plan.replaces {
        let event = Event { time: now(), state: State::Replaced, failure: None };
        machine.ledger.record(*generation, event);
    }
    // The ESP is held open by nobody while the slot is written, which may take minutes.
    store.write(&machine.ledger)
}

/// Lists the staged boot file: the commit point.
fn activate(store: &Store, machine: &mut Machine, generation: u32) -> Result<(), Error> {
    let mut esp = SystemPartitionDevice::open(&machine.system_partition.node, machine.sector_size)?;
    let from = Staged::path(generation);
    let to = kiln_boot::entry::EntryName::fresh(generation).path();
    esp.change(&Change::Move { from: &from, to: &to })?;
    let event = Event { time: now(), state: State::Trying, failure: None };
    machine.ledger.record(generation, event);
    store.write(&machine.ledger)
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
fn prove(root: &File, assembled: &Assembled) -> Result<(), String> {
    let facts = &assembled.release.root;
    let salt = decode_hex(&facts.salt).map_err(|error| error.to_string())?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let tree = kiln_verity::build(root, facts.data_blocks, &salt, threads)
        .map_err(|error| error.to_string())?;
    if tree.root.to_string() != facts.hash {
        return Err(format!("its root hash is {}, not {}", tree.root, facts.hash));
    }
    let argument = RootArgument { root: tree.root, data_blocks: facts.data_blocks, salt };
    let mut stored = vec![0; tree.bytes.len()];
    std::os::unix::fs::FileExt::read_exact_at(root, &mut stored, argument.hash_offset())
        .map_err(|error| error.to_string())?;
    if stored == tree.bytes { Ok(()) } else { Err("its hash tree differs".to_owned()) }
}

/// The slot as the place of a root image.
struct SlotPlace<'a> {
    root: File,
    /// Where data goes that is needed only while building.
    folder: PathBuf,
    /// Makes room for the root.
    make_room: &'a mut dyn FnMut() -> Result<(), Error>,
    /// Why there is no room, which the builder cannot carry.
    failure: Option<Error>,
}

impl Place for SlotPlace<'_> {
    /// Asked when everything was fetched and encoded, and right before the first byte is written: an
    /// image that cannot be fetched or booted costs no revision that could be gone back to.
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
}

impl UpgradeOptions {
    /// Puts the source into the build options.
    #[must_use]
    pub fn new(mut build: BuildOptions, source: Source, action: Action) -> Self {
        build.input = Input::Source(source.clone());
        Self { build, source, action, permissions: Permissions::default(), follow: None }
    }
}
