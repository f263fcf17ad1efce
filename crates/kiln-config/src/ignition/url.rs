//! URLs of resources: which schemes a version knows, and whether one is well formed.
//!
//! Only what decides between "can be fetched" and "never can" is looked at; the client that fetches
//! takes the URL apart by itself. A crate for URLs was dropped: it would normalise what the user wrote,
//! and knows neither `arn:` nor which version brought which scheme.

use super::data::Fault;
use crate::ignition::config::Version;

/// How bytes are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the schemes' own names")]
pub enum Scheme {
    Data,
    Http,
    Https,
    Tftp,
    S3,
    Gs,
    Arn,
    Oci,
}

/// Every scheme, with the version that brought it. `oci` is Kiln's own and works with each version.
pub const SCHEMES: [(&str, Scheme, Version); 8] = [
    ("data", Scheme::Data, Version::V3_0),
    ("http", Scheme::Http, Version::V3_0),
    ("https", Scheme::Https, Version::V3_0),
    ("tftp", Scheme::Tftp, Version::V3_0),
    ("s3", Scheme::S3, Version::V3_0),
    ("gs", Scheme::Gs, Version::V3_2),
    ("arn", Scheme::Arn, Version::V3_4),
    ("oci", Scheme::Oci, Version::V3_0),
];

impl Scheme {
    /// Whether it belongs to a cloud's store, which Kiln reads without credentials.
    #[must_use]
    pub fn is_store(self) -> bool {
        matches!(self, Self::S3 | Self::Gs | Self::Arn)
    }
}

/// The scheme of a URL in lower case, where it has one (RFC 3986 §3.1).
#[must_use]
pub fn scheme(url: &str) -> Option<String> {
    let (scheme, _) = url.split_once(':')?;
    let mut letters = scheme.chars();
    let is_scheme = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter));
    is_scheme.then(|| scheme.to_ascii_lowercase())
}

/// Checks the URL of a resource; an empty one is an empty file and has no scheme.
///
/// # Errors
/// It is malformed, or its scheme is none that `version` knows.
pub fn check(url: &str, version: Version) -> Result<Option<Scheme>, Fault> {
    if url.is_empty() {
        return Ok(None);
    }
    let Some(name) = scheme(url) else {
        return Err(bad(url, "has no scheme"));
    };
    let Some((_, scheme, first)) = SCHEMES.into_iter().find(|(known, ..)| *known == name) else {
        return Err(Fault::new("url-scheme", format!("`{name}` is no scheme that can be fetched")));
    };
    if version < first {
        let message = format!("the scheme `{name}` does not exist in version {}", version.name());
        return Err(Fault::new("url-scheme", message));
    }
    match scheme {
        Scheme::Data => {}
        Scheme::Arn => arn(url)?,
        _ => hierarchical(url)?,
    }
    if matches!(scheme, Scheme::S3 | Scheme::Arn) {
        let query = url.split_once('?').map(|(_, query)| query).unwrap_or_default();
        let version_id = query.split('&').find_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name == "versionId").then_some(value)
        });
        if version_id == Some("") {
            return Err(bad(url, "has an empty `versionId`"));
        }
    }
    if matches!(scheme, Scheme::S3 | Scheme::Gs | Scheme::Oci) && path(url).is_empty() {
        return Err(bad(url, "names no object behind the host"));
    }
    Ok(Some(scheme))
}

/// Checks the URL of a server that is no resource, where only http and https will do.
///
/// # Errors
/// It is malformed or has another scheme.
pub fn check_http(url: &str) -> Result<Scheme, Fault> {
    let found = match scheme(url).as_deref() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        Some(other) => {
            let message = format!("the scheme has to be http or https, not `{other}`");
            return Err(Fault::new("url-scheme", message));
        }
        None => return Err(bad(url, "has no scheme")),
    };
    hierarchical(url)?;
    Ok(found)
}

/// The host and the port of `scheme://[user@]host[:port]/…`; the brackets of an IPv6 address stay.
#[must_use]
pub fn host(url: &str) -> Option<(&str, Option<&str>)> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if authority.starts_with('[') {
        let end = authority.find(']')?;
        let (host, port) = authority.split_at_checked(end + 1)?;
        return Some((host, port.strip_prefix(':')));
    }
    Some(match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    })
}

/// A URL as it may be shown: no password, no query, no contents, and not endless.
#[must_use]
pub fn shown(url: &str) -> String {
    /// Characters; enough for host and path in one line.
    const LONGEST: usize = 100;
    if scheme(url).as_deref() == Some("data") {
        return "data:…".to_owned();
    }
    let mut text = url.split(['?', '#']).next().unwrap_or_default().to_owned();
    if let Some((start, rest)) = text.split_once("://") {
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if let Some((_, host)) = authority.rsplit_once('@') {
            text = format!("{start}://{host}{path}");
        }
    }
    text.retain(|letter| !letter.is_control());
    if text.chars().count() > LONGEST {
        text = text.chars().take(LONGEST).chain(['…']).collect();
    }
    text
}

/// A key of an entry as it may be shown: URLs as [`shown`] does, all else without control characters
/// and not endless.
#[must_use]
pub fn shown_word(word: &str) -> String {
    if word.contains("://") || scheme(word).as_deref() == Some("data") {
        return shown(word);
    }
    let clean: String = word.chars().filter(|letter| !letter.is_control()).take(101).collect();
    match clean.char_indices().nth(100) {
        Some((end, _)) => clean.split_at(end).0.to_owned() + "…",
        None => clean,
    }
}

fn bad(url: &str, what: &str) -> Fault {
    Fault::new("bad-url", format!("the URL `{}` {what}", shown(url)))
}

/// What stands behind the host, without its slash, query and fragment.
fn path(url: &str) -> &str {
    let rest = url.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    rest.split_once('/').map(|(_, path)| path).unwrap_or_default()
}

fn hierarchical(url: &str) -> Result<(), Fault> {
    if url.chars().any(char::is_control) {
        return Err(bad(url, "has control characters"));
    }
    let (host, port) = host(url).unwrap_or_default();
    if host.is_empty() {
        return Err(bad(url, "names no host"));
    }
    if host.chars().any(|letter| letter.is_whitespace() || "<>\"\\^`{|}".contains(letter)) {
        return Err(bad(url, "has characters in its host that no host has"));
    }
    if port.is_some_and(|port| !port.is_empty() && port.parse::<u16>().is_err()) {
        return Err(bad(url, "has a port that is no number up to 65535"));
    }
    let mut escapes = url.split('%').skip(1);
    let is_escape = |text: &str| {
        text.get(..2).is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    if !escapes.all(is_escape) {
        return Err(bad(url, "has `%` without two hex digits"));
    }
    Ok(())
}

/// `arn:PARTITION:s3:REGION:ACCOUNT:BUCKET/OBJECT`, or with `accesspoint/NAME/object/OBJECT` behind the
/// account, which then needs region and account.
fn arn(url: &str) -> Result<(), Fault> {
    let text = url.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [_, partition, service, region, account, resource] = parts.as_slice() else {
        return Err(bad(url, "has fewer than the six parts of an ARN"));
    };
    if partition.is_empty() {
        return Err(bad(url, "has no partition"));
    }
    if *service != "s3" {
        return Err(bad(url, "names a service that is not s3"));
    }
    let pieces: Vec<&str> = resource.split('/').collect();
    if let ["accesspoint", rest @ ..] = pieces.as_slice() {
        return match rest {
            [name, "object", object, ..] if !name.is_empty() && !object.is_empty() => {
                if region.is_empty() || account.is_empty() {
                    return Err(bad(url, "names an access point without region and account"));
                }
                Ok(())
            }
            _ => Err(bad(url, "has to end in `accesspoint/NAME/object/OBJECT`")),
        };
    }
    match pieces.as_slice() {
        [bucket, object, ..] if !bucket.is_empty() && !object.is_empty() => Ok(()),
        _ => Err(bad(url, "names no bucket and object")),
    }
}

#[cfg(test)]
mod tests {
    use super::{check, host, shown};
    use crate::ignition::config::Version;

    #[test]
    fn urls_are_taken_or_refused() {
        for (url, code) in [
            ("", None),
            ("http://example.com/a b", None),
            ("HTTPS://user:secret@example.com:8443/x?y#z", None),
            ("http://[::1]:80/x", None),
            ("s3://bucket/key?versionId=7", None),
            ("arn:aws:s3:::bucket/dir/key", None),
            ("arn:aws:s3:eu-1:42:accesspoint/name/object/key", None),
            ("oci://registry.example/config:1", None),
            ("http:///x", Some("bad-url")),
            ("http://exa mple/x", Some("bad-url")),
            ("http://example.com:99999/x", Some("bad-url")),
            ("http://example.com/%zz", Some("bad-url")),
            ("http://example.com/\n", Some("bad-url")),
            ("example.com/x", Some("bad-url")),
            ("s3://bucket", Some("bad-url")),
            ("s3://bucket/key?versionId=", Some("bad-url")),
            ("arn:aws:s3:::bucket", Some("bad-url")),
            ("arn:aws:ec2:::bucket/key", Some("bad-url")),
            ("arn:aws:s3:::accesspoint/name/object/key", Some("bad-url")),
            ("ftp://example.com/x", Some("url-scheme")),
        ] {
            let found = check(url, Version::V3_6).err().map(|fault| fault.code);
            assert_eq!(found, code, "{url}");
        }
    }

    #[test]
    fn hosts_are_found_and_secrets_are_not_shown() {
        assert_eq!(host("http://u@[::1]:80/x"), Some(("[::1]", Some("80"))));
        assert_eq!(host("http://a.example/x:9"), Some(("a.example", None)));
        assert_eq!(shown("https://user:pw@a.example/x?token=1"), "https://a.example/x");
        assert_eq!(shown("data:,secret"), "data:…");
    }
}
