//! Kiln's own program as tests use it: by its command line.
//!
//! The binary is named by `$KILN_BIN`, which `cargo xtask test` sets to the static release build:
//! what is tested is what users get. Tests never call the product's crates for this.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use kiln_qemu::{Architecture, Disk, DiskFormat, Machine};
use serde_json::Value;

use crate::cache::{Cache, Entry};
use crate::debian::{self, Debian};
use crate::error::{Error, file_error};
use crate::{Oracle, WorkDirectory, oci};

/// Names the binary.
pub const VARIABLE: &str = "KILN_BIN";

/// The password that tests give the user of their systems.
pub const PASSWORD: &str = "correct horse battery staple";

/// Name of the built system, and so of its files.
const NAME: &str = "lab";

/// Arguments of every system that tests boot, and of all that it upgrades to. systemd gives up on a
/// console's device after 90 seconds and on a service's start after as many (`man systemd-system.conf`):
/// an emulator that shares its processor takes longer, and then there is no login at all or a failed
/// unit. Ten minutes are beyond all patience of the tests.
const PATIENT: [&str; 4] = [
    "--karg",
    "systemd.default_device_timeout_sec=600",
    "--karg",
    "systemd.default_timeout_start_sec=600",
];

/// Size of the disk that tests boot from, in bytes: room for two slots, recovery and state.
pub const DISK_BYTES: u64 = 12 << 30;

/// The program.
#[derive(Debug, Clone)]
pub struct Product {
    binary: PathBuf,
}

/// A system built from the Debian image, shared by all tests that build it with these options.
#[derive(Debug)]
pub struct BuiltSystem {
    entry: Entry,
}

impl Product {
    /// The program that the environment names.
    ///
    /// # Errors
    /// When it names none.
    pub fn from_environment() -> Result<Self, Error> {
        let binary = env::var_os(VARIABLE).ok_or(Error::Unset { variable: VARIABLE })?;
        Ok(Self { binary: binary.into() })
    }

    /// The program at this path.
    #[must_use]
    pub fn at(binary: &Path) -> Self {
        Self { binary: binary.to_owned() }
    }

    /// A call of the program.
    pub fn call(&self) -> Oracle {
        Oracle::new(&self.binary.to_string_lossy())
    }

    /// Builds the Debian image with a login and further options, or takes the result of the same
    /// binary with the same options from the cache.
    ///
    /// # Errors
    /// When the image cannot be made or the build fails.
    pub fn debian_system(&self, options: &[&str]) -> Result<BuiltSystem, Error> {
        // One kind for each set of options: pruning then drops the results of older binaries only.
        let kind = match options {
            [] => "system".to_owned(),
            _ => format!("system{}", options.join("").replace(|c: char| !c.is_alphanumeric(), "-")),
        };
        self.system(&kind, &[], options)
    }

    /// The same from the Debian image with further layers on top, the lowest first. `name` is unlike
    /// that of other tests.
    ///
    /// # Errors
    /// When a layer cannot be read, the image not be made, or the build fails.
    pub fn layered_system(
        &self,
        name: &str,
        layers: &[&Path],
        options: &[&str],
    ) -> Result<BuiltSystem, Error> {
        self.system(&format!("layered-{name}"), layers, options)
    }

    fn system(&self, kind: &str, layers: &[&Path], options: &[&str]) -> Result<BuiltSystem, Error> {
        let cache = Cache::open()?;
        let debian = Debian::get(&cache)?;
        let image = debian.image();
        let binary = fs::read(&self.binary).map_err(file_error("read", &self.binary))?;
        let image_name = image.to_string_lossy().into_owned();
        let options_text = [&PATIENT[..], options].concat().join("\n");
        let contents = layers
            .iter()
            .map(|path| fs::read(path).map_err(file_error("read", path)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut inputs: Vec<&[u8]> =
            vec![&binary, image_name.as_bytes(), options_text.as_bytes(), PASSWORD.as_bytes()];
        inputs.extend(contents.iter().map(Vec::as_slice));
        let entry = cache.get(kind, &inputs, |folder| {
            let password = folder.join("password");
            fs::write(&password, PASSWORD).map_err(file_error("write", &password))?;
            let layered = folder.join("image.tar");
            let source = if layers.is_empty() {
                &image
            } else {
                let tree = debian.tree();
                oci::write_layers(&[&[tree.as_path()], layers].concat(), "amd64", None, &layered)?;
                &layered
            };
            self.call()
                .arguments(["build", &format!("oci-archive:{}", source.display())])
                .arguments(["-o".as_ref(), folder.as_os_str()])
                .arguments(["--name", NAME, "--user", debian::USER])
                .arguments(["--password-file".as_ref(), password.as_os_str()])
                .arguments(PATIENT)
                .arguments(options)
                .run()?;
            match fs::remove_file(&layered) {
                Err(error) if !layers.is_empty() => Err(file_error("remove", &layered)(error)),
                _ => Ok(()),
            }
        })?;
        cache.prune(kind, &entry)?;
        Ok(BuiltSystem { entry })
    }
}

/// What `kiln build` wrote into a folder, with what it says about it.
#[derive(Debug)]
pub struct Build {
    /// The folder.
    pub work: WorkDirectory,
    /// `release.json`.
    pub release: Value,
}

impl Build {
    /// Builds the Debian image as it is, without a login, with further options. Never from the cache:
    /// for tests that look at what a build writes.
    ///
    /// # Errors
    /// When the image cannot be made or the build fails.
    pub fn new(name: &str, options: &[&str]) -> Result<Self, Error> {
        let work = WorkDirectory::new(name)?;
        let image = Debian::get(&Cache::open()?)?.image();
        Product::from_environment()?
            .call()
            .arguments(["build", "--quiet", "--name", NAME])
            .arguments(options)
            .argument("--output")
            .argument(work.path())
            .argument(format!("oci-archive:{}", image.display()))
            .run()?;
        let path = work.join("release.json");
        let text = fs::read_to_string(&path).map_err(file_error("read", &path))?;
        let release = serde_json::from_str(&text)
            .map_err(|_| Error::Unexpected { what: "release.json".into(), text })?;
        Ok(Self { work, release })
    }

    /// The file of the system that ends like this: `raw`, `efi`, `root` …
    #[must_use]
    pub fn file(&self, extension: &str) -> PathBuf {
        self.work.join(format!("{NAME}.{extension}"))
    }

    /// A fact of the release as text, by its JSON pointer.
    ///
    /// # Errors
    /// When the release has no such text or number.
    pub fn fact(&self, pointer: &str) -> Result<String, Error> {
        match self.release.pointer(pointer) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Number(number)) => Ok(number.to_string()),
            _ => Err(Error::Unexpected {
                what: format!("release.json at {pointer}"),
                text: self.release.to_string(),
            }),
        }
    }
}

impl BuiltSystem {
    /// The raw disk as built; never to be written.
    #[must_use]
    pub fn raw_disk(&self) -> PathBuf {
        self.entry.path().join(format!("{NAME}.raw"))
    }

    /// The EROFS image with its hash tree.
    #[must_use]
    pub fn root_image(&self) -> PathBuf {
        self.entry.path().join(format!("{NAME}.root"))
    }

    /// A disk of [`DISK_BYTES`] for one test, which shares all unwritten blocks with the built one.
    ///
    /// # Errors
    /// When qemu-img is missing or fails.
    pub fn disk(&self, work: &WorkDirectory) -> Result<PathBuf, Error> {
        let path = work.join("disk.qcow2");
        Oracle::new("qemu-img")
            .arguments(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .argument(self.raw_disk())
            .argument(&path)
            .argument(DISK_BYTES.to_string())
            .run()?;
        Ok(path)
    }

    /// A sparse raw copy of [`DISK_BYTES`] for tests that damage the disk from outside.
    ///
    /// # Errors
    /// When the copy fails.
    pub fn raw_copy(&self, work: &WorkDirectory) -> Result<PathBuf, Error> {
        let path = work.join("disk.raw");
        Oracle::new("cp")
            .arguments(["--sparse=always", "--reflink=auto"])
            .argument(self.raw_disk())
            .argument(&path)
            .run()?;
        kiln_qemu::grow_to(&path, DISK_BYTES)?;
        Ok(path)
    }
}

/// A machine with this disk, as tests want it: 1 GiB, no care for power cuts.
///
/// # Errors
/// When the disk cannot be read.
pub fn machine(disk: &Path) -> Result<Machine, Error> {
    let format = DiskFormat::probe(disk)?;
    Ok(machine_with(Disk::new(disk, format).unsafe_cache(true)))
}

/// The machine of [`machine`] with a disk that the test has described itself.
///
/// It has one processor, as [`Machine`] gives where it is translated. Two such machines side by side
/// also take less time than one of the faster after the other.
pub fn machine_with(disk: Disk) -> Machine {
    Machine::new(Architecture::X86_64).processors(1).disk(disk)
}
