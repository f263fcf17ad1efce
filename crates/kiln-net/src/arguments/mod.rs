//! What the kernel command line says about the network: a pure reader of dracut's and the kernel's
//! words, so that machines keep theirs.
//!
//! Forms: dracut.cmdline(7), section Network, and Documentation/admin-guide/nfs/nfsroot.rst for the
//! kernel's own `ip=`. A word that belongs to the network and cannot be carried out is an error
//! rather than a word passed over: a machine that comes up with another network than was asked for is
//! found out late. Words of other subjects are not looked at.

mod fields;
mod ip;

use std::net::IpAddr;
use std::time::Duration;

use crate::Error;
use crate::link::{Mac, is_link_name};
use fields::{Fields, parse_address, parse_network};
use kiln_sys::command_line::words;

pub(crate) use fields::{prefix_of_mask, usual_prefix};

/// Words of one kind that are taken; a command line has at most 4096 bytes (`COMMAND_LINE_SIZE`).
const WORDS_MAXIMUM: usize = 64;
/// Longest wait that can be asked for, in seconds: an hour.
const WAIT_MAXIMUM: u64 = 3600;

/// Everything that the command line says about the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `ip=`, in order. Empty: DHCP on every wire.
    pub links: Vec<LinkWish>,
    /// `vlan=`.
    pub vlans: Vec<Vlan>,
    /// `ifname=`.
    pub renames: Vec<Rename>,
    /// `rd.route=`.
    pub routes: Vec<RouteWish>,
    /// `nameserver=`.
    pub dns: Vec<IpAddr>,
    /// `BOOTIF=`: the link that the firmware or boot loader used.
    pub boot_mac: Option<Mac>,
    /// `bootdev=`: the link whose default route is preferred.
    pub boot_device: Option<String>,
    /// `rd.peerdns=0`: name servers of the network are not used.
    pub ignores_peer_dns: bool,
    /// `kiln.net.keep`: nothing is undone.
    pub keeps: bool,
    /// `rd.net.timeout.carrier=`.
    pub carrier: Option<Duration>,
    /// `rd.net.timeout.dhcp=`.
    pub limit: Option<Duration>,
}

/// Which link is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Every wire.
    Any,
    /// The link of this name.
    Name(String),
    /// The link with this hardware address.
    Mac(Mac),
}

/// One `ip=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkWish {
    /// Which link.
    pub link: Selector,
    /// How it gets its address.
    pub method: Method,
    /// The machine's name, which is also told to the DHCP server.
    pub hostname: Option<String>,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// The hardware address that it takes.
    pub mac: Option<Mac>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
}

/// How a link gets its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// It is left alone (`none`, `off`, without an address).
    Off,
    /// DHCPv4 (`dhcp`, `on`, `any`); IPv6 as the kernel finds it.
    Dhcp,
    /// The same, and the first link that has a lease is enough (`single-dhcp`).
    SingleDhcp,
    /// IPv6 by router advertisements (`auto6`).
    Auto6,
    /// IPv6 by DHCPv6 (`dhcp6`).
    Dhcp6,
    /// IPv6 by whichever comes first (`either6`).
    Either6,
    /// IPv6 on the wire only (`link6`).
    Link6,
    /// As given.
    Static(StaticAddress),
}

/// A fixed address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticAddress {
    /// The address.
    pub address: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
    /// The other end, where the link has no more than two.
    pub peer: Option<IpAddr>,
    /// Router to everywhere.
    pub gateway: Option<IpAddr>,
}

/// One `vlan=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// Its name.
    pub name: String,
    /// Its number, 1 to 4094 (IEEE 802.1Q).
    pub number: u16,
    /// The link that carries it.
    pub parent: String,
}

/// One `ifname=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The name to give.
    pub name: String,
    /// To the link with this hardware address.
    pub mac: Mac,
}

/// One `rd.route=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteWish {
    /// The network.
    pub network: IpAddr,
    /// Bits of it.
    pub prefix: u8,
    /// Through which router; none for a network on the wire.
    pub gateway: Option<IpAddr>,
    /// Over which link; none for the first.
    pub link: Option<String>,
}

impl Wishes {
    /// Reads the content of `/proc/cmdline`.
    ///
    /// # Errors
    /// [`Error::Argument`] for malformed words of the network, [`Error::Unsupported`] for those that
    /// cannot be carried out, [`Error::SwitchedOff`] for `ip=off` without a link.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut wishes = Self::default();
        for word in words(text) {
            // Behind a lone `--` everything belongs to the next first process.
            if word == "--" {
                break;
            }
            let (key, value) = word.split_once('=').unwrap_or((&word, ""));
            wishes.take(key, value).map_err(|fault| fault.about(&word))?;
        }
        Ok(wishes)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), Fault> {
        match key {
            "ip" => push(&mut self.links, ip::parse(value)?),
            "vlan" => push(&mut self.vlans, parse_vlan(value)?),
            "ifname" => push(&mut self.renames, parse_rename(value)?),
            "rd.route" => push(&mut self.routes, parse_route(value)?),
            "nameserver" => push(&mut self.dns, parse_address(value).ok_or(NO_ADDRESS)?),
            "BOOTIF" => {
                self.boot_mac = Some(parse_boot_mac(value)?);
                Ok(())
            }
            "bootdev" => {
                self.boot_device = Some(parse_name(value)?);
                Ok(())
            }
            "rd.peerdns" => {
                self.ignores_peer_dns = value == "0";
                Ok(())
            }
            "rd.bootif" => Ok(()),
            "kiln.net.keep" => {
                self.keeps = match value {
                    "" | "1" | "yes" => true,
                    "0" | "no" => false,
                    _ => return Err(Fault::Malformed("it is neither 0 nor 1")),
                };
                Ok(())
            }
            "rd.net.timeout.carrier" => {
                self.carrier = Some(parse_seconds(value)?);
                Ok(())
            }
            "rd.net.timeout.dhcp" => {
                self.limit = Some(parse_seconds(value)?);
                Ok(())
            }
            "bond" | "bridge" | "team" => {
                Err(Fault::Unsupported("links joined together are made by the system, later"))
            }
            "rd.znet" | "rd.zdev" => Err(Fault::Unsupported("it is for another architecture")),
            _ => Ok(()),
        }
    }
}

/// What is wrong with a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It is malformed.
    Malformed(&'static str),
    /// It cannot be carried out.
    Unsupported(&'static str),
    /// It forbids the network.
    Off,
}

const NO_ADDRESS: Fault = Fault::Malformed("it is no IP address");
const NO_NAME: Fault = Fault::Malformed("it is no name of a link");
const NO_MAC: Fault = Fault::Malformed("the hardware address is not six pairs of digits");

impl Fault {
    fn about(self, word: &str) -> Error {
        let argument = word.to_owned();
        match self {
            Self::Malformed(reason) => Error::Argument { argument, reason },
            Self::Unsupported(reason) => Error::Unsupported { argument, reason },
            Self::Off => Error::SwitchedOff { argument },
        }
    }
}

fn push<Item: PartialEq>(list: &mut Vec<Item>, item: Item) -> Result<(), Fault> {
    if list.len() >= WORDS_MAXIMUM {
        return Err(Fault::Malformed("there are too many of its kind"));
    }
    if !list.contains(&item) {
        list.push(item);
    }
    Ok(())
}

fn parse_name(text: &str) -> Result<String, Fault> {
    if is_link_name(text) { Ok(text.to_owned()) } else { Err(NO_NAME) }
}

fn parse_seconds(text: &str) -> Result<Duration, Fault> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().ok().filter(|&seconds| is_plain && seconds <= WAIT_MAXIMUM);
    seconds
        .map(Duration::from_secs)
        .ok_or(Fault::Malformed("it is no number of seconds up to 3600"))
}

/// `BOOTIF=` has the kind of hardware before the address (`01-52-54-…`, pxelinux); some loaders
/// leave it out or write colons.
fn parse_boot_mac(text: &str) -> Result<Mac, Fault> {
    let text = text.replace(':', "-");
    let address = match text.split_once('-') {
        Some((kind, rest)) if text.split('-').count() == 7 => {
            if kind != "01" {
                return Err(Fault::Unsupported("the link is not Ethernet"));
            }
            rest
        }
        _ => &text,
    };
    address.parse().map_err(|()| NO_MAC)
}

/// `<name>:<parent>`; the number stands at the end of the name (`vlan0005`, `eth0.5`).
fn parse_vlan(text: &str) -> Result<Vlan, Fault> {
    let (name, parent) = text.split_once(':').ok_or(NO_NAME)?;
    let (name, parent) = (parse_name(name)?, parse_name(parent)?);
    let without = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let number = name.strip_prefix(without).and_then(|digits| digits.parse().ok());
    match number.filter(|number| (1..=4094).contains(number)) {
        Some(number) if name != parent => Ok(Vlan { name, number, parent }),
        _ => Err(Fault::Malformed("the name does not end with a VLAN's number, 1 to 4094")),
    }
}

/// `<name>:<hardware address>`.
fn parse_rename(text: &str) -> Result<Rename, Fault> {
    let (name, mac) = text.split_once(':').ok_or(NO_MAC)?;
    Ok(Rename { name: parse_name(name)?, mac: mac.parse().map_err(|()| NO_MAC)? })
}

/// `<network>/<bits>[:<router>[:<link>]]`.
fn parse_route(text: &str) -> Result<RouteWish, Fault> {
    let fields = Fields::parse(text).ok_or(Fault::Malformed("its brackets do not match"))?;
    if fields.len() > 3 {
        return Err(Fault::Malformed("it has more than three fields"));
    }
    let (network, prefix) =
        parse_network(fields.get(0)).ok_or(Fault::Malformed("the network is not ADDRESS/BITS"))?;
    let gateway = match fields.get(1) {
        "" => None,
        text => Some(parse_address(text).ok_or(NO_ADDRESS)?),
    };
    if gateway.is_some_and(|gateway| gateway.is_ipv4() != network.is_ipv4()) {
        return Err(Fault::Malformed("network and router are of different families"));
    }
    let link = match fields.get(2) {
        "" => None,
        name => Some(parse_name(name)?),
    };
    if gateway.is_none() && link.is_none() {
        return Err(Fault::Malformed("it names neither router nor link"));
    }
    Ok(RouteWish { network, prefix, gateway, link })
}

#[cfg(test)]
mod tests;
