//! An oracle that cannot be asked must fail the test that asks it, with a remedy; and the oracles
//! that need no machine.

mod cosign;
mod keyless;
mod registry_speaks;
mod skopeo;

use kiln_lab::{Error, Oracle};

#[test]
fn a_missing_tool_is_an_error_and_not_a_skip() {
    let error = Oracle::new("no-such-tool").argument("x").run().unwrap_err();
    assert!(matches!(error, Error::MissingTool { package: None, .. }), "{error}");
}

#[test]
fn a_refusal_carries_what_the_tool_said() {
    let error = Oracle::new("sh").arguments(["-c", "echo said; echo why >&2; exit 3"]).run();
    let text = error.unwrap_err().to_string();
    for part in ["sh -c", "exit status: 3", "said", "why"] {
        assert!(text.contains(part), "{text}");
    }
    let folder = tempfile::tempdir().unwrap();
    let answer = Oracle::new("sh").arguments(["-c", "pwd; echo $A"]).environment("A", "b");
    let answer = answer.folder(folder.path()).run().unwrap();
    assert_eq!(answer, format!("{}\nb\n", folder.path().display()));
}
