//! What the contenders are measured with: a registry with images and releases, and a machine.
//!
//! The machine is a folder that the product takes for one, with the old release in its slot. All that
//! happens on it is done by the program itself from its command line, so that no figure is of code
//! that users do not run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_lab::{Cache, MachineFolder, Oracle, Registry};
use serde_json::Value;

use super::changed::{Contents, LEVEL};
use super::images::{Image, OLD};
use super::run::{output, unexpected};
use crate::bench::lab_error;
use crate::bench::measure::length;
use crate::error::{Error, file_error};

/// Repository of the images that have a release beside them.
pub(super) const EDGE: &str = "edge";
/// Repository of the same images without one, and of whole roots.
pub(super) const IMAGES: &str = "images";

/// Name of what is built.
const NAME: &str = "bench";

/// Bytes of a block of a root.
const ROOT_BLOCK: u64 = 4096;

/// How a layer's media type ends that holds part of a boot file, and that of the table.
const SECTION: &str = ".boot.section.v1";
const TABLE: &str = ".table.v1";

/// A release in a folder and in the registry.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) tag: &'static str,
    folder: PathBuf,
    /// What its root holds.
    pub(super) contents: Contents,
    /// `release.json`.
    facts: Value,
    /// Media type, digest and length of what its manifest lists.
    layers: Vec<(String, String, u64)>,
}

impl Release {
    fn fact(&self, pointer: &str) -> Result<&Value, Error> {
        let missing = || unexpected("release.json", format!("{pointer} in {}", self.facts));
        self.facts.pointer(pointer).ok_or_else(missing)
    }

    pub(super) fn kernel(&self) -> Result<String, Error> {
        Ok(self.fact("/kernel")?.as_str().unwrap_or_default().to_owned())
    }

    fn root_hash(&self) -> Result<&str, Error> {
        Ok(self.fact("/root/hash")?.as_str().unwrap_or_default())
    }

    /// Bytes of the root image with its hash tree.
    pub(super) fn root_length(&self) -> Result<u64, Error> {
        Ok(self.fact("/root/length")?.as_u64().unwrap_or_default())
    }

    /// Byte of the root image at which its hash tree begins.
    pub(super) fn tree_offset(&self) -> Result<u64, Error> {
        Ok(self.fact("/root/data_blocks")?.as_u64().unwrap_or_default() * ROOT_BLOCK)
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.folder.join(format!("{NAME}.{extension}"))
    }

    /// Bytes of the table.
    pub(super) fn table_length(&self) -> u64 {
        let tables = self.layers.iter().filter(|(kind, ..)| kind.ends_with(TABLE));
        tables.map(|(_, _, length)| length).sum()
    }

    /// Bytes of the parts of boot files that `old` has not.
    pub(super) fn new_sections(&self, old: &Self) -> u64 {
        let sections = self.layers.iter().filter(|(kind, ..)| kind.ends_with(SECTION));
        let new = sections.filter(|layer| !old.layers.contains(layer));
        new.map(|(_, _, length)| length).sum()
    }
}

/// Registry, releases and machine.
#[derive(Debug)]
pub(super) struct Laboratory {
    pub(super) kiln: PathBuf,
    /// An empty folder for everything, on a disk.
    pub(super) work: PathBuf,
    pub(super) registry: Registry,
    pub(super) machine: MachineFolder,
    pub(super) old: Release,
}

impl Laboratory {
    /// Builds the old release and a machine that runs it.
    pub(super) fn new(kiln: PathBuf, work: PathBuf, cache: &Cache) -> Result<Self, Error> {
        let registry = Registry::plain()?;
        let old = release(&kiln, &work, &registry, cache, OLD)?;
        let folder = work.join("machine");
        let recipe = work.join(OLD.tag).join("tree/usr/lib/kiln/recipe.json");
        let machine = MachineFolder::new(&folder, &old.file("raw"), &old.file("root"), &recipe)?;
        machine.start("kiln-00000001+3-0.efi", 'a', old.root_hash()?)?;
        output(Command::new(&kiln).args(["-q", "bless", "--machine"]).arg(&folder))?;
        machine.start("kiln-00000001.efi", 'a', old.root_hash()?)?;
        machine.keep()?;
        Ok(Self { kiln, work, registry, machine, old })
    }

    /// Builds and pushes a release.
    pub(super) fn release(&self, cache: &Cache, image: Image) -> Result<Release, Error> {
        release(&self.kiln, &self.work, &self.registry, cache, image)
    }

    /// The machine as it was before any upgrade.
    pub(super) fn restore(&self) -> Result<(), Error> {
        self.machine.restore()?;
        Ok(self.machine.start("kiln-00000001.efi", 'a', self.old.root_hash()?)?)
    }

    /// The machine with a release that was brought, after its restart.
    pub(super) fn restart(&self, release: &Release) -> Result<(), Error> {
        Ok(self.machine.start("kiln-00000002+3-0.efi", 'b', release.root_hash()?)?)
    }

    /// Slot A with nothing to take from.
    pub(super) fn forget_contents(&self) -> Result<(), Error> {
        Ok(self.machine.fill_slot(self.old.tree_offset()?)?)
    }

    /// The words of `kiln upgrade`.
    pub(super) fn upgrade(&self, repository: &str, tag: &str, option: Option<&str>) -> Vec<String> {
        let host = self.registry.host();
        let (kiln, machine) = (text(&self.kiln), text(self.machine.path()));
        let words =
            [&kiln, "-q", "upgrade", "--machine", &machine, "--plain-http", &host, "--json"];
        let reference = format!("{host}/{repository}:{tag}");
        let words = words.into_iter().chain(option).chain([reference.as_str()]);
        words.map(str::to_owned).collect()
    }

    /// The words that fetch the image and make nothing of it.
    pub(super) fn skopeo(&self, tag: &str) -> Vec<String> {
        let from = format!("docker://{}/{IMAGES}:{tag}", self.registry.host());
        let to = format!("oci:{}:{tag}", self.work.join("copy").display());
        let options = ["--quiet", "--src-tls-verify=false"];
        let words = ["skopeo", "--insecure-policy", "copy"].into_iter().chain(options);
        words.chain([from.as_str(), &to]).map(str::to_owned).collect()
    }

    /// The words that fetch root and boot file whole, the root into a slot.
    pub(super) fn whole(&self, release: &Release) -> Result<Vec<String>, Error> {
        let packed = release.folder.join("root.zst");
        Oracle::new("zstd")
            .arguments(["--quiet", "--force", "--no-check", "--no-progress", LEVEL, "-o"])
            .argument(&packed)
            .argument(release.file("root"))
            .run()?;
        let mut words: Vec<String> = ["sh", "-euc", WHOLE, "sh"].map(str::to_owned).into();
        for path in [packed, release.file("efi")] {
            let file = fs::File::open(&path).map_err(file_error("read", &path))?;
            let digest = self.registry.add_blob(IMAGES, file)?;
            let host = self.registry.host();
            words.push(format!("http://{host}/v2/{IMAGES}/blobs/{digest}"));
        }
        words.push(text(&self.machine.slot_b()));
        words.push(text(&self.work.join("boot-file")));
        words.push(release.root_length()?.to_string());
        Ok(words)
    }

    /// Removes what skopeo wrote.
    pub(super) fn forget_copy(&self) -> Result<(), Error> {
        let path = self.work.join("copy");
        if !path.exists() {
            return Ok(());
        }
        fs::remove_dir_all(&path).map_err(file_error("remove", &path))
    }
}

/// What an updater of whole images does: fetch, unpack into the slot, flush. `$1` and `$2` are root and
/// boot file, `$3` and `$4` where they go, `$5` is the root's length.
const WHOLE: &str = "curl -fsS \"$1\" | zstd -dqc > \"$3\"; curl -fsS \"$2\" > \"$4\"; \
                     sync \"$3\" \"$4\"; test \"$(stat -c %s \"$3\")\" = \"$5\"";

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Puts an image into the registry, builds its release and pushes it.
fn release(
    kiln: &Path,
    work: &Path,
    registry: &Registry,
    cache: &Cache,
    image: Image,
) -> Result<Release, Error> {
    let tag = image.tag;
    let layout = image.get(cache)?.path();
    for repository in [EDGE, IMAGES] {
        registry.add_layout(repository, tag, &layout)?;
    }
    let host = registry.host();
    let reference = format!("{host}/{EDGE}:{tag}");
    let folder = work.join(tag);
    output(
        Command::new(kiln)
            .args(["-q", "build", "--plain-http", &host, "--no-cache", "--name", NAME, "-o"])
            .arg(&folder)
            .arg(format!("docker://{reference}")),
    )?;
    let mut push = Command::new(kiln);
    push.args(["-q", "push", "--plain-http", &host, "--json"]).arg(&folder).arg(&reference);
    let pushed = output(&mut push)?;
    let digest = serde_json::from_str::<Value>(&pushed).unwrap_or_default();
    let digest = digest["manifest_digest"].as_str().unwrap_or_default();
    let manifest = registry.manifest(EDGE, digest);
    let manifest = manifest.ok_or_else(|| unexpected("what kiln push says", pushed.clone()))?;
    let path = folder.join("release.json");
    let facts = fs::read(&path).map_err(file_error("read", &path))?;
    let facts = serde_json::from_slice(&facts).unwrap_or_default();
    let contents = Contents::of_root(&folder.join(format!("{NAME}.root")), &folder.join("tree"))?;
    Ok(Release { tag, folder, contents, facts, layers: layers(&manifest.bytes) })
}

fn layers(manifest: &[u8]) -> Vec<(String, String, u64)> {
    let manifest: Value = serde_json::from_slice(manifest).unwrap_or_default();
    let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    layers
        .iter()
        .map(|layer| {
            let length = layer["size"].as_u64().unwrap_or_default();
            (text(&layer["mediaType"]), text(&layer["digest"]), length)
        })
        .collect()
}

/// Makes an empty folder, removing what was there.
pub(super) fn renew(folder: &Path) -> Result<(), Error> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(file_error("remove", folder))?;
    }
    Ok(fs::create_dir_all(folder).map_err(lab_error("create", folder))?)
}

/// Bytes of a release's boot file.
pub(super) fn boot_file_length(release: &Release) -> Result<u64, Error> {
    length(&release.file("efi"))
}
