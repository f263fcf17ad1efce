//! Signatures in a registry: where cosign puts them, and what can be read there.
//!
//! Three places: the tag `sha256-<hex>.sig`, and referrers in cosign's older and newer form. The tag
//! is asked first, because it is one request and copying tools keep it. Lists and manifests are
//! rumours here: what is found counts only after [`judge`] proved it. What cannot be read is kept as
//! such, so that it can be told, and never hides a signature beside it.

use std::collections::BTreeMap;

use base64ct::{Base64, Encoding as _};
use kiln_registry::{Artifacts, Digest, Options, Reference};
use serde::Deserialize;

use super::bundle::{decode_signature, parse_bundle};
use super::candidate::{Candidate, Claim, Signer, Trust, judge};
use super::format::{
    BUNDLE, BUNDLE_FAMILY, MAXIMUM_CANDIDATES, MAXIMUM_DOCUMENT, SIGNATURE, SIMPLE_ARTIFACT,
    SIMPLE_SIGNING,
};
use super::keyless::Certified;
use super::reason::Reason;
use crate::Error;
use crate::manifest::Descriptor;

/// What may be a signature, or why it cannot be read.
pub(super) type Candidates = Vec<Result<Candidate, String>>;

/// The part of a signature's manifest that leads to it.
#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Descriptor>,
}

/// Looks for a signature of `digest`, which `reference` leads to. `place` is the repository that
/// has the signatures, if not the image's own. Gives who signed it.
///
/// # Errors
/// Outside all of reading, inside why nothing that was found counts.
pub fn find(
    reference: &Reference,
    digest: Digest,
    trust: &Trust,
    place: Option<&Reference>,
    registry: &Options,
) -> Result<Result<Signer, Reason>, Error> {
    let repository = Artifacts::open(place.unwrap_or(reference), registry)?;
    let mut candidates = tagged(&repository, digest)?;
    if let Ok(signer) = decide(&candidates, reference, digest, trust, registry)? {
        return Ok(Ok(signer));
    }
    candidates.extend(referring(&repository, digest)?);
    let verdict = decide(&candidates, reference, digest, trust, registry)?;
    Ok(verdict.map_err(|reason| match reason {
        Reason::Missing { .. } => Reason::Missing { place: repository.reference().name() },
        reason => reason,
    }))
}

/// As [`judge`], with the document where a signature is of it.
fn decide(
    candidates: &Candidates,
    reference: &Reference,
    digest: Digest,
    trust: &Trust,
    registry: &Options,
) -> Result<Result<Signer, Reason>, Error> {
    let is_of_document = |candidate: &Candidate| matches!(candidate.claim, Claim::Document { .. });
    let document = if candidates.iter().flatten().any(is_of_document) {
        Artifacts::open(reference, registry)?.document(&digest.to_string())?.bytes
    } else {
        Vec::new()
    };
    Ok(judge(candidates, digest, &document, trust))
}

/// The tag of the signatures of a digest.
pub(super) fn tag_of_signatures(digest: Digest) -> String {
    format!("sha256-{}.sig", digest.hex())
}

/// Signatures under the tag.
pub(super) fn tagged(repository: &Artifacts, digest: Digest) -> Result<Candidates, Error> {
    match repository.document(&tag_of_signatures(digest)) {
        Ok(document) => read(repository, &document.bytes),
        Err(kiln_registry::Error::Status { status: 404, .. }) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Signatures that refer to the digest.
pub(super) fn referring(repository: &Artifacts, digest: Digest) -> Result<Candidates, Error> {
    let mut candidates = Vec::new();
    for kind in [BUNDLE, SIMPLE_ARTIFACT] {
        for referrer in repository.referrers(digest, kind)?.into_iter().take(MAXIMUM_CANDIDATES) {
            match repository.document(&referrer.digest.to_string()) {
                Ok(document) => candidates.extend(read(repository, &document.bytes)?),
                // Listed and deleted since.
                Err(kiln_registry::Error::Status { status: 404, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(candidates)
}

/// The signatures of a manifest.
fn read(repository: &Artifacts, document: &[u8]) -> Result<Candidates, Error> {
    let manifest = match serde_json::from_slice::<Manifest>(document) {
        Ok(manifest) => manifest,
        Err(error) => return Ok(vec![Err(error.to_string())]),
    };
    let is_signature = |layer: &&Descriptor| {
        layer.media_type == SIMPLE_SIGNING || layer.media_type.starts_with(BUNDLE_FAMILY)
    };
    let mut candidates = Vec::new();
    for layer in manifest.layers.iter().filter(is_signature).take(MAXIMUM_CANDIDATES) {
        if layer.size > MAXIMUM_DOCUMENT {
            candidates.push(Err(format!("it has {} bytes", layer.size)));
            continue;
        }
        let bytes = match repository.blob(layer.digest, layer.size) {
            Ok(bytes) => bytes,
            Err(kiln_registry::Error::DigestMismatch { .. }) => {
                candidates.push(Err("its bytes are not those of its digest".to_owned()));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        candidates.push(if layer.media_type == SIMPLE_SIGNING {
            parse_layer(bytes, &layer.annotations)
        } else {
            parse_bundle(&bytes)
        });
    }
    Ok(candidates)
}

/// Reads a simple signing payload with what stands beside it in a manifest, of which nothing is
/// proved yet.
///
/// # Errors
/// What is wrong with it.
pub fn parse_layer(
    payload: Vec<u8>,
    annotations: &BTreeMap<String, String>,
) -> Result<Candidate, String> {
    let signature = annotations.get(SIGNATURE).ok_or("it has no signature")?;
    let signatures = vec![decode_signature(signature)?];
    let certified = Certified::of_annotations(annotations);
    Ok(Candidate { claim: Claim::Payload(payload), signatures, certified })
}

/// The annotations of a simple signing payload.
pub(super) fn annotations(signature: &[u8]) -> BTreeMap<String, String> {
    BTreeMap::from([(SIGNATURE.to_owned(), Base64::encode_string(signature))])
}
