//! The boot loader of a release that proved itself, on the machine of files.

use std::path::Path;

use kiln_host::execute::{KEPT_SUFFIX, update_loaders};
use kiln_host::loader::Record;
use kiln_host::plan::{LoaderKept, LoaderVerdict};
use kiln_host::report::History;
use kiln_lab::loaders;

use super::kargs::seal_esp;
use super::systemd::systemd_boot;
use super::{Bench, bless, fs, quiet, rollback};

const FIRST: &str = "EFI/systemd/systemd-bootx64.efi";
const FALLBACK: &str = "EFI/BOOT/BOOTX64.EFI";

/// What the running root has.
fn bring(bench: &Bench, file: &str, bytes: &[u8]) {
    bring_from(&bench.paths.loader_trees[1], file, bytes);
}

/// What a tree has where systemd installs it.
fn bring_from(tree: &Path, file: &str, bytes: &[u8]) {
    let folder = tree.join("usr/lib/systemd/boot/efi");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(file), bytes).unwrap();
}

/// A machine on whose ESP these versions are, running generation 2, which brings 257.
fn machine(counter: &str, loaders: &[(&str, &str)]) -> Bench {
    let bench = Bench::new(["", counter], 2);
    for (path, version) in loaders {
        bench.esp().put(path, &systemd_boot(version)).unwrap();
    }
    bring(&bench, "systemd-bootx64.efi", &systemd_boot("257"));
    bench
}

fn update(bench: &Bench) -> Vec<LoaderVerdict> {
    let plans = update_loaders(&bench.paths, quiet).unwrap();
    plans.into_iter().map(|plan| plan.verdict).collect()
}

fn has(bench: &Bench, path: &str, version: &str) -> bool {
    bench.esp().read(path, 1 << 20).is_ok_and(|bytes| bytes == systemd_boot(version))
}

fn kept(path: &str) -> String {
    format!("{path}{KEPT_SUFFIX}")
}

fn replaced(from: &str, to: &str) -> LoaderVerdict {
    LoaderVerdict::Replace { from: from.into(), to: to.into() }
}

/// Path and version of all that was written down.
fn remembered(bench: &Bench) -> Vec<(String, Option<String>)> {
    let events = Record::read(&bench.paths.ledger).events;
    events.into_iter().map(|event| (event.path, event.version)).collect()
}

#[test]
fn a_release_brings_its_loader_when_it_has_proved_itself() {
    let bench = machine("+2-1", &[(FALLBACK, "252")]);
    let files = bench.files();
    assert_eq!(update(&bench), [LoaderVerdict::Keep(LoaderKept::NotProved)]);
    assert_eq!(bench.files(), files);
    assert_eq!(remembered(&bench), [(FALLBACK.to_owned(), Some("252".to_owned()))]);

    bless(&bench.paths, quiet).unwrap();
    bench.run(2, "");
    assert_eq!(update(&bench), [replaced("252", "257")]);
    assert!(has(&bench, FALLBACK, "257") && has(&bench, &kept(FALLBACK), "252"));
    let machine = bench.machine();
    assert_eq!(machine.loaders[0].loader.as_ref().unwrap().version, "257");
    let versions: Vec<_> = remembered(&bench).into_iter().map(|(_, version)| version).collect();
    assert_eq!(versions, ["252", "257"].map(|version| Some(version.to_owned())));

    // The next boots change nothing, nor does the release before it.
    let device = bench.paths.node("/dev/vda2");
    let before = fs::read(&device).unwrap();
    assert_eq!(update(&bench), [LoaderVerdict::Keep(LoaderKept::Current("257".into()))]);
    rollback(&bench.paths, false, quiet).unwrap();
    bench.run(1, "");
    bring(&bench, "systemd-bootx64.efi", &systemd_boot("252"));
    let newer = LoaderKept::Newer { here: "257".into(), brought: "252".into() };
    let after_rollback = fs::read(&device).unwrap();
    assert_ne!(after_rollback, before, "the rollback's rename");
    assert_eq!(update(&bench), [LoaderVerdict::Keep(newer)]);
    assert!(fs::read(&device).unwrap() == after_rollback);

    // A later one takes the place of the copy, too.
    bring(&bench, "systemd-bootx64.efi", &systemd_boot("262"));
    assert_eq!(update(&bench), [replaced("257", "262")]);
    assert!(has(&bench, FALLBACK, "262") && has(&bench, &kept(FALLBACK), "257"));
    assert_eq!(remembered(&bench).len(), 3);
}

#[test]
fn both_places_are_served_and_what_is_foreign_is_left() {
    let bench = machine("", &[(FIRST, "252"), (FALLBACK, "255")]);
    assert_eq!(update(&bench), [replaced("252", "257"), replaced("255", "257")]);
    assert!(has(&bench, &kept(FIRST), "252") && has(&bench, &kept(FALLBACK), "255"));

    let bench = machine("", &[(FIRST, "252")]);
    bench.esp().put(FALLBACK, b"MZ shim").unwrap();
    let foreign = LoaderVerdict::Keep(LoaderKept::Foreign);
    assert_eq!(update(&bench), [replaced("252", "257"), foreign]);
    assert_eq!(bench.esp().read(FALLBACK, 100).unwrap(), b"MZ shim");
    assert!(bench.esp().read(&kept(FALLBACK), 100).is_err());
}

/// shim, what it starts and what enrols keys, on the ESP and in the running root.
#[test]
fn shim_is_replaced_with_what_it_starts() {
    const SECOND: &str = "EFI/BOOT/grubx64.efi";
    const MANAGER: &str = "EFI/BOOT/mmx64.efi";
    let bench = Bench::new(["", ""], 2);
    let old = [
        (SECOND, loaders::systemd_boot("252", 600, &["Debian"])),
        (MANAGER, b"old keys".to_vec()),
        (FALLBACK, loaders::shim("15.8", 600, &["Debian"])),
    ];
    let new = [
        (SECOND, loaders::systemd_boot("257", 600, &["Debian"])),
        (MANAGER, b"new keys".to_vec()),
        (FALLBACK, loaders::shim("16.1", 600, &["Debian"])),
    ];
    for (path, bytes) in &old {
        bench.esp().put(path, bytes).unwrap();
    }
    bring(&bench, "systemd-bootx64.efi.signed", &new[0].1);
    let shim = bench.paths.loader_trees[1].join("usr/lib/shim");
    fs::create_dir_all(&shim).unwrap();
    fs::write(shim.join("mmx64.efi.signed"), &new[1].1).unwrap();
    fs::write(shim.join("shimx64.efi.signed"), &new[2].1).unwrap();
    assert_eq!(update(&bench), [replaced("252", "257"), replaced("15.8", "16.1")]);
    assert_eq!(remembered(&bench).len(), 4, "both as they were, then both as they are");
    for ((path, before), (_, after)) in old.iter().zip(&new) {
        assert!(bench.esp().read(path, 1 << 20).unwrap() == *after, "{path}");
        assert!(bench.esp().read(&kept(path), 1 << 20).unwrap() == *before, "{path}");
    }
    let found = bench.machine().loaders;
    let kinds: Vec<_> = found
        .iter()
        .filter_map(|file| file.loader.as_ref())
        .map(|loader| (loader.kind.name(), loader.version.as_str()))
        .collect();
    assert_eq!(kinds, [("systemd-boot", "257"), ("shim", "16.1")]);
    let stays = |version: &str| LoaderVerdict::Keep(LoaderKept::Current(version.into()));
    assert_eq!(update(&bench), [stays("257"), stays("16.1")]);

    // People and scripts read what happened, below the release that brought it.
    let history = History::of(&bench.machine().ledger, &Record::read(&bench.paths.ledger));
    let value = serde_json::to_value(&history).unwrap();
    let told = |at: usize| {
        let text = |key: &str| value["loaders"][at][key]["version"].as_str().unwrap().to_owned();
        (value["loaders"][at]["generation"].as_u64(), text("from"), text("to"))
    };
    assert_eq!(told(0), (Some(2), "15.8".to_owned(), "16.1".to_owned()));
    assert_eq!(told(1), (Some(2), "252".to_owned(), "257".to_owned()));
    let text = history.to_text();
    assert!(text.contains("grubx64.efi: systemd-boot 257 replaces systemd-boot 252\n"), "{text}");
    assert!(text.contains("BOOTX64.EFI: shim 16.1 replaces shim 15.8\n"), "{text}");

    // A release whose shim believes others: what starts here stays, although it is older.
    fs::write(shim.join("shimx64.efi.signed"), loaders::shim("17.0", 600, &["Fedora"])).unwrap();
    bring(&bench, "systemd-bootx64.efi.signed", &loaders::systemd_boot("262", 600, &["Fedora"]));
    let other = LoaderVerdict::Keep(LoaderKept::OtherSigner("262".into()));
    let waits = LoaderVerdict::Keep(LoaderKept::SecondStage("17.0".into()));
    assert_eq!(update(&bench), [other, waits]);
    assert!(bench.esp().read(FALLBACK, 1 << 20).unwrap() == new[2].1);
}

#[test]
fn the_signed_one_of_a_release_comes_first_and_what_is_damaged_never() {
    let bench = machine("", &[(FALLBACK, "252")]);
    bring(&bench, "systemd-bootx64.efi.signed", b"MZ nothing");
    let missing = LoaderVerdict::Keep(LoaderKept::NotBrought);
    assert_eq!(update(&bench), [missing], "as a build would refuse it");
    bring(&bench, "systemd-bootx64.efi.signed", &systemd_boot("258"));
    assert_eq!(update(&bench), [replaced("252", "258")]);
}

#[test]
fn what_the_builder_gave_comes_before_the_images_own() {
    let bench = machine("", &[(FALLBACK, "252")]);
    bring_from(&bench.paths.loader_trees[0], "systemd-bootx64.efi", &systemd_boot("255"));
    assert_eq!(update(&bench), [replaced("252", "255")]);
}

#[test]
fn firmware_that_wants_signatures_is_heard() {
    let bench = machine("", &[(FALLBACK, "252")]);
    fs::create_dir_all(&bench.paths.variables).unwrap();
    let variable = bench.paths.variables.join("SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c");
    fs::write(&variable, [6, 0, 0, 0, 1]).unwrap();
    let unsigned = LoaderVerdict::Keep(LoaderKept::Unsigned("257".into()));
    assert_eq!(update(&bench), [unsigned]);
    fs::write(&variable, [6, 0, 0, 0, 0]).unwrap();
    assert_eq!(update(&bench), [replaced("252", "257")]);
}

#[test]
fn without_room_or_a_way_to_write_everything_is_as_it_was() {
    let bench = machine("", &[(FALLBACK, "252")]);
    let free = usize::try_from(bench.esp().free().unwrap()).unwrap();
    bench.esp().put("full", &vec![0; free - 2048]).unwrap();
    let files = bench.files();
    let verdicts = update(&bench);
    let is_refused = matches!(verdicts[..], [LoaderVerdict::Keep(LoaderKept::NoRoom { .. })]);
    assert!(is_refused, "{verdicts:?}");
    assert_eq!(bench.files(), files);
    assert!(has(&bench, FALLBACK, "252"));
    bench.esp().remove("full").unwrap();

    // An ESP that cannot be written: the blessing stands, and the loader is the old one.
    let files = bench.files();
    let sealed = seal_esp(&bench);
    assert!(update_loaders(&bench.paths, quiet).is_err());
    assert_eq!(bless(&bench.paths, quiet).unwrap(), Some(2));
    assert_eq!(bench.files(), files);
    assert!(has(&bench, FALLBACK, "252"));
    drop(sealed);
}
