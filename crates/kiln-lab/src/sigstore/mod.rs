//! A Sigstore of one's own: an authority, a log of signatures and a log of certificates, made on the
//! spot, with the documents that they would give.
//!
//! Nothing listens: what a verifier needs comes along with a signature, so documents are all there is.
//! They are JSON values, so that a test can break one field of them. Times are fixed ones of the past;
//! a verifier that asks the clock would refuse them all. That the formats are the true ones, cosign
//! says (tests/keyless.rs).

mod certificates;
mod documents;
mod log;

use rcgen::{CertifiedIssuer, KeyPair};

pub use certificates::{Leaf, Name, Purpose, Recipe};
pub use documents::{annotations, authenticated, bundle, envelope, message_signature};
pub use log::{dsse, hashed_record};

use crate::error::Error;

/// When signatures are made, in seconds since 1970: 2023-11-14 22:13:20 UTC.
pub const SIGNED_AT: i64 = 1_700_000_000;

/// The authority and the logs.
#[derive(Debug)]
pub struct Sigstore {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
    log: KeyPair,
    certificate_log: KeyPair,
}

impl Sigstore {
    /// A new one, that nobody knows yet.
    ///
    /// # Errors
    /// When keys cannot be made.
    pub fn new() -> Result<Self, Error> {
        let (root, intermediate) = certificates::authority()?;
        Ok(Self { root, intermediate, log: key()?, certificate_log: key()? })
    }

    /// The public key of the log of signatures, in PEM form.
    #[must_use]
    pub fn log_key(&self) -> String {
        self.log.public_key_pem()
    }

    /// The public key of the log of certificates, in PEM form.
    #[must_use]
    pub fn certificate_log_key(&self) -> String {
        self.certificate_log.public_key_pem()
    }

    /// The certificates of the authority in PEM form, the root last.
    #[must_use]
    pub fn chain(&self) -> String {
        format!("{}{}", self.intermediate.pem(), self.root.pem())
    }
}

/// A key of the kind that Sigstore's logs and signers have.
fn key() -> Result<KeyPair, Error> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|source| unusable(&source))
}

fn unusable(source: &dyn std::fmt::Display) -> Error {
    Error::Unexpected { what: "the lab's Sigstore".into(), text: source.to_string() }
}
