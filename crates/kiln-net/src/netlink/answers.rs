//! What the kernel says, as values. Numbers: linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h;
//! name servers of router advertisements: RFC 8106.

use std::net::{IpAddr, Ipv6Addr};

use super::message::{attributes, long, short};
use super::requests::{INET6, MAIN_TABLE, UP};
use crate::link::{Link, Mac};

/// `IFF_LOOPBACK`, `IFF_RUNNING` and `IFF_LOWER_UP` (linux/if.h).
const LOOPBACK: u32 = 0x8;
const RUNNING: u32 = 0x40;
const LOWER_UP: u32 = 0x1_0000;
/// `ARPHRD_ETHER` (linux/if_arp.h).
const ETHERNET: u16 = 1;
/// `IFA_F_DADFAILED` and `IFA_F_TENTATIVE`: somebody else has the address, or it is being found out.
const TAKEN: u32 = 0x08;
const TENTATIVE: u32 = 0x40;
/// Other names taken from one link.
const NAMES_MAXIMUM: usize = 16;
/// `RTPROT_RA` and `RTPROT_KERNEL`: which routes come from router advertisements; kernels differ.
const BY_ADVERTISEMENT: u8 = 9;
const BY_KERNEL: u8 = 2;
/// Options of a router advertisement: name servers, and search domains (RFC 8106, section 5).
const NAME_SERVERS: u8 = 25;
const SEARCH: u8 = 31;
/// Name servers or domains taken from one advertisement.
const SERVERS_MAXIMUM: usize = 8;

/// An IPv6 address on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Number of the link.
    pub link: u32,
    /// The address.
    pub address: Ipv6Addr,
    /// Bits of its network.
    pub prefix: u8,
    /// Whether the kernel still asks if somebody else has it.
    pub is_tentative: bool,
    /// Whether somebody else has it.
    pub is_taken: bool,
}

/// An IPv6 router to everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Router {
    /// Number of the link.
    pub link: u32,
    /// Its address.
    pub address: Ipv6Addr,
    /// Whether it announced itself.
    pub is_announced: bool,
}

/// What a router said about names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Number of the link.
    pub link: u32,
    /// Name servers.
    pub dns: Vec<Ipv6Addr>,
    /// Search domains.
    pub search: Vec<String>,
}

/// Reads the body of a link's message (`struct ifinfomsg`).
#[must_use]
pub fn link(body: &[u8]) -> Option<Link> {
    let hardware = short(body, 2)?;
    let flags = long(body, 8)?;
    let mut link = Link {
        index: long(body, 4)?,
        is_ethernet: hardware == ETHERNET,
        is_loopback: flags & LOOPBACK != 0,
        is_up: flags & UP != 0,
        has_carrier: flags & (RUNNING | LOWER_UP) == RUNNING | LOWER_UP,
        ..Link::default()
    };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            1 if hardware == ETHERNET => link.mac = <[u8; 6]>::try_from(value).ok().map(Mac),
            3 => link.name = text(value)?,
            4 => link.mtu = long(value, 0)?,
            10 => link.is_enslaved = long(value, 0)? != 0,
            18 => {
                let kind = attributes(value).find(|(kind, _)| *kind == 1);
                link.kind = kind.and_then(|(_, value)| text(value));
            }
            // `IFLA_PROP_LIST` of `IFLA_ALT_IFNAME`.
            52 => {
                let names = attributes(value).filter(|(kind, _)| *kind == 53);
                let names = names.filter_map(|(_, value)| text(value));
                link.other_names = names.take(NAMES_MAXIMUM).collect();
            }
            _ => {}
        }
    }
    (link.index > 0 && !link.name.is_empty()).then_some(link)
}

/// Reads the body of an address's message (`struct ifaddrmsg`).
#[must_use]
pub fn address(body: &[u8]) -> Option<Address> {
    let (&[family, prefix, flags, _], _) = body.split_first_chunk::<4>()?;
    if family != INET6 || prefix > 128 {
        return None;
    }
    let (mut flags, mut address, mut local) = (u32::from(flags), None, None);
    for (kind, value) in attributes(body.get(8..)?) {
        match kind {
            1 => address = ipv6(value),
            2 => local = ipv6(value),
            8 => flags = long(value, 0)?,
            _ => {}
        }
    }
    Some(Address {
        link: long(body, 4)?,
        address: local.or(address)?,
        prefix,
        is_tentative: flags & TENTATIVE != 0,
        is_taken: flags & TAKEN != 0,
    })
}

/// Reads the body of a route's message (`struct rtmsg`); `None` unless it is a way to everywhere.
#[must_use]
pub fn router(body: &[u8]) -> Option<Router> {
    let (&[family, prefix, _, _, table, origin, _, _], _) = body.split_first_chunk::<8>()?;
    if family != INET6 || prefix != 0 || table != MAIN_TABLE {
        return None;
    }
    let (mut link, mut gateway) = (None, None);
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            4 => link = long(value, 0),
            5 => gateway = ipv6(value),
            _ => {}
        }
    }
    let is_announced = matches!(origin, BY_ADVERTISEMENT | BY_KERNEL);
    Some(Router { link: link?, address: gateway?, is_announced })
}

/// Reads the body of a message about an option of a router advertisement (`struct nduseroptmsg`).
#[must_use]
pub fn names(body: &[u8]) -> Option<Names> {
    let length = usize::from(short(body, 2)?);
    let link = long(body, 4)?;
    let mut rest = body.get(16..)?.get(..length)?;
    let mut names = Names { link, dns: Vec::new(), search: Vec::new() };
    if body.first() != Some(&INET6) {
        return None;
    }
    // Each option: kind, length in units of 8 bytes, 2 bytes, lifetime in seconds, content.
    while let Some(&[kind, units]) = rest.first_chunk::<2>() {
        let option = rest.get(..usize::from(units) * 8).filter(|option| option.len() >= 8)?;
        rest = rest.get(option.len()..)?;
        let (lifetime, content) = (option.get(4..8)?, option.get(8..)?);
        if lifetime == [0; 4] {
            continue;
        }
        match kind {
            NAME_SERVERS => {
                let (servers, _) = content.as_chunks::<16>();
                names
                    .dns
                    .extend(servers.iter().take(SERVERS_MAXIMUM).map(|one| Ipv6Addr::from(*one)));
            }
            SEARCH => names.search.extend(domains(content)),
            _ => {}
        }
    }
    Some(names)
}

/// Domains as labels, each name closed by an empty one; padding is empty names.
fn domains(content: &[u8]) -> Vec<String> {
    let (mut names, mut place) = (Vec::new(), 0);
    while names.len() < SERVERS_MAXIMUM {
        let Some((name, next)) = crate::dhcp::options::read_name(content, place) else { break };
        place = next;
        if !name.is_empty() {
            names.push(name);
        }
    }
    names
}

/// The number in an error message, 0 for an acknowledgement (`struct nlmsgerr`).
#[must_use]
pub fn error(body: &[u8]) -> Option<i32> {
    let number = <[u8; 4]>::try_from(body.get(..4)?).ok().map(i32::from_ne_bytes)?;
    number.checked_neg()
}

fn text(value: &[u8]) -> Option<String> {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    std::str::from_utf8(value.get(..end)?).ok().map(str::to_owned)
}

fn ipv6(value: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(value).ok().map(Ipv6Addr::from)
}

impl Address {
    /// Whether it reaches beyond the wire.
    #[must_use]
    pub fn is_global(&self) -> bool {
        !self.address.is_unicast_link_local() && !IpAddr::V6(self.address).is_loopback()
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Request;
    use super::*;
    use proptest::prelude::*;

    fn body(fixed: &[u8], build: impl FnOnce(Request) -> Request) -> Vec<u8> {
        build(Request::new(0, 0, fixed)).finish(0)[16..].to_vec()
    }

    fn link_body() -> Vec<u8> {
        let mut fixed = vec![0, 0];
        fixed.extend(ETHERNET.to_ne_bytes());
        fixed.extend(7_u32.to_ne_bytes());
        fixed.extend((UP | RUNNING | LOWER_UP).to_ne_bytes());
        fixed.extend([0; 4]);
        let kind = Request::new(0, 0, &[]).with(1, b"veth\0");
        let names = Request::new(0, 0, &[]).with(53, b"enp1s0\0").with(53, b"enx525400123456\0");
        body(&fixed, |request| {
            request
                .with(3, b"eth0\0")
                .with(1, &[0x52, 0x54, 0, 0x12, 0x34, 0x56])
                .with(4, &1500_u32.to_ne_bytes())
                .with_nested(18, &kind)
                .with_nested(52, &names)
                .with(9999, b"a newer kernel")
        })
    }

    #[test]
    fn a_link_is_read() {
        let link = link(&link_body()).unwrap();
        assert_eq!((link.index, &*link.name, link.mtu), (7, "eth0", 1500));
        assert!(link.is_up && link.has_carrier && link.is_wire() && link.is_called("enp1s0"));
        assert_eq!(link.kind.as_deref(), Some("veth"));
        assert_eq!(link.mac.unwrap().to_string(), "52:54:00:12:34:56");
    }

    #[test]
    fn addresses_and_routers_are_read() {
        let global = "2001:db8::9".parse::<Ipv6Addr>().unwrap();
        let fixed = [&[INET6, 64, 0, 0][..], &7_u32.to_ne_bytes()].concat();
        let bytes = body(&fixed, |request| {
            request.with(1, &global.octets()).with(8, &TENTATIVE.to_ne_bytes())
        });
        let read = address(&bytes).unwrap();
        assert_eq!((read.link, read.address, read.prefix), (7, global, 64));
        assert!(read.is_tentative && !read.is_taken && read.is_global());
        let fixed = [INET6, 0, 0, 0, MAIN_TABLE, 9, 0, 1, 0, 0, 0, 0];
        let build =
            |request: Request| request.with(4, &7_u32.to_ne_bytes()).with(5, &global.octets());
        assert_eq!(
            router(&body(&fixed, build)),
            Some(Router { link: 7, address: global, is_announced: true })
        );
        let other = [INET6, 64, 0, 0, MAIN_TABLE, 9, 0, 1, 0, 0, 0, 0];
        assert_eq!(router(&body(&other, build)), None);
    }

    #[test]
    fn name_servers_of_advertisements_are_read() {
        let mut option = vec![NAME_SERVERS, 3, 0, 0, 0, 0, 1, 0];
        option.extend("2001:db8::53".parse::<Ipv6Addr>().unwrap().octets());
        option.extend([SEARCH, 2, 0, 0, 0, 0, 1, 0]);
        option.extend(b"\x01a\x03com\0\0");
        option.extend([NAME_SERVERS, 3, 0, 0, 0, 0, 0, 0]);
        option.extend("2001:db8::66".parse::<Ipv6Addr>().unwrap().octets());
        let mut bytes = vec![INET6, 0];
        bytes.extend(u16::try_from(option.len()).unwrap().to_ne_bytes());
        bytes.extend(7_u32.to_ne_bytes());
        bytes.extend([134, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(option);
        let read = names(&bytes).unwrap();
        assert_eq!(read.dns, ["2001:db8::53".parse::<Ipv6Addr>().unwrap()]);
        assert_eq!((read.link, read.search), (7, vec!["a.com".to_owned()]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(
            place in 0_usize..120, bytes in prop::collection::vec(any::<u8>(), 0..60), cut in 0_usize..160
        ) {
            let mut body = link_body();
            for (offset, byte) in bytes.iter().enumerate() {
                if let Some(old) = body.get_mut(place + offset) {
                    *old = *byte;
                }
            }
            body.truncate(cut);
            for body in [&body, &bytes] {
                let _ = (link(body), address(body), router(body), names(body), error(body));
            }
        }
    }
}
