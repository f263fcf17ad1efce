//! Bytes from the network, by address.
//!
//! One trait, so that tests and offline machines answer for themselves. The bytes are not trusted by
//! coming over TLS alone: whoever wrote a hash gets it checked, in `contents`.

use std::time::Duration;

use kiln_config::action::Remote;
use kiln_registry::{Network, Proxies, WebRequest};

use crate::Error;

/// Gets bytes from an address.
pub trait Fetch {
    /// The whole of what lies there, at most `limit` bytes.
    ///
    /// # Errors
    /// The scheme is not known, nothing is there, or it is larger.
    fn get(&mut self, remote: &Remote, limit: u64) -> Result<Vec<u8>, Error>;
}

/// HTTP and HTTPS, with the proxies, certificates and patience of a [`Network`].
#[derive(Debug, Clone, Default)]
pub struct Web {
    /// How it is reached.
    pub network: Network,
}

impl Fetch for Web {
    fn get(&mut self, remote: &Remote, limit: u64) -> Result<Vec<u8>, Error> {
        let scheme = remote.url.split("://").next().unwrap_or_default();
        if !matches!(scheme, "http" | "https") {
            let reason = format!("addresses with `{scheme}` are not fetched on this machine");
            return Err(Error::Contents { origin: address(&remote.url), reason });
        }
        let patience = (remote.timeout > 0).then(|| Duration::from_secs(remote.timeout));
        let request = WebRequest { url: &remote.url, headers: &remote.headers, patience, limit };
        Ok(kiln_registry::get(&request, &self.network_of(remote))?)
    }
}

impl Web {
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
        network.authorities.extend(remote.authorities.iter().cloned());
        network
    }
}

/// An address as it may be shown: queries carry signatures, and user information passwords.
pub(crate) fn address(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    match plain.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit('@').next().unwrap_or_default();
            format!("`{scheme}://{host}/{path}`")
        }
        None => format!("`{}`", plain.chars().take(80).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_secrets() {
        for (url, expected) in [
            ("https://a.example/x?token=1", "`https://a.example/x`"),
            ("https://u:p@a.example/x@y#z", "`https://a.example/x@y`"),
            ("https://a.example", "`https://a.example/`"),
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
    fn unknown_schemes_are_named() {
        let remote = Remote { url: "s3://bucket/x".into(), ..Remote::default() };
        let error = Web::default().get(&remote, 1).unwrap_err().to_string();
        assert!(error.contains("`s3`"), "{error}");
    }
}
