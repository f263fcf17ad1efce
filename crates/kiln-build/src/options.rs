//! What a build was asked to do, in validated form.
//!
//! The command line fills this in; nothing here is read from the environment, because two builds
//! with equal options must give equal bytes.

use std::path::PathBuf;

use kiln_erofs::Codec;
use kiln_media::Format as Disk;
use kiln_registry::{Options as RegistryOptions, Source};
pub use kiln_tree::Limits as TreeLimits;

use crate::addon::Addon;
pub use crate::containerfile::{Builder, Containerfile};

pub use kiln_boot::modules::sets::ModuleSet;
pub use kiln_boot::os_release::Mode;

/// Which files a build writes beside the root image and the boot file, which it always writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Formats {
    /// `NAME.raw`.
    pub raw: bool,
    /// `NAME.raw.zst`.
    pub raw_zst: bool,
    /// `NAME.qcow2`.
    pub qcow2: bool,
    /// `NAME.vmdk`.
    pub vmdk: bool,
    /// `NAME.ova`.
    pub ova: bool,
    /// `NAME.vhd`.
    pub vhd: bool,
    /// `NAME.gce.tar.gz`.
    pub gce: bool,
}

impl Formats {
    /// The disks among them, in the order in which they are written.
    pub(crate) fn disks(self) -> Vec<Disk> {
        [
            (self.raw, Disk::Raw),
            (self.raw_zst, Disk::RawZst),
            (self.qcow2, Disk::Qcow2),
            (self.vmdk, Disk::Vmdk),
            (self.ova, Disk::Ova),
            (self.vhd, Disk::Vhd),
            (self.gce, Disk::Gce),
        ]
        .into_iter()
        .filter_map(|(is_wanted, format)| is_wanted.then_some(format))
        .collect()
    }
}

/// A login that the image gets. With neither password nor keys the user can only be switched to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// A password or, beginning with `$`, its hash in crypt(5) form.
    pub password: Option<String>,
    /// Lines for `authorized_keys`.
    pub ssh_keys: Vec<String>,
}

/// How a source is read.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// Platform, credentials and the bounds of images.
    pub registry: RegistryOptions,
    /// The bounds of trees.
    pub limits: TreeLimits,
}

/// What a build begins with.
#[derive(Debug, Clone)]
pub enum Input {
    /// An image or a file tree that is there.
    Source(Source),
    /// An image that has to be built first.
    Containerfile(Containerfile),
}

/// Everything that a build needs to know.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// Where the tree comes from.
    pub input: Input,
    /// How it is read.
    pub reading: ReadOptions,
    /// The folder for the results.
    pub output: PathBuf,
    /// Which media to write.
    pub formats: Formats,
    /// Whether disks are read back and compared with what they were made from.
    pub check: bool,
    /// What the disks start first: the system, or recovery, which then puts the system onto them.
    pub mode: Mode,
    /// The release's name, where not the image's own.
    pub name: Option<String>,
    /// The release's version, where not the image's own.
    pub version: Option<String>,
    /// The release's place in the order, where not the image's creation time.
    pub sequence: Option<u64>,
    /// How file contents are compressed.
    pub codec: Codec,
    /// Kernel arguments behind Kiln's own.
    pub kernel_arguments: Vec<String>,
    /// Kernel arguments that a machine may switch on by name.
    pub addons: Vec<Addon>,
    /// Bytes of a slot, where neither the layout's nor computed from the image.
    pub slot_size: Option<u64>,
    /// Bytes of the ESP, where neither the layout's nor the usual.
    pub esp_size: Option<u64>,
    /// Bytes of a disk sector: 512 or 4096.
    pub sector_size: u32,
    /// Which kernel modules the initramfs carries.
    pub modules: ModuleSet,
    /// Modules that it carries besides.
    pub extra_modules: Vec<String>,
    /// The text of the layout that the first boot makes, if it is not the usual one.
    pub layout: Option<String>,
    /// Where stub and loader come from, where not from the image.
    pub boot_files: Option<Source>,
    /// Kiln's own binaries, where not those of the running program.
    pub runtime: Option<PathBuf>,
    /// Logins to add.
    pub users: Vec<User>,
    /// Threads for compression and hashing, at least 1.
    pub threads: usize,
}

impl BuildOptions {
    /// A root and its boot files without media, as every default has it. A machine begins with this
    /// when it builds for itself, and lets its recipe say the rest. Threads are as many as the
    /// computer has processors; they change no byte.
    #[must_use]
    pub fn without_media(source: Source, reading: ReadOptions, output: PathBuf) -> Self {
        Self::of(Input::Source(source), reading, output)
    }

    /// The same for any input.
    #[must_use]
    pub fn of(input: Input, reading: ReadOptions, output: PathBuf) -> Self {
        Self {
            input,
            reading,
            output,
            formats: Formats::default(),
            check: false,
            mode: Mode::System,
            name: None,
            version: None,
            sequence: None,
            codec: Codec::Lz4,
            kernel_arguments: Vec::new(),
            addons: Vec::new(),
            slot_size: None,
            esp_size: None,
            sector_size: 512,
            modules: ModuleSet::default(),
            extra_modules: Vec::new(),
            layout: None,
            boot_files: None,
            runtime: None,
            users: Vec::new(),
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        }
    }
}
