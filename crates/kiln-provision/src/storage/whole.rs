//! Disks and files of one document, through [`crate::run`].

use std::fs;

use kiln_config::action::{Command, Contents, File, Owner, Remote};
use kiln_config::operation::Failure;
use kiln_config::storage::{Filesystem, Luks};
use kiln_config::{Action, Operation, Plan, SourceId, Sources, Span, Stage};

use super::kit::{Bench, Marks};
use crate::{Error, Fetch, Outcome, Report, Root, Surroundings};

struct Network;

impl Fetch for Network {
    fn get(&mut self, remote: &Remote, _: u64) -> Result<Vec<u8>, Error> {
        Ok(format!("key of {}", remote.url).into_bytes())
    }
}

fn run(bench: &Bench, actions: Vec<Action>) -> Report {
    let operation = |(rank, action): (u32, Action)| Operation {
        stage: Stage::named("initramfs"),
        document: 0,
        step: 0,
        name: None,
        rank,
        failure: Failure::Abort,
        conditions: Vec::new(),
        origin: Span::new(SourceId(0), 4, 7),
        action,
    };
    let plan = Plan { operations: (0..).zip(actions).map(operation).collect() };
    let mut sources = Sources::default();
    sources.add("a.ign", "one\ntwo\n");
    let mut programs: Marks = bench.programs();
    bench.with(|disks| {
        let mut surroundings = Surroundings {
            root: Root::open(&bench.path("")).unwrap(),
            is_running: false,
            kernel: bench.path("proc"),
            today: 1,
            programs: &mut programs,
            fetch: &mut Network,
            storage: disks,
            values: kiln_config::template::Values::default(),
            random: &mut || Ok([1; 16]),
            images: kiln_registry::Options::default(),
            ledger: Some(bench.ledger()),
            say: &mut |_| (),
            environment: Vec::new(),
        };
        crate::run(&plan, &Stage::named("initramfs"), &sources, &mut surroundings)
    })
}

fn system(device: &str, path: &str) -> Action {
    Action::Filesystem(Filesystem {
        device: device.into(),
        format: Some("ext4".into()),
        path: Some(path.into()),
        ..Filesystem::default()
    })
}

fn file(path: &str) -> Action {
    Action::File(File {
        path: path.into(),
        contents: Some(Contents::bytes("x")),
        append: Vec::new(),
        mode: None,
        owner: Owner::default(),
        overwrite: false,
    })
}

fn vault() -> Action {
    let remote = Remote { url: "https://example.com/key".into(), ..Remote::default() };
    let source = kiln_config::action::Source::Remote(remote);
    let key = Contents { source, gzip: false, hash: None, secret: true };
    Action::Luks(Luks {
        name: "vault".into(),
        device: "/dev/vdb".into(),
        key: Some(key),
        label: None,
        uuid: None,
        options: Vec::new(),
        open_options: Vec::new(),
        discard: true,
        wipe: false,
    })
}

#[test]
fn files_land_on_the_file_systems_of_their_document_and_go_with_them() {
    let bench = Bench::new();
    let actions = || {
        vec![
            vault(),
            system("/dev/mapper/vault", "/srv/data"),
            file("/srv/data/x"),
            Action::Command(Command { script: "step".into() }),
        ]
    };
    bench.world.borrow_mut().bad = Some("step".into());
    let report = run(&bench, actions());
    assert_eq!(report.aborted.as_deref(), Some("the command ended with exit status 1: broken"));
    assert!(matches!(report.records[2].outcome, Outcome::Undone), "{report:?}");
    assert!(!bench.path("srv/data").exists());
    let log = bench.log();
    let last: Vec<&str> = log.iter().rev().take(2).map(String::as_str).collect();
    assert_eq!(last, ["cryptsetup close vault", "unmount /srv/data"]);
    // Repaired: the volume of the attempt is made anew, and remembered.
    bench.world.borrow_mut().bad = None;
    let report = run(&bench, actions());
    assert!(report.is_good(), "{report:?}");
    assert_eq!(fs::read_to_string(bench.path("srv/data/x")).unwrap(), "x");
    let key = fs::read_to_string(bench.path("state/config/00000001/keys/vault")).unwrap();
    assert_eq!(key, "key of https://example.com/key");
    assert!(bench.log()[0].starts_with("cryptsetup luksFormat"));
    let records = bench.path("state/config/00000001/devices.json");
    let text = fs::read_to_string(&records).unwrap();
    assert!(text.contains("--allow-discards") && !text.contains("key of"), "{text}");
    let report = run(&bench, actions());
    assert!(matches!(report.records[0].outcome, Outcome::Skipped { .. }));
    assert_eq!(bench.log(), Vec::<String>::new());
}

#[test]
fn a_refusal_before_the_first_change_names_its_operation() {
    let bench = Bench::new();
    let before = bench.bytes();
    let report = run(
        &bench,
        vec![file("/srv/x"), system("/dev/vdb", "/srv/a"), system("/dev/vda5", "/srv/b")],
    );
    let reason = report.aborted.clone().unwrap();
    assert!(reason.contains("/dev/vda5"), "{reason}");
    assert_eq!(report.records.len(), 1);
    assert_eq!(report.records[0].action, "file system on `/dev/vda5`");
    assert_eq!(report.records[0].place.to_string(), "a.ign:2:1");
    assert!(!bench.path("srv/x").exists());
    assert_eq!((bench.bytes(), bench.log()), (before, Vec::new()));
}
