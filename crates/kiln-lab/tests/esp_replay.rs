//! Promise: power may be cut at any write that Kiln makes to a machine's disk, and again while that is
//! tidied up: what the loader starts then is what it would have started before or after, whole, with
//! its root in a slot, and the machine goes on from there.
//!
//! Kiln's executors run as they are on machines of files, below `strace`: what they asked of the
//! kernel is the record ([`kiln_lab::replay::trace`]). The test program calls itself for that. Each
//! different disk is judged by the model of systemd-boot, which is held against the loaders
//! elsewhere, and by Kiln's own going on.
#![expect(clippy::unwrap_used, reason = "helpers of tests; what fails here fails the test")]
#![expect(unreachable_pub, reason = "modules of a test program have nobody outside")]

#[path = "esp/judge.rs"]
mod judge;
#[path = "esp/machine.rs"]
mod machine;
#[path = "esp/others.rs"]
mod others;
#[path = "esp/pushed.rs"]
mod pushed;
#[path = "esp/scenarios.rs"]
mod scenarios;

use std::env;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use judge::{FIRST, Figures, Judge, SEED};
use kiln_boot::entry::FOLDER;
use kiln_lab::replay::Overlay;
use kiln_lab::replay::steps::{Places, Step, steps};
use kiln_lab::replay::trace::{self, Event};
use machine::{Before, Machine};

/// Names the folder of machines to the call below `strace`.
const MACHINES: &str = "KILN_REPLAY_MACHINES";

/// Fewest different disks of each scenario.
const FEWEST: usize = 1000;

/// Machines that are recorded at once, and most of them until a scenario has its number of disks.
const BATCH: usize = 8;
const LAYOUTS: usize = 400;

/// Other files in the folder of boot files, at most, and the longest of their names in characters:
/// they move the names that matter through the sectors and clusters of the folder.
const OTHERS: usize = 40;
const NAME: usize = 60;

/// Where the writes are from.
enum Doing {
    /// Executors, recorded.
    Executors(fn(&[Machine])),
    /// Others, as they are told to write.
    Others(fn(&Overlay) -> Vec<Step>),
}

/// Carries a scenario out on as many machines as it takes, and looks at every disk that a cut leaves.
fn replay(test: &str, before: fn() -> Before, doing: &Doing) {
    if let (Some(folder), Doing::Executors(act)) = (env::var_os(MACHINES), doing) {
        let folder = Path::new(&folder);
        let number = |number: &usize| folder.join(number.to_string());
        let machines = (0..LAYOUTS).map(|layout| number(&layout)).filter(|path| path.exists());
        return act(&machines.map(|path| Machine::at(&path)).collect::<Vec<_>>());
    }
    let started = Instant::now();
    let (mut figures, mut layout) = (Figures::default(), 0);
    while layout < BATCH || (figures.disks.len() < FEWEST && layout < LAYOUTS) {
        // In memory where there is such a folder: what is flushed here thousands of times is gone in a
        // minute.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        batch(folder.path(), test, layout, before, doing, &mut figures);
        layout += BATCH;
    }
    let Figures { disks, cuts, onwards } = &figures;
    let (disks, seconds) = (disks.len(), started.elapsed().as_secs_f32());
    let text = format!(
        "{test}: {disks} different disks, {cuts} cuts, {layout} machines, {onwards} went on, \
         0 failures, {seconds:.1} s; seed {SEED}"
    );
    // Figures go to the test's own output, which the runner shows on demand; a closed one is no
    // reason to fail.
    let _ = writeln!(std::io::stderr(), "{text}");
    assert!(disks >= FEWEST, "{text}");
}

fn batch(
    folder: &Path,
    test: &str,
    first: usize,
    before: fn() -> Before,
    doing: &Doing,
    figures: &mut Figures,
) {
    let mut machines = Vec::new();
    for layout in first..first + BATCH {
        let mut before = before();
        // Small steps of the number, large ones of the names, so that few layouts are alike.
        let (others, length) = (layout * 3 % OTHERS, 4 + layout * 7 % NAME);
        let other = |number| (format!("{FOLDER}/{number:0length$}.txt"), vec![1; 9]);
        before.files.splice(0..0, (0..others).map(other));
        if !before.files.iter().any(|(path, _)| path == FIRST) {
            before.files.insert(0, (FIRST.to_owned(), vec![0x11; 600]));
        }
        let disk = before.disk(&folder.join(format!("{layout}.disk")), layout as u8);
        let ledger = before.ledger.to_json().unwrap().into_bytes();
        let place = folder.join(layout.to_string());
        let machine = Machine::around(&place, &disk, &ledger, &before.running);
        machine.bring_addons(&before.addons);
        machines.push((layout, before, disk, ledger, place, machine));
    }
    let events = match doing {
        Doing::Executors(_) => {
            let program = env::current_exe().unwrap();
            let arguments = ["--exact", test, "--nocapture"];
            let variable = (MACHINES, folder.as_os_str());
            trace::record(&program, &arguments, variable, folder).unwrap()
        }
        Doing::Others(_) => Vec::new(),
    };
    for (layout, before, disk, ledger, place, machine) in machines {
        let told =
            |number: usize, reason: String| format!("layout {layout}, step {number}: {reason}");
        let steps = match doing {
            Doing::Executors(_) => {
                let own: Vec<Event> = events
                    .iter()
                    .filter(|event| event.path().starts_with(&place))
                    .cloned()
                    .collect();
                let start_of = |path: &Path| machine.start_of(path);
                let (ledger, mark) = (&machine.paths.ledger, &machine.mark());
                steps(&Places { start_of: &start_of, ledger, mark }, &own)
                    .unwrap_or_else(|reason| panic!("{}", told(0, reason)))
            }
            Doing::Others(writes) => writes(&disk),
        };
        let mut judge = Judge::new(layout, figures, folder, &before.addons);
        let (mut disk, mut ledger) = (disk, ledger);
        for (number, step) in steps.iter().enumerate() {
            disk = judge
                .step(&disk, step, &ledger)
                .unwrap_or_else(|reason| panic!("{}", told(number, reason)));
            if let Some(written) = step.ledgers.last() {
                ledger = written.text.clone();
            }
        }
    }
}

/// One test for each scenario, named as its promise.
macro_rules! promises {
    ($($name:ident: $before:expr, $doing:expr;)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name), || $before, &$doing);
        })*
    };
}

promises! {
    power_cuts_during_an_upgrade_start_the_old_or_the_new:
        scenarios::two(scenarios::TWO), Doing::Executors(scenarios::upgrades);
    power_cuts_during_staging_start_the_old:
        scenarios::two(scenarios::TWO), Doing::Executors(scenarios::stages);
    power_cuts_during_activation_start_the_old_or_the_new:
        scenarios::staged(), Doing::Executors(scenarios::activates);
    power_cuts_while_firmware_counts_start_the_old_or_the_new:
        scenarios::two(scenarios::FRESH), Doing::Others(others::counts);
    power_cuts_during_blessing_start_the_new:
        scenarios::tried(), Doing::Executors(scenarios::blesses);
    power_cuts_during_a_rollback_start_the_old_or_the_new:
        scenarios::two(scenarios::TWO), Doing::Executors(scenarios::rolls_back);
    power_cuts_while_kernel_arguments_change_start_the_old_or_the_new:
        scenarios::with_addon(), Doing::Executors(scenarios::changes_arguments);
    power_cuts_while_recovery_is_filled_start_the_system:
        scenarios::with_recovery(), Doing::Executors(scenarios::refreshes);
    power_cuts_while_recovery_repairs_start_recovery_or_the_system:
        scenarios::in_recovery(), Doing::Executors(scenarios::deploys);
    power_cuts_while_a_reset_is_asked_for_start_the_system:
        scenarios::two(scenarios::TWO), Doing::Executors(scenarios::resets);
    power_cuts_while_boot_loaders_are_replaced_leave_a_set_that_starts:
        scenarios::behind_shim(), Doing::Executors(scenarios::replaces_loaders);
    power_cuts_while_a_failure_is_noted_start_the_old_or_the_new:
        scenarios::two(scenarios::TRIED), Doing::Others(others::gives_up);
}

#[test]
#[should_panic(expected = "no slot holds its root")]
fn a_boot_file_that_is_listed_before_its_root_is_found() {
    let before = || {
        let mut before = scenarios::two(scenarios::TWO);
        before.files.remove(1);
        before.slots[1].clear();
        before
    };
    replay("wrong", before, &Doing::Others(others::lists_before_the_root));
}

#[test]
#[should_panic(expected = "damaged FAT file system")]
fn a_boot_file_that_is_listed_before_it_is_whole_is_found() {
    let before = || {
        let mut before = scenarios::two(scenarios::TWO);
        before.files.remove(1);
        before
    };
    replay("wrong", before, &Doing::Others(others::lists_before_it_is_whole));
}

#[test]
#[should_panic(expected = "shim 16.1 does not start what is behind it")]
fn a_shim_that_comes_before_what_it_starts_is_found() {
    replay("wrong", scenarios::behind_shim, &Doing::Others(others::lays_shim_first));
}

#[test]
#[should_panic(expected = "a boot loader is not whole")]
fn a_boot_loader_that_is_put_in_place_before_it_is_whole_is_found() {
    replay("wrong", scenarios::behind_shim, &Doing::Others(others::lays_a_loader_without_flushes));
}
