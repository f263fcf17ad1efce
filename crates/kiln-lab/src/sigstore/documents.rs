//! The documents around a keyless signature: what a verifier is given (sigstore/protobuf-specs
//! sigstore_bundle.proto and sigstore_trustroot.proto; sigstore/cosign specs/SIGNATURE_SPEC.md).

use std::collections::BTreeMap;

use base64ct::{Base64, Encoding as _};
use rcgen::PublicKeyData as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::log::hexadecimal;
use super::{Leaf, Sigstore};

impl Sigstore {
    /// `trusted_root.json`, which vouches for this Sigstore.
    #[must_use]
    pub fn trusted_root(&self) -> Value {
        let valid = json!({ "start": "2020-01-01T00:00:00Z" });
        let log = |key: &rcgen::KeyPair| {
            let key = key.subject_public_key_info();
            json!({
                "baseUrl": "https://log.example",
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": Base64::encode_string(&key),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": valid,
                },
                "logId": { "keyId": Base64::encode_string(&Sha256::digest(&key)) },
            })
        };
        let raw = |der: &[u8]| json!({ "rawBytes": Base64::encode_string(der) });
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(&self.log)],
            "certificateAuthorities": [{
                "subject": { "organization": "Lab", "commonName": "root" },
                "uri": "https://authority.example",
                "certChain": { "certificates": [raw(self.intermediate.der()), raw(self.root.der())] },
                "validFor": valid,
            }],
            "ctlogs": [log(&self.certificate_log)],
        })
    }
}

/// A bundle of version 0.3. `content` is what [`message_signature`] or [`envelope`] gives.
#[must_use]
pub fn bundle(leaf: &Leaf, entry: &Value, content: (&str, Value)) -> Value {
    let (kind, content) = content;
    json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "certificate": { "rawBytes": Base64::encode_string(&leaf.certificate) },
            "tlogEntries": [entry],
        },
        kind: content,
    })
}

/// A signature of a message for a bundle.
#[must_use]
pub fn message_signature(message: &[u8], signature: &[u8]) -> (&'static str, Value) {
    let digest = Base64::encode_string(&Sha256::digest(message));
    let content = json!({
        "messageDigest": { "algorithm": "SHA2_256", "digest": digest },
        "signature": Base64::encode_string(signature),
    });
    ("messageSignature", content)
}

/// A signed in-toto statement for a bundle.
#[must_use]
pub fn envelope(payload: &[u8], signature: &[u8]) -> (&'static str, Value) {
    let content = json!({
        "payload": Base64::encode_string(payload),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{ "sig": Base64::encode_string(signature) }],
    });
    ("dsseEnvelope", content)
}

/// What the signature of an in-toto statement in an envelope is over.
#[must_use]
pub fn authenticated(payload: &[u8]) -> Vec<u8> {
    let kind = "application/vnd.in-toto+json";
    let front = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    [front.as_bytes(), payload].concat()
}

/// What cosign writes beside a payload under a tag. `entry` is what [`Sigstore::entry`] gives.
#[must_use]
pub fn annotations(
    sigstore: &Sigstore,
    leaf: &Leaf,
    entry: &Value,
    signature: &[u8],
) -> BTreeMap<String, String> {
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<i64>().ok());
    let log = json!({
        "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
        "Payload": {
            "body": entry["canonicalizedBody"],
            "integratedTime": number(&entry["integratedTime"]),
            "logIndex": number(&entry["logIndex"]),
            "logID": hexadecimal(&sigstore.log_identifier()),
        },
    });
    BTreeMap::from([
        ("dev.cosignproject.cosign/signature".to_owned(), Base64::encode_string(signature)),
        ("dev.sigstore.cosign/bundle".to_owned(), log.to_string()),
        ("dev.sigstore.cosign/certificate".to_owned(), leaf.pem.clone()),
        ("dev.sigstore.cosign/chain".to_owned(), sigstore.chain()),
    ])
}
