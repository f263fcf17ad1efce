//! One HTTP request: schemes, redirects, time-outs. Knows nothing of registries.
//!
//! Redirects are followed here and not by the HTTP library, to hold the two rules that matter: the
//! `Authorization` header and client certificates stay with their host, and no redirect leads to
//! plain HTTP unless that host was listed.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use ureq::http::{Method, Request, Response, header};
use ureq::{Agent, Body};

use super::certificates::tls_config;
use super::proxy::Selector;
use super::retry::{Failure, is_passing, parse_retry_after};
use crate::digest::shorten;
use crate::error::TlsFault;
use crate::{Error, Network};

/// Redirects followed for one request.
const REDIRECTS: usize = 5;
/// Bytes of a failure's body that are looked at for a message.
const MESSAGE_BYTES: u64 = 4096;
/// What servers see.
const USER_AGENT: &str = concat!("kiln/", env!("CARGO_PKG_VERSION"));

/// Headers of one request.
#[derive(Default, Clone)]
pub(super) struct Headers<'a> {
    pub(super) accept: Option<&'a str>,
    pub(super) authorization: Option<&'a str>,
    /// First byte wanted, zero for all.
    pub(super) from: u64,
    /// First byte no longer wanted; `None` for all to the end.
    pub(super) until: Option<u64>,
    /// Further lines, which no redirect takes along.
    pub(super) extra: &'a [(String, String)],
    /// For the whole transfer.
    pub(super) patience: Option<Duration>,
}

/// The body of a request.
#[derive(Clone, Copy)]
pub(super) struct Payload<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) media_type: &'a str,
    /// Where the bytes belong in what is sent piece by piece.
    pub(super) start: Option<u64>,
    /// Further header lines.
    pub(super) extra: &'a [(String, String)],
    /// For the whole exchange.
    pub(super) patience: Option<Duration>,
}

impl Headers<'_> {
    /// One range and never several: some registries answer those with everything, some with 501.
    fn range(&self) -> Option<String> {
        match self.until {
            Some(until) => Some(format!("bytes={}-{}", self.from, until.saturating_sub(1))),
            None if self.from > 0 => Some(format!("bytes={}-", self.from)),
            None => None,
        }
    }
}

/// Connections to one registry host and whatever it redirects to.
pub(super) struct Transport {
    /// `https://host` or, where allowed, `http://host`.
    pub(super) base: String,
    agent: Agent,
    /// For other hosts: without this host's certificates.
    foreign: Agent,
    proxies: Selector,
    pub(super) network: Network,
}

impl fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Transport").field(&self.base).finish()
    }
}

impl Transport {
    pub(super) fn new(host: &str, network: &Network) -> Result<Self, Error> {
        let agent = |host| {
            let builder = Agent::config_builder()
                // Each request has its own; the library must not look at the environment.
                .proxy(None)
                .tls_config(tls_config(host, network)?)
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .user_agent(USER_AGENT)
                .timeout_connect(Some(network.connect_timeout))
                .timeout_recv_response(Some(network.response_timeout))
                .timeout_per_read(Some(network.read_timeout));
            Ok(Agent::new_with_config(builder.build()))
        };
        let scheme = if is_listed(host, network) { "http" } else { "https" };
        Ok(Self {
            base: format!("{scheme}://{host}"),
            agent: agent(Some(host))?,
            foreign: agent(None)?,
            proxies: Selector::new(&network.proxies)?,
            network: network.clone(),
        })
    }

    /// GETs `url`, through redirects. Answers from 400 on are failures.
    pub(super) fn get(&self, url: &str, headers: &Headers<'_>) -> Result<Response<Body>, Failure> {
        let mut url = url.to_owned();
        let mut headers = headers.clone();
        for _ in 0..=REDIRECTS {
            let origin = self.allowed_origin(&url)?.to_owned();
            let proxy = self.proxies.for_origin(&origin).cloned();
            let mut request = self
                .agent_for(&origin)
                .get(&url)
                .config()
                .proxy(proxy)
                .timeout_global(headers.patience)
                .build();
            for (name, value) in headers.extra {
                request = request.header(name, value);
            }
            if let Some(accept) = headers.accept {
                request = request.header(header::ACCEPT, accept);
            }
            if let Some(authorization) = headers.authorization {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            if let Some(range) = headers.range() {
                request = request.header(header::RANGE, range);
            }
            let response = request.call().map_err(|error| broken(&url, error))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return checked(&url, response, |status| matches!(status, 200 | 206));
            }
            let target = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok());
            let target = match target {
                Some(path) if path.starts_with('/') && !path.starts_with("//") => {
                    format!("{origin}{path}")
                }
                Some(target) if origin_of(target).is_some() => target.to_owned(),
                _ => return Err(unusable(&url, "it redirects to nowhere").into()),
            };
            if origin_of(&target) != Some(&origin) {
                headers.authorization = None;
            }
            headers.extra = &[];
            url = target;
        }
        Err(unusable(&url, "it redirects too often").into())
    }

    /// POSTs a form; redirects are failures, because a form may hold a secret.
    pub(super) fn post(&self, url: &str, form: &str) -> Result<Response<Body>, Failure> {
        let origin = self.allowed_origin(url)?;
        let proxy = self.proxies.for_origin(origin).cloned();
        let request = self
            .agent_for(origin)
            .post(url)
            .config()
            .proxy(proxy)
            .build()
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let response = request.send(form).map_err(|error| broken(url, error))?;
        checked(url, response, |status| matches!(status, 200 | 206))
    }

    /// Sends a request that changes something or only asks for headers. Redirects are answers here
    /// and not followed: nobody else gets what is pushed. `expected` are the good answers, 401 is
    /// always given back. Another host gets no `Authorization`.
    pub(super) fn send(
        &self,
        method: Method,
        url: &str,
        authorization: Option<&str>,
        payload: Option<Payload<'_>>,
        expected: fn(u16) -> bool,
    ) -> Result<Response<Body>, Failure> {
        let origin = self.allowed_origin(url)?;
        let proxy = self.proxies.for_origin(origin).cloned();
        let mut request = Request::builder().method(method).uri(url);
        if let Some(authorization) = authorization.filter(|_| origin == self.base) {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let agent = self.agent_for(origin);
        let malformed = |_| unusable(url, "it is no HTTP address");
        let response = match payload {
            Some(payload) => {
                request = request
                    .header(header::CONTENT_TYPE, payload.media_type)
                    .header(header::CONTENT_LENGTH, payload.bytes.len());
                for (name, value) in payload.extra {
                    request = request.header(name, value);
                }
                if let Some(start) = payload.start {
                    let last = start.saturating_add(payload.bytes.len() as u64).saturating_sub(1);
                    request = request.header(header::CONTENT_RANGE, format!("{start}-{last}"));
                }
                let request = request.body(payload.bytes).map_err(malformed)?;
                let request = agent.configure_request(request).proxy(proxy);
                agent.run(request.timeout_global(payload.patience).build())
            }
            None => {
                let request = request.body(()).map_err(malformed)?;
                agent.run(agent.configure_request(request).proxy(proxy).build())
            }
        };
        checked(url, response.map_err(|error| broken(url, error))?, expected)
    }

    /// The address that a `Location` header means.
    pub(super) fn resolve(&self, url: &str, location: &str) -> Result<String, Error> {
        let origin = self.allowed_origin(url)?;
        match location {
            path if path.starts_with('/') && !path.starts_with("//") => {
                Ok(format!("{origin}{path}"))
            }
            target => self.allowed_origin(target).map(|_| target.to_owned()),
        }
    }

    fn agent_for(&self, origin: &str) -> &Agent {
        if origin == self.base { &self.agent } else { &self.foreign }
    }

    /// Scheme and host of a URL, if it may be talked to.
    fn allowed_origin<'a>(&self, url: &'a str) -> Result<&'a str, Error> {
        let origin = origin_of(url).ok_or_else(|| unusable(url, "it is no HTTP address"))?;
        match origin.strip_prefix("http://") {
            Some(host) if !is_listed(host, &self.network) => {
                Err(unusable(url, "plain HTTP is not allowed for this host"))
            }
            _ => Ok(origin),
        }
    }
}

fn is_listed(host: &str, network: &Network) -> bool {
    network.plain_http.iter().any(|listed| listed == host)
}

/// `scheme://authority` of an absolute URL without user information.
fn origin_of(url: &str) -> Option<&str> {
    let scheme = ["https://", "http://"].into_iter().find(|scheme| url.starts_with(scheme))?;
    let end = url[scheme.len()..].find(['/', '?', '#', '\\']).map(|at| at + scheme.len());
    let origin = &url[..end.unwrap_or(url.len())];
    let authority = &origin[scheme.len()..];
    (!authority.is_empty() && !authority.contains('@')).then_some(origin)
}

pub(super) fn unusable(url: &str, reason: &str) -> Error {
    Error::Protocol { url: without_query(url), reason: reason.to_owned() }
}

/// Redirect targets carry signatures in their query, which belong in no log.
fn without_query(url: &str) -> String {
    shorten(url.split(['?', '#']).next().unwrap_or_default())
}

/// A connection that could not be made or broke; worth another attempt unless TLS is the reason.
pub(super) fn broken(
    url: &str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Failure {
    let source = error.into();
    let passing = TlsFault::of(&*source).is_none();
    let error = Error::Transport { url: without_query(url), source };
    Failure { error, passing, retry_after: None, progressed: false }
}

fn checked(
    url: &str,
    response: Response<Body>,
    expected: fn(u16) -> bool,
) -> Result<Response<Body>, Failure> {
    let status = response.status().as_u16();
    // At 401 the caller reads the challenge.
    if expected(status) || status == 401 {
        return Ok(response);
    }
    let after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = after.and_then(parse_retry_after);
    let mut body = Vec::new();
    // A message is a courtesy; its lack changes nothing.
    let _ = response.into_body().into_reader().take(MESSAGE_BYTES).read_to_end(&mut body);
    let error = Error::Status { url: without_query(url), status, message: message(&body) };
    Err(Failure { error, passing: is_passing(status), retry_after, progressed: false })
}

/// The first message of a distribution error document, or nothing.
fn message(body: &[u8]) -> String {
    let document: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = document.as_ref().and_then(|d| d.pointer("/errors/0/message")?.as_str());
    let printable = |c: &char| !c.is_control();
    shorten(&message.unwrap_or_default().chars().filter(printable).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_end_before_the_path() {
        for (url, expected) in [
            ("https://a.example/x", Some("https://a.example")),
            ("https://a.example:1?x", Some("https://a.example:1")),
            ("http://a.example", Some("http://a.example")),
            ("https://user@a.example/", None),
            ("https:///x", None),
            ("ftp://a.example", None),
            ("https://a.example\\@b.example", Some("https://a.example")),
        ] {
            assert_eq!(origin_of(url), expected, "{url}");
        }
    }

    #[test]
    fn messages_are_found_and_cleaned() {
        let body = br#"{"errors":[{"code":"X","message":"no\u001b[31m such"}]}"#;
        assert_eq!(message(body), "no[31m such");
        assert_eq!(message(b"<html>"), "");
    }
}
