//! What of the read-only root can be written, and where that goes.
//!
//! `/etc` has one upper half per release, or one in memory; `kiln_etc` says which and what is in it.
//! `/var` is the machine's alone, filled once from the image. The rest are plain overlays. All else
//! stays read-only.

use crate::Error;
use crate::console::note;
use crate::error::file;
use kiln_etc::{EtcMode, copy, format, upper};
use kiln_sys::mount::{self, Options};
use kiln_verity::RootHash;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders with a plain overlay.
const FOLDERS: [&str; 5] = ["home", "root", "srv", "opt", "usr/local"];
/// The release's own `/etc`, which the overlay hides: what `kiln diff` compares with.
const LOWER_ETC: &str = "/run/kiln/etc/lower";
/// Upper half and work folder of an `/etc` that is not kept.
const EPHEMERAL_ETC: [&str; 2] = ["/run/kiln/etc/upper", "/run/kiln/etc/work"];
/// Options of every overlay, whatever the kernel's own defaults are. An index would tie an upper half
/// to the release that it was made under, and what is renamed or changed in its metadata only must be
/// whole in the upper half, because the next release may not have the rest (overlayfs.rst).
pub(crate) const OPTIONS: &str = "index=off,metacopy=off,redirect_dir=off";

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
    kiln_etc::release::release_name(&root.to_string())
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

/// Mounts everything writable: overlays, `/var` and `/tmp`. `etc` is what the command line says of
/// changes in `/etc`.
pub(crate) fn mount_writable(
    sysroot: &Path,
    root: &RootHash,
    etc: Option<EtcMode>,
) -> Result<(), Error> {
    let state = sysroot.join("state");
    if let Some(version) = format::migrate(&state)? {
        note(&format!("state brought from format {version} to {}", format::CURRENT));
    }
    for folder in ["etc", "identity", "kiln", "overlay"] {
        let path = state.join(folder);
        fs::create_dir_all(&path).map_err(file("create", &path))?;
    }
    let release = release_name(root);
    let mode = EtcMode::choose(etc, sysroot)?;
    let notes = match mode {
        EtcMode::Persistent => upper::prepare(&state, &release, &sysroot.join("etc"))?,
        EtcMode::Ephemeral => upper::prepare_ephemeral(&state),
    };
    for text in notes {
        note(&text);
    }
    for overlay in plan(&release, |target| sysroot.join(target).is_dir()) {
        let (mut upper, mut work) = (state.join(&overlay.upper), state.join(&overlay.work));
        if overlay.target == "etc" {
            show_lower(&sysroot.join("etc"))?;
            if mode == EtcMode::Ephemeral {
                [upper, work] = EPHEMERAL_ETC.map(PathBuf::from);
            }
        }
        mount_overlay(&sysroot.join(&overlay.target), &upper, &work)?;
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

/// Lets programs see what the overlay will hide.
fn show_lower(etc: &Path) -> Result<(), Error> {
    let shown = Path::new(LOWER_ETC);
    fs::create_dir_all(shown).map_err(file("create", shown))?;
    Ok(mount::bind(etc, shown)?)
}

fn mount_overlay(target: &Path, upper: &Path, work: &Path) -> Result<(), Error> {
    copy::ensure_folder_like(upper, target)?;
    fs::create_dir_all(work).map_err(file("create", work))?;
    let data = format!(
        "lowerdir={},upperdir={},workdir={},{OPTIONS}",
        target.display(),
        upper.display(),
        work.display()
    );
    Ok(mount::mount("overlay", target, "overlay", Options::default(), &data)?)
}

fn mount_var(sysroot: &Path, state: &Path) -> Result<(), Error> {
    let (target, source) = (sysroot.join("var"), state.join("var"));
    if !target.is_dir() {
        return Ok(());
    }
    if !source.is_dir() {
        copy::folder(&target, &source, &|_| false)?;
    }
    Ok(mount::bind(&source, &target)?)
}

/// Shows the owner's configuration, which lies on the state, at `/oem`: in every mode, because recovery
/// is where a configuration is repaired.
pub(crate) fn mount_oem(sysroot: &Path) -> Result<(), Error> {
    let (target, source) = (sysroot.join("oem"), sysroot.join("state/oem"));
    // A release that was made before there was such a folder still starts.
    if !target.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(&source).map_err(file("create", &source))?;
    Ok(mount::bind(&source, &target)?)
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
    fn a_release_is_named_by_its_first_digits() {
        assert_eq!(release_name(&RootHash([0xab; 32])), "ab".repeat(8));
    }
}
