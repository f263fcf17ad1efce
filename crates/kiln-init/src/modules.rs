//! Loading kernel modules: the listed ones at once, the others when a device asks, and those of the
//! root after it was verified.
//!
//! One that fails is noted and passed over: whether the machine can boot shows soon enough, and the
//! message about the missing disk is better than one about a driver for something else.

use crate::Error;
use crate::console::note;
use crate::error::file;
use crate::settle;
use kiln_boot::manifest::{LATE_FOLDER, LATE_MANIFEST, MODULE_FOLDER, Manifest, PATH};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

/// Where the kernel says which release it is.
pub(crate) const RELEASE: &str = "/proc/sys/kernel/osrelease";
/// Watchdog drivers whose names do not end in [`WATCHDOG_ENDING`] (kernel, drivers/watchdog).
const WATCHDOGS: [&str; 3] = ["i6300esb", "ipmi_watchdog", "sp5100_tco"];
/// How the others end. The kernel's `softdog` has no such name: a kernel that hangs does not run it.
const WATCHDOG_ENDING: &str = "wdt";

/// The modules of one folder and what was done with them.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    folder: PathBuf,
    manifest: Manifest,
    tried: Vec<bool>,
}

/// Which modules to load now, in order, so that all of `wanted` are loaded; `tried` are not tried
/// again.
#[must_use]
pub fn pending(manifest: &Manifest, tried: &[bool], wanted: &[usize]) -> Vec<usize> {
    let mut needed: Vec<usize> = wanted
        .iter()
        .filter(|&&index| !tried.get(index).copied().unwrap_or(true))
        .flat_map(|&index| manifest.closure(index))
        .filter(|&index| !tried.get(index).copied().unwrap_or(true))
        .collect();
    needed.sort_unstable();
    needed.dedup();
    needed
}

impl Modules {
    /// Reads the manifest below `folder` (the root of the initramfs). None means that the kernel
    /// has everything built in.
    ///
    /// # Errors
    /// A manifest that cannot be read or is damaged.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Self::read(&folder.join(PATH), folder.join(MODULE_FOLDER))
    }

    /// Reads the manifest of what the verified root has for this kernel release.
    ///
    /// # Errors
    /// As [`Modules::open`].
    pub fn open_late(sysroot: &Path, release: &str) -> Result<Self, Error> {
        let folder = sysroot.join(LATE_FOLDER).join(release);
        Self::read(&folder.join(LATE_MANIFEST), folder)
    }

    fn read(path: &Path, folder: PathBuf) -> Result<Self, Error> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            other => other.map_err(file("read", path))?,
        };
        let manifest = Manifest::parse(&text)?;
        let tried = vec![false; manifest.modules.len()];
        Ok(Self { folder, manifest, tried })
    }

    /// Indexes of the modules that fit a device and were not tried yet, ascending.
    #[must_use]
    pub fn fitting(&self, modalias: &str) -> Vec<usize> {
        let mut fitting = self.manifest.matching(modalias);
        fitting.retain(|&index| self.tried.get(index) == Some(&false));
        fitting
    }

    /// Whether a module drives a hardware watchdog.
    #[must_use]
    pub fn is_watchdog(&self, index: usize) -> bool {
        self.manifest.modules.get(index).is_some_and(|module| names_watchdog(&module.file))
    }

    /// Whether a module is a driver that shows all its disks while it is loaded, or drives none.
    #[must_use]
    pub fn probes(&self, index: usize) -> bool {
        let module = self.manifest.modules.get(index);
        self.is_watchdog(index) || module.is_some_and(|module| settle::probes(&module.file))
    }

    /// Loads one module with what it needs.
    pub fn load_one(&mut self, index: usize) {
        self.load(&[index], |_| false);
    }

    /// Loads what every boot needs. What is known to drive no device does not wait for drivers that
    /// another thread loads meanwhile; what somebody asked for by name may be a driver, and does.
    pub fn load_always(&mut self) {
        let wanted = self.manifest.always();
        self.load(&wanted, settle::drives_nothing);
    }

    /// Loads what every boot needs, none of which drives a device, without waiting for drivers that
    /// another thread loads meanwhile.
    pub fn load_always_at_once(&mut self) {
        let wanted = self.manifest.always();
        self.load(&wanted, |_| true);
    }

    /// Loads the module of a file, with what it needs.
    pub fn load_file(&mut self, name: &str) {
        if let Some(index) = self.manifest.modules.iter().position(|module| module.file == name) {
            self.load_one(index);
        }
    }

    /// Loads what fits a device.
    pub fn load_for(&mut self, modalias: &str) {
        let wanted = self.manifest.matching(modalias);
        self.load(&wanted, |_| false);
    }

    /// Loads modules; `is_alone` says of a file whether it waits for no other driver.
    fn load(&mut self, wanted: &[usize], is_alone: fn(&str) -> bool) {
        for index in pending(&self.manifest, &self.tried, wanted) {
            if let (Some(tried), Some(module)) =
                (self.tried.get_mut(index), self.manifest.modules.get(index))
            {
                *tried = true;
                let path = self.folder.join(&module.file);
                let loaded = if is_alone(&module.file) {
                    kiln_sys::module::load_at_once(&path)
                } else {
                    kiln_sys::module::load(&path)
                };
                if let Err(error) = loaded {
                    note(&Error::from(error).sentence());
                }
            }
        }
    }
}

/// Whether a module file is that of a hardware watchdog. Names are all there is: a device does not
/// say what it is for.
fn names_watchdog(file: &str) -> bool {
    let name = file.split('.').next().unwrap_or_default().replace('-', "_");
    WATCHDOGS.contains(&name.as_str()) || name.ends_with(WATCHDOG_ENDING)
}

/// Loads what every boot needs beside the caller, until [`Background::wait`]: a disk controller that
/// the caller's drivers reset meanwhile does not keep the root from being proved.
///
/// This `Modules` keeps its own account of what was tried: where both ways lead to one module, the
/// kernel lets the second wait until the first is done, so both may rely on it afterwards.
#[must_use]
pub(crate) fn load_always_beside(modules: Modules) -> Background {
    beside(modules, Modules::load_always)
}

/// Loading that goes on beside the first process.
pub(crate) struct Background(Option<JoinHandle<()>>);

impl Background {
    /// Returns when all of it is loaded.
    pub(crate) fn wait(self) {
        if let Some(thread) = self.0 {
            // A panic never gets here: it ends the boot.
            let _ = thread.join();
        }
    }
}

/// Loads what the root has for this kernel beside the caller, until [`Background::wait`]: state and
/// overlays need it.
///
/// # Errors
/// A manifest that cannot be read or is damaged.
pub(crate) fn load_late_beside(sysroot: &Path) -> Result<Background, Error> {
    let release = fs::read_to_string(RELEASE).map_err(file("read", RELEASE))?;
    let modules = Modules::open_late(sysroot, release.trim_end())?;
    Ok(beside(modules, Modules::load_always_at_once))
}

/// Runs `work` in a thread of its own, or at once where there can be none.
fn beside(mut modules: Modules, work: fn(&mut Modules)) -> Background {
    let mut fallback = modules.clone();
    match thread::Builder::new().spawn(move || work(&mut modules)) {
        Ok(thread) => Background(Some(thread)),
        Err(_) => {
            work(&mut fallback);
            Background(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first_and_nothing_comes_twice() {
        let manifest = Manifest::parse(
            "module 0 a.ko match -\nmodule 1 b.ko match 0\nmodule 2 c.ko match -\n\
             module 3 d.ko match 1,2\n",
        )
        .unwrap();
        let cases: [(&[bool], &[usize], &[usize]); 5] = [
            (&[false; 4], &[3], &[0, 1, 2, 3]),
            (&[false; 4], &[2, 1], &[0, 1, 2]),
            (&[true, false, false, false], &[3], &[1, 2, 3]),
            (&[false, false, false, true], &[3], &[]),
            (&[false; 4], &[9], &[]),
        ];
        for (tried, wanted, expected) in cases {
            assert_eq!(pending(&manifest, tried, wanted), expected, "{tried:?} {wanted:?}");
        }
    }

    #[test]
    fn watchdogs_are_known_by_name() {
        let cases = [
            ("i6300esb.ko.xz", true),
            ("iTCO_wdt.ko", true),
            ("sp5100-tco.ko.zst", true),
            ("hpwdt.ko", true),
            ("sbsa_gwdt.ko", true),
            ("softdog.ko", false),
            ("ahci.ko.xz", false),
            ("", false),
        ];
        for (file, expected) in cases {
            assert_eq!(names_watchdog(file), expected, "{file}");
        }
    }

    #[test]
    fn an_initramfs_without_manifest_has_no_modules() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Modules::open(folder.path()).unwrap().tried.is_empty());
        std::fs::create_dir(folder.path().join("kiln")).unwrap();
        std::fs::write(folder.path().join(PATH), "nonsense\n").unwrap();
        assert!(matches!(Modules::open(folder.path()), Err(Error::Manifest(_))));
    }

    #[test]
    fn the_root_has_modules_for_one_release() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(LATE_FOLDER).join("6.12");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(LATE_MANIFEST), "module 0 overlay.ko always -\n").unwrap();
        let modules = Modules::open_late(root.path(), "6.12").unwrap();
        assert_eq!((modules.manifest.always(), modules.folder), (vec![0], folder));
        assert!(Modules::open_late(root.path(), "6.13").unwrap().tried.is_empty());
    }
}
