//! An OCI image layout on disk, written from the OCI image specification 1.1 and not with the code
//! under test. Its layers are compressed in turn with nothing, gzip and zstd.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::entry::{Entry, tar};

/// Writes an image of these layers, lowest first, for an architecture in OCI's words.
pub fn write(folder: &Path, architecture: &str, layers: &[Vec<Entry>]) {
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let mut descriptors = Vec::new();
    let mut plain_digests = Vec::new();
    for (number, entries) in layers.iter().enumerate() {
        let plain = tar(entries);
        plain_digests.push(digest(&plain));
        let (ending, bytes) = match number % 3 {
            0 => ("", plain),
            1 => ("+gzip", gzip(&plain)),
            _ => ("+zstd", zstd::bulk::compress(&plain, 3).unwrap()),
        };
        let media_type = format!("application/vnd.oci.image.layer.v1.tar{ending}");
        descriptors.push(blob(folder, &media_type, &bytes));
    }
    let configuration = json!({
        "architecture": architecture,
        "os": "linux",
        "created": "2025-01-02T03:04:05Z",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": plain_digests },
    });
    let configuration =
        document(folder, "application/vnd.oci.image.config.v1+json", &configuration);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": configuration,
        "layers": descriptors,
    });
    let mut listed = document(folder, "application/vnd.oci.image.manifest.v1+json", &manifest);
    listed["platform"] = json!({ "architecture": architecture, "os": "linux" });
    // One more that nobody can read: the platform must be what chooses.
    let mut other = listed.clone();
    other["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
    other["platform"] = json!({ "architecture": "s390x", "os": "linux" });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [other, listed],
    });
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
}

fn document(folder: &Path, media_type: &str, value: &Value) -> Value {
    blob(folder, media_type, value.to_string().as_bytes())
}

fn blob(folder: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let digest = digest(bytes);
    let name = digest.trim_start_matches("sha256:");
    fs::write(folder.join("blobs/sha256").join(name), bytes).unwrap();
    json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
