//! The programs of Elemental and cOS from outside: links to this one.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::Value;

use crate::fixture::{Bench, answer, kiln, names};
use crate::life::build;
use crate::machine::Machine;

/// A call of a program by a link, as an image has them.
fn linked(bench: &Bench, program: &str, arguments: &[&str]) -> Command {
    let link = bench.path(program);
    if !link.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kiln"), &link).unwrap();
    }
    let mut command = Command::new(link);
    command.env_clear().args(arguments);
    command
}

/// A machine with one system that runs from its disk.
fn machine(bench: &Bench) -> Machine<'_> {
    let source = bench.archive("edge.tar", &[("usr/lib/kiln/recipe.json", b"{}")]);
    let root_hash = build(bench, &source);
    Machine::of_built(bench, &root_hash)
}

fn on_machine(bench: &Bench, program: &str, arguments: &[&str]) -> (i32, String, String) {
    let machine = bench.text("machine");
    answer(linked(bench, program, arguments).args(["--machine", &machine]))
}

/// All that lies on the disk and in the state of the machine.
fn bytes(bench: &Bench) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for folder in ["machine/dev", "machine/state/kiln"] {
        for name in names(&bench.path(folder)) {
            let path = format!("{folder}/{name}");
            if bench.path(&path).is_file() {
                all.push((path.clone(), fs::read(bench.path(&path)).unwrap()));
            }
        }
    }
    all
}

#[test]
fn an_installation_onto_the_disk_that_runs_leaves_every_byte_alone() {
    let bench = Bench::new();
    let _machine = machine(&bench);
    let before = bytes(&bench);
    assert!(before.len() >= 4, "there is a disk");
    for (program, arguments) in [
        ("elemental", &["install", "/dev/vda"][..]),
        ("elemental", &["install", "/dev/vda", "--force", "--reboot"]),
        ("cos-installer", &["/dev/vda"]),
    ] {
        let (code, stdout, stderr) = on_machine(&bench, program, arguments);
        assert_eq!((code, stdout.as_str()), (0, ""), "{arguments:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("nothing to do: this machine runs from "), "{stderr}");
    }
    // The disk stands in a file.
    fs::create_dir_all(bench.path("machine/etc/elemental")).unwrap();
    let config = bench.path("machine/etc/elemental/config.yaml");
    fs::write(&config, "install:\n  target: /dev/vda\n").unwrap();
    let (code, _, stderr) = on_machine(&bench, "elemental", &["install"]);
    assert_eq!(code, 0, "{stderr}");
    let note = "note: the disk is /dev/vda: /etc/elemental/config.yaml:2\nnothing to do: ";
    assert!(stderr.starts_with(note), "{stderr}");
    // In recovery the same call does not replace a system that starts.
    let facts = bench.path("machine/run/kiln/boot");
    let text = fs::read_to_string(&facts).unwrap().replace("mode=system", "mode=recovery");
    fs::write(&facts, text.replace("kiln-root-a", "kiln-recovery")).unwrap();
    let (code, _, stderr) = on_machine(&bench, "elemental", &["install", "/dev/vda"]);
    assert!(code == 0 && stderr.contains("this is its recovery"), "{stderr}");
    let (code, _, stderr) = on_machine(&bench, "cos-deploy", &["--no-verify", "--no-cosign"]);
    assert!(code == 1 && stderr.contains("has a system that starts"), "{stderr}");
    assert!(before == bytes(&bench), "something was written");
    // A machine that cannot be read is no reason to go on.
    fs::write(&facts, "mode=system\n").unwrap();
    let (code, _, stderr) = on_machine(&bench, "elemental", &["install", "/dev/vda"]);
    assert!(code == 1 && stderr.contains("error: "), "{stderr}");
    assert!(before == bytes(&bench), "something was written");
}

#[test]
fn words_go_through_the_same_command_line() {
    let bench = Bench::new();
    let machine = machine(&bench);
    let (code, stdout, stderr) = on_machine(&bench, "elemental", &["state"]);
    let status: Value = serde_json::from_str(&stdout).expect(&stderr);
    assert_eq!((code, &status["format"]), (0, &"kiln.status.v1".into()));
    let (code, _, stderr) = on_machine(&bench, "cos-upgrade", &["--no-verify", "--reboot"]);
    assert!(code == 1 && stderr.contains("follows no reference"), "{stderr}");
    let missing = ["upgrade", "--no-verify", "--reboot", "-d", "oci-archive:/none.tar"];
    let (code, _, stderr) = on_machine(&bench, "elemental", &missing);
    assert!(code == 1 && stderr.contains("/none.tar"), "{stderr}");
    assert_eq!(machine.entries(), ["kiln-00000001+3-0.efi"], "nothing was replaced");

    let wish = bench.path("machine/state/kiln/reset");
    let (code, _, stderr) = on_machine(&bench, "cos-reset", &[]);
    assert_eq!(code, 0, "{stderr}");
    assert!(fs::read_to_string(&wish).unwrap().contains("keep var\n"));
    let (code, _, stderr) = on_machine(&bench, "elemental", &["reset", "--reset-persistent"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(!fs::read_to_string(&wish).unwrap().contains("keep "));
}

#[test]
fn documents_of_a_call_are_files_folders_and_texts() {
    let bench = Bench::new();
    let made = bench.text("made");
    let document =
        |text: &str| format!("stages: {{site: [{{commands: [\"printf {text} >> {made}\"]}}]}}");
    fs::create_dir_all(bench.path("oem/deep")).unwrap();
    fs::write(bench.path("oem/deep/b.yaml"), document("b")).unwrap();
    fs::write(bench.path("oem/a.yaml"), document("a")).unwrap();
    fs::write(bench.path("oem/c.txt"), document("c")).unwrap();
    let oem = bench.text("oem");
    let text = document("d");
    let call = |program: &str, arguments: &[&str]| {
        let _ = fs::remove_file(&made);
        let (code, _, stderr) = answer(&mut linked(&bench, program, arguments));
        assert_eq!(code, 0, "{stderr}");
        fs::read_to_string(&made).unwrap_or_default()
    };
    assert_eq!(call("elemental", &["cloud-init", "-s", "site", &oem]), "ab");
    assert_eq!(call("elemental", &["cloud-init", "--stage", "site", &oem, &text]), "abd");
    assert_eq!(call("yip", &["-s", "site", &format!("{oem}/a.yaml")]), "a");
    assert_eq!(call("yip", &["-s", "other", &oem]), "");
}

#[test]
fn what_has_no_counterpart_is_wrong_usage_with_a_hint() {
    let bench = Bench::new();
    for (program, arguments, expected) in [
        ("elemental", &["install", "/dev/vda", "--cloudinit", "x"][..], "`--cloud-init` is near"),
        ("elemental", &["build-iso", "x"], "hint: `kiln build IMAGE`"),
        ("elemental", &["upgade"], "`upgrade` is near"),
        ("elemental", &["upgrade", "--cosign"], "docs/signing.md"),
        ("cos-deploy", &["--wrong"], "hint: `cos-deploy --help` lists"),
        ("yip", &[], "is missing"),
    ] {
        let (code, stdout, stderr) = answer(&mut linked(&bench, program, arguments));
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(expected), "{stderr}");
    }
    for (program, arguments, expected) in [
        ("elemental", &["--help"][..], "elemental upgrade-recovery"),
        ("elemental", &["install", "-h"], "--eject-cd"),
        ("cos-deploy", &["--help"], "Carried out as: kiln recovery install"),
    ] {
        let (code, stdout, stderr) = answer(&mut linked(&bench, program, arguments));
        assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
        assert!(stdout.contains(expected) && !stdout.contains("--machine"), "{stdout}");
    }
    // By the name of the call alone, and not by that of the file.
    let version = concat!("kiln ", env!("CARGO_PKG_VERSION"));
    let (code, stdout, _) = answer(kiln(&["version"]).arg0("elemental"));
    assert_eq!((code, stdout.trim()), (0, version));
}
