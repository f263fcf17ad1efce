//! Sigstore bundles: one JSON document with a signature and what proves it (sigstore/protobuf-specs
//! sigstore_bundle.proto, in proto3's JSON form).
//!
//! Log entries and time stamps are read for certificates alone: they prove when a signature was made,
//! and a key that is trusted is trusted at all times. So what is wrong with them is kept and refuses
//! nothing that a key signed.

use base64ct::{Base64, Encoding as _};
use kiln_registry::Digest;
use serde::Deserialize;
use serde_json::{Value, json};

use super::candidate::{Candidate, Claim};
use super::format::{BUNDLE, BUNDLE_FAMILY, MAXIMUM_CANDIDATES, MAXIMUM_SIGNATURE, STATEMENT_TYPE};
use super::keyless::Certified;
use super::public_key::PublicKey;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Value,
    dsse_envelope: Option<Envelope>,
    message_signature: Option<MessageSignature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageSignature {
    message_digest: Option<MessageDigest>,
    signature: String,
}

#[derive(Deserialize)]
struct MessageDigest {
    algorithm: String,
    digest: String,
}

/// Reads a bundle, of which nothing is proved yet.
///
/// # Errors
/// What is wrong with it.
pub fn parse_bundle(bytes: &[u8]) -> Result<Candidate, String> {
    let bundle: Bundle = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if !bundle.media_type.starts_with(BUNDLE_FAMILY) {
        return Err("it is no bundle".to_owned());
    }
    let material = bundle.verification_material;
    let is_by_key = material.get("publicKey").is_some_and(|key| !key.is_null());
    let certified = (!is_by_key).then(|| Certified::of_bundle(material));
    match (bundle.dsse_envelope, bundle.message_signature) {
        (Some(envelope), None) => {
            if envelope.signatures.len() > MAXIMUM_CANDIDATES {
                return Err("it has too many signatures".to_owned());
            }
            let signatures = envelope.signatures.iter().map(|one| decode_signature(&one.sig));
            let payload = decode(&envelope.payload)?;
            Ok(Candidate {
                claim: Claim::Statement { kind: envelope.payload_type, payload },
                signatures: signatures.collect::<Result<_, _>>()?,
                certified,
            })
        }
        (None, Some(message)) => {
            let digest = message.message_digest.map(decode_digest).transpose()?;
            Ok(Candidate {
                claim: Claim::Document { digest },
                signatures: vec![decode_signature(&message.signature)?],
                certified,
            })
        }
        _ => Err("it has not one signature".to_owned()),
    }
}

fn decode(text: &str) -> Result<Vec<u8>, String> {
    Base64::decode_vec(text).map_err(|error| format!("no Base64: {error}"))
}

/// A signature in Base64.
pub(super) fn decode_signature(text: &str) -> Result<Vec<u8>, String> {
    if text.len() > MAXIMUM_SIGNATURE {
        return Err("the signature is too long".to_owned());
    }
    decode(text.trim())
}

fn decode_digest(digest: MessageDigest) -> Result<Digest, String> {
    if digest.algorithm != "SHA2_256" {
        return Err("the digest of its message is not SHA2_256".to_owned());
    }
    let bytes = decode(&digest.digest)?;
    bytes.try_into().map(Digest::from_bytes).map_err(|_| "its digest is too short".to_owned())
}

/// The bundle around a signed statement.
pub(super) fn bundle(key: &PublicKey, payload: &[u8], signature: &[u8]) -> String {
    let hint = Base64::encode_string(key.fingerprint().as_bytes());
    json!({
        "mediaType": BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": hint }, "tlogEntries": [] },
        "dsseEnvelope": {
            "payload": Base64::encode_string(payload),
            "payloadType": STATEMENT_TYPE,
            "signatures": [{ "sig": Base64::encode_string(signature) }],
        },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use kiln_registry::Digest;

    use super::{bundle, parse_bundle};
    use crate::signature::candidate::Claim;
    use crate::signature::statement::{statement, subjects};
    use crate::signature::test_support::key;

    #[test]
    fn a_bundle_that_is_written_is_read() {
        let payload = statement("registry.example/edge", Digest::of(b"x"));
        let text = bundle(key().public(), payload.as_bytes(), b"signature");
        let candidate = parse_bundle(text.as_bytes()).unwrap();
        assert_eq!(candidate.certified, None);
        assert_eq!(candidate.signatures, [b"signature"]);
        let Claim::Statement { kind, payload } = candidate.claim else { panic!("no statement") };
        let expected = (Digest::of(b"x").hex(), "registry.example/edge".to_owned());
        assert_eq!(subjects(&kind, &payload).unwrap(), [expected]);
    }

    #[test]
    fn other_documents_are_refused() {
        let good = bundle(key().public(), b"{}", b"s");
        let certificate = good.replace("publicKey", "certificate");
        let keyless = parse_bundle(certificate.as_bytes()).unwrap();
        assert!(matches!(keyless.certified, Some(Err(_))), "{keyless:?}");
        let message = r#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial":{"publicKey":{}},"messageSignature":{"messageDigest":
            {"algorithm":"SHA2_256","digest":"AAAA"},"signature":"AAAA"}}"#;
        for (text, expected) in [
            (good.replace("dsseEnvelope", "other"), "not one signature"),
            (good.replace("dev.sigstore.bundle", "other"), "no bundle"),
            (good.replace("\"payload\":\"", "\"payload\":\"%"), "no Base64"),
            (good.replace("\"sig\":\"", &format!("\"sig\":\"{}", "A".repeat(5000))), "too long"),
            (message.to_owned(), "too short"),
            (message.replace("SHA2_256", "SHA1"), "SHA2_256"),
            ("{}".to_owned(), "missing field"),
        ] {
            let refused = parse_bundle(text.as_bytes()).unwrap_err();
            assert!(refused.contains(expected), "{text}: {refused}");
        }
    }
}
