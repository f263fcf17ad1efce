//! Promise: power may be cut at any write of an upgrade and of its activation: the release that runs
//! stays whole and listed, the new one is listed only when all of it is on the disk, and whatever the
//! cut left, the next boot works and the upgrade can be brought to its end.
//!
//! One upgrade is recorded. Every ESP that a cut could have left of it is looked at, with as much of
//! the slot as the disk had flushed by then; some cuts are booted. The record goes on through the
//! restart, in which the real firmware renames the new boot file, the blessing and a rollback.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use kiln_disk::fat::Fat;
use kiln_disk::layout::{ESP, ROOT_A, ROOT_B, Role};
use kiln_disk::{BlockDevice as _, gpt};
use kiln_lab::replay::{Base, Log, Operation, Options, Overlay, States, file_system};
use kiln_lab::{Error, Failure, Life, Oracle, Releases, WorkDirectory, product};

/// Start of all chance; a failure prints it.
const SEED: u64 = 1;

/// Of the writes to the slot this many stand for all: they are alike, and what is asked is whether
/// they were flushed in time.
const SLOT_WRITES: usize = 48;

/// Largest file that is read from the ESP, in bytes.
const MAXIMUM_FILE: u32 = 256 << 20;

/// Of the different ESPs on which the new release is not listed, one in this many has its old boot
/// file read; the others have its name looked at.
const SHARE: usize = 8;

/// Fewest different disks that the run must have looked at, and fewest on which both are listed.
const FEWEST_DISKS: usize = 1000;
const FEWEST_LISTED: usize = 2;

const OLD: &str = "EFI/Linux/kiln-00000001.efi";
const NEW: &str = "EFI/Linux/kiln-00000002+3-0.efi";
const NEW_STEM: &str = "EFI/Linux/kiln-00000002";

#[test]
fn power_cuts_during_an_upgrade_boot_the_old_or_the_new() -> Result<(), Failure> {
    let work = WorkDirectory::new("upgrade-cuts")?;
    let releases = Releases::new(&work)?;
    releases.publish("14", &[])?;
    let mut life = Life::new("upgrade-cuts", &work)?;
    life.power_on()?;
    life.settle()?;
    life.power_off()?;
    let before = work.join("before.raw");
    Oracle::new("cp")
        .arguments(["--sparse=always"])
        .argument(life.disk())
        .argument(&before)
        .run()?;

    let log_path = work.join("log");
    File::create(&log_path).map_err(|source| file_error("create", &log_path, source))?;
    life.record_writes(&log_path);
    life.power_on()?;
    life.settle()?;
    life.complete(&releases.call("14", ""))?;
    let upgraded = Log::position(&log_path)?;
    life.restart_by("sudo -n systemctl reboot")?;
    life.settle()?;
    assert_eq!(life.release()?.as_deref(), Some("14"));
    life.complete("sudo -n kiln rollback")?;
    life.cut_power()?;
    let log = Log::read(&log_path)?;
    life.say(&format!("{} operations recorded", log.operations().len()));
    let (upgrade, later) = log.operations().split_at(log.before(upgraded));

    let base = Arc::new(Base::open(&before, product::DISK_BYTES, 512)?);
    let places = Places::of(&Overlay::new(Arc::clone(&base)))?;
    judge(&base, &places, upgrade, &work)?;
    judge_later(&base, &places, upgrade, later)?;
    life.say("all states judged");

    for (name, count) in cuts(&places, upgrade) {
        let mut disk = Overlay::new(Arc::clone(&base));
        for operation in &upgrade[..count] {
            apply(&mut disk, operation).map_err(unreadable)?;
        }
        let mut cut = life.with_disk(&format!("upgrade-cuts-{name}"));
        disk.materialise(0..product::DISK_BYTES, cut.disk())?;
        cut.power_on()?;
        cut.settle()?;
        let listed = cut.boot_files()?;
        cut.say(&format!("boots with {listed:?}"));
        let release = cut.release()?;
        // The new one may run only after a cut among the last writes, and has then proved itself.
        let runs_new = release.as_deref() == Some("14");
        assert!(release.is_none() || runs_new && name == "activation", "{name}: {release:?}");
        cut.complete(&releases.call("14", ""))?;
        let status = cut.status()?;
        assert_eq!(status["next"]["version"], "14", "{status:#}");
        assert_eq!(status["pending_reboot"], !runs_new, "{status:#}");
        assert_eq!(status["last_failure"], serde_json::Value::Null, "{status:#}");
        assert_eq!(cut.boot_files()?.len(), 2, "{status:#}");
        cut.cut_power()?;
    }
    Ok(())
}

/// Where the partitions are, in bytes.
struct Places {
    esp: Range<u64>,
    old: Range<u64>,
    new: Range<u64>,
}

impl Places {
    fn of(disk: &Overlay) -> Result<Self, Error> {
        let table = gpt::read(disk).map_err(|error| finding(error.to_string()))?.table;
        let place = |role: Role| {
            let (_, entry) = table.named(role.name).ok_or_else(|| finding(role.name.into()))?;
            Ok::<_, Error>(entry.first_lba * 512..(entry.last_lba + 1) * 512)
        };
        Ok(Self { esp: place(ESP)?, old: place(ROOT_A)?, new: place(ROOT_B)? })
    }
}

/// Looks at every disk that a cut could have left.
fn judge(
    base: &Arc<Base>,
    places: &Places,
    operations: &[Operation],
    work: &WorkDirectory,
) -> Result<(), Error> {
    let touches = |place: &Range<u64>, operation: &Operation| {
        start(operation).is_some_and(|offset| place.contains(&offset))
    };
    let old_is_written = operations.iter().any(|operation| touches(&places.old, operation));
    assert!(!old_is_written, "something wrote to the slot that runs");
    let of_slot = operations.iter().filter(|operation| touches(&places.new, operation)).count();
    let every = of_slot.div_ceil(SLOT_WRITES).max(1);
    let mut number = 0;
    let kept: Vec<Operation> = operations
        .iter()
        .filter(|operation| {
            let is_sampled = touches(&places.new, operation) && {
                number += 1;
                number % every == 0
            };
            is_sampled || touches(&places.esp, operation) || **operation == Operation::Flush
        })
        .cloned()
        .collect();
    let mut end = Overlay::new(Arc::clone(base));
    for operation in &kept {
        apply(&mut end, operation).map_err(unreadable)?;
    }
    let whole_slot = end.digest_of(places.new.clone()).map_err(unreadable)?;
    assert_ne!(whole_slot, 0, "nothing wrote to the other slot");
    let (old_file, new_file) = (read(&end, places, OLD)?, read(&end, places, NEW)?);
    let defect = file_system::judge_fat(&end, places.esp.clone(), &work.join("esp"))?;
    assert_eq!(defect, None, "fsck.fat of the finished ESP");

    let options = Options { seed: SEED, samples: 32, tears: 16, ..Options::default() };
    let mut states = States::new(Overlay::new(Arc::clone(base)), &kept, options);
    let mut seen = HashSet::new();
    let mut listed = 0;
    for state in states.by_ref() {
        let state = state.map_err(unreadable)?;
        let names = names(&state.disk, places)
            .map_err(|error| finding(format!("{}: the ESP cannot be read: {error}", state.cut)))?;
        let has = |name: &str| names.iter().any(|found| found == name);
        assert!(has(OLD), "{}: the release that runs is not listed: {names:?}", state.cut);
        let is_fresh = seen.insert(state.disk.digest_of(places.esp.clone()).map_err(unreadable)?);
        if has(NEW) {
            listed += 1;
            let slot = state.disk.digest_of(places.new.clone()).map_err(unreadable)?;
            assert_eq!(slot, whole_slot, "{}: its root is not whole", state.cut);
            let found = read(&state.disk, places, NEW)?;
            assert!(found == new_file, "{}: its boot file is not whole", state.cut);
        }
        if is_fresh && (has(NEW) || seen.len().is_multiple_of(SHARE)) {
            let found = read(&state.disk, places, OLD)?;
            assert!(found == old_file, "{}: the old boot file has changed", state.cut);
        }
    }
    let (disks, esps) = (states.disks(), seen.len());
    let figures =
        format!("{disks} different disks, {esps} ESPs, {listed} with the new one; seed {SEED}");
    // A closed output is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{figures}");
    assert!(disks >= FEWEST_DISKS && listed >= FEWEST_LISTED, "{figures}");
    Ok(())
}

/// Looks at every ESP that a cut after the upgrade could have left: while firmware counts, while the
/// boot is blessed, while it is rolled back. The old release can always start; what is listed of the
/// new one is whole.
fn judge_later(
    base: &Arc<Base>,
    places: &Places,
    upgrade: &[Operation],
    later: &[Operation],
) -> Result<(), Error> {
    let mut start = Overlay::new(Arc::clone(base));
    for operation in upgrade {
        apply(&mut start, operation).map_err(unreadable)?;
    }
    let (old_file, new_file) = (read(&start, places, OLD)?, read(&start, places, NEW)?);
    let is_wanted = |operation: &&Operation| {
        **operation == Operation::Flush
            || self::start(operation).is_some_and(|offset| places.esp.contains(&offset))
    };
    let kept: Vec<Operation> = later.iter().filter(is_wanted).cloned().collect();
    let options =
        Options { seed: SEED, exhaustive: 8, samples: 64, tears: 64, ..Options::default() };
    let mut states = States::new(start, &kept, options);
    let mut seen: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for state in states.by_ref() {
        let state = state.map_err(unreadable)?;
        let names = names(&state.disk, places)
            .map_err(|error| finding(format!("{}: the ESP cannot be read: {error}", state.cut)))?;
        assert!(names.iter().any(|name| name == OLD), "{}: {names:?}", state.cut);
        let new: Vec<String> =
            names.into_iter().filter(|name| name.starts_with(NEW_STEM)).collect();
        for (name, expected) in
            new.iter().map(|name| (name.as_str(), &new_file)).chain([(OLD, &old_file)])
        {
            let found = read(&state.disk, places, name)?;
            assert!(found == *expected, "{}: {name} is not whole", state.cut);
        }
        *seen.entry(new).or_default() += 1;
    }
    let figures =
        format!("{} different ESPs after the upgrade, by names: {seen:?}", states.disks());
    // A closed output is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{figures}");
    for name in ["+2-1.efi", ".efi", "+0-3.efi"] {
        let name = format!("{NEW_STEM}{name}");
        assert!(seen.keys().any(|names| names.contains(&name)), "no {name}: {figures}");
    }
    Ok(())
}

/// Numbers of operations after which power is cut for a boot: within the slot, within the boot file,
/// and before the last write to the ESP, when the listing is done or almost.
fn cuts(places: &Places, operations: &[Operation]) -> Vec<(&'static str, usize)> {
    let inside = |place: &Range<u64>| -> Vec<usize> {
        let numbered = operations.iter().enumerate();
        let found = numbered.filter(|(_, operation)| {
            start(operation).is_some_and(|offset| place.contains(&offset))
        });
        found.map(|(number, _)| number).collect()
    };
    let (slot, esp) = (inside(&places.new), inside(&places.esp));
    let middle = |found: &[usize]| found.get(found.len() / 2).copied().unwrap_or_default();
    vec![
        ("slot", middle(&slot)),
        ("boot-file", middle(&esp)),
        ("activation", esp.last().copied().unwrap_or_default()),
    ]
}

fn start(operation: &Operation) -> Option<u64> {
    match operation {
        Operation::Write { offset, .. } | Operation::Discard { offset, .. } => Some(*offset),
        Operation::Flush => None,
    }
}

fn apply(disk: &mut Overlay, operation: &Operation) -> std::io::Result<()> {
    match operation {
        Operation::Write { offset, bytes, .. } => disk.write_at(*offset, bytes),
        Operation::Discard { offset, length } => disk.discard(*offset, *length),
        Operation::Flush => Ok(()),
    }
}

/// Paths of all files on the ESP.
fn names(disk: &Overlay, places: &Places) -> Result<Vec<String>, kiln_disk::Error> {
    let Range { start, end } = places.esp;
    let found = Fat::open(disk, start, end - start)?.list()?;
    Ok(found.into_iter().map(|entry| entry.path).collect())
}

fn read(disk: &Overlay, places: &Places, path: &str) -> Result<Vec<u8>, Error> {
    let Range { start, end } = places.esp;
    Fat::open(disk, start, end - start)
        .and_then(|fat| fat.read(path, MAXIMUM_FILE))
        .map_err(|error| finding(format!("{path}: {error}")))
}

fn finding(text: String) -> Error {
    Error::Unexpected { what: "a disk after a power cut".into(), text }
}

fn unreadable(source: std::io::Error) -> Error {
    finding(source.to_string())
}

fn file_error(action: &'static str, path: &std::path::Path, source: std::io::Error) -> Error {
    Error::File { action, path: path.to_owned(), source }
}
