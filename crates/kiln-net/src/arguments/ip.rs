//! The value of `ip=`, in its three forms.
//!
//! 1. `<method>`
//! 2. `<link>:<method>[:<mtu>[:<mac>]]`
//! 3. `<client>:<peer>:<router>:<mask>:<host name>:<link>:<method>` and behind it either
//!    `[:<mtu>[:<mac>]]` or `[:<dns>[:<dns>[:<ntp>]]]`
//!
//! The second field of the third form is the other end of a point-to-point link in dracut's words and
//! the address of the boot server in the kernel's, which PXE loaders write (`IPAPPEND`). It is
//! taken as the other end only where there is no network beside it: it has bits of its own
//! (`192.0.2.1/32`), or the mask leaves room for one machine.

use std::net::IpAddr;

use super::fields::{Fields, parse_address, parse_network, parse_prefix, usual_prefix};
use super::{Fault, LinkWish, Method, NO_ADDRESS, NO_MAC, Selector, StaticAddress, parse_name};
use crate::leases::is_host_name;
use crate::link::Mac;

/// Smallest packet that IPv4 works with, in bytes (RFC 791, section 3.2).
const MTU_MINIMUM: u32 = 68;
/// Largest length of an IPv4 packet.
const MTU_MAXIMUM: u32 = 65_535;
/// Fields of a hardware address between colons.
const MAC_FIELDS: usize = 6;

/// What a word in the place of the method says.
enum Word {
    /// A way to an address.
    Method(Method),
    /// No way: the address stands in the word.
    None,
}

/// Reads the value of `ip=`.
pub(super) fn parse(text: &str) -> Result<LinkWish, Fault> {
    let fields = Fields::parse(text).ok_or(Fault::Malformed("its brackets do not match"))?;
    if fields.len() == 1 && fields.get(0).is_empty() {
        return Err(Fault::Malformed("it is empty"));
    }
    if fields.len() == 1
        && let Some(word) = parse_method(fields.get(0))?
    {
        return match word {
            Word::Method(method) => Ok(plain(Selector::Any, method)),
            Word::None => Err(Fault::Off),
        };
    }
    let (first, second) = (fields.get(0), fields.get(1));
    if !first.is_empty()
        && parse_address(first).is_none()
        && let Some(word) = parse_method(second)?
    {
        let method = match word {
            Word::Method(method) => method,
            Word::None => Method::Off,
        };
        let mut wish = plain(parse_selector(first)?, method);
        parse_tail(fields.from(2), &mut wish)?;
        return Ok(wish);
    }
    parse_full(&fields)
}

fn plain(link: Selector, method: Method) -> LinkWish {
    LinkWish { link, method, hostname: None, mtu: None, mac: None, dns: Vec::new() }
}

/// A name, or a hardware address with hyphens, since colons separate fields.
fn parse_selector(text: &str) -> Result<Selector, Fault> {
    match text.parse::<Mac>() {
        Ok(mac) => Ok(Selector::Mac(mac)),
        Err(()) => parse_name(text).map(Selector::Name),
    }
}

/// The method; `None` if the word is none.
fn parse_method(text: &str) -> Result<Option<Word>, Fault> {
    Ok(Some(Word::Method(match text {
        "dhcp" | "on" | "any" | "dhcp4" | "auto" => Method::Dhcp,
        "single-dhcp" => Method::SingleDhcp,
        "auto6" => Method::Auto6,
        "dhcp6" => Method::Dhcp6,
        "either6" => Method::Either6,
        "link6" => Method::Link6,
        "none" | "off" | "static" => return Ok(Some(Word::None)),
        "ibft" => return Err(Fault::Unsupported("addresses of iSCSI firmware are not read")),
        "bootp" | "rarp" | "both" => {
            return Err(Fault::Unsupported("BOOTP and RARP are gone from networks; use dhcp"));
        }
        "link-local" | "link4" | "disabled" | "shared" => {
            return Err(Fault::Unsupported("this method reaches no server"));
        }
        _ => return Ok(None),
    })))
}

fn parse_full(fields: &Fields) -> Result<LinkWish, Fault> {
    let link = match fields.get(5) {
        "" => Selector::Any,
        name => parse_selector(name)?,
    };
    let word = match fields.get(6) {
        "" => None,
        text => Some(parse_method(text)?.ok_or(Fault::Malformed("it names no known method"))?),
    };
    let client = fields.get(0);
    let address = match client {
        "" => None,
        text => Some(parse_static(text, fields)?),
    };
    let method = match (word, address) {
        (Some(Word::Method(method)), _) => method,
        (_, Some(address)) => Method::Static(address),
        // The kernel asks for an address where none is given.
        (None, None) if link != Selector::Any => Method::Dhcp,
        (Some(Word::None), None) if link != Selector::Any => Method::Off,
        (Some(Word::None), None) => return Err(Fault::Off),
        (None, None) => return Err(Fault::Malformed("it names neither address, link nor method")),
    };
    let mut wish = plain(link, method);
    wish.hostname = match fields.get(4) {
        "" => None,
        name if is_host_name(name) => Some(name.to_owned()),
        _ => return Err(Fault::Malformed("its fifth field is no host name")),
    };
    parse_tail(fields.from(7), &mut wish)?;
    Ok(wish)
}

fn parse_static(client: &str, fields: &Fields) -> Result<StaticAddress, Fault> {
    let (address, own_prefix) = match parse_network(client) {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (parse_address(client).ok_or(NO_ADDRESS)?, None),
    };
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Err(Fault::Malformed("its address is none that a machine can have"));
    }
    let of_family = |other: IpAddr| {
        let fault = Fault::Malformed("its addresses are of different families");
        if other.is_ipv4() == address.is_ipv4() { Ok(other) } else { Err(fault) }
    };
    let mask = match fields.get(3) {
        "" => None,
        text => Some(
            parse_prefix(text, address.is_ipv4())
                .ok_or(Fault::Malformed("its fourth field is no network mask"))?,
        ),
    };
    let gateway = match fields.get(2) {
        "" => None,
        text => {
            let gateway = of_family(parse_address(text).ok_or(NO_ADDRESS)?)?;
            (!gateway.is_unspecified()).then_some(gateway)
        }
    };
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let (peer, prefix) = match fields.get(1) {
        "" => (None, None),
        text => match parse_network(text) {
            Some((peer, prefix)) => (Some(of_family(peer)?), Some(prefix)),
            None => {
                let peer = of_family(parse_address(text).ok_or(NO_ADDRESS)?)?;
                let is_alone = mask == Some(whole) || own_prefix == Some(whole);
                (is_alone.then_some(peer), None)
            }
        },
    };
    let prefix = prefix.or(mask).or(own_prefix).unwrap_or_else(|| usual_prefix(address));
    Ok(StaticAddress { address, prefix, peer, gateway })
}

/// What stands behind the method: `<mtu>:<mac>` or name servers.
fn parse_tail(tail: &[String], wish: &mut LinkWish) -> Result<(), Fault> {
    let Some((first, rest)) = tail.split_first() else { return Ok(()) };
    if tail.iter().all(String::is_empty) {
        return Ok(());
    }
    let is_number = first.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && (!first.is_empty() || rest.len() >= MAC_FIELDS) {
        if !first.is_empty() {
            let mtu = first.parse().ok().filter(|mtu| (MTU_MINIMUM..=MTU_MAXIMUM).contains(mtu));
            let fault = Fault::Malformed("its packet size is not between 68 and 65535");
            wish.mtu = Some(mtu.ok_or(fault)?);
        }
        if rest.iter().any(|field| !field.is_empty()) {
            wish.mac = Some(rest.join(":").parse().map_err(|()| NO_MAC)?);
        }
        return Ok(());
    }
    if tail.len() > 3 {
        return Err(Fault::Malformed("it has too many fields"));
    }
    for (index, field) in tail.iter().enumerate().filter(|(_, field)| !field.is_empty()) {
        let server = parse_address(field).ok_or(NO_ADDRESS)?;
        // The third is a time server in the kernel's words; nothing here asks for the time.
        if index < 2 {
            wish.dns.push(server);
        }
    }
    Ok(())
}
