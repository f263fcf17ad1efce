//! A lease: what an answer gives, after everything in it was found to be possible.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::options::{Route, number};
use super::packet::Answer;
use crate::arguments::{prefix_of_mask, usual_prefix};
use crate::leases::is_host_name;

/// A lease that does not end (RFC 2131, section 3.3).
const FOR_EVER: u32 = u32::MAX;
/// Smallest packet that every IPv4 machine takes whole (RFC 791, section 3.1). A smaller value is a
/// mistake of the server, or somebody who wants the link to crawl.
const MTU_MINIMUM: u16 = 576;

/// What a server leased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The machine's address.
    pub address: Ipv4Addr,
    /// Bits of its network.
    pub prefix: u8,
    /// Routes, those of networks on the wire first; the network of the address itself is not here.
    pub routes: Vec<Route>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Domains in which short names are looked up.
    pub search: Vec<String>,
    /// The name that the server has for the machine.
    pub hostname: Option<String>,
    /// Largest packet of the link in bytes.
    pub mtu: Option<u16>,
    /// Who leased it.
    pub server: Ipv4Addr,
    /// For how long; none for ever.
    pub lifetime: Option<Duration>,
}

/// Whether a machine can have this address.
#[must_use]
pub fn is_usable(address: Ipv4Addr) -> bool {
    // 240.0.0.0/4 is reserved, 0.0.0.0/8 is "this network" (RFC 6890).
    !address.is_loopback() && !address.is_multicast() && (1..240).contains(&address.octets()[0])
}

impl Lease {
    /// The lease in an answer; `None` if it gives no usable address or does not say whose it is.
    #[must_use]
    pub fn from_answer(answer: &Answer) -> Option<Self> {
        let options = &answer.options;
        let address = answer.address;
        let server = options.address(number::SERVER)?;
        if !is_usable(address) || !is_usable(server) {
            return None;
        }
        let prefix = match options.address(number::MASK) {
            Some(mask) => prefix_of_mask(mask).filter(|prefix| *prefix > 0)?,
            None => usual_prefix(address.into()),
        };
        let mut search = options.search();
        search.extend(options.text(number::DOMAIN).into_iter().flat_map(|text| {
            // Some servers put several domains there, separated by blanks.
            text.split_ascii_whitespace().map(str::to_owned)
        }));
        let hostname = options.text(number::HOST_NAME).map(|name| name.trim_end_matches('.'));
        let lifetime = options.long(number::LEASE).filter(|seconds| *seconds != FOR_EVER);
        Some(Self {
            address,
            prefix,
            routes: routes(answer),
            dns: options.addresses(number::DNS).into_iter().filter(|one| is_usable(*one)).collect(),
            search,
            hostname: hostname.filter(|name| is_host_name(name)).map(str::to_owned),
            mtu: options.short(number::MTU).filter(|mtu| *mtu >= MTU_MINIMUM),
            server,
            lifetime: lifetime.map(|seconds| Duration::from_secs(seconds.into())),
        })
    }

    /// Routers to everywhere.
    #[must_use]
    pub fn gateways(&self) -> Vec<Ipv4Addr> {
        let default =
            self.routes.iter().filter(|(_, bits, router)| *bits == 0 && !router.is_unspecified());
        default.map(|(_, _, router)| *router).collect()
    }
}

/// Classless routes, and only where there are none the first router (RFC 3442, section "DHCP client
/// behavior").
fn routes(answer: &Answer) -> Vec<Route> {
    let mut routes = answer.options.routes().unwrap_or_else(|| {
        let routers = answer.options.addresses(number::ROUTERS);
        let first = routers.into_iter().find(|router| is_usable(*router));
        first.map(|router| (Ipv4Addr::UNSPECIFIED, 0, router)).into_iter().collect()
    });
    routes.retain(|(network, bits, router)| {
        (router.is_unspecified() || is_usable(*router)) && (*bits == 0 || is_usable(*network))
    });
    // A router may be reachable only by a route of this very list.
    routes.sort_by_key(|(_, _, router)| !router.is_unspecified());
    routes
}

#[cfg(test)]
mod tests {
    use super::super::packet::{self, Envelope, Question, tests::MAC, tests::answer};
    use super::*;

    fn lease(address: [u8; 4], options: &[u8]) -> Option<Lease> {
        let envelope =
            Envelope { exchange: 1, mac: MAC, seconds: 0, broadcast: false, hostname: None };
        let question = packet::write(Question::Discover, &envelope);
        let answer = packet::read(&answer(&question, 5, address, options)).unwrap();
        Lease::from_answer(&answer)
    }

    const SERVER: [u8; 6] = [54, 4, 192, 0, 2, 1];

    #[test]
    fn a_full_answer_is_a_lease() {
        let options = [
            &SERVER[..],
            &[1, 4, 255, 255, 255, 128, 3, 8, 192, 0, 2, 1, 192, 0, 2, 2],
            &[6, 8, 192, 0, 2, 53, 224, 0, 0, 1],
            b"\x0c\x05edge.\x0f\x0bexample.com",
            &[26, 2, 5, 120, 51, 4, 0, 0, 14, 16],
        ];
        let lease = lease([192, 0, 2, 9], &options.concat()).unwrap();
        assert_eq!((lease.address, lease.prefix), ([192, 0, 2, 9].into(), 25));
        assert_eq!(lease.gateways(), [Ipv4Addr::new(192, 0, 2, 1)]);
        assert_eq!(lease.dns, [Ipv4Addr::new(192, 0, 2, 53)]);
        assert_eq!(lease.search, ["example.com"]);
        assert_eq!(lease.hostname.as_deref(), Some("edge"));
        assert_eq!(lease.mtu, Some(1400));
        assert_eq!(lease.lifetime, Some(Duration::from_secs(3600)));
    }

    #[test]
    fn impossible_answers_are_no_lease_and_impossible_parts_are_left_out() {
        for address in [[0; 4], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4], [0, 1, 2, 3]] {
            assert_eq!(lease(address, &SERVER), None, "{address:?}");
        }
        assert_eq!(lease([192, 0, 2, 9], &[]), None);
        for mask in [[255, 0, 255, 0], [0; 4]] {
            let options = [&SERVER[..], &[1, 4], &mask].concat();
            assert_eq!(lease([192, 0, 2, 9], &options), None, "{mask:?}");
        }
        let options = [&SERVER[..], &[26, 2, 0, 68, 51, 4, 255, 255, 255, 255], b"\x0c\x03a;b"];
        let lease = lease([10, 0, 2, 9], &options.concat()).unwrap();
        assert_eq!((lease.mtu, lease.lifetime, lease.hostname), (None, None, None));
        assert_eq!((lease.prefix, lease.routes), (8, vec![]));
    }

    #[test]
    fn classless_routes_replace_the_router_and_the_wire_comes_first() {
        let options = [
            &SERVER[..],
            &[3, 4, 192, 0, 2, 7],
            &[121, 25, 0, 10, 0, 0, 1, 32, 10, 0, 0, 1, 0, 0, 0, 0, 8, 127, 10, 0, 0, 1, 0],
            &[224, 0, 0, 9],
        ];
        let lease = lease([10, 128, 0, 5], &options.concat()).unwrap();
        let router = Ipv4Addr::new(10, 0, 0, 1);
        let wire = (router, 32, Ipv4Addr::UNSPECIFIED);
        assert_eq!(lease.routes, [wire, (Ipv4Addr::UNSPECIFIED, 0, router)]);
        assert_eq!(lease.gateways(), [router]);
    }
}
