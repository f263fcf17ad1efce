//! The simple signing payload: which image a signature is of (containers/image
//! docs/containers-signature.5.md, with cosign's type).
//!
//! It is parsed after its signature was proved and not before. What it says besides digest, name and
//! type is ignored, as its specification asks.

use kiln_registry::{Digest, Reference};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::format::PAYLOAD_TYPE;

/// What a payload says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The digest that is signed, as it is written there.
    pub digest: String,
    /// The image's name, perhaps with a tag.
    pub reference: String,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    critical: Critical,
    #[serde(default)]
    optional: Value,
}

#[derive(Serialize, Deserialize)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Serialize, Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Serialize, Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

impl Payload {
    /// The payload for an image.
    #[must_use]
    pub fn of(reference: &Reference, digest: Digest) -> Self {
        Self { digest: digest.to_string(), reference: reference.name() }
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let wire: Wire = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let Critical { identity, image, kind } = wire.critical;
        if kind != PAYLOAD_TYPE {
            return Err("its payload is of another type".to_owned());
        }
        Ok(Self { digest: image.digest, reference: identity.reference })
    }

    /// The bytes that are signed.
    ///
    /// # Errors
    /// Never in practice: no field can fail to be written.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Wire {
            critical: Critical {
                identity: Identity { reference: self.reference.clone() },
                image: Image { digest: self.digest.clone() },
                kind: PAYLOAD_TYPE.to_owned(),
            },
            optional: Value::Null,
        })
    }
}

/// Whether a name, with or without tag and digest, is `parent` or lies below it.
#[must_use]
pub fn is_below(name: &str, parent: &str) -> bool {
    let name = name.split('@').next().unwrap_or_default();
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let tag = name.get(last..).and_then(|component| component.find(':'));
    let name = tag.and_then(|colon| name.get(..last + colon)).unwrap_or(name);
    let rest = name.strip_prefix(parent.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use kiln_registry::Digest;

    use super::{Payload, is_below};

    #[test]
    fn payloads_are_those_of_cosign() {
        let reference = "registry.example/edge:14".parse().unwrap();
        let payload = Payload::of(&reference, Digest::of(b""));
        let text = String::from_utf8(payload.to_json().unwrap()).unwrap();
        let expected = "{\"critical\":{\"identity\":{\"docker-reference\":\"registry.example/edge\"},\
            \"image\":{\"docker-manifest-digest\":\"sha256:\
            e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"},\
            \"type\":\"cosign container image signature\"},\"optional\":null}";
        assert_eq!(text, expected);
        assert_eq!(Payload::parse(text.as_bytes()).unwrap(), payload);
        // Fields of other writers are ignored, missing ones are not made up.
        let more = text.replace("null", r#"{"creator":"x","timestamp":1}"#);
        assert_eq!(Payload::parse(more.as_bytes()).unwrap(), payload);
        for broken in [
            text.replace("cosign container", "atomic container"),
            text.replace("docker-manifest-digest", "digest"),
            text.replace("docker-reference", "reference"),
            text[1..].to_owned(),
            String::new(),
        ] {
            assert!(Payload::parse(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn names_lie_below_repositories_and_hosts() {
        for (name, parent, expected) in [
            ("registry.example/edge", "registry.example/edge", true),
            ("registry.example/edge:14", "registry.example/edge", true),
            ("registry.example/edge@sha256:00", "registry.example/edge", true),
            ("registry.example/edge/arm64", "registry.example/edge/", true),
            ("registry.example:5000/edge", "registry.example:5000", true),
            ("registry.example/edgy", "registry.example/edge", false),
            ("registry.example:5000/edge", "registry.example", false),
            ("registry.example.org/edge", "registry.example", false),
            ("registry.example", "registry.example/edge", false),
            ("", "registry.example", false),
        ] {
            assert_eq!(is_below(name, parent), expected, "{name} {parent}");
        }
    }
}
