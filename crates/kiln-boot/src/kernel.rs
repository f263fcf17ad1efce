//! Finding the one kernel of an image.
//!
//! Distributions put it in `usr/lib/modules/<release>/vmlinuz` (Fedora, openSUSE, Arch) or in
//! `boot/vmlinuz-<release>` (Debian, Ubuntu), some in both; the release ties the two together and
//! is what the module folder is named after. Two kernels are an error and not a choice: a build
//! that picks one by version would change what boots when a package is added.

use std::collections::{BTreeMap, BTreeSet};

use kiln_tree::{ContentStore, Tree};

use crate::config::KernelConfig;
use crate::source::{self, BINARY_LIMIT, join, shown};
use crate::uki::format::Architecture;
use crate::{Error, uki};

/// Most bytes of a kernel configuration; distributions have 300 kB.
const CONFIG_LIMIT: u64 = 4 << 20;

/// Names of kernel files inside a module folder.
const FILES_OF_RELEASE: [&str; 3] = ["vmlinuz", "Image", "vmlinux.gz"];

/// What stands before the release in names of kernel files in `boot`, the best first: older SUSE
/// systems have the unbootable `vmlinux-<release>.gz` for debuggers beside the kernel.
const BOOT_PREFIXES: [&str; 4] = ["vmlinuz-", "Image-", "kernel-", "vmlinux-"];

/// The kernel of an image.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Release as `uname -r` prints it.
    pub release: String,
    /// Path in the image.
    pub path: String,
    /// The EFI program, decompressed if it was gzip as a whole.
    pub image: Vec<u8>,
    /// What machine it is for.
    pub architecture: Architecture,
    /// Path of its module folder, none if the image has none for this release.
    pub modules: Option<Vec<u8>>,
    /// Its configuration, none if the image does not have it.
    pub config: Option<KernelConfig>,
}

impl Kernel {
    /// Finds the kernel.
    ///
    /// # Errors
    /// No kernel, several, or one that UEFI cannot start.
    pub fn find(tree: &Tree, store: &dyn ContentStore) -> Result<Self, Error> {
        let folders = module_folders(tree);
        let mut candidates = candidates(tree, store, &folders)?;
        let Some((release, path)) = candidates.pop_first() else { return Err(Error::NoKernel) };
        if !candidates.is_empty() {
            candidates.insert(release, path);
            let found = candidates
                .iter()
                .map(|(release, path)| format!("{} ({release})", shown(path)))
                .collect();
            return Err(Error::SeveralKernels { found });
        }
        let image = source::read(tree, store, &path, BINARY_LIMIT)?.ok_or(Error::NoKernel)?;
        let image = source::decompress(image, &path, BINARY_LIMIT)?;
        let unusable = |reason| Error::KernelFormat { path: shown(&path), reason };
        let parsed = uki::parse(&image).map_err(|error| match error {
            Error::Pe { reason } => unusable(reason),
            other => other,
        })?;
        let architecture =
            parsed.architecture.ok_or(unusable("it is for neither x86-64 nor arm64"))?;
        let modules = folders.get(&release).cloned();
        let mut configs = vec![join(b"boot", format!("config-{release}").as_bytes())];
        configs.extend(modules.iter().map(|folder| join(folder, b"config")));
        let mut config = None;
        for place in configs {
            if let Some(bytes) = source::read(tree, store, &place, CONFIG_LIMIT)? {
                config = Some(KernelConfig::parse(&String::from_utf8_lossy(&bytes)));
                break;
            }
        }
        Ok(Self { release, path: shown(&path), architecture, image, modules, config })
    }
}

/// Module folders by release, through `/usr/lib` and a `/lib` that may be a symlink to it.
fn module_folders(tree: &Tree) -> BTreeMap<String, Vec<u8>> {
    let mut folders = BTreeMap::new();
    for parent in [&b"usr/lib/modules"[..], b"lib/modules"] {
        for (name, path) in children(tree, parent) {
            let is_folder = tree.resolve(&path).is_some_and(|node| tree.children(node).is_some());
            if is_folder {
                folders.entry(name).or_insert(path);
            }
        }
    }
    folders
}

/// Names in a folder with their canonical paths; names that are no UTF-8 are nobody's kernel.
fn children(tree: &Tree, folder: &[u8]) -> Vec<(String, Vec<u8>)> {
    let Some(canonical) = tree.resolve_path(folder) else { return Vec::new() };
    let Some(entries) = tree.lookup(&canonical).and_then(|node| tree.children(node)) else {
        return Vec::new();
    };
    entries
        .keys()
        .filter_map(|name| Some((String::from_utf8(name.clone()).ok()?, join(&canonical, name))))
        .collect()
}

/// Kernel files by release. A file that is reached by several names counts once.
fn candidates(
    tree: &Tree,
    store: &dyn ContentStore,
    folders: &BTreeMap<String, Vec<u8>>,
) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let mut found = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (release, folder) in folders {
        for name in FILES_OF_RELEASE {
            let path = join(folder, name.as_bytes());
            if source::find(tree, &path).is_some() && !found.contains_key(release) {
                seen.extend(tree.resolve(&path));
                found.insert(release.clone(), path);
            }
        }
    }
    let mut files = children(tree, b"boot");
    // Stable, so names of one rank stay in their order. Plain names come last: they tell no release,
    // and are often links to a file whose name does.
    let rank = |name: &str| BOOT_PREFIXES.iter().position(|prefix| name.starts_with(prefix));
    files.sort_by_key(|(name, _)| rank(name).unwrap_or(BOOT_PREFIXES.len()));
    for (name, path) in files {
        let suffix = BOOT_PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix));
        let plain = name == "vmlinuz" || name == "Image";
        // Fedora's rescue entry is a copy of another kernel under a name of its own.
        let rescue = suffix.is_some_and(|suffix| suffix.starts_with("0-rescue"));
        if rescue || (suffix.is_none() && !plain) {
            continue;
        }
        let Some(node) = tree.resolve(&path) else { continue };
        if source::content(tree, node).is_none() || !seen.insert(node) {
            continue;
        }
        let suffix = suffix.map(source::without_compression);
        let release = match suffix {
            Some(suffix) if folders.contains_key(suffix) => suffix.to_owned(),
            // Alpine and hand-made images name the file after a flavour: the kernel itself knows.
            _ => match own_release(tree, store, &path)? {
                Some(release) => release,
                None => match (suffix, folders.len()) {
                    (_, 1) => folders.keys().next().cloned().unwrap_or_default(),
                    (Some(suffix), _) => suffix.to_owned(),
                    (None, _) => continue,
                },
            },
        };
        found.entry(release).or_insert(path);
    }
    Ok(found)
}

/// The release that an x86 kernel carries (kernel documentation, "The Linux/x86 Boot Protocol":
/// magic `HdrS` at 0x202, offset of the version string less 0x200 at 0x20e).
fn own_release(
    tree: &Tree,
    store: &dyn ContentStore,
    path: &[u8],
) -> Result<Option<String>, Error> {
    let image = source::read(tree, store, path, BINARY_LIMIT)?.unwrap_or_default();
    Ok(x86_release(&image))
}

fn x86_release(image: &[u8]) -> Option<String> {
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let offset: [u8; 2] = image.get(0x20e..0x210)?.try_into().ok()?;
    let text = image.get(usize::from(u16::from_le_bytes(offset)) + 0x200..)?;
    let end = text.iter().take(256).position(|byte| matches!(byte, 0 | b' '))?;
    let release = std::str::from_utf8(&text[..end]).ok()?;
    (!release.is_empty()).then(|| release.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{Image, kernel_file};

    const RELEASE: &str = "6.12.1-test";

    #[test]
    fn kernels_are_found_where_distributions_put_them() {
        let cases: [(&str, &[(&str, &str)]); 8] = [
            ("Debian", &[("boot/vmlinuz-6.12.1-test", "kernel")]),
            (
                "Fedora",
                &[
                    ("usr/lib/modules/6.12.1-test/vmlinuz", "kernel"),
                    ("boot/vmlinuz-6.12.1-test", "kernel"),
                    ("boot/vmlinuz-0-rescue-1234", "kernel"),
                ],
            ),
            (
                "openSUSE",
                &[
                    ("usr/lib/modules/6.12.1-test/vmlinuz", "kernel"),
                    ("boot/vmlinuz-6.12.1-test", "-> ../usr/lib/modules/6.12.1-test/vmlinuz"),
                    ("boot/vmlinuz", "-> vmlinuz-6.12.1-test"),
                ],
            ),
            (
                "SLE 15",
                &[
                    ("boot/vmlinux-6.12.1-test.gz", "for debuggers"),
                    ("boot/vmlinuz-6.12.1-test", "kernel"),
                ],
            ),
            ("KubeOS", &[("boot/vmlinuz", "kernel")]),
            ("Alpine", &[("boot/vmlinuz-virt", "kernel")]),
            ("arm64", &[("boot/Image-6.12.1-test", "kernel")]),
            ("gzip", &[("usr/lib/modules/6.12.1-test/vmlinux.gz", "gzip")]),
        ];
        for (name, files) in cases {
            let mut image = Image::default();
            image.text("usr/lib/modules/6.12.1-test/modules.dep", "");
            image.text("boot/config-6.12.1-test", "CONFIG_RD_ZSTD=y\n");
            image.link("lib", "usr/lib");
            for (path, what) in files {
                match what.strip_prefix("-> ") {
                    Some(target) => image.link(path, target),
                    None if *what == "for debuggers" => image.gzip(path, b"\x7fELF"),
                    None if *what == "gzip" => image.gzip(path, &kernel_file(RELEASE)),
                    None => image.bytes(path, &kernel_file(RELEASE)),
                }
            }
            let kernel = Kernel::find(&image.tree, &image.store).unwrap();
            assert_eq!(kernel.release, RELEASE, "{name}");
            assert_eq!(kernel.modules.as_deref(), Some(&b"usr/lib/modules/6.12.1-test"[..]));
            assert_eq!(kernel.image, kernel_file(RELEASE));
            assert_eq!(kernel.architecture, Architecture::X86_64);
            assert!(kernel.config.unwrap().is_built_in("RD_ZSTD"), "{name}");
        }
    }

    #[test]
    fn a_plain_link_does_not_hide_the_name_that_tells_the_release() {
        // An arm64 kernel does not carry its release, and a second module folder makes it a question.
        let mut image = Image::default();
        let mut kernel = kernel_file("");
        kernel[0x44..0x46].copy_from_slice(&0xaa64_u16.to_le_bytes());
        kernel[0x202..0x206].fill(0);
        image.bytes("boot/vmlinuz-6.12", &kernel);
        image.link("boot/vmlinuz", "vmlinuz-6.12");
        image.text("usr/lib/modules/6.12/modules.dep", "");
        image.text("usr/lib/modules/6.11/left-behind", "");
        let found = Kernel::find(&image.tree, &image.store).unwrap();
        assert_eq!((&*found.release, &*found.path), ("6.12", "boot/vmlinuz-6.12"));
        assert_eq!(found.architecture, Architecture::Aarch64);
    }

    #[test]
    fn none_and_several_are_refused_by_name() {
        let mut image = Image::default();
        image.text("boot/grub/grub.cfg", "");
        let error = Kernel::find(&image.tree, &image.store).unwrap_err();
        assert!(matches!(error, Error::NoKernel));

        image.bytes("boot/vmlinuz-6.1", &kernel_file("6.1"));
        image.bytes("usr/lib/modules/6.12/vmlinuz", &kernel_file("6.12"));
        let error = Kernel::find(&image.tree, &image.store).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the image has 2 kernels: boot/vmlinuz-6.1 (6.1), \
             usr/lib/modules/6.12/vmlinuz (6.12)"
        );
        assert!(error.hint().is_some());
    }

    #[test]
    fn a_file_that_is_no_program_is_refused() {
        let mut image = Image::default();
        image.text("boot/vmlinuz-6.1", "text");
        let error = Kernel::find(&image.tree, &image.store).unwrap_err();
        assert!(matches!(error, Error::KernelFormat { .. }), "{error}");
    }
}
