//! Asking the next boot to forget the state.
//!
//! Nothing is deleted here: the running system lives on what would go. A wish in the state is one
//! rename; a whole new file system is one sector of the partition table, which gives the state the
//! name under which it was once formatted. **Each of them is the commit point**, and either can be
//! taken back until the restart.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use kiln_boot::reset::{PATH, Reset, Verdict};
use kiln_disk::layout::{self, Stage};
use kiln_disk::{FileDevice, Gpt, apply, gpt};
use kiln_etc::release::release_name;
use kiln_etc::{hook, mounts};

use super::begin;
use crate::Error;
use crate::hooks::{Hooks, Moment, RootPlace, StatePlace, Written};
use crate::machine::{Machine, Paths};
use crate::plan::{self, ResetPlan, ResetRequest};

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResetOptions<'a> {
    /// What somebody wants.
    pub request: ResetRequest<'a>,
    /// Whether to change nothing.
    pub dry_run: bool,
}

/// What the next boot forgets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// The way that was planned.
    pub plan: ResetPlan,
    /// Folders and files of the state that go, by their paths from its root: the topmost ones. Empty
    /// when everything goes.
    pub goes: Vec<String>,
}

/// Asks for a reset.
///
/// # Errors
/// [`Error::Refused`] before anything was changed; as reading the machine; writing fails, and the next
/// boot then resets or does not.
pub fn reset(
    paths: &Paths,
    options: ResetOptions<'_>,
    hooks: &mut dyn Hooks,
    busy: impl FnOnce(),
) -> Result<Forgotten, Error> {
    let (_store, machine) = begin(paths, busy)?;
    let plan = plan::reset_in(machine.has_state, options.request, &layout(paths)?)?;
    let goes = match &plan {
        ResetPlan::Forget(reset) => goes(state(paths), reset)?,
        ResetPlan::Format => Vec::new(),
    };
    if !options.dry_run {
        hooks.run(&Moment::Before);
        run_written(hooks, &machine, &plan, options.request);
        match &plan {
            ResetPlan::Forget(reset) => write_wish(state(paths), reset)?,
            ResetPlan::Format => change_table(&machine, layout::renew_state)?,
        }
        hooks.run(&Moment::Committed);
    }
    Ok(Forgotten { plan, goes })
}

/// Runs the hooks that see what the next boot starts with: the running release and a state that is
/// forgotten. What they write waits beside that state.
fn run_written(
    hooks: &mut dyn Hooks,
    machine: &Machine,
    plan: &ResetPlan,
    request: ResetRequest<'_>,
) {
    let version = machine.booted_release().map(|release| release.version.as_str());
    hooks.run(&Moment::Written(Written {
        root_hash: &machine.booted.root_hash,
        version: version.unwrap_or_default(),
        root: RootPlace::Running,
        state: match plan {
            ResetPlan::Forget(_) => StatePlace::Forgotten { kept: request.keep },
            ResetPlan::Format => StatePlace::Formatted,
        },
    }));
}

/// Takes back what was asked for; whether there was anything.
///
/// # Errors
/// As [`reset`].
pub fn take_back(paths: &Paths, busy: impl FnOnce()) -> Result<bool, Error> {
    let (_store, machine) = begin(paths, busy)?;
    // What hooks wrote for after it must not come without it.
    hook::forget_var(state(paths))?;
    hook::forget(state(paths), &release_name(&machine.booted.root_hash))?;
    let wish = state(paths).join(PATH);
    let was_wished = match fs::remove_file(&wish) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(source) => return Err(Error::file("remove", &wish, source)),
    };
    let table = read_table(&machine)?.1.table;
    // Where no state is mounted, it was never made or is damaged, and its name must not say otherwise.
    let is_renewed = matches!(layout::stage(&table), Ok(Stage::Unformatted)) && machine.has_state;
    if is_renewed {
        change_table(&machine, layout::finish_state)?;
    }
    Ok(was_wished || is_renewed)
}

/// Where the state has what this machine keeps; the usual places if nobody asked for others.
fn layout(paths: &Paths) -> Result<Vec<(String, String)>, Error> {
    let limit = mounts::format::MAXIMUM_LENGTH as u64;
    let mounts = match kiln_etc::file::read_small(&paths.writable, limit)? {
        Some(text) => mounts::format::parse(&text)?,
        None => return Ok(Vec::new()),
    };
    Ok(mounts::place::all(&mounts))
}

/// Where the state is mounted.
fn state(paths: &Paths) -> &Path {
    paths.ledger.parent().unwrap_or(&paths.ledger)
}

/// The topmost things that a reset takes.
fn goes(state: &Path, reset: &Reset) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    let mut open: Vec<(PathBuf, Vec<String>)> = vec![(state.to_owned(), Vec::new())];
    while let Some((folder, above)) = open.pop() {
        let failed = |source| Error::file("read", &folder, source);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let is_folder = entry.file_type().map_err(failed)?.is_dir();
            let mut names = above.clone();
            names.push(entry.file_name().to_string_lossy().into_owned());
            let words: Vec<&str> = names.iter().map(String::as_str).collect();
            match reset.judge(&words, is_folder) {
                Verdict::Keep => {}
                Verdict::Take => found.push(names.join("/")),
                Verdict::Descend => open.push((entry.path(), names)),
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Leaves the wish where the first process looks for it.
fn write_wish(state: &Path, reset: &Reset) -> Result<(), Error> {
    let path = state.join(PATH);
    let mut partial = path.clone();
    partial.as_mut_os_string().push(".new");
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(reset.to_text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, &path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|source| Error::file("write", &path, source))
}

fn read_table(machine: &Machine) -> Result<(FileDevice, gpt::Located), Error> {
    let node = &machine.disk;
    let file = File::options().read(true).write(true).open(node);
    let file = file.map_err(Error::device("open", node))?;
    let device = FileDevice::new(file, machine.sector_size).map_err(Error::device("open", node))?;
    let located = gpt::read(&device).map_err(Error::disk(node))?;
    Ok((device, located))
}

/// Changes the partition table in the crash-safe way.
fn change_table(
    machine: &Machine,
    change: impl Fn(&Gpt) -> Result<Gpt, kiln_disk::Error>,
) -> Result<(), Error> {
    let (mut device, located) = read_table(machine)?;
    let failed = || Error::disk(&machine.disk);
    let new = change(&located.table).map_err(failed())?;
    let writes = gpt::update(&located, &new).map_err(failed())?;
    apply(&mut device, &writes).map_err(Error::device("write", &machine.disk))
}
