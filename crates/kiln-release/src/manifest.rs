//! The OCI manifest that holds a release together (OCI image specification 1.1, manifest.md).
//!
//! Its digest names everything: it lists each blob by digest, and gives the digest of the table's
//! index, which is fetched without the rest. What it does not know it ignores, as the specification
//! asks, so later versions can add layers; what it knows must be there once.

use std::collections::BTreeMap;

use kiln_registry::Digest;
use serde::{Deserialize, Serialize};

use crate::blocks;
use crate::boot::format as boot;
use crate::contents::format as contents;
use crate::table::format as table;
use crate::{Error, Release};

/// Artifact type of a release.
pub const ARTIFACT_TYPE: &str = "application/vnd.kiln.release.v1";
/// Media type of `release.json` as the manifest's configuration.
pub const CONFIG_MEDIA_TYPE: &str = "application/vnd.kiln.release.config.v1+json";
/// Media type of the manifest.
pub const MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Annotation of the manifest: the release's sequence.
pub const SEQUENCE: &str = "vnd.kiln.release.sequence";
/// Annotation of the manifest: the release's architecture.
pub const ARCHITECTURE: &str = "vnd.kiln.release.architecture";
/// Annotation of the manifest: the root hash.
pub const ROOT_HASH: &str = "vnd.kiln.release.root-hash";
/// Annotation of the table: bytes of its index.
pub const INDEX_LENGTH: &str = "vnd.kiln.release.index-length";
/// Annotation of the table: digest of its index.
pub const INDEX_DIGEST: &str = "vnd.kiln.release.index-digest";
/// Annotation of a recipe: the mode of its boot file.
pub const MODE: &str = "vnd.kiln.release.mode";

/// Longest `release.json` in bytes.
pub const CONFIG_MAX: u64 = 16 << 20;
/// Most layers of a manifest.
const LAYERS_MAX: usize = 1024;
/// Longest index of a table in bytes.
const INDEX_MAX: u64 = 4 << 20;

/// Points at a blob (OCI image specification 1.1, descriptor.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Further facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Always [`MEDIA_TYPE`].
    pub media_type: String,
    /// Always [`ARTIFACT_TYPE`].
    pub artifact_type: String,
    /// `release.json`.
    pub config: Descriptor,
    /// Contents, table, recipes, sections.
    pub layers: Vec<Descriptor>,
    /// The container image that the release was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Facts for lists: never relied on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Where things are, of a manifest that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    /// The contents.
    pub contents: Descriptor,
    /// The table.
    pub table: Descriptor,
    /// How many blocks each content has, if the release tells it.
    pub blocks: Option<Descriptor>,
    /// Bytes of the table's index.
    pub index_length: u64,
    /// Digest of the table's index.
    pub index_digest: Digest,
    /// Recipes by mode.
    pub recipes: BTreeMap<String, Descriptor>,
    /// Lengths of sections by digest.
    pub sections: BTreeMap<Digest, u64>,
}

/// Artifact type of any manifest, if it says one.
#[must_use]
pub fn artifact_type(document: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        artifact_type: Option<String>,
    }
    serde_json::from_slice::<Kind>(document).ok()?.artifact_type
}

impl Manifest {
    /// Reads a manifest of a release.
    ///
    /// # Errors
    /// [`Error::Malformed`] for any other document.
    pub fn parse(document: &[u8]) -> Result<Self, Error> {
        let refused = |reason: String| Error::malformed("manifest", reason);
        let manifest: Self =
            serde_json::from_slice(document).map_err(|error| refused(error.to_string()))?;
        if manifest.artifact_type != ARTIFACT_TYPE || manifest.schema_version != 2 {
            return Err(refused("it is of another type".to_owned()));
        }
        if manifest.config.media_type != CONFIG_MEDIA_TYPE || manifest.config.size > CONFIG_MAX {
            return Err(refused("its configuration is no release.json".to_owned()));
        }
        if manifest.layers.len() > LAYERS_MAX {
            return Err(refused("it has too many layers".to_owned()));
        }
        Ok(manifest)
    }

    /// Finds the parts.
    ///
    /// # Errors
    /// [`Error::Malformed`] where one is missing or there twice.
    pub fn layers(&self) -> Result<Layers, Error> {
        let refused = |reason: &str| Error::malformed("manifest", reason);
        let only = |media_type: &str, name: &str| {
            let mut found = self.layers.iter().filter(|layer| layer.media_type == media_type);
            match (found.next(), found.next()) {
                (Some(layer), None) => Ok(layer.clone()),
                _ => Err(Error::malformed("manifest", format!("it has not one {name}"))),
            }
        };
        // A hint: one that cannot be used is none.
        let mut blocks = self.layers.iter().filter(|layer| layer.media_type == blocks::MEDIA_TYPE);
        let blocks = match (blocks.next(), blocks.next()) {
            (Some(layer), None) if layer.size <= blocks::STORED_MAX => Some(layer.clone()),
            _ => None,
        };
        let table = only(table::MEDIA_TYPE, "table")?;
        let annotation = |name| table.annotations.get(name);
        let index_length = annotation(INDEX_LENGTH).and_then(|text| text.parse().ok());
        let index_digest = annotation(INDEX_DIGEST).and_then(|text| text.parse().ok());
        let (Some(index_length), Some(index_digest)) = (index_length, index_digest) else {
            return Err(refused("it does not say where the table's index ends"));
        };
        if index_length > table.size.min(INDEX_MAX) {
            return Err(refused("the table's index is too long"));
        }
        let mut recipes = BTreeMap::new();
        for layer in self.layers.iter().filter(|layer| layer.media_type == boot::MEDIA_TYPE) {
            let mode = layer.annotations.get(MODE).cloned().unwrap_or_default();
            if layer.size > boot::RECIPE_MAX || recipes.insert(mode, layer.clone()).is_some() {
                return Err(refused("a boot file is there twice or too long"));
            }
        }
        let sections =
            self.layers.iter().filter(|layer| layer.media_type == boot::SECTION_MEDIA_TYPE);
        Ok(Layers {
            contents: only(contents::MEDIA_TYPE, "contents")?,
            blocks,
            index_length,
            index_digest,
            table,
            recipes,
            sections: sections.map(|layer| (layer.digest, layer.size)).collect(),
        })
    }

    /// Annotations for people and for choosing among several releases of an image.
    #[must_use]
    pub fn annotations_of(release: &Release) -> BTreeMap<String, String> {
        BTreeMap::from(
            [
                ("org.opencontainers.image.title", release.title.clone()),
                ("org.opencontainers.image.version", release.version.clone()),
                (SEQUENCE, release.sequence.to_string()),
                (ARCHITECTURE, release.architecture.clone()),
                (ROOT_HASH, release.root.hash.clone()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        )
    }
}
