//! What of the read-only root can be written, and where that goes.
//!
//! `/run/kiln/mounts` says what is wanted (`kiln_etc::mounts`); without it, `/etc`, `/var`, homes and the
//! like are kept. [`layout`] decides what that means for this root, and here it is carried out. `/etc`
//! has one upper half per release, or one in memory, and so have programs that somebody wants to change;
//! `kiln_etc` says what is in them. All else stays read-only.
//!
//! Never through a link: folders of the state are written by the system, and a mount point that is a link
//! would lead anywhere. Volumes are not mounted here: finding them may need the image's own programs.

pub mod layout;

use crate::Error;
use crate::console::note;
use crate::error::file;
use kiln_etc::mounts::{self, MemorySize, Mounts};
use kiln_etc::{EtcMode, copy, format, hook, upper};
use kiln_sys::mount::{self, Options};
use kiln_verity::RootHash;
use layout::{Facts, How, MEMORY, Plan, Step, Store};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The release's own `/etc`, which the overlay hides: what `kiln diff` compares with.
const LOWER_ETC: &str = "/run/kiln/etc/lower";
/// The root without anything mounted in it, while folders are mounted below one another: the kernel
/// stacks at most two overlays, and what is in memory is no part of the release.
const BARE_ROOT: &str = "/run/kiln/bare-root";
/// What may be filled of the memory where nobody says how much: the default of Elemental's second
/// generation.
const MEMORY_SIZE: &str = "25%";
/// Options of `/tmp`.
const TEMPORARY: &str = "mode=1777,size=50%";
/// Options of every overlay, whatever the kernel's own defaults are. An index would tie an upper half
/// to the release that it was made under, and what is renamed or changed in its metadata only must be
/// whole in the upper half, because the next release may not have the rest (overlayfs.rst).
pub(crate) const OPTIONS: &str = "index=off,metacopy=off,redirect_dir=off";

/// The short name of a release in state.
#[must_use]
pub fn release_name(root: &RootHash) -> String {
    kiln_etc::release::release_name(&root.to_string())
}

/// Mounts everything writable. `etc` is what the command line says of changes in `/etc`.
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
    let wanted = read_wanted(Path::new(mounts::PATH))?;
    let plan = layout::plan(
        &wanted,
        &Facts {
            release: &release,
            etc: EtcMode::choose(etc, sysroot)?,
            in_root: &|path| is_real_folder(sysroot, path),
            in_state: &|path| is_real_folder(&state, path),
        },
    );
    let mut notes = plan.notes.clone();
    if plan.has_programs() {
        notes.extend(upper::prepare_programs(&state, &release)?);
    }
    notes.extend(match plan.keeps_etc() {
        true => upper::prepare(&state, &release, &sysroot.join("etc"))?,
        false => upper::prepare_ephemeral(&state),
    });
    for text in notes {
        note(&text);
    }
    if plan.needs_memory() {
        make_memory(wanted.memory())?;
    }
    let of_hooks = if plan.keeps_etc() { None } else { hook::etc_layer(&state, &release) };
    Mounting { sysroot, state: &state, plan: &plan, of_hooks }.carry_out()
}

/// What is wanted on this boot; a file that cannot be read is an error, since guessing would keep what
/// was to be forgotten, or forget what was to be kept.
fn read_wanted(path: &Path) -> Result<Mounts, Error> {
    if path.symlink_metadata().is_err() {
        return Ok(Mounts::default());
    }
    let limit = mounts::format::MAXIMUM_LENGTH as u64;
    let bytes = kiln_etc::file::read_small(path, limit)?.unwrap_or_default();
    Ok(mounts::format::parse(&bytes)?)
}

/// Whether a path below `folder` leads to a folder through folders only.
fn is_real_folder(folder: &Path, path: &str) -> bool {
    let mut at = folder.to_owned();
    path.split('/').all(|name| {
        at.push(name);
        at.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
    })
}

/// Makes the folder `path` below `folder` with all above it; `false` where something else has its name.
fn make_point(folder: &Path, path: &str) -> Result<bool, Error> {
    let mut at = folder.to_owned();
    for name in path.split('/') {
        at.push(name);
        match at.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                fs::create_dir(&at).map_err(file("create", &at))?;
                let mode = fs::Permissions::from_mode(0o755);
                fs::set_permissions(&at, mode).map_err(file("change", &at))?;
            }
            Err(error) => return Err(file("look at", &at)(error)),
        }
    }
    Ok(true)
}

fn make_memory(size: Option<&MemorySize>) -> Result<(), Error> {
    let memory = Path::new(MEMORY);
    fs::create_dir_all(memory).map_err(file("create", memory))?;
    let size = size.map_or(MEMORY_SIZE, MemorySize::as_str);
    let options = format!("mode=0755,size={size}");
    Ok(mount::mount("tmpfs", memory, "tmpfs", Options::default(), &options)?)
}

/// A plan that is being carried out.
struct Mounting<'a> {
    sysroot: &'a Path,
    state: &'a Path,
    plan: &'a Plan,
    /// What hooks wrote to an `/etc` that is in memory.
    of_hooks: Option<PathBuf>,
}

impl Mounting<'_> {
    fn carry_out(&self) -> Result<(), Error> {
        let is_nested = self.plan.steps.iter().any(|step| self.plan.is_nested(step));
        let bare = Path::new(BARE_ROOT);
        if is_nested {
            fs::create_dir_all(bare).map_err(file("create", bare))?;
            mount::bind(self.sysroot, bare)?;
        }
        // All of the release's `/var` comes first: a later layout may keep the whole of it.
        let (var, kept) = (self.sysroot.join("var"), self.state.join("var"));
        if self.plan.shows_var() && var.is_dir() && !kept.is_dir() {
            copy::folder(&var, &kept, &|_| false)?;
        }
        for step in &self.plan.steps {
            self.step(step)?;
        }
        if is_nested {
            mount::detach(bare)?;
        }
        Ok(())
    }

    fn step(&self, step: &Step) -> Result<(), Error> {
        let target = self.sysroot.join(&step.target);
        if !make_point(self.sysroot, &step.target)? {
            note(&format!("/{} is left as it is: it is no folder any more", step.target));
            return Ok(());
        }
        // The release's own folder, whatever is mounted above it by now.
        let lower = match self.plan.is_nested(step) {
            true => Path::new(BARE_ROOT).join(&step.target),
            false => target.clone(),
        };
        match &step.how {
            How::Overlay { upper, work } => {
                if step.target == "etc" {
                    show_lower(&lower)?;
                }
                let above = self.of_hooks.as_deref().filter(|_| step.target == "etc");
                let lowers: Vec<&Path> = above.into_iter().chain([lower.as_path()]).collect();
                mount_overlay(&target, &lowers, &self.place(upper), &self.place(work))
            }
            How::Bind { source, copied } => {
                let source = self.place(source);
                if !source.is_dir() {
                    let above = source.parent().unwrap_or(self.state);
                    fs::create_dir_all(above).map_err(file("create", above))?;
                    match copied {
                        true => copy::folder(&lower, &source, &|_| false)?,
                        false => copy::ensure_folder_like(&source, &target)?,
                    }
                }
                Ok(mount::bind(&source, &target)?)
            }
            // systemd's own tmp.mount finds this one and leaves it; images without that unit need it.
            How::Temporary => {
                let options = Options { no_set_user: true, no_devices: true, ..Options::default() };
                Ok(mount::mount("tmpfs", &target, "tmpfs", options, TEMPORARY)?)
            }
        }
    }

    fn place(&self, store: &Store) -> PathBuf {
        match store {
            Store::State(place) => self.state.join(place),
            Store::Memory(path) => PathBuf::from(path),
        }
    }
}

/// Lets programs see what the overlay will hide.
fn show_lower(etc: &Path) -> Result<(), Error> {
    let shown = Path::new(LOWER_ETC);
    fs::create_dir_all(shown).map_err(file("create", shown))?;
    Ok(mount::bind(etc, shown)?)
}

/// Mounts an overlay over `lowers`, the topmost first; the last is the release's own folder.
fn mount_overlay(target: &Path, lowers: &[&Path], upper: &Path, work: &Path) -> Result<(), Error> {
    if let Some(own) = lowers.last() {
        copy::ensure_folder_like(upper, own)?;
    }
    fs::create_dir_all(work).map_err(file("create", work))?;
    let lowers: Vec<String> = lowers.iter().map(|lower| lower.display().to_string()).collect();
    let data = format!(
        "lowerdir={},upperdir={},workdir={},{OPTIONS}",
        lowers.join(":"),
        upper.display(),
        work.display()
    );
    Ok(mount::mount("overlay", target, "overlay", Options::default(), &data)?)
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
mod tests;
