//! The trees that are measured: each once as a container image and once unpacked.
//!
//! The image's layer is compressed with zstd by skopeo, because that is what a registry would hand
//! out; the unpacked folder is for tools that cannot read an image. Nobody pays for unpacking it.

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use kiln_lab::cache::Entry;
use kiln_lab::debian::{Debian, SUITE};
use kiln_lab::{Cache, Oracle, oci};

use super::tools::{BENCH, Tools, bootstrap, mirror};
use super::{lab_error, many};
use crate::error::{Error, file_error};

/// A tree to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TreeName {
    /// The Debian of demo and tests
    Small,
    /// A Debian for developers
    Large,
}

impl TreeName {
    /// All, small one first.
    pub(super) const ALL: [Self; 2] = [Self::Small, Self::Large];

    /// The name as it is typed and printed.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }
}

/// What the large tree consists of, beyond the essential packages: compilers, because their files
/// are of all sizes and kinds.
const LARGE: &[&str] = &[
    "build-essential",
    "ca-certificates",
    "cargo",
    "clang",
    "dbus",
    "default-jdk-headless",
    "e2fsprogs",
    "git",
    "golang",
    "iproute2",
    "kmod",
    "libpam-systemd",
    "linux-headers-amd64",
    "linux-image-amd64",
    "llvm",
    "nodejs",
    "openssh-server",
    "postgresql",
    "python3-scipy",
    "qemu-system-x86",
    "rustc",
    "systemd",
    "systemd-boot-efi",
    "systemd-sysv",
    "udev",
    "zstd",
];

/// Removes what a machine makes itself; the tree is `$1`.
const HOOK: &str =
    r#"rm -f "$1"/etc/ssh/ssh_host_* "$1"/boot/initrd* "$1"/initrd.img* "$1"/vmlinuz*"#;

/// Least length of the large tree's files in bytes, by the goal that names it.
const LARGE_LEAST: u64 = 2_000_000_000;

/// A tree in the cache.
#[derive(Debug)]
pub(super) struct Tree {
    entry: Entry,
    /// Bytes of its files and number of its entries.
    pub(super) length: u64,
    /// Number of its entries.
    pub(super) entries: u64,
}

impl Tree {
    /// Takes a tree from the cache or makes it.
    pub(super) fn get(cache: &Cache, tools: &Tools, name: TreeName) -> Result<Self, Error> {
        let entry = match name {
            TreeName::Small => {
                let debian = Debian::get(cache)?;
                let source = debian.tree();
                // The folder's name holds the digest of its recipe.
                let key = source.as_os_str().as_encoded_bytes();
                let entry = cache
                    .get("bench-small", &[key], |folder| complete(tools, &source, folder, true))?;
                cache.prune("bench-small", &entry)?;
                entry
            }
            TreeName::Large => large(cache, tools)?,
        };
        Self::of(entry)
    }

    /// The small tree with very many more entries; only as an image.
    pub(super) fn many(cache: &Cache, tools: &Tools) -> Result<Self, Error> {
        let debian = Debian::get(cache)?;
        let source = debian.tree();
        let recipe = many::RECIPE.to_le_bytes();
        let key = source.as_os_str().as_encoded_bytes();
        let entry = cache.get("bench-many", &[key, &recipe], |folder| {
            let tar = folder.join("rootfs.tar");
            many::write(&source, &tar, many::ENTRIES)?;
            complete(tools, &tar, folder, false)?;
            fs::remove_file(&tar).map_err(lab_error("remove", &tar))
        })?;
        cache.prune("bench-many", &entry)?;
        Self::of(entry)
    }

    fn of(entry: Entry) -> Result<Self, Error> {
        let path = entry.path().join("facts");
        let text = fs::read_to_string(&path).map_err(file_error("read", &path))?;
        let mut numbers = text.split_ascii_whitespace().map(|word| word.parse().unwrap_or(0));
        let (length, entries) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        Ok(Self { entry, length, entries })
    }

    /// The folder with `image.tar` and `tree`.
    pub(super) fn folder(&self) -> PathBuf {
        self.entry.path().to_owned()
    }
}

fn large(cache: &Cache, tools: &Tools) -> Result<Entry, Error> {
    let mirror = mirror();
    let arguments = [
        "--variant=minbase".to_owned(),
        "--architectures=amd64".to_owned(),
        "--aptopt=APT::Install-Recommends \"false\"".to_owned(),
        format!("--include={}", LARGE.join(",")),
        format!("--customize-hook={HOOK}"),
    ];
    let mut inputs: Vec<&[u8]> = vec![SUITE.as_bytes(), mirror.as_bytes()];
    inputs.extend(arguments.iter().map(|argument| argument.as_bytes()));
    let entry = cache.get("bench-large", &inputs, |folder| {
        let tar = folder.join("rootfs.tar");
        bootstrap(&arguments, &tar, &mirror)?;
        let (length, _) = many::facts(&tar)?;
        if length < LARGE_LEAST {
            return Err(kiln_lab::Error::Unexpected {
                what: "the large tree".to_owned(),
                text: format!("{length} bytes, the goal asks for {LARGE_LEAST}"),
            });
        }
        complete(tools, &tar, folder, true)?;
        fs::remove_file(&tar).map_err(lab_error("remove", &tar))
    })?;
    cache.prune("bench-large", &entry)?;
    Ok(entry)
}

/// Makes `image.tar`, `facts` and, if asked for, `tree` from a tar.
fn complete(
    tools: &Tools,
    tar: &Path,
    folder: &Path,
    unpacked: bool,
) -> Result<(), kiln_lab::Error> {
    if unpacked {
        let tree = folder.join("tree");
        // `/efi` is where systemd-repart's view of the tree gets its boot files.
        let boot_files = tree.join("efi");
        fs::create_dir_all(&boot_files).map_err(lab_error("create", &boot_files))?;
        // Without device nodes: mkosi's copy would read /dev/zero to its end.
        Oracle::new("tar")
            .arguments(["--numeric-owner", "--xattrs", "--xattrs-include=*", "--exclude=./dev/*"])
            .arguments(["-xp", "-C"])
            .argument(&tree)
            .argument("-f")
            .argument(tar)
            .run()?;
    }
    let (length, entries) = many::facts(tar)?;
    let facts = folder.join("facts");
    fs::write(&facts, format!("{length} {entries}\n")).map_err(lab_error("write", &facts))?;

    let plain = folder.join("plain.tar");
    oci::write_archive(tar, "amd64", None, &plain)?;
    let inside = format!("{BENCH}/making");
    let wrap = |error: Error| kiln_lab::Error::Unexpected {
        what: "the making of an image with a zstd layer".to_owned(),
        text: error.to_string(),
    };
    tools.bind(folder, &inside).map_err(wrap)?;
    let copy = tools.run(&[
        "skopeo",
        "--insecure-policy",
        "--tmpdir",
        &inside,
        "copy",
        "--quiet",
        "--dest-compress-format=zstd",
        &format!("oci-archive:{inside}/plain.tar:{}", oci::TAG),
        &format!("oci-archive:{inside}/image.tar:{}", oci::TAG),
    ]);
    Oracle::new("umount").argument(tools.outside(&inside)).run()?;
    copy.map_err(wrap)?;
    fs::remove_file(&plain).map_err(lab_error("remove", &plain))
}
