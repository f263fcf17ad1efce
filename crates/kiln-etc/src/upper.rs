//! Upper halves that belong to a release, `/etc`'s and those of its programs: made once, from those that
//! ran before.
//!
//! It is made at the first start of the new release and not when that is fetched: what somebody changes
//! between `kiln upgrade` and the restart is then carried over as well, and nothing writes to `/etc`
//! while it is copied. Copy and merged accounts are prepared under another name; **the rename is the
//! commit point**, and a cut before it leaves only something that the next start replaces. The upper
//! half that was copied is never written to, so going back finds it as it was.
//!
//! An upper half holds what the machine changed and nothing else, so seen over the next release it is a
//! merge: where the machine changed nothing, the release's file is seen. All programs of a release are
//! copied as one, so there is one commit point for them, too.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::accounts::{AccountFile, Accounts, FILE_MAXIMUM, merge};
use crate::error::file;
use crate::family::{ETC, FAMILIES, PROGRAMS, names};
use crate::file::{is_missing, read_small, remove, replace, sync_folder};
use crate::{Error, copy, derived, hook, identity};

/// Stands for a release when the last `/etc` was gone with its boot. No release has this name.
const EPHEMERAL: &str = "ephemeral";
/// Account files as releases have them, below the state.
const RELEASES: &str = "kiln/accounts";

/// Gives `release`, whose own `/etc` is `lower`, its upper half; sentences say what was done. What is
/// only noted down for later may fail, for instance on a full disk: the machine starts all the same.
///
/// # Errors
/// There is no upper half and none can be made. What was there before is still there, and the next try
/// begins anew.
pub fn prepare(state: &Path, release: &str, lower: &Path) -> Result<Vec<String>, Error> {
    let mut notes = Vec::new();
    note_failure(keep_identity(state), &mut notes);
    let theirs = read_accounts(lower)?;
    note_failure(remember_accounts(state, release, &theirs), &mut notes);
    bring(state, release, lower, &theirs, &mut notes)?;
    note_failure(hook::settle_var(state), &mut notes);
    note_failure(ETC.write_last(state, release), &mut notes);
    Ok(notes)
}

/// Gives `release` its folder for upper halves of what it brings itself; sentences say what was done.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_programs(state: &Path, release: &str) -> Result<Vec<String>, Error> {
    let mut notes = Vec::new();
    let folder = programs(state, release);
    if let Some(from) = PROGRAMS.predecessor(state, release)? {
        copy::folder(&PROGRAMS.of(state, &from), &folder, &|_| false)?;
        notes.push(format!("changed programs of release {from} carried over"));
    }
    fs::create_dir_all(&folder).map_err(file("create", &folder))?;
    note_failure(PROGRAMS.write_last(state, release), &mut notes);
    Ok(notes)
}

/// The folder with upper halves of what a release brings itself.
#[must_use]
pub fn programs(state: &Path, release: &str) -> PathBuf {
    PROGRAMS.of(state, release)
}

/// Makes the upper half if there is none, and lays over it what hooks wrote for this release.
fn bring(
    state: &Path,
    release: &str,
    lower: &Path,
    theirs: &Accounts,
    notes: &mut Vec<String>,
) -> Result<(), Error> {
    let upper = state.join("etc").join(release);
    let layer = hook::kept(state, release);
    let is_new = !upper.is_dir();
    let from = if is_new { source(state, release)? } else { None };
    if let Some(layer) = &layer {
        let laid = draft(state, release, &upper, lower).and_then(|draft| {
            let more = hook::lay_etc_over(layer, &draft, lower)?;
            put(&draft, &upper, is_new).map(|()| more)
        });
        let is_laid = laid.is_ok();
        match laid {
            Ok(more) => notes.extend(more),
            // A machine without what a hook wrote is better than none.
            Err(error) => notes.push(format!("what hooks wrote is left out: {}", error.sentence())),
        }
        note_failure(hook::forget(state, release), notes);
        if is_laid {
            notes.push("what hooks wrote was laid over /etc".into());
            return Ok(());
        }
    }
    if let Some(from) = from {
        let (draft, more) = carry_over(state, &from, &upper, lower, theirs)?;
        put(&draft, &upper, is_new)?;
        notes.extend(more);
        notes.push(format!("/etc of release {from} carried over"));
    }
    Ok(())
}

/// Copies, to a temporary name beside `to`, what the machine says of `/etc` of a release now: its own upper
/// half, or else what it will begin with, which is nothing on a new machine. Gives the copy's place.
pub(crate) fn draft(
    state: &Path,
    release: &str,
    to: &Path,
    lower: &Path,
) -> Result<PathBuf, Error> {
    let upper = state.join("etc").join(release);
    if upper.is_dir() {
        return copy::draft(&upper, to, &derived::is_derived);
    }
    if let Some(from) = source(state, release)? {
        return Ok(carry_over(state, &from, to, lower, &read_accounts(lower)?)?.0);
    }
    let mut empty = to.to_owned();
    empty.as_mut_os_string().push(".new");
    remove(&empty)?;
    copy::ensure_folder_like(&empty, lower)?;
    Ok(empty)
}

/// The release whose `/etc` a new one begins with.
fn source(state: &Path, release: &str) -> Result<Option<String>, Error> {
    ETC.predecessor(state, release)
}

/// Gives a draft its name; what had the name before goes in the same step.
fn put(draft: &Path, upper: &Path, is_new: bool) -> Result<(), Error> {
    if is_new {
        return copy::commit(draft, upper);
    }
    kiln_sys::machine::write_back_file_system(draft)?;
    // The commit point.
    kiln_sys::inode::exchange(draft, upper)?;
    upper.parent().map_or(Ok(()), sync_folder)?;
    remove(draft)
}

/// Notes that this boot's `/etc` is not kept; sentences say what failed, which is no reason not to
/// start.
pub fn prepare_ephemeral(state: &Path) -> Vec<String> {
    let mut notes = Vec::new();
    note_failure(keep_identity(state), &mut notes);
    note_failure(hook::settle_var(state), &mut notes);
    note_failure(ETC.write_last(state, EPHEMERAL), &mut notes);
    notes
}

/// Takes over what the `/etc` that ran last says of the machine.
fn keep_identity(state: &Path) -> Result<(), Error> {
    match ETC.last(state)? {
        Some(last) => {
            identity::keep(&state.join("etc").join(last), None, &state.join("identity")).map(drop)
        }
        None => Ok(()),
    }
}

fn note_failure(result: Result<(), Error>, notes: &mut Vec<String>) {
    if let Err(error) = result {
        notes.push(error.sentence());
    }
}

/// The release whose `/etc` was mounted last, else whose programs were, if it is still there.
///
/// # Errors
/// [`Error::File`].
pub fn last(state: &Path) -> Result<Option<String>, Error> {
    match ETC.last(state)? {
        Some(last) => Ok(Some(last)),
        None => PROGRAMS.last(state),
    }
}

/// Releases with an upper half of `/etc`, and when its top folder changed last.
///
/// # Errors
/// [`Error::File`].
pub fn present(state: &Path) -> Result<Vec<(String, SystemTime)>, Error> {
    ETC.present(state)
}

/// Removes the upper halves of a release that does not run, so that its next start carries over those
/// that run, and what hooks wrote for it. Those of `/etc` are gone at once or not at all, and so are those of programs.
///
/// # Errors
/// [`Error::File`].
pub fn forget(state: &Path, release: &str) -> Result<(), Error> {
    FAMILIES.iter().try_for_each(|family| family.forget(state, release))?;
    hook::forget(state, release)
}

/// Removes what belongs to releases that are not `needed`, and what an interrupted run left; gives the
/// names of the releases.
///
/// # Errors
/// [`Error::File`]; the rest goes next time.
pub fn collect_garbage(state: &Path, needed: &[String]) -> Result<Vec<String>, Error> {
    let mut gone = Vec::new();
    for family in &FAMILIES {
        family.collect_garbage(state, needed, &mut gone)?;
    }
    gone.sort_unstable();
    gone.dedup();
    hook::collect_garbage(state, needed)?;
    for name in names(&state.join(RELEASES))? {
        if !needed.contains(&name) {
            remove(&state.join(RELEASES).join(name))?;
        }
    }
    Ok(gone)
}

/// Bytes that a copy of a release's upper halves needs, by whole blocks of 4 KiB.
///
/// # Errors
/// [`Error::File`].
pub fn length(state: &Path, release: &str) -> Result<u64, Error> {
    fn measure(path: &Path, depth: usize) -> Result<u64, Error> {
        let metadata = fs::symlink_metadata(path).map_err(file("look at", path))?;
        // One block for the inode and the name.
        let mut total = 4096 + metadata.len().next_multiple_of(4096);
        if metadata.is_dir() && depth > 0 {
            for entry in fs::read_dir(path).map_err(file("read", path))? {
                let entry = entry.map_err(file("read", path))?;
                total = total.saturating_add(measure(&entry.path(), depth - 1)?);
            }
        }
        Ok(total)
    }
    let mut total: u64 = 0;
    for upper in FAMILIES.iter().map(|family| family.of(state, release)) {
        if upper.is_dir() {
            total = total.saturating_add(measure(&upper, 128)?);
        }
    }
    Ok(total)
}

/// Copies the upper half of `/etc` of the release `from` to a temporary name beside `to`, with accounts
/// merged; gives the copy's place and what was changed.
fn carry_over(
    state: &Path,
    from: &str,
    to: &Path,
    lower: &Path,
    theirs: &Accounts,
) -> Result<(PathBuf, Vec<String>), Error> {
    let draft = copy::draft(&ETC.of(state, from), to, &derived::is_derived)?;
    let known = state.join(RELEASES).join(from);
    let base = if known.is_dir() { Some(read_accounts(&known)?) } else { None };
    let ours = machine_accounts(&draft, base.as_ref(), theirs)?;
    let merged = merge(base.as_ref(), &ours, theirs);
    for name in AccountFile::ALL {
        let (has, now) =
            (read_small(&draft.join(name.name()), FILE_MAXIMUM)?, merged.accounts.get(name));
        let Some(now) = now else { continue };
        // What is not in the upper half is seen as the release has it.
        if has.as_deref().or(theirs.get(name)) != Some(now) {
            write_accounts(&draft.join(name.name()), &lower.join(name.name()), now)?;
        }
    }
    Ok((draft, merged.notes))
}

/// What the machine has: its own files, and where it changed none, those of the release before.
fn machine_accounts(
    upper: &Path,
    base: Option<&Accounts>,
    theirs: &Accounts,
) -> Result<Accounts, Error> {
    let mut ours = Accounts::default();
    for name in AccountFile::ALL {
        let path = upper.join(name.name());
        let content = match fs::symlink_metadata(&path) {
            Err(error) if is_missing(&error) => {
                base.unwrap_or(theirs).get(name).map(<[u8]>::to_vec)
            }
            Err(source) => return Err(file("look at", &path)(source)),
            // Deleted, or a link to elsewhere: the machine's business.
            Ok(metadata) if hook::is_whiteout(&metadata) || !metadata.is_file() => None,
            Ok(_) => read_small(&path, FILE_MAXIMUM)?,
        };
        ours.set(name, content);
    }
    Ok(ours)
}

/// Writes an account file of an upper half that is not in use, with owner and mode of the one before,
/// else of the release's.
pub(crate) fn write_accounts(path: &Path, lower: &Path, bytes: &[u8]) -> Result<(), Error> {
    let like = if path.symlink_metadata().is_ok() { path } else { lower };
    let metadata = fs::symlink_metadata(like).map_err(file("look at", like))?;
    let mut new: PathBuf = path.to_owned();
    new.as_mut_os_string().push(".new");
    replace(&new, bytes, 0o600)?;
    copy::copy_metadata(like, &metadata, &new)?;
    fs::rename(&new, path).map_err(file("rename", &new))
}

fn read_accounts(folder: &Path) -> Result<Accounts, Error> {
    let mut accounts = Accounts::default();
    for name in AccountFile::ALL {
        accounts.set(name, read_small(&folder.join(name.name()), FILE_MAXIMUM)?);
    }
    Ok(accounts)
}

/// Keeps a release's own account files, which are under the overlay and in a slot that will be
/// overwritten when the next release needs them as the common ancestor.
fn remember_accounts(state: &Path, release: &str, accounts: &Accounts) -> Result<(), Error> {
    let folder = state.join(RELEASES).join(release);
    if folder.is_dir() {
        return Ok(());
    }
    let mut draft = folder.clone();
    draft.as_mut_os_string().push(".new");
    remove(&draft)?;
    // With password hashes: for root alone.
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(&draft).map_err(file("create", &draft))?;
    for name in AccountFile::ALL {
        if let Some(content) = accounts.get(name) {
            replace(&draft.join(name.name()), content, 0o600)?;
        }
    }
    copy::commit(&draft, &folder)
}
