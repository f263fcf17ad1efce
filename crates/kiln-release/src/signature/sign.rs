//! A signature into a registry, beside what it signs.
//!
//! Two schemes: a tag, which all versions of cosign and every registry know, and a referrer with a
//! bundle, as newer ones write. Signing again with the same key adds nothing; signatures of others
//! under the tag stay. The signature is made last, when everything else was read, and whoever may
//! read the registry may see it: it holds no time and no name but the repository's.

use std::collections::BTreeMap;
use std::io::Read;

use kiln_registry::{Artifacts, Digest, Options, Reference, Referrer};
use serde_json::{Value, json};

use super::bundle::bundle;
use super::candidate::{Trust, judge};
use super::find::{annotations, referring, tag_of_signatures, tagged};
use super::format::{
    BUNDLE, BUNDLE_CONTENT, BUNDLE_PREDICATE, EMPTY, EMPTY_BYTES, IMAGE_CONFIG, SIGN_PREDICATE,
    SIMPLE_SIGNING, STATEMENT_TYPE,
};
use super::payload::Payload;
use super::private_key::PrivateKey;
use super::statement::{authenticated, statement};
use crate::Error;
use crate::manifest::{Descriptor, MEDIA_TYPE};

/// How a signature is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// By the tag `sha256-<hex>.sig`.
    #[default]
    Tag,
    /// As a referrer of the image.
    Referrers,
}

/// With what and where to sign.
#[derive(Debug)]
pub struct SignOptions<'a> {
    /// The key.
    pub key: &'a PrivateKey,
    /// How the signature is found.
    pub scheme: Scheme,
    /// The repository for signatures, if not the image's own.
    pub place: Option<&'a Reference>,
    /// How registries are spoken to.
    pub registry: &'a Options,
}

/// A signature that is in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What is signed.
    pub digest: Digest,
    /// The tag or the digest under which the signature is.
    pub location: String,
    /// Whether it was made now; otherwise the key had signed it before.
    pub is_new: bool,
}

/// Signs what has `digest` in the repository of `reference`.
///
/// # Errors
/// [`Error::Registry`] if it is not there, and all of writing.
pub fn sign(
    reference: &Reference,
    digest: Digest,
    options: &SignOptions<'_>,
) -> Result<Signed, Error> {
    let document = Artifacts::open(reference, options.registry)?.document(&digest.to_string())?;
    let place = options.place.unwrap_or(reference);
    let repository = Artifacts::open_for_push(place, options.registry)?;
    let trust = Trust { keys: vec![options.key.public().clone()], ..Trust::default() };
    match options.scheme {
        Scheme::Tag => {
            let location = tag_of_signatures(digest);
            let there = tagged(&repository, digest)?;
            let is_new = judge(&there, digest, &document.bytes, &trust).is_err();
            if is_new {
                put_tagged(&repository, reference, digest, options.key, &location)?;
            }
            Ok(Signed { digest, location, is_new })
        }
        Scheme::Referrers => {
            let there = referring(&repository, digest)?;
            if judge(&there, digest, &document.bytes, &trust).is_ok() {
                return Ok(Signed { digest, location: digest.to_string(), is_new: false });
            }
            let subject = Descriptor {
                media_type: if document.media_type.is_empty() {
                    MEDIA_TYPE.to_owned()
                } else {
                    document.media_type
                },
                digest,
                size: document.bytes.len() as u64,
                annotations: BTreeMap::new(),
            };
            let name = reference.name();
            let location = put_referrer(&repository, &name, &subject, options.key)?.to_string();
            Ok(Signed { digest, location, is_new: true })
        }
    }
}

/// Adds a payload to what the tag has.
fn put_tagged(
    repository: &Artifacts,
    reference: &Reference,
    digest: Digest,
    key: &PrivateKey,
    tag: &str,
) -> Result<(), Error> {
    let mut layers = match repository.document(tag) {
        Ok(document) => layers_of(&document.bytes)?,
        Err(kiln_registry::Error::Status { status: 404, .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let payload = Payload::of(reference, digest).to_json().map_err(Error::Json)?;
    let mut layer = put(repository, SIMPLE_SIGNING, &payload)?;
    layer.annotations = annotations(&key.sign(&payload)?);
    layers.push(layer);
    // Layers are not compressed, so their digests are those of their contents.
    let contents: Vec<String> = layers.iter().map(|layer| layer.digest.to_string()).collect();
    let config = json!({
        "architecture": "",
        "os": "",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": contents },
    });
    let config = put(repository, IMAGE_CONFIG, config.to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MEDIA_TYPE,
        "config": value(&config)?,
        "layers": layers.iter().map(value).collect::<Result<Vec<_>, _>>()?,
    });
    repository.push_manifest(tag, MEDIA_TYPE, manifest.to_string().as_bytes())?;
    Ok(())
}

/// The layers of a manifest that is there, whoever wrote it.
fn layers_of(document: &[u8]) -> Result<Vec<Descriptor>, Error> {
    let refused = |error: serde_json::Error| {
        Error::malformed("signature", format!("the one that is there cannot be kept: {error}"))
    };
    let mut manifest: Value = serde_json::from_slice(document).map_err(refused)?;
    serde_json::from_value(manifest["layers"].take()).map_err(refused)
}

/// Adds a manifest that refers to the subject; gives its digest.
fn put_referrer(
    repository: &Artifacts,
    name: &str,
    subject: &Descriptor,
    key: &PrivateKey,
) -> Result<Digest, Error> {
    let payload = statement(name, subject.digest);
    let signature = key.sign(&authenticated(STATEMENT_TYPE, payload.as_bytes()))?;
    let bundle = bundle(key.public(), payload.as_bytes(), &signature);
    let layer = put(repository, BUNDLE, bundle.as_bytes())?;
    let config = put(repository, EMPTY, EMPTY_BYTES)?;
    let annotations = BTreeMap::from(
        [(BUNDLE_CONTENT, "dsse-envelope"), (BUNDLE_PREDICATE, SIGN_PREDICATE)]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MEDIA_TYPE,
        "artifactType": BUNDLE,
        "config": value(&config)?,
        "layers": [value(&layer)?],
        "subject": value(subject)?,
        "annotations": annotations,
    });
    let bytes = manifest.to_string();
    let digest = Digest::of(bytes.as_bytes());
    let is_listed = repository.push_manifest(&digest.to_string(), MEDIA_TYPE, bytes.as_bytes())?;
    if !is_listed {
        let referrer = Referrer {
            media_type: MEDIA_TYPE.to_owned(),
            digest,
            size: bytes.len() as u64,
            artifact_type: Some(BUNDLE.to_owned()),
            annotations,
        };
        repository.add_referrer(subject.digest, &referrer)?;
    }
    Ok(digest)
}

fn value(descriptor: &Descriptor) -> Result<Value, Error> {
    serde_json::to_value(descriptor).map_err(Error::Json)
}

/// Brings a small blob into the repository.
fn put(repository: &Artifacts, media_type: &str, bytes: &[u8]) -> Result<Descriptor, Error> {
    let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
    let open = |start: u64| -> std::io::Result<Box<dyn Read>> {
        let rest = bytes.get(usize::try_from(start).unwrap_or(usize::MAX)..).unwrap_or_default();
        Ok(Box::new(std::io::Cursor::new(rest.to_vec())))
    };
    repository.push_blob(digest, size, &open, None, &mut |_| ())?;
    let annotations = BTreeMap::new();
    Ok(Descriptor { media_type: media_type.to_owned(), digest, size, annotations })
}
