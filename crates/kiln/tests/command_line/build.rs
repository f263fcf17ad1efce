//! `kiln build` from outside: results, errors, and what is left behind.

use crate::fixture::{Bench, answer, kiln, names, noise};

/// What a failed build may leave: nothing.
fn assert_nothing_is_left(bench: &Bench) {
    assert!(!bench.path("out").exists(), "left behind: {:?}", names(&bench.path("out")));
}

/// An error is one message with one hint, and no step or data beside it.
fn assert_is_one_clear_error(stderr: &str, parts: &[&str]) {
    for part in parts {
        assert!(stderr.contains(part), "`{part}` is missing in:\n{stderr}");
    }
    for word in ["error: ", "\nhint: "] {
        assert_eq!(stderr.matches(word).count(), 1, "{word}\n{stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_build_writes_all_files_and_prints_their_paths() {
    let bench = Bench::new();
    let source = bench.archive("a.tar", &[]);
    let (code, stdout, stderr) = answer(&mut bench.build(&[&source, "-f", "raw,qcow2"]));
    assert_eq!(code, 0, "{stderr}");
    let files =
        ["edge.efi", "edge.qcow2", "edge.raw", "edge.recovery.efi", "edge.root", "release.json"];
    assert_eq!(names(&bench.path("out")), files);
    assert_eq!(stdout.lines().count(), files.len());
    for path in stdout.lines() {
        assert!(std::path::Path::new(path).is_file(), "{path}");
    }
    assert!(stderr.contains("reading layers") && stderr.contains("edge 13 is ready"), "{stderr}");
    assert!(!stderr.contains('\r') && !stderr.contains('\u{1b}'), "no terminal, no bars: {stderr}");
}

#[test]
fn quiet_says_nothing_verbose_says_more_and_json_is_pure() {
    let bench = Bench::new();
    let source = bench.archive("a.tar", &[]);
    let (code, stdout, stderr) = answer(&mut bench.build(&[&source, "-q", "--json", "-f", "raw"]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let facts: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(facts["name"], "edge");
    assert_eq!(facts["version"], "13");
    assert_eq!(facts["files"].as_array().unwrap().len(), 5);
    let (_, _, plain) = answer(&mut bench.build(&[&source]));
    let (_, _, verbose) = answer(&mut bench.build(&[&source, "-v"]));
    assert!(verbose.contains("layer 1 of 1") && !plain.contains("layer 1 of 1"), "{verbose}");
}

#[test]
fn bars_are_drawn_on_a_terminal_and_never_into_the_data() {
    let bench = Bench::new();
    let source = bench.archive("a.tar", &[]);
    let built = bench.build(&[&source, "--json"]);
    let words: Vec<_> = std::iter::once(built.get_program())
        .chain(built.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let data = bench.text("data.json");
    let line = format!("{} > '{data}'", words.join(" "));
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").env("NO_COLOR", "1");
    let (code, terminal, _) = answer(&mut script);
    assert_eq!(code, 0, "{terminal}");
    assert!(terminal.contains("files") && terminal.contains(" of "), "{terminal:?}");
    assert!(!terminal.contains("\u{1b}[3"), "a colour in spite of NO_COLOR: {terminal:?}");
    let facts = std::fs::read_to_string(data).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&facts).is_ok(), "{facts}");
}

#[test]
fn each_error_is_clear_has_a_hint_and_leaves_nothing() {
    let bench = Bench::new();
    let good = bench.archive("a.tar", &[]);
    let bytes = std::fs::read(bench.path("a.tar")).unwrap();
    std::fs::write(bench.path("cut.tar"), &bytes[..bytes.len() / 2]).unwrap();
    // Noise is stored as it is: a byte of it is a byte of the layer.
    let large = bench.archive("large.tar", &[("srv/noise", &noise(2 << 20))]);
    let mut changed = std::fs::read(bench.path("large.tar")).unwrap();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    std::fs::write(bench.path("changed.tar"), changed).unwrap();
    std::fs::write(bench.path("noise.tar"), vec![0x5a; 4096]).unwrap();
    std::fs::create_dir(bench.path("empty")).unwrap();
    let place = |kind: &str, name: &str| format!("{kind}:{}", bench.text(name));
    let cases: Vec<(Vec<String>, &[&str])> = vec![
        (vec![place("tar", "none.tar")], &["cannot open archive", "none.tar", "typing"]),
        (vec![place("oci-archive", "none.tar")], &["none.tar", "typing"]),
        (vec![place("oci-archive", "cut.tar")], &["cut.tar"]),
        (vec![place("oci-archive", "changed.tar")], &["sha256:", "fetch or export"]),
        (vec![place("oci-archive", "noise.tar")], &["noise.tar", "byte 0", "fetch or export"]),
        (vec![place("tar", "noise.tar")], &["noise.tar"]),
        (vec![place("oci", "none")], &["none", "typing"]),
        (vec![place("dir", "none")], &["none", "typing"]),
        (vec![place("dir", "empty")], &["no kernel", "install"]),
        (vec![format!("{good}:other")], &["other", "latest"]),
        (vec![good.clone(), "--name=a/b".into()], &["a/b", "--name"]),
        (vec![large, "--slot-size=1M".into()], &["2.", "1.0 MiB", "--slot-size"]),
        (vec![good.clone(), "--module=nothing".into()], &["nothing"]),
        (
            vec![good.clone(), "--user=a".into(), "--password-file=/none".into()],
            &["/none", "typing"],
        ),
        (
            vec![good.clone(), "--user=a".into(), "--password-file=/dev/null".into()],
            &["/dev/null", "no password", "--ssh-key"],
        ),
        (
            vec![good.clone(), "--user=a".into(), "--ssh-key=/dev/null".into()],
            &["/dev/null", "no key", ".pub"],
        ),
        (vec![good.clone(), "--auth-file=/none".into()], &["/none", "typing"]),
        (vec![good.clone(), "--max-entries=3".into()], &["sha256:", "3 entries", "--max-entries"]),
        (vec![good.clone(), "--max-path-length=9".into()], &["--max-path-length"]),
        (vec![good.clone(), "--max-total-size=2K".into()], &["--max-total-size"]),
        (vec![good.clone(), "--max-file-size=1K".into()], &["vmlinuz", "--max-file-size"]),
    ];
    for (arguments, parts) in cases {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["-q"]).collect();
        let (code, stdout, stderr) = answer(&mut bench.build(&arguments));
        assert_eq!((code, stdout.as_str()), (1, ""), "{arguments:?}\n{stderr}");
        assert_is_one_clear_error(&stderr, parts);
        assert_nothing_is_left(&bench);
    }
}

#[test]
fn a_layer_of_zeros_needs_leave() {
    let bench = Bench::new();
    // More than the free 64 MiB; stored they are next to nothing.
    let source = bench.archive("a.tar", &[("srv/zeros", &vec![0; 80 << 20])]);
    let (code, _, stderr) = answer(&mut bench.build(&[&source, "-q", "--max-ratio", "2"]));
    assert_eq!(code, 1);
    assert_is_one_clear_error(&stderr, &["sha256:", "--max-ratio"]);
    assert_nothing_is_left(&bench);
}

#[test]
fn older_files_survive_a_failed_build() {
    let bench = Bench::new();
    let source = bench.archive("a.tar", &[]);
    assert_eq!(answer(&mut bench.build(&[&source])).0, 0);
    let before = std::fs::read(bench.path("out/edge.root")).unwrap();
    let large = bench.archive("b.tar", &[("srv/noise", &noise(2 << 20))]);
    assert_eq!(answer(&mut bench.build(&[&large, "--slot-size=1M"])).0, 1);
    assert_eq!(std::fs::read(bench.path("out/edge.root")).unwrap(), before);
    assert_eq!(
        names(&bench.path("out")),
        ["edge.efi", "edge.raw", "edge.recovery.efi", "edge.root", "release.json"]
    );
}

#[test]
fn wrong_usage_is_exit_code_2_and_does_nothing() {
    let bench = Bench::new();
    let out = bench.text("out");
    for arguments in [
        &["build", "-o", &out][..],
        &["build", "oci:a"],
        &["build", "a.tar", "-o", &out],
        &["build", "oci:a", "--containerfile", "b", "-o", &out],
        &["build", "oci:a", "--target", "b", "-o", &out],
        &["build", "--containerfile", "a", "--build-arg", "b", "-o", &out],
        &["build", "oci:a", "--cache", "b", "--no-cache", "-o", &out],
        &["build", "oci:a", "-q", "-v", "-o", &out],
        &["build", "oci:a", "--max-ratio", "0", "-o", &out],
        &["build", "oci:a", "--compress", "xz", "-o", &out],
        &["inspect"],
        &["lint"],
        &["run"],
        &["fire"],
        &[],
    ] {
        let (code, stdout, stderr) = answer(&mut kiln(arguments));
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}\n{stderr}");
        assert!(!stderr.is_empty());
    }
    assert_nothing_is_left(&bench);
}
