//! Signatures of images and releases, as cosign writes and reads them.
//!
//! A signature says: this digest, by this key. It stands beside what it signs in the registry, under
//! a tag or as a referrer, and is worth nothing until a key that the reader already had proves it.
//! So bytes from the registry are parsed only as far as finding the signature needs; what it says is
//! read after it was proved.
//!
//! - keys: [`PublicKey`], [`PrivateKey`]
//! - deciding, without a network: [`Candidate`], [`Trust`], [`judge`]
//! - to a registry: [`sign`]; from one: [`find`]
//! - before anything is fetched: [`Verifier`], which is the registry crate's gate
//!
//! Signatures by certificates, which sigstore calls keyless, are proved from what comes with them and
//! a [`TrustRoot`] that the reader already had ([`KeylessTrust`]).

mod bundle;
mod candidate;
mod find;
mod format;
mod keyless;
mod payload;
mod printable;
mod private_key;
mod public_key;
mod reason;
mod sign;
mod statement;
#[cfg(test)]
pub(crate) mod test_support;
mod verifier;

pub use bundle::parse_bundle;
pub use candidate::{Candidate, Claim, Signer, Trust, judge};
pub use find::{find, parse_layer};
pub use format::MAXIMUM_DOCUMENT;
pub use keyless::{AllowedSigner, Certified, Fault, KeylessTrust, MAXIMUM_TRUST_ROOT, TrustRoot};
pub use payload::{Payload, is_below};
pub use private_key::PrivateKey;
pub use public_key::{Algorithm, MAXIMUM_KEY, PublicKey};
pub use reason::Reason;
pub use sign::{Scheme, SignOptions, Signed, sign};
pub use verifier::{Verdict, Verifier};
