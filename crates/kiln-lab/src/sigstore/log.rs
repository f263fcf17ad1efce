//! A log of signatures as Rekor 1 is: entries, promises, proofs and checkpoints (sigstore/rekor
//! openapi.yaml, pkg/types/hashedrekord, pkg/types/dsse; RFC 9162 section 2.1).
//!
//! Its tree has other entries, too, so that a proof has hashes on both sides.

use base64ct::{Base64, Encoding as _};
use rcgen::{PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Leaf, Sigstore, unusable};
use crate::error::Error;

/// Entries of the tree, and the place of the one that is asked for.
const TREE: (u8, u8) = (11, 6);
/// Entries in older trees of the log, which count in an entry's number and not in its tree.
const OLDER: u8 = 100;

/// What the log keeps of a signature of a message.
#[must_use]
pub fn hashed_record(leaf: &Leaf, message: &[u8], signature: &[u8]) -> Value {
    json!({
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": { "hash": { "algorithm": "sha256", "value": hash(message) } },
            "signature": {
                "content": Base64::encode_string(signature),
                "publicKey": { "content": Base64::encode_string(leaf.pem.as_bytes()) },
            },
        },
    })
}

/// What the log keeps of a signed envelope.
#[must_use]
pub fn dsse(leaf: &Leaf, envelope: &Value, payload: &[u8], signature: &[u8]) -> Value {
    json!({
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": { "algorithm": "sha256", "value": hash(envelope.to_string().as_bytes()) },
            "payloadHash": { "algorithm": "sha256", "value": hash(payload) },
            "signatures": [{
                "signature": Base64::encode_string(signature),
                "verifier": Base64::encode_string(leaf.pem.as_bytes()),
            }],
        },
    })
}

impl Sigstore {
    /// Enters a body: the log's entry as bundles have it (sigstore/protobuf-specs
    /// sigstore_rekor.proto, `TransparencyLogEntry`).
    ///
    /// # Errors
    /// When randomness is missing.
    pub fn entry(&self, body: &Value, time: i64) -> Result<Value, Error> {
        let (size, place) = TREE;
        let bytes = body.to_string();
        let leaves: Vec<_> =
            (0..size)
                .map(|number| {
                    if number == place { leaf_hash(bytes.as_bytes()) } else { leaf_hash(&[number]) }
                })
                .collect();
        let (root, proof) = tree(&leaves, usize::from(place));
        let hashes: Vec<_> = proof.iter().map(|hash| Base64::encode_string(hash)).collect();
        let index = OLDER + place;
        let encoded = Base64::encode_string(bytes.as_bytes());
        let promised = format!(
            "{{\"body\":\"{encoded}\",\"integratedTime\":{time},\"logID\":\"{}\",\"logIndex\":{index}}}",
            hexadecimal(&self.log_identifier())
        );
        let promise = self.signed(promised.as_bytes())?;
        let checkpoint = self.checkpoint(u64::from(size), &root)?;
        Ok(json!({
            "logIndex": index.to_string(),
            "logId": { "keyId": Base64::encode_string(&self.log_identifier()) },
            "kindVersion": { "kind": body["kind"], "version": body["apiVersion"] },
            "integratedTime": time.to_string(),
            "inclusionPromise": { "signedEntryTimestamp": Base64::encode_string(&promise) },
            "inclusionProof": {
                "logIndex": place.to_string(),
                "rootHash": Base64::encode_string(&root),
                "treeSize": size.to_string(),
                "hashes": hashes,
                "checkpoint": { "envelope": checkpoint },
            },
            "canonicalizedBody": encoded,
        }))
    }

    /// The log's word on its tree.
    ///
    /// # Errors
    /// When randomness is missing.
    pub fn checkpoint(&self, size: u64, root: &[u8; 32]) -> Result<String, Error> {
        let text = format!("log.example - 1234\n{size}\n{}\n", Base64::encode_string(root));
        let identifier = self.log_identifier();
        let signature = [&identifier[..4], &self.signed(text.as_bytes())?].concat();
        Ok(format!("{text}\n\u{2014} log.example {}\n", Base64::encode_string(&signature)))
    }

    /// What names the log: SHA-256 of its key.
    #[must_use]
    pub fn log_identifier(&self) -> [u8; 32] {
        Sha256::digest(self.log.subject_public_key_info()).into()
    }

    fn signed(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.log.sign(message).map_err(|source| unusable(&source))
    }
}

fn leaf_hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update([0]).chain_update(bytes).finalize().into()
}

/// The root of a tree and the proof of one leaf, by the definitions of RFC 9162.
fn tree(leaves: &[[u8; 32]], place: usize) -> ([u8; 32], Vec<[u8; 32]>) {
    if let [leaf] = leaves {
        return (*leaf, Vec::new());
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let is_left = place < left.len();
    let (left, proof_left) = tree(left, place);
    let (right, proof_right) =
        tree(right, place.saturating_sub(leaves.len().next_power_of_two() / 2));
    let root = Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize();
    let mut proof = if is_left { proof_left } else { proof_right };
    proof.push(if is_left { right } else { left });
    (root.into(), proof)
}

fn hash(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// Bytes as two digits each.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
