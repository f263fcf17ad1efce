//! The distribution API of one repository: manifests, blobs and the tokens for them.

use std::fmt;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use ureq::Body;
use ureq::http::{Response, header};

use super::auth::Login;
use super::cache::Partial;
use super::challenge::Challenge;
use super::retry::{Failure, retry};
use super::transport::{Headers, Transport, broken, unusable};
use crate::media_type::{DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::{Digest, Error};

/// Bytes read from a connection at once.
const BUFFER_BYTES: usize = 256 << 10;
/// Largest answer of a token server, in bytes; tokens must fit into a request header.
const TOKEN_BYTES: u64 = 64 << 10;

/// A repository at one host.
pub(super) struct Repository {
    pub(super) transport: Arc<Transport>,
    pub(super) name: String,
    login: Option<Login>,
    /// The `Authorization` header that worked last.
    authorization: Mutex<Option<String>>,
    /// What is asked of a token server where the registry does not say it: `pull` or `pull,push`.
    pub(super) actions: &'static str,
    /// Whether it could not be reached.
    is_down: AtomicBool,
}

impl fmt::Debug for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Repository({:?}, {})", self.transport, self.name)
    }
}

impl Repository {
    pub(super) fn new(transport: Arc<Transport>, name: String, login: Option<Login>) -> Self {
        let is_down = AtomicBool::new(false);
        let authorization = Mutex::default();
        Self { transport, name, login, authorization, actions: "pull", is_down }
    }

    /// Whether an earlier request found nobody there, or somebody who is broken.
    pub(super) fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed)
    }

    /// Remembers a failure that says something about the place and not only about the request.
    pub(super) fn note(&self, error: &Error) {
        if matches!(error, Error::Transport { .. } | Error::Status { status: 429 | 500.., .. }) {
            self.is_down.store(true, Ordering::Relaxed);
        }
    }

    /// The bytes and media type of a manifest or index, by tag or digest.
    pub(super) fn manifest(&self, version: &str, limit: u64) -> Result<(Vec<u8>, String), Error> {
        let url = format!("{}/v2/{}/manifests/{version}", self.transport.base, self.name);
        let accept = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST].join(", ");
        retry(&self.transport.network, || {
            let response = self.get(&url, Some(&accept), 0, None)?;
            let media_type = response.headers().get(header::CONTENT_TYPE);
            let media_type = media_type.and_then(|value| value.to_str().ok()).unwrap_or("");
            let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
            let bytes = read_bounded(response, &url, limit)?;
            if let Ok(expected) = version.parse::<Digest>() {
                let actual = Digest::of(&bytes);
                if actual != expected {
                    let location = format!("manifest {url}");
                    return Err(Error::DigestMismatch { location, expected, actual }.into());
                }
            }
            Ok((bytes, media_type))
        })
    }

    /// Completes `partial`, from where it is, and checks it.
    pub(super) fn blob(&self, partial: &mut Partial) -> Result<(), Error> {
        let url = format!("{}/v2/{}/blobs/{}", self.transport.base, self.name, partial.digest);
        retry(&self.transport.network, || {
            let (start, furthest) = (partial.have, partial.furthest);
            self.blob_once(&url, partial).map_err(|mut failure| {
                failure.progressed = partial.furthest > furthest;
                // Bytes of an earlier attempt may be what is wrong; they are gone now.
                let resumed = start > 0 && matches!(failure.error, Error::DigestMismatch { .. });
                failure.passing |= resumed;
                failure
            })
        })
    }

    fn blob_once(&self, url: &str, partial: &mut Partial) -> Result<(), Failure> {
        if partial.have < partial.size || partial.size == 0 {
            let response = self.get(url, None, partial.have, None)?;
            let continues = response.status().as_u16() == 206
                && continues_at(&response, partial.have).unwrap_or(false);
            if !continues && partial.have > 0 {
                if response.status().as_u16() == 206 {
                    return Err(unusable(url, "it sends another range than asked for").into());
                }
                // The server does not know ranges and sends all again.
                partial.reset()?;
            }
            let limit = &self.transport.network.rate_limit;
            let mut body = limit.reader(response.into_body().into_reader());
            let mut buffer = vec![0; BUFFER_BYTES];
            loop {
                match body.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => partial.append(&buffer[..read])?,
                    Err(error) => return Err(broken(url, error)),
                }
            }
        }
        let short = partial.have < partial.size;
        // A body cut where its server meant to end it: the rest may still come.
        partial.check().map_err(|error| Failure { passing: short, ..error.into() })
    }

    /// GETs with the login the registry asks for.
    pub(super) fn get(
        &self,
        url: &str,
        accept: Option<&str>,
        from: u64,
        until: Option<u64>,
    ) -> Result<Response<Body>, Failure> {
        self.authorised(url, |authorization| {
            let headers = Headers { accept, authorization, from, until, ..Headers::default() };
            self.transport.get(url, &headers)
        })
    }

    /// Calls with the login that the registry asks for, twice if it asks.
    pub(super) fn authorised(
        &self,
        url: &str,
        mut call: impl FnMut(Option<&str>) -> Result<Response<Body>, Failure>,
    ) -> Result<Response<Body>, Failure> {
        let known = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let response = call(known.as_deref())?;
        if response.status().as_u16() != 401 {
            return Ok(response);
        }
        let refused = || Error::Status {
            url: url.to_owned(),
            status: 401,
            message: match self.login {
                Some(_) => "the login was not accepted".into(),
                None => "a login is needed".into(),
            },
        };
        let mut challenges = response
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .map(Challenge::parse);
        let challenge = match (challenges.find(Result::is_ok), response.headers()) {
            (Some(Ok(challenge)), _) => challenge,
            (_, headers) => match headers.get(header::WWW_AUTHENTICATE) {
                Some(_) => return Err(unusable(url, "it asks for an unknown login").into()),
                None => return Err(refused().into()),
            },
        };
        let fresh = self.authorize(&challenge)?.ok_or_else(refused)?;
        let response = call(Some(&fresh))?;
        if response.status().as_u16() == 401 {
            return Err(refused().into());
        }
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
        Ok(response)
    }

    /// The `Authorization` header for a challenge; `None` where a login is needed and missing.
    fn authorize(&self, challenge: &Challenge) -> Result<Option<String>, Failure> {
        let basic = match &self.login {
            Some(Login::Basic(encoded)) => Some(format!("Basic {encoded}")),
            _ => None,
        };
        let Challenge::Bearer { realm, service, scope } = challenge else { return Ok(basic) };
        let own_scope = format!("repository:{}:{}", self.name, self.actions);
        let scope = scope.as_deref().unwrap_or(&own_scope);
        let mut query = format!("scope={}", encode(scope));
        if let Some(service) = service {
            query += &format!("&service={}", encode(service));
        }
        let response = match &self.login {
            Some(Login::Refresh(token)) => {
                let form = format!(
                    "grant_type=refresh_token&client_id=kiln&{query}&refresh_token={}",
                    encode(token)
                );
                self.transport.post(realm, &form)?
            }
            _ => {
                let joint = if realm.contains('?') { '&' } else { '?' };
                let headers = Headers { authorization: basic.as_deref(), ..Headers::default() };
                self.transport.get(&format!("{realm}{joint}{query}"), &headers)?
            }
        };
        if response.status().as_u16() == 401 {
            return Ok(None);
        }
        let bytes = read_bounded(response, realm, TOKEN_BYTES)?;
        let answer: TokenAnswer =
            crate::manifest::parse(&bytes, &format!("the token from {realm}"))?;
        let token = answer.token.or(answer.access_token).unwrap_or_default();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(unusable(realm, "its token is empty or unprintable").into());
        }
        Ok(Some(format!("Bearer {token}")))
    }
}

/// Older servers say `token`, OAuth says `access_token`.
#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

pub(super) fn read_bounded(
    response: Response<Body>,
    url: &str,
    limit: u64,
) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut body = response.into_body().into_reader().take(limit.saturating_add(1));
    body.read_to_end(&mut bytes).map_err(|error| broken(url, error))?;
    if bytes.len() as u64 > limit {
        let location = format!("the answer of {url}");
        let actual = bytes.len() as u64;
        return Err(Error::TooLarge { location, actual, limit, unit: "bytes" }.into());
    }
    Ok(bytes)
}

/// Whether `Content-Range: bytes START-END/TOTAL` begins at `start`.
pub(super) fn continues_at(response: &Response<Body>, start: u64) -> Option<bool> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let first = range.strip_prefix("bytes ")?.split('-').next()?;
    Some(first.parse::<u64>().ok()? == start)
}

/// Percent-encodes all but RFC 3986's unreserved characters.
pub(super) fn encode(text: &str) -> String {
    use fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encode("repository:a/b:pull x~"), "repository%3Aa%2Fb%3Apull%20x~");
    }
}
