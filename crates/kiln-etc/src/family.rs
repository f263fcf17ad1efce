//! Folders of the state with one folder for each release, and which of them was used last.
//!
//! What a release's first start finds and what is left of releases that are gone is the same question for
//! `/etc` and for programs, so it has one answer here. What a folder holds, and what has to be merged in
//! it, is not known here.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::Error;
use crate::error::file;
use crate::file::{is_missing, read_small, remove, replace, sync_folder};
use crate::release::{is_release_name, predecessor};

/// Longest name of a release that was used last, in bytes.
const LAST_MAXIMUM: u64 = 64;

/// Upper halves that go from release to release together.
#[derive(Debug)]
pub(crate) struct Family {
    /// Folder of the state with one folder for each release.
    pub(crate) folder: &'static str,
    /// File that names the release of which they were mounted last.
    last: &'static str,
}

/// `/etc`: the folder of a release is the upper half itself.
pub(crate) const ETC: Family = Family { folder: "etc", last: "kiln/etc-release" };
/// What the release brings itself: the folder of a release has an upper half for each path.
pub(crate) const PROGRAMS: Family = Family { folder: "usr", last: "kiln/usr-release" };
/// Both.
pub(crate) const FAMILIES: [Family; 2] = [ETC, PROGRAMS];

impl Family {
    pub(crate) fn last(&self, state: &Path) -> Result<Option<String>, Error> {
        let name = self.read_last(state)?.filter(|name| is_release_name(name));
        Ok(name.filter(|name| self.of(state, name).is_dir()))
    }

    /// The folder of a release.
    pub(crate) fn of(&self, state: &Path, release: &str) -> PathBuf {
        state.join(self.folder).join(release)
    }

    pub(crate) fn read_last(&self, state: &Path) -> Result<Option<String>, Error> {
        let text = read_small(&state.join(self.last), LAST_MAXIMUM)?;
        Ok(text.map(|text| String::from_utf8_lossy(&text).trim_end().to_owned()))
    }

    pub(crate) fn write_last(&self, state: &Path, name: &str) -> Result<(), Error> {
        if self.read_last(state)?.as_deref() == Some(name) {
            return Ok(());
        }
        replace(&state.join(self.last), format!("{name}\n").as_bytes(), 0o644)
    }

    pub(crate) fn present(&self, state: &Path) -> Result<Vec<(String, SystemTime)>, Error> {
        let names = names(&state.join(self.folder))?;
        let releases = names.into_iter().filter(|name| is_release_name(name));
        let dated = releases.filter_map(|name| {
            let metadata = fs::symlink_metadata(self.of(state, &name)).ok()?;
            metadata.is_dir().then(|| metadata.modified().ok().map(|time| (name, time)))?
        });
        Ok(dated.collect())
    }

    /// The release whose upper halves a new one begins with; `None` if it has its own or is the first.
    pub(crate) fn predecessor(&self, state: &Path, release: &str) -> Result<Option<String>, Error> {
        if self.of(state, release).is_dir() {
            return Ok(None);
        }
        let last = self.read_last(state)?;
        Ok(predecessor(release, last.as_deref(), &self.present(state)?))
    }

    pub(crate) fn forget(&self, state: &Path, release: &str) -> Result<(), Error> {
        let folder = state.join(self.folder);
        let (upper, old) = (folder.join(release), folder.join(format!("{release}.old")));
        remove(&old)?;
        match fs::rename(&upper, &old) {
            Err(error) if is_missing(&error) => return Ok(()),
            result => result.map_err(file("rename", &upper))?,
        }
        sync_folder(&folder)?;
        remove(&old)
    }

    pub(crate) fn collect_garbage(
        &self,
        state: &Path,
        needed: &[String],
        gone: &mut Vec<String>,
    ) -> Result<(), Error> {
        for name in names(&state.join(self.folder))? {
            let (release, is_whole) = match name.rsplit_once('.') {
                Some((release, "new" | "old")) => (release, false),
                _ => (name.as_str(), true),
            };
            if !is_release_name(release) || is_whole && needed.contains(&name) {
                continue;
            }
            if is_whole {
                self.forget(state, release)?;
                gone.push(name);
            } else {
                remove(&state.join(self.folder).join(&name))?;
            }
        }
        Ok(())
    }
}

/// Names in a folder, sorted; none where there is no folder.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, Error> {
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
