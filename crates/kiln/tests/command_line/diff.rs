//! What `kiln diff` and the unit that keeps the identity do on a folder that stands for a machine.

use std::fs;

use serde_json::Value;

use crate::fixture::{Bench, answer, kiln};

#[test]
fn local_changes_are_shown_and_secrets_are_not() {
    let bench = Bench::new();
    let machine = bench.text("machine");
    let call = |arguments: &[&str]| answer(kiln(arguments).args(["--machine", &machine]));
    let (code, _, stderr) = call(&["diff"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("hint: "), "{stderr}");

    for folder in ["machine/run/kiln/etc/lower", "machine/etc"] {
        fs::create_dir_all(bench.path(folder)).unwrap();
        fs::write(bench.path(folder).join("motd"), "one\n").unwrap();
        fs::write(bench.path(folder).join("shadow"), "root:*:1::::::\n").unwrap();
    }
    let (code, stdout, stderr) = call(&["diff"]);
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    fs::write(bench.path("machine/etc/motd"), "two\n").unwrap();
    fs::write(bench.path("machine/etc/shadow"), "root:$y$j9T$secret:1::::::\n").unwrap();
    let (code, stdout, stderr) = call(&["diff"]);
    assert_eq!(
        (code, stdout.as_str()),
        (0, "changed  /etc/motd\nchanged  /etc/shadow\n"),
        "{stderr}"
    );
    let (_, stdout, _) = call(&["diff", "--text", "motd", "/etc/shadow"]);
    assert!(stdout.contains("-one\n+two\n") && stdout.contains("+root:<hidden "), "{stdout}");
    assert!(!stdout.contains("secret"), "{stdout}");
    let (_, stdout, _) = call(&["diff", "--json"]);
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["format"], "kiln.diff.v1");
    assert_eq!(report["changes"][1]["path"], "/etc/shadow");
    let (code, _, stderr) = call(&["diff", "/var"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("/var is not in /etc"), "{stderr}");
}

#[test]
fn the_identity_is_kept_once() {
    let bench = Bench::new();
    let machine = bench.text("machine");
    fs::create_dir_all(bench.path("machine/etc")).unwrap();
    fs::write(bench.path("machine/etc/hostname"), "edge-7\n").unwrap();
    let call = || answer(kiln(&["keep-identity"]).args(["--machine", &machine]));
    assert_eq!(call().1, "kept /etc/hostname\n");
    assert_eq!(call(), (0, String::new(), String::new()));
    let kept = fs::read_to_string(bench.path("machine/state/identity/hostname")).unwrap();
    assert_eq!(kept, "edge-7\n");
}
