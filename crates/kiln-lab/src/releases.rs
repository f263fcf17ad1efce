//! Releases for one machine, in a registry that it reaches.
//!
//! All are the Debian image with one small layer, so that a test says in a few lines what is good or
//! bad about a release, and the machine fetches and rebuilds all of it, as it would any real one. The
//! layer below is not compressed: what emulated processors need for that would only hide what the
//! product needs.

use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::debian::Debian;
use crate::error::{Error, file_error};
use crate::{Cache, Registry, WorkDirectory};

/// The repository of the releases.
const REPOSITORY: &str = "edge";

/// A file of every release, which holds its tag.
pub const MARKER: &str = "/usr/share/kiln-lab-release";

/// Folder of vendor units in a layer.
const UNITS: &str = "usr/lib/systemd/system";

/// Something in a release's layer.
#[derive(Debug, Clone, Copy)]
pub enum Piece<'a> {
    /// A file that may be read: path without the leading slash, content.
    File(&'a str, &'a str),
    /// A program: path without the leading slash, content.
    Program(&'a str, &'a str),
    /// A symbolic link: path without the leading slash, target.
    Link(&'a str, &'a str),
    /// A vendor unit of systemd that is enabled: its name, the folder of links that enables it, such as
    /// `basic.target.wants`, content.
    Unit(&'a str, &'a str, &'a str),
}

/// Releases in a registry on this computer.
#[derive(Debug)]
pub struct Releases {
    registry: Registry,
    base: Layer,
    folder: PathBuf,
    /// How many were published; each is newer than the one before.
    count: Cell<u8>,
}

#[derive(Debug)]
struct Layer {
    digest: String,
    length: u64,
}

impl Releases {
    /// An empty registry with the layer that all releases share; temporary files go to `work`.
    ///
    /// # Errors
    /// When the Debian image cannot be made or the registry not be started.
    pub fn new(work: &WorkDirectory) -> Result<Self, Error> {
        Self::within(Registry::plain()?, work)
    }

    /// The same in an empty registry that was started otherwise.
    ///
    /// # Errors
    /// When the Debian image cannot be made.
    pub fn within(registry: Registry, work: &WorkDirectory) -> Result<Self, Error> {
        let tree = Debian::get(&Cache::open()?)?.tree();
        let base = add_layer(&registry, &tree)?;
        let folder = work.path().to_owned();
        Ok(Self { registry, base, folder, count: Cell::new(0) })
    }

    /// The registry.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Publishes a release, newer than all before: the version is its tag. Returns the digest of its
    /// manifest.
    ///
    /// # Errors
    /// When its layer cannot be written.
    pub fn publish(&self, tag: &str, pieces: &[Piece<'_>]) -> Result<String, Error> {
        let path = self.folder.join(format!("{tag}.layer.tar"));
        write_layer(&path, tag, pieces).map_err(file_error("write", &path))?;
        let layer = add_layer(&self.registry, &path)?;
        let number = self.count.get() + 1;
        self.count.set(number);
        let of = |layer: &Layer| {
            json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": layer.digest,
                "size": layer.length,
            })
        };
        let configuration = json!({
            "architecture": "amd64",
            "os": "linux",
            "created": format!("2026-01-{number:02}T00:00:00Z"),
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": [self.base.digest, layer.digest] },
        })
        .to_string();
        let digest = self.registry.add_blob(REPOSITORY, configuration.as_bytes())?;
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest,
                "size": configuration.len(),
            },
            "layers": [of(&self.base), of(&layer)],
        });
        let bytes = manifest.to_string();
        Ok(self.registry.add_manifest(REPOSITORY, Some(tag), kind, bytes.as_bytes()))
    }

    /// The reference of a release as guests write it.
    #[must_use]
    pub fn reference(&self, tag: &str) -> String {
        format!("{}/{REPOSITORY}:{tag}", self.registry.host_for_guests())
    }

    /// The call of `kiln upgrade` for a release, with further options.
    #[must_use]
    pub fn call(&self, tag: &str, options: &str) -> String {
        let host = self.registry.host_for_guests();
        let reference = self.reference(tag);
        format!("sudo -n kiln -q upgrade --plain-http {host} {options} {reference}")
    }
}

fn add_layer(registry: &Registry, path: &Path) -> Result<Layer, Error> {
    let file = File::open(path).map_err(file_error("read", path))?;
    let length = file.metadata().map_err(file_error("read", path))?.len();
    Ok(Layer { digest: registry.add_blob(REPOSITORY, file)?, length })
}

/// Writes a layer with these pieces, for images that are built without a registry. The release says
/// that it is `tag`.
///
/// # Errors
/// When it cannot be written.
pub fn layer(path: &Path, tag: &str, pieces: &[Piece<'_>]) -> Result<(), Error> {
    write_layer(path, tag, pieces).map_err(file_error("write", path))
}

fn write_layer(path: &Path, tag: &str, pieces: &[Piece<'_>]) -> std::io::Result<()> {
    let system = format!(
        "NAME=\"Debian GNU/Linux\"\nPRETTY_NAME=\"Edge {tag}\"\nID=debian\nVERSION=\"{tag}\"\n"
    );
    let marker = format!("{tag}\n");
    let common = [
        Piece::File("usr/lib/os-release", &system),
        Piece::File(MARKER.trim_start_matches('/'), &marker),
    ];
    let mut out = tar::Builder::new(File::create(path)?);
    for piece in common.iter().chain(pieces) {
        match *piece {
            Piece::File(path, text) => append_file(&mut out, path, text, 0o644)?,
            Piece::Program(path, text) => append_file(&mut out, path, text, 0o755)?,
            Piece::Link(path, target) => append_link(&mut out, path, target)?,
            Piece::Unit(name, folder, text) => {
                append_file(&mut out, &format!("{UNITS}/{name}"), text, 0o644)?;
                append_link(&mut out, &format!("{UNITS}/{folder}/{name}"), &format!("../{name}"))?;
            }
        }
    }
    out.into_inner()?.flush()
}

fn append_file(
    out: &mut tar::Builder<File>,
    path: &str,
    text: &str,
    mode: u32,
) -> std::io::Result<()> {
    let mut header = header(mode);
    header.set_size(text.len() as u64);
    out.append_data(&mut header, path, text.as_bytes())
}

fn append_link(out: &mut tar::Builder<File>, path: &str, target: &str) -> std::io::Result<()> {
    let mut header = header(0o777);
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    out.append_link(&mut header, path, target)
}

fn header(mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mtime(1_750_000_000);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mode(mode);
    header
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn a_release_is_what_its_manifest_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layer.tar");
        let pieces = [
            Piece::Program("usr/lib/x", "#!/bin/sh\n"),
            Piece::Link("etc/y", "/dev/null"),
            Piece::Unit("z.service", "basic.target.wants", "[Unit]\n"),
        ];
        write_layer(&path, "14", &pieces).unwrap();
        let mut seen = Vec::new();
        for entry in tar::Archive::new(File::open(&path).unwrap()).entries().unwrap() {
            let entry = entry.unwrap();
            let mut name = entry.path().unwrap().display().to_string();
            if let Some(target) = entry.link_name().unwrap() {
                name = format!("{name} -> {}", target.display());
            }
            seen.push((name, entry.header().mode().unwrap()));
        }
        let expected = [
            ("usr/lib/os-release", 0o644),
            ("usr/share/kiln-lab-release", 0o644),
            ("usr/lib/x", 0o755),
            ("etc/y -> /dev/null", 0o777),
            ("usr/lib/systemd/system/z.service", 0o644),
            ("usr/lib/systemd/system/basic.target.wants/z.service -> ../z.service", 0o777),
        ];
        assert_eq!(seen, expected.map(|(name, mode)| (name.to_owned(), mode)));

        let registry = Registry::plain().unwrap();
        let layer = add_layer(&registry, &path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(layer.digest, format!("sha256:{:x}", Sha256::digest(&bytes)));
        assert_eq!(layer.length, bytes.len() as u64);
    }
}
