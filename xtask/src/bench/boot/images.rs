//! What the other contenders boot: initramfs images and one ordinary disk, made once and cached.
//!
//! Their makers run inside an unpacked copy of the same Debian tree that Kiln builds from, with that
//! tree's own kernel, tools and modules, so that all contenders carry the same software. The disk
//! is what an installer would leave: an ESP with systemd-boot, and the tree on ext4.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_lab::cache::{Cache, Entry};
use kiln_lab::debian::{self, Debian};
use kiln_lab::{Error, Oracle};

use crate::bench::lab_error as failed;
use crate::bench::tools::mirror;

/// The modules that a machine of this bench needs for its root: what a maker that looks at the
/// machine it runs on would find. Inside a container image there is no machine to look at.
const NEEDED: &str = "virtio_pci virtio_blk ext4";

/// What installs dracut's own program without its package for updates, which would push
/// initramfs-tools out of the tree.
const TOOLS: [(&str, &str); 2] =
    [("initramfs-tools", "initramfs-tools"), ("dracut", "dracut-core")];

/// The two lines of shell, run in the tree, that make the images of each tool. `$k` is the kernel.
const RECIPES: [(&str, &str); 2] = [
    (
        "initramfs-tools",
        "mkinitramfs -o /made/initramfs-tools $k; \
         printf 'MODULES=list\n' > /etc/initramfs-tools/conf.d/listed; \
         printf '%s\n' NEEDED > /etc/initramfs-tools/modules; \
         mkinitramfs -o /made/initramfs-tools-listed $k",
    ),
    (
        "dracut",
        "dracut --no-hostonly --kver $k /made/dracut; \
         dracut --hostonly --no-hostonly-cmdline --force-drivers 'NEEDED' --kver $k \
         /made/dracut-hostonly; chmod 644 /made/dracut*",
    ),
];

/// Bytes of the ESP: kernel and the largest initramfs.
const ESP_BYTES: u64 = 128 << 20;
/// Bytes of the root file system: four times the tree.
const ROOT_BYTES: u64 = 2 << 30;
/// Where the ESP starts, and what is left free behind the root for the second table.
const MARGIN_BYTES: u64 = 1 << 20;
/// The root's identifier on the kernel command line.
const ROOT_UUID: &str = "5d7a9a52-2c1e-4d57-8f0e-6b1b9f6f2a10";

/// Images of both tools, beside the kernel that they are for.
#[derive(Debug)]
pub(super) struct Images {
    made: Vec<(&'static str, Entry)>,
    debian: Debian,
}

impl Images {
    /// Takes them from the cache or makes them: about a minute.
    pub(super) fn get(cache: &Cache) -> Result<Self, Error> {
        let debian = Debian::get(cache)?;
        let tree = debian.tree();
        let mut made = Vec::new();
        for ((tool, package), (_, recipe)) in TOOLS.into_iter().zip(RECIPES) {
            let recipe = recipe.replace("NEEDED", NEEDED);
            let inputs =
                [tree.to_string_lossy().into_owned(), package.to_owned(), recipe.clone(), mirror()];
            let inputs: Vec<&[u8]> = inputs.iter().map(|input| input.as_bytes()).collect();
            let kind = format!("bench-{tool}");
            let entry =
                cache.get(&kind, &inputs, |folder| make(folder, &tree, package, &recipe))?;
            cache.prune(&kind, &entry)?;
            made.push((tool, entry));
        }
        Ok(Self { made, debian })
    }

    /// The file that was made under this name.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        let found = self.made.iter().find(|(tool, _)| name.starts_with(tool));
        found.map_or_else(|| name.into(), |(_, entry)| entry.path().join("made").join(name))
    }

    /// A disk with the tree on ext4, whose loader starts this initramfs.
    pub(super) fn disk(&self, cache: &Cache, initramfs: &str) -> Result<Entry, Error> {
        let root = self.root(cache)?;
        let (kernel, initramfs_file) = (self.file("initramfs-tools-kernel"), self.file(initramfs));
        let command_line = command_line();
        let inputs: Vec<String> = [root.path(), &kernel, &initramfs_file]
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .chain([command_line])
            .collect();
        let inputs: Vec<&[u8]> = inputs.iter().map(|input| input.as_bytes()).collect();
        let kind = format!("bench-disk-{initramfs}");
        let entry = cache.get(&kind, &inputs, |folder| {
            assemble(folder, root.path(), &kernel, &initramfs_file)
        })?;
        cache.prune(&kind, &entry)?;
        Ok(entry)
    }

    /// The ext4 file system and the loader of the tree.
    fn root(&self, cache: &Cache) -> Result<Entry, Error> {
        let tree = self.debian.tree();
        let inputs = [tree.to_string_lossy().into_owned(), ROOT_BYTES.to_string()];
        let inputs: Vec<&[u8]> = inputs.iter().map(|input| input.as_bytes()).collect();
        let entry = cache.get("bench-ext4", &inputs, |folder| {
            let unpacked = folder.join("tree");
            fs::create_dir(&unpacked).map_err(failed("create", &unpacked))?;
            Oracle::new("tar")
                .arguments(["--extract", "--numeric-owner", "--preserve-permissions"])
                .arguments(["--xattrs", "--xattrs-include=*", "--file"])
                .argument(&tree)
                .argument("--directory")
                .argument(&unpacked)
                .run()?;
            let image = folder.join("root.ext4");
            Oracle::new("mke2fs")
                .arguments(["-q", "-t", "ext4", "-U", ROOT_UUID, "-d"])
                .argument(&unpacked)
                .argument(&image)
                .argument(format!("{}k", ROOT_BYTES >> 10))
                .run()?;
            let loader = unpacked.join("usr/lib/systemd/boot/efi/systemd-bootx64.efi");
            fs::copy(&loader, folder.join("loader.efi")).map_err(failed("copy", &loader))?;
            fs::remove_dir_all(&unpacked).map_err(failed("remove", &unpacked))
        })?;
        cache.prune("bench-ext4", &entry)?;
        Ok(entry)
    }
}

/// How Debian would start the disk, with the consoles of Kiln's systems.
pub(super) fn command_line() -> String {
    format!("root=UUID={ROOT_UUID} rw console=tty0 console=ttyS0,115200n8 panic=10")
}

/// The place of the disk in its entry.
pub(super) fn disk_file(entry: &Entry) -> PathBuf {
    entry.path().join("disk.raw")
}

/// Installs the tool into a copy of the tree and runs it there.
fn make(folder: &Path, tree: &Path, package: &str, recipe: &str) -> Result<(), Error> {
    let tool = if package.starts_with("dracut") { "dracut" } else { "initramfs-tools" };
    let script = format!(
        "chroot \"$1\" sh -ec 'mkdir /made; k=$(ls /usr/lib/modules); \
         cp /boot/vmlinuz-$k /made/{tool}-kernel; {}'",
        recipe.replace('\'', "'\\''")
    );
    Oracle::new("mmdebstrap")
        .arguments(["--variant=custom", "--format=null"])
        .argument("--aptopt=APT::Install-Recommends \"false\"")
        .argument(format!("--setup-hook=tar -xpf '{}' -C \"$1\"", tree.display()))
        .argument(format!("--include={package}"))
        .argument(format!("--customize-hook={script}"))
        .argument(format!("--customize-hook=copy-out /made '{}'", folder.display()))
        .argument(debian::SUITE)
        .argument("/dev/null")
        .arguments(Some(mirror()).filter(|mirror| !mirror.is_empty()))
        .environment("DEBIAN_FRONTEND", "noninteractive")
        .environment("INITRD", "No")
        .run()
        .map(drop)
}

/// Puts ESP and root on a disk with tables.
fn assemble(folder: &Path, root: &Path, kernel: &Path, initramfs: &Path) -> Result<(), Error> {
    let entry = folder.join("entry.conf");
    let options = command_line();
    let text = format!("title Debian\nlinux /kernel\ninitrd /initramfs\noptions {options}\n");
    fs::write(&entry, text).map_err(failed("write", &entry))?;
    let esp = folder.join("esp");
    sized(&esp, ESP_BYTES)?;
    Oracle::new("mkfs.vfat").arguments(["-F", "32"]).argument(&esp).run()?;
    let directories = ["::EFI", "::EFI/BOOT", "::loader", "::loader/entries"];
    Oracle::new("mmd").argument("-i").argument(&esp).arguments(directories).run()?;
    let files = [
        (root.join("loader.efi"), "::EFI/BOOT/BOOTX64.EFI"),
        (entry, "::loader/entries/debian.conf"),
        (kernel.to_owned(), "::kernel"),
        (initramfs.to_owned(), "::initramfs"),
    ];
    for (from, to) in files {
        Oracle::new("mcopy").argument("-i").argument(&esp).argument(from).argument(to).run()?;
    }
    let disk = folder.join("disk.raw");
    sized(&disk, MARGIN_BYTES + ESP_BYTES + ROOT_BYTES + MARGIN_BYTES)?;
    Oracle::new("sgdisk")
        .argument(format!("--new=1:{}K:+{}K", MARGIN_BYTES >> 10, ESP_BYTES >> 10))
        .argument(format!("--new=2:0:+{}K", ROOT_BYTES >> 10))
        .arguments(["--typecode=1:ef00", "--typecode=2:8304"])
        .argument(&disk)
        .run()?;
    copy_to(&esp, &disk, MARGIN_BYTES)?;
    copy_to(&root.join("root.ext4"), &disk, MARGIN_BYTES + ESP_BYTES)?;
    fs::remove_file(&esp).map_err(failed("remove", &esp))
}

fn sized(path: &Path, length: u64) -> Result<(), Error> {
    let file = fs::File::create(path).map_err(failed("create", path))?;
    file.set_len(length).map_err(failed("resize", path))
}

/// Copies a file into a disk, holes left out.
fn copy_to(from: &Path, disk: &Path, offset: u64) -> Result<(), Error> {
    Oracle::new("dd")
        .arguments(["bs=1M", "conv=notrunc,sparse", "status=none"])
        .argument(format!("seek={}", offset >> 20))
        .argument(format!("if={}", from.display()))
        .argument(format!("of={}", disk.display()))
        .run()
        .map(drop)
}
