//! What the network gave: addresses, name servers, a name; and the text of `resolv.conf` made of it.
//!
//! All of it comes from strangers. Names are kept only if they are made of letters that a host name
//! can have, so that nothing from the network can add a line to a file.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::link::Mac;

/// Name servers that a resolver asks: `MAXNS` of musl and glibc.
const NAME_SERVERS: usize = 3;
/// Search domains kept; glibc's old limit, and more than a boot needs.
const SEARCH_DOMAINS: usize = 6;
/// Longest domain name in bytes (RFC 1035, section 2.3.4).
const NAME_MAXIMUM: usize = 253;

/// A name server, with the link that it is behind where its address means something only there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameServer {
    /// Its address.
    pub address: IpAddr,
    /// The link of a link-local address.
    pub link: Option<String>,
}

/// What one link got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkLease {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// Its addresses, each with the length of its network's prefix in bits.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Routers to everywhere.
    pub gateways: Vec<IpAddr>,
}

/// What all links got together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    /// The links that have an address, the one with the preferred route first.
    pub links: Vec<LinkLease>,
    /// Name servers: those of the command line first.
    pub dns: Vec<NameServer>,
    /// Domains in which short names are looked up.
    pub search: Vec<String>,
    /// The name that the command line or the network has for this machine.
    pub hostname: Option<String>,
}

impl Leases {
    /// Adds a name server unless it is known already.
    pub(crate) fn add_dns(&mut self, address: IpAddr, link: &str) {
        let is_local = match address {
            IpAddr::V6(address) => address.is_unicast_link_local(),
            IpAddr::V4(_) => false,
        };
        let server = NameServer { address, link: is_local.then(|| link.to_owned()) };
        if !address.is_unspecified() && !address.is_multicast() && !self.dns.contains(&server) {
            self.dns.push(server);
        }
    }

    /// Adds a search domain if it is one and not known already.
    pub(crate) fn add_search(&mut self, domain: &str) {
        let domain = domain.trim_end_matches('.');
        if is_host_name(domain)
            && self.search.len() < SEARCH_DOMAINS
            && !self.search.iter().any(|known| known == domain)
        {
            self.search.push(domain.to_owned());
        }
    }
}

/// Whether this is a host or domain name: labels of up to 63 letters, digits, hyphens and
/// underscores, without a hyphen at their ends (RFC 1123, section 2.1).
#[must_use]
pub fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= NAME_MAXIMUM && text.split('.').all(is_label)
}

/// The content of `resolv.conf` (resolv.conf(5)) for these leases.
///
/// Where to put it is the caller's matter; [`crate::Resolver`] puts it where programs in a root
/// look for it, and takes it away again.
#[must_use]
pub fn resolv_conf(leases: &Leases) -> String {
    let mut text = String::from("# The network before the system's own; gone when that starts.\n");
    if !leases.search.is_empty() {
        let _ = writeln!(text, "search {}", leases.search.join(" "));
    }
    for server in leases.dns.iter().take(NAME_SERVERS) {
        let scope = server.link.as_ref().map_or_else(String::new, |link| format!("%{link}"));
        let _ = writeln!(text, "nameserver {}{scope}", server.address);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_add_no_lines() {
        let mut leases = Leases::default();
        for domain in ["example.com.", "evil\nnameserver 192.0.2.66", "-x", "", "example.com", "b"]
        {
            leases.add_search(domain);
        }
        let servers =
            ["192.0.2.53", "0.0.0.0", "fe80::1", "192.0.2.53", "224.0.0.1", "2001:db8::53"];
        for server in servers.into_iter().chain(["192.0.2.54"]) {
            leases.add_dns(server.parse().unwrap(), "eth0");
        }
        assert_eq!(
            resolv_conf(&leases),
            "# The network before the system's own; gone when that starts.\nsearch example.com b\n\
             nameserver 192.0.2.53\nnameserver fe80::1%eth0\nnameserver 2001:db8::53\n"
        );
    }

    #[test]
    fn host_names_are_letters_digits_and_hyphens() {
        for (text, expected) in [
            ("edge-1.example.com", true),
            ("a", true),
            ("_dns", true),
            ("", false),
            ("a..b", false),
            ("a b", false),
            ("a-", false),
            ("$(reboot)", false),
            (&"a".repeat(64), false),
            (&["abcdefghi"; 26].join("."), false),
        ] {
            assert_eq!(is_host_name(text), expected, "{text}");
        }
    }
}
