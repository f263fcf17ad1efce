//! Promise: a disk on which the power was cut while Kiln changed it boots for real, to a system that
//! proved itself: while kernel arguments change, while a boot is blessed, on the way back and forward
//! again, and while a reset is asked for.
//!
//! Thousands of such disks are judged without a machine (`esp_replay`); this shows of some that the
//! judge is right. A built disk is booted once. Kiln's executors then run on its partitions below
//! `strace`, and of every step some disks that a cut could leave are made and booted, with the ledger
//! that the state would have had then. Blessing and the way back write a single sector: between the
//! disk before and the one after, which is booted here, a cut leaves nothing.
#![expect(clippy::unwrap_used, reason = "helpers of tests; what fails here fails the test")]

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_boot::entry::FOLDER;
use kiln_disk::fat::update::Change;
use kiln_disk::layout::{ESP, ROOT_A, ROOT_B, STATE};
use kiln_disk::{Gpt, gpt};
use kiln_host::esp::SystemPartitionDevice;
use kiln_host::execute::{
    ArgumentOptions, ResetOptions, bless, change_kernel_arguments, reset, rollback,
};
use kiln_host::hooks::NoHooks;
use kiln_host::machine::Paths;
use kiln_host::plan::{ArgumentEdit, ResetRequest};
use kiln_lab::replay::steps::{Places, Step, steps};
use kiln_lab::replay::{Base, Operation, Options, Overlay, State, States, trace};
use kiln_lab::{Cache, Failure, Life, Oracle, Product, WorkDirectory, product};

/// Names the machine's folder to the call below `strace`.
const MACHINE: &str = "KILN_REPLAY_MACHINE";

/// Start of all chance; a failure prints it.
const SEED: u64 = 1;

/// The steps, in the order in which they are taken.
const ARGUMENTS: usize = 0;
const BLESSING: usize = 2;
const BACK: usize = 3;
const FORWARD: usize = 4;
const RESET: usize = 5;

#[test]
#[ignore = "10 boots: on the long list"]
fn power_cuts_while_kernel_arguments_change_end_in_a_blessed_boot() -> Result<(), Failure> {
    let test = "power_cuts_while_kernel_arguments_change_end_in_a_blessed_boot";
    boot(test, &[(ARGUMENTS, 10)])
}

#[test]
#[ignore = "a boot: on the long list"]
fn power_cuts_during_blessing_end_in_a_blessed_boot() -> Result<(), Failure> {
    boot("power_cuts_during_blessing_end_in_a_blessed_boot", &[(BLESSING, 1)])
}

#[test]
#[ignore = "2 boots: on the long list"]
fn power_cuts_on_the_way_back_and_forward_end_in_a_blessed_boot() -> Result<(), Failure> {
    let test = "power_cuts_on_the_way_back_and_forward_end_in_a_blessed_boot";
    boot(test, &[(BACK, 1), (FORWARD, 1)])
}

#[test]
#[ignore = "3 boots: on the long list"]
fn power_cuts_while_a_reset_is_asked_for_end_in_a_blessed_boot() -> Result<(), Failure> {
    boot("power_cuts_while_a_reset_is_asked_for_end_in_a_blessed_boot", &[(RESET, 3)])
}

/// Boots this many disks of each of these steps.
fn boot(test: &str, wanted: &[(usize, usize)]) -> Result<(), Failure> {
    if let Some(folder) = std::env::var_os(MACHINE) {
        live(Path::new(&folder));
        return Ok(());
    }
    let work = WorkDirectory::new("life-cuts")?;
    let disk = booted_once(&work)?;
    let base = Arc::new(Base::open(&disk, product::DISK_BYTES, 512)?);
    let table = gpt::read(&Overlay::new(Arc::clone(&base))).unwrap().table;
    let steps = record(test, &work, &base, &table, &disk)?;

    let mut life = Life::new("life-cuts", &work)?;
    fs::remove_file(life.disk()).unwrap();
    let mut before = Overlay::new(base);
    let mut ledger = None;
    for (number, step) in steps.iter().enumerate() {
        let count =
            wanted.iter().find(|(wanted, _)| *wanted == number).map_or(0, |(_, count)| *count);
        for (index, state) in chosen(&before, step, count).into_iter().enumerate() {
            let text = step.ledgers_at(&state.cut.window).pop().flatten();
            life.say(&format!("step {number}: {}", state.cut));
            let mut cut = life.with_disk(&format!("{test}-{number}-{index}"));
            copy(&disk, cut.disk())?;
            state.disk.change_copy(cut.disk())?;
            if let Some(text) = text.or(ledger) {
                replace_ledger(cut.disk(), &table, text, &work)?;
            }
            cut.power_on()?;
            cut.settle()?;
            let files = cut.boot_files()?;
            let status = cut.status()?;
            cut.say(&format!("blessed with {files:?}"));
            assert_eq!(status["last_failure"], serde_json::Value::Null, "{status:#}");
            assert!(
                !files.is_empty() && files.iter().all(|file| !file.contains("+3-")),
                "{files:?}"
            );
            cut.cut_power()?;
            fs::remove_file(cut.disk()).unwrap();
        }
        for operation in &step.operations {
            carry_out(&mut before, operation);
        }
        ledger = step.ledgers.last().map(|written| written.text.as_slice()).or(ledger);
    }
    Ok(())
}

/// A built disk after its first boot, which all these tests share.
fn booted_once(work: &WorkDirectory) -> Result<PathBuf, Failure> {
    let binary = std::env::var_os(product::VARIABLE).unwrap_or_default();
    let binary = fs::read(binary).unwrap_or_default();
    let entry = Cache::open()?.get("booted-once", &[&binary], |folder| {
        let mut life = Life::new("life-first", work)?;
        life.power_on()?;
        life.settle()?;
        life.power_off()?;
        copy(life.disk(), &folder.join("disk.raw"))
    })?;
    Product::from_environment()?;
    Ok(entry.path().join("disk.raw"))
}

fn copy(from: &Path, to: &Path) -> Result<(), kiln_lab::Error> {
    Oracle::new("cp")
        .arguments(["--sparse=always", "--reflink=auto"])
        .argument(from)
        .argument(to)
        .run()
        .map(drop)
}

/// Disks that a cut in this step leaves, from each of its windows.
fn chosen(before: &Overlay, step: &Step, count: usize) -> Vec<State> {
    if count == 0 {
        return Vec::new();
    }
    let options = Options { seed: SEED, exhaustive: 3, samples: 3, tears: 2, ..Options::default() };
    let mut seen = HashSet::from([before.digest()]);
    let states = States::new(before.clone(), &step.operations, options).map(Result::unwrap);
    let states: Vec<State> = states.filter(|state| seen.insert(state.disk.digest())).collect();
    assert!(states.len() >= count, "{} disks", states.len());
    // The last windows first: there are the tables and the directory, and the largest is of data.
    let windows: Vec<&[State]> =
        states.chunk_by(|left, right| left.cut.window == right.cut.window).rev().collect();
    let rounds = count.div_ceil(windows.len());
    (0..count)
        .map(|number| {
            let window = windows[number % windows.len()];
            window[(number / windows.len() + 1) * window.len() / (rounds + 1)].clone()
        })
        .collect()
}

fn carry_out(disk: &mut Overlay, operation: &Operation) {
    if let Operation::Write { offset, bytes, .. } = operation {
        kiln_disk::BlockDevice::write_at(disk, *offset, bytes).unwrap();
    }
}

/// Place of a partition in bytes.
fn place(table: &Gpt, name: &str) -> (u32, Range<u64>) {
    let (number, entry) = table.named(name).unwrap();
    (number, entry.offset(512)..entry.offset(512) + entry.length(512))
}

/// Lets Kiln change the machine, and reads what it did.
fn record(
    test: &str,
    work: &WorkDirectory,
    base: &Arc<Base>,
    table: &Gpt,
    disk: &Path,
) -> Result<Vec<Step>, Failure> {
    let folder = work.join("machine");
    for below in ["dev", "run/kiln", "state/kiln"] {
        fs::create_dir_all(folder.join(below)).unwrap();
    }
    let untouched = Overlay::new(Arc::clone(base));
    let ends = 0..1 << 20;
    untouched.materialise(ends, &folder.join("dev/vda"))?;
    let whole = File::options().write(true).open(folder.join("dev/vda")).unwrap();
    whole.set_len(product::DISK_BYTES).unwrap();
    let mut tail = vec![0; 1 << 20];
    let at = product::DISK_BYTES - tail.len() as u64;
    kiln_disk::BlockDevice::read_at(&untouched, at, &mut tail).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&whole, &tail, at).unwrap();
    let mut starts = vec![(folder.join("dev/vda"), 0)];
    for role in [ESP, ROOT_A, ROOT_B] {
        let (number, range) = place(table, role.name);
        let node = format!("vda{number}");
        starts.push((folder.join("dev").join(&node), range.start));
        untouched.materialise(range, &folder.join("dev").join(&node))?;
        let node = folder.join("sys/class/block/vda").join(node);
        fs::create_dir_all(&node).unwrap();
        fs::write(node.join("partition"), format!("{number}\n")).unwrap();
    }
    let ledger = folder.join("state/kiln");
    let text = Oracle::new("debugfs")
        .arguments(["-R", "cat kiln/ledger.json"])
        .argument(state_of(disk, table))
        .run()?;
    fs::write(ledger.join("ledger.json"), text).unwrap();

    let program = std::env::current_exe().unwrap();
    let arguments = ["--exact", test, "--nocapture", "--include-ignored"];
    let events = trace::record(&program, &arguments, (MACHINE, folder.as_os_str()), &folder)?;
    let start_of =
        |path: &Path| starts.iter().find(|(node, _)| node == path).map(|(_, start)| *start);
    let places = Places { start_of: &start_of, ledger: &ledger, mark: &folder.join("mark") };
    let steps = steps(&places, &events).unwrap_or_else(|reason| panic!("{reason}"));
    // A closed output is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{} steps recorded", steps.len());
    assert_eq!(steps.len(), RESET + 1);
    Ok(steps)
}

/// The state partition of a disk, as e2fsprogs name it.
fn state_of(disk: &Path, table: &Gpt) -> String {
    format!("{}?offset={}", disk.display(), place(table, STATE.name).1.start)
}

fn replace_ledger(
    disk: &Path,
    table: &Gpt,
    text: &[u8],
    work: &WorkDirectory,
) -> Result<(), Failure> {
    let (new, commands) = (work.join("ledger.json"), work.join("debugfs"));
    fs::write(&new, text).unwrap();
    let lines = format!("rm kiln/ledger.json\nwrite {} kiln/ledger.json\n", new.display());
    fs::write(&commands, lines).unwrap();
    let output = Oracle::new("debugfs")
        .arguments(["-w", "-f"])
        .argument(&commands)
        .argument(state_of(disk, table))
        .run()?;
    assert!(output.contains("Allocated inode"), "{output}");
    Ok(())
}

fn quiet() {}

/// What happens to the machine, from kernel arguments to a reset.
fn live(folder: &Path) {
    let paths = Paths::below(folder);
    let next_step = || drop(File::create(folder.join("mark")).unwrap());
    let esp = paths.node("/dev/vda2");
    let starts = |file: &str| {
        let path = format!("{FOLDER}/{file}");
        let boot_file = kiln_host::esp::read(&esp, &path, 256 << 20).unwrap();
        let parsed = kiln_boot::uki::parse(&boot_file).unwrap();
        let line = String::from_utf8_lossy(parsed.section(".cmdline").unwrap()).into_owned();
        let root = line.split(' ').find_map(|word| word.strip_prefix("kiln.root=")).unwrap();
        let hash = root.split(':').next().unwrap();
        let text = format!(
            "root={hash}\nmode=system\ndisk=/dev/vda\npartition={}\nstate=disk\nentry={path}\n\
             counted={}\n",
            ROOT_A.name,
            if file.contains('+') { "yes" } else { "no" },
        );
        fs::write(&paths.facts, text).unwrap();
    };
    starts("kiln-00000001.efi");
    let edits = [ArgumentEdit::Append("kiln_lab=1".into())];
    let options = ArgumentOptions { edits: &edits, dry_run: false, is_forced: false };
    change_kernel_arguments(&paths, options, quiet).unwrap().1.unwrap();
    next_step();
    let [fresh, tried] = ["kiln-00000002+3-0.efi", "kiln-00000002+2-1.efi"];
    let (from, to) = (format!("{FOLDER}/{fresh}"), format!("{FOLDER}/{tried}"));
    let mut device = SystemPartitionDevice::open(&esp, 512).unwrap();
    device.change(&Change::Move { from: &from, to: &to }).unwrap();
    drop(device);
    next_step();
    starts(tried);
    assert_eq!(bless(&paths, quiet).unwrap(), Some(2));
    next_step();
    starts("kiln-00000002.efi");
    rollback(&paths, false, quiet).unwrap();
    next_step();
    starts("kiln-00000001.efi");
    rollback(&paths, false, quiet).unwrap();
    next_step();
    let request = ResetRequest { keep: &[], wipe_state: true };
    reset(&paths, ResetOptions { request, dry_run: false }, &mut NoHooks, quiet).unwrap();
}
