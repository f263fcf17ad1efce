//! One build as a user has it: an image on disk, a folder with Kiln's own binaries, the files of the
//! result.

use std::path::PathBuf;

use kiln_build::inspect::{BootFileFacts, Contents, DiskFacts, inspect};
use kiln_build::{BuildOptions, Built, Error, Formats, Input, ModuleSet, ReadOptions, Silent};
use kiln_erofs::Codec;
use kiln_registry::{Options, Platform, Source};

use crate::entry::Entry;
use crate::layout;
use crate::programs::{Machine, static_program};

/// A folder with an image and what is built from it.
pub struct Workshop {
    folder: tempfile::TempDir,
    pub options: BuildOptions,
}

impl Workshop {
    /// An image of these layers, lowest first.
    pub fn new(machine: Machine, layers: &[Vec<Entry>]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        layout::write(&image, machine.name, layers);
        let runtime = folder.path().join("runtime");
        std::fs::create_dir(&runtime).unwrap();
        for name in ["kiln", "kiln-init"] {
            std::fs::write(runtime.join(name), static_program(machine, name)).unwrap();
        }
        let registry = Options { platform: Platform::linux(machine.name), ..Options::default() };
        let options = BuildOptions {
            input: Input::Source(Source::OciLayout { path: image, reference: None }),
            reading: ReadOptions { registry, ..ReadOptions::default() },
            output: folder.path().join("out"),
            formats: Formats { raw: true, ..Formats::default() },
            check: false,
            mode: kiln_build::Mode::System,
            name: None,
            version: None,
            sequence: None,
            codec: Codec::Lz4,
            kernel_arguments: Vec::new(),
            addons: Vec::new(),
            slot_size: Some(64 << 20),
            esp_size: Some(64 << 20),
            sector_size: 512,
            modules: ModuleSet::Virtio,
            extra_modules: Vec::new(),
            layout: None,
            boot_files: None,
            runtime: Some(runtime),
            users: Vec::new(),
            threads: 2,
        };
        Self { folder, options }
    }

    pub fn build(&self) -> Result<Built, Error> {
        kiln_build::build(&self.options, &mut Silent)
    }

    /// Where the image is.
    pub fn source(&self) -> Source {
        Source::OciLayout { path: self.folder.path().join("image"), reference: None }
    }

    /// A file of the result.
    pub fn output(&self, name: &str) -> PathBuf {
        self.folder.path().join("out").join(name)
    }

    /// The boot file as `kiln inspect` sees it.
    pub fn boot_file(&self, name: &str) -> BootFileFacts {
        match inspect(&self.output(&format!("{name}.efi")), 0).unwrap().contents {
            Contents::BootFile(facts) => *facts,
            other => panic!("{other:?} is no boot file"),
        }
    }

    /// The disk as `kiln inspect` sees it.
    pub fn disk(&self, name: &str) -> DiskFacts {
        match inspect(&self.output(&format!("{name}.raw")), 3).unwrap().contents {
            Contents::Disk(facts) => *facts,
            other => panic!("{other:?} is no disk"),
        }
    }
}
