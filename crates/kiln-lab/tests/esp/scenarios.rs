//! What machines are before something happens to them, and the executors that make it happen.

use kiln_boot::entry::{EntryName, FOLDER, RECOVERY_PATH};
use kiln_boot::os_release::Mode;
use kiln_boot::uki::addon;
use kiln_boot::uki::mode::for_mode;
use kiln_build::{BuildOptions, ReadOptions, Silent};
use kiln_disk::fat::update::Change;
use kiln_host::esp::SystemPartitionDevice;
use kiln_host::execute::{
    Action, ArgumentOptions, ResetOptions, UpgradeOptions, bless, change_kernel_arguments, deploy,
    refresh, reset, rollback, take_back, update_loaders, upgrade,
};
use kiln_host::hooks::NoHooks;
use kiln_host::ledger::{Ledger, Slot, State};
use kiln_host::machine::{FailureNote, RECOVERY_FACTS, Staged};
use kiln_host::plan::{ArgumentEdit, LoaderPlan, LoaderVerdict, ResetRequest};
use kiln_lab::efi;
use kiln_lab::loaders::{shim, systemd_boot};
use kiln_lab::registry::Registry;
use kiln_registry::{Network, Options, Platform, Source};

use super::judge::FIRST;
use super::machine::{Before, Machine, Release, Running, revision};
use super::pushed;

pub const ONE: &str = "EFI/Linux/kiln-00000001.efi";
pub const TWO: &str = "EFI/Linux/kiln-00000002.efi";
pub const TRIED: &str = "EFI/Linux/kiln-00000002+2-1.efi";
pub const FRESH: &str = "EFI/Linux/kiln-00000002+3-0.efi";

/// How often a machine goes back and forward again.
const ROUNDS: u32 = 6;

fn running(entry: &str, release: &Release, slot: Slot) -> Running {
    Running { entry: entry.to_owned(), root: release.argument, slot }
}

/// Generation 1 in slot A, which proved itself, and 2 in slot B under this path, which runs.
pub fn two(second: &str) -> Before {
    let [one, two] = [1, 2].map(Release::new);
    let state = if second.contains('+') { State::Trying } else { State::Blessed };
    Before {
        files: vec![
            (ONE.to_owned(), one.boot_file),
            (second.to_owned(), two.boot_file.clone()),
            ("EFI/kiln/release.json".to_owned(), one.facts.to_json().unwrap().into_bytes()),
        ],
        slots: [one.root, two.root.clone(), Vec::new()],
        ledger: Ledger {
            next_generation: 3,
            revisions: vec![
                revision(1, Slot::A, &one.facts, State::Blessed),
                revision(2, Slot::B, &two.facts, state),
            ],
            ..Ledger::default()
        },
        running: running(second, &two, Slot::B),
        addons: Vec::new(),
    }
}

/// What shim starts, what enrols keys, and shim, as they lie on an ESP; each later set is newer. Every
/// second stage is also signed for the shim before it, and no shim starts what an older one started.
pub fn loaders(number: usize) -> [(String, Vec<u8>); 3] {
    let authorities = ["Ours 1", "Ours 2", "Ours 3"];
    let (boot, first) = [("252.39", "15.8"), ("257.13", "16.1"), ("262.1", "17.0")][number];
    let signers = &authorities[number.saturating_sub(1)..=number];
    let manager = efi::program(Some(first));
    [
        ("EFI/BOOT/grubx64.efi", systemd_boot(boot, 1200, signers)),
        ("EFI/BOOT/mmx64.efi", manager),
        (FIRST, shim(first, 1700, &authorities[number..=number])),
    ]
    .map(|(path, bytes)| (path.to_owned(), bytes))
}

/// Two good releases, and firmware that starts an old shim.
pub fn behind_shim() -> Before {
    let mut before = two(TWO);
    before.files.extend(loaders(0));
    before
}

/// Only generation 1, and a staged release that nothing starts.
pub fn staged() -> Before {
    let mut before = two(TWO);
    let (one, new) = (Release::new(1), pushed::release(3).1);
    let (_, boot_file) = before.files.remove(1);
    assert_ne!(boot_file, new.boot_file);
    before.files.push((Staged::path(2), new.boot_file));
    before.slots[1] = new.root;
    before.ledger.revisions[1] = revision(2, Slot::B, &new.facts, State::Staged);
    before.running = running(ONE, &one, Slot::A);
    before
}

/// The second try of generation 2, with notes of the first.
pub fn tried() -> Before {
    let mut before = two(TRIED);
    for generation in [2, 7] {
        before.files.push((FailureNote::path(generation), b"no root matches\n".to_vec()));
    }
    before
}

/// Two good releases, the running one of which has an addon.
pub fn with_addon() -> Before {
    let mut before = two(TWO);
    before.addons = vec![("serial", addon(&efi::program(None), b"console=ttyS1").unwrap())];
    before
}

/// Two good releases, and an old one in recovery.
pub fn with_recovery() -> Before {
    let mut before = two(TWO);
    let old = Release::new(9);
    let recovery = for_mode(&old.boot_file, Mode::Recovery).unwrap();
    before.files.push((RECOVERY_PATH.to_owned(), recovery));
    before.files.push((RECOVERY_FACTS.to_owned(), old.facts.to_json().unwrap().into_bytes()));
    before.slots[2] = old.root;
    before
}

/// Both slots are bad, and recovery runs.
pub fn in_recovery() -> Before {
    let mut before = with_recovery();
    for (path, _) in &mut before.files {
        *path = path.replace("1.efi", "1+0-3.efi").replace("2.efi", "2+0-3.efi");
    }
    before.running = running(RECOVERY_PATH, &Release::new(9), Slot::Recovery);
    before
}

fn quiet() {}

/// A registry with releases 3 and 4, and what a machine must know to reach it.
fn registry() -> (Registry, Options) {
    let registry = Registry::plain().unwrap();
    let options = Options {
        platform: Platform::host(),
        network: Network { plain_http: vec![registry.host()], ..Network::default() },
        ..Options::default()
    };
    for number in [3, 4] {
        let (folder, _) = pushed::release(number);
        pushed::push(&registry, &options, folder.path(), number);
    }
    (registry, options)
}

fn bring(machine: &Machine, from: &(Registry, Options), number: u8, action: Action) {
    let (registry, options) = from;
    let reference = format!("{}/edge:{number}", registry.host()).parse().unwrap();
    let reading = ReadOptions { registry: options.clone(), limits: Default::default() };
    let source = Source::Registry(reference);
    let build = BuildOptions::without_media(source.clone(), reading, machine.paths.cache.clone());
    let mut options = UpgradeOptions::new(build, source, action);
    options.build.threads = 1;
    upgrade(&machine.paths, &options, &mut Silent, &mut NoHooks, quiet).unwrap();
}

/// Over a release that could have been gone back to.
pub fn upgrades(machines: &[Machine]) {
    let registry = registry();
    machines.iter().for_each(|machine| bring(machine, &registry, 3, Action::Apply));
}

/// One staged release after the other.
pub fn stages(machines: &[Machine]) {
    let registry = registry();
    for machine in machines {
        bring(machine, &registry, 3, Action::Stage);
        machine.next_step();
        bring(machine, &registry, 4, Action::Stage);
    }
}

/// What is staged already.
pub fn activates(machines: &[Machine]) {
    let registry = registry();
    machines.iter().for_each(|machine| bring(machine, &registry, 3, Action::Apply));
}

pub fn blesses(machines: &[Machine]) {
    for machine in machines {
        assert_eq!(bless(&machine.paths, quiet).unwrap(), Some(2));
    }
}

/// Back, after the restart forward again under a new number, and blessed there; as often as it takes to
/// make many disks of renames that are one sector each.
pub fn rolls_back(machines: &[Machine]) {
    let [one, two] = [1, 2].map(Release::new);
    for machine in machines {
        let mut file = "kiln-00000002.efi".to_owned();
        for generation in 3..3 + ROUNDS {
            machine.starts(&running(&format!("{FOLDER}/{file}"), &two, Slot::B));
            rollback(&machine.paths, false, quiet).unwrap();
            machine.next_step();
            machine.starts(&running(ONE, &one, Slot::A));
            rollback(&machine.paths, false, quiet).unwrap();
            machine.next_step();
            let fresh = EntryName::fresh(generation);
            let (from, to) = (fresh.path(), fresh.started().path());
            let mut esp =
                SystemPartitionDevice::open(&machine.esp().to_string_lossy(), 512).unwrap();
            esp.change(&Change::Move { from: &from, to: &to }).unwrap();
            drop(esp);
            machine.next_step();
            machine.starts(&running(&to, &two, Slot::B));
            assert_eq!(bless(&machine.paths, quiet).unwrap(), Some(generation));
            machine.next_step();
            file = fresh.blessed().to_string();
        }
    }
}

/// Arguments with an addon, and others before they were tried.
pub fn changes_arguments(machines: &[Machine]) {
    let first = [ArgumentEdit::Append("debug".into()), ArgumentEdit::Enable("serial".into())];
    let second = [ArgumentEdit::Append("quiet".into())];
    for machine in machines {
        for (number, edits) in [&first[..], &second].into_iter().enumerate() {
            if number > 0 {
                machine.next_step();
            }
            let options = ArgumentOptions { edits, dry_run: false, is_forced: false };
            change_kernel_arguments(&machine.paths, options, quiet).unwrap().1.unwrap();
        }
    }
}

/// The running release over an old one in recovery.
pub fn refreshes(machines: &[Machine]) {
    for machine in machines {
        assert_eq!(refresh(&machine.paths, quiet).unwrap(), Some(2));
    }
}

/// Recovery's release into a slot.
pub fn deploys(machines: &[Machine]) {
    for machine in machines {
        assert_eq!(deploy(&machine.paths, false, &mut NoHooks, quiet).unwrap().2, Some(3));
    }
}

/// The state's name there, back and there again; then a wish.
pub fn resets(machines: &[Machine]) {
    let wipe = ResetRequest { keep: &[], wipe_state: true };
    let forget = ResetRequest { keep: &[], wipe_state: false };
    for machine in machines {
        let ask = |request| {
            reset(&machine.paths, ResetOptions { request, dry_run: false }, &mut NoHooks, quiet)
                .unwrap();
            machine.next_step();
        };
        ask(wipe);
        assert!(take_back(&machine.paths, quiet).unwrap());
        machine.next_step();
        ask(wipe);
        ask(forget);
    }
}

/// One newer set of boot loaders after the other: the second time there are copies already.
pub fn replaces_loaders(machines: &[Machine]) {
    for machine in machines {
        for number in [1, 2] {
            if number > 1 {
                machine.next_step();
            }
            let [boot, manager, shim] = loaders(number);
            machine.brings("usr/lib/systemd/boot/efi/systemd-bootx64.efi.signed", &boot.1);
            machine.brings("usr/lib/shim/mmx64.efi.signed", &manager.1);
            machine.brings("usr/lib/shim/shimx64.efi.signed", &shim.1);
            let plans = update_loaders(&machine.paths, quiet).unwrap();
            let is_replaced =
                |plan: &LoaderPlan| matches!(plan.verdict, LoaderVerdict::Replace { .. });
            assert!(plans.len() == 2 && plans.iter().all(is_replaced), "{plans:?}");
        }
    }
}
