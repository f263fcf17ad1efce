//! What an upgrade means for `/etc`, and how `/etc` differs from the release.
//!
//! The upper half of a new release is made by the first process at the release's first start
//! ([`kiln_etc::upper`]). Before that, here: whether there is room for it, and that a release which ran
//! here some time ago does not come back with what `/etc` was then. Afterwards: that nothing stays of
//! releases that cannot start any more.
//!
//! Copying at the time of the upgrade was dropped: what somebody changes between `kiln upgrade` and the
//! restart, days later perhaps, would be lost.

mod compare;
mod diff;
mod text;

use kiln_etc::release::release_name;
use kiln_etc::{identity, upper};

pub use compare::{Aspect, Change, Kind};
pub use diff::{Diff, DiffOptions, Difference, diff};
pub use text::Text;

use crate::Error;
use crate::machine::{Machine, Paths};

/// Room in the state beside the copy of `/etc`, in bytes: ledger, notes, what runs meanwhile.
const RESERVE: u64 = 4 << 20;

/// Refuses what would not find room for its `/etc` at its first start.
///
/// # Errors
/// [`Error::Refused`], [`Error::Etc`].
pub(crate) fn check_room(paths: &Paths, machine: &Machine) -> Result<(), Error> {
    let state = &paths.state;
    let needed = upper::length(state, &release_name(&machine.booted.root_hash))?;
    let free = rustix::fs::statvfs(state)
        .map(|found| found.f_bavail.saturating_mul(found.f_frsize))
        .map_err(|error| Error::file("look at", state, error.into()))?;
    let needed = needed.saturating_add(RESERVE);
    if needed <= free {
        return Ok(());
    }
    Err(Error::Refused {
        reason: format!("/state needs {needed} bytes for the new release's /etc, {free} are free"),
        hint: "remove something from /var or /home".to_owned(),
    })
}

/// Lets a release that is about to be activated begin with the `/etc` that runs, whether or not it ran
/// here before. What runs keeps its own.
///
/// # Errors
/// [`Error::Etc`]; nothing is activated then.
pub(crate) fn begin_anew(paths: &Paths, machine: &Machine, generation: u32) -> Result<(), Error> {
    let Some(revision) = machine.ledger.revision(generation) else { return Ok(()) };
    let release = release_name(&revision.release.root.hash);
    // From recovery the system that ran last may be brought again, and its /etc is the machine's.
    let is_last = upper::last(&paths.state)?.is_some_and(|last| last == release);
    if !is_last && release != release_name(&machine.booted.root_hash) {
        upper::forget(&paths.state, &release)?;
    }
    Ok(())
}

/// Removes `/etc` of releases that no boot file names; gives their names.
///
/// # Errors
/// [`Error::Etc`]; the rest goes next time.
pub(crate) fn collect_garbage(paths: &Paths, machine: &Machine) -> Result<Vec<String>, Error> {
    match needed(machine) {
        Some(mut needed) => {
            needed.extend(upper::last(&paths.state)?);
            Ok(upper::collect_garbage(&paths.state, &needed)?)
        }
        None => Ok(Vec::new()),
    }
}

/// The releases that may start again; `None` if a boot file does not say what it starts.
fn needed(machine: &Machine) -> Option<Vec<String>> {
    let listed = machine.entries.iter().map(|entry| entry.root.as_ref());
    let staged = machine.staged.iter().map(|staged| staged.root.as_ref());
    let mut needed = vec![release_name(&machine.booted.root_hash)];
    for root in listed.chain(staged) {
        needed.push(release_name(&root?.root.to_string()));
    }
    Some(needed)
}

/// Keeps machine-id, host name and host keys as `/etc` has them now; gives what was new.
///
/// # Errors
/// [`Error::Etc`].
pub fn keep_identity(paths: &Paths) -> Result<Vec<String>, Error> {
    Ok(identity::keep(&paths.etc, Some(&paths.release_etc), &paths.state.join("identity"))?)
}

#[cfg(test)]
mod tests {
    use super::needed;
    use crate::plan::test_support::machine;

    #[test]
    fn whatever_may_start_is_needed() {
        let mut machine = machine();
        let listed = machine.entries.len() + machine.staged.len();
        assert_eq!(needed(&machine).unwrap().len(), 1 + listed);
        let release = machine.booted.root_hash[..16].to_owned();
        assert!(needed(&machine).unwrap().contains(&release));
        machine.entries[0].root = None;
        assert_eq!(needed(&machine), None, "it might be any of them");
    }
}
