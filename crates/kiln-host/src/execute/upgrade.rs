//! A new release onto the machine: check, make room, write, prove, stage, activate.
//!
//! The order is what keeps a machine alive. Nothing is touched before everything was checked; the
//! boot file of the slot that will be overwritten goes first, so that nothing can start a half
//! written root; the new boot file appears last, and **that rename is the commit point**. Who vouches
//! for a release is asked when its digest is known and nothing else was fetched. Hooks run before the
//! first change and, with the new root proved and not listed yet, before the commit point; one that was
//! staged has them when it is activated.

use std::sync::Arc;

use kiln_build::{BuildOptions, Input, Progress};
use kiln_disk::fat::update::Change;
use kiln_registry::{Platform, Reference, Source};
use kiln_release::Sequence;
use kiln_release::fetch::{Found, Named, Remote, look_up};
use kiln_release::signature::{Verdict, Verifier};

use super::stage::{Stage, stage_image, stage_release};
use super::{begin, now};
use crate::Error;
use crate::esp::SystemPartitionDevice;
use crate::etc;
use crate::hooks::{Hooks, Moment, RootPlace, StatePlace, Written};
use crate::ledger::{Event, State, Store, Verification};
use crate::machine::{Machine, Paths, Staged};
use crate::plan::{self, Decision, Offer, Permissions, Reason};
use crate::policy;

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
#[derive(Debug, Clone)]
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
    /// Take it without looking for signatures, where the policy allows that.
    pub skip_verification: bool,
    /// The repository that has the signatures, if not the image's own and the policy names none.
    pub signatures: Option<Reference>,
    /// Whether it goes into recovery instead of a slot; `action` is then [`Action::Apply`], and what
    /// runs, failed or is older does not matter.
    pub into_recovery: bool,
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
        /// Who vouches for it.
        verification: Verification,
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
    /// Recovery holds it.
    Recovery,
}

/// What a source offers.
#[derive(Debug)]
enum Offered {
    /// A container image, from which this machine builds the release itself.
    Image {
        /// Digest of its manifest.
        manifest_digest: String,
        sequence: Sequence,
        architecture: String,
    },
    /// A release that somebody pushed: what is missing is fetched, and its root hash is known.
    Release(Box<Remote>),
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
    hooks: &mut dyn Hooks,
    busy: impl FnOnce(),
) -> Result<Outcome, Error> {
    let (options, verifier) = &guarded(paths, options, progress)?;
    let (store, mut machine) = begin(paths, busy)?;
    if options.into_recovery {
        return write_into_recovery(paths, options, verifier, &store, &mut machine, progress);
    }
    let (offered, origin) = match &options.source {
        Source::Registry(reference) => match ask(reference, options, verifier, &machine)? {
            Answer::Unchanged(reason) => {
                remember(&store, &mut machine, options)?;
                return Ok(Outcome::Nothing(reason));
            }
            Answer::Offered(offered, origin) => (*offered, origin),
        },
        source => (image(source, options)?, Origin::local()),
    };
    let (manifest_digest, sequence) = match &offered {
        Offered::Image { manifest_digest, sequence, .. } => (manifest_digest.clone(), *sequence),
        Offered::Release(remote) => (remote.manifest_digest.to_string(), remote.release.sequence),
    };
    let offer = offer(&offered, &machine);
    let own = env!("CARGO_PKG_VERSION");
    let host = Platform::host().architecture;
    let decision = plan::upgrade(&machine, &offer, options.permissions, &host, own)?;
    if options.action == Action::Check {
        return Ok(match decision {
            Decision::Nothing(reason) => Outcome::Nothing(reason),
            _ => {
                Outcome::Available { manifest_digest, sequence, verification: origin.verification }
            }
        });
    }
    if !matches!(decision, Decision::Nothing(_)) {
        etc::check_room(paths, &machine)?;
    }
    if matches!(decision, Decision::Write(_)) {
        hooks.run(&Moment::Before);
    }
    remember(&store, &mut machine, options)?;
    let generation = match decision {
        Decision::Nothing(reason) => return Ok(Outcome::Nothing(reason)),
        Decision::Activate { generation } => generation,
        Decision::Write(plan) => {
            let source = options.source.to_string();
            let Origin { digest, verification } = origin;
            let stage = Stage { paths, store: &store, plan: &plan, source, digest, verification };
            match &offered {
                Offered::Image { manifest_digest, .. } => {
                    stage_image(stage, &mut machine, &options.build, manifest_digest, progress)?
                }
                Offered::Release(remote) => {
                    stage_release(stage, &mut machine, remote, options.build.threads, progress)?
                }
            }
        }
    };
    if options.action == Action::Stage {
        return Ok(Outcome::Staged { generation });
    }
    etc::begin_anew(paths, &machine, generation)?;
    run_written(hooks, &machine, generation);
    activate(&store, &mut machine, generation)?;
    hooks.run(&Moment::Committed);
    Ok(Outcome::Activated { generation })
}

/// Brings a release into recovery.
fn write_into_recovery(
    paths: &Paths,
    options: &UpgradeOptions,
    verifier: &Verifier,
    store: &Store,
    machine: &mut Machine,
    progress: &mut dyn Progress,
) -> Result<Outcome, Error> {
    let (offered, Origin { digest, verification }) = match &options.source {
        Source::Registry(reference) => {
            let named = look_up(reference, &options.build.reading.registry)?;
            offered(reference, named, options, verifier)?
        }
        source => (image(source, options)?, Origin::local()),
    };
    let (host, own) = (Platform::host().architecture, env!("CARGO_PKG_VERSION"));
    let plan = plan::into_recovery(machine, &offer(&offered, machine), &host, own)?;
    let source = options.source.to_string();
    let stage = Stage { paths, store, plan: &plan, source, digest, verification };
    match &offered {
        Offered::Image { manifest_digest, .. } => {
            stage_image(stage, machine, &options.build, manifest_digest, progress)?
        }
        Offered::Release(remote) => {
            stage_release(stage, machine, remote, options.build.threads, progress)?
        }
    };
    Ok(Outcome::Recovery)
}

/// What a registry says.
enum Answer {
    /// The reference names what it named when the next revision was fetched.
    Unchanged(Reason),
    /// Something else, and what is known of where it is from.
    Offered(Box<Offered>, Origin),
}

/// What the ledger keeps of where a release is from.
struct Origin {
    /// Digest of what the reference names.
    digest: Option<String>,
    verification: Verification,
}

impl Origin {
    /// A file of this machine: it has no signature, and where those are required it came not so far.
    fn local() -> Self {
        Self { digest: None, verification: Verification::Unverified }
    }
}

/// The options with a gate that the policy keeps, which no image passes on the way into a slot
/// without having been judged, the one with the boot files included.
fn guarded(
    paths: &Paths,
    options: &UpgradeOptions,
    progress: &mut dyn Progress,
) -> Result<(UpgradeOptions, Arc<Verifier>), Error> {
    let registry = &options.build.reading.registry;
    let (skip, place) = (options.skip_verification, options.signatures.clone());
    let verifier = Arc::new(policy::read(paths)?.verifier(skip, place, registry)?);
    if skip {
        progress
            .warning("signatures are not looked at (--no-verify): nobody vouches for what comes");
    }
    let mut options = options.clone();
    options.build.reading.registry.gate = Some(verifier.clone());
    Ok((options, verifier))
}

/// Asks a registry: one request if nothing changed.
fn ask(
    reference: &Reference,
    options: &UpgradeOptions,
    verifier: &Verifier,
    machine: &Machine,
) -> Result<Answer, Error> {
    let named = look_up(reference, &options.build.reading.registry)?;
    let digest = named.digest.to_string();
    if let Some(next) = machine.next_entry().filter(|entry| entry.is_usable())
        && let Some(revision) = machine.ledger.revision(next.name.generation)
        && revision.digest.as_ref() == Some(&digest)
    {
        let is_running = machine.booted.generation == Some(next.name.generation);
        let reason = if is_running { Reason::Running } else { Reason::Activated };
        return Ok(Answer::Unchanged(reason));
    }
    let (offered, origin) = offered(reference, named, options, verifier)?;
    Ok(Answer::Offered(Box::new(offered), origin))
}

/// What a registry has under a reference, once its signatures are judged.
fn offered(
    reference: &Reference,
    named: Named,
    options: &UpgradeOptions,
    verifier: &Verifier,
) -> Result<(Offered, Origin), Error> {
    let digest = named.digest;
    let (found, verdict) = named.resolve_verified(verifier)?;
    let verification = match verdict {
        Verdict::Verified(signer) => Verification::Signed(signer.to_string()),
        Verdict::Unverified => Verification::Unverified,
    };
    let offered = match found {
        Found::Release(remote) => Offered::Release(Box::new(remote)),
        // By the digest that was judged, whatever the tag means by now.
        Found::ContainerImage(_) => {
            let reference = Reference { digest: Some(digest), ..reference.clone() };
            image(&Source::Registry(reference), options)?
        }
    };
    Ok((offered, Origin { digest: Some(digest.to_string()), verification }))
}

/// Reads a container image's documents.
fn image(source: &Source, options: &UpgradeOptions) -> Result<Offered, Error> {
    let image = kiln_registry::open(source, &options.build.reading.registry)?;
    let created = || Sequence::from_created(image.config.created.as_deref());
    Ok(Offered::Image {
        manifest_digest: image.manifest_digest.to_string(),
        sequence: options.build.sequence.map_or_else(created, Sequence),
        architecture: image.config.platform().architecture,
    })
}

fn offer<'a>(offered: &'a Offered, machine: &Machine) -> Offer<'a> {
    match offered {
        Offered::Image { manifest_digest, sequence, architecture } => Offer {
            manifest_digest: Some(manifest_digest),
            root_hash: None,
            sequence: *sequence,
            architecture,
            root_length: 0,
            boot_length: BOOT_FILE_GUESS.min(machine.system_partition.free / 2),
            minimum_agent: None,
        },
        Offered::Release(remote) => {
            let release = &remote.release;
            let system = release.boot_files.iter().find(|file| file.mode == "system");
            Offer {
                manifest_digest: release.source.manifest_digest.as_deref(),
                root_hash: Some(&release.root.hash),
                sequence: release.sequence,
                architecture: &release.architecture,
                root_length: release.root.length,
                boot_length: system.map_or(BOOT_FILE_GUESS, |file| file.length),
                minimum_agent: Some(&release.minimum_agent),
            }
        }
    }
}

/// Writes down what is followed from now on.
fn remember(store: &Store, machine: &mut Machine, options: &UpgradeOptions) -> Result<(), Error> {
    if options.action != Action::Check
        && let Some(follow) = &options.follow
        && machine.ledger.follow.as_ref() != Some(follow)
    {
        machine.ledger.follow = Some(follow.clone());
        store.write(&machine.ledger)?;
    }
    Ok(())
}

/// Runs the hooks that see a generation which nothing starts yet.
pub(super) fn run_written(hooks: &mut dyn Hooks, machine: &Machine, generation: u32) {
    let Some(revision) = machine.ledger.revision(generation) else { return };
    let Some(partition) = machine.partition(revision.slot) else { return };
    hooks.run(&Moment::Written(Written {
        root_hash: &revision.release.root.hash,
        version: &revision.release.version,
        root: RootPlace::Partition(&partition.node),
        state: StatePlace::Own,
    }));
}

/// Lists the staged boot file: the commit point.
pub(super) fn activate(store: &Store, machine: &mut Machine, generation: u32) -> Result<(), Error> {
    let mut esp = SystemPartitionDevice::open(&machine.system_partition.node, machine.sector_size)?;
    let from = Staged::path(generation);
    let to = kiln_boot::entry::EntryName::fresh(generation).path();
    esp.change(&Change::Move { from: &from, to: &to })?;
    let event = Event { time: now(), state: State::Trying, failure: None };
    machine.ledger.record(generation, event);
    store.write(&machine.ledger)
}

impl UpgradeOptions {
    /// Puts the source into the build options.
    #[must_use]
    pub fn new(mut build: BuildOptions, source: Source, action: Action) -> Self {
        build.input = Input::Source(source.clone());
        Self {
            build,
            source,
            action,
            permissions: Permissions::default(),
            follow: None,
            skip_verification: false,
            signatures: None,
            into_recovery: false,
        }
    }
}
