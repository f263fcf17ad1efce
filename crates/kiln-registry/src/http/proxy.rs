//! Which proxy, if any, a request goes through.
//!
//! The rules are those of the container tools this program stands beside (Go's `net/http`): one
//! proxy for `http`, one for `https`, a list of exceptions, and never a proxy to this computer. The
//! HTTP library's own reading of the environment was dropped: it takes one proxy for both schemes,
//! and does not know networks in the list of exceptions.

use std::fmt;
use std::net::IpAddr;

use ureq::Proxy;

use crate::Error;
use crate::options::Proxies;

/// The choice, parsed once.
#[derive(Default)]
pub(super) struct Selector {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Vec<Exception>,
}

impl fmt::Debug for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Addresses of proxies may hold passwords.
        formatter.debug_struct("Selector").field("exceptions", &self.exceptions).finish()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    All,
    /// An address and the number of leading bits that count.
    Network {
        address: IpAddr,
        bits: u32,
    },
    /// A name, whether it stands for itself or only for what is below it, and a port.
    Name {
        name: String,
        only_below: bool,
        port: Option<u16>,
    },
    /// A lone address with a port.
    Address {
        address: IpAddr,
        port: Option<u16>,
    },
}

impl Selector {
    pub(super) fn new(proxies: &Proxies) -> Result<Self, Error> {
        let parse = |scheme, given: &Option<String>| {
            let Some(given) = given else { return Ok(None) };
            let given =
                if given.contains("://") { given.clone() } else { format!("http://{given}") };
            let refused = |reason| Error::Proxy { scheme, reason };
            if !given.starts_with("http://") && !given.starts_with("https://") {
                return Err(refused("only http:// and https:// proxies are supported"));
            }
            Proxy::new(&given).map(Some).map_err(|_| refused("it is no address"))
        };
        Ok(Self {
            http: parse("http", &proxies.http)?,
            https: parse("https", &proxies.https)?,
            exceptions: proxies.exceptions.split(',').filter_map(Exception::parse).collect(),
        })
    }

    /// The proxy for `scheme://host:port`; `None` to go there directly.
    pub(super) fn for_origin(&self, origin: &str) -> Option<&Proxy> {
        let (scheme, authority) = origin.split_once("://")?;
        let (proxy, usual) = match scheme {
            "http" => (self.http.as_ref()?, 80),
            _ => (self.https.as_ref()?, 443),
        };
        let (host, port) = host_and_port(authority);
        let port = port.unwrap_or(usual);
        let address = host.parse::<IpAddr>().ok();
        if host.eq_ignore_ascii_case("localhost") || address.is_some_and(|ip| ip.is_loopback()) {
            return None;
        }
        let is_exempt = |exception: &Exception| exception.covers(&host, address, port);
        (!self.exceptions.iter().any(is_exempt)).then_some(proxy)
    }
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text.is_empty() {
            return None;
        }
        if text == "*" {
            return Some(Self::All);
        }
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address.parse().ok()?;
            let bits = bits.parse().ok().filter(|bits| *bits <= width(address))?;
            return Some(Self::Network { address, bits });
        }
        let (host, port) = host_and_port(&text);
        if let Ok(address) = host.parse() {
            return Some(Self::Address { address, port });
        }
        let name = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
        let only_below = name.is_some();
        Some(Self::Name { name: name.unwrap_or(&host).to_owned(), only_below, port })
    }

    fn covers(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::Network { address: network, bits } => {
                address.is_some_and(|address| leading(address, *bits) == leading(*network, *bits))
            }
            Self::Address { address: wanted, port: only } => {
                address == Some(*wanted) && only.is_none_or(|only| only == port)
            }
            Self::Name { name, only_below, port: only } => {
                let host = host.to_ascii_lowercase();
                let below =
                    host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
                (below || !only_below && host == *name) && only.is_none_or(|only| only == port)
            }
        }
    }
}

/// Address family and leading bits.
fn leading(address: IpAddr, bits: u32) -> (bool, u128) {
    let (value, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    (address.is_ipv4(), value.checked_shr(width - bits.min(width)).unwrap_or_default())
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Splits `host`, `host:port`, `[v6]:port` and bare IPv6 addresses.
fn host_and_port(authority: &str) -> (String, Option<u16>) {
    if authority.parse::<IpAddr>().is_ok() {
        return (authority.to_owned(), None);
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        _ => (authority, None),
    };
    (host.trim_start_matches('[').trim_end_matches(']').to_owned(), port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn selector(exceptions: &str) -> Selector {
        Selector::new(&Proxies {
            http: Some("plain.example:1".into()),
            https: Some("http://user:word@tls.example:2".into()),
            exceptions: exceptions.into(),
        })
        .unwrap()
    }

    #[test]
    fn exceptions_go_directly() {
        let list = "below.example, .only.example,*.star.example,port.example:5000,10.1.0.0/16, \
                    fd00::/8,192.0.2.7,[2001:db8::1]:5000,,bad/33";
        for (origin, expected) in [
            ("https://a.example", Some("tls.example")),
            ("http://a.example", Some("plain.example")),
            ("https://below.example", None),
            ("https://X.Below.Example:5000", None),
            ("https://notbelow.example", Some("tls.example")),
            ("https://only.example", Some("tls.example")),
            ("https://x.only.example", None),
            ("https://x.star.example", None),
            ("https://port.example:5000", None),
            ("https://port.example", Some("tls.example")),
            ("https://10.1.255.3:5000", None),
            ("https://10.2.0.1", Some("tls.example")),
            ("https://[fd12::1]:5000", None),
            ("https://[fe80::1]", Some("tls.example")),
            ("https://192.0.2.7", None),
            ("https://[2001:db8::1]:5000", None),
            ("https://[2001:db8::1]", Some("tls.example")),
            ("http://localhost:5000", None),
            ("http://127.0.0.9:5000", None),
            ("https://[::1]", None),
        ] {
            let found = selector(list);
            let found = found.for_origin(origin).map(|proxy| proxy.host().to_owned());
            assert_eq!(found.as_deref(), expected, "{origin}");
        }
        assert!(selector("*").for_origin("https://a.example").is_none());
    }

    #[test]
    fn other_kinds_of_proxies_are_refused_without_their_password() {
        for given in ["socks5://user:word@p.example", "http://", "http://user:word@"] {
            let proxies = Proxies { https: Some(given.into()), ..Proxies::default() };
            let message = Selector::new(&proxies).unwrap_err().to_string();
            assert!(message.starts_with("the proxy for https is not usable: "), "{message}");
            assert!(!message.contains("word"), "{message}");
        }
        assert!(!format!("{:?}", selector("")).contains("word"));
    }

    proptest! {
        #[test]
        fn never_panics(list: String, origin: String) {
            let selector = selector(&list);
            let _ = selector.for_origin(&origin);
            let _ = selector.for_origin(&format!("https://{origin}"));
        }
    }
}
