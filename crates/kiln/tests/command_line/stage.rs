//! `kiln stage` from outside: what it does to a root, and what it says.

use serde_json::Value;

use crate::fixture::{Bench, answer, kiln};

/// A step that works, one that cannot, and one behind it.
const SITE: &str = "\
stages:
  site.before:
    - files:
        - path: /etc/first
          content: hunter2
          permissions: 0600
  site:
    - name: Broken
      users:
        'no such:name': {}
    - directories:
        - path: /srv/data
          permissions: 0750
";

fn bench() -> Bench {
    let bench = Bench::new();
    for folder in ["root/etc", "root/srv"] {
        std::fs::create_dir_all(bench.path(folder)).unwrap();
    }
    std::fs::write(bench.path("site.yaml"), SITE).unwrap();
    bench
}

fn call(bench: &Bench, arguments: &[&str]) -> (i32, String, String) {
    answer(kiln(arguments).current_dir(bench.folder.path()))
}

#[test]
fn a_dry_run_shows_each_step_and_changes_nothing() {
    let bench = bench();
    let (code, stdout, stderr) =
        call(&bench, &["-q", "stage", "site", "site.yaml", "--root", "root", "--dry-run"]);
    assert_eq!(code, 0, "{stderr}");
    let first = stdout.lines().next().unwrap();
    assert_eq!(first, "site.before: file `/etc/first` (site.yaml:4:11)");
    assert!(stdout.contains("site: folder `/srv/data` (site.yaml:12:11)"), "{stdout}");
    assert!(!stdout.contains("hunter2"), "{stdout}");
    assert!(!bench.path("root/etc/first").exists() && !bench.path("root/srv/data").exists());
}

#[test]
fn a_step_that_fails_keeps_no_other_from_running() {
    let bench = bench();
    let arguments = ["-q", "stage", "site", "site.yaml", "--root", "root", "--json"];
    let (code, stdout, stderr) = call(&bench, &arguments);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(std::fs::read_to_string(bench.path("root/etc/first")).unwrap(), "hunter2");
    assert!(bench.path("root/srv/data").is_dir());
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["format"], "kiln.stage.v1");
    assert_eq!(report["reports"][0]["stage"], "site.before");
    assert!(!stdout.contains("hunter2") && !stderr.contains("hunter2"));
    let strict = [&arguments[..], &["--strict"]].concat();
    assert_eq!(call(&bench, &strict).0, 1);
}

#[test]
fn a_stage_that_nobody_uses_is_no_fault() {
    let bench = bench();
    let (code, stdout, stderr) =
        call(&bench, &["-q", "stage", "reconcile", "site.yaml", "--root", "root", "--strict"]);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    std::fs::write(bench.path("site.yaml"), "stages: {site: [{commands: [x]}]}\n").unwrap();
    let (code, stdout, stderr) =
        call(&bench, &["-q", "stage", "reconcile", "site.yaml", "--root", "root", "--strict"]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "", ""));
}
