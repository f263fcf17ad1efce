//! The second half, inside the future root: devices, the first boot's documents, the stage `initramfs`.

use kiln_config::action::Volume;
use kiln_config::operation::{Moment, Stage};
use kiln_config::{Action, Operation, Plan};
use kiln_etc::mounts::{Mounts, PATH, format};

use super::device_manager::DeviceManager;
use super::uplink::Uplink;
use super::{Boot, Ended, KEPT, PROVISIONED, SHOWN, bounded_host, generation, keep, today};
use crate::run::recover;
use crate::sources::{
    BlockVolumes, Document, Search, gather_all, own_boot_partition, wants_network,
};
use crate::stages::Gathered;
use crate::storage::{Disks, DisksOptions, RECORDS};
use crate::{
    Error, Host, Ledger, Machine, Report, Reporting, Root, Surroundings, Web, document_hash,
    random, run, stages, values,
};

/// Bytes of the decision about mounts that are read.
const MAXIMUM_MOUNTS: u64 = 1 << 20;
/// The sentence of a failure, for the login prompt and for `kiln status`.
const FAILURE: &str = "provisioning-failure";

/// Carries out everything that is due inside the future root.
///
/// # Errors
/// The root, the state or the folder for this boot cannot be used. That a first boot's document failed is
/// in [`Ended::failure`].
pub fn initramfs(boot: &mut Boot<'_>) -> Result<Ended, Error> {
    let mut programs = Host::default();
    let mut devices = DeviceManager::new(boot.root.clone());
    let mut uplink = Uplink::new(boot.root.clone(), boot.command_line.clone());
    let ended = work(boot, &mut devices, &mut uplink);
    uplink.down(boot.say);
    devices.leave(&mut programs, boot.say);
    let failure = match &ended {
        Ok(ended) => ended.failure.clone(),
        Err(error) => Some(error.sentence()),
    };
    if let Some(reason) = failure {
        let path = boot.run.join(FAILURE);
        kiln_etc::file::replace(&path, format!("{reason}\n").as_bytes(), 0o644)?;
    }
    ended
}

fn work(
    boot: &mut Boot<'_>,
    devices: &mut DeviceManager,
    uplink: &mut Uplink,
) -> Result<Ended, Error> {
    let root = Root::open(&boot.root)?;
    let generation = generation(&boot.state);
    let ledger = Ledger::open(&boot.state, generation)?;
    let mut web = Web::new(boot.network.network.clone());
    let gathered = gather(boot, &root, generation, &mut web, devices, uplink)?;
    let is_over = boot.marks(generation).join(PROVISIONED).is_file() && !ledger.done()?.is_empty();
    let pending: Vec<&Operation> = first_boot(&gathered.checked.plan).collect();
    let is_pending = !boot.is_recovery && !is_over && !pending.is_empty();
    if is_over {
        say_what_is_late(boot, &pending, &ledger);
    } else if !boot.is_recovery {
        // A document that cannot be read may be the one that makes the machine what it is.
        let fault = gathered.failures.first().cloned();
        let fault = fault.or_else(|| gathered.checked.first_boot_fault());
        if let Some(fault) = fault {
            ledger.fail(&fault)?;
            let mut way = Way { devices, uplink, web: &mut web };
            return failed(boot, &mut way, &gathered, Vec::new(), fault);
        }
    }
    let mounts = mounts(&root)?;
    let has_devices = mounts.volumes().any(|volume| volume.state_folder().is_none());
    let is_asked = gathered.checked.plan.operations.iter().any(|one| is_storage(&one.action));
    let kept = boot.marks(generation).join(RECORDS).is_file();
    if has_devices || kept || is_pending && is_asked {
        devices.want(&mut Host::default(), boot.say)?;
    }
    if wants_network(&gathered.checked.plan) && (is_pending || asks_each_boot(&gathered)) {
        uplink.want(devices, &mut Host::default(), boot.say)?;
    }

    let due = Due { gathered: &gathered, mounts: &mounts, is_pending };
    let (reports, restart) = carry_out(boot, root, ledger, &mut web, &due)?;
    let mut way = Way { devices, uplink, web: &mut web };
    if let Some(reason) = reports.iter().find_map(|report| report.aborted.clone()) {
        return failed(boot, &mut way, &gathered, reports, reason);
    }
    finish(boot, generation, &gathered)?;
    if is_pending {
        tell(boot, &mut way, &gathered, &reports, &[]);
    }
    Ok(Ended { reports, failure: None, restart })
}

/// What there is to do.
struct Due<'a> {
    gathered: &'a Gathered,
    mounts: &'a Mounts,
    /// Documents of the first boot are to be carried out.
    is_pending: bool,
}

/// Devices, the first boot's documents, the stage; what was done, and whether the kernel arguments have
/// changed.
fn carry_out(
    boot: &mut Boot<'_>,
    root: Root,
    ledger: Ledger,
    web: &mut Web,
    due: &Due<'_>,
) -> Result<(Vec<Report>, bool), Error> {
    let say = boot.say;
    let (mut programs, mut makers) = (bounded_host(), Host::default());
    let mut random_bytes = || random();
    let mut disks = Disks::new(DisksOptions {
        root: boot.root.clone(),
        state: boot.state.clone(),
        ledger: ledger.clone(),
        programs: &mut makers,
        say,
        kernel_arguments: &mut *boot.kernel_arguments,
    })?;
    disks.reopen()?;
    let volumes: Vec<Volume> = due.mounts.volumes().map(wanted).collect();
    disks.mount_volumes(&volumes)?;
    let mut tell_line = |line: &str| say(line);
    let values = values(&root, &Machine::default(), random()?)?;
    let mut surroundings = Surroundings {
        root,
        is_running: false,
        kernel: "/proc".into(),
        today: today(),
        programs: &mut programs,
        fetch: web,
        storage: &mut disks,
        values,
        random: &mut random_bytes,
        images: boot.network.clone(),
        // What an attempt left is undone in the system that it was made in, and not in recovery's memory.
        ledger: (!boot.is_recovery).then_some(ledger),
        say: &mut tell_line,
        environment: Vec::new(),
    };
    let checked = &due.gathered.checked;
    let mut reports = Vec::new();
    // Also where the document that was cut off is gone since.
    recover(&mut surroundings)?;
    if due.is_pending {
        let stage = Stage::main(Moment::FirstBoot);
        reports.push(run(&checked.plan, &stage, &checked.sources, &mut surroundings));
    }
    if reports.iter().all(|report| report.aborted.is_none()) {
        reports.extend(stages::run_stage("initramfs", checked, &mut surroundings));
    }
    let restart = disks.changed_kernel_arguments();
    Ok((reports, restart))
}

/// All documents, those included that an earlier boot has kept.
fn gather(
    boot: &mut Boot<'_>,
    root: &Root,
    generation: u64,
    web: &mut Web,
    devices: &mut DeviceManager,
    uplink: &mut Uplink,
) -> Result<Gathered, Error> {
    let policy = boot.policy(root, generation);
    let boot_partition = own_boot_partition()?;
    let mut volumes = BlockVolumes::new(boot.run.join("volume"));
    let say = boot.say;
    let gathered = gather_all(Search {
        root,
        command_line: &boot.command_line,
        policy: &policy,
        boot_partition: boot_partition.as_deref(),
        volumes: &mut volumes,
        fetch: web,
        need_network: &mut || uplink.want(devices, &mut Host::default(), say),
        say: &mut |line| say(line),
    });
    (boot.show)(&gathered);
    Ok(gathered)
}

/// The operations of a first boot.
fn first_boot(plan: &Plan) -> impl Iterator<Item = &Operation> {
    plan.operations.iter().filter(|operation| operation.stage.moment == Moment::FirstBoot)
}

/// Whether something is fetched at each boot.
fn asks_each_boot(gathered: &Gathered) -> bool {
    let mut plan = gathered.checked.plan.clone();
    plan.operations.retain(|operation| operation.stage.moment == Moment::Initramfs);
    wants_network(&plan)
}

fn is_storage(action: &Action) -> bool {
    matches!(
        action,
        Action::Disk(_)
            | Action::Raid(_)
            | Action::Luks(_)
            | Action::Filesystem(_)
            | Action::Layout(_)
            | Action::Volume(_)
    )
}

/// The decision of the first half.
fn mounts(root: &Root) -> Result<Mounts, Error> {
    match root.read(PATH, MAXIMUM_MOUNTS)? {
        Some(bytes) => Ok(format::parse(&bytes)?),
        None => Ok(Mounts::default()),
    }
}

/// A volume of the decision, as documents ask for it.
fn wanted(volume: &kiln_etc::mounts::Volume) -> Volume {
    Volume {
        device: volume.device().to_owned(),
        path: volume.path().to_string(),
        format: volume.format().map(str::to_owned),
        options: volume.options().to_vec(),
    }
}

/// A changed document must never wipe a disk again.
fn say_what_is_late(boot: &mut Boot<'_>, operations: &[&Operation], ledger: &Ledger) {
    for document in operations.chunk_by(|one, other| one.document == other.document) {
        if !ledger.is_done(&document_hash(document)) {
            let number = document.first().map_or(0, |operation| operation.document);
            (boot.say)(&format!(
                "document {number} of the first boot is not carried out: this machine's first boot is \
                 over (`kiln reset` makes it anew)"
            ));
        }
    }
}

/// Leaves what later boots and the running system need.
fn finish(boot: &Boot<'_>, generation: u64, gathered: &Gathered) -> Result<(), Error> {
    let marks = boot.marks(generation);
    let is_shown = |one: &Document| keep::is_out_of_sight(one, &boot.command_line);
    keep::write(&boot.run.join(SHOWN), &gathered.documents, is_shown)?;
    if gathered.documents.is_empty() || boot.is_recovery {
        return Ok(());
    }
    if !marks.join(PROVISIONED).is_file() {
        keep::write(&marks.join(KEPT), &gathered.documents, keep::is_fleeting)?;
        // The commit point of the first success: from here on nothing is handed over any more.
        kiln_etc::file::replace(&marks.join(PROVISIONED), b"", 0o600)?;
    }
    Ok(())
}

/// The way to somebody elsewhere.
struct Way<'a> {
    devices: &'a mut DeviceManager,
    uplink: &'a mut Uplink,
    web: &'a mut Web,
}

fn failed(
    boot: &mut Boot<'_>,
    way: &mut Way<'_>,
    gathered: &Gathered,
    reports: Vec<Report>,
    reason: String,
) -> Result<Ended, Error> {
    tell(boot, way, gathered, &reports, std::slice::from_ref(&reason));
    Ok(Ended { reports, failure: Some(reason), restart: false })
}

/// Reports to the address that the configuration names, over a network that may be wanted for this alone.
fn tell(
    boot: &mut Boot<'_>,
    way: &mut Way<'_>,
    gathered: &Gathered,
    reports: &[Report],
    failures: &[String],
) {
    let reporting = Reporting::of(&boot.command_line, &gathered.checked.plan);
    if !reporting.is_wanted(reports, failures) {
        return;
    }
    let came = way.uplink.want(way.devices, &mut Host::default(), boot.say);
    let told = match came {
        Ok(()) => reporting.tell(way.web, reports, failures),
        Err(error) => Some(format!("nobody is told of it: {}", error.sentence())),
    };
    if let Some(reason) = told {
        (boot.say)(&reason);
    }
}
