//! What a reference means: a release, an image that has one, or an image without.
//!
//! The first request gives the digest of what the reference names now, and most checks for updates
//! end there. Only then are referrers asked for. A list of referrers is a rumour: the release's own
//! manifest must name the image as its subject, whatever the list or the tag says.

use kiln_registry::{Artifacts, Digest, Document, Options, Reference};
use serde::Deserialize;

use super::Remote;
use crate::Error;
use crate::manifest::{ARCHITECTURE, ARTIFACT_TYPE, Manifest, SEQUENCE, artifact_type};
use crate::push::tag_of;

/// Most referrers whose manifests are read, newest first.
const CANDIDATES: usize = 16;

/// What a reference names at this moment.
#[derive(Debug)]
pub struct Named {
    /// Digest of the manifest or index.
    pub digest: Digest,
    repository: Artifacts,
    document: Document,
    architecture: String,
}

/// What it is.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it, and it is taken apart at once")]
pub enum Found {
    /// A release, or an image that has one.
    Release(Remote),
    /// An image that nobody pushed a release for.
    ContainerImage(Digest),
}

/// Asks what `reference` names: one request, authentication aside.
///
/// # Errors
/// All of reading.
pub fn look_up(reference: &Reference, options: &Options) -> Result<Named, Error> {
    let repository = Artifacts::open(reference, options)?;
    let document = repository.document(&reference.version())?;
    let architecture = options.platform.architecture.clone();
    Ok(Named { digest: document.digest, repository, document, architecture })
}

/// [`look_up`] and [`Named::resolve`] in one.
///
/// # Errors
/// As both.
pub fn resolve(reference: &Reference, options: &Options) -> Result<Found, Error> {
    look_up(reference, options)?.resolve()
}

/// The part of an index that leads to an image.
#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    digest: Digest,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
}

impl Named {
    /// Finds the release, for the architecture that the options asked for.
    ///
    /// # Errors
    /// A release that is malformed, and all of reading.
    pub fn resolve(self) -> Result<Found, Error> {
        if artifact_type(&self.document.bytes).as_deref() == Some(ARTIFACT_TYPE) {
            let remote = Remote::open(self.repository, self.digest, &self.document.bytes)?;
            return Ok(Found::Release(remote));
        }
        let mut subjects = vec![self.digest];
        // A release stands beside an index or beside the image of its own architecture.
        if let Ok(index) = serde_json::from_slice::<Index>(&self.document.bytes) {
            let fits = |entry: &&Entry| {
                let platform = entry.platform.as_ref();
                platform.is_some_and(|platform| platform.architecture == self.architecture)
            };
            subjects.extend(index.manifests.iter().filter(fits).map(|entry| entry.digest));
        }
        for subject in subjects {
            if let Some((digest, document)) = self.release_of(subject)? {
                let remote = Remote::open(self.repository, digest, &document)?;
                return Ok(Found::Release(remote));
            }
        }
        Ok(Found::ContainerImage(self.digest))
    }

    /// The newest release whose subject is this image.
    fn release_of(&self, subject: Digest) -> Result<Option<(Digest, Vec<u8>)>, Error> {
        let mut candidates = self.repository.referrers(subject, ARTIFACT_TYPE)?;
        candidates.retain(|candidate| {
            let architecture = candidate.annotations.get(ARCHITECTURE);
            architecture.is_none_or(|architecture| *architecture == self.architecture)
        });
        // Highest sequence first; of equal ones always the same.
        candidates.sort_by_key(|candidate| {
            let sequence = candidate.annotations.get(SEQUENCE);
            let sequence = sequence.and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
            (std::cmp::Reverse(sequence), candidate.digest)
        });
        let mut versions: Vec<String> = candidates
            .iter()
            .take(CANDIDATES)
            .map(|candidate| candidate.digest.to_string())
            .collect();
        if versions.is_empty() {
            versions.push(tag_of(subject));
        }
        for version in versions {
            let document = match self.repository.document(&version) {
                Ok(document) => document,
                Err(kiln_registry::Error::Status { status: 404, .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            // Whoever may push into the repository can list anything: it must not hide a good one.
            let Ok(manifest) = Manifest::parse(&document.bytes) else { continue };
            if manifest.subject.as_ref().is_some_and(|named| named.digest == subject) {
                return Ok(Some((document.digest, document.bytes)));
            }
        }
        Ok(None)
    }
}
