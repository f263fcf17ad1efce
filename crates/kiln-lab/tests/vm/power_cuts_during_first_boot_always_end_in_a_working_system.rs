//! Promise: power may be cut at any write of the first boot, in the firmware, in the table, in mkfs,
//! or after it, and the machine still has its slot, its boot file and a way to a working state; what
//! was synced stays.
//!
//! One first boot is recorded. Every disk that a cut could have left of it is then put through the
//! decisions of a boot, a sample of their file systems through e2fsck, and a few are booted.

use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use kiln_disk::layout::Stage;
use kiln_lab::product::BuiltSystem;
use kiln_lab::replay::file_system::{self, Promise};
use kiln_lab::replay::first_boot::FirstBoot;
use kiln_lab::replay::{Base, Log, Options, Overlay, Position, State, States};
use kiln_lab::virtual_machine::BOOT;
use kiln_lab::{Error, Failure, Oracle, Product, VirtualMachine, WorkDirectory, debian, product};
use kiln_qemu::{Disk, DiskFormat};
use kiln_verity::RootArgument;

/// Length of the disk in bytes: the smallest round number with room for the whole layout.
const DISK: u64 = 8 << 30;

/// Start of all chance; a failure prints it.
const SEED: u64 = 1;

/// Subsets tried of each large window: how many windows there are depends on how the guest's writes
/// happened to be grouped, so that there must be room below.
const SAMPLES: usize = 64;

/// Fewest different disks that the run must have looked at.
const FEWEST_DISKS: usize = 1500;

/// Of the disks with a finished state, those right after the rename that all go to e2fsck, and how
/// many of the others.
const AROUND_THE_RENAME: usize = 60;
const SHARE: usize = 16;

/// Fewest file systems that e2fsck must have seen.
const FEWEST_FILE_SYSTEMS: usize = 100;

/// What follows the blessing is no part of a first boot, and has a replay of its own. Masking it from
/// inside comes too late where the login is slow.
const WITHOUT_RECOVERY: [&str; 2] = ["--karg", "systemd.mask=kiln-settle.service"];

/// Files that the guest writes and syncs, one after the other.
const SYNCED: usize = 3;

#[test]
fn power_cuts_during_first_boot_always_end_in_a_working_system() -> Result<(), Failure> {
    let work = WorkDirectory::new("power-cuts")?;
    let system = Product::from_environment()?.debian_system(&WITHOUT_RECOVERY)?;
    let log_path = work.join("log");
    let promises = record(&system, &work, &log_path)?;
    let log = Log::read(&log_path)?;
    let promises: Vec<(usize, Promise)> =
        promises.into_iter().map(|(position, promise)| (log.before(position), promise)).collect();

    let base = Arc::new(Base::open(&system.raw_disk(), DISK, 512)?);
    let root = root_argument(&system)?;
    let started = Instant::now();
    let replayed = replay(&base, root, &log, &promises, &work)?;
    let seconds = started.elapsed().as_secs_f32();
    say(&format!("{} in {seconds:.1} s", replayed.figures));
    assert!(replayed.failures.is_empty(), "{}", replayed.failures.join("\n\n"));
    assert!(replayed.disks >= FEWEST_DISKS, "{}", replayed.figures);
    assert!(replayed.file_systems >= FEWEST_FILE_SYSTEMS, "{}", replayed.figures);

    for (name, state) in &replayed.to_boot {
        boot(name, state, &promises, &work)?;
    }
    Ok(())
}

/// Boots a fresh disk for the first time with its writes recorded, and cuts its power. Returns what
/// the guest was promised to keep, and since when.
fn record(
    system: &BuiltSystem,
    work: &WorkDirectory,
    log: &Path,
) -> Result<Vec<(Position, Promise)>, Error> {
    let disk = work.join("recorded.raw");
    Oracle::new("cp")
        .arguments(["--sparse=always", "--reflink=auto"])
        .argument(system.raw_disk())
        .argument(&disk)
        .run()?;
    kiln_qemu::grow_to(&disk, DISK)?;
    Oracle::new("touch").argument(log).run()?;
    let disk = Disk::new(&disk, DiskFormat::Raw).record_writes(log);
    let machine = product::machine_with(disk);
    let mut machine = VirtualMachine::start("power-cuts-recorded", machine, work)?;
    machine.login(debian::USER, product::PASSWORD)?;
    let mut promises = Vec::new();
    for number in 0..SYNCED {
        let (path, content) = (format!("/var/lib/kiln-lab-{number}"), format!("promise {number}"));
        machine.succeed(&format!("echo {content} | sudo -n tee {path} && sudo -n sync"))?;
        promises.push((Log::position(log)?, Promise { path, content }));
    }
    let content = machine.succeed("cat /etc/machine-id")?;
    let first = promises[0].0;
    promises.push((first, Promise { path: "/identity/machine-id".into(), content }));
    machine.cut_power()?;
    Ok(promises)
}

/// What the boot file of the built system wants as its root.
fn root_argument(system: &BuiltSystem) -> Result<RootArgument, Error> {
    let path = system.root_image().with_file_name("release.json");
    let text = Oracle::new("cat").argument(&path).run()?;
    let unexpected = || Error::Unexpected { what: "the release".into(), text: text.clone() };
    let release: serde_json::Value = serde_json::from_str(&text).map_err(|_| unexpected())?;
    let field = |name: &str| release["root"][name].to_string().replace('"', "");
    let argument = [field("hash"), field("data_blocks"), field("salt")].join(":");
    argument.parse().map_err(|_| unexpected())
}

/// The outcome of a replay.
#[derive(Default)]
struct Replayed {
    figures: String,
    failures: Vec<String>,
    disks: usize,
    file_systems: usize,
    to_boot: Vec<(&'static str, State)>,
}

/// A finished state partition for e2fsck.
type Job = (State, Range<u64>);

fn replay(
    base: &Arc<Base>,
    root: RootArgument,
    log: &Log,
    promises: &[(usize, Promise)],
    work: &WorkDirectory,
) -> Result<Replayed, Error> {
    let finding =
        |reason: String| Error::Unexpected { what: "the built disk".into(), text: reason };
    let mut check = FirstBoot::new(base, root).map_err(|broken| finding(broken.to_string()))?;
    let options = Options {
        seed: SEED,
        samples: SAMPLES,
        promises: promises.iter().map(|(operations, _)| *operations).collect(),
        ..Options::default()
    };
    let mut states = States::new(Overlay::new(Arc::clone(base)), log.operations(), options);
    let mut replayed = Replayed::default();
    let mut stages = [0; 3];
    let (mut torn, mut second_cuts, mut checked) = (0, 0, 0);
    let mut esps = 0;
    let failures = Mutex::new(Vec::new());
    let fail = |failure: String| {
        failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(failure);
    };
    thread::scope(|scope| -> Result<(), Error> {
        // Few at a time, because each keeps its own blocks alive.
        let (sender, receiver) = sync_channel::<Job>(2);
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..2 {
            let (receiver, fail) = (Arc::clone(&receiver), &fail);
            let scratch = work.join(format!("partition-{number}"));
            scope.spawn(move || judge_all(&receiver, promises, &scratch, fail));
        }
        for state in states.by_ref() {
            let state = state.map_err(|error| finding(error.to_string()))?;
            let found = match check.check(&state.disk) {
                Ok(found) => found,
                Err(broken) => {
                    fail(format!("{}: {broken}", state.cut));
                    continue;
                }
            };
            second_cuts += found.second_cuts;
            stages[found.stage as usize] += 1;
            if check.esps() > esps {
                esps = check.esps();
                if let Some(defect) =
                    file_system::judge_fat(&state.disk, check.esp(), &work.join("esp"))?
                {
                    fail(format!("{}: fsck.fat: {defect}", state.cut));
                }
            }
            let finished = stages[Stage::Complete as usize];
            let is_torn = found.superblock.is_some_and(|superblock| superblock.torn);
            torn += usize::from(is_torn);
            let mut to_boot = |name| {
                if replayed.to_boot.iter().all(|(other, _)| *other != name) {
                    replayed.to_boot.push((name, state.clone()));
                }
            };
            match found.stage {
                Stage::Built => {}
                Stage::Unformatted if stages[Stage::Unformatted as usize] == 100 => {
                    to_boot("power-cuts-in-mkfs");
                }
                Stage::Unformatted => {}
                Stage::Complete if is_torn => to_boot("power-cuts-torn-superblock"),
                Stage::Complete if finished == 400 => to_boot("power-cuts-in-journal"),
                Stage::Complete => {}
            }
            if let Some(range) = found.state
                && (is_torn || finished <= AROUND_THE_RENAME || finished % SHARE == 0)
            {
                checked += 1;
                if sender.send((state, range)).is_err() {
                    break;
                }
            }
        }
        drop(sender);
        Ok(())
    })?;
    replayed.failures = failures.into_inner().unwrap_or_default();
    replayed.disks = states.disks();
    replayed.file_systems = checked;
    replayed.figures = format!(
        "{} different disks ({} before the table, {} before the file system, {} after, {torn} with a \
         torn superblock), {second_cuts} second cuts, {checked} file systems by e2fsck, {esps} ESPs \
         by fsck.fat, {} failures; seed {SEED}",
        replayed.disks,
        stages[0],
        stages[1],
        stages[2],
        replayed.failures.len(),
    );
    Ok(replayed)
}

/// Asks e2fsck about each disk that comes, until none comes any more.
fn judge_all(
    jobs: &Mutex<Receiver<Job>>,
    promises: &[(usize, Promise)],
    scratch: &Path,
    fail: &(impl Fn(String) + Sync),
) {
    loop {
        let job = jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
        let Ok((state, range)) = job else { return };
        let kept = promises.iter().filter(|(operations, _)| state.cut.keeps(*operations));
        let kept: Vec<&Promise> = kept.map(|(_, promise)| promise).collect();
        match file_system::judge_ext4(&state.disk, range, &kept, scratch) {
            Ok(None) => {}
            Ok(Some(defect)) => fail(format!("{}: {defect}", state.cut)),
            Err(error) => fail(format!("{}: {error}", state.cut)),
        }
    }
}

/// Boots a disk for real: it must reach its goal with state mounted, and keep its promises.
fn boot(
    name: &str,
    state: &State,
    promises: &[(usize, Promise)],
    work: &WorkDirectory,
) -> Result<(), Error> {
    say(&format!("{name}: {}", state.cut));
    let disk = work.join(format!("{name}.raw"));
    state.disk.materialise(0..DISK, &disk)?;
    // A boot that fails restarts, and would do so until the patience ends.
    let machine = product::machine(&disk)?.reboot(false);
    let mut machine = VirtualMachine::start(name, machine, work)?;
    machine.login(debian::USER, product::PASSWORD)?;
    // The login prompt is there before all of multi-user is.
    machine.run_for("systemctl is-system-running --wait", BOOT)?;
    assert_eq!(machine.succeed("findmnt -n -o FSTYPE /state")?, "ext4");
    machine.succeed("systemctl is-active multi-user.target")?;
    machine.succeed("echo kept | sudo -n tee /etc/kiln-lab-after && sudo -n sync")?;
    for (_, Promise { path, content }) in
        promises.iter().filter(|(operations, _)| state.cut.keeps(*operations))
    {
        assert_eq!(machine.succeed(&format!("sudo -n cat /state{path}"))?, *content);
    }
    machine.cut_power()
}

/// Figures go to the test's own output, which the runner shows on demand.
fn say(text: &str) {
    // A closed output is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{text}");
}
