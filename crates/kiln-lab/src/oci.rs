//! An OCI image archive around file trees, written by hand.
//!
//! Fixtures must not come from the code under test, and must not need a registry tool either. So
//! this writes the least that the OCI image specification 1.1 asks for: `oci-layout`, `index.json`,
//! a manifest, a configuration and uncompressed layers, which are the trees' tars as they are.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::error::{Error, file_error};

/// The tag that the archive's index gives the image.
pub const TAG: &str = "latest";

/// Size of the buffer between the layer and its two readers, in bytes.
const BUFFER: usize = 1 << 20;

/// Writes `archive` with `layer` (a tar file) as the only layer of an image for this architecture
/// in the container world's name, for instance `amd64`, and the time at which it says that it was
/// `created` (RFC 3339), if any.
///
/// # Errors
/// When the layer cannot be read or the archive not be written.
pub fn write_archive(
    layer: &Path,
    architecture: &str,
    created: Option<&str>,
    archive: &Path,
) -> Result<(), Error> {
    write_layers(&[layer], architecture, created, archive)
}

/// The same with several layers, the lowest first.
///
/// # Errors
/// As [`write_archive`].
pub fn write_layers(
    layers: &[&Path],
    architecture: &str,
    created: Option<&str>,
    archive: &Path,
) -> Result<(), Error> {
    let writing = file_error("write", archive);
    let layers = layers.iter().map(|path| Layer::of(path)).collect::<Result<Vec<_>, _>>()?;
    let digests: Vec<&str> = layers.iter().map(|layer| layer.digest.as_str()).collect();
    let mut configuration = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": digests },
    });
    if let Some(created) = created {
        configuration["created"] = created.into();
    }
    let configuration = Blob::of(&configuration);
    let descriptors: Vec<Value> = layers
        .iter()
        .map(|layer| {
            json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": layer.digest,
                "size": layer.length,
            })
        })
        .collect();
    let manifest = Blob::of(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": configuration.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": descriptors,
    }));
    let mut listed = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
    listed["annotations"] = json!({ "org.opencontainers.image.ref.name": TAG });
    listed["platform"] = json!({ "architecture": architecture, "os": "linux" });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [listed],
    });

    let file = File::create(archive).map_err(&writing)?;
    let mut out = tar::Builder::new(BufWriter::with_capacity(BUFFER, file));
    let mut add = |name: &str, bytes: &[u8]| append(&mut out, name, bytes.len() as u64, bytes);
    add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).map_err(&writing)?;
    add("index.json", index.to_string().as_bytes()).map_err(&writing)?;
    for blob in [&manifest, &configuration] {
        add(&format!("blobs/sha256/{}", blob.digest), &blob.bytes).map_err(&writing)?;
    }
    for layer in &layers {
        let file = File::open(layer.path).map_err(file_error("read", layer.path))?;
        let bytes = BufReader::with_capacity(BUFFER, file);
        let hex = layer.digest.trim_start_matches("sha256:");
        append(&mut out, &format!("blobs/sha256/{hex}"), layer.length, bytes).map_err(&writing)?;
    }
    out.into_inner().and_then(|mut file| file.flush()).map_err(&writing)
}

/// A layer's tar with what manifests say of it.
struct Layer<'a> {
    path: &'a Path,
    digest: String,
    length: u64,
}

impl<'a> Layer<'a> {
    fn of(path: &'a Path) -> Result<Self, Error> {
        let reading = file_error("read", path);
        let mut source = File::open(path).map_err(&reading)?;
        let length = source.metadata().map_err(&reading)?.len();
        let digest = format!("sha256:{}", digest(&mut source).map_err(&reading)?);
        Ok(Self { path, digest, length })
    }
}

/// A JSON document with its digest.
struct Blob {
    bytes: Vec<u8>,
    digest: String,
}

impl Blob {
    fn of(value: &Value) -> Self {
        let bytes = value.to_string().into_bytes();
        let digest = format!("{:x}", Sha256::digest(&bytes));
        Self { bytes, digest }
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({
            "mediaType": media_type,
            "digest": format!("sha256:{}", self.digest),
            "size": self.bytes.len(),
        })
    }
}

/// Appends a file with fixed owner, mode and time, so that the archive is a function of its layer.
fn append(
    out: &mut tar::Builder<impl Write>,
    name: &str,
    length: u64,
    data: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(length);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    out.append_data(&mut header, name, data)
}

fn digest(source: &mut impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(format!("{:x}", hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_digest_is_in_the_archive() {
        let folder = tempfile::tempdir().unwrap();
        let layer = folder.path().join("layer.tar");
        let mut tree = tar::Builder::new(File::create(&layer).unwrap());
        append(&mut tree, "etc/os-release", 5, &b"ID=x\n"[..]).unwrap();
        tree.into_inner().unwrap();
        let archive = folder.path().join("image.tar");
        write_archive(&layer, "amd64", Some("2026-01-01T00:00:00Z"), &archive).unwrap();

        let mut files = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(File::open(&archive).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(name, bytes);
        }
        let document = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let blob = |digest: &Value| {
            let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
            let bytes = files[&format!("blobs/sha256/{hex}")].clone();
            assert_eq!(format!("{:x}", Sha256::digest(&bytes)), hex);
            bytes
        };
        let index = document(&files["index.json"]);
        let manifest = document(&blob(&index["manifests"][0]["digest"]));
        let configuration = document(&blob(&manifest["config"]["digest"]));
        assert_eq!(configuration["created"], "2026-01-01T00:00:00Z");
        assert_eq!(blob(&manifest["layers"][0]["digest"]), std::fs::read(&layer).unwrap());
    }
}
