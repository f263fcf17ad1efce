//! Keyless signatures: by a key that lived for minutes, whose certificate says who held it (sigstore
//! architecture-docs client-spec.md, "Verification").
//!
//! Everything is proved from what comes with the signature and the trust root that came with the
//! machine: no network, no clock. The order is that of the proof: the key made the signature; a log
//! says when it saw it; the entry is of this very signature; an authority of the trust root vouched
//! for the certificate at that time; the policy lists who it names. A step that does not hold ends it,
//! and nothing unknown counts as absent.
//!
//! Not known are time stamps by authorities (RFC 3161) and the logs that need them, which sign no time
//! of their own. A library of Sigstore was dropped: those there are bring a second TLS stack and an
//! asynchronous runtime for what is here chains, hashes and JSON.

mod body;
mod chain;
mod checkpoint;
mod entry;
mod fault;
mod inclusion;
mod leaf;
mod signer;
mod timestamp;
mod trust_root;

use std::collections::BTreeMap;

use base64ct::{Base64, Encoding as _};
use serde::Deserialize;
use serde_json::Value;

pub(super) use self::body::Made;
use self::body::bind;
use self::entry::Entry;
pub use self::fault::Fault;
use self::leaf::{Leaf, from_pem, malformed};
pub use self::signer::AllowedSigner;
pub use self::trust_root::{MAXIMUM_TRUST_ROOT, TrustRoot};
use super::format::{CERTIFICATE, CHAIN, LOG_ENTRY, TIME_STAMP};

/// Most log entries of one signature; real ones have one.
const MAXIMUM_ENTRIES: usize = 8;
/// Most certificates that come with a signature, its own aside.
const MAXIMUM_CHAIN: usize = 8;

/// Whom to believe about names, and which names may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeylessTrust {
    /// The authorities and logs.
    pub root: TrustRoot,
    /// Who may sign.
    pub signers: Vec<AllowedSigner>,
}

/// What comes with a signature in place of a key, of which nothing is proved yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified {
    /// The certificate in DER.
    certificate: Vec<u8>,
    /// Certificates above it.
    chain: Vec<Vec<u8>>,
    entries: Vec<Entry>,
    has_time_stamp: bool,
}

/// Certificates and log entries in a bundle (sigstore/protobuf-specs sigstore_bundle.proto,
/// `VerificationMaterial`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    certificate: Option<Raw>,
    x509_certificate_chain: Option<Chain>,
    #[serde(default)]
    tlog_entries: Vec<Value>,
    timestamp_verification_data: Option<Stamps>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    raw_bytes: String,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<Raw>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stamps {
    #[serde(default)]
    rfc3161_timestamps: Vec<Value>,
}

impl Certified {
    /// Reads what stands beside a payload under a tag; nothing for a signature by a key.
    pub(super) fn of_annotations(
        annotations: &BTreeMap<String, String>,
    ) -> Option<Result<Self, Fault>> {
        let text = |name| annotations.get(name).filter(|text| !text.is_empty());
        let certificate = text(CERTIFICATE)?;
        let read = || {
            let mut certificates = from_pem(certificate, 1)?;
            let chain = text(CHAIN).map(|text| from_pem(text, MAXIMUM_CHAIN)).transpose()?;
            let entry = text(LOG_ENTRY).map(|text| Entry::of_annotation(text)).transpose()?;
            Ok(Self {
                certificate: certificates.pop().ok_or_else(|| malformed("there is none"))?,
                chain: chain.unwrap_or_default(),
                entries: entry.into_iter().collect(),
                has_time_stamp: text(TIME_STAMP).is_some(),
            })
        };
        Some(read())
    }

    /// Reads the material of a bundle.
    pub(super) fn of_bundle(material: Value) -> Result<Self, Fault> {
        let material: Material = serde_json::from_value(material).map_err(malformed)?;
        let mut raw = match (material.certificate, material.x509_certificate_chain) {
            (Some(one), None) => vec![one],
            (None, Some(chain)) => chain.certificates,
            _ => return Err(malformed("there is not one")),
        }
        .into_iter();
        if raw.len() > MAXIMUM_CHAIN {
            return Err(malformed(format!("there are more than {MAXIMUM_CHAIN}")));
        }
        if material.tlog_entries.len() > MAXIMUM_ENTRIES {
            let reason = format!("there are more than {MAXIMUM_ENTRIES}");
            return Err(Fault::Malformed { what: "log entry", reason });
        }
        let decode = |raw: Raw| Base64::decode_vec(&raw.raw_bytes).map_err(malformed);
        let entries = material.tlog_entries.into_iter().map(Entry::of_bundle);
        let stamps = material.timestamp_verification_data;
        Ok(Self {
            certificate: decode(raw.next().ok_or_else(|| malformed("there is none"))?)?,
            chain: raw.map(decode).collect::<Result<_, _>>()?,
            entries: entries.collect::<Result<_, _>>()?,
            has_time_stamp: stamps.is_some_and(|stamps| !stamps.rfc3161_timestamps.is_empty()),
        })
    }

    /// Who made the signature, subject and issuer, if one of `trust` believes it and lists them.
    pub(super) fn signer(
        &self,
        made: &Made<'_>,
        trust: &[KeylessTrust],
    ) -> Result<(String, String), Fault> {
        let leaf = Leaf::parse(&self.certificate)?;
        let signature = made
            .signatures
            .iter()
            .find(|signature| leaf.key.verifies(made.message, signature))
            .ok_or(Fault::Signature)?;
        let mut fault = if self.has_time_stamp {
            Fault::Unsupported { what: "a time stamp in place of a log entry".to_owned() }
        } else {
            Fault::NoEntry
        };
        for one in trust {
            for entry in &self.entries {
                match self.prove(&leaf, made, signature, entry, one) {
                    Ok(()) => return Ok((leaf.subject, leaf.issuer)),
                    Err(other) if other.rank() >= fault.rank() => fault = other,
                    Err(_) => {}
                }
            }
        }
        Err(fault)
    }

    fn prove(
        &self,
        leaf: &Leaf,
        made: &Made<'_>,
        signature: &[u8],
        entry: &Entry,
        trust: &KeylessTrust,
    ) -> Result<(), Fault> {
        let time = entry.proved_time(&trust.root)?;
        bind(entry.body(), made, signature, &self.certificate)?;
        chain::prove(&trust.root, leaf, &self.certificate, &self.chain, time)?;
        let (subject, issuer) = (&leaf.subject, &leaf.issuer);
        if trust.signers.iter().any(|signer| signer.is(subject, issuer)) {
            Ok(())
        } else {
            Err(Fault::OtherSigner { subject: subject.clone(), issuer: issuer.clone() })
        }
    }
}
