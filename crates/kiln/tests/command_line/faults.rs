//! A registry that fails while a machine upgrades: what passes is outlived, what lasts is one clear
//! error, and in both cases what boots is what booted before until the new release is whole.
//!
//! How each answer is read is tested where it is read; here it counts what is left of the machine.

use std::fs;
use std::process::Command;
use std::time::Duration;

use kiln_lab::Registry;
use kiln_lab::registry::{Fault, Ranges, Rule, Settings};

use crate::fixture::{Bench, answer, kiln, noise};
use crate::life::build;
use crate::machine::Machine;

/// What a machine must not lose, whatever a registry does: its boot files and the slot that runs.
struct Kept {
    entries: Vec<String>,
    slot: Vec<u8>,
}

/// As much of a slot as is compared, in bytes.
const SLOT: usize = 4 << 20;

impl Kept {
    fn of(machine: &Machine<'_>) -> Self {
        Self { entries: machine.entries(), slot: machine.slot(3, SLOT) }
    }

    fn check(&self, machine: &Machine<'_>, name: &str) {
        assert_eq!(machine.entries(), self.entries, "{name}");
        assert!(machine.slot(3, SLOT) == self.slot, "{name}: the slot that runs has changed");
    }
}

/// A machine with the first release, blessed, and a registry with the second: pushed, as `edge:2`,
/// and as its container image, as `image:2`.
fn machine<'a>(bench: &'a Bench, registry: &Registry) -> Machine<'a> {
    let random = noise(300_000);
    let second = bench.archive("second.tar", &[("etc/version", b"2"), ("usr/lib/new", &random)]);
    let second_hash = build(bench, &second);
    let reference = format!("{}/edge:2", registry.host());
    let plain = ["--plain-http", &registry.host()];
    let folder = bench.text("out");
    let (code, _, stderr) = answer(kiln(&["push", "-q", &folder, &reference]).args(plain));
    assert_eq!(code, 0, "{stderr}");
    let layout = bench.path("layout");
    fs::create_dir(&layout).unwrap();
    let status = Command::new("tar")
        .args(["--extract", "--file", &bench.text("second.tar"), "--directory"])
        .arg(&layout)
        .status();
    assert!(status.unwrap().success());
    registry.add_layout("image", "2", &layout).unwrap();
    fs::remove_dir_all(bench.path("out")).unwrap();
    let first = bench.archive("first.tar", &[("etc/version", b"1")]);
    let first_hash = build(bench, &first);
    let mut machine = Machine::of_built(bench, &first_hash);
    machine.expect_root(&second_hash);
    assert_eq!(answer(&mut machine.kiln(&["bless"])).0, 0);
    machine
}

/// An upgrade to a repository's second version.
fn upgrade(
    machine: &Machine<'_>,
    registry: &Registry,
    repository: &str,
    more: &[&str],
) -> (i32, String) {
    let reference = format!("docker://{}/{repository}:2", registry.host());
    let mut arguments = vec!["upgrade", "-q", &reference, "--plain-http"];
    let host = registry.host();
    arguments.push(&host);
    arguments.extend(more);
    let (code, _, stderr) = answer(&mut machine.kiln(&arguments));
    (code, stderr)
}

#[test]
fn what_lasts_is_one_error_and_costs_nothing() {
    let bench = Bench::new();
    let registry = Registry::plain().unwrap();
    let machine = machine(&bench, &registry);
    let kept = Kept::of(&machine);
    let cases: [(&str, &str, Fault, &str); 9] = [
        ("edge", "/manifests/", Fault::status(401), "401"),
        ("edge", "/manifests/", Fault::status(404), "404"),
        ("edge", "/blobs/", Fault::status(404), "404"),
        ("edge", "/blobs/", Fault::status(501), "501"),
        ("edge", "/blobs/", Fault::Flip(30), ""),
        ("edge", "/blobs/", Fault::Replace(b"something else".to_vec()), ""),
        ("image", "/manifests/", Fault::Flip(30), ""),
        ("image", "/blobs/", Fault::status(401), "401"),
        ("image", "/blobs/", Fault::Replace(b"something else".to_vec()), ""),
    ];
    for (repository, part, fault, told) in cases {
        let name = format!("{repository} {part} {fault:?}");
        registry.script(Rule::new(part, fault).method("GET"));
        let (code, stderr) = upgrade(&machine, &registry, repository, &[]);
        assert_eq!(code, 1, "{name}: {stderr}");
        assert_eq!(stderr.matches("error: ").count(), 1, "{name}: {stderr}");
        assert!(stderr.contains(told), "{name}: {stderr}");
        kept.check(&machine, &name);
        registry.forgive();
    }
    // Nothing of all that stands in the way of the next run.
    let (code, stderr) = upgrade(&machine, &registry, "edge", &[]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(machine.entries(), ["kiln-00000001.efi", "kiln-00000002+3-0.efi"]);
}

#[test]
fn what_passes_is_outlived() {
    for repository in ["edge", "image"] {
        for (name, ranges, fault) in [
            ("cut off", Ranges::Single, Fault::Truncate(2000)),
            ("hung up", Ranges::Single, Fault::HangUp),
            ("too short", Ranges::Single, Fault::Shorten(2000)),
            ("busy", Ranges::Single, Fault::busy(1)),
            ("broken", Ranges::Single, Fault::status(500)),
            ("slow", Ranges::Single, Fault::Stall { after: 900, pause: Duration::from_secs(3) }),
            ("no ranges", Ranges::Ignored, Fault::HangUp),
            ("one range only", Ranges::SingleOrRefused, Fault::IgnoreRange),
        ] {
            let bench = Bench::new();
            let registry = Registry::start(Settings { ranges, ..Settings::default() }).unwrap();
            let machine = machine(&bench, &registry);
            let kept = Kept::of(&machine);
            registry.script(Rule::new("/blobs/", fault).method("GET").skip(1).times(1));
            let (code, stderr) = upgrade(&machine, &registry, repository, &["--stage"]);
            let name = format!("{repository}, {name}");
            assert_eq!(code, 0, "{name}: {stderr}");
            kept.check(&machine, &name);
            let (code, stderr) = upgrade(&machine, &registry, repository, &[]);
            assert_eq!(code, 0, "{name}: {stderr}");
            assert_eq!(machine.entries(), ["kiln-00000001.efi", "kiln-00000002+3-0.efi"], "{name}");
        }
    }
}

#[test]
fn a_second_disk_that_looks_the_same_is_left_alone() {
    let bench = Bench::new();
    let registry = Registry::plain().unwrap();
    let machine = machine(&bench, &registry);
    // A copy as `dd` makes it: the same GUIDs, names and boot files.
    let twin = |number: &str| bench.path(&format!("machine/dev/vdb{number}"));
    for number in ["", "2", "3", "4"] {
        fs::copy(bench.path(&format!("machine/dev/vda{number}")), twin(number)).unwrap();
        if !number.is_empty() {
            let node = bench.path(&format!("machine/sys/class/block/vdb/vdb{number}"));
            fs::create_dir_all(&node).unwrap();
            fs::write(node.join("partition"), format!("{number}\n")).unwrap();
        }
    }
    let before: Vec<Vec<u8>> =
        ["", "2", "3", "4"].iter().map(|number| fs::read(twin(number)).unwrap()).collect();
    let (code, stderr) = upgrade(&machine, &registry, "edge", &[]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(machine.entries(), ["kiln-00000001.efi", "kiln-00000002+3-0.efi"]);
    assert_eq!(answer(&mut machine.kiln(&["rollback"])).0, 0);
    for (number, before) in ["", "2", "3", "4"].iter().zip(before) {
        assert!(fs::read(twin(number)).unwrap() == before, "vdb{number} was written");
    }
}
