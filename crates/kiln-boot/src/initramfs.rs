//! The archive that the kernel unpacks into memory: one static program, the modules in load order,
//! the manifest that says so, and the firmware that those modules name.
//!
//! There is no shell, no udev and no library in it, and nothing that can wait until the root is
//! verified: that is what [`late_modules`] puts into the root. Modules are always decompressed here
//! and the archive is compressed as a whole. Carrying the image's `.ko.xz` files as they are was
//! dropped: it needs a kernel with MODULE_DECOMPRESS, and a second way for those without.

use std::io::Write;

use kiln_tree::{ContentStore, Tree};

use crate::cpio::Archive;
use crate::manifest::{self, Alias, Load, Manifest, Module};
use crate::modules::index::ModuleIndex;
use crate::modules::modinfo;
use crate::modules::plan::{Planned, Selection, plan, plan_late};
use crate::source::{self, BINARY_LIMIT, join, shown};
use crate::{Error, Kernel};

/// zstd level of the archive. Changing it changes every boot file. Debian's general kernel, set
/// `virtio`, 5.4 MB unpacked, one core: level 9 gives 1.29 MB in 0.19 s, level 12 1.28 MB in 0.35 s,
/// level 17 1.18 MB in 1.9 s, level 19 1.15 MB in 2.5 s. The high levels take longer than all the rest
/// of a build, for 1 % of the boot file. No window of theirs exceeds 8 MiB; a kernel
/// takes up to 128 MiB (lib/decompress_unzstd.c).
const ZSTD_LEVEL: i32 = 9;

/// Most bytes of all firmware together, decompressed: 64 MiB.
const FIRMWARE_LIMIT: u64 = 64 << 20;

/// Folders where an image keeps firmware, in the kernel's own order.
const FIRMWARE_FOLDERS: [&str; 4] =
    ["lib/firmware/updates", "usr/lib/firmware/updates", "usr/lib/firmware", "lib/firmware"];

/// Where the kernel's helper may be; its default is `/sbin/modprobe` (CONFIG_MODPROBE_PATH).
const MODPROBE: [&str; 4] =
    ["sbin/modprobe", "usr/sbin/modprobe", "usr/bin/modprobe", "bin/modprobe"];

/// Mount points that init expects.
const MOUNT_POINTS: [&str; 5] = ["dev", "proc", "run", "sys", "sysroot"];

/// How the archive is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    None,
    Gzip,
    Zstd,
}

impl Codec {
    /// The best one that the kernel is known to read. Without a configuration that is gzip, on by
    /// default since there are initramfs.
    fn of(kernel: &Kernel) -> Self {
        let reads = |option| kernel.config.as_ref().map(|config| config.is_built_in(option));
        if reads("RD_ZSTD") == Some(true) {
            Self::Zstd
        } else if reads("RD_GZIP") == Some(false) {
            Self::None
        } else {
            Self::Gzip
        }
    }
}

/// An initramfs that still has to be compressed. That takes a quarter of a second of one core, which
/// a builder has to spare while it writes the root: hence the two steps.
#[derive(Clone, Debug)]
pub struct Initramfs {
    /// The archive as the kernel will see it.
    pub archive: Vec<u8>,
    codec: Codec,
    /// Names of the modules inside, in load order.
    pub modules: Vec<String>,
    /// Paths of the firmware files inside, below the firmware folder.
    pub firmware: Vec<String>,
}

impl Initramfs {
    /// The archive as it travels in a boot file.
    ///
    /// # Errors
    /// [`Error::Codec`], which only a lack of memory causes.
    pub fn compress(self) -> Result<Vec<u8>, Error> {
        let failed =
            |source| Error::Codec { action: "compress", path: "the initramfs".to_owned(), source };
        match self.codec {
            Codec::None => Ok(self.archive),
            Codec::Zstd => zstd::bulk::compress(&self.archive, ZSTD_LEVEL).map_err(failed),
            Codec::Gzip => {
                let level = flate2::Compression::best();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(&self.archive).and_then(|()| encoder.finish()).map_err(failed)
            }
        }
    }
}

/// Builds the initramfs for a kernel of the image. `init` is the static program.
///
/// # Errors
/// A module asked for that does not exist, damaged or oversized files of the image.
pub fn build(
    tree: &Tree,
    store: &dyn ContentStore,
    kernel: &Kernel,
    index: &ModuleIndex,
    selection: &Selection,
    init: &[u8],
) -> Result<Initramfs, Error> {
    let planned = plan(index, selection, &kernel.release)?;
    let mut archive = Archive::new();
    for folder in MOUNT_POINTS {
        archive.directory(folder);
    }
    // Init's messages before devtmpfs is there; numbers from the kernel's devices.txt.
    archive.character_device("dev/console", 0o600, 5, 1);
    archive.file("init", 0o755, init.to_vec());
    archive.directory(manifest::MODULE_FOLDER);

    let mut firmware = Vec::new();
    let mut firmware_bytes = 0;
    for module in &planned {
        let bytes = module_bytes(tree, store, kernel, index, &module.name)?;
        for wanted in modinfo::values(&bytes, "firmware") {
            if firmware.iter().any(|known| known == wanted) {
                continue;
            }
            let left = FIRMWARE_LIMIT.saturating_sub(firmware_bytes);
            if let Some(content) = firmware_file(tree, store, wanted, left)? {
                firmware_bytes += content.len() as u64;
                archive.file(&format!("lib/firmware/{wanted}"), 0o644, content);
                firmware.push(wanted.to_owned());
            }
        }
        let path = format!("{}/{}", manifest::MODULE_FOLDER, file_name(&module.name));
        archive.file(&path, 0o644, bytes);
    }
    let list = manifest_of(index, &planned);
    archive.file(manifest::PATH, 0o644, list.render().into_bytes());

    Ok(Initramfs {
        archive: archive.finish()?,
        codec: Codec::of(kernel),
        modules: planned.into_iter().map(|module| module.name).collect(),
        firmware,
    })
}

/// What the root carries so that the initramfs need not: see [`late_modules`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LateModules {
    /// The folder of the root that holds `files`, without the leading slash.
    pub folder: String,
    /// Names and contents: modules, then their manifest. Empty if the kernel needs none.
    pub files: Vec<(String, Vec<u8>)>,
}

/// The modules that init loads from the verified root, for the same choice as [`build`]: what state
/// and the writable folders need.
///
/// They are decompressed copies and not the image's own files, although the kernel could take those
/// too: only with CONFIG_MODULE_DECOMPRESS, which came with Linux 5.17 and is not set everywhere, and
/// never two codecs at once. A copy costs the root some hundred kilobytes, works with every kernel,
/// and keeps the signature that a locked kernel asks for.
///
/// # Errors
/// As [`build`].
pub fn late_modules(
    tree: &Tree,
    store: &dyn ContentStore,
    kernel: &Kernel,
    index: &ModuleIndex,
    selection: &Selection,
) -> Result<LateModules, Error> {
    let early = plan(index, selection, &kernel.release)?;
    let has_modprobe = MODPROBE.iter().any(|path| tree.resolve(path.as_bytes()).is_some());
    let folder = format!("{}/{}", manifest::LATE_FOLDER, kernel.release);
    let mut late = LateModules { folder, files: Vec::new() };
    let mut list = Manifest::default();
    for (name, load) in plan_late(index, &early, has_modprobe) {
        let file = file_name(&name);
        late.files.push((file.clone(), module_bytes(tree, store, kernel, index, &name)?));
        list.modules.push(Module { file, load, dependencies: Vec::new() });
    }
    if !late.files.is_empty() {
        late.files.push((manifest::LATE_MANIFEST.to_owned(), list.render().into_bytes()));
    }
    Ok(late)
}

fn file_name(module: &str) -> String {
    format!("{module}.ko")
}

fn module_bytes(
    tree: &Tree,
    store: &dyn ContentStore,
    kernel: &Kernel,
    index: &ModuleIndex,
    module: &str,
) -> Result<Vec<u8>, Error> {
    let damaged = |path: String, reason: &str| Error::Damaged { path, reason: reason.to_owned() };
    let folder = kernel.modules.as_deref().unwrap_or_default();
    let file = index.file(module).map_or("", |file| file.path.as_str());
    let path = join(folder, file.as_bytes());
    if !manifest::valid_file_name(&file_name(module)) {
        return Err(damaged(shown(&path), "a module's name may hold only letters, digits and _"));
    }
    let bytes = source::read(tree, store, &path, BINARY_LIMIT)?
        .ok_or_else(|| damaged(shown(&path), "listed in modules.dep, but not in the image"))?;
    source::decompress(bytes, &path, BINARY_LIMIT)
}

/// A firmware file, decompressed; none if the image does not have it, which is common: most are for
/// hardware that needs them only for some revisions.
fn firmware_file(
    tree: &Tree,
    store: &dyn ContentStore,
    wanted: &str,
    limit: u64,
) -> Result<Option<Vec<u8>>, Error> {
    let unsafe_name = wanted.is_empty()
        || !wanted.bytes().all(|byte| byte.is_ascii_graphic())
        || wanted.split('/').any(|part| matches!(part, "" | "." | ".."));
    if unsafe_name {
        return Ok(None);
    }
    for folder in FIRMWARE_FOLDERS {
        for ending in ["", ".zst", ".xz"] {
            let path = format!("{folder}/{wanted}{ending}").into_bytes();
            if let Some(bytes) = source::read(tree, store, &path, limit)? {
                return source::decompress(bytes, &path, limit).map(Some);
            }
        }
    }
    Ok(None)
}

fn manifest_of(index: &ModuleIndex, planned: &[Planned]) -> Manifest {
    let mut manifest = Manifest::default();
    for (place, module) in planned.iter().enumerate() {
        manifest.modules.push(Module {
            file: file_name(&module.name),
            load: module.load,
            dependencies: module.dependencies.clone(),
        });
        if module.load == Load::Match {
            // The text form is ASCII with one line each; nothing that a device reports is else.
            let patterns = index
                .patterns_of(&module.name)
                .filter(|pattern| pattern.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            manifest.aliases.extend(
                patterns.map(|pattern| Alias { module: place, pattern: pattern.to_owned() }),
            );
        }
    }
    manifest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::sets::ModuleSet;
    use crate::test_support::{Image, kernel_file, module_file};

    const FOLDER: &str = "usr/lib/modules/6.12";

    fn image() -> Image {
        let mut image = Image::default();
        image.bytes("boot/vmlinuz-6.12", &kernel_file("6.12"));
        image.text("boot/config-6.12", "CONFIG_RD_ZSTD=y\n");
        let blk = module_file(&["firmware=virtio/blk.bin", "firmware=../../etc/shadow"]);
        image.gzip(&format!("{FOLDER}/kernel/virtio_blk.ko.gz"), &blk);
        image.bytes(&format!("{FOLDER}/kernel/virtio.ko"), &module_file(&["license=GPL"]));
        image.bytes(&format!("{FOLDER}/kernel/erofs.ko"), &module_file(&["license=GPL"]));
        image.text(
            &format!("{FOLDER}/modules.dep"),
            "kernel/virtio_blk.ko.gz: kernel/virtio.ko\nkernel/virtio.ko:\nkernel/erofs.ko:\n",
        );
        image.text(
            &format!("{FOLDER}/modules.alias"),
            "alias virtio:d00000002v* virtio_blk\nalias fs-erofs erofs\n",
        );
        image.gzip("usr/lib/firmware/virtio/blk.bin", b"firmware");
        image.text("etc/shadow", "secret");
        image
    }

    fn built(image: &Image, extra: &[&str]) -> Result<Initramfs, Error> {
        let kernel = Kernel::find(&image.tree, &image.store)?;
        let extra = extra.iter().map(ToString::to_string).collect();
        let selection = Selection { set: ModuleSet::Virtio, extra };
        let index = ModuleIndex::load(&image.tree, &image.store, &kernel)?;
        build(&image.tree, &image.store, &kernel, &index, &selection, b"#!init")
    }

    #[test]
    fn the_archive_holds_init_modules_manifest_and_firmware() {
        let initramfs = built(&image(), &[]).unwrap();
        assert_eq!(initramfs.modules, ["erofs", "virtio", "virtio_blk"]);
        assert_eq!(initramfs.firmware, ["virtio/blk.bin"]);
        let plain = initramfs.archive.clone();
        let packed = initramfs.compress().unwrap();
        assert_eq!(zstd::bulk::decompress(&packed, 1 << 20).unwrap(), plain);
        let text = String::from_utf8_lossy(&plain);
        assert!(text.contains(
            "module 0 erofs.ko always -\nmodule 1 virtio.ko match -\n\
             module 2 virtio_blk.ko match 1\nalias 2 virtio:d00000002v*\n"
        ));
        for path in
            ["init\0", "dev/console\0", "kiln/mod/erofs.ko\0", "lib/firmware/virtio/blk.bin\0"]
        {
            assert!(text.contains(path), "{path}");
        }
        assert!(!text.contains("secret"));
        assert_eq!(built(&image(), &[]).unwrap().compress().unwrap(), packed);
    }

    #[test]
    fn what_state_needs_waits_in_the_root() {
        let mut image = image();
        let overlay = module_file(&["license=GPL"]);
        image.gzip(&format!("{FOLDER}/kernel/overlay.ko.gz"), &overlay);
        image.bytes(&format!("{FOLDER}/kernel/vfat.ko"), &overlay);
        image.text(
            &format!("{FOLDER}/modules.dep"),
            "kernel/overlay.ko.gz:\nkernel/vfat.ko:\nkernel/virtio.ko:\nkernel/erofs.ko:\n",
        );
        let late = |image: &Image| {
            let kernel = Kernel::find(&image.tree, &image.store).unwrap();
            let index = ModuleIndex::load(&image.tree, &image.store, &kernel).unwrap();
            late_modules(&image.tree, &image.store, &kernel, &index, &Selection::default()).unwrap()
        };
        let without = late(&image);
        assert_eq!(without.folder, "usr/lib/kiln/modules/6.12");
        let names: Vec<&str> = without.files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["overlay.ko", "vfat.ko", "list"]);
        assert_eq!(without.files[0].1, overlay, "decompressed");
        let list = String::from_utf8(without.files[2].1.clone()).unwrap();
        assert_eq!(list, "module 0 overlay.ko always -\nmodule 1 vfat.ko always -\n");
        assert!(Manifest::parse(&list).is_ok());
        assert_eq!(built(&image, &[]).unwrap().modules, ["erofs"]);

        image.text("usr/sbin/modprobe", "#!");
        let names = late(&image).files.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names, ["overlay.ko", "list"]);
        image.text(&format!("{FOLDER}/modules.dep"), "kernel/erofs.ko:\n");
        assert!(late(&image).files.is_empty());
    }

    #[test]
    fn the_kernel_decides_about_compression() {
        let cases: [(&str, &[u8]); 4] = [
            ("CONFIG_RD_ZSTD=y\nCONFIG_RD_GZIP=y\n", &[0x28, 0xb5, 0x2f, 0xfd]),
            ("CONFIG_RD_GZIP=y\n", &[0x1f, 0x8b]),
            ("CONFIG_RD_XZ=y\n", b"070701"),
            ("", b"070701"),
        ];
        for (config, magic) in cases {
            let mut image = image();
            image.text("boot/config-6.12", config);
            assert!(built(&image, &[]).unwrap().compress().unwrap().starts_with(magic), "{config}");
        }
        let mut image = image();
        image.tree.remove(b"boot/config-6.12").unwrap();
        assert!(built(&image, &[]).unwrap().compress().unwrap().starts_with(&[0x1f, 0x8b]));
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut image = image();
        let error = built(&image, &["zfs"]).unwrap_err();
        assert_eq!(error.to_string(), "kernel 6.12 has no module `zfs`");
        image.tree.remove(format!("{FOLDER}/kernel/virtio.ko").as_bytes()).unwrap();
        let error = built(&image, &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "usr/lib/modules/6.12/kernel/virtio.ko: listed in modules.dep, but not in the image"
        );
        image.tree.remove(format!("{FOLDER}/modules.dep").as_bytes()).unwrap();
        let error = built(&image, &[]).unwrap_err();
        assert!(error.hint().unwrap().contains("depmod 6.12"));
    }
}
