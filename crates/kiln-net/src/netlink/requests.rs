//! What this crate asks the kernel to do, as messages. Numbers: linux/rtnetlink.h, linux/if_link.h,
//! linux/if_addr.h.

use std::net::IpAddr;
use std::time::Duration;

pub use super::message::Request;
use super::message::{ACKNOWLEDGE, CREATE, DUMP, EXCLUSIVE};
use crate::link::Mac;

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;

/// `AF_INET` and `AF_INET6`.
pub(crate) const INET: u8 = 2;
pub(crate) const INET6: u8 = 10;
/// `IFF_UP`.
pub(crate) const UP: u32 = 1;
/// `RT_TABLE_MAIN`.
pub(crate) const MAIN_TABLE: u8 = 254;
/// `RTPROT_BOOT`: made while the machine starts; networkd and others may remove it.
const BY_BOOT: u8 = 3;
/// `RT_SCOPE_UNIVERSE` and `RT_SCOPE_LINK`.
const EVERYWHERE: u8 = 0;
const ON_THE_WIRE: u8 = 253;
/// `RTN_UNICAST`.
const UNICAST: u8 = 1;
/// `RTNH_F_ONLINK`: the router is on the wire whatever the address says.
const ROUTER_ON_WIRE: u32 = 4;
/// A lifetime without end (`INFINITY_LIFE_TIME`).
const FOR_EVER: u32 = u32::MAX;

/// An address on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRequest {
    /// Number of the link.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
    /// The other end, where the link has no more than two.
    pub peer: Option<IpAddr>,
    /// After which the kernel removes it; none for never.
    pub lifetime: Option<Duration>,
}

/// A route over a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRequest {
    /// Number of the link.
    pub link: u32,
    /// The network.
    pub network: IpAddr,
    /// Bits of it.
    pub prefix: u8,
    /// Through which router.
    pub gateway: Option<IpAddr>,
    /// The smaller, the more it is preferred.
    pub metric: u32,
}

fn link_fields(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut fixed = vec![0, 0, 0, 0];
    // Numbers of links are positive ints in this structure (`struct ifinfomsg`).
    fixed.extend(index.to_ne_bytes());
    fixed.extend(flags.to_ne_bytes());
    fixed.extend(change.to_ne_bytes());
    fixed
}

fn text(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { INET } else { INET6 }
}

/// All links.
#[must_use]
pub fn links() -> Request {
    Request::new(GET_LINK, DUMP, &link_fields(0, 0, 0))
}

/// All IPv6 addresses.
#[must_use]
pub fn addresses() -> Request {
    Request::new(GET_ADDRESS, DUMP, &[INET6, 0, 0, 0, 0, 0, 0, 0])
}

/// All IPv6 routes.
#[must_use]
pub fn routes() -> Request {
    Request::new(GET_ROUTE, DUMP, &[INET6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// Switches a link on or off.
#[must_use]
pub fn set_up(index: u32, is_up: bool) -> Request {
    let flags = if is_up { UP } else { 0 };
    Request::new(NEW_LINK, ACKNOWLEDGE, &link_fields(index, flags, UP))
}

/// Gives a link another name; it must be off.
#[must_use]
pub fn set_name(index: u32, name: &str) -> Request {
    Request::new(NEW_LINK, ACKNOWLEDGE, &link_fields(index, 0, 0)).with(3, &text(name))
}

/// Sets the largest packet in bytes.
#[must_use]
pub fn set_mtu(index: u32, bytes: u32) -> Request {
    Request::new(NEW_LINK, ACKNOWLEDGE, &link_fields(index, 0, 0)).with(4, &bytes.to_ne_bytes())
}

/// Sets the hardware address; most drivers want the link off.
#[must_use]
pub fn set_mac(index: u32, mac: Mac) -> Request {
    Request::new(NEW_LINK, ACKNOWLEDGE, &link_fields(index, 0, 0)).with(1, &mac.0)
}

/// Makes a VLAN on a link.
#[must_use]
pub fn add_vlan(name: &str, parent: u32, number: u16) -> Request {
    let fixed = link_fields(0, 0, 0);
    let numbered = Request::new(0, 0, &[]).with(1, &number.to_ne_bytes());
    let kind = Request::new(0, 0, &[]).with(1, b"vlan").with_nested(2, &numbered);
    Request::new(NEW_LINK, ACKNOWLEDGE | CREATE | EXCLUSIVE, &fixed)
        .with(3, &text(name))
        .with(5, &parent.to_ne_bytes())
        .with_nested(18, &kind)
}

/// Removes a link that software made.
#[must_use]
pub fn remove_link(index: u32) -> Request {
    Request::new(DELETE_LINK, ACKNOWLEDGE, &link_fields(index, 0, 0))
}

/// Adds an address.
#[must_use]
pub fn add_address(wanted: &AddressRequest) -> Request {
    let seconds = wanted.lifetime.map(|time| u32::try_from(time.as_secs()).unwrap_or(FOR_EVER));
    let lifetime = seconds.map(|seconds| {
        // Preferred and valid (`struct ifa_cacheinfo`); the kernel fills in the two moments.
        let field = seconds.max(1).to_ne_bytes();
        [&field[..], &field, &[0; 8]].concat()
    });
    let broadcast = match (wanted.address, wanted.prefix, wanted.peer) {
        (IpAddr::V4(address), 1..=30, None) => {
            let machine = u32::MAX >> u32::from(wanted.prefix);
            Some((u32::from(address) | machine).to_be_bytes())
        }
        _ => None,
    };
    address(NEW_ADDRESS, ACKNOWLEDGE | CREATE | EXCLUSIVE, wanted)
        .with_some(4, broadcast.as_ref().map(|bytes| &bytes[..]))
        .with_some(6, lifetime.as_deref())
}

/// Removes an address.
#[must_use]
pub fn remove_address(wanted: &AddressRequest) -> Request {
    address(DELETE_ADDRESS, ACKNOWLEDGE, wanted)
}

fn address(kind: u16, flags: u16, wanted: &AddressRequest) -> Request {
    let mut fixed = vec![family(wanted.address), wanted.prefix, 0, EVERYWHERE];
    fixed.extend(wanted.link.to_ne_bytes());
    // `IFA_LOCAL` is this end, `IFA_ADDRESS` the other one where there is one.
    Request::new(kind, flags, &fixed)
        .with(2, &octets(wanted.address))
        .with(1, &octets(wanted.peer.unwrap_or(wanted.address)))
}

/// Adds a route.
#[must_use]
pub fn add_route(wanted: &RouteRequest) -> Request {
    route(NEW_ROUTE, ACKNOWLEDGE | CREATE | EXCLUSIVE, wanted)
}

/// Removes a route.
#[must_use]
pub fn remove_route(wanted: &RouteRequest) -> Request {
    route(DELETE_ROUTE, ACKNOWLEDGE, wanted)
}

fn route(kind: u16, flags: u16, wanted: &RouteRequest) -> Request {
    // IPv6 has no scopes of routes, and routers by their link-local address are on the wire anyway.
    let is_wire = wanted.gateway.is_none() && wanted.network.is_ipv4();
    let scope = if is_wire { ON_THE_WIRE } else { EVERYWHERE };
    let mut fixed = vec![family(wanted.network), wanted.prefix, 0, 0];
    fixed.extend([MAIN_TABLE, BY_BOOT, scope, UNICAST]);
    let on_wire = if wanted.gateway.is_some() { ROUTER_ON_WIRE } else { 0 };
    fixed.extend(on_wire.to_ne_bytes());
    let network = (wanted.prefix > 0).then(|| octets(wanted.network));
    let gateway = wanted.gateway.map(octets);
    Request::new(kind, flags, &fixed)
        .with_some(1, network.as_deref())
        .with(4, &wanted.link.to_ne_bytes())
        .with_some(5, gateway.as_deref())
        .with(6, &wanted.metric.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::message::{attributes, messages};
    use super::*;

    fn read(request: Request, fixed: usize) -> (Vec<u8>, Vec<(u16, Vec<u8>)>) {
        let bytes = request.finish(1);
        let message = messages(&bytes).next().unwrap();
        let list = attributes(&message.body[fixed..]);
        let list = list.map(|(kind, value)| (kind, value.to_vec())).collect();
        (message.body[..fixed].to_vec(), list)
    }

    #[test]
    fn an_address_has_broadcast_and_lifetime() {
        let wanted = AddressRequest {
            link: 7,
            address: [192, 0, 2, 9].into(),
            prefix: 25,
            peer: None,
            lifetime: Some(Duration::from_secs(60)),
        };
        let (fixed, list) = read(add_address(&wanted), 8);
        assert_eq!(fixed[..4], [INET, 25, 0, 0]);
        assert_eq!(list[0], (2, vec![192, 0, 2, 9]));
        assert_eq!(list[1], (1, vec![192, 0, 2, 9]));
        assert_eq!(list[2], (4, vec![192, 0, 2, 127]));
        assert_eq!((list[3].0, &list[3].1[..4]), (6, &60_u32.to_ne_bytes()[..]));
        let peer = Some([192, 0, 2, 1].into());
        let (_, list) = read(add_address(&AddressRequest { peer, prefix: 32, ..wanted }), 8);
        assert_eq!(list[1], (1, vec![192, 0, 2, 1]));
        assert_eq!(list.len(), 3);
    }

    #[test]
    fn a_default_route_has_no_network_and_a_wire_no_router() {
        let wanted = RouteRequest {
            link: 7,
            network: [0; 4].into(),
            prefix: 0,
            gateway: Some([192, 0, 2, 1].into()),
            metric: 100,
        };
        let (fixed, list) = read(add_route(&wanted), 12);
        assert_eq!(fixed[..8], [INET, 0, 0, 0, 254, 3, 0, 1]);
        let kinds: Vec<u16> = list.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [4, 5, 6]);
        let wire = RouteRequest { network: [10; 4].into(), prefix: 8, gateway: None, ..wanted };
        let (fixed, list) = read(add_route(&wire), 12);
        assert_eq!((fixed[6], list[0].clone()), (253, (1, vec![10; 4])));
    }

    #[test]
    fn a_vlan_names_parent_kind_and_number() {
        let (_, list) = read(add_vlan("eth0.5", 3, 5), 16);
        assert_eq!(list[0], (3, b"eth0.5\0".to_vec()));
        assert_eq!(list[1], (5, 3_u32.to_ne_bytes().to_vec()));
        let kind: Vec<_> = attributes(&list[2].1).collect();
        assert_eq!(kind[0], (1, &b"vlan"[..]));
        let numbered: Vec<_> = attributes(kind[1].1).collect();
        assert_eq!(numbered, [(1, &5_u16.to_ne_bytes()[..])]);
    }
}
