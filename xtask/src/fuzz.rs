//! Fuzzing: builds the programs of `fuzz/` and runs them, as many at a time as there are processors.
//!
//! Works with the stable compiler and nothing installed beside it but a C++ compiler:
//! `fuzz/.cargo/config.toml` holds the flags. cargo-fuzz was dropped: all that it adds is the need
//! for a nightly compiler. New inputs stay in `target/`, so that a run never changes the checkout;
//! whoever wants to keep one copies it to `fuzz/corpus/`.

use std::ffi::OsString;
use std::fs;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread::ScopedJoinHandle;

use crate::error::{Error, file_error};
use crate::run;

/// Seconds of one target unless the caller says otherwise.
pub(crate) const DEFAULT_SECONDS: u32 = 60;

/// The programs' own workspace, and the flags that they are built with.
const MANIFEST: &str = "fuzz/Cargo.toml";
const CONFIGURATION: &str = "fuzz/.cargo/config.toml";

/// Limits of every run: seconds for one input, MiB of memory, bytes of an input.
const LIMITS: [&str; 3] = ["-timeout=10", "-rss_limit_mb=512", "-max_len=65536"];

/// Fuzzes one target or all of them, each for `seconds`; a finding ends its own target alone, and the
/// whole fails with the first of them.
pub(crate) fn fuzz(target: Option<&str>, seconds: u32) -> Result<(), Error> {
    let targets = targets()?;
    let chosen: Vec<&String> =
        targets.iter().filter(|name| target.is_none_or(|wanted| wanted == *name)).collect();
    if chosen.is_empty() {
        let given = target.unwrap_or_default().to_owned();
        return Err(Error::UnknownTarget { given, known: targets.join(", ") });
    }
    // All programs at once, so that the time of a target is its own.
    let mut build = run::cargo();
    build.args(["--config", CONFIGURATION, "build", "--release", "--manifest-path", MANIFEST]);
    match chosen.as_slice() {
        [only] => build.args(["--bin", only]),
        _ => build.arg("--bins"),
    };
    run::run(&mut build)?;
    println!("fuzzing {} targets for {seconds} s each", chosen.len());
    let lanes = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut outcomes: Vec<Result<(), Error>> = Vec::new();
    for batch in chosen.chunks(lanes) {
        outcomes.extend(std::thread::scope(|scope| {
            let running: Vec<_> =
                batch.iter().map(|name| scope.spawn(move || one(name, seconds))).collect();
            let ended = running.into_iter().map(ScopedJoinHandle::join);
            let outcome =
                |ended: std::thread::Result<_>| ended.unwrap_or_else(|it| resume_unwind(it));
            ended.map(outcome).collect::<Vec<_>>()
        }));
    }
    outcomes.into_iter().collect()
}

/// One target's run. Its output is shown when it has ended: that of several would mix.
fn one(name: &str, seconds: u32) -> Result<(), Error> {
    let (found, findings) = (folder("corpus", name)?, folder("findings", name)?);
    let mut prefix = OsString::from("-artifact_prefix=");
    prefix.push(findings.join(""));
    let mut command = run::cargo();
    command.args(["--config", CONFIGURATION, "run", "--release", "--quiet"]);
    command.args(["--manifest-path", MANIFEST, "--bin", name, "--"]).args(LIMITS);
    command.arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1").arg(prefix);
    command.arg(found).arg(run::root().join("fuzz/corpus").join(name)).current_dir(run::root());
    let (succeeded, text) = run::captured(&mut command)?;
    let shown: Vec<&str> = match succeeded {
        true => text.lines().filter(|line| line.starts_with("stat::number")).collect(),
        false => text.lines().collect(),
    };
    println!("{name}: {}", shown.join("\n"));
    if succeeded {
        return Ok(());
    }
    Err(Error::Failed { command: run::told(&command), status: "a finding".to_owned() })
}

/// Names of all targets, sorted: the programs of `fuzz/fuzz_targets`.
fn targets() -> Result<Vec<String>, Error> {
    let folder = run::root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(file_error("list", &folder))? {
        let path = entry.map_err(file_error("list", &folder))?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// A folder of a target that is no part of the checkout.
fn folder(kind: &str, target: &str) -> Result<PathBuf, Error> {
    let path = run::root().join("target/fuzz").join(kind).join(target);
    fs::create_dir_all(&path).map_err(file_error("create", &path))?;
    Ok(path)
}
