//! Recovery: a system that starts whatever has become of the state, and changes nothing by itself.
//!
//! Everything that it writes goes to memory. What the machine was configured to be is seen through
//! it: `/etc` and the homes of the last system lie below, read-only, so that its network and its keys
//! work. The state itself is mounted if its file system is sound, because repairs and upgrades need
//! it; if it is not, recovery runs without and says so.
//!
//! `/var` is the release's own: what runs there must not depend on what a broken system left. Sharing
//! the state's overlays with the system was dropped: an administrator who tries something in recovery
//! would change the system by it.

use crate::Error;
use crate::cmdline::{CommandLine, StateMode};
use crate::console::{note, shout};
use crate::disks::Disk;
use crate::error::file;
use crate::overlay::{OPTIONS, release_name};
use crate::state;
use kiln_sys::mount::{self, Options};
use kiln_verity::RootHash;
use std::fs;
use std::path::{Path, PathBuf};

/// Where written files go: memory that moves into the system with `/run`.
const MEMORY: &str = "/run/kiln/recovery";
/// What of the machine's memory they may fill.
const MEMORY_OPTIONS: &str = "mode=0755,size=50%";
/// The name of the release whose `/etc` was mounted last, from the root of the state.
const LAST_RELEASE: &str = "kiln/etc-release";
/// Where getty shows a text above its prompt (agetty(8), issue files).
const ISSUE: &str = "/run/issue.d/50-kiln-recovery.issue";
/// What a person in front of the machine has to know.
const ADVICE: &str = "\
This is RECOVERY: what is changed here is gone after a restart.
  kiln status              what is on this machine
  kiln upgrade REF         bring a release, then restart
  kiln recovery install    write the release of recovery into a slot
  kiln reset               forget the state at the next boot
";

/// Folders that can be written, and where the state has the changes of the system to each; none for
/// those whose changes do not matter here. `{etc}` stands for the release that ran last.
const FOLDERS: [(&str, Option<&str>); 7] = [
    ("etc", Some("etc/{etc}")),
    ("var", None),
    ("home", Some("overlay/home/upper")),
    ("root", Some("overlay/root/upper")),
    ("srv", None),
    ("opt", None),
    ("usr/local", Some("overlay/usr-local/upper")),
];

/// One overlay in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Folder of the root.
    pub target: &'static str,
    /// Folder of the state that lies between root and memory.
    pub between: Option<String>,
    /// Name in memory.
    pub name: String,
}

/// The overlays of recovery, where `in_root` and `in_state` say which folders are there. `last` is the
/// release whose `/etc` was mounted last.
#[must_use]
pub fn plan(
    last: Option<&str>,
    in_root: impl Fn(&str) -> bool,
    in_state: impl Fn(&str) -> bool,
) -> Vec<Overlay> {
    // The name becomes part of a path, and the list of folders is separated by colons and commas.
    let is_name = |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_hexdigit());
    let last = last.filter(is_name);
    let overlay = |&(target, between): &(&'static str, Option<&str>)| {
        let between = match (between, last) {
            (Some("etc/{etc}"), Some(last)) => Some(format!("etc/{last}")),
            (Some("etc/{etc}"), None) | (None, _) => None,
            (Some(path), _) => Some(path.to_owned()),
        };
        // A machine with a layout of its own may have a copy of the whole folder instead.
        let bound = between.as_ref().map(|path| path.replace("/upper", "/bind"));
        let between = [between, bound].into_iter().flatten().find(|path| in_state(path));
        Overlay { target, between, name: target.replace('/', "-") }
    };
    FOLDERS.iter().filter(|(target, _)| in_root(target)).map(overlay).collect()
}

/// Says on every console what this is.
pub(crate) fn announce() {
    shout("this is recovery: nothing that is changed here lasts, unless it is in /state");
}

/// Mounts the state if it is sound, else memory in its place; whether it is the disk's.
pub(crate) fn mount_state(disk: &mut Disk, line: &CommandLine) -> Result<bool, Error> {
    match state::mount_state(disk, line) {
        Ok(()) => Ok(line.state == StateMode::Disk),
        // The image itself: nothing else would do better.
        Err(error @ Error::Image(_)) => Err(error),
        Err(error) => {
            note(&format!("recovery runs without the state: {}", error.sentence()));
            let target = state::mount_point();
            mount::mount("tmpfs", &target, "tmpfs", Options::default(), MEMORY_OPTIONS)?;
            Ok(false)
        }
    }
}

/// Mounts everything that can be written, in memory.
pub(crate) fn mount_writable(sysroot: &Path, root: &RootHash) -> Result<(), Error> {
    let state = sysroot.join("state");
    for folder in ["identity", "kiln"] {
        let path = state.join(folder);
        fs::create_dir_all(&path).map_err(file("create", &path))?;
    }
    let memory = Path::new(MEMORY);
    fs::create_dir_all(memory).map_err(file("create", memory))?;
    mount::mount("tmpfs", memory, "tmpfs", Options::default(), MEMORY_OPTIONS)?;
    let last = fs::read_to_string(state.join(LAST_RELEASE)).ok();
    let last = last.as_deref().map(str::trim_end).unwrap_or_default();
    let last = if last.is_empty() { release_name(root) } else { last.to_owned() };
    let in_root = |path: &str| sysroot.join(path).is_dir();
    let in_state = |path: &str| state.join(path).is_dir();
    for overlay in plan(Some(&last), in_root, in_state) {
        mount_overlay(sysroot, &state, memory, &overlay)?;
    }
    let temporary = sysroot.join("tmp");
    if temporary.is_dir() {
        let options = Options { no_set_user: true, no_devices: true, ..Options::default() };
        mount::mount("tmpfs", &temporary, "tmpfs", options, "mode=1777,size=50%")?;
    }
    tell();
    Ok(())
}

fn mount_overlay(
    sysroot: &Path,
    state: &Path,
    memory: &Path,
    overlay: &Overlay,
) -> Result<(), Error> {
    let target = sysroot.join(overlay.target);
    let (upper, work) = (memory.join(&overlay.name), memory.join(format!("{}.work", overlay.name)));
    kiln_etc::copy::ensure_folder_like(&upper, &target)?;
    fs::create_dir_all(&work).map_err(file("create", &work))?;
    let mount = |between: Option<PathBuf>| {
        let below = between.map_or_else(String::new, |path| format!("{}:", path.display()));
        let data = format!(
            "lowerdir={below}{},upperdir={},workdir={},{OPTIONS}",
            target.display(),
            upper.display(),
            work.display()
        );
        mount::mount("overlay", &target, "overlay", Options::default(), &data)
    };
    if let Some(between) = &overlay.between {
        match mount(Some(state.join(between))) {
            Ok(()) => return Ok(()),
            Err(error) => note(&Error::from(error).sentence()),
        }
    }
    Ok(mount(None)?)
}

/// Leaves the advice where the login prompt shows it. Nothing depends on it.
fn tell() {
    let path = Path::new(ISSUE);
    if let Some(folder) = path.parent() {
        let _ = fs::create_dir_all(folder);
    }
    let _ = fs::write(path, ADVICE);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(overlays: &[Overlay], target: &str) -> Option<String> {
        overlays.iter().find(|overlay| overlay.target == target).unwrap().between.clone()
    }

    #[test]
    fn configuration_is_seen_and_nothing_else_of_the_state() {
        let all = plan(Some("0123456789abcdef"), |_| true, |_| true);
        assert_eq!(all.len(), 7);
        for (target, expected) in [
            ("etc", Some("etc/0123456789abcdef")),
            ("home", Some("overlay/home/upper")),
            ("root", Some("overlay/root/upper")),
            ("usr/local", Some("overlay/usr-local/upper")),
            ("var", None),
            ("srv", None),
        ] {
            assert_eq!(between(&all, target).as_deref(), expected, "{target}");
        }
        let mut names: Vec<&str> = all.iter().map(|overlay| overlay.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 7, "each has a place of its own");
    }

    #[test]
    fn without_a_state_or_with_a_strange_one_it_is_the_release_alone() {
        for (last, has_state) in
            [(Some("0123"), false), (None, true), (Some("../x"), true), (Some("a:b"), true)]
        {
            let overlays = plan(last, |_| true, |path| has_state && !path.starts_with("overlay"));
            assert!(overlays.iter().all(|overlay| overlay.between.is_none()), "{last:?}");
        }
        let some = plan(Some("01"), |folder| folder == "etc", |_| true);
        assert_eq!(some.len(), 1);
    }
}
