//! A disk that fills up half-way: one clear error, and nothing under its final name.
//!
//! A bound on file sizes stands for a full disk everywhere, since the same calls fail at the same
//! places; a small file system of its own is used too where tests may mount one.

use std::process::Command;

use crate::fixture::{Bench, answer, names, noise};

/// Runs a build below `sh`, after the words of `before`.
fn build_after(bench: &Bench, before: &str, source: &str) -> (i32, String, String) {
    let build = bench.build(&[source, "-q"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{before}\n\"$@\""), "sh"]);
    shell.arg(build.get_program()).args(build.get_args());
    answer(&mut shell)
}

fn assert_is_told(code: i32, stderr: &str) {
    assert_eq!(code, 1, "{stderr}");
    for word in ["error: ", "\nhint: ", "choose another folder with `-o`"] {
        assert_eq!(stderr.matches(word).count(), 1, "{word}\n{stderr}");
    }
}

#[test]
fn a_file_that_may_not_grow_is_one_error_and_leaves_nothing() {
    let bench = Bench::new();
    let source = bench.archive("a.tar", &[("srv/noise", &noise(12 << 20))]);
    // In blocks of 512 bytes: while contents are encoded, while the root is written, while the
    // disk is (it is 128 MiB long, all else is not a tenth of that).
    for blocks in [8 << 11, 12 << 11, 40 << 11] {
        let before = format!("trap '' XFSZ; ulimit -f {blocks}");
        let (code, stdout, stderr) = build_after(&bench, &before, &source);
        assert_is_told(code, &stderr);
        assert_eq!(stdout, "");
        assert!(!bench.path("out").exists(), "{blocks}: {:?}", names(&bench.path("out")));
    }
    let (code, _, stderr) = build_after(&bench, "trap '' XFSZ; ulimit -f 1000000", &source);
    assert_eq!(code, 0, "the bound was what failed above: {stderr}");
}

#[test]
fn a_full_file_system_is_one_error_and_leaves_nothing() {
    let bench = Bench::new();
    let source = bench.archive("a.tar", &[("srv/noise", &noise(12 << 20))]);
    let small = bench.path("small");
    std::fs::create_dir(&small).unwrap();
    // Nobody but this test sees the mount, and it ends with the shell.
    let outcome = |size: &str| {
        let build = bench.build(&[&source, "-q", "-f", "raw,qcow2"]);
        let script = "mount -t tmpfs -o size=$1 none \"$2\" || exit 77; folder=$2; shift 2
            \"$@\" -o \"$folder/out\"; code=$?; ls -A \"$folder\"; exit $code";
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-c", script, "sh", size]).arg(&small);
        // The last `-o` is replaced by the one in the script.
        let arguments: Vec<_> = build.get_args().collect();
        let kept = &arguments[..arguments.len() - 2];
        answer(shell.arg(build.get_program()).args(kept))
    };
    let (code, _, stderr) = outcome("200m");
    if code != 0 && (code == 77 || stderr.contains("unshare")) {
        eprintln!("not checked: this user may not mount: {stderr}");
        return;
    }
    assert_eq!(code, 0, "{stderr}");
    // The same three places as above.
    for size in ["8m", "16m", "30m"] {
        let (code, left, stderr) = outcome(size);
        assert_is_told(code, &stderr);
        assert_eq!(left, "", "{size}");
    }
}
