//! The gate: what has to hold before a change lands, cheapest first.
//!
//! The tests that boot machines come last and two at a time. They run the static release binary,
//! which `$KILN_BIN` names, and end with the sum of their machines' lives.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_lab::{ledger, product};

use crate::error::{Error, file_error};
use crate::{packages, product as binary, run, style};

/// The crate with the tests that boot machines, and the feature that builds them.
const VM_TESTS: [&str; 4] = ["-p", "kiln-lab", "--features", "vm"];

/// Names the folder with Kiln's own binaries for arm64.
const ARM64_VARIABLE: &str = "KILN_RUNTIME_ARM64";

/// Runs everything; without `machines` no machine is booted.
pub(crate) fn test(machines: bool) -> Result<(), Error> {
    packages::install()?;
    run::run(run::cargo().args(["fmt", "--all", "--check"]))?;
    style::check()?;
    // All features, so that the tests which boot machines are linted even when they do not run.
    run::run(
        run::cargo()
            .args(["clippy", "--workspace", "--all-targets", "--all-features", "--"])
            .args(["-D", "warnings"]),
    )?;
    let nextest = has_nextest();
    if nextest {
        run::run(run::cargo().args(["nextest", "run", "--workspace"]))?;
        // nextest does not know documentation tests.
        run::run(run::cargo().args(["test", "--quiet", "--doc", "--workspace"]))?;
    } else {
        println!("cargo-nextest is not installed: using cargo test");
        run::run(run::cargo().args(["test", "--workspace"]))?;
    }
    if machines { test_machines(nextest, &[]) } else { Ok(()) }
}

/// The tests marked `#[ignore]`, first those that boot nothing.
pub(crate) fn test_ignored() -> Result<(), Error> {
    let nextest = has_nextest();
    if nextest {
        let list = ["nextest", "run", "--workspace", "--run-ignored", "only", "--no-tests", "pass"];
        run::run(run::cargo().args(list))?;
        test_machines(nextest, &["--run-ignored", "only", "--no-tests", "pass"])
    } else {
        run::run(run::cargo().args(["test", "--workspace", "--", "--ignored"]))?;
        test_machines(nextest, &["--ignored"])
    }
}

fn test_machines(nextest: bool, selection: &[&str]) -> Result<(), Error> {
    let kiln = binary::build()?;
    let ledger_path = run::root().join("target/vm-ledger");
    forget(&ledger_path)?;
    let mut command = run::cargo();
    if nextest {
        command.args(["nextest", "run", "--profile", "vm"]).args(VM_TESTS).args(selection);
        // The rest of the lab's tests start no machine: they ran with the workspace.
        command.args(["-E", "kind(test) - binary(oracle) - binary(replay) - binary(esp_replay)"]);
    } else {
        command.arg("test").args(VM_TESTS).args(["--test", "*", "--"]).args(selection);
        command.arg("--test-threads=2");
    }
    command.env(product::VARIABLE, &kiln).env(ledger::VARIABLE, &ledger_path);
    command.env(ARM64_VARIABLE, arm64_folder());
    let outcome = run::run(&mut command);
    let (machines, life) = ledger::total(&ledger_path);
    let minutes = life.as_secs_f64() / 60.0;
    println!("virtual machines: {machines} started, {minutes:.1} minutes in all");
    outcome
}

/// Where the long list puts binaries for arm64.
pub(crate) fn arm64_folder() -> PathBuf {
    run::root().join("target/runtime-arm64")
}

fn forget(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(file_error("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn has_nextest() -> bool {
    let mut version = Command::new(run::cargo().get_program());
    run::captured(version.args(["nextest", "--version"])).is_ok_and(|(works, _)| works)
}
