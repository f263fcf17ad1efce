//! The JSON documents of an image: index, manifest and configuration.
//!
//! Only what Kiln needs is read; unknown fields are ignored as the OCI image spec 1.1 demands.
//! A document that could be read both as index and as manifest is refused, since two programs
//! would then see two images under one digest.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::media_type::Kind;
use crate::{Digest, Error, Platform};

/// The annotation that names an image within a layout (annotations.md).
pub(crate) const REFERENCE_ANNOTATION: &str = "org.opencontainers.image.ref.name";

/// Points at a blob (descriptor.md).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) platform: Option<Platform>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// The name within a layout.
    pub(crate) fn reference(&self) -> Option<&str> {
        self.annotations.get(REFERENCE_ANNOTATION).map(String::as_str)
    }
}

/// A list of manifests, usually one for each platform (image-index.md).
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Index {
    pub(crate) manifests: Vec<Descriptor>,
}

/// One image (manifest.md).
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Either document of the two.
#[derive(Debug)]
pub(crate) enum Document {
    Index(Index),
    Manifest(Manifest),
}

/// What tells the documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    schema_version: u64,
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
}

/// Reads an index or manifest. `expected` is the type its descriptor gave; empty if it gave none.
pub(crate) fn parse_document(
    bytes: &[u8],
    expected: &str,
    location: &str,
) -> Result<Document, Error> {
    let refused = |reason: String| Error::InvalidDocument { location: location.to_owned(), reason };
    let unsupported = |media_type: &str| Error::UnsupportedMediaType {
        location: location.to_owned(),
        media_type: crate::digest::shorten(media_type),
    };
    let envelope: Envelope = parse(bytes, location)?;
    if envelope.schema_version != 2 {
        let version = envelope.schema_version;
        return Err(refused(format!("schema version {version} is not supported, only 2 is")));
    }
    let inside = envelope.media_type.as_deref().unwrap_or("");
    if !inside.is_empty() && !expected.is_empty() && inside != expected {
        return Err(refused(format!(
            "it says it is {:?} while its descriptor says {:?}",
            crate::digest::shorten(inside),
            crate::digest::shorten(expected)
        )));
    }
    let media_type = if inside.is_empty() { expected } else { inside };
    let is_index = envelope.manifests.is_some();
    let is_manifest = envelope.layers.is_some() || envelope.config.is_some();
    let kind = match (Kind::of(media_type), is_index, is_manifest) {
        (_, true, true) => return Err(refused("it is index and manifest at once".into())),
        (Some(Kind::Index), true, false) => Kind::Index,
        (Some(Kind::Manifest), false, true) => Kind::Manifest,
        (None, true, false) if media_type.is_empty() => Kind::Index,
        (None, false, true) if media_type.is_empty() => Kind::Manifest,
        (None, ..) if !media_type.is_empty() => return Err(unsupported(media_type)),
        _ => return Err(refused("its content does not fit its media type".into())),
    };
    Ok(match kind {
        Kind::Index => Document::Index(parse(bytes, location)?),
        Kind::Manifest => Document::Manifest(parse(bytes, location)?),
    })
}

/// The part of an image configuration (config.md) that builds need; history is ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageConfig {
    /// Go's architecture name.
    pub architecture: String,
    /// Go's operating system name.
    pub os: String,
    /// Variant of the architecture, where it has several.
    pub variant: Option<String>,
    /// `config.Labels`.
    pub labels: BTreeMap<String, String>,
    /// `config.Env`, entries `NAME=value`.
    pub env: Vec<String>,
    /// RFC 3339 time of creation, unchecked.
    pub created: Option<String>,
    /// Digests of the uncompressed layers, bottom first.
    pub diff_ids: Vec<Digest>,
}

impl ImageConfig {
    /// The platform the image says it is for.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
        }
    }

    /// Reads a configuration document; `location` names it in errors.
    pub(crate) fn parse(bytes: &[u8], location: &str) -> Result<Self, Error> {
        let wire: WireConfig = parse(bytes, location)?;
        if !matches!(wire.rootfs.kind.as_str(), "layers" | "") {
            return Err(Error::InvalidDocument {
                location: location.to_owned(),
                reason: format!(
                    "rootfs is of type {:?}, not layers",
                    crate::digest::shorten(&wire.rootfs.kind)
                ),
            });
        }
        let run = wire.config.unwrap_or_default();
        Ok(Self {
            architecture: wire.architecture,
            os: wire.os,
            variant: wire.variant.filter(|variant| !variant.is_empty()),
            labels: run.labels,
            env: run.env,
            created: wire.created,
            diff_ids: wire.rootfs.diff_ids,
        })
    }
}

#[derive(Deserialize)]
struct WireConfig {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    variant: Option<String>,
    created: Option<String>,
    config: Option<WireRun>,
    rootfs: WireRoot,
}

#[derive(Deserialize, Default)]
struct WireRun {
    #[serde(rename = "Labels", default, deserialize_with = "null_as_default")]
    labels: BTreeMap<String, String>,
    #[serde(rename = "Env", default, deserialize_with = "null_as_default")]
    env: Vec<String>,
}

#[derive(Deserialize)]
struct WireRoot {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default, deserialize_with = "null_as_default")]
    diff_ids: Vec<Digest>,
}

/// Go writes nil slices and maps as `null`.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], location: &str) -> Result<T, Error> {
    serde_json::from_slice(bytes)
        .map_err(|source| Error::Json { location: location.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_type::{DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
    use proptest::prelude::*;

    fn descriptor() -> String {
        format!(r#"{{"digest":"{}","size":1}}"#, Digest::of(b"x"))
    }

    #[test]
    fn tells_documents_apart() {
        let d = descriptor();
        let manifest = format!(r#"{{"schemaVersion":2,"config":{d},"layers":[{d}]}}"#);
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{d}]}}"#);
        let both = format!(r#"{{"schemaVersion":2,"manifests":[],"config":{d},"layers":[]}}"#);
        let typed = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{d},"layers":[]}}"#
        );
        let odd = format!(r#"{{"schemaVersion":2,"mediaType":"a/b","config":{d},"layers":[]}}"#);
        for (text, expected, outcome) in [
            (&manifest, OCI_MANIFEST, "manifest"),
            (&manifest, "", "manifest"),
            (&manifest, DOCKER_MANIFEST, "manifest"),
            (&index, OCI_INDEX, "index"),
            (&index, OCI_MANIFEST, "does not fit"),
            (&manifest, OCI_INDEX, "does not fit"),
            (&both, OCI_INDEX, "at once"),
            (&typed, DOCKER_MANIFEST, "while its descriptor"),
            (&odd, "", "unsupported media type \"a/b\""),
            (&r#"{"schemaVersion":1,"layers":[]}"#.to_owned(), "", "schema version 1"),
            (&"[]".to_owned(), "", "not the JSON"),
        ] {
            let found = match parse_document(text.as_bytes(), expected, "x") {
                Ok(Document::Index(_)) => "index".to_owned(),
                Ok(Document::Manifest(_)) => "manifest".to_owned(),
                Err(error) => error.to_string(),
            };
            assert!(found.contains(outcome), "{text}: {found}");
        }
    }

    #[test]
    fn reads_configurations_as_go_writes_them() {
        let digest = Digest::of(b"x");
        let text = format!(
            r#"{{"architecture":"arm64","os":"linux","variant":"","history":[{{}}],
                "config":{{"Labels":null,"Env":["A=b"]}},
                "rootfs":{{"type":"layers","diff_ids":["{digest}"]}}}}"#
        );
        let config = ImageConfig::parse(text.as_bytes(), "x").unwrap();
        assert_eq!(config.platform().to_string(), "linux/arm64");
        assert_eq!(config.env, ["A=b"]);
        assert_eq!(config.diff_ids, [digest]);
        assert!(config.labels.is_empty());
    }

    proptest! {
        #[test]
        fn never_panics(text in r#"[\[\]{}:,"a-z0-9]{0,200}"#, bytes: Vec<u8>) {
            for input in [text.as_bytes(), &bytes] {
                let _ = parse_document(input, "", "x");
                let _ = ImageConfig::parse(input, "x");
            }
        }

        #[test]
        fn never_panics_on_mutations(at in 0_usize..400, value in 0_u8..128) {
            let d = descriptor();
            let text = format!(
                r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{d},"layers":[{d},{d}]}}"#
            );
            let mut bytes = text.into_bytes();
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = parse_document(&bytes, OCI_MANIFEST, "x");
        }
    }
}
