//! Bytes from the network, by address.
//!
//! One trait, so that tests and offline machines answer for themselves. Each scheme is one function;
//! the stores of clouds are only other names for https addresses. The bytes are not trusted by coming
//! over TLS alone: whoever wrote a hash gets it checked, in `contents`. A client for each cloud's store
//! was dropped: without credentials, which no machine has before it is configured, all of them speak https.

mod artifact;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing {
    pub use super::tftp::transfer;
}
mod http;
mod privileged;
mod store;
mod tftp;

use std::time::{Duration, Instant};

use kiln_config::action::Remote;
use kiln_config::ignition::{data, url};
pub use kiln_registry::SendMethod;
use kiln_registry::{Network, Proxies};

use crate::Error;

/// For one address in all, attempts that failed included: a server that restarts is waited for, and a
/// boot does not hang on one that never answers.
const PATIENCE: Duration = Duration::from_secs(300);

/// A document that is sent.
#[derive(Clone, Copy)]
pub struct Sending<'a> {
    /// How.
    pub method: SendMethod,
    /// Address, `https://` or `http://`.
    pub url: &'a str,
    /// Further header lines; they may hold tokens.
    pub headers: &'a [(String, String)],
    /// What it is, as `Content-Type`.
    pub media_type: &'a str,
    /// The document.
    pub bytes: &'a [u8],
    /// For the whole exchange; there is one attempt.
    pub patience: Duration,
    /// Largest answer, in bytes.
    pub limit: u64,
}

impl std::fmt::Debug for Sending<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sending").field("url", &address(self.url)).finish_non_exhaustive()
    }
}

/// Gets bytes from an address.
pub trait Fetch {
    /// The whole of what lies there, at most `limit` bytes.
    ///
    /// # Errors
    /// The scheme is not known, nothing is there, or it is larger.
    fn get(&mut self, remote: &Remote, limit: u64) -> Result<Vec<u8>, Error>;

    /// The same by plain http from a port that only root may take, for a server given by its number.
    ///
    /// # Errors
    /// As for [`Fetch::get`]; also where there are no such ports, which is the default.
    fn get_as_root(&mut self, remote: &Remote, limit: u64) -> Result<Vec<u8>, Error> {
        let _ = limit;
        Err(Error::NotHere { what: format!("asking {} as root", address(&remote.url)) })
    }

    /// Sends a document, and gives the answer.
    ///
    /// # Errors
    /// Nobody takes it; also where nothing can be sent from here, which is the default.
    fn send(&mut self, sending: &Sending<'_>) -> Result<Vec<u8>, Error> {
        Err(Error::NotHere { what: format!("sending to {}", address(sending.url)) })
    }
}

/// The network as it is: http, https, tftp, container registries and the stores of clouds, with the
/// proxies and certificates of a [`Network`].
#[derive(Debug, Clone)]
pub struct Web {
    /// How it is reached. Its number of attempts does not count here; `patience` does.
    pub network: Network,
    /// For one address in all, attempts that failed included.
    pub patience: Duration,
}

impl Default for Web {
    fn default() -> Self {
        Self::new(Network::default())
    }
}

impl Fetch for Web {
    fn get(&mut self, remote: &Remote, limit: u64) -> Result<Vec<u8>, Error> {
        let origin = || address(&remote.url);
        let refused = |reason: String| Error::Contents { origin: origin(), reason };
        let scheme = url::scheme(&remote.url).unwrap_or_default();
        let bytes = match scheme.as_str() {
            "http" | "https" => self.http(remote, limit)?,
            "data" => data::decode(&remote.url).map_err(|fault| refused(fault.message))?,
            "tftp" => tftp::Client::default().get(&remote.url, limit, self.deadline(remote))?,
            "oci" => artifact::get(&remote.url, &self.network_of(remote), limit)?,
            "s3" | "gs" | "arn" => {
                let url = store::https(&remote.url).map_err(|reason| refused(reason.to_owned()))?;
                self.http(&Remote { url, ..remote.clone() }, limit)?
            }
            _ => {
                let reason = format!("addresses with `{scheme}` are not fetched on this machine");
                return Err(refused(reason));
            }
        };
        if bytes.len() as u64 > limit {
            return Err(refused(format!("they have more than {limit} bytes")));
        }
        Ok(bytes)
    }

    fn get_as_root(&mut self, remote: &Remote, limit: u64) -> Result<Vec<u8>, Error> {
        privileged::get(&remote.url, privileged::PORTS, limit, self.deadline(remote))
    }

    fn send(&mut self, sending: &Sending<'_>) -> Result<Vec<u8>, Error> {
        self.send_once(sending)
    }
}

impl Web {
    /// The network with the usual patience.
    #[must_use]
    pub fn new(network: Network) -> Self {
        Self { network, patience: PATIENCE }
    }

    /// When to give up on an address: what the document says can only be sooner.
    fn deadline(&self, remote: &Remote) -> Instant {
        let own = Duration::from_secs(remote.timeout);
        let patience = if remote.timeout > 0 { own.min(self.patience) } else { self.patience };
        Instant::now() + patience
    }

    /// The network as the document wants it for one address.
    fn network_of(&self, remote: &Remote) -> Network {
        let mut network = self.network.clone();
        if remote.header_timeout > 0 {
            network.response_timeout = Duration::from_secs(remote.header_timeout);
        }
        if let Some(proxy) = &remote.proxy {
            let proxy = Some(proxy.clone());
            network.proxies =
                Proxies { http: proxy.clone(), https: proxy, exceptions: String::new() };
        }
        if is_link_local(&remote.url) {
            network.proxies = Proxies::default();
        }
        network.authorities.extend(remote.authorities.iter().cloned());
        network
    }
}

/// Whether an address is of this link alone, as those of clouds' metadata are (RFC 3927): a proxy would
/// answer with the metadata of its own machine.
fn is_link_local(url: &str) -> bool {
    url::host(url).is_some_and(|(host, _)| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(address)) => address.is_link_local(),
            Ok(std::net::IpAddr::V6(address)) => address.is_unicast_link_local(),
            Err(_) => false,
        }
    })
}

/// An address as it may be shown: queries carry signatures, and user information passwords.
pub(crate) fn address(url: &str) -> String {
    format!("`{}`", url::shown(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_secrets() {
        for (url, expected) in [
            ("https://a.example/x?token=1", "`https://a.example/x`"),
            ("https://u:p@a.example/x@y#z", "`https://a.example/x@y`"),
            ("https://a.example", "`https://a.example`"),
            ("data:,secret", "`data:…`"),
        ] {
            assert_eq!(address(url), expected);
        }
    }

    #[test]
    fn a_document_may_bring_its_proxy_patience_and_authorities() {
        let remote = Remote {
            header_timeout: 7,
            proxy: Some("http://proxy.example:3128".into()),
            authorities: vec!["pem".into()],
            ..Remote::default()
        };
        let network = Web::default().network_of(&remote);
        assert_eq!(network.response_timeout, Duration::from_secs(7));
        assert_eq!(network.proxies.https.as_deref(), Some("http://proxy.example:3128"));
        assert_eq!(network.authorities, ["pem"]);
        let plain = Web::default().network_of(&Remote::default());
        assert_eq!((plain.proxies.http, plain.authorities.len()), (None, 0));
    }

    #[test]
    fn metadata_never_goes_through_a_proxy() {
        let proxy = Some("http://proxy.example:3128".to_owned());
        let proxies = Proxies { http: proxy.clone(), https: proxy, exceptions: String::new() };
        let web = Web::new(Network { proxies, ..Network::default() });
        for (url, is_direct) in [
            ("http://169.254.169.254/latest", true),
            ("http://[fe80::1]/latest", true),
            ("http://example.com/x", false),
            ("http://10.0.0.1/x", false),
        ] {
            let remote = Remote { url: url.into(), ..Remote::default() };
            assert_eq!(web.network_of(&remote).proxies.http.is_none(), is_direct, "{url}");
        }
    }

    #[test]
    fn what_stands_in_the_address_is_decoded_and_unknown_schemes_are_named() {
        let get = |url: &str, limit| {
            Web::default().get(&Remote { url: url.into(), ..Remote::default() }, limit)
        };
        assert_eq!(get("data:;base64,aGVsbG8=", 5).unwrap(), b"hello");
        assert!(get("data:,hello", 4).unwrap_err().to_string().contains("more than 4"));
        assert!(get("data:;base64,%", 4).is_err());
        let error = get("ftp://a.example/x", 1).unwrap_err().to_string();
        assert!(error.contains("`ftp`"), "{error}");
    }
}
