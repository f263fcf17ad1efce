//! Loading kernel modules: the listed ones at once, the others when a device asks.
//!
//! One that fails is noted and passed over: whether the machine can boot shows soon enough, and the
//! message about the missing disk is better than one about a driver for something else.

use crate::Error;
use crate::console::note;
use crate::error::file;
use kiln_boot::manifest::{MODULE_FOLDER, Manifest, PATH};
use std::path::Path;

/// The modules of the initramfs and what was done with them.
#[derive(Debug, Default)]
pub struct Modules {
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
        let path = folder.join(PATH);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            other => other.map_err(file("read", &path))?,
        };
        let manifest = Manifest::parse(&text)?;
        let tried = vec![false; manifest.modules.len()];
        Ok(Self { manifest, tried })
    }

    /// Loads what every boot needs.
    pub fn load_always(&mut self) {
        let wanted = self.manifest.always();
        self.load(&wanted);
    }

    /// Loads what fits a device.
    pub fn load_for(&mut self, modalias: &str) {
        let wanted = self.manifest.matching(modalias);
        self.load(&wanted);
    }

    fn load(&mut self, wanted: &[usize]) {
        for index in pending(&self.manifest, &self.tried, wanted) {
            if let (Some(tried), Some(module)) =
                (self.tried.get_mut(index), self.manifest.modules.get(index))
            {
                *tried = true;
                let path = Path::new("/").join(MODULE_FOLDER).join(&module.file);
                if let Err(error) = kiln_sys::module::load(&path) {
                    note(&Error::from(error).sentence());
                }
            }
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
    fn an_initramfs_without_manifest_has_no_modules() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Modules::open(folder.path()).unwrap().tried.is_empty());
        std::fs::create_dir(folder.path().join("kiln")).unwrap();
        std::fs::write(folder.path().join(PATH), "nonsense\n").unwrap();
        assert!(matches!(Modules::open(folder.path()), Err(Error::Manifest(_))));
    }
}
