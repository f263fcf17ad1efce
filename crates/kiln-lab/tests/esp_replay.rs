//! Promise: power may be cut at any write that staging, activating, blessing, counting, rolling back
//! and clearing away make to the ESP, and again while that is tidied up: what the loader starts then is
//! what it would have started before or after, whole, with its root in a slot.
//!
//! Every step is carried out as `kiln_host::execute` orders it, on ESPs of several layouts; the
//! loader's counting is carried out as firmware's FAT drivers may order it. Each different disk is
//! judged by the model of systemd-boot, which is held against the loaders elsewhere.
#![expect(clippy::unwrap_used, reason = "helpers of tests; what fails here fails the test")]
#![expect(unreachable_pub, reason = "modules of a test program have nobody outside")]

#[path = "esp/machine.rs"]
mod machine;

use std::collections::HashSet;
use std::io::Write as _;

use kiln_boot::entry::FOLDER;
use kiln_disk::fat::update::{Change, Volume};
use kiln_disk::replay::RecordingDevice;
use kiln_disk::{BlockDevice as _, apply};
use kiln_lab::replay::{Operation, Options, Overlay, States};
use machine::{ESP, Release, counted, disk, menu, slot};

/// Start of all chance; a failure prints it.
const SEED: u64 = 1;

/// Fewest different disks of each scenario, and of all: the tests run one by one, so that each has
/// its share.
const FEWEST: usize = 1250;
const FEWEST_OF_ALL: usize = 10_000;

/// Of the different disks, one in this many is tidied up with the power cut again.
const SHARE: usize = 24;

/// Bytes that reach a slot at once.
const PIECE: usize = 8 << 10;

/// Layouts that every scenario is tried on at least, and at most until it has its number of disks.
const LAYOUTS: std::ops::Range<usize> = 8..800;

/// Other files in the folder of boot files, at most, and the longest of their names in characters:
/// they move the names that matter through the sectors and clusters of the folder.
const OTHERS: usize = 40;
const NAME: usize = 60;

const OLD: &str = "EFI/Linux/kiln-00000001.efi";
const TRIED: &str = "EFI/Linux/kiln-00000002+2-1.efi";
const FRESH: &str = "EFI/Linux/kiln-00000002+3-0.efi";
const NEW: &str = "EFI/Linux/kiln-00000002.efi";
const STAGED: &str = "EFI/kiln/kiln-00000002.staged";
const NOTE: &str = "EFI/kiln/failure-00000002.txt";

/// One step of a scenario.
enum Step<'a> {
    /// A change by Kiln's own updater.
    Esp(Change<'a>),
    /// A root into a slot, flushed at its end.
    Root(usize, &'a [u8]),
    /// The same in any order: what the replay must not accept.
    Unordered(Change<'a>),
    /// A rename as a FAT driver of firmware makes it.
    Firmware(&'a str, &'a str),
}

/// A scenario: what is there, and what is done to it.
struct Scenario<'a> {
    name: &'static str,
    files: Vec<(&'static str, &'a [u8])>,
    slots: [&'a [u8]; 2],
    steps: Vec<Step<'a>>,
}

fn scenarios<'a>(one: &'a Release, two: &'a Release, three: &'a Release) -> Vec<Scenario<'a>> {
    let move_to = |from, to| Step::Esp(Change::Move { from, to });
    let both = [&one.root[..], &two.root];
    let old = (OLD, &one.boot_file[..]);
    let facts = ("EFI/kiln/release.json", &b"{}"[..]);
    let with = |name| vec![old, facts, (name, &two.boot_file[..])];
    vec![
        Scenario {
            name: "upgrade into a slot that held a good one",
            files: with(NEW),
            slots: both,
            steps: vec![
                Step::Esp(Change::Remove { path: NEW }),
                Step::Root(1, &three.root),
                Step::Esp(Change::Add {
                    path: "EFI/kiln/kiln-00000003.staged",
                    bytes: &three.boot_file,
                }),
                move_to("EFI/kiln/kiln-00000003.staged", "EFI/Linux/kiln-00000003+3-0.efi"),
            ],
        },
        Scenario {
            name: "staging",
            files: vec![old],
            slots: both,
            steps: vec![
                Step::Esp(Change::MakeDirectory { path: "EFI/kiln" }),
                Step::Esp(Change::Add { path: STAGED, bytes: &two.boot_file }),
                Step::Esp(Change::Replace { path: STAGED, bytes: &three.boot_file }),
                Step::Esp(Change::Remove { path: STAGED }),
                Step::Esp(Change::Add { path: STAGED, bytes: &two.boot_file }),
            ],
        },
        Scenario {
            name: "activation",
            files: with(STAGED),
            slots: both,
            steps: vec![move_to(STAGED, FRESH)],
        },
        Scenario {
            name: "firmware's counting",
            files: with(FRESH),
            slots: both,
            steps: vec![
                Step::Firmware(FRESH, TRIED),
                Step::Firmware(TRIED, "EFI/Linux/kiln-00000002+1-2.efi"),
                Step::Firmware(
                    "EFI/Linux/kiln-00000002+1-2.efi",
                    "EFI/Linux/kiln-00000002+0-3.efi",
                ),
            ],
        },
        Scenario {
            name: "blessing, with notes of a failed try",
            files: [with(TRIED), vec![(NOTE, &b"no root matches\n"[..])]].concat(),
            slots: both,
            steps: vec![move_to(TRIED, NEW), Step::Esp(Change::Remove { path: NOTE })],
        },
        Scenario {
            name: "rollback, and forward again under a new number",
            files: with(NEW),
            slots: both,
            steps: vec![
                move_to(NEW, "EFI/Linux/kiln-00000002+0-3.efi"),
                move_to("EFI/Linux/kiln-00000002+0-3.efi", "EFI/Linux/kiln-00000003+3-0.efi"),
                Step::Firmware(
                    "EFI/Linux/kiln-00000003+3-0.efi",
                    "EFI/Linux/kiln-00000003+2-1.efi",
                ),
                move_to("EFI/Linux/kiln-00000003+2-1.efi", "EFI/Linux/kiln-00000003.efi"),
            ],
        },
        Scenario {
            name: "a failure is noted and the entry marked by the first process",
            files: with(NEW),
            slots: both,
            steps: vec![
                Step::Esp(Change::Add { path: NOTE, bytes: b"no root matches\n" }),
                move_to(NEW, "EFI/Linux/kiln-00000002+0-3.efi"),
                Step::Esp(Change::Replace { path: NOTE, bytes: b"another reason\n" }),
            ],
        },
        Scenario {
            name: "a loader replaced",
            files: with(NEW),
            slots: both,
            steps: vec![
                Step::Esp(Change::Add { path: "EFI/BOOT/NEW.EFI", bytes: &one.boot_file }),
                Step::Esp(Change::Replace { path: "EFI/BOOT/BOOTX64.EFI", bytes: &two.boot_file }),
                Step::Esp(Change::Remove { path: "EFI/BOOT/NEW.EFI" }),
            ],
        },
    ]
}

#[test]
fn power_cuts_during_an_upgrade_start_the_old_or_the_new() {
    replay_all(0);
}

#[test]
fn power_cuts_during_staging_start_the_old() {
    replay_all(1);
}

#[test]
fn power_cuts_during_activation_start_the_old_or_the_new() {
    replay_all(2);
}

#[test]
fn power_cuts_while_firmware_counts_start_the_old_or_the_new() {
    replay_all(3);
}

#[test]
fn power_cuts_during_blessing_start_the_new() {
    replay_all(4);
}

#[test]
fn power_cuts_during_a_rollback_start_the_old_or_the_new() {
    replay_all(5);
}

#[test]
fn power_cuts_while_a_failure_is_noted_start_the_old_or_the_new() {
    replay_all(6);
}

#[test]
fn power_cuts_while_a_loader_is_replaced_change_no_boot_file() {
    replay_all(7);
}

#[test]
#[should_panic(expected = "no slot holds its root")]
fn a_boot_file_that_is_listed_before_its_root_is_found() {
    let [one, two, three] = [1, 2, 3].map(Release::new);
    let steps = vec![Step::Esp(Change::Move { from: STAGED, to: FRESH }), Step::Root(1, &two.root)];
    wrong(vec![(OLD, &one.boot_file), (STAGED, &two.boot_file)], [&one.root, &three.root], steps);
}

#[test]
#[should_panic(expected = "damaged FAT file system")]
fn a_boot_file_that_is_listed_before_it_is_whole_is_found() {
    let [one, two] = [1, 2].map(Release::new);
    let steps = vec![Step::Unordered(Change::Add { path: FRESH, bytes: &two.boot_file })];
    wrong(vec![(OLD, &one.boot_file)], [&one.root, &two.root], steps);
}

/// Replays what Kiln does not do.
fn wrong<'a>(files: Vec<(&'static str, &'a [u8])>, slots: [&'a [u8]; 2], steps: Vec<Step<'a>>) {
    let scenario = Scenario { name: "a wrong order", files, slots, steps };
    replay(&scenario, 0, &mut HashSet::new());
}

/// Replays one scenario on as many layouts as it takes.
fn replay_all(number: usize) {
    let [one, two, three] = [1, 2, 3].map(Release::new);
    let scenarios = scenarios(&one, &two, &three);
    assert!(scenarios.len() * FEWEST >= FEWEST_OF_ALL, "another scenario is needed");
    let scenario = &scenarios[number];
    let (mut disks, mut cuts, mut layout) = (HashSet::new(), 0, 0);
    while layout < LAYOUTS.start || (disks.len() < FEWEST && layout < LAYOUTS.end) {
        cuts += replay(scenario, layout, &mut disks);
        layout += 1;
    }
    let (name, count) = (scenario.name, disks.len());
    let figures =
        format!("{name}: {count} different disks, {cuts} cuts, {layout} layouts; seed {SEED}");
    // Figures go to the test's own output, which the runner shows on demand; a closed one is no
    // reason to fail.
    let _ = writeln!(std::io::stderr(), "{figures}");
    assert!(count >= FEWEST, "{figures}");
}

/// Replays a scenario on one layout; gives the number of cuts, those while tidying up included.
fn replay(scenario: &Scenario<'_>, layout: usize, disks: &mut HashSet<(usize, u128)>) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let mut files = vec![("EFI/BOOT/BOOTX64.EFI".to_owned(), vec![0x11; 600])];
    // Small steps of the number, large ones of the names, so that few layouts are alike.
    let (others, length) = (layout * 3 % OTHERS, 4 + layout * 7 % NAME);
    files.extend((0..others).map(|number| (format!("{FOLDER}/{number:0length$}.txt"), vec![1; 9])));
    files.extend(scenario.files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())));
    let before = disk(&folder.path().join("disk"), &files, scenario.slots);

    let mut device = RecordingDevice::new(before.clone());
    // What may start after each step; a cut inside of a step leaves one of its two ends.
    let mut first = menu(&before).unwrap()[0].root.clone();
    let mut judged = 0;
    for (number, step) in scenario.steps.iter().enumerate() {
        let (start, _) = device.finish();
        let mut step_device = RecordingDevice::new(start.clone());
        carry_out(&mut step_device, step);
        let (after, operations) = step_device.finish();
        let name = format!("{}, layout {layout}, step {number}", scenario.name);
        let next = menu(&after).unwrap_or_else(|reason| panic!("{name}: {reason}"))[0].root.clone();
        let allowed = [first, next.clone()];
        let operations: Vec<Operation> = operations.into_iter().map(Operation::from).collect();
        judged += judge(&name, &start, &operations, &allowed, |digest| {
            disks.insert((layout, digest));
        });
        first = next;
        device = RecordingDevice::new(after);
    }
    judged
}

/// Looks at every disk that a cut inside of a step leaves.
fn judge(
    name: &str,
    start: &Overlay,
    operations: &[Operation],
    allowed: &[String; 2],
    mut seen: impl FnMut(u128),
) -> usize {
    let options =
        Options { seed: SEED, exhaustive: 8, samples: 48, tears: 64, ..Options::default() };
    let mut cuts = 0;
    for (number, state) in States::new(start.clone(), operations, options).enumerate() {
        let state = state.unwrap();
        let told = |reason: String| format!("{name}: {}: {reason}", state.cut);
        seen(state.disk.digest());
        cuts += 1;
        check(&state.disk, allowed).map_err(told).unwrap();
        // What the next run does first, and the power goes again.
        let mut device = RecordingDevice::new(state.disk.clone());
        repair(&mut device).map_err(told).unwrap();
        let (tidy, operations) = device.finish();
        if operations.is_empty() {
            continue;
        }
        check(&tidy, allowed).map_err(told).unwrap();
        if number % SHARE == 0 {
            let operations: Vec<Operation> = operations.into_iter().map(Operation::from).collect();
            for again in States::new(state.disk.clone(), &operations, Options::default()) {
                let again = again.unwrap();
                let told = |reason| told(format!("then {}: {reason}", again.cut));
                seen(again.disk.digest());
                cuts += 1;
                check(&again.disk, allowed).map_err(told).unwrap();
                let mut device = RecordingDevice::new(again.disk.clone());
                repair(&mut device).map_err(told).unwrap();
                check(&device.finish().0, allowed).map_err(told).unwrap();
            }
        }
    }
    cuts
}

/// The first of the menu is what it was or what it will be, and all of the menu can start.
fn check(disk: &Overlay, allowed: &[String; 2]) -> Result<(), String> {
    let menu = menu(disk)?;
    let first = menu.first().ok_or("nothing is listed")?;
    if !allowed.contains(&first.root) {
        return Err(format!("it starts {first:?}"));
    }
    Ok(())
}

fn repair(device: &mut RecordingDevice<Overlay>) -> Result<(), String> {
    let told = |error: kiln_disk::Error| error.to_string();
    let volume = Volume::open(device, 0, ESP.end).map_err(told)?;
    let writes = volume.repair(FOLDER).map_err(told)?;
    apply(device, &writes).map_err(|error| error.to_string())
}

fn carry_out(device: &mut RecordingDevice<Overlay>, step: &Step<'_>) {
    match step {
        Step::Esp(change) => {
            let writes = Volume::open(device, 0, ESP.end).unwrap().plan(change).unwrap();
            apply(device, &writes).unwrap();
        }
        Step::Unordered(change) => {
            let writes = Volume::open(device, 0, ESP.end).unwrap().plan(change).unwrap();
            for write in &writes {
                device.write_at(write.offset, &write.bytes).unwrap();
            }
            device.flush().unwrap();
        }
        Step::Root(number, bytes) => {
            for (index, piece) in bytes.chunks(PIECE).enumerate() {
                device.write_at(slot(*number).start + (index * PIECE) as u64, piece).unwrap();
            }
            device.flush().unwrap();
        }
        Step::Firmware(from, to) => {
            let file = |path: &str| path.rsplit('/').next().unwrap().to_owned();
            assert_eq!(counted(&file(from)), Some(file(to)), "the loader gives another name");
            firmware_renames(device, from, to);
        }
    }
}

/// The same rename without the flushes in between: a driver with a cache writes the sectors back in
/// whatever order, the mark of a volume in use among them.
fn firmware_renames(device: &mut RecordingDevice<Overlay>, from: &str, to: &str) {
    let change = Change::Move { from, to };
    let writes = Volume::open(device, 0, ESP.end).unwrap().plan(&change).unwrap();
    let mark = |set: bool, device: &mut RecordingDevice<Overlay>| {
        // Bit 27 of the second entry of both tables: "cleanly unmounted" (FAT specification, "FAT
        // Volume Status").
        for copy in fat_copies(device) {
            let mut sector = [0; 512];
            device.read_at(copy, &mut sector).unwrap();
            sector[7] = if set { sector[7] & !0x08 } else { sector[7] | 0x08 };
            device.write_at(copy, &sector).unwrap();
        }
    };
    mark(true, device);
    for write in &writes {
        device.write_at(write.offset, &write.bytes).unwrap();
    }
    mark(false, device);
    device.flush().unwrap();
}

/// Offsets of both allocation tables (FAT specification, BPB: reserved sectors at 14, sectors of a
/// table at 36).
fn fat_copies(device: &RecordingDevice<Overlay>) -> [u64; 2] {
    let mut boot = [0; 512];
    device.read_at(0, &mut boot).unwrap();
    let reserved = u64::from(u16::from_le_bytes([boot[14], boot[15]]));
    let length = u64::from(u32::from_le_bytes([boot[36], boot[37], boot[38], boot[39]]));
    [reserved * 512, (reserved + length) * 512]
}
