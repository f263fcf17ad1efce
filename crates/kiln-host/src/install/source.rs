//! The release that is installed: from this very machine, a registry, or an image that is at hand.
//!
//! Two steps. [`offer()`] reads documents only, so that a plan can be shown before anything is fetched;
//! [`prepare`] makes the root image in a file without a name. Nothing of the target is touched by
//! either: an image that cannot be fetched, built or trusted erases nothing. Building right into the
//! slot, as an upgrade does, was dropped here, because slots are cut by the length of the image, and
//! because a target without a table has no slots.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use kiln_boot::entry::{FOLDER, RECOVERY_PATH};
use kiln_boot::loader_set::{LIMIT, LoaderSet, beside, removable_path};
use kiln_boot::os_release::Mode;
use kiln_boot::shim::Shim;
use kiln_boot::uki::format::Architecture;
use kiln_boot::uki::mode::for_mode;
use kiln_build::{BuildOptions, Input, Place, Progress, assemble};
use kiln_disk::FileDevice;
use kiln_disk::fat::Fat;
use kiln_erofs::Image;
use kiln_registry::{Reference, Source};
use kiln_release::Release;
use kiln_release::fetch::{Found, LocalContents, RebuildOptions, Remote, Spool, bring, look_up};
use kiln_release::signature::{Verdict, Verifier};
use tempfile::TempDir;

use crate::Error;
use crate::execute::FetchProgress;
use crate::ledger::Slot;
use crate::machine::{self, Machine, Paths};

/// Largest boot file in bytes that is read.
const MAXIMUM_BOOT_FILE: u32 = 256 << 20;

/// Boot loaders: paths on the ESP and contents.
type Loaders = Vec<(String, Vec<u8>)>;

/// Where the system comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstallSource {
    /// What runs here, which then has to be a system of Kiln's.
    Live,
    /// An image or a pushed release.
    Reference(Source),
}

impl std::str::FromStr for InstallSource {
    type Err = kiln_registry::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "live" { Ok(Self::Live) } else { text.parse().map(Self::Reference) }
    }
}

impl std::fmt::Display for InstallSource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Live => formatter.write_str("the running system"),
            Self::Reference(source) => write!(formatter, "{source}"),
        }
    }
}

/// What a source offers, before anything is fetched.
#[derive(Debug)]
pub struct Offer {
    /// Its CPU architecture in OCI's words.
    pub architecture: String,
    /// Length in bytes of the root image, if it is known: an image has to be built for it.
    pub root_length: Option<u64>,
    /// Digest of what the reference names.
    pub digest: Option<String>,
    /// What this machine follows, for one that is copied.
    pub follows: Option<String>,
    /// Who signed it, if somebody trusted did.
    pub signed_by: Option<String>,
    found: Kind,
}

#[derive(Debug)]
enum Kind {
    Live(Box<Live>),
    Release(Box<Remote>),
    Image,
}

/// The running system.
#[derive(Debug)]
struct Live {
    release: Release,
    root: String,
    boot_file: Vec<u8>,
    loaders: Option<Loaders>,
}

/// A release that is here.
#[derive(Debug)]
pub struct Prepared {
    /// Its facts.
    pub release: Release,
    /// Its root image with the hash tree, from the beginning.
    pub root: File,
    /// The boot file of the system mode.
    pub boot_file: Vec<u8>,
    /// Boot loaders: paths on the ESP and contents.
    pub loaders: Vec<(String, Vec<u8>)>,
}

/// Reads what a source offers.
///
/// `build` reads registries with the gate that `verifier` is, so that no image passes unjudged.
///
/// # Errors
/// [`Error::NotKiln`] for `live` on any other system; signatures that are required and missing; all
/// of reading the source.
pub fn offer(
    source: &InstallSource,
    paths: &Paths,
    build: &mut BuildOptions,
    verifier: &Verifier,
) -> Result<Offer, Error> {
    match source {
        InstallSource::Live => {
            let machine = machine::read(paths)?;
            let live = live(&machine)?;
            let revision = machine.booted.generation;
            let revision = revision.and_then(|number| machine.ledger.revision(number));
            Ok(Offer {
                architecture: live.release.architecture.clone(),
                root_length: Some(live.release.root.length),
                digest: revision.and_then(|revision| revision.digest.clone()),
                follows: machine.ledger.follow.clone(),
                signed_by: None,
                found: Kind::Live(Box::new(live)),
            })
        }
        InstallSource::Reference(Source::Registry(reference)) => {
            let named = look_up(reference, &build.reading.registry)?;
            let digest = named.digest;
            let (found, verdict) = named.resolve_verified(verifier)?;
            let offer = match found {
                Found::Release(remote) => Offer {
                    architecture: remote.release.architecture.clone(),
                    root_length: Some(remote.release.root.length),
                    digest: None,
                    follows: None,
                    signed_by: None,
                    found: Kind::Release(Box::new(remote)),
                },
                Found::ContainerImage(_) => {
                    // By the digest that was judged, whatever the tag means by now.
                    let reference = Reference { digest: Some(digest), ..reference.clone() };
                    image(Source::Registry(reference), build)?
                }
            };
            let signed_by = match verdict {
                Verdict::Verified(signer) => Some(signer.to_string()),
                Verdict::Unverified => None,
            };
            Ok(Offer { digest: Some(digest.to_string()), signed_by, ..offer })
        }
        InstallSource::Reference(source) => image(source.clone(), build),
    }
}

/// An image, of which the documents are read and which `build` will take.
fn image(source: Source, build: &mut BuildOptions) -> Result<Offer, Error> {
    let registry = &build.reading.registry;
    let architecture = match &source {
        // A tree has no documents; what it is for shows when it is read.
        Source::Directory(_) | Source::Tar(_) => registry.platform.architecture.clone(),
        _ => kiln_registry::open(&source, registry)?.config.platform().architecture,
    };
    build.input = Input::Source(source);
    Ok(Offer {
        architecture,
        root_length: None,
        digest: None,
        follows: None,
        signed_by: None,
        found: Kind::Image,
    })
}

/// The running release with its files.
fn live(machine: &Machine) -> Result<Live, Error> {
    let lost =
        |what: &str| Error::NotKiln { reason: format!("{what} of the running system is gone") };
    let hash = &machine.booted.root_hash;
    let known = machine.ledger.revisions.iter().map(|revision| &revision.release);
    let recovery = machine.recovery.as_ref().and_then(|recovery| recovery.release.as_ref());
    let mut known = known.chain(&machine.delivered).chain(recovery);
    let release = known.find(|release| release.root.hash == *hash);
    let release = release.ok_or_else(|| lost("the release"))?.clone();
    let slot = machine.partition(machine.booted.slot).ok_or_else(|| lost("the slot"))?;

    let node = &machine.system_partition.node;
    let failed = || Error::disk(node);
    let file = File::open(node).map_err(Error::device("open", node))?;
    let device = FileDevice::new(file, machine.sector_size).map_err(Error::device("open", node))?;
    let length = kiln_disk::BlockDevice::length(&device);
    let fat = Fat::open(&device, 0, length).map_err(failed())?;
    let is_it = |entry: &&machine::BootEntry| {
        entry.root.as_ref().is_some_and(|root| root.root.to_string() == *hash)
    };
    let boot_file = if machine.booted.slot == Slot::Recovery || machine.booted.is_recovery {
        let bytes = fat.read(RECOVERY_PATH, MAXIMUM_BOOT_FILE).map_err(failed())?;
        for_mode(&bytes, Mode::System).map_err(kiln_build::Error::from)?
    } else {
        let entry = machine.booted_entry().filter(is_it);
        let entry = entry.or_else(|| machine.entries.iter().find(is_it));
        let file = &entry.ok_or_else(|| lost("the boot file"))?.file;
        fat.read(&format!("{FOLDER}/{file}"), MAXIMUM_BOOT_FILE).map_err(failed())?
    };
    let argument = machine::root_argument(&boot_file);
    if argument.is_none_or(|root| root.root.to_string() != *hash) {
        return Err(lost("the boot file"));
    }
    let loaders = live_loaders(&fat, architecture(&release.architecture)?);
    Ok(Live { release, root: slot.node.clone(), boot_file, loaders })
}

/// What firmware starts here, and what belongs to it; `None` if that is not whole.
fn live_loaders(fat: &Fat<'_>, architecture: Architecture) -> Option<Loaders> {
    let path = removable_path(architecture);
    let first = fat.read(&path, LIMIT).ok()?;
    let mut loaders = Vec::new();
    if let Some(shim) = Shim::read(&first) {
        let second = beside(&path, &shim.second_stage);
        loaders.push((second.clone(), fat.read(&second, LIMIT).ok()?));
        if let Some(manager) = shim.key_manager.map(|name| beside(&path, &name))
            && let Ok(bytes) = fat.read(&manager, LIMIT)
        {
            loaders.push((manager, bytes));
        }
    }
    loaders.push((path, first));
    Some(loaders)
}

/// Brings the release to this machine. `folder` holds what is needed only meanwhile: about twice the
/// root image.
///
/// # Errors
/// All of fetching and building; a release without a boot file or loader.
pub fn prepare(
    offer: Offer,
    build: &BuildOptions,
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<Prepared, Error> {
    let mut place = WorkPlace { folder: folder.to_owned() };
    match offer.found {
        Kind::Live(live) => {
            let Live { release, root: node, boot_file, loaders } = *live;
            let root = File::open(&node).map_err(Error::device("open", &node))?;
            complete(release, root, boot_file, loaders)
        }
        Kind::Release(remote) => release(&remote, build, &mut place, progress),
        Kind::Image => {
            let assembled = assemble(build, &mut place, progress)?;
            if let Input::Source(source) = &build.input
                && let Some(digest) = assembled.release.source.manifest_digest.as_deref()
            {
                progress.detail(&format!("{source} is {digest}"));
            }
            let (root, loaders) = (assembled.root, Some(assembled.loaders));
            complete(assembled.release, root, assembled.boot_file, loaders)
        }
    }
}

/// Rebuilds a pushed release.
fn release(
    remote: &Remote,
    build: &BuildOptions,
    place: &mut WorkPlace,
    progress: &mut dyn Progress,
) -> Result<Prepared, Error> {
    let mut spool = Spool::open(&place.folder.join("fetch"))?;
    let rebuild = RebuildOptions { spool: place.spool()?, threads: build.threads };
    let root = place.spool()?;
    let listener = FetchProgress::new(progress);
    let watch = |part, done, total| listener.watch(part, done, total);
    let local = LocalContents::none();
    let mut open = || root.try_clone();
    let brought = bring(remote, &local, &[], &mut spool, &mut open, rebuild, &watch)?;
    let boot_file = brought.boot_files.get("system").cloned().ok_or_else(|| Error::Refused {
        reason: "the release has no boot file for the system mode".to_owned(),
        hint: "build and push it again".to_owned(),
    })?;
    spool.clear()?;
    complete(remote.release.clone(), root, boot_file, None)
}

/// Adds the loaders: from the root itself where nothing else gave them.
fn complete(
    release: Release,
    root: File,
    boot_file: Vec<u8>,
    loaders: Option<Loaders>,
) -> Result<Prepared, Error> {
    let architecture = architecture(&release.architecture)?;
    let loaders = match loaders {
        Some(loaders) => loaders,
        None => loaders_of(&root, architecture)?,
    };
    let argument = machine::root_argument(&boot_file);
    if argument.is_none_or(|root| root.root.to_string() != release.root.hash) {
        return Err(Error::Refused {
            reason: "the boot file starts another root than the release's".to_owned(),
            hint: "build the release again".to_owned(),
        });
    }
    Ok(Prepared { release, root, boot_file, loaders })
}

fn architecture(name: &str) -> Result<Architecture, Error> {
    let known = [Architecture::X86_64, Architecture::Aarch64];
    known.into_iter().find(|known| known.name() == name).ok_or_else(|| Error::Refused {
        reason: format!("there is no UEFI loader for {name}"),
        hint: "install a release for amd64 or arm64".to_owned(),
    })
}

/// systemd-boot from a root image, and shim where that starts it.
fn loaders_of(root: &File, architecture: Architecture) -> Result<Loaders, Error> {
    let missing = |reason: String| Error::Refused {
        reason,
        hint: "install systemd-boot in the image (Debian: systemd-boot-efi) and push it again"
            .to_owned(),
    };
    let damaged = |error: kiln_erofs::Error| missing(format!("the root image: {error}"));
    let image = Image::open(root).map_err(damaged)?;
    let read = |path: &str| match image.lookup(path.as_bytes())? {
        Some(inode) => image.read(&inode, LIMIT.into()).map(Some),
        None => Ok(None),
    };
    let set = LoaderSet::find(architecture, read).map_err(damaged)?;
    let set = set.ok_or_else(|| missing("the release has no boot loader".to_owned()))?;
    let files = set.on_system_partition(architecture).into_iter();
    Ok(files.map(|(path, bytes)| (path, bytes.to_vec())).collect())
}

/// A folder as the place of a root image.
struct WorkPlace {
    folder: PathBuf,
}

impl Place for WorkPlace {
    fn root(&mut self, _name: &str) -> Result<File, kiln_build::Error> {
        self.spool()
    }

    fn spool(&self) -> Result<File, kiln_build::Error> {
        let make = || {
            fs::create_dir_all(&self.folder)?;
            // Without a name, so that it is gone with the process, whatever ends it.
            let flags = rustix::fs::OFlags::TMPFILE.bits().cast_signed();
            let mut options = File::options();
            let options = options.read(true).write(true).custom_flags(flags).mode(0o600);
            options.open(&self.folder)
        };
        make().map_err(|source| kiln_build::Error::write(&self.folder, source))
    }

    fn private_folder(&self) -> Result<TempDir, kiln_build::Error> {
        let failed = |source| kiln_build::Error::write(&self.folder, source);
        tempfile::Builder::new().prefix(".install-").tempdir_in(&self.folder).map_err(failed)
    }
}
