//! What of the read-only root can be written, and where that goes.
//!
//! `/etc` has one upper half per release, copied from the one that ran before: going back to a
//! release finds the configuration it had. `/var` is the machine's alone, filled once from the
//! image. The rest are plain overlays. All else stays read-only.

use crate::Error;
use crate::console::note;
use crate::copy;
use crate::error::file;
use kiln_sys::mount::{self, Options};
use kiln_verity::RootHash;
use std::fs;
use std::path::{Path, PathBuf};

/// Hexadecimal digits of the root hash that name a release: 64 bits, and short enough to read.
const RELEASE_DIGITS: usize = 16;
/// Folders with a plain overlay.
const FOLDERS: [&str; 5] = ["home", "root", "srv", "opt", "usr/local"];
/// Files of `/etc` that programs derive from the image; a new release derives its own.
const DERIVED: [&str; 2] = ["ld.so.cache", ".updated"];
/// Names the release whose `/etc` was mounted last.
const LAST_RELEASE: &str = "kiln/etc-release";

/// One overlay; paths are relative to root (`target`) and state (the others).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Folder of the root.
    pub target: String,
    /// Where changes are.
    pub upper: String,
    /// The kernel's work folder.
    pub work: String,
}

/// The short name of a release in state.
#[must_use]
pub fn release_name(root: &RootHash) -> String {
    let mut text = root.to_string();
    text.truncate(RELEASE_DIGITS);
    text
}

/// The overlays for a root in which only the folders that satisfy `exists` are there.
#[must_use]
pub fn plan(release: &str, exists: impl Fn(&str) -> bool) -> Vec<Overlay> {
    let etc = Overlay {
        target: "etc".into(),
        upper: format!("etc/{release}"),
        work: "overlay/etc/work".into(),
    };
    let plain = FOLDERS.iter().map(|folder| {
        let name = folder.replace('/', "-");
        Overlay {
            target: (*folder).into(),
            upper: format!("overlay/{name}/upper"),
            work: format!("overlay/{name}/work"),
        }
    });
    std::iter::once(etc).chain(plain).filter(|overlay| exists(&overlay.target)).collect()
}

/// Which release's `/etc` a new release starts from: the one that ran last, else the greatest of
/// `present` by time of change. `None` on a new machine.
#[must_use]
pub fn predecessor<Time: Ord>(
    release: &str,
    last: Option<&str>,
    present: &[(String, Time)],
) -> Option<String> {
    let is_release = |name: &str| {
        name != release
            && name.len() == RELEASE_DIGITS
            && name.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let mut candidates: Vec<&(String, Time)> =
        present.iter().filter(|(name, _)| is_release(name)).collect();
    candidates.sort_by(|a, b| a.1.cmp(&b.1));
    let named = candidates.iter().find(|(name, _)| Some(name.as_str()) == last);
    named.or(candidates.last()).map(|(name, _)| name.clone())
}

/// Mounts everything writable: overlays, `/var` and `/tmp`.
pub(crate) fn mount_writable(sysroot: &Path, root: &RootHash) -> Result<(), Error> {
    let state = sysroot.join("state");
    let release = release_name(root);
    for folder in ["etc", "identity", "kiln", "overlay"] {
        let path = state.join(folder);
        fs::create_dir_all(&path).map_err(file("create", &path))?;
    }
    prepare_etc(&state, &release)?;
    for overlay in plan(&release, |target| sysroot.join(target).is_dir()) {
        mount_overlay(sysroot, &state, &overlay)?;
    }
    mount_var(sysroot, &state)?;
    // systemd's own tmp.mount finds this one and leaves it; images without that unit need it.
    let temporary = sysroot.join("tmp");
    if temporary.is_dir() {
        let options = Options { no_set_user: true, no_devices: true, ..Options::default() };
        mount::mount("tmpfs", &temporary, "tmpfs", options, "mode=1777,size=50%")?;
    }
    Ok(())
}

fn mount_overlay(sysroot: &Path, state: &Path, overlay: &Overlay) -> Result<(), Error> {
    let target = sysroot.join(&overlay.target);
    let (upper, work) = (state.join(&overlay.upper), state.join(&overlay.work));
    copy::ensure_folder_like(&upper, &target)?;
    fs::create_dir_all(&work).map_err(file("create", &work))?;
    let data = format!(
        "lowerdir={},upperdir={},workdir={}",
        target.display(),
        upper.display(),
        work.display()
    );
    Ok(mount::mount("overlay", &target, "overlay", Options::default(), &data)?)
}

/// Gives a new release the `/etc` of the one before it, and remembers which one runs now.
fn prepare_etc(state: &Path, release: &str) -> Result<(), Error> {
    let (folder, marker) = (state.join("etc"), state.join(LAST_RELEASE));
    let last = fs::read_to_string(&marker).ok();
    let last = last.as_deref().map(str::trim_end);
    let upper = folder.join(release);
    if !upper.is_dir() {
        let present = releases(&folder)?;
        if let Some(from) = predecessor(release, last, &present) {
            copy::folder(&folder.join(&from), &upper, &DERIVED)?;
            note(&format!("configuration of release {from} carried over"));
        }
    }
    if last != Some(release) {
        replace_file(&marker, format!("{release}\n").as_bytes())?;
    }
    Ok(())
}

fn releases(folder: &Path) -> Result<Vec<(String, std::time::SystemTime)>, Error> {
    let mut present = Vec::new();
    for entry in fs::read_dir(folder).map_err(file("read", folder))? {
        let entry = entry.map_err(file("read", folder))?;
        let changed = entry.metadata().and_then(|metadata| metadata.modified());
        if let (Ok(name), Ok(changed)) = (entry.file_name().into_string(), changed) {
            present.push((name, changed));
        }
    }
    Ok(present)
}

fn mount_var(sysroot: &Path, state: &Path) -> Result<(), Error> {
    let (target, source) = (sysroot.join("var"), state.join("var"));
    if !target.is_dir() {
        return Ok(());
    }
    if !source.is_dir() {
        copy::folder(&target, &source, &[])?;
    }
    Ok(mount::bind(&source, &target)?)
}

/// Writes a small file so that it has the old or the new content, whatever happens.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut partial: PathBuf = path.to_owned();
    partial.as_mut_os_string().push(".new");
    let write = || -> std::io::Result<()> {
        let mut new = fs::File::create(&partial)?;
        std::io::Write::write_all(&mut new, bytes)?;
        new.sync_all()?;
        fs::rename(&partial, path)?;
        match path.parent() {
            Some(folder) => fs::File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_only_where_the_image_has_the_folder() {
        let all = plan("0123456789abcdef", |_| true);
        assert_eq!(all.len(), 6);
        assert_eq!(all[0].upper, "etc/0123456789abcdef");
        let last = Overlay {
            target: "usr/local".into(),
            upper: "overlay/usr-local/upper".into(),
            work: "overlay/usr-local/work".into(),
        };
        assert_eq!(all[5], last);
        let some = plan("0123456789abcdef", |folder| folder == "etc" || folder == "opt");
        let targets: Vec<&str> = some.iter().map(|overlay| overlay.target.as_str()).collect();
        assert_eq!(targets, ["etc", "opt"]);
    }

    #[test]
    fn a_new_release_follows_the_one_that_ran_last() {
        let (a, b) = ("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb");
        let present = |names: &[(&str, u32)]| -> Vec<(String, u32)> {
            names.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect()
        };
        let both = present(&[(a, 5), (b, 3), ("cccccccccccccccc.new", 9), ("lost+found", 8)]);
        let cases = [
            (Some(b), &both, Some(b)),
            (None, &both, Some(a)),
            (Some("dddddddddddddddd"), &both, Some(a)),
            (Some("lost+found"), &both, Some(a)),
        ];
        for (last, present, expected) in cases {
            let found = predecessor("0123456789abcdef", last, present);
            assert_eq!(found.as_deref(), expected, "{last:?}");
        }
        assert_eq!(predecessor(a, Some(a), &both).as_deref(), Some(b));
        assert_eq!(predecessor::<u32>(a, None, &[]), None);
    }

    #[test]
    fn a_release_is_named_by_its_first_digits() {
        assert_eq!(release_name(&RootHash([0xab; 32])), "ab".repeat(8));
    }

    #[test]
    fn etc_is_carried_over_without_derived_files() {
        let state = tempfile::tempdir().unwrap();
        let old = state.path().join("etc/aaaaaaaaaaaaaaaa");
        fs::create_dir_all(&old).unwrap();
        fs::create_dir_all(state.path().join("kiln")).unwrap();
        fs::write(old.join("hostname"), b"node").unwrap();
        fs::write(old.join("ld.so.cache"), b"x").unwrap();
        prepare_etc(state.path(), "bbbbbbbbbbbbbbbb").unwrap();
        let new = state.path().join("etc/bbbbbbbbbbbbbbbb");
        assert_eq!(fs::read(new.join("hostname")).unwrap(), b"node");
        assert!(!new.join("ld.so.cache").exists());
        // Back to the old one: its own is left as it was.
        fs::write(new.join("hostname"), b"changed").unwrap();
        prepare_etc(state.path(), "aaaaaaaaaaaaaaaa").unwrap();
        assert_eq!(fs::read(old.join("hostname")).unwrap(), b"node");
        let marker = fs::read_to_string(state.path().join(LAST_RELEASE)).unwrap();
        assert_eq!(marker, "aaaaaaaaaaaaaaaa\n");
    }
}
