//! The stages of a running system: what they read, and how one is run.
//!
//! Elemental's order: for each of `X.before`, `X` and `X.after` all documents, in the order of their
//! places. All documents are read anew for each stage, because an earlier one may have written further
//! ones. A document with a fault loses what is faulty and nothing else: machines out there live with
//! such files, and a stage that stops because of one would take their network away.

use std::io::Read as _;

use kiln_config::check::{Checked, Input, check};
use kiln_config::elemental::{self, Fork};
use kiln_config::operation::Phase;
use kiln_config::{Diagnostics, Stage};

use crate::contents::verify;
use crate::sources::{Document, Outcome, Place, Policy, Setup, Trace, folder};
use crate::{Error, Fetch, Report, Root, Surroundings, run};

/// Folders with documents for stages, in the order in which they count.
pub const FOLDERS: [(&str, Place); 3] = [
    ("/system/oem", Place::Image),
    ("/oem", Place::OwnDisk),
    ("/usr/local/cloud-config", Place::OwnDisk),
];

/// What stages have to carry out on this machine.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The documents, what is to be said of them, and their plan.
    pub checked: Checked,
    /// What was looked at.
    pub trace: Trace,
}

/// Reads all documents that stages have: the folders, then what the kernel command line names, then the
/// steps that stand in it. What cannot be read is in the trace and does not keep the others from running.
#[must_use]
pub fn gather(root: &Root, command_line: &str, policy: Policy, fetch: &mut dyn Fetch) -> Gathered {
    let mut trace = Trace::default();
    let mut documents = Vec::new();
    for (path, place) in FOLDERS {
        if let Some(reason) = policy.refusal(place) {
            trace.note(place, path, Outcome::Ignored(reason.into()));
            continue;
        }
        take(folder(root, path, place), place, path, &mut trace, &mut documents);
    }
    let steps = steps(command_line);
    let refusal = policy.refusal(Place::CommandLine);
    for setup in &steps.setup {
        let setup = Setup::parse(&setup.value);
        match refusal.or_else(|| setup.refusal()) {
            Some(reason) => {
                trace.note(Place::CommandLine, &setup.target, Outcome::Ignored(reason.into()));
            }
            None => take(
                named(root, &setup, fetch),
                Place::CommandLine,
                &setup.target,
                &mut trace,
                &mut documents,
            ),
        }
    }
    let inputs =
        documents.into_iter().map(|one| Input { name: one.name, bytes: one.bytes }).collect();
    let mut checked = check(inputs, None);
    if refusal.is_none() {
        add_steps(command_line, &mut checked, &mut trace);
    }
    Gathered { checked, trace }
}

fn take(
    found: Result<Vec<Document>, Error>,
    place: Place,
    at: &str,
    trace: &mut Trace,
    documents: &mut Vec<Document>,
) {
    match found {
        Ok(found) => {
            trace.found(place, at, found.len());
            documents.extend(found);
        }
        Err(error) => trace.note(place, at, Outcome::Ignored(error.sentence())),
    }
}

/// The documents behind an address or a path of the command line.
fn named(root: &Root, setup: &Setup, fetch: &mut dyn Fetch) -> Result<Vec<Document>, Error> {
    let limit = kiln_config::source::MAXIMUM_BYTES as u64;
    let place = Place::CommandLine;
    let one = |bytes| vec![Document { name: setup.target.clone(), bytes, place }];
    if setup.is_address() {
        let remote =
            kiln_config::action::Remote { url: setup.target.clone(), ..Default::default() };
        let bytes = fetch.get(&remote, limit)?;
        if let Some(hash) = &setup.hash {
            let refused = |reason| Error::Contents { origin: setup.target.clone(), reason };
            verify(&bytes, hash).map_err(refused)?;
        }
        return Ok(one(bytes));
    }
    match root.target(&setup.target)?.map(|status| status.kind) {
        Some(crate::Kind::Folder) => folder(root, &setup.target, place),
        _ => Ok(root.read(&setup.target, limit)?.map(one).unwrap_or_default()),
    }
}

fn steps(command_line: &str) -> elemental::CommandLine {
    let mut sources = kiln_config::Sources::default();
    let id = sources.add("kernel command line", command_line);
    elemental::command_line(&sources, id, 0, Fork::Toolkit, &mut Diagnostics::default())
}

/// Puts the steps of the command line behind all documents. Faults in them are the kernel's or others'
/// words more often than anybody's mistake, and Elemental ignores them, too.
fn add_steps(command_line: &str, checked: &mut Checked, trace: &mut Trace) {
    let last = checked.plan.operations.iter().map(|operation| operation.document).max();
    let number = last.map_or(0, |last| last.saturating_add(1));
    let id = checked.sources.add("kernel command line", command_line);
    let mut ignored = Diagnostics::default();
    let found = elemental::command_line(&checked.sources, id, number, Fork::Toolkit, &mut ignored);
    if !found.plan.operations.is_empty() {
        trace.found(Place::CommandLine, "kernel command line", 1);
        checked.plan.operations.extend(found.plan.operations);
        checked.plan.sort();
    }
}

/// The rounds of a stage: all three of `boot`, only the one of `boot.after`.
#[must_use]
pub fn rounds(name: &str) -> Vec<Stage> {
    let stage = Stage::named(name);
    if stage.phase != Phase::Main {
        return vec![stage];
    }
    let round = |phase| Stage { moment: stage.moment.clone(), phase };
    [Phase::Before, Phase::Main, Phase::After].map(round).into()
}

/// Runs a stage in all its rounds, and gives the report of each that has something to do.
pub fn run_stage(
    name: &str,
    checked: &Checked,
    surroundings: &mut Surroundings<'_>,
) -> Vec<Report> {
    let mut reports = Vec::new();
    for stage in rounds(name) {
        if checked.plan.stage(&stage).next().is_some() {
            reports.push(run(&checked.plan, &stage, &checked.sources, surroundings));
        }
    }
    reports
}

/// The kernel command line of the running system.
///
/// # Errors
/// `/proc` is not mounted.
pub fn kernel_command_line() -> Result<String, Error> {
    let path = "/proc/cmdline";
    let mut text = String::new();
    let opened = std::fs::File::open(path).map_err(crate::error::file("open", path))?;
    opened.take(1 << 16).read_to_string(&mut text).map_err(crate::error::file("read", path))?;
    Ok(text)
}
