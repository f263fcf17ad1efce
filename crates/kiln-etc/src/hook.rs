//! What hooks of an installation, upgrade or reset write for a system that does not run yet.
//!
//! A hook that runs in the new root changes `/etc` and `/var` of a generation which gets both of them
//! only at its first start: `/etc` is carried over then, so that nothing is lost which somebody changes
//! before the restart, and a reset forgets what is there now. So what hooks write is kept beside them,
//! as a layer, and laid over when the generation starts. Making `/etc` of the generation at the time of
//! the hook was dropped: whoever has a hook would lose what they change until the restart.
//!
//! ```text
//! kiln/hooks/<release>/etc        upper half of an overlay with what was written
//! kiln/hooks/<release>/accounts/  account files as the hooks found them
//! kiln/hooks/var                  a whole /var, for after a reset
//! ```
//!
//! A layer is made under another name; **the rename that [`Layer::keep`] does is its commit point**. It
//! is removed when it has been laid over; doing that twice changes nothing more.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::accounts::{AccountFile, Accounts, FILE_MAXIMUM, merge};
use crate::error::file;
use crate::family::names;
use crate::file::{read_small, remove, replace, sync_folder};
use crate::{Error, copy, derived, upper};

/// Folder of all layers, below the state. A reset keeps it (`kiln_boot::reset`).
pub const FOLDER: &str = "kiln/hooks";
/// Name of the prepared `/var` in it.
const VAR: &str = "var";
/// End of names of what is not finished.
const DRAFT: &str = ".new";
/// Deepest nesting that is laid over, as deep as is copied.
const DEPTH_MAXIMUM: usize = 128;
/// What overlayfs sets on a folder that hides the one below (overlayfs.rst, "whiteouts and opaque
/// directories").
const OPAQUE: &str = "trusted.overlay.opaque";

/// What hooks write to `/etc` of one release, while they run.
#[derive(Debug)]
pub struct Layer {
    draft: PathBuf,
    kept: PathBuf,
}

impl Layer {
    /// Begins the layer of a release whose own `/etc` is `lower`; what an earlier run left is gone then.
    ///
    /// # Errors
    /// [`Error::File`]; what was kept before is still kept then.
    pub fn begin(state: &Path, release: &str, lower: &Path) -> Result<Self, Error> {
        let kept = layer(state, release);
        let draft = with_end(&kept, DRAFT);
        remove(&draft)?;
        make_private(&draft)?;
        let made = Self { draft, kept };
        let seen = upper::draft(state, release, &made.seen(), lower)?;
        fs::rename(&seen, made.seen()).map_err(file("rename", &seen))?;
        copy::ensure_folder_like(&made.upper(), lower)?;
        make_private(&made.work())?;
        let accounts = made.draft.join("accounts");
        make_private(&accounts)?;
        for name in AccountFile::ALL {
            let seen = read_small(&made.seen().join(name.name()), FILE_MAXIMUM)?;
            let found = match seen {
                Some(seen) => Some(seen),
                None => read_small(&lower.join(name.name()), FILE_MAXIMUM)?,
            };
            if let Some(found) = found {
                replace(&accounts.join(name.name()), &found, 0o600)?;
            }
        }
        Ok(made)
    }

    /// What the machine says of `/etc` now, on top of what the release says: the lower half of the
    /// overlay in which hooks run, above the release's own.
    #[must_use]
    pub fn seen(&self) -> PathBuf {
        self.draft.join("seen")
    }

    /// The upper half, into which hooks write.
    #[must_use]
    pub fn upper(&self) -> PathBuf {
        self.draft.join("etc")
    }

    /// The kernel's work folder.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.draft.join("work")
    }

    /// Keeps what was written until the release starts. The overlay must not be mounted any more.
    ///
    /// # Errors
    /// [`Error::File`]; nothing is kept then.
    pub fn keep(self) -> Result<(), Error> {
        if names(&self.upper())?.is_empty() {
            remove(&self.draft)?;
            return remove(&self.kept);
        }
        remove(&self.seen())?;
        remove(&self.work())?;
        remove(&self.kept)?;
        copy::commit(&self.draft, &self.kept)
    }
}

/// Makes a copy of `factory`, a release's own `/var`, in which hooks write what is there after a reset;
/// gives its place.
///
/// # Errors
/// [`Error::File`].
pub fn begin_var(state: &Path, factory: &Path) -> Result<PathBuf, Error> {
    let kept = state.join(FOLDER).join(VAR);
    make_private(&state.join(FOLDER))?;
    copy::draft(factory, &kept, &|_| false)
}

/// Keeps what [`begin_var`] made until the next start.
///
/// # Errors
/// [`Error::File`]; nothing is kept then.
pub fn keep_var(state: &Path) -> Result<(), Error> {
    let kept = state.join(FOLDER).join(VAR);
    remove(&kept)?;
    copy::commit(&with_end(&kept, DRAFT), &kept)
}

/// Forgets what hooks wrote for a release.
///
/// # Errors
/// [`Error::File`].
pub fn forget(state: &Path, release: &str) -> Result<(), Error> {
    let kept = layer(state, release);
    remove(&with_end(&kept, DRAFT))?;
    remove(&kept)
}

/// Forgets what hooks wrote to `/var` for after a reset.
///
/// # Errors
/// [`Error::File`].
pub fn forget_var(state: &Path) -> Result<(), Error> {
    let kept = state.join(FOLDER).join(VAR);
    remove(&with_end(&kept, DRAFT))?;
    remove(&kept)
}

/// Forgets the layers of releases that are not `needed`, and what is not finished.
pub(crate) fn collect_garbage(state: &Path, needed: &[String]) -> Result<(), Error> {
    for name in names(&state.join(FOLDER))? {
        if name != VAR && !needed.contains(&name) {
            remove(&state.join(FOLDER).join(name))?;
        }
    }
    Ok(())
}

/// The layer of a release, if there is one.
pub(crate) fn kept(state: &Path, release: &str) -> Option<PathBuf> {
    Some(layer(state, release)).filter(|path| path.is_dir())
}

/// What hooks wrote to `/etc` of a release, where that is in memory: it is then laid between the release's
/// own and the memory at each boot, since nothing takes it over.
#[must_use]
pub fn etc_layer(state: &Path, release: &str) -> Option<PathBuf> {
    kept(state, release).map(|layer| layer.join("etc")).filter(|etc| etc.is_dir())
}

/// Puts the prepared `/var` where the machine's is: in its place, or over what a reset kept of it.
pub(crate) fn settle_var(state: &Path) -> Result<(), Error> {
    let (prepared, var) = (state.join(FOLDER).join(VAR), state.join(VAR));
    if !prepared.is_dir() {
        return Ok(());
    }
    if var.symlink_metadata().is_err() {
        // The commit point.
        fs::rename(&prepared, &var).map_err(file("rename", &prepared))?;
        return sync_folder(state);
    }
    lay_over(&prepared, &var, &|_| false)?;
    kiln_sys::machine::write_back_file_system(&var)?;
    remove(&prepared)
}

/// Lays what hooks wrote over the draft of an upper half; sentences say what could not be as both say.
pub(crate) fn lay_etc_over(layer: &Path, draft: &Path, lower: &Path) -> Result<Vec<String>, Error> {
    let etc = layer.join("etc");
    let is_account =
        |path: &Path| AccountFile::ALL.iter().any(|name| path == Path::new(name.name()));
    lay_over(&etc, draft, &|path| derived::is_derived(path) || is_account(path))?;
    let (mut ours, mut theirs) = (Accounts::default(), Accounts::default());
    let mut base = Accounts::default();
    for name in AccountFile::ALL {
        let read = |folder: &Path| read_small(&folder.join(name.name()), FILE_MAXIMUM);
        let before = read(&layer.join("accounts"))?;
        ours.set(name, read(draft)?.or(read(lower)?));
        // What hooks did not touch they did not change.
        theirs.set(name, read(&etc)?.or(before.clone()));
        base.set(name, before);
    }
    let merged = merge(Some(&base), &ours, &theirs);
    for name in AccountFile::ALL {
        if let Some(now) = merged.accounts.get(name).filter(|now| ours.get(name) != Some(*now)) {
            upper::write_accounts(&draft.join(name.name()), &lower.join(name.name()), now)?;
        }
    }
    Ok(merged.notes)
}

/// Lays the upper half of an overlay over a folder, but for what `without` says of paths in it.
fn lay_over(from: &Path, to: &Path, without: &dyn Fn(&Path) -> bool) -> Result<(), Error> {
    fn walk(
        from: &Path,
        to: &Path,
        path: &Path,
        without: &dyn Fn(&Path) -> bool,
        depth: usize,
    ) -> Result<(), Error> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(file("lay over", from)(std::io::Error::other("nested too deeply")));
        };
        for name in fs::read_dir(from).map_err(file("read", from))? {
            let name = name.map_err(file("read", from))?.file_name();
            let (inner, source, target) = (path.join(&name), from.join(&name), to.join(&name));
            if without(&inner) {
                continue;
            }
            let metadata = fs::symlink_metadata(&source).map_err(file("look at", &source))?;
            let present = target.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
            if metadata.is_dir() && present && !is_opaque(&source) {
                walk(&source, &target, &inner, without, depth)?;
                copy::copy_metadata(&source, &metadata, &target)?;
                continue;
            }
            remove(&target)?;
            copy::one(&source, &target)?;
        }
        Ok(())
    }
    walk(from, to, Path::new(""), without, DEPTH_MAXIMUM)
}

/// Whether a folder of an upper half hides what is below it.
fn is_opaque(folder: &Path) -> bool {
    kiln_sys::inode::has_attribute(folder, OPAQUE)
}

/// Whether an entry of an upper half says that there is nothing.
#[must_use]
pub fn is_whiteout(metadata: &fs::Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

fn layer(state: &Path, release: &str) -> PathBuf {
    state.join(FOLDER).join(release)
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut path = path.to_owned();
    path.as_mut_os_string().push(end);
    path
}

/// A folder that only root may look into: account files are in it.
fn make_private(path: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).map_err(file("create", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const OLD: &str = "aaaaaaaaaaaaaaaa";
    const NEW: &str = "bbbbbbbbbbbbbbbb";

    fn write(folder: &Path, path: &str, text: &str) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(folder: &Path, path: &str) -> String {
        fs::read_to_string(folder.join(path)).unwrap_or_else(|_| "-".into())
    }

    /// A state on which a release runs, and the `/etc` of the next one.
    fn machine() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let (state, lower) = (place.path().join("state"), place.path().join("lower"));
        write(&lower, "passwd", "root:x:0:0::/root:/bin/sh\n");
        write(&lower, "group", "root:x:0:\n");
        write(&lower, "hosts", "image\n");
        upper::prepare(&state, OLD, &lower).unwrap();
        write(&state, &format!("etc/{OLD}/site.conf"), "before\n");
        write(&state, &format!("etc/{OLD}/dir/own"), "own\n");
        upper::prepare(&state, OLD, &lower).unwrap();
        (place, state, lower)
    }

    #[test]
    fn what_hooks_wrote_comes_over_what_was_changed_until_the_restart() {
        let (_place, state, lower) = machine();
        let layer = Layer::begin(&state, NEW, &lower).unwrap();
        assert_eq!(read(&layer.seen(), "site.conf"), "before\n");
        write(&layer.upper(), "from-hook", "hook\n");
        write(&layer.upper(), "dir/hook", "hook\n");
        write(&layer.upper(), "ld.so.cache", "derived\n");
        let passwd = "root:x:0:0::/root:/bin/sh\njoe:x:1000:1000::/home/joe:/bin/sh\n";
        write(&layer.upper(), "passwd", passwd);
        write(&layer.upper(), "group", "root:x:0:\njoe:x:1000:\n");
        layer.keep().unwrap();
        // Meanwhile somebody goes on working.
        let running = state.join("etc").join(OLD);
        write(&running, "site.conf", "after\n");
        write(&running, "passwd", "root:x:0:0::/root:/bin/sh\nann:x:1001:1001::/h:/bin/sh\n");
        write(&running, "group", "root:x:0:\nann:x:1001:\n");

        upper::prepare(&state, NEW, &lower).unwrap();
        let etc = state.join("etc").join(NEW);
        assert_eq!(read(&etc, "site.conf"), "after\n");
        assert_eq!(read(&etc, "dir/own"), "own\n");
        assert_eq!(read(&etc, "dir/hook"), "hook\n");
        assert_eq!(read(&etc, "from-hook"), "hook\n");
        assert_eq!(read(&etc, "ld.so.cache"), "-");
        let passwd = read(&etc, "passwd");
        assert!(passwd.contains("joe:x:1000") && passwd.contains("ann:x:1001"), "{passwd}");
        assert_eq!(read(&running, "from-hook"), "-", "going back finds it as it was");
        assert_eq!(kept(&state, NEW), None);

        // A second start is not told anything more, and what is changed stays.
        write(&etc, "from-hook", "mine\n");
        assert_eq!(upper::prepare(&state, NEW, &lower).unwrap(), Vec::<String>::new());
        assert_eq!(read(&etc, "from-hook"), "mine\n");
    }

    #[test]
    fn on_a_new_machine_and_over_an_etc_that_stays() {
        let (_place, state, lower) = machine();
        for (release, has_old) in [(OLD, true), ("cccccccccccccccc", false)] {
            let state = if has_old { state.clone() } else { state.join("new") };
            let layer = Layer::begin(&state, release, &lower).unwrap();
            write(&layer.upper(), "from-hook", "hook\n");
            layer.keep().unwrap();
            upper::prepare(&state, release, &lower).unwrap();
            let etc = state.join("etc").join(release);
            assert_eq!(read(&etc, "from-hook"), "hook\n");
            assert_eq!(read(&etc, "site.conf"), if has_old { "before\n" } else { "-" });
            assert!(!state.join("etc").join(format!("{release}.new")).exists());
        }
    }

    #[test]
    fn what_is_not_kept_never_shows() {
        let (_place, state, lower) = machine();
        let layer = Layer::begin(&state, NEW, &lower).unwrap();
        write(&layer.upper(), "from-hook", "hook\n");
        // The power goes.
        drop(layer);
        upper::prepare(&state, NEW, &lower).unwrap();
        assert_eq!(read(&state, &format!("etc/{NEW}/from-hook")), "-");
        Layer::begin(&state, NEW, &lower).unwrap().keep().unwrap();
        assert_eq!(kept(&state, NEW), None, "nothing was written");
        let layer = Layer::begin(&state, NEW, &lower).unwrap();
        write(&layer.upper(), "from-hook", "hook\n");
        layer.keep().unwrap();
        assert!(kept(&state, NEW).is_some());
        upper::forget(&state, NEW).unwrap();
        assert_eq!(kept(&state, NEW), None);
    }

    #[test]
    fn a_prepared_var_takes_its_place_or_lies_over_what_stayed() {
        let (_place, state, lower) = machine();
        let factory = state.join("factory");
        write(&factory, "lib/pkg", "image\n");
        for stays in [false, true] {
            let _ = fs::remove_dir_all(state.join("var"));
            let var = begin_var(&state, &factory).unwrap();
            write(&var, "lib/rancher/images", "k3s\n");
            if stays {
                write(&state, "var/lib/data", "rows\n");
            }
            keep_var(&state).unwrap();
            upper::prepare(&state, OLD, &lower).unwrap();
            assert_eq!(read(&state, "var/lib/rancher/images"), "k3s\n");
            assert_eq!(read(&state, "var/lib/pkg"), "image\n");
            assert_eq!(read(&state, "var/lib/data"), if stays { "rows\n" } else { "-" });
            assert!(!state.join(FOLDER).join(VAR).exists());
        }
        begin_var(&state, &factory).unwrap();
        forget_var(&state).unwrap();
        assert!(keep_var(&state).is_err());
    }

    #[test]
    fn deleted_things_and_modes_are_laid_over() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        write(&from, "sub/new", "x");
        write(&to, "sub/old", "x");
        write(&to, "gone/inner", "x");
        fs::set_permissions(from.join("sub"), fs::Permissions::from_mode(0o750)).unwrap();
        std::os::unix::fs::symlink("sub", from.join("link")).unwrap();
        let status = std::process::Command::new("mknod")
            .arg(from.join("gone"))
            .args(["c", "0", "0"])
            .status();
        lay_over(&from, &to, &|_| false).unwrap();
        lay_over(&from, &to, &|_| false).unwrap();
        assert_eq!((read(&to, "sub/new"), read(&to, "sub/old")), ("x".into(), "x".into()));
        assert_eq!(fs::metadata(to.join("sub")).unwrap().permissions().mode() & 0o7777, 0o750);
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("sub"));
        if status.is_ok_and(|status| status.success()) {
            assert!(is_whiteout(&fs::symlink_metadata(to.join("gone")).unwrap()));
        }
    }
}
