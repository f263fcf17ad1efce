//! `kiln validate` and `kiln explain` from outside: what they print, word for word.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use crate::fixture::{Bench, answer, kiln};

/// The misspelt key of Elemental's own example, and a password in clear.
const STAGES: &str = "\
stages:
  initramfs:
    - name: Setup users
      users:
        joe:
          passwd: \"hunter2\"
      files:
        - path: /etc/motd
          permsisions: 0600
          content: |
            Welcome
";

const PROVISION: &str = "\
apiVersion: kiln.dev/v1alpha1
kind: Provision
files:
  /etc/motd:
    text: hello
  /etc/token:
    text: hunter2
    secret: true
commands:
  boot:
    - k3s agent --token hunter2
";

fn write(bench: &Bench, name: &str, text: &str) {
    std::fs::write(bench.path(name), text).unwrap();
}

fn call(bench: &Bench, arguments: &[&str]) -> (i32, String, String) {
    answer(kiln(arguments).current_dir(bench.folder.path()))
}

#[test]
fn a_misspelt_key_is_shown_with_its_line_and_what_was_meant() {
    let bench = Bench::new();
    write(&bench, "stages.yaml", STAGES);
    let (code, stdout, stderr) = call(&bench, &["validate", "stages.yaml"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let expected = "\
warning[unknown-key]: a file has no key `permsisions`, it is ignored
 --> stages.yaml:9:11
  |
9 |           permsisions: 0600
  |           ^^^^^^^^^^^
  |
  = hint: did you mean `permissions`?
";
    assert!(stdout.contains(expected), "{stdout}");
    assert!(stderr.starts_with("1 document: 0 errors, "), "{stderr}");
    assert!(!stdout.contains("hunter2"), "{stdout}");
    assert!(!stdout.contains('\x1b'), "{stdout}");
    let (code, _, stderr) = call(&bench, &["-q", "validate", "stages.yaml", "--strict"]);
    assert_eq!((code, stderr.as_str()), (1, ""));
}

#[test]
fn what_two_dialects_claim_is_an_error_that_names_both_lines() {
    let bench = Bench::new();
    write(&bench, "stages.yaml", STAGES);
    write(&bench, "own.yaml", PROVISION);
    let (code, stdout, _) = call(&bench, &["validate", "stages.yaml", "own.yaml"]);
    assert_eq!(code, 1, "{stdout}");
    let start = stdout.find("error[claimed-twice]").unwrap();
    let snippet = stdout[start..].split("\n\n").next().unwrap();
    assert!(
        snippet.starts_with(
            "error[claimed-twice]: the path `/etc/motd` is claimed by a cloud-config and by a Provision document\n"
        ),
        "{snippet}"
    );
    for part in [
        " --> own.yaml:4:3\n",
        "4 |   /etc/motd:\n  |   ^^^^^^^^^\n",
        " ::: stages.yaml:8:",
        "a cloud-config claims it here",
        "= hint: leave it to one of the two",
    ] {
        assert!(snippet.contains(part), "{part}: {snippet}");
    }
}

#[test]
fn programs_get_json_and_sarif() {
    let bench = Bench::new();
    write(&bench, "stages.yaml", STAGES);
    write(&bench, "bad.yaml", "apiVersion: kiln.dev/v1alpha1\nkind: Provision\nusres: {}\n");
    let files = ["validate", "stages.yaml", "bad.yaml"];
    let (code, stdout, stderr) = call(&bench, &[&files[..], &["--json"]].concat());
    assert_eq!((code, stderr.as_str()), (1, ""));
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["format"], "kiln.validate.v1");
    assert_eq!(report["valid"], false);
    assert_eq!(report["documents"][0]["dialect"], "cloud-config");
    assert_eq!(report["documents"][1]["dialect"], "provision");
    let all = report["diagnostics"].as_array().unwrap();
    let last = all.last().unwrap();
    assert_eq!(last["code"], "unknown-key");
    assert_eq!(last["hint"], "did you mean `users`?");
    let place = serde_json::json!({
        "source": "bad.yaml", "line": 3, "column": 1, "end_line": 3, "end_column": 6
    });
    assert_eq!(last["place"], place);

    let (code, stdout, _) = call(&bench, &[&files[..], &["--sarif"]].concat());
    assert_eq!(code, 1);
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["version"], "2.1.0");
    let results = report["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), all.len());
    let last = results.last().unwrap();
    assert_eq!((&last["ruleId"], &last["level"]), (&"unknown-key".into(), &"error".into()));
    let region = &last["locations"][0]["physicalLocation"]["region"];
    assert_eq!((&region["startLine"], &region["startColumn"]), (&3.into(), &1.into()));
    assert!(!stdout.contains("hunter2"));
}

#[test]
fn the_plan_is_explained_in_order_and_without_secrets() {
    let bench = Bench::new();
    write(&bench, "own.yaml", PROVISION);
    let (code, stdout, stderr) = call(&bench, &["explain", "own.yaml"]);
    let expected = "\
first-boot
  file            /etc/motd text=(5 bytes)
                  from own.yaml:4
  file            /etc/token secret=true text=<hidden>
                  from own.yaml:6

boot
  command         k3s agent --token *******
                  from own.yaml:11
";
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, expected, ""));
    let (code, stdout, _) = call(&bench, &["explain", "own.yaml", "--json"]);
    assert_eq!(code, 0);
    let report: Value = serde_json::from_str(&stdout).unwrap();
    let first = &report["operations"][0];
    assert_eq!((&first["stage"], &first["origin"]["line"]), (&"first-boot".into(), &4.into()));
    assert_eq!(first["file"]["path"], "/etc/motd");
    assert!(!stdout.contains("hunter2"), "{stdout}");
    let (code, stdout, _) = call(&bench, &["explain", "own.yaml", "--show", "/etc/motd"]);
    assert_eq!((code, stdout.as_str()), (0, "hello"));
    let (code, stdout, _) = call(&bench, &["explain", "own.yaml", "--show", "/etc/token"]);
    assert_eq!((code, stdout.as_str()), (0, "<hidden>\n"));
    let (code, stdout, stderr) = call(&bench, &["explain", "own.yaml", "--show", "/etc/none"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(
        stderr.contains("no document writes /etc/none") && stderr.contains("hint: "),
        "{stderr}"
    );
}

#[test]
fn a_plan_of_any_dialect_can_be_written_as_kilns_own() {
    let bench = Bench::new();
    write(&bench, "stages.yaml", STAGES);
    let (code, own, stderr) = call(&bench, &["explain", "stages.yaml", "--provision"]);
    assert_eq!(code, 0, "{stderr}");
    write(&bench, "own.yaml", &own);
    let (code, again, stderr) = call(&bench, &["explain", "own.yaml", "--provision"]);
    assert_eq!((code, again), (0, own), "{stderr}");
}

#[test]
fn what_is_packed_in_a_config_is_shown_unpacked() {
    let bench = Bench::new();
    // `hello` and a line break, gzip and base64.
    let packed = "H4sIAAAAAAAAA8tIzcnJ5wIAIDA6NgYAAAA=";
    let config = format!(
        "{{\"ignition\": {{\"version\": \"3.4.0\"}}, \"storage\": {{\"files\": [{{\"path\": \"/etc/x\", \
         \"contents\": {{\"compression\": \"gzip\", \"source\": \"data:;base64,{packed}\"}}}}]}}}}"
    );
    write(&bench, "a.ign", &config);
    let (code, stdout, stderr) = call(&bench, &["explain", "a.ign", "--show", "/etc/x"]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "hello\n", ""));
}

#[test]
fn documents_come_from_standard_input_and_bad_ones_are_refused() {
    let bench = Bench::new();
    let mut command = kiln(&["validate", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"stages: [\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout.contains("--> <stdin>:1:9"), "{stdout}");

    std::fs::write(bench.path("latin1.yaml"), b"stages:\n  boot: \"\xe4\"\n").unwrap();
    let (code, stdout, _) = call(&bench, &["validate", "latin1.yaml"]);
    assert_eq!(code, 1);
    assert!(stdout.contains("error[not-utf-8]") && stdout.contains("latin1.yaml:2:10"), "{stdout}");
    let (code, stdout, stderr) = call(&bench, &["explain", "latin1.yaml"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("error[not-utf-8]"), "{stderr}");
    let (code, _, stderr) = call(&bench, &["validate", "none.yaml"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("cannot read none.yaml") && stderr.contains("hint: "), "{stderr}");
    assert_eq!(call(&bench, &["validate"]).0, 2);
    write(&bench, "own.yaml", PROVISION);
    let (code, stdout, _) = call(&bench, &["validate", "own.yaml", "--dialect", "ignition"]);
    assert_eq!(code, 1, "{stdout}");
}
