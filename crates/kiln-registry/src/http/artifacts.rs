//! A repository for those who keep things of their own beside images: documents, blobs, stretches of
//! blobs, pushing. The public face of this module for other crates.
//!
//! Reading asks the mirrors first, as images do; writing and listing referrers ask the repository
//! itself, because mirrors lag. It knows no artifact by name.

use std::io::Read;

use super::api::Repository;
use super::push::Pushed;
use super::ranges::{Answer, RangeSink};
use super::referrers::Referrer;
use super::{first, registries_conf, repositories};
use crate::{Digest, Error, Options, Reference};

/// A manifest or index as the registry gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What the registry says it is; empty if it says nothing.
    pub media_type: String,
    /// SHA-256 of the bytes.
    pub digest: Digest,
}

/// A repository of a registry.
#[derive(Debug)]
pub struct Artifacts {
    reference: Reference,
    repositories: Vec<Repository>,
    manifest_bytes: u64,
}

impl Artifacts {
    /// The repository of `reference`; asks nobody yet.
    ///
    /// # Errors
    /// Configuration or credentials that cannot be read, a blocked registry.
    pub fn open(reference: &Reference, options: &Options) -> Result<Self, Error> {
        let configuration = registries_conf::load(&options.network.registries_conf)?;
        let repositories = repositories(reference, &configuration, options)?;
        let manifest_bytes = options.limits.manifest_bytes;
        Ok(Self { reference: reference.clone(), repositories, manifest_bytes })
    }

    /// The same for pushing: mirrors are left out, and tokens are asked for that allow it.
    ///
    /// # Errors
    /// As [`Artifacts::open`].
    pub fn open_for_push(reference: &Reference, options: &Options) -> Result<Self, Error> {
        let mut opened = Self::open(reference, options)?;
        let mirrors = opened.repositories.len().saturating_sub(1);
        opened.repositories.drain(..mirrors);
        for repository in &mut opened.repositories {
            repository.actions = "pull,push";
        }
        Ok(opened)
    }

    /// What it was opened for.
    #[must_use]
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    fn primary(&self) -> Result<&Repository, Error> {
        self.repositories.last().ok_or_else(|| Error::Protocol {
            url: self.reference.to_string(),
            reason: "it leaves no place to ask".into(),
        })
    }

    /// The document behind a tag or a digest (`sha256:…`), verified in the latter case.
    ///
    /// # Errors
    /// [`Error::Status`] 404 if there is none.
    pub fn document(&self, version: &str) -> Result<Document, Error> {
        let (bytes, media_type) = first(&self.repositories, |repository| {
            repository.manifest(version, self.manifest_bytes)
        })?;
        let digest = Digest::of(&bytes);
        Ok(Document { bytes, media_type, digest })
    }

    /// A small blob of `size` bytes as a whole, verified. The caller bounds `size`.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] and all of reading.
    pub fn blob(&self, digest: Digest, size: u64) -> Result<Vec<u8>, Error> {
        let mut whole = Whole { bytes: Vec::new(), skip: 0, size };
        if size > 0 {
            self.stretch(digest, size, &mut whole)?;
        }
        let actual = Digest::of(&whole.bytes);
        if actual != digest {
            let location = format!("blob {digest} of {}", self.reference.name());
            return Err(Error::DigestMismatch { location, expected: digest, actual });
        }
        Ok(whole.bytes)
    }

    /// Fetches what `sink` wants of a blob of `size` bytes. The bytes are not verified.
    ///
    /// # Errors
    /// All of reading; what the sink refuses.
    pub fn stretch(
        &self,
        digest: Digest,
        size: u64,
        sink: &mut dyn RangeSink,
    ) -> Result<(), Error> {
        first(&self.repositories, |repository| repository.stretch(digest, size, sink))
    }

    /// Whether the repository has a blob.
    ///
    /// # Errors
    /// All of asking.
    pub fn has_blob(&self, digest: Digest) -> Result<bool, Error> {
        self.primary()?.has_blob(digest)
    }

    /// Brings a blob into the repository, `open` giving its bytes from some place on. `mount_from`
    /// names another repository of the registry that may have it; `sent` hears how far it is.
    ///
    /// # Errors
    /// All of writing.
    pub fn push_blob(
        &self,
        digest: Digest,
        size: u64,
        open: &dyn Fn(u64) -> std::io::Result<Box<dyn Read>>,
        mount_from: Option<&str>,
        sent: &mut dyn FnMut(u64),
    ) -> Result<Pushed, Error> {
        self.primary()?.push_blob(digest, size, open, mount_from, sent)
    }

    /// Puts a manifest or index under a tag or its digest; whether the registry lists it by itself
    /// among the referrers of its subject.
    ///
    /// # Errors
    /// All of writing.
    pub fn push_manifest(
        &self,
        version: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<bool, Error> {
        self.primary()?.push_manifest(version, media_type, bytes)
    }

    /// Manifests of the type that the registry says refer to `subject`: candidates, to be checked.
    ///
    /// # Errors
    /// All of reading; none for a registry without referrers.
    pub fn referrers(&self, subject: Digest, artifact_type: &str) -> Result<Vec<Referrer>, Error> {
        self.primary()?.referrers(subject, artifact_type, self.manifest_bytes)
    }

    /// Lists a manifest as a referrer of `subject` where the registry does not do it by itself.
    ///
    /// # Errors
    /// All of reading and writing.
    pub fn add_referrer(&self, subject: Digest, referrer: &Referrer) -> Result<(), Error> {
        self.primary()?.add_referrer(subject, referrer, self.manifest_bytes)
    }
}

/// Collects a blob in memory.
struct Whole {
    bytes: Vec<u8>,
    /// Bytes still to come that are here already.
    skip: usize,
    size: u64,
}

impl RangeSink for Whole {
    fn wanted(&self) -> std::ops::Range<u64> {
        self.bytes.len() as u64..self.size
    }

    fn begin(&mut self, offset: u64, _: Answer) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.skip = self.bytes.len().saturating_sub(offset);
    }

    fn take(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let known = self.skip.min(bytes.len());
        self.skip -= known;
        self.bytes.extend_from_slice(&bytes[known..]);
        Ok(())
    }
}
