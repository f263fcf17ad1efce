//! Finding systemd's stub and boot loader in an image, and shim where the image has one for it.
//!
//! Both come from the image (or from one given beside it) and never from the machine that builds:
//! what a system starts from must be a function of its sources. Every distribution that ships
//! systemd-boot puts the files into the same folder.

use kiln_tree::{ContentStore, Tree};

use crate::loader_set::{FOLDER, LIMIT, LoaderSet};
use crate::uki::format::Architecture;
use crate::{Error, source, uki};

/// EFI programs of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootPrograms {
    /// The stub that becomes the beginning of each UKI.
    pub stub: Vec<u8>,
    /// systemd-boot, and shim where that starts it.
    pub loaders: LoaderSet,
    /// systemd's stub of addons, which there is since systemd 254.
    pub addon_stub: Option<Vec<u8>>,
}

impl BootPrograms {
    /// Finds stub and loader for an architecture.
    ///
    /// # Errors
    /// [`Error::NoBootFile`] names the one that is missing; a file that is no EFI program of that
    /// architecture is damaged.
    pub fn find(
        tree: &Tree,
        store: &dyn ContentStore,
        architecture: Architecture,
    ) -> Result<Self, Error> {
        let suffix = architecture.efi_suffix();
        let stub_name = format!("{FOLDER}/linux{suffix}.efi.stub");
        let stub = only(tree, store, "systemd stub", architecture, &stub_name)?;
        let read = |path: &str| source::read(tree, store, path.as_bytes(), LIMIT.into());
        let Some(loaders) = LoaderSet::find(architecture, read)? else {
            let path = format!("{FOLDER}/systemd-boot{suffix}.efi");
            return Err(Error::NoBootFile { what: "boot loader", path });
        };
        check(&loaders.loader.path, &loaders.loader.bytes, architecture)?;
        let addon_name = format!("{FOLDER}/addon{suffix}.efi.stub");
        let addon_stub = match only(tree, store, "stub of addons", architecture, &addon_name) {
            Ok(bytes) => Some(bytes),
            Err(Error::NoBootFile { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { stub, loaders, addon_stub })
    }

    /// The programs with paths where [`BootPrograms::find`] finds them again.
    #[must_use]
    pub fn files(&self, architecture: Architecture) -> Vec<(String, &[u8])> {
        let suffix = architecture.efi_suffix();
        let mut files = vec![(format!("{FOLDER}/linux{suffix}.efi.stub"), self.stub.as_slice())];
        files.extend(self.loaders.files());
        if let Some(addon_stub) = &self.addon_stub {
            files.push((format!("{FOLDER}/addon{suffix}.efi.stub"), addon_stub));
        }
        files
    }
}

fn only(
    tree: &Tree,
    store: &dyn ContentStore,
    what: &'static str,
    architecture: Architecture,
    path: &str,
) -> Result<Vec<u8>, Error> {
    let found = source::read(tree, store, path.as_bytes(), LIMIT.into())?;
    let bytes = found.ok_or_else(|| Error::NoBootFile { what, path: path.to_owned() })?;
    check(path, &bytes, architecture)?;
    Ok(bytes)
}

fn check(path: &str, bytes: &[u8], architecture: Architecture) -> Result<(), Error> {
    let damaged = |reason: String| Error::Damaged { path: path.to_owned(), reason };
    let parsed = uki::parse(bytes).map_err(|error| damaged(error.to_string()))?;
    if parsed.architecture == Some(architecture) {
        Ok(())
    } else {
        Err(damaged(format!("it is not for {}", architecture.name())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{Image, stub_file};

    #[test]
    fn programs_are_found_by_architecture() {
        let mut image = Image::default();
        let find = |image: &Image, architecture| {
            BootPrograms::find(&image.tree, &image.store, architecture)
        };
        let error = find(&image, Architecture::X86_64).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the image has no systemd stub (usr/lib/systemd/boot/efi/linuxx64.efi.stub)"
        );
        image.bytes(&format!("{FOLDER}/linuxx64.efi.stub"), &stub_file(0x8664));
        let error = find(&image, Architecture::X86_64).unwrap_err();
        assert!(error.to_string().contains("no boot loader"), "{error}");
        assert!(error.hint().unwrap().contains("--boot-files"));
        image.bytes(&format!("{FOLDER}/systemd-bootx64.efi"), &stub_file(0x8664));
        image.bytes(&format!("{FOLDER}/systemd-bootx64.efi.signed"), &stub_file(0x8664));
        let programs = find(&image, Architecture::X86_64).unwrap();
        assert_eq!(programs.loaders.loader.path, format!("{FOLDER}/systemd-bootx64.efi.signed"));
        assert_eq!(programs.addon_stub, None, "older than systemd 254");
        image.bytes(&format!("{FOLDER}/addonx64.efi.stub"), &stub_file(0x8664));
        let programs = find(&image, Architecture::X86_64).unwrap();
        assert!(programs.addon_stub.is_some());
        let mut copy = Image::default();
        for (path, bytes) in programs.files(Architecture::X86_64) {
            copy.bytes(&path, bytes);
        }
        assert_eq!(find(&copy, Architecture::X86_64).unwrap(), programs);
        assert!(matches!(
            find(&image, Architecture::Aarch64),
            Err(Error::NoBootFile { what: "systemd stub", .. })
        ));
    }

    #[test]
    fn a_program_of_another_machine_is_named() {
        let mut image = Image::default();
        image.bytes(&format!("{FOLDER}/linuxaa64.efi.stub"), &stub_file(0x8664));
        let error = BootPrograms::find(&image.tree, &image.store, Architecture::Aarch64);
        assert!(error.unwrap_err().to_string().ends_with("it is not for arm64"));
    }
}
