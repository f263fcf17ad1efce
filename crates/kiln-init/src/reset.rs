//! Forgetting the state, when somebody has asked for it: before anything of it is used.
//!
//! The wish is a file, and as long as it is there the reset is not done: whatever a power cut leaves
//! of it, the next boot begins here again and goes on. So no system ever runs on half of the state,
//! though many things have to move. Each is renamed aside as it is, which takes no time whatever its
//! size; deleting is left to the system that starts. **The commit point is the rename that `kiln reset`
//! gave the wish its name with; removing it at the end says that it was fulfilled.**
//!
//! Must never follow a link or leave the state's own file system. Deleting in place was dropped: a
//! large `/var` would keep a machine from starting for minutes.

use crate::Error;
use crate::console::note;
use crate::error::file;
use kiln_boot::reset::{ASIDE, MAXIMUM_LENGTH, PATH, Reset, Verdict};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Deepest nesting that is judged one by one: a kept path cannot be longer than its text.
const DEPTH_MAXIMUM: usize = 64;

/// Fulfils the wish in the state that is mounted at `state`, if there is one; whether there was.
/// `proceed` is asked before each change, so that a test can end the power there.
///
/// # Errors
/// The kernel's answer, or that of `proceed`; the wish is then still there.
pub fn carry_out(
    state: &Path,
    proceed: &mut dyn FnMut() -> Result<(), Error>,
) -> Result<bool, Error> {
    let wish = state.join(PATH);
    let Some(text) = read(&wish)? else { return Ok(false) };
    let Some(reset) = Reset::parse(&text) else {
        // Of another version, or not ours: what it means cannot be guessed.
        note("the state is not reset: the wish for it cannot be understood");
        proceed()?;
        remove(&wish)?;
        return Ok(false);
    };
    let aside = state.join(ASIDE);
    if !aside.is_dir() {
        proceed()?;
        fs::DirBuilder::new().mode(0o700).create(&aside).map_err(file("create", &aside))?;
    }
    let next = taken(&aside)?;
    let mut sweep = Sweep { reset: &reset, aside, next, proceed };
    sweep.folder(state, &mut Vec::new())?;
    let Sweep { proceed, .. } = sweep;
    proceed()?;
    kiln_sys::machine::write_back_file_system(state)?;
    proceed()?;
    remove(&wish)?;
    note("the state was reset");
    Ok(true)
}

/// The text of the wish; `None` if there is none. What is too long to be one is cut and then refused.
fn read(wish: &Path) -> Result<Option<String>, Error> {
    let found = match File::open(wish) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(file("open", wish))?,
    };
    let mut bytes = Vec::new();
    let limit = MAXIMUM_LENGTH as u64 + 1;
    found.take(limit).read_to_end(&mut bytes).map_err(file("read", wish))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Removes the wish for good.
fn remove(wish: &Path) -> Result<(), Error> {
    fs::remove_file(wish).map_err(file("remove", wish))?;
    let folder = wish.parent().unwrap_or(wish);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(file("write back", folder))
}

/// The number after the last one that is used in the folder of things set aside.
fn taken(aside: &Path) -> Result<u64, Error> {
    let mut next = 0;
    for entry in fs::read_dir(aside).map_err(file("read", aside))? {
        let name = entry.map_err(file("read", aside))?.file_name();
        let number = name.to_str().and_then(|name| name.parse::<u64>().ok());
        next = next.max(number.map_or(0, |number| number.saturating_add(1)));
    }
    Ok(next)
}

struct Sweep<'a> {
    reset: &'a Reset,
    aside: PathBuf,
    /// Name of the next thing that is set aside.
    next: u64,
    proceed: &'a mut dyn FnMut() -> Result<(), Error>,
}

impl Sweep<'_> {
    /// Judges what is in a folder, in the order of names, so that every try does the same.
    fn folder(&mut self, folder: &Path, above: &mut Vec<String>) -> Result<(), Error> {
        if above.len() >= DEPTH_MAXIMUM {
            return Ok(());
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder).map_err(file("read", folder))? {
            let entry = entry.map_err(file("read", folder))?;
            let kind = entry.file_type().map_err(file("look at", entry.path()))?;
            entries.push((entry.file_name(), kind.is_dir()));
        }
        entries.sort();
        for (name, is_folder) in entries {
            let path = folder.join(&name);
            // A name that is no text is in no kept path.
            let verdict = name.to_str().map_or(Verdict::Take, |name| {
                let names: Vec<&str> =
                    above.iter().map(String::as_str).chain(std::iter::once(name)).collect();
                self.reset.judge(&names, is_folder)
            });
            match verdict {
                Verdict::Keep => {}
                Verdict::Descend => {
                    above.push(name.to_string_lossy().into_owned());
                    self.folder(&path, above)?;
                    above.pop();
                }
                Verdict::Take => {
                    (self.proceed)()?;
                    let target = self.aside.join(self.next.to_string());
                    fs::rename(&path, &target).map_err(file("set aside", &path))?;
                    self.next += 1;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::os::unix::fs::symlink;

    /// Paths below a folder, with the content of files; what was set aside is left out.
    fn tree(folder: &Path) -> BTreeMap<String, String> {
        fn walk(at: &Path, name: &str, found: &mut BTreeMap<String, String>) {
            for entry in fs::read_dir(at).unwrap() {
                let entry = entry.unwrap();
                let name = format!("{name}{}", entry.file_name().to_string_lossy());
                if name == ASIDE {
                    continue;
                }
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    found.insert(format!("{name}/"), String::new());
                    walk(&entry.path(), &format!("{name}/"), found);
                } else if kind.is_symlink() {
                    let target = fs::read_link(entry.path()).unwrap();
                    found.insert(name, target.to_string_lossy().into_owned());
                } else {
                    found.insert(name, fs::read_to_string(entry.path()).unwrap());
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(folder, "", &mut found);
        found
    }

    fn write(state: &Path, path: &str) {
        let path = state.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, path.file_name().unwrap().to_str().unwrap()).unwrap();
    }

    /// A state with two releases, and as many further folders as wanted. In memory where there is such a
    /// place: thousands of them are written back.
    fn state(further: usize) -> tempfile::TempDir {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory).unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        for path in [
            "etc/aaaaaaaaaaaaaaaa/ssh/key",
            "etc/aaaaaaaaaaaaaaaa/passwd",
            "etc/bbbbbbbbbbbbbbbb/ssh/key",
            "etc/bbbbbbbbbbbbbbbb/fstab",
            "identity/machine-id",
            "kiln/ledger.json",
            "kiln/cache/blob",
            "lost+found/x",
            "overlay/home/upper/admin/notes",
            "overlay/home/upper/other/notes",
            "overlay/home/work/work/x",
            "overlay/srv/upper/x",
            "var/lib/data/rows",
            "var/log/old",
        ] {
            write(folder.path(), path);
        }
        for number in 0..further {
            write(folder.path(), &format!("var/lib/further-{number}/x"));
            write(folder.path(), &format!("further-{number}"));
        }
        // A link out of the state, where a kept path would lead through it.
        symlink("/", folder.path().join("srv")).unwrap();
        folder
    }

    fn wish(state: &Path, keep: &[&str]) {
        let text = Reset::keeping(keep).unwrap().to_text();
        fs::write(state.join(PATH), text).unwrap();
    }

    fn whole(state: &Path) -> Result<bool, Error> {
        carry_out(state, &mut || Ok(()))
    }

    #[test]
    fn what_is_not_kept_goes_and_the_wish_with_it() {
        let state = state(0);
        wish(state.path(), &["/etc/ssh", "/home/admin", "/var/lib/data"]);
        assert!(whole(state.path()).unwrap());
        let left: Vec<String> =
            tree(state.path()).into_keys().filter(|path| !path.ends_with('/')).collect();
        let expected = [
            "etc/aaaaaaaaaaaaaaaa/ssh/key",
            "etc/bbbbbbbbbbbbbbbb/ssh/key",
            "identity/machine-id",
            "kiln/ledger.json",
            "lost+found/x",
            "overlay/home/upper/admin/notes",
            "var/lib/data/rows",
        ];
        assert_eq!(left, expected);
        assert!(!whole(state.path()).unwrap(), "only once");
        assert!(fs::read_dir(state.path().join(ASIDE)).unwrap().count() >= 6);
    }

    #[test]
    fn a_wish_of_another_version_changes_nothing() {
        let state = state(0);
        let before = tree(state.path());
        for text in ["kiln.reset.v9\n", "", "kiln.reset.v1\nkeep ../..\n"] {
            fs::write(state.path().join(PATH), text).unwrap();
            assert!(!whole(state.path()).unwrap());
            assert_eq!(tree(state.path()), before, "{text}");
        }
        let none = tempfile::tempdir().unwrap();
        assert!(!whole(none.path()).unwrap());
    }

    /// Ends the power before change number `after`.
    fn cut(state: &Path, after: usize) -> bool {
        let mut left = after;
        let mut proceed = || {
            left = left.checked_sub(1).ok_or_else(|| Error::Internal("the power is off".into()))?;
            Ok(())
        };
        carry_out(state, &mut proceed).is_err()
    }

    #[test]
    fn every_cut_ends_in_the_same_reset_state() {
        let keeps: [&[&str]; 6] = [
            &[],
            &["/etc"],
            &["/etc/ssh", "/var/lib/data"],
            &["/home", "/var"],
            &["/home/admin", "/var/lib/further-3"],
            &["/srv", "/etc/passwd", "/root"],
        ];
        let (mut states, mut cuts) = (BTreeSet::new(), 0);
        for (case, keep) in keeps.iter().enumerate() {
            for further in [0, 10, 20, 30, 40] {
                let reference = state(further);
                wish(reference.path(), keep);
                assert!(whole(reference.path()).unwrap());
                let expected = tree(reference.path());
                // Cut once after each change, and a second time somewhere in the next boot.
                for first in 0.. {
                    let state = state(further);
                    wish(state.path(), keep);
                    if !cut(state.path(), first) {
                        break;
                    }
                    assert!(state.path().join(PATH).exists(), "the wish is there to the end");
                    states.insert((case, further, format!("{:?}", tree(state.path()))));
                    let second = first * 7 % 11;
                    cut(state.path(), second);
                    whole(state.path()).unwrap();
                    assert_eq!(tree(state.path()), expected, "{keep:?} {first} {second}");
                    cuts += 1;
                }
            }
        }
        println!("{cuts} pairs of cuts, {} distinct states", states.len());
        assert!(states.len() >= 1000, "{cuts} {}", states.len());
    }
}
