//! What a log entry is of: the same signature, certificate and content as the one at hand
//! (sigstore/rekor pkg/types/hashedrekord/v0.0.1 and pkg/types/dsse/v0.0.1, their schemas).
//!
//! Without this an entry of anything would give its time to everything. Of the kinds of entries the two
//! are known that cosign 2 makes for what signs an image; others are refused by name.

use base64ct::{Base64, Encoding as _};
use kiln_registry::Digest;
use serde::Deserialize;

use super::fault::Fault;
use super::leaf::from_pem;

/// Most signatures of an entry that are looked at; real ones have one.
const MAXIMUM_SIGNATURES: usize = 8;

/// What was signed, and how.
#[derive(Debug)]
pub(in crate::signature) struct Made<'a> {
    /// The bytes under the signature.
    pub(in crate::signature) message: &'a [u8],
    /// The payload, if it is in an envelope.
    pub(in crate::signature) payload: Option<&'a [u8]>,
    /// Signatures of which one is enough.
    pub(in crate::signature) signatures: &'a [Vec<u8>],
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    kind: String,
    api_version: String,
    spec: serde_json::Value,
}

/// A signature of a hash.
#[derive(Deserialize)]
struct HashedRecord {
    data: Data,
    signature: Signature,
}

#[derive(Deserialize)]
struct Data {
    hash: Hash,
}

#[derive(Deserialize)]
struct Hash {
    algorithm: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signature {
    content: String,
    public_key: Content,
}

#[derive(Deserialize)]
struct Content {
    content: String,
}

/// A signature of an envelope.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_hash: Hash,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    signature: String,
    verifier: String,
}

/// Whether an entry's body is of this signature with this certificate (DER).
///
/// # Errors
/// What else it is of.
pub(super) fn bind(
    body: &[u8],
    made: &Made<'_>,
    signature: &[u8],
    certificate: &[u8],
) -> Result<(), Fault> {
    let body: Body = serde_json::from_slice(body).map_err(malformed)?;
    let (hash, content, found) = match (body.kind.as_str(), body.api_version.as_str()) {
        ("hashedrekord", "0.0.1") => {
            let record: HashedRecord = serde_json::from_value(body.spec).map_err(malformed)?;
            let Signature { content, public_key } = record.signature;
            (record.data.hash, made.message, vec![(content, public_key.content)])
        }
        ("dsse", "0.0.1") => {
            let envelope: Envelope = serde_json::from_value(body.spec).map_err(malformed)?;
            let payload = made.payload.ok_or(Fault::OtherEntry { what: "kind of content" })?;
            let pairs = envelope.signatures.into_iter().map(|one| (one.signature, one.verifier));
            (envelope.payload_hash, payload, pairs.collect())
        }
        (kind, version) => {
            return Err(Fault::Unsupported { what: format!("a log entry of {kind} {version}") });
        }
    };
    if hash.algorithm != "sha256" {
        return Err(Fault::Unsupported { what: "a log entry without SHA-256".to_owned() });
    }
    if hash.value != Digest::of(content).hex() {
        return Err(Fault::OtherEntry { what: "content" });
    }
    let decode = |text: &str| Base64::decode_vec(text).map_err(malformed);
    let mut fault = Fault::OtherEntry { what: "signature" };
    for (entered, key) in found.iter().take(MAXIMUM_SIGNATURES) {
        if decode(entered)? != signature {
            continue;
        }
        let text = String::from_utf8(decode(key)?).map_err(malformed)?;
        if from_pem(&text, 1)?.first().is_some_and(|der| der == certificate) {
            return Ok(());
        }
        fault = Fault::OtherEntry { what: "certificate" };
    }
    Err(fault)
}

fn malformed(reason: impl std::fmt::Display) -> Fault {
    Fault::Malformed { what: "log entry", reason: reason.to_string() }
}
