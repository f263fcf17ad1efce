//! `WWW-Authenticate`: how a registry says which token it wants (RFC 9110 § 11, distribution
//! token specification). A pure parser of one header value.

use crate::digest::shorten;

/// Largest header value that is looked at, in bytes.
const CHALLENGE_BYTES: usize = 8 << 10;

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password with each request.
    Basic,
    /// A token from `realm`.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// Reads one challenge. Registries send exactly one per header line.
    pub(super) fn parse(value: &str) -> Result<Self, String> {
        let unknown = || format!("it asks for an unknown login: {:?}", shorten(value));
        if value.len() > CHALLENGE_BYTES {
            return Err(unknown());
        }
        let (scheme, rest) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Ok(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(unknown());
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        for (name, value) in parameters(rest).ok_or_else(unknown)? {
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                "scope" => scope = Some(value),
                _ => {}
            }
        }
        let realm = realm.ok_or_else(unknown)?;
        Ok(Self::Bearer { realm, service, scope })
    }
}

/// `name=token` and `name="quoted"` joined by commas.
fn parameters(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    loop {
        text = text.trim_start_matches([' ', '\t', ',']);
        if text.is_empty() {
            return Some(found);
        }
        let (name, rest) = text.split_once('=')?;
        let value;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut content = String::new();
            let mut characters = quoted.char_indices();
            let end = loop {
                match characters.next()? {
                    (at, '"') => break at,
                    (_, '\\') => content.push(characters.next()?.1),
                    (_, character) => content.push(character),
                }
            };
            value = content;
            text = &quoted[end + 1..];
        } else {
            let end = rest.find([',', ' ']).unwrap_or(rest.len());
            value = rest[..end].to_owned();
            text = &rest[end..];
        }
        found.push((name.trim().to_owned(), value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_registries_send() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        };
        for (value, expected) in [
            ("Basic realm=\"x\"", Challenge::Basic),
            ("basic", Challenge::Basic),
            (
                r#"Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push""#,
                bearer("https://a/t", Some("s"), Some("repository:a/b:pull,push")),
            ),
            (r#"bearer Realm=x , error="a\"b""#, bearer("x", None, None)),
        ] {
            assert_eq!(Challenge::parse(value).unwrap(), expected, "{value}");
        }
        for value in
            ["", "Digest realm=\"x\"", "Bearer", "Bearer service=\"x\"", "Bearer realm=\"x"]
        {
            assert!(Challenge::parse(value).is_err(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text: String) {
            let _ = Challenge::parse(&text);
            let _ = Challenge::parse(&format!("Bearer {text}"));
        }
    }
}
