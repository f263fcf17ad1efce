//! The gate before everything that is fetched: no image passes whose digest nobody vouches for.
//!
//! It stands inside the registry crate's `open`, so that it also sees what a build takes besides its
//! source. Each digest is asked for once. Where signatures are optional a missing one is an answer
//! and no error, but a registry that does not answer stays one: nobody is to learn `unverified` from
//! a broken network.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use kiln_registry::{Denied, Digest, Gate, Options, Reference, Source};

use super::candidate::{Signer, Trust};
use super::find::find;
use super::reason::Reason;
use crate::Error;

/// What is known about a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Somebody trusted signed it.
    Verified(Signer),
    /// Nobody whom this machine trusts.
    Unverified,
}

/// Checks digests against whom is trusted.
#[derive(Debug)]
pub struct Verifier {
    trust: Trust,
    /// Whether what is not verified is refused.
    is_required: bool,
    /// The repository that has the signatures, if not the image's own.
    place: Option<Reference>,
    registry: Options,
    known: Mutex<BTreeMap<Digest, Result<Signer, Reason>>>,
}

impl Verifier {
    /// One that asks with these options, whose own gate it leaves out.
    #[must_use]
    pub fn new(
        trust: Trust,
        is_required: bool,
        place: Option<Reference>,
        registry: &Options,
    ) -> Self {
        let registry = Options { gate: None, ..registry.clone() };
        Self { trust, is_required, place, registry, known: Mutex::default() }
    }

    /// Whether unverified images are refused.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.is_required
    }

    /// Who signed `digest`, which `reference` leads to, or why nobody did.
    ///
    /// # Errors
    /// Outside all of reading.
    pub fn inspect(
        &self,
        reference: &Reference,
        digest: Digest,
    ) -> Result<Result<Signer, Reason>, Error> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known().get(&digest) {
            return Ok(known.clone());
        }
        let found = if self.trust.is_empty() && !self.is_required {
            // Nobody is trusted, so there is nothing to ask for.
            Err(Reason::Missing { place: reference.name() })
        } else {
            find(reference, digest, &self.trust, self.place.as_ref(), &self.registry)?
        };
        known().insert(digest, found.clone());
        Ok(found)
    }

    /// [`Verifier::inspect`] as this verifier's rule has it.
    ///
    /// # Errors
    /// [`Error::Signature`] if signatures are required and there is no good one; all of reading.
    pub fn check(&self, reference: &Reference, digest: Digest) -> Result<Verdict, Error> {
        let found = self.inspect(reference, digest)?;
        self.rule(format!("{}@{digest}", reference.name()), found)
    }

    /// A finding as this verifier's rule has it, told of `subject`.
    ///
    /// # Errors
    /// [`Error::Signature`] for a reason where signatures are required.
    pub fn rule(&self, subject: String, found: Result<Signer, Reason>) -> Result<Verdict, Error> {
        match found {
            Ok(signer) => Ok(Verdict::Verified(signer)),
            Err(reason) if self.is_required => Err(Error::Signature { subject, reason }),
            Err(_) => Ok(Verdict::Unverified),
        }
    }
}

impl Gate for Verifier {
    fn admit(&self, source: &Source, digest: Option<Digest>) -> Result<(), Denied> {
        let outcome = match (source, digest) {
            (Source::Registry(reference), Some(digest)) => self.check(reference, digest),
            _ => self.rule(source.to_string(), Err(Reason::Local)),
        };
        outcome.map(drop).map_err(|error| Denied { hint: error.hint(), source: Box::new(error) })
    }
}
