//! An entry of a transparency log: that the log saw a signature, and when (sigstore/protobuf-specs
//! sigstore_rekor.proto; sigstore/rekor openapi.yaml, `LogEntry`).
//!
//! The time counts for everything that follows, so it must be signed: the log's promise of inclusion
//! signs it. A proof of inclusion does not, as the tree has no times; it is checked where it comes
//! along and never taken in place of the promise.

use base64ct::{Base64, Encoding as _};
use serde::Deserialize;

use super::checkpoint::Checkpoint;
use super::fault::Fault;
use super::inclusion::{is_included, leaf_hash};
use super::trust_root::{Log, TrustRoot, hexadecimal};

/// Longest body of an entry in bytes.
const MAXIMUM_BODY: usize = 128 << 10;
/// Most hashes of a proof: a tree of 2^63 entries needs no more.
const MAXIMUM_HASHES: usize = 64;

/// What a log gives, of which nothing is proved yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    log: Vec<u8>,
    index: i64,
    time: i64,
    body: Vec<u8>,
    promise: Option<Vec<u8>>,
    inclusion: Option<Inclusion>,
}

/// A proof of inclusion.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Inclusion {
    index: u64,
    size: u64,
    root: [u8; 32],
    hashes: Vec<[u8; 32]>,
    checkpoint: String,
}

/// The entry in a bundle.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    log_index: Integer,
    log_id: WireLog,
    #[serde(default)]
    integrated_time: Integer,
    inclusion_promise: Option<WirePromise>,
    inclusion_proof: Option<WireProof>,
    canonicalized_body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLog {
    key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePromise {
    signed_entry_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireProof {
    #[serde(default)]
    log_index: Integer,
    root_hash: String,
    tree_size: Integer,
    #[serde(default)]
    hashes: Vec<String>,
    checkpoint: Option<WireCheckpoint>,
}

#[derive(Deserialize)]
struct WireCheckpoint {
    envelope: String,
}

/// An integer of 64 bits, which proto3's JSON form writes as a text and may have as a number; zero
/// is left out.
#[derive(Deserialize)]
#[serde(untagged)]
enum Integer {
    Number(i64),
    Text(String),
}

impl Default for Integer {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl Integer {
    fn value(&self) -> Result<i64, Fault> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Text(text) => text.parse().map_err(malformed),
        }
    }
}

/// The annotation `dev.sigstore.cosign/bundle` (sigstore/cosign pkg/cosign/bundle/rekor.go).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Annotation {
    signed_entry_timestamp: String,
    payload: AnnotationPayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnnotationPayload {
    body: String,
    integrated_time: i64,
    log_index: i64,
    #[serde(rename = "logID")]
    log: String,
}

impl Entry {
    /// Reads the entry of a bundle.
    pub(super) fn of_bundle(entry: serde_json::Value) -> Result<Self, Fault> {
        let wire: Wire = serde_json::from_value(entry).map_err(malformed)?;
        let promise = wire.inclusion_promise.map(|promise| promise.signed_entry_timestamp);
        Ok(Self {
            log: decode(&wire.log_id.key_id)?,
            index: wire.log_index.value()?,
            time: wire.integrated_time.value()?,
            body: body(&wire.canonicalized_body)?,
            promise: promise.map(|text| decode(&text)).transpose()?,
            inclusion: wire.inclusion_proof.map(inclusion).transpose()?,
        })
    }

    /// Reads cosign's annotation.
    pub(super) fn of_annotation(text: &str) -> Result<Self, Fault> {
        let wire: Annotation = serde_json::from_str(text).map_err(malformed)?;
        Ok(Self {
            log: base16(&wire.payload.log).ok_or_else(|| malformed("its log has no identifier"))?,
            index: wire.payload.log_index,
            time: wire.payload.integrated_time,
            body: body(&wire.payload.body)?,
            promise: Some(decode(&wire.signed_entry_timestamp)?),
            inclusion: None,
        })
    }

    /// The body, of which nothing is proved before [`Entry::proved_time`].
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// When a log of the trust root saw the entry, in seconds since 1970.
    pub(super) fn proved_time(&self, root: &TrustRoot) -> Result<i64, Fault> {
        let promise = self.promise.as_ref().filter(|_| self.time > 0).ok_or(Fault::NoTime)?;
        let key = Log::key(&root.logs, &self.log, self.time)?;
        if !key.verifies(self.promised().as_bytes(), promise) {
            return Err(Fault::Promise);
        }
        if let Some(inclusion) = &self.inclusion {
            let head = Checkpoint::prove(&inclusion.checkpoint, key)
                .map_err(|reason| Fault::Checkpoint { reason })?;
            if (head.size, head.root) != (inclusion.size, inclusion.root) {
                return Err(Fault::Checkpoint { reason: "it is of another tree".to_owned() });
            }
            let (index, size) = (inclusion.index, inclusion.size);
            let leaf = leaf_hash(&self.body);
            if !is_included(leaf, index, size, &inclusion.hashes, inclusion.root) {
                return Err(Fault::Inclusion);
            }
        }
        Ok(self.time)
    }

    /// What the promise is made over: JSON in canonical form (RFC 8785). No character of these fields
    /// needs an escape.
    fn promised(&self) -> String {
        format!(
            "{{\"body\":\"{}\",\"integratedTime\":{},\"logID\":\"{}\",\"logIndex\":{}}}",
            Base64::encode_string(&self.body),
            self.time,
            hexadecimal(&self.log),
            self.index
        )
    }
}

fn inclusion(wire: WireProof) -> Result<Inclusion, Fault> {
    if wire.hashes.len() > MAXIMUM_HASHES {
        return Err(malformed("its proof has too many hashes"));
    }
    let unsigned = |integer: &Integer| u64::try_from(integer.value()?).map_err(malformed);
    let hash = |text: &String| decode(text)?.try_into().map_err(|_| malformed("no SHA-256"));
    let checkpoint = wire.checkpoint.ok_or_else(|| malformed("its proof has no checkpoint"))?;
    Ok(Inclusion {
        index: unsigned(&wire.log_index)?,
        size: unsigned(&wire.tree_size)?,
        root: hash(&wire.root_hash)?,
        hashes: wire.hashes.iter().map(hash).collect::<Result<_, _>>()?,
        checkpoint: checkpoint.envelope,
    })
}

fn body(text: &str) -> Result<Vec<u8>, Fault> {
    if text.len() > MAXIMUM_BODY {
        return Err(malformed("its body is too long"));
    }
    decode(text)
}

fn decode(text: &str) -> Result<Vec<u8>, Fault> {
    Base64::decode_vec(text).map_err(malformed)
}

fn base16(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks_exact(2);
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.map(byte).collect()
}

fn malformed(reason: impl std::fmt::Display) -> Fault {
    Fault::Malformed { what: "log entry", reason: reason.to_string() }
}
