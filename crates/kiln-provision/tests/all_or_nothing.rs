//! Documents that are all or nothing: undone at a fault, cut off and begun again, done once.

#![expect(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{Machine, plan};
use kiln_config::Action;
use kiln_config::action::{Command, Contents, File, Group, Owner, Unit, User};
use kiln_config::operation::Failure;
use kiln_provision::{Ledger, Outcome, Root, document_hash};

fn file(path: &str, text: &str) -> Action {
    Action::File(File {
        path: path.into(),
        contents: Some(Contents::bytes(text)),
        append: Vec::new(),
        mode: None,
        owner: Owner::default(),
        overwrite: true,
    })
}

fn command(script: &str) -> Action {
    Action::Command(Command { script: script.into() })
}

fn changes() -> Vec<Action> {
    vec![
        Action::User(User {
            name: "core".into(),
            create_home: true,
            groups: vec!["wheel".into()],
            keys: vec!["ssh-ed25519 A".into()],
            ..User::default()
        }),
        Action::Group(Group { name: "new".into(), ..Group::default() }),
        file("/etc/new/deep/file", "x"),
        file("/etc/os-release", "changed"),
        // Above 1 MiB and binary: contents are kept as bytes.
        file("/var/large", &"\u{0}\u{7f}".repeat(600_000)),
        Action::Unit(Unit {
            name: "sshd.service".into(),
            enabled: Some(true),
            dropins: vec![("a.conf".into(), "[Service]\n".into())],
            ..Unit::default()
        }),
    ]
}

#[test]
fn a_fault_undoes_all_that_was_before_it_and_stops() {
    let mut machine = Machine::new();
    let before = picture(&machine.path("/"));
    machine.programs.bad = vec!["false".into()];
    let mut actions = changes();
    actions.push(command("false"));
    actions.push(file("/etc/later", ""));
    let mut whole = plan("initramfs", Failure::Abort, actions);
    let mut later = plan("initramfs", Failure::Continue, vec![file("/etc/other", "")]);
    later.operations[0].document = 1;
    whole.operations.extend(later.operations);
    let report = machine.carry_out(&whole, "initramfs");
    assert_eq!(picture(&machine.path("/")), before);
    let reason = report.aborted.clone().unwrap();
    assert_eq!(reason, "the command ended with exit status 1: some output");
    assert_eq!(report.records.len(), 7);
    assert!(report.records[..6].iter().all(|record| record.outcome == Outcome::Undone));
    assert!(matches!(report.records[6].outcome, Outcome::Failed { .. }));
    let failure = fs::read_to_string(machine.state().join("config/00000003/failure")).unwrap();
    assert_eq!(failure.trim_end(), reason);

    // Repaired, it runs, and the word about the failure is gone.
    machine.programs.bad.clear();
    let report = machine.carry_out(&whole, "initramfs");
    assert!(report.is_good(), "{report:?}");
    assert_eq!(machine.read("/etc/later"), "");
    assert!(!machine.state().join("config/00000003/failure").exists());
    assert_eq!(machine.read("/home/core/.ssh/authorized_keys"), "ssh-ed25519 A\n");
}

#[test]
fn a_document_that_is_done_does_not_run_again_but_a_changed_one_does() {
    let mut machine = Machine::new();
    let one = plan("initramfs", Failure::Abort, vec![file("/etc/a", "1")]);
    assert!(machine.carry_out(&one, "initramfs").is_good());
    fs::write(machine.path("/etc/a"), "by hand").unwrap();
    let again = machine.carry_out(&one, "initramfs");
    assert!(matches!(again.records[0].outcome, Outcome::Skipped { .. }));
    assert_eq!(machine.read("/etc/a"), "by hand");
    let hash = document_hash(&one.operations.iter().collect::<Vec<_>>());
    let ledger = Ledger::open(&machine.state(), 3).unwrap();
    assert_eq!(ledger.done().unwrap(), std::slice::from_ref(&hash));
    let mark = fs::read_to_string(machine.state().join(format!("config/00000003/{hash}.done")));
    assert_eq!(mark.unwrap(), format!("{{\"generation\":3,\"hash\":\"{hash}\"}}\n"));
    assert!(!Ledger::open(&machine.state(), 4).unwrap().is_done(&hash), "another generation");

    let other = plan("initramfs", Failure::Abort, vec![file("/etc/a", "2")]);
    assert!(machine.carry_out(&other, "initramfs").is_good());
    assert_eq!(machine.read("/etc/a"), "2");
}

/// A power cut is what a journal without a mark looks like: the next start undoes it.
#[test]
fn an_attempt_that_was_cut_off_is_undone_and_begun_again() {
    let mut machine = Machine::new();
    let before = picture(&machine.path("/"));
    let whole = plan("initramfs", Failure::Abort, changes());
    assert!(machine.carry_out(&whole, "initramfs").is_good());
    let done = picture(&machine.path("/"));
    // The same machine, with the journal kept as it was just before the mark.
    let folder = machine.state().join("config/00000003");
    let hash = document_hash(&whole.operations.iter().collect::<Vec<_>>());
    assert!(!folder.join(format!("{hash}.undo")).exists());
    let mut machine = Machine::new();
    machine.programs.bad = vec!["cut".into()];
    let kept = machine.folder.path().join("kept");
    let journal = machine.state().join(format!("config/00000003/{hash}.undo"));
    {
        // The steps of an attempt, without its end.
        let mut root = Root::open(&machine.path("/")).unwrap();
        root.begin(kiln_provision::Journal::create(&journal).unwrap());
        root.write("/etc/os-release", b"changed", 0o600, kiln_provision::Owner::default()).unwrap();
        root.write("/etc/half/done", b"x", 0o600, kiln_provision::Owner::default()).unwrap();
        drop(root.end());
    }
    kiln_etc::copy::folder(&journal, &kept, &|_| false).unwrap();
    assert_ne!(picture(&machine.path("/")), before);
    let report = machine.carry_out(&whole, "initramfs");
    assert!(report.is_good(), "{report:?}");
    assert_eq!(picture(&machine.path("/")), done, "nothing of the first attempt is left");
    assert!(machine.said.iter().any(|line| line.contains("unfinished")), "{:?}", machine.said);

    // Tidying up was cut off behind the mark: the changes stay.
    kiln_etc::copy::folder(&kept, &journal, &|_| false).unwrap();
    let again = machine.carry_out(&whole, "initramfs");
    assert!(again.records.iter().all(|record| matches!(record.outcome, Outcome::Skipped { .. })));
    assert_eq!(picture(&machine.path("/")), done);
    assert!(!journal.exists());
}

#[test]
fn without_a_state_nothing_is_begun() {
    let mut machine = Machine::new();
    machine.has_state = false;
    let before = picture(&machine.path("/"));
    let report = machine.carry_out(&plan("initramfs", Failure::Abort, changes()), "initramfs");
    assert!(report.aborted.is_some());
    assert_eq!(picture(&machine.path("/")), before);
}

#[test]
fn a_fault_that_is_forgiven_stops_nothing() {
    let mut machine = Machine::new();
    machine.programs.bad = vec!["false".into()];
    let actions = vec![file("/etc/a", "1"), command("false"), file("/etc/b", "2")];
    let report = machine.carry_out(&plan("boot", Failure::Continue, actions), "boot");
    assert_eq!((machine.read("/etc/a"), machine.read("/etc/b")), ("1".into(), "2".into()));
    assert_eq!(report.failures().count(), 1);
    assert!(report.aborted.is_none() && !report.is_good());
    let text = serde_json::to_string(&report).unwrap();
    assert!(text.contains("\"stage\":\"boot\""), "{text}");
    assert!(text.contains("{\"source\":\"a.yaml\",\"line\":2,\"column\":1}"), "{text}");
    assert!(text.contains("\"outcome\":\"failed\""), "{text}");
    let kept =
        fs::read_to_string(machine.state().join("config/00000003/report-boot.json")).unwrap();
    assert!(kept.contains("command of 5 bytes") && !kept.contains("false\""), "{kept}");
}

/// Everything below a folder but times: path, mode, owner, contents.
fn picture(folder: &Path) -> BTreeMap<String, (u32, u32, Vec<u8>)> {
    use std::os::unix::fs::MetadataExt;
    let mut all = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let contents = if metadata.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if metadata.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).unwrap()
        };
        let name = path.strip_prefix(folder).unwrap().display().to_string();
        all.insert(name, (metadata.mode(), metadata.uid(), contents));
    }
    all
}
