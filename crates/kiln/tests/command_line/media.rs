//! Every format of a disk from the command line: made without privileges and without any other
//! program, and read by programs that know nothing of Kiln.

use std::path::Path;
use std::process::Command;

use crate::fixture::{Bench, answer, kiln, names, noise};

const FORMATS: &str = "raw,raw.zst,qcow2,vmdk,ova,vhd,gce";
const FILES: [&str; 7] = [
    "edge.gce.tar.gz",
    "edge.ova",
    "edge.qcow2",
    "edge.raw",
    "edge.raw.zst",
    "edge.vhd",
    "edge.vmdk",
];

/// The build as `nobody`, where the tests run as root; the environment is empty in any case, so
/// there is no `PATH`.
fn unprivileged(bench: &Bench, source: &str) -> Command {
    let build = bench.build(&[source, "-f", FORMATS, "--check"]);
    let is_root = std::fs::metadata("/proc/self")
        .is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !is_root {
        return build;
    }
    open(&bench.path(""));
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]);
    // The program itself may lie where only root looks.
    let copy = bench.path("kiln");
    std::fs::copy(build.get_program(), &copy).unwrap();
    command.arg(copy).args(build.get_args()).env_clear();
    command
}

/// Lets anybody write into a folder and read what is in it.
fn open(folder: &Path) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder, mode).unwrap();
}

fn run(program: &str, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = answer(Command::new(program).args(arguments));
    assert_eq!(code, 0, "{program} {arguments:?}: {stdout}{stderr}");
    stdout
}

#[test]
fn every_format_is_made_in_one_build_and_holds_the_same_disk() {
    let bench = Bench::new();
    let source = bench.archive("a.tar", &[("srv/noise", &noise(5 << 20))]);
    let (code, stdout, stderr) = answer(&mut unprivileged(&bench, &source));
    assert_eq!(code, 0, "{stderr}");
    let step = stderr.find("reading media back");
    assert!(step.is_some() && step > stderr.find("writing media"), "{stderr}");
    let found = names(&bench.path("out"));
    let disks: Vec<_> = found.iter().filter(|name| FILES.contains(&name.as_str())).collect();
    assert_eq!(disks, FILES);
    assert!(FILES.iter().all(|name| stdout.contains(name)), "{stdout}");

    let at = |name: &str| bench.text(&format!("out/{name}"));
    run("tar", &["-xf", &at("edge.ova"), "-C", &at("")]);
    let raw = at("edge.raw");
    let inner = [("qcow2", "edge.qcow2"), ("vmdk", "edge.vmdk"), ("vpc", "edge.vhd")];
    for (driver, name) in inner {
        run("qemu-img", &["compare", "-q", "-f", "raw", "-F", driver, &raw, &at(name)]);
    }
    run("qemu-img", &["check", "-q", "-f", "qcow2", &at("edge.qcow2")]);
    let plain = std::fs::metadata(&raw).unwrap().len();
    let vhd = std::fs::metadata(at("edge.vhd")).unwrap().len();
    assert_eq!(vhd, plain.next_multiple_of(1 << 20) + 512);

    run("tar", &["-xzf", &at("edge.gce.tar.gz"), "-C", &at("")]);
    assert_eq!(std::fs::metadata(at("disk.raw")).unwrap().len(), 1 << 30);
    run("qemu-img", &["compare", "-q", "-f", "raw", "-F", "raw", &raw, &at("disk.raw")]);
    run("zstd", &["-q", "-d", &at("edge.raw.zst"), "-o", &at("unpacked")]);
    run("cmp", &[&raw, &at("unpacked")]);

    // Kiln itself looks into those that can be read anywhere.
    for (name, medium) in [("qcow2", "qcow2"), ("vmdk", "vmdk"), ("ova", "ova"), ("vhd", "vhd")] {
        let (code, stdout, stderr) =
            answer(&mut kiln(&["inspect", "--json", &at(&format!("edge.{name}"))]));
        assert_eq!(code, 0, "{name}: {stderr}");
        let facts: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(facts["file"]["medium"], medium);
        assert_eq!(facts["disk"]["partitions"].as_array().map(Vec::len), Some(2), "{name}");
    }
    for name in ["gce.tar.gz", "raw.zst"] {
        let (code, _, stderr) = answer(&mut kiln(&["inspect", &at(&format!("edge.{name}"))]));
        assert!(code == 1 && stderr.contains("unpack it first"), "{stderr}");
    }
}

#[test]
fn two_builds_give_the_same_bytes_in_every_format() {
    let bench = Bench::new();
    let source = bench.archive("a.tar", &[("srv/text", &[b'k'; 300_000])]);
    let build = |threads: &str| {
        let build = bench.build(&[&source, "-q", "-f", FORMATS]);
        let mut arguments: Vec<_> = build.get_args().map(ToOwned::to_owned).collect();
        let place = arguments.iter().position(|argument| argument == "--threads").unwrap();
        arguments[place + 1] = threads.into();
        let mut command = Command::new(build.get_program());
        let (code, _, stderr) = answer(command.env_clear().args(arguments));
        assert_eq!(code, 0, "{stderr}");
        let bytes = FILES.map(|name| std::fs::read(bench.path("out").join(name)).unwrap());
        std::fs::remove_dir_all(bench.path("out")).unwrap();
        bytes
    };
    let (one, other) = (build("1"), build("3"));
    for ((name, one), other) in FILES.iter().zip(one).zip(other) {
        assert!(one == other, "{name} differs");
    }
}
