//! Installing to a disk image, from outside: the plan, the questions, and what is on it afterwards.

use std::fs::File;
use std::process::Command;

use kiln_disk::fat::Fat;
use kiln_disk::layout::{self, ESP, Stage};
use kiln_disk::{BlockDevice as _, FileDevice, Gpt, gpt};
use serde_json::Value;

use crate::fixture::{Bench, answer, kiln, names};

const LAYOUT: &str = "format = \"kiln.layout.v1\"\nesp = \"64MiB\"\nslot = \"64MiB\"\n\
    [[partition]]\nlabel = \"data\"\nsize = \"16MiB\"\nfile-system = \"ext4\"\nmount = \"/srv/data\"\n";

struct Installer {
    bench: Bench,
    source: String,
}

impl Installer {
    fn new() -> Self {
        let bench = Bench::new();
        let source = bench.archive("edge.tar", &[]);
        std::fs::write(bench.path("layout.toml"), LAYOUT).unwrap();
        std::fs::write(bench.path("users.yaml"), "#cloud-config\nusers: []\n").unwrap();
        Self { bench, source }
    }

    /// An empty disk image.
    fn disk(&self, name: &str, mebibytes: u64) -> String {
        File::create(self.bench.path(name)).unwrap().set_len(mebibytes << 20).unwrap();
        format!("file:{}", self.bench.text(name))
    }

    fn call(&self, target: &str, arguments: &[&str]) -> Command {
        let mut command = kiln(&["install", "--target", target, "--source", &self.source]);
        command.args(["--machine", &self.bench.text("machine")]);
        command.args(["--runtime", &self.bench.runtime(), "--platform", "linux/amd64"]);
        command.args(["--scratch", &self.bench.text("scratch")]);
        command.args(["--config", &self.bench.text("layout.toml")]).args(arguments);
        command
    }

    fn table(&self, name: &str, sector_size: u32) -> (FileDevice, Gpt) {
        let file = File::open(self.bench.path(name)).unwrap();
        let device = FileDevice::new(file, sector_size).unwrap();
        let located = gpt::read(&device).unwrap();
        assert!(located.other_agrees);
        (device, located.table)
    }
}

#[test]
fn a_disk_image_gets_the_plan_that_was_shown() {
    let installer = Installer::new();
    let disk = installer.disk("disk.raw", 1024);
    let (code, stdout, stderr) = answer(&mut installer.call(&disk, &["--dry-run", "--json"]));
    assert_eq!(code, 0, "{stderr}");
    let plan: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(plan["format"], "kiln.install.v1");
    assert_eq!(plan["erased"], serde_json::json!([]));
    let shown: Vec<(u64, &str)> = plan["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["number"].as_u64().unwrap(), entry["name"].as_str().unwrap()))
        .collect();
    let expected = [(2, "kiln-esp"), (3, "kiln-root-a"), (4, "kiln-root-b"), (5, "kiln-state-new")];
    assert_eq!(shown[..4], expected);
    assert_eq!(shown[4..], [(6, "kiln-recovery"), (7, "data")]);
    let untouched = std::fs::read(installer.bench.path("disk.raw")).unwrap();
    assert!(untouched.iter().all(|byte| *byte == 0), "a dry run wrote something");

    let users = installer.bench.text("users.yaml");
    let (code, stdout, stderr) = answer(&mut installer.call(&disk, &["--config", &users]));
    assert_eq!(code, 1, "nobody was asked");
    assert!(stderr.contains("nobody to ask") && stdout.contains("afterwards:"), "{stderr}{stdout}");
    let arguments = ["--config", &users, "--yes", "--follow", "registry.example/edge:stable"];
    let (code, _, stderr) = answer(&mut installer.call(&disk, &arguments));
    assert_eq!(code, 0, "{stderr}");
    let (device, table) = installer.table("disk.raw", 512);
    assert_eq!(layout::stage(&table).unwrap(), Stage::Unformatted);
    assert_eq!(layout::unformatted(&table), Some((7, "data")));
    let esp = &table.partitions[&ESP.number];
    let fat = Fat::open(&device, esp.offset(512), esp.length(512)).unwrap();
    let read = |path: &str| String::from_utf8(fat.read(path, 1 << 20).unwrap()).unwrap();
    assert_eq!(read(layout::ESP_PATH), LAYOUT);
    assert_eq!(read("EFI/kiln/config/01-users.yaml"), "#cloud-config\nusers: []\n");
    assert!(read("EFI/kiln/release.json").contains("\"name\": \"edge\""));
    assert!(read("EFI/kiln/origin.json").contains("docker://registry.example/edge:stable"));
    assert!(!fat.read("EFI/Linux/kiln-00000001+3-0.efi", 1 << 28).unwrap().is_empty());
    assert_eq!(names(&installer.bench.path("scratch")), Vec::<String>::new());

    // Once more, with what is there.
    let (code, stdout, stderr) =
        answer(&mut installer.call(&disk, &["--dry-run", "--keep", "data"]));
    assert_eq!(code, 1, "{stdout}");
    assert!(stderr.contains("it has no file system yet"), "{stderr}");
    let (code, stdout, _) = answer(&mut installer.call(&disk, &["--dry-run"]));
    assert_eq!(code, 0);
    assert!(stdout.contains("kiln-root-a") && stdout.contains("EROFS"), "{stdout}");
}

#[test]
fn large_sectors_work_as_well() {
    let installer = Installer::new();
    let disk = installer.disk("disk.raw", 1400);
    let text = LAYOUT.replace("esp = \"64MiB\"", "esp = \"300MiB\"");
    std::fs::write(installer.bench.path("layout.toml"), text).unwrap();
    let (code, _, stderr) =
        answer(&mut installer.call(&disk, &["--yes", "-q", "--sector-size", "4096"]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let (device, table) = installer.table("disk.raw", 4096);
    assert_eq!(table.disk_sectors * 4096, device.length());
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let installer = Installer::new();
    let disk = installer.disk("disk.raw", 1024);
    let small = installer.disk("small.raw", 700);
    let broken = installer.bench.text("broken.toml");
    std::fs::write(&broken, "format = \"kiln.layout.v1\"\n\n  slots = \"1GiB\"\n").unwrap();
    let machine = installer.bench.text("machine");
    let no_disk =
        |arguments: &[&str]| answer(kiln(&["install", "--machine", &machine]).args(arguments));
    let cases = [
        (answer(&mut installer.call(&disk, &["--keep", "1", "--yes"])), 1, "no partition `1`"),
        (answer(&mut installer.call(&small, &["--yes"])), 1, "is too small"),
        (no_disk(&["--target", &disk, "--yes"]), 1, "does not run a system"),
        (
            no_disk(&["--target", &disk, "--config", &broken]),
            1,
            "broken.toml:3:3: there is no `slots`",
        ),
        (no_disk(&["--target", "/dev/none"]), 1, "/dev/none is no disk"),
        (no_disk(&["--target", "only"]), 1, "no disk of this machine fits"),
        (no_disk(&["--target", "disk.raw"]), 2, "is no disk; write"),
    ];
    for ((code, stdout, stderr), expected_code, expected) in cases {
        assert!(stderr.contains(expected), "{expected}: {stdout}{stderr}");
        assert_eq!(code, expected_code, "{stderr}");
    }
    for name in ["disk.raw", "small.raw"] {
        let bytes = std::fs::read(installer.bench.path(name)).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0), "{name} was written");
    }
}
