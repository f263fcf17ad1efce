//! Every format of one build holds the same disk: what QEMU, tar and zstd read is what the raw disk
//! has, and inspection shows the same partitions.

use std::process::Command;

use kiln_build::Formats;
use kiln_build::inspect::{Contents, inspect};

use crate::machine::Workshop;
use crate::programs::AMD64;
use crate::trees::Shape;

const ALL: Formats =
    Formats { raw: true, raw_zst: true, qcow2: true, vmdk: true, ova: true, vhd: true, gce: true };

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} must be installed: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

#[test]
fn all_formats_hold_the_same_disk() {
    let mut workshop = Workshop::new(AMD64, &[Shape::ubuntu(AMD64).base()]);
    workshop.options.formats = ALL;
    workshop.options.check = true;
    let built = workshop.build().unwrap();
    let at = |name: &str| workshop.output(name).to_str().unwrap().to_owned();
    let endings = ["raw", "raw.zst", "qcow2", "vmdk", "ova", "vhd", "gce.tar.gz"];
    let made: Vec<_> = built.files.iter().filter_map(|path| path.file_name()).collect();
    for ending in endings {
        assert!(made.iter().any(|name| *name == format!("ubuntu.{ending}").as_str()), "{made:?}");
    }

    let raw = at("ubuntu.raw");
    for (driver, ending) in [("qcow2", "qcow2"), ("vmdk", "vmdk"), ("vpc", "vhd")] {
        let other = at(&format!("ubuntu.{ending}"));
        run("qemu-img", &["compare", "-q", "-f", "raw", "-F", driver, &raw, &other]);
    }
    run("tar", &["-xzf", &at("ubuntu.gce.tar.gz"), "-C", &at("")]);
    run("qemu-img", &["compare", "-q", "-f", "raw", "-F", "raw", &raw, &at("disk.raw")]);
    run("zstd", &["-q", "-d", &at("ubuntu.raw.zst"), "-o", &at("unpacked")]);
    run("cmp", &[&raw, &at("unpacked")]);

    let expected = workshop.disk("ubuntu");
    for ending in ["qcow2", "vmdk", "ova", "vhd"] {
        let report = inspect(&workshop.output(&format!("ubuntu.{ending}")), 3).unwrap();
        assert_eq!(report.file.medium, Some(ending));
        match report.contents {
            // A longer disk has its second table elsewhere; what it holds is the same.
            Contents::Disk(disk) => {
                assert_eq!(disk.partitions, expected.partitions, "{ending}");
                assert_eq!(disk.slots, expected.slots, "{ending}");
            }
            other => panic!("{ending}: {other:?} is no disk"),
        }
    }
    for ending in ["raw.zst", "gce.tar.gz"] {
        let error = inspect(&workshop.output(&format!("ubuntu.{ending}")), 3).unwrap_err();
        assert!(error.to_string().contains("unpack it first"), "{error}");
    }
}

#[test]
fn formats_without_a_raw_disk_leave_none_and_are_the_same_again() {
    let endings = ["ova", "qcow2"];
    let mut seen = Vec::new();
    for threads in [1, 3] {
        let mut workshop = Workshop::new(AMD64, &[Shape::ubuntu(AMD64).base()]);
        workshop.options.formats = Formats { ova: true, qcow2: true, ..Formats::default() };
        workshop.options.threads = threads;
        workshop.build().unwrap();
        for absent in ["raw", "vmdk"] {
            assert!(!workshop.output(&format!("ubuntu.{absent}")).exists(), "{absent}");
        }
        let read = |ending| std::fs::read(workshop.output(&format!("ubuntu.{ending}"))).unwrap();
        seen.push(endings.map(read));
    }
    assert!(seen[0] == seen[1], "the number of threads shows");
}
