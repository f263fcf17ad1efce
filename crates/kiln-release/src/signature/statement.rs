//! In-toto statements that sign an image, and the envelope around them (in-toto attestation
//! specification v1, statement.md; secure-systems-lab/dsse protocol.md).
//!
//! What a statement says is read after its signature was proved, so nothing here decides. It stands
//! apart from bundles because a statement is also judged where no bundle is.

use kiln_registry::Digest;
use serde::Deserialize;
use serde_json::json;

use super::format::{SIGN_PREDICATE, STATEMENT, STATEMENT_FAMILY, STATEMENT_TYPE};

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

#[cfg(test)]
mod tests {
    use kiln_registry::Digest;

    use super::{authenticated, statement, subjects};

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
}
