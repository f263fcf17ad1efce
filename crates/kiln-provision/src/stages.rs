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

use crate::sources::{Document, Outcome, Place, Policy, Setup, Trace, document_at, folder};
use crate::{Error, Fetch, Report, Root, Surroundings, run};

/// Folders with documents for stages, in the order in which they count. The last one holds what this boot
/// found in places that a running system does not look at.
pub const FOLDERS: [(&str, Place); 4] = [
    ("/system/oem", Place::Image),
    ("/oem", Place::OwnDisk),
    ("/usr/local/cloud-config", Place::OwnDisk),
    ("/run/kiln/configuration", Place::OwnDisk),
];
/// Where the state is, in the future root and seen from the one before it.
const STATES: [&str; 2] = ["/sysroot/state", "/state"];

/// What stages have to carry out on this machine.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The documents, what is to be said of them, and their plan.
    pub checked: Checked,
    /// What was looked at.
    pub trace: Trace,
    /// The documents as they were found, in their order.
    pub documents: Vec<Document>,
    /// Places that may hold a document for the first boot and could not be read: a first boot must not go
    /// on with one of them.
    pub failures: Vec<String>,
}

/// Reads all documents that stages have: the folders, then what the kernel command line names, then the
/// steps that stand in it. What cannot be read is in the trace and does not keep the others from running.
#[must_use]
pub fn gather(root: &Root, command_line: &str, policy: &Policy, fetch: &mut dyn Fetch) -> Gathered {
    let mut found = Gathered::default();
    let kept = kept_folder(root);
    let folders = FOLDERS.into_iter().chain(kept.as_deref().map(|path| (path, Place::OwnDisk)));
    for (path, place) in folders {
        if let Some(reason) = policy.refusal(place) {
            found.trace.note(place, path, Outcome::Ignored(reason.into()));
            continue;
        }
        take(folder(root, path, place), place, path, &mut found);
    }
    let refusal = policy.refusal(Place::CommandLine);
    for setup in named_by_steps(command_line) {
        let at = crate::fetch::address(&setup.target);
        match refusal.or_else(|| setup.refusal()) {
            Some(reason) => {
                found.trace.note(Place::CommandLine, at, Outcome::Ignored(reason.into()));
            }
            None => {
                take(document_at(root, &setup, fetch), Place::CommandLine, &at, &mut found);
            }
        }
    }
    let input = |one: &Document| Input { name: one.name.clone(), bytes: one.bytes.clone() };
    found.checked = check(found.documents.iter().map(input).collect(), None);
    if refusal.is_none() {
        add_steps(command_line, &mut found.checked, &mut found.trace);
    }
    found
}

/// Takes documents that are not there already: what was handed over may be kept in two folders.
fn take(documents: Result<Vec<Document>, Error>, place: Place, at: &str, found: &mut Gathered) {
    match documents {
        Ok(mut documents) => {
            let known = &found.documents;
            let is_kept = !FOLDERS.iter().any(|(folder, _)| *folder == at);
            documents.retain(|one| !is_kept || known.iter().all(|other| other.bytes != one.bytes));
            found.trace.found(place, at, documents.len());
            found.documents.extend(documents);
        }
        Err(error) => found.trace.note(place, at, Outcome::Ignored(error.sentence())),
    }
}

/// The folder of the newest generation with the documents that were handed over at the first boot.
pub(crate) fn kept_folder(root: &Root) -> Option<String> {
    let is_number =
        |name: &&String| name.len() == 8 && name.bytes().all(|one| one.is_ascii_digit());
    STATES.into_iter().find_map(|state| {
        let generations = root.list(&format!("{state}/config")).ok()?;
        let newest = generations.iter().rfind(is_number)?;
        Some(format!("{state}/config/{newest}/documents"))
    })
}

/// The documents that a command line names for stages.
pub(crate) fn named_by_steps(command_line: &str) -> Vec<Setup> {
    let mut sources = kiln_config::Sources::default();
    let id = sources.add("kernel command line", command_line);
    let found =
        elemental::command_line(&sources, id, 0, Fork::Toolkit, &mut Diagnostics::default());
    found.setup.iter().map(|setup| Setup::parse(&setup.value)).collect()
}

/// Puts the steps of the command line behind all documents. Faults in them are the kernel's or others'
/// words more often than anybody's mistake, and Elemental ignores them, too.
pub(crate) fn add_steps(command_line: &str, checked: &mut Checked, trace: &mut Trace) {
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
