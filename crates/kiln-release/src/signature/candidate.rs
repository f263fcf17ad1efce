//! What may be a signature, and the decision whether it is one: pure, from bytes to a key or a
//! reason.
//!
//! A candidate comes from a registry that anybody may have written to. So the order is: prove the
//! signature with a key or a trust root that is here, then read what was signed, then compare it
//! with what is wanted. Nothing that was not proved is believed, not even the name of the key.

use std::fmt;

use kiln_registry::Digest;

use super::keyless::{Certified, Fault, KeylessTrust, Made};
use super::payload::{Payload, is_below};
use super::printable::printable;
use super::public_key::PublicKey;
use super::reason::Reason;
use super::statement::{authenticated, subjects};

/// What a signature would be of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// A simple signing payload.
    Payload(Vec<u8>),
    /// A statement in an envelope.
    Statement {
        /// The payload's media type.
        kind: String,
        /// The payload.
        payload: Vec<u8>,
    },
    /// The manifest itself.
    Document {
        /// Its digest, if the signature says it.
        digest: Option<Digest>,
    },
}

/// Something that a registry gives as a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What it would be of.
    pub claim: Claim,
    /// Signatures; one that holds is enough.
    pub signatures: Vec<Vec<u8>>,
    /// What comes along in place of a key, or why it cannot be read.
    pub certified: Option<Result<Certified, Fault>>,
}

/// Whom a reader trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// The keys.
    pub keys: Vec<PublicKey>,
    /// Who is believed about the names of others, and which names may sign.
    pub keyless: Vec<KeylessTrust>,
    /// Names of repositories under or in which an image must be signed; any if there are none.
    pub identities: Vec<String>,
}

impl Trust {
    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.keyless.is_empty()
    }
}

/// Somebody trusted who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// The holder of a key with this fingerprint.
    Key(Digest),
    /// Whom a certificate names.
    Certificate {
        /// An e-mail address or URL.
        subject: String,
        /// Who identified it.
        issuer: String,
    },
}

impl fmt::Display for Signer {
    /// The fingerprint, or the subject with its issuer.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(fingerprint) => fingerprint.fmt(formatter),
            Self::Certificate { subject, issuer } => {
                write!(formatter, "{} ({})", printable(subject), printable(issuer))
            }
        }
    }
}

/// Who of `trust` signed the document with this digest: the first of the candidates that holds.
///
/// # Errors
/// The most telling reason why none did; [`Reason::Missing`] is for callers who know the place, so
/// without candidates it names none.
pub fn judge(
    candidates: &[Result<Candidate, String>],
    digest: Digest,
    document: &[u8],
    trust: &Trust,
) -> Result<Signer, Reason> {
    let mut worst = Reason::Missing { place: String::new() };
    let mut foreign = 0;
    for candidate in candidates {
        let verdict = match candidate {
            Ok(candidate) => candidate.judge(digest, document, trust),
            Err(reason) => Err(Reason::Malformed { reason: reason.clone() }),
        };
        match verdict {
            Ok(signer) => return Ok(signer),
            Err(reason) => {
                foreign += usize::from(matches!(reason, Reason::Foreign { .. }));
                if reason.rank() >= worst.rank() {
                    worst = reason;
                }
            }
        }
    }
    if let Reason::Foreign { signatures } = &mut worst {
        *signatures = foreign;
    }
    Err(worst)
}

impl Candidate {
    fn judge(&self, digest: Digest, document: &[u8], trust: &Trust) -> Result<Signer, Reason> {
        let message = match &self.claim {
            Claim::Payload(payload) => payload.clone(),
            Claim::Statement { kind, payload } => authenticated(kind, payload),
            Claim::Document { .. } => document.to_vec(),
        };
        let signer = self.signer(&message, trust)?;
        let malformed = |reason| Reason::Malformed { reason };
        let (signed, reference) = match &self.claim {
            Claim::Payload(payload) => {
                let payload = Payload::parse(payload).map_err(malformed)?;
                (vec![payload.digest], Some(payload.reference))
            }
            Claim::Statement { kind, payload } => {
                let subjects = subjects(kind, payload).map_err(malformed)?;
                let named = subjects.iter().find(|(hex, _)| *hex == digest.hex());
                let name = named.map(|(_, name)| name.clone()).filter(|name| !name.is_empty());
                (subjects.iter().map(|(hex, _)| format!("sha256:{hex}")).collect(), name)
            }
            // The digest of the document is known; a bundle that says another one is of that.
            Claim::Document { digest: said } => {
                (vec![said.unwrap_or_else(|| Digest::of(document)).to_string()], None)
            }
        };
        if !signed.contains(&digest.to_string()) {
            let signed = signed.into_iter().next().unwrap_or_else(|| "of nothing".to_owned());
            return Err(Reason::OtherDigest { signed });
        }
        let is_listed = |reference: &String| {
            trust.identities.iter().any(|identity| is_below(reference, identity))
        };
        if trust.identities.is_empty() || reference.as_ref().is_some_and(is_listed) {
            Ok(signer)
        } else {
            Err(Reason::OtherIdentity { signed_as: reference })
        }
    }

    /// Whom one of the signatures over these bytes is by.
    fn signer(&self, message: &[u8], trust: &Trust) -> Result<Signer, Reason> {
        let holds = |key: &&PublicKey| {
            self.signatures.iter().any(|signature| key.verifies(message, signature))
        };
        if let Some(key) = trust.keys.iter().find(holds) {
            return Ok(Signer::Key(key.fingerprint()));
        }
        let certified = match &self.certified {
            None => return Err(Reason::Foreign { signatures: 1 }),
            Some(_) if trust.keyless.is_empty() => return Err(Reason::Keyless),
            Some(certified) => certified.as_ref().map_err(Clone::clone)?,
        };
        let payload = match &self.claim {
            Claim::Statement { payload, .. } => Some(payload.as_slice()),
            Claim::Payload(_) | Claim::Document { .. } => None,
        };
        let made = Made { message, payload, signatures: &self.signatures };
        let (subject, issuer) = certified.signer(&made, &trust.keyless)?;
        Ok(Signer::Certificate { subject, issuer })
    }
}

#[cfg(test)]
mod tests {
    use kiln_registry::Digest;

    use super::{Candidate, Claim, Trust, judge};
    use crate::signature::Payload;
    use crate::signature::keyless::{Certified, Fault};
    use crate::signature::private_key::PrivateKey;
    use crate::signature::reason::Reason;
    use crate::signature::statement::{authenticated, statement};
    use crate::signature::test_support::{key, other_key};

    const DOCUMENT: &[u8] = b"{\"schemaVersion\":2}";
    const KIND: &str = "application/vnd.in-toto+json";

    fn payload(digest: Digest) -> Vec<u8> {
        Payload::of(&"registry.example/edge:1".parse().unwrap(), digest).to_json().unwrap()
    }

    fn simple(key: &PrivateKey, payload: Vec<u8>) -> Candidate {
        let signatures = vec![key.sign(&payload).unwrap()];
        Candidate { claim: Claim::Payload(payload), signatures, certified: None }
    }

    fn stated(key: &PrivateKey, text: String) -> Candidate {
        let payload = text.into_bytes();
        let signatures = vec![b"junk".to_vec(), key.sign(&authenticated(KIND, &payload)).unwrap()];
        let claim = Claim::Statement { kind: KIND.to_owned(), payload };
        Candidate { claim, signatures, certified: None }
    }

    /// A certificate that nobody can read.
    fn torn() -> Option<Result<Certified, Fault>> {
        Some(Err(Fault::NoEntry))
    }

    fn verdict(candidates: Vec<Candidate>, identities: &[&str]) -> Result<(), Reason> {
        let trust = Trust {
            keys: vec![key().public().clone()],
            identities: identities.iter().map(|name| (*name).to_owned()).collect(),
            keyless: Vec::new(),
        };
        let candidates: Vec<_> = candidates.into_iter().map(Ok).collect();
        judge(&candidates, Digest::of(DOCUMENT), DOCUMENT, &trust).map(drop)
    }

    #[test]
    fn what_a_trusted_key_signed_counts() {
        let (digest, mine) = (Digest::of(DOCUMENT), key());
        let message = |said| Candidate {
            claim: Claim::Document { digest: said },
            signatures: vec![mine.sign(DOCUMENT).unwrap()],
            certified: None,
        };
        for candidate in [
            simple(&mine, payload(digest)),
            stated(&mine, statement("", digest)),
            message(None),
            message(Some(digest)),
            // A certificate beside a key that is trusted takes nothing away.
            Candidate { certified: torn(), ..simple(&mine, payload(digest)) },
        ] {
            assert_eq!(verdict(vec![candidate.clone()], &[]), Ok(()), "{candidate:?}");
            let foreign = simple(&other_key(), payload(digest));
            assert_eq!(verdict(vec![foreign, candidate], &[]), Ok(()), "one of two is enough");
        }
        let named = stated(&mine, statement("registry.example/edge", digest));
        for signed in [simple(&mine, payload(digest)), named] {
            assert_eq!(verdict(vec![signed], &["registry.example"]), Ok(()));
        }
    }

    #[test]
    fn everything_else_has_its_reason() {
        let (digest, other) = (Digest::of(DOCUMENT), Digest::of(b"other"));
        let (mine, theirs) = (key(), other_key());
        let good = || simple(&mine, payload(digest));
        let wrong = simple(&mine, payload(other));
        let foreign = simple(&theirs, payload(digest));
        let keyless = Candidate { certified: torn(), ..foreign.clone() };
        let attested = statement("", digest).replace("cosign/sign/v1", "spdx");
        let moved = Candidate { claim: Claim::Payload(payload(other)), ..good() };
        let of_other = Candidate {
            claim: Claim::Document { digest: Some(other) },
            signatures: vec![mine.sign(DOCUMENT).unwrap()],
            certified: None,
        };
        let says = other.to_string();
        let (one, two) = (Reason::Foreign { signatures: 1 }, Reason::Foreign { signatures: 2 });
        let other_digest = Reason::OtherDigest { signed: says.clone() };
        for (candidates, identities, expected) in [
            (vec![], &[][..], Reason::Missing { place: String::new() }),
            (vec![wrong.clone()], &[], other_digest.clone()),
            (vec![stated(&mine, statement("", other))], &[], other_digest.clone()),
            (vec![of_other], &[], other_digest.clone()),
            (vec![foreign.clone()], &[], one.clone()),
            (vec![foreign.clone(), keyless.clone(), foreign.clone()], &[], two),
            (vec![wrong, foreign.clone()], &[], other_digest),
            (vec![moved], &[], one.clone()),
            (vec![keyless], &[], Reason::Keyless),
            (vec![Candidate { signatures: vec![], ..good() }], &[], one),
            (
                vec![good()],
                &["registry.example/other"],
                Reason::OtherIdentity { signed_as: Some("registry.example/edge".to_owned()) },
            ),
            (
                vec![stated(&mine, statement("", digest))],
                &["registry.example"],
                Reason::OtherIdentity { signed_as: None },
            ),
            (
                vec![stated(&mine, attested)],
                &[],
                Reason::Malformed {
                    reason: "it says something about the image and does not sign it".to_owned(),
                },
            ),
        ] {
            assert_eq!(verdict(candidates, identities), Err(expected));
        }
        let torn = [Err("no JSON".to_owned())];
        let reason = judge(&torn, digest, DOCUMENT, &Trust::default()).unwrap_err();
        assert_eq!(reason, Reason::Malformed { reason: "no JSON".to_owned() });
    }

    #[test]
    fn without_keys_nothing_counts() {
        let candidates = [Ok(simple(&key(), payload(Digest::of(DOCUMENT))))];
        let nobody = Trust::default();
        let outcome = judge(&candidates, Digest::of(DOCUMENT), DOCUMENT, &nobody);
        assert_eq!(outcome, Err(Reason::Foreign { signatures: 1 }));
    }
}
