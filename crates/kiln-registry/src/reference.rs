//! Names of images in a registry: `host[:port]/repository[:tag][@digest]`.
//!
//! The grammar is the distribution project's (reference/regexp.go) without its default host: whose
//! registry is asked for an operating system is the user's word, never this program's. A
//! [`ShortName`] has no host and becomes a [`Reference`] only through the one registry that
//! registries.conf may name; searching several was dropped, because the first to answer would win.

use std::fmt;
use std::str::FromStr;

use crate::digest::shorten;
use crate::{Digest, Error};

/// Longest repository name (distribution's `RepositoryNameTotalLengthMax`), in bytes.
const REPOSITORY_BYTES: usize = 255;
/// Longest tag (distribution spec 1.1 § Pulling manifests), in bytes.
const TAG_BYTES: usize = 128;

/// A fully spelled name of an image in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Host with optional `:port`.
    pub host: String,
    /// Path of the repository below the host.
    pub repository: String,
    /// The tag; `latest` when neither tag nor digest was given.
    pub tag: Option<String>,
    /// The manifest digest; when present it decides, and the tag is only a remark.
    pub digest: Option<Digest>,
}

impl Reference {
    /// `host/repository` without tag and digest.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// What stands in the manifest URL: the digest if there is one, else the tag.
    #[must_use]
    pub fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".into(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.host, self.repository)?;
        write_version(formatter, self.tag.as_deref(), self.digest)
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.parse()? {
            Name::Full(reference) => Ok(reference),
            Name::Short(name) => {
                Err(Error::ShortName { given: shorten(&name.to_string()), searched: Vec::new() })
            }
        }
    }
}

/// A name without a host, such as `debian:12`: where it points is not decided yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortName {
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl ShortName {
    /// The same name in `registry`, which is `host[:port]` with an optional path.
    pub(crate) fn within(&self, registry: &str) -> Result<Reference, Error> {
        format!("{}/{self}", registry.trim_end_matches('/')).parse()
    }
}

impl fmt::Display for ShortName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.repository)?;
        write_version(formatter, self.tag.as_deref(), self.digest)
    }
}

fn write_version(
    formatter: &mut fmt::Formatter<'_>,
    tag: Option<&str>,
    digest: Option<Digest>,
) -> fmt::Result {
    if let Some(tag) = tag {
        write!(formatter, ":{tag}")?;
    }
    match digest {
        Some(digest) => write!(formatter, "@{digest}"),
        None => Ok(()),
    }
}

/// Either kind of name, as users write them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    Full(Reference),
    Short(ShortName),
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |reason| Error::InvalidReference { given: shorten(text), reason };
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        // A colon behind the last slash begins the tag; one before it belongs to the port.
        let last_component = name.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match name[last_component..].find(':') {
            Some(colon) => {
                let colon = last_component + colon;
                (&name[..colon], Some(&name[colon + 1..]))
            }
            None => (name, None),
        };
        let (host, repository) = match name.split_once('/') {
            Some((host, rest)) if is_host(host) => (Some(host), rest),
            _ => (None, name),
        };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        if host.is_some_and(|host| !host.bytes().all(fits)) {
            return Err(invalid("the host has a character that no host name has"));
        }
        if name.is_empty() {
            return Err(invalid("it is empty"));
        }
        if repository.len() > REPOSITORY_BYTES {
            return Err(invalid("the repository name is longer than 255 bytes"));
        }
        if !repository.split('/').all(is_component) {
            return Err(invalid(
                "repository parts are lower-case letters and digits, joined by single dots, \
                 dashes or one or two underscores",
            ));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid("a tag has 1 to 128 letters, digits, dots, dashes, underscores"));
        }
        let tag = match (tag, digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, None) => Some("latest".to_owned()),
            (None, Some(_)) => None,
        };
        let repository = repository.to_owned();
        Ok(match host {
            Some(host) => Self::Full(Reference { host: host.to_owned(), repository, tag, digest }),
            None => Self::Short(ShortName { repository, tag, digest }),
        })
    }
}

/// The first component is a host when it has a dot, a port, or is `localhost`.
fn is_host(component: &str) -> bool {
    component == "localhost" || component.contains(['.', ':'])
}

fn is_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(*first) || !alphanumeric(*last) {
        return false;
    }
    // Separators: one dot, one or two underscores, any run of dashes.
    bytes
        .split(|byte| alphanumeric(*byte))
        .all(|run| matches!(run, b"" | b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-'))
}

/// Whether `text` can be a tag (distribution spec: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`).
fn is_tag(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= TAG_BYTES
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_names_out() {
        let digest = Digest::of(b"x");
        for (text, expected) in [
            ("registry.example/debian:12", "registry.example/debian:12".to_owned()),
            ("localhost/b", "localhost/b:latest".to_owned()),
            ("UP.example/b", "UP.example/b:latest".to_owned()),
            ("host:5000/a/b__c", "host:5000/a/b__c:latest".to_owned()),
            ("r.example/a@DIGEST", format!("r.example/a@{digest}")),
            ("r.example/a:t@DIGEST", format!("r.example/a:t@{digest}")),
        ] {
            let text = text.replace("DIGEST", &digest.to_string());
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn short_names_are_told_apart_and_refused() {
        let digest = Digest::of(b"x");
        for (text, expected) in [
            ("debian", "debian:latest".to_owned()),
            ("debian:12", "debian:12".to_owned()),
            ("a/b:1", "a/b:1".to_owned()),
            ("a@DIGEST", format!("a@{digest}")),
            // Without a slash there is no host, whatever the name looks like.
            ("registry.example:5000", "registry.example:5000".to_owned()),
            ("localhost", "localhost:latest".to_owned()),
        ] {
            let text = text.replace("DIGEST", &digest.to_string());
            let Name::Short(name) = text.parse().unwrap() else { panic!("{text}") };
            assert_eq!(name.to_string(), expected);
            let within = name.within("registry.example:1/").unwrap();
            assert_eq!(within.to_string(), format!("registry.example:1/{expected}"));
            let error = text.parse::<Reference>().unwrap_err();
            assert!(matches!(error, Error::ShortName { .. }), "{text}: {error}");
            let hint = error.hint().unwrap();
            assert!(hint.ends_with(&format!("docker://registry.example/{expected}")), "{hint}");
        }
    }

    #[test]
    fn refuses_malformed_names() {
        for text in [
            "",
            ":tag",
            "/a",
            "a//b",
            "A",
            "UP/a",
            "h.example/UP",
            "a:",
            "a:-x",
            "a@",
            "a@sha256:00",
            "a/../b",
            "h.example/a..b",
            "h.example/a___b",
            "ho st.x/a",
            "h.example/",
            "a b",
            "h.example/a?x=1",
            "user@h.example/a",
            "h.example/a:t/../x",
        ] {
            let error = text.parse::<Name>().unwrap_err();
            let malformed =
                matches!(error, Error::InvalidReference { .. } | Error::InvalidDigest { .. });
            assert!(malformed, "{text}: {error}");
        }
    }

    #[test]
    fn version_prefers_the_digest() {
        let digest = Digest::of(b"x");
        let reference: Reference = format!("h.example/a:t@{digest}").parse().unwrap();
        assert_eq!(reference.version(), digest.to_string());
        assert_eq!("h.example/a:t".parse::<Reference>().unwrap().version(), "t");
    }
}
