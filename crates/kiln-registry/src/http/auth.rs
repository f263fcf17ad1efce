//! Logins from the files that podman and docker write (containers-auth.json(5)).
//!
//! Credential helpers are programs; running them is refused, because a build must work with an
//! empty PATH and must not start what a file in the home folder names. Helpers only matter for the
//! hosts they serve: a `credsStore` beside an anonymous pull is no error.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Error;
use crate::blob::Blob;
use crate::manifest::null_as_default;

/// Largest auth file, in bytes.
const AUTH_FILE_BYTES: u64 = 1 << 20;

/// How to log in at one registry. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// Name and password, already encoded for the Basic scheme.
    Basic(String),
    /// A token that buys access tokens (docker's `identitytoken`).
    Refresh(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Login(…)")
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthFile {
    #[serde(default, deserialize_with = "null_as_default")]
    auths: BTreeMap<String, Entry>,
    #[serde(default, deserialize_with = "null_as_default")]
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    identitytoken: Option<String>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Entry(…)")
    }
}

/// All auth files that exist.
#[derive(Debug)]
pub(super) struct Credentials(Vec<(PathBuf, AuthFile)>);

impl Credentials {
    pub(super) fn load(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut files = Vec::new();
        for path in paths.iter().filter(|path| path.exists()) {
            let bytes = Blob::open_file(path)?.read_all(AUTH_FILE_BYTES)?;
            files.push((path.clone(), parse(&bytes, path)?));
        }
        Ok(Self(files))
    }

    /// The login for `host/repository`: the longest matching key of the first file that has one.
    pub(super) fn find(&self, host: &str, repository: &str) -> Result<Option<Login>, Error> {
        for (path, file) in &self.0 {
            if let Some(helper) = file.cred_helpers.get(host) {
                return Err(Error::CredentialHelper {
                    host: host.to_owned(),
                    helper: helper.clone(),
                    path: path.clone(),
                });
            }
            let found = file
                .auths
                .iter()
                .filter_map(|(key, entry)| Some((closeness(key, host, repository)?, key, entry)))
                .max_by_key(|(closeness, ..)| *closeness);
            let Some((_, key, entry)) = found else { continue };
            let unusable = || Error::Configuration {
                path: path.clone(),
                reason: format!("the entry {:?} holds no login", crate::digest::shorten(key)),
            };
            return match (&entry.identitytoken, &entry.auth, &file.creds_store) {
                (Some(token), ..) if !token.is_empty() => Ok(Some(Login::Refresh(token.clone()))),
                (_, Some(auth), _) if is_base64(auth) => Ok(Some(Login::Basic(auth.clone()))),
                (_, _, Some(helper)) => Err(Error::CredentialHelper {
                    host: host.to_owned(),
                    helper: helper.clone(),
                    path: path.clone(),
                }),
                _ => Err(unusable()),
            };
        }
        Ok(None)
    }
}

/// The text is put into a header as it is, so nothing else may pass.
fn is_base64(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
}

/// How well a key fits this place, if at all; it is `host`, `host/name…`, or a URL of old. Longer
/// is closer, and the present form of a key counts more than the old one.
fn closeness(key: &str, host: &str, repository: &str) -> Option<(usize, bool)> {
    let stripped = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let is_present_form = stripped.is_none();
    let key = match stripped {
        // Old docker kept `https://host/v1/`; only its host counts.
        Some(rest) => rest.split('/').next().unwrap_or_default(),
        None => key.trim_end_matches('/'),
    };
    let place = format!("{host}/{repository}");
    let rest = place.strip_prefix(key)?;
    let fits = !key.is_empty() && (rest.is_empty() || rest.starts_with('/'));
    fits.then_some((key.len(), is_present_form))
}

fn parse(bytes: &[u8], path: &Path) -> Result<AuthFile, Error> {
    crate::manifest::parse(bytes, &format!("auth file {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(text: &str) -> Credentials {
        let path = Path::new("/auth.json");
        Credentials(vec![(path.to_owned(), parse(text.as_bytes(), path).unwrap())])
    }

    #[test]
    fn the_closest_entry_wins() {
        let found = credentials(
            r#"{"auths":{"h.example":{"auth":"aG9zdA=="},"h.example/a":{"auth":"YQ=="},
                "https://old.example/v1/":{"auth":"b2xk"},
                "https://h.example/v1/":{"auth":"b2xkZXI="},
                "http://older.example:5000":{"auth":"cG9ydA=="},
                "t.example":{"auth":"","identitytoken":"secret"}},"credHelpers":null}"#,
        );
        let basic = |text: &str| Some(Login::Basic(text.into()));
        for (host, repository, expected) in [
            ("h.example", "b", basic("aG9zdA==")),
            ("h.example", "a/x", basic("YQ==")),
            ("h.example", "ab", basic("aG9zdA==")),
            ("h.example.evil", "a", None),
            ("old.example", "a", basic("b2xk")),
            ("old.example", "v1/a", basic("b2xk")),
            ("older.example:5000", "a", basic("cG9ydA==")),
            ("older.example", "a", None),
            ("t.example", "a", Some(Login::Refresh("secret".into()))),
        ] {
            assert_eq!(found.find(host, repository).unwrap(), expected, "{host}/{repository}");
        }
    }

    #[test]
    fn helpers_are_named_where_they_matter() {
        let found = credentials(
            r#"{"auths":{"s.example":{}},"credHelpers":{"h.example":"vault"},"credsStore":"pass"}"#,
        );
        for (host, helper) in [("h.example", "vault"), ("s.example", "pass")] {
            let message = found.find(host, "a").unwrap_err().to_string();
            assert!(message.contains(helper) && message.contains("/auth.json"), "{message}");
        }
        assert_eq!(found.find("other.example", "a").unwrap(), None);
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let found = credentials(r#"{"auths":{"h":{"auth":"c2VjcmV0","identitytoken":"tok"}}}"#);
        let shown = format!("{found:?} {:?}", found.find("h", "a").unwrap());
        assert!(!shown.contains("c2VjcmV0") && !shown.contains("tok"), "{shown}");
    }
}
