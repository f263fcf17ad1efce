//! The other verbs from outside: lint, inspect, run, completion, manual pages and the reference.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::fixture::{Bench, answer, kiln, names};
use serde_json::Value;

#[test]
fn every_verb_shows_examples() {
    let (code, help, _) = answer(&mut kiln(&["--help"]));
    assert_eq!(code, 0);
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let verbs: Vec<&str> =
        listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(verbs.len() >= 7, "{verbs:?}");
    for verb in verbs {
        for flag in ["--help", "-h"] {
            let (code, help, stderr) = answer(&mut kiln(&[verb, flag]));
            assert_eq!((code, stderr.as_str()), (0, ""), "{verb}");
            assert!(help.contains("\nExamples:\n  kiln "), "{verb} {flag}:\n{help}");
        }
    }
    let (code, version, _) = answer(&mut kiln(&["--version"]));
    assert_eq!((code, version.trim()), (0, concat!("kiln ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn lint_says_yes_with_0_no_with_3_and_trouble_with_1() {
    let bench = Bench::new();
    let clean = bench.archive("clean.tar", &[]);
    let key: (&str, &[u8]) = ("etc/ssh/ssh_host_rsa_key", b"-----BEGIN RSA PRIVATE KEY-----\n");
    let bad = bench.archive("bad.tar", &[key]);
    let lint = |arguments: &[&str]| {
        let mut command = kiln(&["lint", "--platform", "linux/amd64"]);
        answer(command.args(arguments).env("TMPDIR", bench.folder.path()))
    };
    let (code, stdout, stderr) = lint(&[&clean]);
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    assert!(stderr.contains("keeps all"), "{stderr}");
    let (code, stdout, _) = lint(&[&clean, "--json"]);
    assert_eq!((code, stdout.trim()), (0, "[]"));

    let (code, stdout, stderr) = lint(&[&bad, "-q"]);
    assert_eq!((code, stderr.as_str()), (3, ""));
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{stdout}");
    assert!(lines[0].starts_with("error: [ssh-host-keys] "), "{stdout}");
    assert!(lines[1].starts_with("  fix: "), "{stdout}");
    let (code, stdout, _) = lint(&[&bad, "--json"]);
    let findings: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, findings.as_array().unwrap().len()), (3, 1));
    assert_eq!(findings[0]["rule"], "ssh-host-keys");
    assert_eq!(findings[0]["path"], "/etc/ssh/ssh_host_rsa_key");
    assert_eq!(lint(&[&bad, "--allow", "ssh-host-keys"]).0, 0);

    for arguments in [&["oci:/none"][..], &[&bad, "--allow", "no-such-rule"]] {
        let (code, stdout, stderr) = lint(arguments);
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        assert!(stderr.contains("error: ") && stderr.contains("\nhint: "), "{stderr}");
    }
}

#[test]
fn inspect_tells_programs_what_it_tells_people() {
    let bench = Bench::new();
    let source = bench.archive("a.tar", &[]);
    let (_, built, stderr) = answer(&mut bench.build(&[&source, "-q", "--json"]));
    let built: Value = serde_json::from_str(&built).expect(&stderr);
    let disk = bench.text("out/edge.raw");
    let (code, stdout, stderr) = answer(&mut kiln(&["inspect", &disk, "--json"]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert!(report["disk"]["slots"].as_array().is_some_and(|slots| !slots.is_empty()), "{stdout}");
    let hash = built["root_hash"].as_str().unwrap();
    assert!(stdout.contains(hash), "{stdout}");
    let (code, text, _) = answer(&mut kiln(&["inspect", &disk]));
    assert_eq!(code, 0);
    assert!(text.contains("edge") && text.contains(&hash[..12]), "{text}");
    for file in [&source[..], "/none", "/proc/self/exe"] {
        let (code, stdout, stderr) = answer(&mut kiln(&["inspect", file]));
        assert_eq!((code, stdout.as_str()), (1, ""), "{file}: {stderr}");
        assert!(stderr.contains("error: ") && stderr.contains("\nhint: "), "{stderr}");
    }
}

#[test]
fn run_and_bootstrap_say_what_to_do() {
    let bench = Bench::new();
    let taken = format!("oci:{}", bench.folder.path().display());
    let new = format!("oci:{}", bench.text("new"));
    for (arguments, part) in [
        (&["run", "/none"][..], "install qemu-system"),
        (&["run", "/none", "--architecture", "vax"], "amd64"),
        (&["bootstrap", "debian", "trixie", "-o", &taken], "exists already"),
        (&["bootstrap", "debian", "trixie", "-o", &new], "mmdebstrap"),
        (&["bootstrap", "debian", "trixie", "-o", "dir:a"], "oci:DIR"),
        (&["bootstrap", "debian", "-x", "-o", &new], "-x"),
    ] {
        let (code, stdout, stderr) = answer(kiln(arguments).env("PATH", "/none"));
        assert!(code == 1 || code == 2, "{arguments:?}: {stderr}");
        assert_eq!(stdout, "");
        assert!(stderr.contains(part), "{part}: {stderr}");
        assert!(code == 2 || stderr.contains("\nhint: "), "{stderr}");
    }
    assert!(!bench.path("new").exists());
}

/// Runs a checker if it is installed; tells whether it was.
fn check(command: &mut Command, input: Stdio) -> bool {
    match command.stdin(input).output() {
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(output.status.success() && said.is_empty(), "{command:?}: {said}");
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{command:?}");
            false
        }
    }
}

#[test]
fn completion_scripts_are_scripts() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, stderr) = answer(&mut kiln(&["completion", shell]));
        assert_eq!((code, stderr.as_str()), (0, ""));
        for word in ["bootstrap", "containerfile", "max-ratio"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
        let path = bench.path(shell);
        std::fs::write(&path, script).unwrap();
        let is_checked = check(Command::new(shell).arg("-n").arg(&path), Stdio::null());
        assert!(is_checked || shell != "bash", "bash is needed for this test");
    }
}

#[test]
fn manual_pages_are_without_warnings() {
    let bench = Bench::new();
    let folder = bench.path("man");
    let (code, _, stderr) = answer(kiln(&["manual"]).arg(&folder));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let pages = names(&folder);
    for page in ["kiln.1", "kiln-build.1", "kiln-bootstrap-debian.1", "kiln-run.1"] {
        assert!(pages.contains(&page.to_owned()), "{pages:?}");
    }
    let mut checked = 0;
    for page in &pages {
        let path = folder.join(page);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(".TH ") && text.contains("SYNOPSIS"), "{page}");
        let file = || Stdio::from(std::fs::File::open(&path).unwrap());
        let mut groff = Command::new("groff");
        groff.args(["-k", "-ww", "-man", "-Tutf8", "-z"]);
        checked += usize::from(check(&mut groff, file()));
        let mut mandoc = Command::new("mandoc");
        mandoc.args(["-Tlint", "-Werror"]);
        checked += usize::from(check(&mut mandoc, file()));
    }
    if checked == 0 {
        eprintln!("not checked: neither groff nor mandoc is installed");
    }
}

#[test]
fn the_reference_is_what_the_program_says() {
    let bench = Bench::new();
    let fresh = bench.path("reference");
    let (code, _, stderr) = answer(kiln(&["manual", "--format", "markdown"]).arg(&fresh));
    assert_eq!(code, 0, "{stderr}");
    let stored = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference"));
    let remedy = "run `cargo xtask documents`";
    assert_eq!(names(stored), names(&fresh), "{remedy}");
    for name in names(&fresh) {
        let read = |folder: &Path| std::fs::read_to_string(folder.join(&name)).unwrap();
        let (fresh, stored) = (read(&fresh), read(stored));
        let line = fresh.lines().zip(stored.lines()).find(|(fresh, stored)| fresh != stored);
        assert!(fresh == stored, "{name} is stale, {remedy}: {line:?}");
    }
    for (page, part) in [("limits.md", "--max-ratio"), ("exit-codes.md", "| 3 |")] {
        assert!(std::fs::read_to_string(fresh.join(page)).unwrap().contains(part), "{page}");
    }
}
