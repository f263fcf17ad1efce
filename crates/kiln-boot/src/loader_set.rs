//! What firmware starts and what that starts, as one set: systemd-boot, and shim before it.
//!
//! Firmware of the market believes one authority, which signs shim; shim believes its distribution,
//! which signs systemd-boot. So shim is taken only where all of that holds: it is signed itself, and it
//! vouches for the loader of the same image. A shim before a loader that it refuses would be a machine
//! that does not start, and before a loader that the owner signed for the firmware's own list it would
//! be one more program that firmware refuses. Telling shim by a switch of the build was dropped: it
//! could only be set where this already says yes.
//!
//! Images are read through a closure, because a set is looked for in a tree that is being built, in a
//! root image and in the running root.

use crate::shim::Shim;
use crate::signature;
use crate::uki;
use crate::uki::format::Architecture;

/// Where systemd installs its EFI programs.
pub(crate) const FOLDER: &str = "usr/lib/systemd/boot/efi";

/// Folder of programs that firmware starts by itself (UEFI 2.10, section 3.5.1.1).
const REMOVABLE: &str = "EFI/BOOT";

/// Most bytes of a loader, shim or key manager: 16 MiB; the largest has about one.
pub const LIMIT: u32 = 16 << 20;

/// Below these, Fedora and its relatives have a folder for each vendor.
const VENDOR_FOLDERS: [&str; 2] = ["usr/lib/bootupd/updates/EFI", "boot/efi/EFI"];
const VENDORS: [&str; 5] = ["fedora", "redhat", "centos", "almalinux", "rocky"];

/// A program and its path in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its path, without a leading slash.
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// shim and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShimSet {
    /// shim itself.
    pub program: Program,
    /// What it says of itself.
    pub facts: Shim,
    /// What enrols keys, if the image has it.
    pub key_manager: Option<Program>,
}

/// The loaders of an image for one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderSet {
    /// systemd-boot, signed by the distribution if it ships such a file.
    pub loader: Program,
    /// shim, if the image has one that starts this loader.
    pub shim: Option<ShimSet>,
}

impl LoaderSet {
    /// Looks for a set; `None` if there is no loader. `read` gives the content of a path, `None` if there
    /// is no such file, and bounds it by [`LIMIT`].
    ///
    /// # Errors
    /// Those of `read`.
    pub fn find<Error>(
        architecture: Architecture,
        mut read: impl FnMut(&str) -> Result<Option<Vec<u8>>, Error>,
    ) -> Result<Option<Self>, Error> {
        let Some(loader) = first(&loader_names(architecture), &mut read)? else { return Ok(None) };
        let certificates = match uki::parse(&loader.bytes) {
            Ok(program) if program.signed => signature::certificates(&loader.bytes),
            _ => Vec::new(),
        };
        // Most images need not be searched.
        let shim = if certificates.is_empty() {
            None
        } else {
            shim(architecture, &certificates, &mut read)?
        };
        Ok(Some(Self { loader, shim }))
    }

    /// The programs with paths where [`LoaderSet::find`] finds them again.
    #[must_use]
    pub fn files(&self) -> Vec<(String, &[u8])> {
        let shim = self
            .shim
            .iter()
            .flat_map(|shim| std::iter::once(&shim.program).chain(shim.key_manager.as_ref()));
        let programs = std::iter::once(&self.loader).chain(shim);
        programs.map(|program| (program.path.clone(), program.bytes.as_slice())).collect()
    }

    /// The programs with their paths on an ESP, in the order in which they are to be laid: what is
    /// started before what starts it.
    #[must_use]
    pub fn on_system_partition(&self, architecture: Architecture) -> Vec<(String, &[u8])> {
        let first = removable_path(architecture);
        let loader = self.loader.bytes.as_slice();
        let Some(shim) = &self.shim else { return vec![(first, loader)] };
        let mut files = vec![(beside(&first, &shim.facts.second_stage), loader)];
        if let (Some(manager), Some(name)) = (&shim.key_manager, &shim.facts.key_manager) {
            files.push((beside(&first, name), &manager.bytes));
        }
        files.push((first, &shim.program.bytes));
        files
    }
}

/// Where firmware looks on a disk that it has no entry for (UEFI 2.10, section 3.5.1.1).
#[must_use]
pub fn removable_path(architecture: Architecture) -> String {
    format!("{REMOVABLE}/BOOT{}.EFI", architecture.efi_suffix().to_ascii_uppercase())
}

/// The path of another file in the same folder.
#[must_use]
pub fn beside(path: &str, name: &str) -> String {
    match path.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{name}"),
        None => name.to_owned(),
    }
}

fn loader_names(architecture: Architecture) -> [String; 2] {
    let plain = format!("{FOLDER}/systemd-boot{}.efi", architecture.efi_suffix());
    [format!("{plain}.signed"), plain]
}

/// Where distributions have shim.
fn shim_names(architecture: Architecture) -> Vec<String> {
    let suffix = architecture.efi_suffix();
    // Debian and Ubuntu; the latter's first name leads through /etc.
    let mut names: Vec<String> = ["signed", "signed.latest"]
        .map(|end| format!("usr/lib/shim/shim{suffix}.efi.{end}"))
        .into();
    names.push(format!("usr/lib/shim/shim{suffix}.efi"));
    for folder in VENDOR_FOLDERS {
        names.extend(VENDORS.map(|vendor| format!("{folder}/{vendor}/shim{suffix}.efi")));
    }
    // openSUSE, whose first name is a link.
    let machine = match architecture {
        Architecture::X86_64 => "x86_64",
        Architecture::Aarch64 => "aarch64",
    };
    names.extend(
        ["shim", "shim-opensuse"].map(|name| format!("usr/share/efi/{machine}/{name}.efi")),
    );
    names
}

fn shim<Error>(
    architecture: Architecture,
    certificates: &[Vec<u8>],
    read: &mut impl FnMut(&str) -> Result<Option<Vec<u8>>, Error>,
) -> Result<Option<ShimSet>, Error> {
    for path in shim_names(architecture) {
        let Some(bytes) = read(&path)? else { continue };
        let Some(facts) = Shim::read(&bytes) else { continue };
        let fits = facts.architecture == architecture && facts.is_signed;
        if !fits || !facts.vouches_for(certificates) {
            continue;
        }
        let manager = facts.key_manager.as_deref().map(|name| beside(&path, name));
        let names = manager.map(|name| [format!("{name}.signed"), name]);
        let key_manager = match names {
            Some(names) => first(&names, read)?,
            None => None,
        };
        return Ok(Some(ShimSet { program: Program { path, bytes }, facts, key_manager }));
    }
    Ok(None)
}

fn first<Error>(
    paths: &[String],
    read: &mut impl FnMut(&str) -> Result<Option<Vec<u8>>, Error>,
) -> Result<Option<Program>, Error> {
    for path in paths {
        if let Some(bytes) = read(path)? {
            return Ok(Some(Program { path: path.clone(), bytes }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;
    use crate::test_support::{certificate, shim_file, signed, stub_file};

    const LOADER: &str = "usr/lib/systemd/boot/efi/systemd-bootx64.efi.signed";

    type Files = BTreeMap<String, Vec<u8>>;

    fn find_for(files: &Files, architecture: Architecture) -> Option<LoaderSet> {
        let read = |path: &str| Ok::<_, Infallible>(files.get(path).cloned());
        let Ok(found) = LoaderSet::find(architecture, read);
        found
    }

    fn find(files: &Files) -> LoaderSet {
        find_for(files, Architecture::X86_64).unwrap()
    }

    fn by(issuer: &str, file: Vec<u8>) -> Vec<u8> {
        signed(file, &[certificate("leaf", issuer)])
    }

    fn shim_of(authority: &str) -> Vec<u8> {
        shim_file(0x8664, "16.1", "\\grubx64.efi \\mmx64.efi", authority)
    }

    /// Debian's, signed throughout.
    fn debian() -> Files {
        [
            (LOADER, by("Debian", stub_file(0x8664))),
            ("usr/lib/shim/shimx64.efi.signed", by("Market", shim_of("Debian"))),
            ("usr/lib/shim/mmx64.efi.signed", by("Debian", stub_file(0x8664))),
        ]
        .map(|(path, bytes)| (path.to_owned(), bytes))
        .into()
    }

    fn laid(set: &LoaderSet) -> Vec<String> {
        set.on_system_partition(Architecture::X86_64).into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn shim_comes_first_and_is_laid_last() {
        let files = debian();
        let set = find(&files);
        let expected = ["EFI/BOOT/grubx64.efi", "EFI/BOOT/mmx64.efi", "EFI/BOOT/BOOTX64.EFI"];
        assert_eq!(laid(&set), expected);
        let on_disk = set.on_system_partition(Architecture::X86_64);
        for ((_, bytes), from) in on_disk.iter().zip([
            LOADER,
            "usr/lib/shim/mmx64.efi.signed",
            "usr/lib/shim/shimx64.efi.signed",
        ]) {
            assert_eq!(*bytes, files[from], "{from}");
        }
        let copy: Files =
            set.files().into_iter().map(|(path, bytes)| (path, bytes.to_vec())).collect();
        assert_eq!(copy, files);
        assert_eq!(find(&copy), set);
    }

    #[test]
    fn shim_is_left_out_unless_it_starts_the_loader() {
        type Change = fn(&mut Files);
        let alone = ["EFI/BOOT/BOOTX64.EFI"];
        let cases: [(Change, bool); 7] = [
            (|_| {}, true),
            (|files| drop(files.insert(LOADER.into(), stub_file(0x8664))), false),
            (|files| drop(files.insert(LOADER.into(), by("owner", stub_file(0x8664)))), false),
            (
                |files| {
                    // Whoever takes the unsigned one takes no shim, though the image has both.
                    let signed = files.remove(LOADER).unwrap();
                    files.insert(LOADER.trim_end_matches(".signed").into(), stub_file(0x8664));
                    files.insert("elsewhere".into(), signed);
                },
                false,
            ),
            (
                |files| {
                    drop(files.insert("usr/lib/shim/shimx64.efi.signed".into(), shim_of("Debian")))
                },
                false,
            ),
            (
                |files| {
                    let other = by("Market", shim_of("Fedora"));
                    files.insert("usr/lib/shim/shimx64.efi.signed".into(), other);
                },
                false,
            ),
            (|files| drop(files.remove("usr/lib/shim/shimx64.efi.signed")), false),
        ];
        for (number, (change, is_laid)) in cases.into_iter().enumerate() {
            let mut files = debian();
            change(&mut files);
            let set = find(&files);
            assert_eq!(set.shim.is_some(), is_laid, "{number}");
            assert_eq!(laid(&set) == alone, !is_laid, "{number}");
        }
        assert_eq!(find_for(&debian(), Architecture::Aarch64), None);
    }

    #[test]
    fn every_distribution_has_its_own_places_and_names() {
        let loader = by("Vendor", stub_file(0x8664));
        for (folder, shim, names, expected) in [
            ("usr/lib/shim", "shimx64.efi.signed.latest", "\\grubx64.efi", &["grubx64.efi"][..]),
            (
                "boot/efi/EFI/fedora",
                "shimx64.efi",
                "\\grubx64.efi \\mmx64.efi",
                &["grubx64.efi", "mmx64.efi"],
            ),
            (
                "usr/lib/bootupd/updates/EFI/centos",
                "shimx64.efi",
                "\\grubx64.efi \\mmx64.efi",
                &["grubx64.efi", "mmx64.efi"],
            ),
            (
                "usr/share/efi/x86_64",
                "shim-opensuse.efi",
                "\\grub.efi \\MokManager.efi",
                &["grub.efi", "MokManager.efi"],
            ),
        ] {
            let mut files = Files::from([(LOADER.to_owned(), loader.clone())]);
            let program = by("Market", shim_file(0x8664, "16.1", names, "Vendor"));
            files.insert(format!("{folder}/{shim}"), program);
            for manager in ["mmx64.efi", "MokManager.efi"] {
                files.insert(format!("{folder}/{manager}"), b"keys".to_vec());
            }
            let set = find(&files);
            let mut expected: Vec<String> =
                expected.iter().map(|name| format!("EFI/BOOT/{name}")).collect();
            expected.push("EFI/BOOT/BOOTX64.EFI".to_owned());
            assert_eq!(laid(&set), expected, "{folder}");
        }
        let arm = |path: &str, file: Vec<u8>| (path.to_owned(), file);
        let files = Files::from([
            arm(
                "usr/lib/systemd/boot/efi/systemd-bootaa64.efi.signed",
                by("Debian", stub_file(0xaa64)),
            ),
            arm(
                "usr/lib/shim/shimaa64.efi.signed",
                by("Market", shim_file(0xaa64, "15.8", "\\grubaa64.efi", "Debian")),
            ),
        ]);
        let set = find_for(&files, Architecture::Aarch64).unwrap();
        let paths: Vec<String> = set
            .on_system_partition(Architecture::Aarch64)
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        assert_eq!(paths, ["EFI/BOOT/grubaa64.efi", "EFI/BOOT/BOOTAA64.EFI"]);
    }
}
