//! Other kernel arguments on the machine of files, and what happens when there is no room or no way to
//! write: everything is as it was.

use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use kiln_boot::uki::{addon, parse};
use kiln_host::execute::{ArgumentOptions, change_kernel_arguments, show_kernel_arguments};
use kiln_host::ledger::LocalArguments;
use kiln_host::plan::{ArgumentEdit, ArgumentPlan};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::{
    Bench, Error, File, MIB, Slot, State, Store, bless, boot_file, fs, program, quiet, rollback,
};

/// Where the certificate table's length is in [`program`]: optional header at 0x58, entry 4.
const CERTIFICATE_LENGTH: usize = 0x58 + 112 + 4 * 8 + 4;

fn change(bench: &Bench, edits: &[ArgumentEdit]) -> Result<Option<ArgumentPlan>, Error> {
    let options = ArgumentOptions { edits, dry_run: false, is_forced: false };
    change_kernel_arguments(&bench.paths, options, quiet).map(|(_, plan)| plan)
}

fn append(argument: &str) -> [ArgumentEdit; 1] {
    [ArgumentEdit::Append(argument.to_owned())]
}

fn enable(name: &str) -> [ArgumentEdit; 1] {
    [ArgumentEdit::Enable(name.to_owned())]
}

/// Says that `generation`, which starts the root of slot B, runs.
fn runs(bench: &Bench, generation: u32, counter: &str) {
    let counted = if counter.is_empty() { "no" } else { "yes" };
    let text = format!(
        "root={}\nmode=system\ndisk=/dev/vda\npartition=kiln-root-b\n\
         entry=EFI/Linux/kiln-{generation:08}{counter}.efi\ncounted={counted}\n",
        bench.roots[1].root
    );
    fs::write(&bench.paths.facts, text).unwrap();
}

fn read(bench: &Bench, path: &str) -> Vec<u8> {
    bench.esp().read(path, 1 << 20).unwrap()
}

/// The ESP and the ledger, byte for byte.
fn everything(bench: &Bench) -> [Vec<u8>; 2] {
    [bench.paths.node("/dev/vda2").into(), bench.paths.ledger.join("ledger.json")]
        .map(|path: std::path::PathBuf| fs::read(path).unwrap())
}

/// Puts an addon into the running root.
fn bring_addon(bench: &Bench, name: &str, is_signed: bool) {
    let mut bytes = addon(&program(), b"console=ttyS1").unwrap();
    bytes[CERTIFICATE_LENGTH] = u8::from(is_signed);
    fs::create_dir_all(&bench.paths.addons).unwrap();
    fs::write(bench.paths.addons.join(format!("{name}.addon.efi")), bytes).unwrap();
}

fn sign_running(bench: &Bench) {
    let path = "EFI/Linux/kiln-00000002.efi";
    let mut bytes = read(bench, path);
    bytes[CERTIFICATE_LENGTH] = 8;
    bench.esp().put(path, &bytes).unwrap();
}

#[test]
fn another_argument_is_another_boot_file_for_the_same_root() {
    let bench = Bench::new(["", ""], 2);
    let before = everything(&bench);
    let dry = ArgumentOptions { edits: &append("debug"), dry_run: true, is_forced: false };
    let (found, plan) = change_kernel_arguments(&bench.paths, dry, quiet).unwrap();
    assert_eq!((found.current.generation, found.pending, found.is_sealed), (Some(2), None, false));
    assert_eq!(plan.unwrap().generation, 3);
    assert_eq!(everything(&bench), before, "a dry run");

    change(&bench, &append("debug")).unwrap().unwrap();
    let names = ["kiln-00000001.efi", "kiln-00000002.efi", "kiln-00000003+3-0.efi"];
    assert_eq!(bench.files(), names.map(|name| format!("EFI/Linux/{name}")));
    let (old, new) = (boot_file(&bench.roots[1]), read(&bench, "EFI/Linux/kiln-00000003+3-0.efi"));
    let (old, new) = (parse(&old).unwrap(), parse(&new).unwrap());
    for (old, new) in old.sections.iter().zip(&new.sections) {
        assert_eq!(old.name, new.name);
        if old.name != ".cmdline" {
            assert_eq!(old.data, new.data, "{}", old.name);
        }
    }
    let line = format!("kiln.root={} kiln.mode=system debug", bench.roots[1]);
    assert_eq!(new.section(".cmdline"), Some(line.as_bytes()));

    let machine = bench.machine();
    assert_eq!((machine.entries[0].name.generation, machine.entries[0].slot), (3, Some(Slot::B)));
    assert_eq!((bench.state(2), bench.state(3)), (State::Blessed, State::Trying));
    let found = show_kernel_arguments(&bench.paths).unwrap();
    assert_eq!(found.pending.unwrap().arguments.append, ["debug"]);
    assert_eq!(change(&bench, &append("debug")).unwrap(), None, "it is so already");

    // It proves itself, and becomes what the next change starts from.
    runs(&bench, 3, "+3-0");
    assert_eq!(bless(&bench.paths, quiet).unwrap(), Some(3));
    assert_eq!(bench.state(3), State::Blessed);
    runs(&bench, 3, "");
    change(&bench, &[ArgumentEdit::Delete("debug".into())]).unwrap().unwrap();
    assert!(read(&bench, "EFI/Linux/kiln-00000004+3-0.efi") == boot_file(&bench.roots[1]));
}

#[test]
fn arguments_that_fail_are_left_and_the_release_is_not_blamed() {
    let bench = Bench::new(["", ""], 2);
    change(&bench, &append("init=/nonexistent")).unwrap().unwrap();
    let move_to = kiln_disk::fat::update::Change::Move {
        from: "EFI/Linux/kiln-00000003+3-0.efi",
        to: "EFI/Linux/kiln-00000003+0-3.efi",
    };
    bench.esp().change(&move_to).unwrap();
    bless(&bench.paths, quiet).unwrap();
    assert_eq!((bench.state(2), bench.state(3)), (State::Blessed, State::Failed));
    let machine = bench.machine();
    let hash = bench.roots[1].root.to_string();
    assert_eq!(machine.ledger.quarantined(&hash, None), None);
    let error = change(&bench, &append("init=/nonexistent")).unwrap_err();
    assert!(error.to_string().contains("failed here as generation 3"), "{error}");
    // The next change is made from what runs, and what failed makes room.
    change(&bench, &append("debug")).unwrap().unwrap();
    assert!(bench.files().contains(&"EFI/Linux/kiln-00000004+3-0.efi".to_owned()));
    assert!(!bench.files().iter().any(|file| file.contains("00000003")), "{:?}", bench.files());
    assert_eq!(bench.state(3), State::Replaced);
    let line = read(&bench, "EFI/Linux/kiln-00000004+3-0.efi");
    let line = parse(&line).unwrap().section(".cmdline").unwrap().to_vec();
    assert!(!String::from_utf8(line).unwrap().contains("init="));
}

#[test]
fn a_sealed_machine_takes_signed_addons_and_nothing_else() {
    let bench = Bench::new(["", ""], 2);
    bring_addon(&bench, "serial", true);
    bring_addon(&bench, "unsigned", false);
    sign_running(&bench);
    let before = everything(&bench);
    for (edits, expected) in [
        (append("debug"), "sealed"),
        ([ArgumentEdit::Delete("kiln.mode".into())], "sealed"),
        (enable("other"), "no addon `other`"),
        (enable("unsigned"), "not signed"),
    ] {
        let error = change(&bench, &edits).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert_eq!(everything(&bench), before, "{expected}");
    }
    change(&bench, &enable("serial")).unwrap().unwrap();
    let file = "EFI/Linux/kiln-00000003.efi.extra.d/serial.addon.efi";
    assert!(bench.files().contains(&file.to_owned()), "{:?}", bench.files());
    let unchanged = read(&bench, "EFI/Linux/kiln-00000002.efi");
    assert!(read(&bench, "EFI/Linux/kiln-00000003+3-0.efi") == unchanged, "signed bytes stay");
    assert!(show_kernel_arguments(&bench.paths).unwrap().is_sealed);
    assert_eq!(bench.machine().is_sealed(), Some(true), "what `kiln status` says");
}

#[test]
fn addons_follow_a_revision_that_comes_back_and_go_with_it() {
    let bench = Bench::new(["", ""], 2);
    bring_addon(&bench, "serial", false);
    change(&bench, &enable("serial")).unwrap().unwrap();
    runs(&bench, 3, "+3-0");
    bless(&bench.paths, quiet).unwrap();
    runs(&bench, 3, "");
    // Away from it, and back under a new number.
    rollback(&bench.paths, false, quiet).unwrap();
    bench.run(2, "");
    fs::remove_dir_all(&bench.paths.addons).unwrap();
    let esp = bench.esp();
    drop(esp);
    bench.esp().remove("EFI/Linux/kiln-00000001.efi").unwrap();
    rollback(&bench.paths, false, quiet).unwrap();
    let files = bench.files();
    let follows = "EFI/Linux/kiln-00000004.efi.extra.d/serial.addon.efi".to_owned();
    assert!(files.contains(&follows), "{files:?}");
    // A change that does without it, from what runs.
    runs(&bench, 4, "+3-0");
    bless(&bench.paths, quiet).unwrap();
    runs(&bench, 4, "");
    change(&bench, &[ArgumentEdit::Disable("serial".into())]).unwrap().unwrap();
    let files = bench.files();
    assert!(files.contains(&follows), "the way back keeps its own: {files:?}");
    assert!(!files.iter().any(|file| file.contains("00000003")), "{files:?}");
    assert!(!files.iter().any(|file| file.contains("00000005.efi.extra.d")), "{files:?}");
}

#[test]
fn a_full_esp_is_an_error_that_changes_nothing() {
    let bench = Bench::new(["", ""], 2);
    let filler = vec![0; usize::try_from(bench.esp().free().unwrap() - 2048).unwrap()];
    bench.esp().put("EFI/filler", &filler).unwrap();
    let before = everything(&bench);
    let error = change(&bench, &append("debug")).unwrap_err();
    assert!(error.to_string().contains("bytes on the ESP"), "{error}");
    assert!(error.hint().is_some());
    assert_eq!(everything(&bench), before);
}

#[test]
fn a_full_state_is_an_error_that_changes_nothing() {
    let bench = Bench::new(["", ""], 2);
    let before = everything(&bench);
    // Where the next ledger is written first; every write to it finds the device full.
    symlink("/dev/full", bench.paths.ledger.join("ledger.json.new")).unwrap();
    for error in [
        change(&bench, &append("debug")).unwrap_err(),
        rollback(&bench.paths, false, quiet).map(drop).unwrap_err(),
    ] {
        let Error::File { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.kind(), std::io::ErrorKind::StorageFull, "{error}");
        assert_eq!(everything(&bench), before);
    }
    assert_eq!(bench.machine().next_entry().unwrap().name.generation, 2);
}

/// An ESP that opens for writing and refuses every write, as some cards do; permissions do not bind root.
/// It is there as long as the file is open.
pub(super) fn seal_esp(bench: &Bench) -> File {
    let node = bench.paths.node("/dev/vda2");
    let bytes = fs::read(&node).unwrap();
    let sealed = File::from(memfd_create("esp", MemfdFlags::ALLOW_SEALING).unwrap());
    sealed.write_all_at(&bytes, 0).unwrap();
    fcntl_add_seals(&sealed, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW).unwrap();
    fs::remove_file(&node).unwrap();
    symlink(format!("/proc/self/fd/{}", sealed.as_raw_fd()), &node).unwrap();
    sealed
}

#[test]
fn a_read_only_esp_is_an_error_that_changes_no_boot_file() {
    let bench = Bench::new(["", ""], 2);
    let _sealed = seal_esp(&bench);
    let files = bench.files();
    let changed = change(&bench, &append("debug")).map(drop);
    for error in [changed.unwrap_err(), rollback(&bench.paths, false, quiet).map(drop).unwrap_err()]
    {
        assert!(matches!(error, Error::Device { action: "write", .. }), "{error}");
        assert_eq!(bench.files(), files);
    }
    let machine = bench.machine();
    assert_eq!(machine.next_entry().unwrap().name.generation, 2);
    // The number is used up, the revision never was; nothing else is remembered.
    assert_eq!((bench.state(2), bench.state(3)), (State::Blessed, State::Replaced));
}

#[test]
fn what_a_cut_left_is_gone_after_the_next_change() {
    let bench = Bench::new(["", ""], 2);
    let store = Store::open(&bench.paths.ledger, || {}).unwrap();
    let mut ledger = bench.machine().ledger;
    let mut cut = bench.revision(2, Slot::B, State::Staged);
    let line = format!("kiln.root={} kiln.mode=system", bench.roots[1]);
    cut.arguments = Some(LocalArguments {
        append: vec!["lost".into()],
        varies: Some(2),
        ..LocalArguments::of_release(&line)
    });
    assert_eq!(ledger.add(cut), 3);
    store.write(&ledger).unwrap();
    drop(store);
    for path in [
        "EFI/kiln/kiln-00000003.staged",
        "EFI/Linux/kiln-00000003.efi.extra.d/serial.addon.efi",
        "EFI/Linux/kiln-00000009.efi.extra.d/serial.addon.efi",
    ] {
        bench.esp().put(path, &boot_file(&bench.roots[1])).unwrap();
    }
    assert_eq!(bench.machine().next_entry().unwrap().name.generation, 2);
    change(&bench, &append("debug")).unwrap().unwrap();
    let names = ["kiln-00000001.efi", "kiln-00000002.efi", "kiln-00000004+3-0.efi"];
    assert_eq!(bench.files(), names.map(|name| format!("EFI/Linux/{name}")));
    assert_eq!(bench.state(3), State::Replaced);
    assert!(bench.esp().free().unwrap() > 60 * MIB, "folders went, too");
}

#[test]
fn a_lock_goes_with_the_process_that_was_killed() {
    let bench = Bench::new(["", ""], 2);
    let lock = bench.paths.ledger.join("lock");
    let mut holder = Command::new("flock")
        .args(["--no-fork".as_ref(), lock.as_os_str(), "sleep".as_ref(), "60".as_ref()])
        .spawn()
        .unwrap();
    let (told, waits) = mpsc::channel();
    let paths = bench.paths.clone();
    let second = std::thread::spawn(move || {
        // Until the other process has it, this one may be faster.
        loop {
            let sender = told.clone();
            let mut was_busy = false;
            drop(Store::open(&paths.ledger, || {
                was_busy = true;
                sender.send(()).unwrap();
            }));
            if was_busy {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    waits.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(!second.is_finished());
    holder.kill().unwrap();
    holder.wait().unwrap();
    second.join().unwrap();
    change(&bench, &append("debug")).unwrap().unwrap();
}
