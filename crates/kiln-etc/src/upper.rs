//! The upper half of a release's `/etc`: made once, from the one that ran before.
//!
//! It is made at the first start of the new release and not when that is fetched: what somebody changes
//! between `kiln upgrade` and the restart is then carried over as well, and nothing writes to `/etc`
//! while it is copied. Copy and merged accounts are prepared under another name; **the rename is the
//! commit point**, and a cut before it leaves only something that the next start replaces. The upper
//! half that was copied is never written to, so going back finds it as it was.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::accounts::{AccountFile, Accounts, FILE_MAXIMUM, merge};
use crate::error::file;
use crate::file::{is_missing, read_small, remove, replace, sync_folder};
use crate::release::{is_release_name, predecessor};
use crate::{Error, copy, derived, identity};

/// Names the release whose `/etc` was mounted last.
const LAST: &str = "kiln/etc-release";
/// Stands in [`LAST`] when the last `/etc` was gone with its boot. No release has this name.
const EPHEMERAL: &str = "ephemeral";
/// Longest content of [`LAST`] that is read, in bytes.
const LAST_MAXIMUM: u64 = 64;
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
    let upper = state.join("etc").join(release);
    if !upper.is_dir() {
        let marker = read_marker(state)?;
        let from = predecessor(release, marker.as_deref(), &present(state)?);
        if let Some(from) = from {
            notes.extend(carry_over(state, &from, &upper, lower, &theirs)?);
            notes.push(format!("/etc of release {from} carried over"));
        }
    }
    note_failure(write_marker(state, release), &mut notes);
    Ok(notes)
}

/// Notes that this boot's `/etc` is not kept; sentences say what failed, which is no reason not to
/// start.
pub fn prepare_ephemeral(state: &Path) -> Vec<String> {
    let mut notes = Vec::new();
    note_failure(keep_identity(state), &mut notes);
    note_failure(write_marker(state, EPHEMERAL), &mut notes);
    notes
}

/// Takes over what the `/etc` that ran last says of the machine.
fn keep_identity(state: &Path) -> Result<(), Error> {
    match last(state)? {
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

/// The release whose upper half was mounted last, if it is still there.
///
/// # Errors
/// [`Error::File`].
pub fn last(state: &Path) -> Result<Option<String>, Error> {
    let name = read_marker(state)?.filter(|name| is_release_name(name));
    Ok(name.filter(|name| state.join("etc").join(name).is_dir()))
}

/// Releases with an upper half, and when its top folder changed last.
///
/// # Errors
/// [`Error::File`].
pub fn present(state: &Path) -> Result<Vec<(String, SystemTime)>, Error> {
    let names = names(&state.join("etc"))?;
    let releases = names.into_iter().filter(|name| is_release_name(name));
    let dated = releases.filter_map(|name| {
        let metadata = fs::symlink_metadata(state.join("etc").join(&name)).ok()?;
        metadata.is_dir().then(|| metadata.modified().ok().map(|time| (name, time)))?
    });
    Ok(dated.collect())
}

/// Removes the upper half of a release that does not run, so that its next start carries over the one
/// that runs. It is gone at once or not at all.
///
/// # Errors
/// [`Error::File`].
pub fn forget(state: &Path, release: &str) -> Result<(), Error> {
    let folder = state.join("etc");
    let (upper, old) = (folder.join(release), folder.join(format!("{release}.old")));
    remove(&old)?;
    match fs::rename(&upper, &old) {
        Err(error) if is_missing(&error) => return Ok(()),
        result => result.map_err(file("rename", &upper))?,
    }
    sync_folder(&folder)?;
    remove(&old)
}

/// Removes what belongs to releases that are not `needed`, and what an interrupted run left; gives the
/// names of the releases.
///
/// # Errors
/// [`Error::File`]; the rest goes next time.
pub fn collect_garbage(state: &Path, needed: &[String]) -> Result<Vec<String>, Error> {
    let mut gone = Vec::new();
    for name in names(&state.join("etc"))? {
        let (release, is_whole) = match name.rsplit_once('.') {
            Some((release, "new" | "old")) => (release, false),
            _ => (name.as_str(), true),
        };
        if !is_release_name(release) || is_whole && needed.contains(&name) {
            continue;
        }
        if is_whole {
            forget(state, release)?;
            gone.push(name);
        } else {
            remove(&state.join("etc").join(&name))?;
        }
    }
    for name in names(&state.join(RELEASES))? {
        if !needed.contains(&name) {
            remove(&state.join(RELEASES).join(name))?;
        }
    }
    Ok(gone)
}

/// Bytes that a copy of a release's upper half needs, by whole blocks of 4 KiB.
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
    let upper = state.join("etc").join(release);
    if upper.is_dir() { measure(&upper, 128) } else { Ok(0) }
}

fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        Err(source) => return Err(file("read", folder)(source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(file("read", folder))?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

fn read_marker(state: &Path) -> Result<Option<String>, Error> {
    let text = read_small(&state.join(LAST), LAST_MAXIMUM)?;
    Ok(text.map(|text| String::from_utf8_lossy(&text).trim_end().to_owned()))
}

fn write_marker(state: &Path, name: &str) -> Result<(), Error> {
    if read_marker(state)?.as_deref() == Some(name) {
        return Ok(());
    }
    replace(&state.join(LAST), format!("{name}\n").as_bytes(), 0o644)
}

fn carry_over(
    state: &Path,
    from: &str,
    upper: &Path,
    lower: &Path,
    theirs: &Accounts,
) -> Result<Vec<String>, Error> {
    let old = state.join("etc").join(from);
    let draft = copy::draft(&old, upper, &derived::is_derived)?;
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
    copy::commit(&draft, upper)?;
    Ok(merged.notes)
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
            Ok(metadata) if is_whiteout(&metadata) || !metadata.is_file() => None,
            Ok(_) => read_small(&path, FILE_MAXIMUM)?,
        };
        ours.set(name, content);
    }
    Ok(ours)
}

fn is_whiteout(metadata: &fs::Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

/// Writes an account file of an upper half that is not in use, with owner and mode of the one before,
/// else of the release's.
fn write_accounts(path: &Path, lower: &Path, bytes: &[u8]) -> Result<(), Error> {
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
