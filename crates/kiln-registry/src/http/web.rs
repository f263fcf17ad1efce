//! One document of the web by its address, with the transport of registries; and one that is sent.
//!
//! Configuration on a machine comes from addresses that its author wrote down. Plain HTTP is spoken
//! only where the address itself says so, and then with that host alone; headers of the request carry
//! tokens and are not sent on by redirects. A client of its own for this was dropped: proxies,
//! certificates and retries would have to be right twice.

use std::io::Read;
use std::time::Duration;

use ureq::Body;
use ureq::http::{Method, Response};

use super::retry::{Failure, retry};
use super::transport::{Headers, Payload, Transport, broken, unusable};
use crate::{Error, Network};

/// What is asked for.
#[derive(Clone, Copy)]
pub struct WebRequest<'a> {
    /// Address, `https://` or `http://`.
    pub url: &'a str,
    /// Header lines that are sent to this address only.
    pub headers: &'a [(String, String)],
    /// For the whole transfer; `None` is without end.
    pub patience: Option<Duration>,
    /// Largest document, in bytes.
    pub limit: u64,
}

impl std::fmt::Debug for WebRequest<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Headers hold tokens, and so may the query of the address.
        formatter.debug_struct("WebRequest").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// Gets one document whole.
///
/// # Errors
/// The address is none, the server refuses, or the document is larger than the limit.
pub fn get(request: &WebRequest<'_>, network: &Network) -> Result<Vec<u8>, Error> {
    let transport = transport(request, network)?;
    let headers =
        Headers { extra: request.headers, patience: request.patience, ..Headers::default() };
    retry(network, || {
        let response = transport.get(request.url, &headers)?;
        if response.status().as_u16() == 401 {
            return Err(refused(request.url).into());
        }
        whole(request, response)
    })
}

/// How a document is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendMethod {
    /// POST (RFC 9110, section 9.3.3).
    Post,
    /// PUT (RFC 9110, section 9.3.4).
    Put,
}

/// Sends a document once, and gives the answer. Redirects are failures: nobody else gets what is sent.
///
/// # Errors
/// The address is none, the server refuses, or its answer is larger than the limit.
pub fn send(
    method: SendMethod,
    request: &WebRequest<'_>,
    media_type: &str,
    bytes: &[u8],
    network: &Network,
) -> Result<Vec<u8>, Error> {
    let transport = transport(request, network)?;
    let method = match method {
        SendMethod::Post => Method::POST,
        SendMethod::Put => Method::PUT,
    };
    let payload = Payload {
        bytes,
        media_type,
        start: None,
        extra: request.headers,
        patience: request.patience,
    };
    let is_good = |status| (200..300).contains(&status);
    let response = transport.send(method, request.url, None, Some(payload), is_good);
    let response = response.map_err(|failure| failure.error)?;
    if response.status().as_u16() == 401 {
        return Err(refused(request.url));
    }
    whole(request, response).map_err(|failure| failure.error)
}

/// The connection to the host of an address.
fn transport(request: &WebRequest<'_>, network: &Network) -> Result<Transport, Error> {
    let (scheme, rest) = request.url.split_once("://").unwrap_or(("", request.url));
    let host = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let mut network = network.clone();
    network.plain_http = match scheme {
        "https" => Vec::new(),
        "http" => vec![host.to_owned()],
        _ => return Err(unusable(request.url, "it is no HTTP address")),
    };
    Transport::new(host, &network)
}

fn refused(url: &str) -> Error {
    let url = url.split(['?', '#']).next().unwrap_or_default().to_owned();
    Error::Status { url, status: 401, message: String::new() }
}

/// The body of an answer, within the limit.
fn whole(request: &WebRequest<'_>, response: Response<Body>) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let body = response.into_body().into_reader();
    let read = body.take(request.limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| broken(request.url, error))?;
    if bytes.len() as u64 > request.limit {
        return Err(Failure::from(Error::TooLarge {
            location: request.url.split(['?', '#']).next().unwrap_or_default().to_owned(),
            actual: bytes.len() as u64,
            limit: request.limit,
            unit: "bytes",
        }));
    }
    Ok(bytes)
}
