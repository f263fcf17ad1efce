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
use crate::signature::{Reason, Verdict, Verifier};

/// Most referrers whose manifests are read, newest first.
const CANDIDATES: usize = 16;
/// Most images of an index that are looked at; real ones have one for each architecture.
const SUBJECTS: usize = 64;

/// What becomes of a release that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Take,
    Pass,
}

/// Decides about a release by its digest, its subject and its manifest's bytes.
type Chooser<'a> = dyn FnMut(Digest, Option<Digest>, &[u8]) -> Result<Choice, Error> + 'a;

/// Hears of a release: its digest, its manifest and the manifest's bytes.
type Visitor<'a> = dyn FnMut(Digest, &Manifest, &[u8]) -> Result<Choice, Error> + 'a;

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
        self.choose(&mut |_, _, _| Ok(Choice::Take))
    }

    /// The same, but first asks `verifier` about the image and about the release, and fetches
    /// nothing of either before. Both have to be verified: a signature of the image says nothing
    /// about a release that somebody put beside it, and one of a release with an image nothing about
    /// what the name means. Where signatures are required, a release without a good one is passed
    /// over as long as there is another.
    ///
    /// # Errors
    /// [`Error::Signature`], and as [`Named::resolve`].
    pub fn resolve_verified(self, verifier: &Verifier) -> Result<(Found, Verdict), Error> {
        let reference = self.repository.reference().clone();
        let tell = |digest: Digest| format!("{}@{digest}", reference.name());
        let named = self.digest;
        let named_finding = verifier.inspect(&reference, named)?;
        let mut refused = None;
        let mut verdict = None;
        let found = self.choose(&mut |release, subject, _| {
            let (finding, image) = match subject {
                // The reference names the release itself.
                None => (named_finding.clone(), named_finding.clone()),
                Some(subject) => {
                    let finding = verifier.inspect(&reference, release)?;
                    // An index binds its images, so a signature of either covers the image.
                    let image = match &named_finding {
                        Err(_) if subject != named => verifier.inspect(&reference, subject)?,
                        finding => finding.clone(),
                    };
                    (finding, image)
                }
            };
            let joined = match (finding, image) {
                (Ok(key), Ok(_)) => Ok(key),
                (Err(reason), Ok(_)) if subject.is_some() => {
                    Err(Reason::ReleaseUnsigned { image: named, reason: Box::new(reason) })
                }
                (Ok(_), Err(reason)) => {
                    Err(Reason::ImageUnsigned { release, reason: Box::new(reason) })
                }
                (_, Err(reason)) | (Err(reason), _) => Err(reason),
            };
            let told = match joined {
                Err(Reason::ReleaseUnsigned { .. }) => release,
                _ => named,
            };
            match verifier.rule(tell(told), joined) {
                Ok(found) => {
                    verdict = Some(found);
                    Ok(Choice::Take)
                }
                Err(error @ Error::Signature { .. }) => {
                    refused.get_or_insert(error);
                    Ok(Choice::Pass)
                }
                Err(error) => Err(error),
            }
        })?;
        match (found, verdict, refused) {
            (found @ Found::Release(_), Some(verdict), _) => Ok((found, verdict)),
            (_, _, Some(error)) => Err(error),
            (found, ..) => Ok((found, verifier.rule(tell(named), named_finding)?)),
        }
    }

    /// Digests of the releases that machines would take: the newest one of each image and
    /// architecture, whatever the options ask for.
    ///
    /// # Errors
    /// All of reading.
    pub fn releases(&self) -> Result<Vec<Digest>, Error> {
        if artifact_type(&self.document.bytes).as_deref() == Some(ARTIFACT_TYPE) {
            return Ok(vec![self.digest]);
        }
        let mut releases = Vec::new();
        for subject in self.subjects(|_| true) {
            let mut seen: Vec<String> = Vec::new();
            self.candidates(subject, None, &mut |digest, manifest, _| {
                let architecture = manifest.annotations.get(ARCHITECTURE).cloned();
                let architecture = architecture.unwrap_or_default();
                if !seen.contains(&architecture) {
                    seen.push(architecture);
                    releases.push(digest);
                }
                Ok(Choice::Pass)
            })?;
        }
        Ok(releases)
    }

    /// What a release may stand beside: what the reference names, and the images of an index.
    fn subjects(&self, fits: impl Fn(&str) -> bool) -> Vec<Digest> {
        let mut subjects = vec![self.digest];
        if let Ok(index) = serde_json::from_slice::<Index>(&self.document.bytes) {
            let fits = |entry: &&Entry| {
                let platform = entry.platform.as_ref();
                platform.is_some_and(|platform| fits(&platform.architecture))
            };
            subjects.extend(index.manifests.iter().filter(fits).map(|entry| entry.digest));
        }
        subjects.truncate(SUBJECTS);
        subjects
    }

    /// Opens the first release that `choose` takes, by its digest, its subject and its bytes.
    fn choose(self, choose: &mut Chooser<'_>) -> Result<Found, Error> {
        if artifact_type(&self.document.bytes).as_deref() == Some(ARTIFACT_TYPE) {
            if choose(self.digest, None, &self.document.bytes)? == Choice::Pass {
                return Ok(Found::ContainerImage(self.digest));
            }
            let remote = Remote::open(self.repository, self.digest, &self.document.bytes)?;
            return Ok(Found::Release(remote));
        }
        for subject in self.subjects(|architecture| architecture == self.architecture) {
            let mut taken = None;
            self.candidates(subject, Some(&self.architecture), &mut |digest, _, document| {
                let choice = choose(digest, Some(subject), document)?;
                if choice == Choice::Take {
                    taken = Some((digest, document.to_vec()));
                }
                Ok(choice)
            })?;
            if let Some((digest, document)) = taken {
                let remote = Remote::open(self.repository, digest, &document)?;
                return Ok(Found::Release(remote));
            }
        }
        Ok(Found::ContainerImage(self.digest))
    }

    /// Shows `visit` the releases whose subject is this image, newest first, until it takes one.
    fn candidates(
        &self,
        subject: Digest,
        architecture: Option<&String>,
        visit: &mut Visitor<'_>,
    ) -> Result<(), Error> {
        let mut candidates = self.repository.referrers(subject, ARTIFACT_TYPE)?;
        candidates.retain(|candidate| {
            let of_candidate = candidate.annotations.get(ARCHITECTURE);
            architecture.is_none() || of_candidate.is_none() || of_candidate == architecture
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
            if manifest.subject.as_ref().is_some_and(|named| named.digest == subject)
                && visit(document.digest, &manifest, &document.bytes)? == Choice::Take
            {
                return Ok(());
            }
        }
        Ok(())
    }
}
