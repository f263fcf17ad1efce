//! Sigstore bundles: one JSON document with a signature and what proves it (sigstore/protobuf-specs
//! sigstore_bundle.proto, in proto3's JSON form), and the in-toto statement inside.
//!
//! Read are those with a public key; one with a certificate is recognised, so that it is refused for
//! what it is. Log entries and time stamps are not looked at: they prove when a signature was made,
//! and a key that is trusted is trusted at all times.

use base64ct::{Base64, Encoding as _};
use kiln_registry::Digest;
use serde::Deserialize;
use serde_json::{Value, json};

use super::candidate::{Candidate, Claim};
use super::format::{
    BUNDLE, BUNDLE_FAMILY, MAXIMUM_CANDIDATES, MAXIMUM_SIGNATURE, SIGN_PREDICATE, STATEMENT,
    STATEMENT_FAMILY, STATEMENT_TYPE,
};
use super::public_key::PublicKey;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Option<Envelope>,
    message_signature: Option<MessageSignature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    public_key: Option<Value>,
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
    let is_keyless = bundle.verification_material.public_key.is_none();
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
                is_keyless,
            })
        }
        (None, Some(message)) => {
            let digest = message.message_digest.map(decode_digest).transpose()?;
            Ok(Candidate {
                claim: Claim::Document { digest },
                signatures: vec![decode_signature(&message.signature)?],
                is_keyless,
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

/// What the signature of an envelope is made over (DSSE protocol.md, "PAE").
pub(super) fn authenticated(kind: &str, payload: &[u8]) -> Vec<u8> {
    let front = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    [front.as_bytes(), payload].concat()
}

/// What a statement signs: hexadecimal SHA-256 and the name, which may be empty.
///
/// # Errors
/// What is wrong with it, also if it says something else about its subject.
pub(super) fn subjects(kind: &str, payload: &[u8]) -> Result<Vec<(String, String)>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Statement {
        #[serde(rename = "_type")]
        kind: String,
        subject: Vec<Subject>,
        predicate_type: String,
    }
    #[derive(Deserialize)]
    struct Subject {
        #[serde(default)]
        name: String,
        #[serde(default)]
        digest: std::collections::BTreeMap<String, String>,
    }
    if kind != STATEMENT_TYPE {
        return Err("what it signs is no statement".to_owned());
    }
    let statement: Statement =
        serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    if !statement.kind.starts_with(STATEMENT_FAMILY) {
        return Err("what it signs is no statement".to_owned());
    }
    if statement.predicate_type != SIGN_PREDICATE {
        return Err("it says something about the image and does not sign it".to_owned());
    }
    let subjects = statement.subject.into_iter();
    let named = |mut subject: Subject| Some((subject.digest.remove("sha256")?, subject.name));
    Ok(subjects.filter_map(named).collect())
}

/// A statement that signs an image. cosign names no subject; the repository's name is what a policy
/// can ask for.
pub(super) fn statement(name: &str, digest: Digest) -> String {
    json!({
        "_type": STATEMENT,
        "subject": [{ "name": name, "digest": { "sha256": digest.hex() } }],
        "predicateType": SIGN_PREDICATE,
        "predicate": {},
    })
    .to_string()
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

    use super::{authenticated, bundle, parse_bundle, statement, subjects};
    use crate::signature::candidate::Claim;
    use crate::signature::test_support::key;

    #[test]
    fn envelopes_are_authenticated_as_the_specification_shows() {
        // The example of DSSE's protocol.md.
        let expected = "DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(
            authenticated("http://example.com/HelloWorld", b"hello world"),
            expected.as_bytes()
        );
    }

    #[test]
    fn a_bundle_that_is_written_is_read() {
        let payload = statement("registry.example/edge", Digest::of(b"x"));
        let text = bundle(key().public(), payload.as_bytes(), b"signature");
        let candidate = parse_bundle(text.as_bytes()).unwrap();
        assert!(!candidate.is_keyless);
        assert_eq!(candidate.signatures, [b"signature"]);
        let Claim::Statement { kind, payload } = candidate.claim else { panic!("no statement") };
        let expected = (Digest::of(b"x").hex(), "registry.example/edge".to_owned());
        assert_eq!(subjects(&kind, &payload).unwrap(), [expected]);
    }

    #[test]
    fn only_statements_that_sign_count() {
        let text = statement("", Digest::of(b"x"));
        let kind = "application/vnd.in-toto+json";
        for (kind, text, expected) in [
            (kind, text.replace("cosign/sign/v1", "spdx"), "does not sign it"),
            (kind, text.replace("in-toto.io/Statement", "in-toto.io/Other"), "no statement"),
            ("text/plain", text.clone(), "no statement"),
            (kind, "{}".to_owned(), "missing field"),
        ] {
            let refused = subjects(kind, text.as_bytes()).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn other_documents_are_refused() {
        let good = bundle(key().public(), b"{}", b"s");
        let certificate = good.replace("publicKey", "certificate");
        assert!(parse_bundle(certificate.as_bytes()).unwrap().is_keyless);
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
