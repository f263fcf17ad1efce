//! What `docker save` writes: a tar with `manifest.json`, configurations and layers.
//!
//! The format (Docker image specification 1.2) names layers by file, not by digest, so the
//! configuration's diff ids are what is verified, and its own digest where its file is named by
//! it. Layers may be links to one another. Newer versions of Docker add an OCI layout to the same
//! tar; it is ignored here, for one source form must mean one thing.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use crate::blob::Blob;
use crate::image::Image;
use crate::layer::Layer;
use crate::manifest::{Descriptor, ImageConfig, null_as_default, parse};
use crate::media_type::Compression;
use crate::resolve::{check_layer_count, check_platform};
use crate::store::Store;
use crate::tar_index::TarIndex;
use crate::{Digest, Error, Options};

/// One image in `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default, deserialize_with = "null_as_default")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    layers: Vec<String>,
}

/// Layers by diff id.
#[derive(Debug)]
struct Members {
    archive: String,
    layers: BTreeMap<Digest, Blob>,
}

impl Store for Members {
    fn document(&self, descriptor: &Descriptor) -> Result<Blob, Error> {
        self.layer(descriptor.digest, descriptor.size)
    }

    fn layer(&self, digest: Digest, _size: u64) -> Result<Blob, Error> {
        self.layers
            .get(&digest)
            .cloned()
            .ok_or_else(|| Error::BlobMissing { digest, location: self.archive.clone() })
    }
}

/// Opens the image tagged `reference`, or the only one.
pub(crate) fn open(
    path: &Path,
    reference: Option<&str>,
    options: &Options,
) -> Result<Image, Error> {
    let limits = &options.limits;
    let index = TarIndex::open(path, limits.archive_members)?;
    let archive = path.display().to_string();
    let member = |name: &str| {
        index.get(name).ok_or_else(|| Error::InvalidDocument {
            location: format!("archive {archive}"),
            reason: format!("it has no {:?}", crate::digest::shorten(name)),
        })
    };
    let location = format!("manifest.json of {archive}");
    let entries: Vec<Entry> =
        parse(&member("manifest.json")?.read_all(limits.manifest_bytes)?, &location)?;
    let (entry, name) = select(&entries, reference, &archive)?;
    let config_bytes = member(&entry.config)?.read_all(limits.config_bytes)?;
    let config_digest = Digest::of(&config_bytes);
    let config_location =
        format!("configuration {} of {archive}", crate::digest::shorten(&entry.config));
    if let Some(expected) = digest_in_name(&entry.config)
        && expected != config_digest
    {
        return Err(Error::DigestMismatch {
            location: config_location,
            expected,
            actual: config_digest,
        });
    }
    let config = ImageConfig::parse(&config_bytes, &config_location)?;
    if entry.layers.len() != config.diff_ids.len() {
        return Err(Error::InvalidDocument {
            location,
            reason: format!(
                "it has {} layers while the configuration has {} diff ids",
                entry.layers.len(),
                config.diff_ids.len()
            ),
        });
    }
    check_layer_count(entry.layers.len(), &location, limits.max_layers)?;
    check_platform(&config, &archive, options)?;
    let mut members = BTreeMap::new();
    let mut layers = Vec::with_capacity(entry.layers.len());
    for (name, diff_id) in entry.layers.iter().zip(&config.diff_ids) {
        // Equal layers are often stored once; the first file that has the diff id serves all.
        let blob = members.entry(*diff_id).or_insert(member(name)?);
        if blob.length > limits.max_blob_bytes {
            return Err(Error::TooLarge {
                location: format!("layer {diff_id}"),
                actual: blob.length,
                limit: limits.max_blob_bytes,
                unit: "bytes",
            });
        }
        let mut magic = Vec::new();
        let start = blob.reader().take(4).read_to_end(&mut magic);
        start.map_err(Error::io("read", path))?;
        let compression = Compression::detect(&magic);
        layers.push(Layer {
            digest: *diff_id,
            diff_id: *diff_id,
            media_type: compression.media_type().to_owned(),
            compression,
            size: blob.length,
        });
    }
    Ok(Image {
        manifest_digest: config_digest,
        config,
        layers,
        reference: name.map(str::to_owned),
        annotations: BTreeMap::new(),
        store: Arc::new(Members { archive, layers: members }),
        limits: limits.clone(),
    })
}

/// The wanted image and the name it has in the archive.
fn select<'a>(
    entries: &'a [Entry],
    wanted: Option<&str>,
    archive: &str,
) -> Result<(&'a Entry, Option<&'a str>), Error> {
    let available = || {
        let name = |entry: &Entry| {
            let tags = entry.repo_tags.iter().map(|tag| crate::digest::shorten(tag));
            let tags: Vec<String> = tags.collect();
            if tags.is_empty() { vec![crate::digest::shorten(&entry.config)] } else { tags }
        };
        entries.iter().flat_map(name).collect()
    };
    let location = archive.to_owned();
    match (wanted, entries) {
        (None, [only]) => Ok((only, only.repo_tags.first().map(String::as_str))),
        (None, []) => Err(Error::InvalidDocument {
            location,
            reason: "its manifest.json lists no image".into(),
        }),
        (None, _) => Err(Error::SeveralImages { location, available: available() }),
        (Some(wanted), _) => {
            let tags = || {
                let tag = |entry: &'a Entry| entry.repo_tags.iter().map(move |tag| (entry, tag));
                entries.iter().flat_map(tag)
            };
            let exact = tags().find(|(_, tag)| *tag == wanted);
            let ending: Vec<_> = tags().filter(|(_, tag)| ends_with_parts(tag, wanted)).collect();
            match (exact, ending.as_slice()) {
                (Some(found), _) | (None, &[found]) => Ok((found.0, Some(found.1))),
                (None, []) => Err(Error::ReferenceNotFound {
                    location,
                    wanted: crate::digest::shorten(wanted),
                    available: available(),
                }),
                (None, several) => Err(Error::AmbiguousReference {
                    location,
                    wanted: crate::digest::shorten(wanted),
                    matching: several.iter().map(|(_, tag)| crate::digest::shorten(tag)).collect(),
                }),
            }
        }
    }
}

/// `registry.example/team/debian:12` ends with the parts `debian:12` and `team/debian:12`.
fn ends_with_parts(tag: &str, wanted: &str) -> bool {
    tag.strip_suffix(wanted).is_some_and(|rest| rest.ends_with('/'))
}

/// `<hex>.json` and `blobs/sha256/<hex>` promise a digest.
fn digest_in_name(name: &str) -> Option<Digest> {
    let last = name.rsplit('/').next()?;
    format!("sha256:{}", last.strip_suffix(".json").unwrap_or(last)).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_whole_tags_or_their_only_ending() {
        let entry = |config: &str, tags: &[&str]| Entry {
            config: config.to_owned(),
            repo_tags: tags.iter().map(ToString::to_string).collect(),
            layers: Vec::new(),
        };
        let entries = [
            entry("1", &["registry.example/team/debian:12", "debian:11"]),
            entry("2", &["registry.example/debian:11", "a.example/edge:1"]),
            entry("3", &["b.example/edge:1", "localhost:5000/x:1"]),
        ];
        for (wanted, expected) in [
            ("registry.example/team/debian:12", "1 registry.example/team/debian:12"),
            ("team/debian:12", "1 registry.example/team/debian:12"),
            ("debian:12", "1 registry.example/team/debian:12"),
            // A whole tag counts more than the ending of another.
            ("debian:11", "1 debian:11"),
            ("edge:1", "\"edge:1\" fits several tags in x.tar: a.example/edge:1, b.example/edge:1"),
            ("a.example/edge:1", "2 a.example/edge:1"),
            ("x:1", "3 localhost:5000/x:1"),
            ("bian:12", "no image"),
            ("debian", "no image"),
            ("debian:13", "no image"),
            ("/debian:12", "no image"),
            ("12", "no image"),
            ("other.example/debian:11", "no image"),
        ] {
            let found = match select(&entries, Some(wanted), "x.tar") {
                Ok((entry, name)) => format!("{} {}", entry.config, name.unwrap()),
                Err(error) => error.to_string(),
            };
            assert!(found.starts_with(expected), "{wanted}: {found}");
        }
        let (_, name) = select(&entries[1..2], None, "x.tar").unwrap();
        assert_eq!(name, Some("registry.example/debian:11"));
        let error = select(&entries, None, "x.tar").unwrap_err();
        assert!(matches!(error, Error::SeveralImages { .. }), "{error}");
    }

    #[test]
    fn names_may_promise_a_digest() {
        let digest = Digest::of(b"x");
        for (name, expected) in [
            (format!("{}.json", digest.hex()), Some(digest)),
            (format!("blobs/sha256/{}", digest.hex()), Some(digest)),
            ("config.json".to_owned(), None),
        ] {
            assert_eq!(digest_in_name(&name), expected);
        }
    }
}
