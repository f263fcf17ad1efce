//! The kernel's links, addresses and routes, with names for what fails; and what was changed, to be
//! undone.
//!
//! Each change is noted at once and undone in the opposite order. What exists already is somebody
//! else's: it is used, and not removed. Setting links back to how a fresh kernel makes them was dropped:
//! on a link that firmware or an earlier program left switched on, that would be a change, too.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use rustix::io::Errno;

use crate::Error;
use crate::dhcp::frame;
use crate::dhcp6::socket::LinkSocket;
use crate::link::{Link, Mac};
use crate::modules;
use crate::netlink::answers::{self, Address, Router};
use crate::netlink::requests::{self, AddressRequest, RouteRequest};
use crate::netlink::socket::Netlink;
use kiln_sys::packet::PacketSocket;

/// One change.
#[derive(Debug)]
enum Change {
    /// A link was switched on.
    Up { link: u32, name: String },
    /// A link had this name.
    Name { link: u32, old: String, was_up: bool },
    /// A link had this hardware address.
    Mac { link: u32, name: String, old: Mac, was_up: bool },
    /// A link had this largest packet.
    Mtu { link: u32, name: String, old: u32 },
    /// A VLAN was made.
    Vlan { link: u32, name: String },
    /// An address was added.
    Address(AddressRequest),
    /// A route was added.
    Route(RouteRequest),
    /// A setting below `/proc/sys` had this text.
    Setting { path: String, old: String },
    /// An address was leased.
    Lease(Release),
    /// An IPv6 address was leased: the link, its address for the wire, and the message that gives
    /// the lease back.
    Lease6 { link: u32, own: Ipv6Addr, message: Vec<u8> },
}

/// How a lease is given back.
#[derive(Debug)]
pub(crate) struct Release {
    /// Number of the link.
    pub(crate) link: u32,
    /// Its name.
    pub(crate) name: String,
    /// The address.
    pub(crate) address: Ipv4Addr,
    /// The server.
    pub(crate) server: Ipv4Addr,
    /// The hardware address from which the server's answer came: its own, or that of a router.
    pub(crate) through: [u8; 6],
    /// The message.
    pub(crate) message: Vec<u8>,
}

/// The kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    netlink: Netlink,
    changes: Vec<Change>,
}

fn failed(action: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let action = action.into();
    |source| Error::Kernel { action, source }
}

impl Kernel {
    pub(crate) fn open() -> Result<Self, Error> {
        let netlink = Netlink::open().map_err(failed("talk to the kernel about links"))?;
        Ok(Self { netlink, changes: Vec::new() })
    }

    pub(crate) fn links(&mut self) -> Result<Vec<Link>, Error> {
        self.netlink.list(&requests::links(), answers::link).map_err(failed("list the links"))
    }

    /// IPv6 addresses; none where the kernel has no IPv6.
    pub(crate) fn addresses(&mut self) -> Vec<Address> {
        self.netlink.list(&requests::addresses(), answers::address).unwrap_or_default()
    }

    /// IPv6 routers; none where the kernel has no IPv6.
    pub(crate) fn routers(&mut self) -> Vec<Router> {
        self.netlink.list(&requests::routes(), answers::router).unwrap_or_default()
    }

    /// Switches a link on, unless it is.
    pub(crate) fn set_up(&mut self, link: &Link) -> Result<(), Error> {
        if link.is_up {
            return Ok(());
        }
        let name = link.name.clone();
        let action = failed(format!("switch on `{name}`"));
        self.netlink.change(requests::set_up(link.index, true)).map_err(action)?;
        self.changes.push(Change::Up { link: link.index, name });
        Ok(())
    }

    pub(crate) fn rename(&mut self, link: &Link, name: &str) -> Result<(), Error> {
        let action = failed(format!("rename `{}` to `{name}`", link.name));
        self.while_off(link.index, link.is_up, requests::set_name(link.index, name))
            .map_err(action)?;
        let (old, was_up) = (link.name.clone(), link.is_up);
        self.changes.push(Change::Name { link: link.index, old, was_up });
        Ok(())
    }

    pub(crate) fn set_mac(&mut self, link: &Link, mac: Mac) -> Result<(), Error> {
        let Some(old) = link.mac.filter(|old| *old != mac) else { return Ok(()) };
        let action = failed(format!("give `{}` the hardware address {mac}", link.name));
        self.while_off(link.index, link.is_up, requests::set_mac(link.index, mac))
            .map_err(action)?;
        let (name, was_up) = (link.name.clone(), link.is_up);
        self.changes.push(Change::Mac { link: link.index, name, old, was_up });
        Ok(())
    }

    pub(crate) fn set_mtu(&mut self, link: &Link, bytes: u32) -> Result<(), Error> {
        if link.mtu == bytes {
            return Ok(());
        }
        let action = failed(format!("set the packet size of `{}` to {bytes}", link.name));
        self.netlink.change(requests::set_mtu(link.index, bytes)).map_err(action)?;
        let name = link.name.clone();
        self.changes.push(Change::Mtu { link: link.index, name, old: link.mtu });
        Ok(())
    }

    /// Makes a VLAN; the number that the kernel gave it is in the list of links afterwards.
    pub(crate) fn add_vlan(&mut self, name: &str, parent: &Link, number: u16) -> Result<(), Error> {
        let request = || requests::add_vlan(name, parent.index, number);
        let mut made = self.netlink.change(request());
        if made.as_ref().is_err_and(|error| is(error, Errno::OPNOTSUPP)) {
            modules::load("8021q");
            made = self.netlink.change(request());
        }
        made.map_err(failed(format!("make the VLAN `{name}` on `{}`", parent.name)))?;
        let links = self.links()?;
        if let Some(link) = links.iter().find(|link| link.name == name) {
            self.changes.push(Change::Vlan { link: link.index, name: name.to_owned() });
        }
        Ok(())
    }

    pub(crate) fn add_address(&mut self, name: &str, wanted: AddressRequest) -> Result<(), Error> {
        let action = failed(format!("give `{name}` the address {}", wanted.address));
        if new(self.netlink.change(requests::add_address(&wanted))).map_err(action)? {
            self.changes.push(Change::Address(wanted));
        }
        Ok(())
    }

    pub(crate) fn add_route(&mut self, name: &str, wanted: RouteRequest) -> Result<(), Error> {
        let (network, prefix) = (wanted.network, wanted.prefix);
        let action = failed(format!("route {network}/{prefix} over `{name}`"));
        if new(self.netlink.change(requests::add_route(&wanted))).map_err(action)? {
            self.changes.push(Change::Route(wanted));
        }
        Ok(())
    }

    /// Changes a setting of IPv6 of a link, if the kernel has it.
    pub(crate) fn set_ipv6(
        &mut self,
        name: &str,
        setting: &str,
        wanted: &str,
    ) -> Result<(), Error> {
        let path = format!("/proc/sys/net/ipv6/conf/{name}/{setting}");
        let Ok(old) = fs::read_to_string(&path) else { return Ok(()) };
        if old.trim() != wanted {
            write_setting(&path, wanted)?;
            self.changes.push(Change::Setting { path, old });
        }
        Ok(())
    }

    pub(crate) fn note_lease(&mut self, release: Release) {
        self.changes.push(Change::Lease(release));
    }

    pub(crate) fn note_lease6(&mut self, link: u32, own: Ipv6Addr, message: Vec<u8>) {
        self.changes.push(Change::Lease6 { link, own, message });
    }

    /// Takes back all changes, the last first. It goes on when one cannot be taken back, and gives
    /// the first reason.
    pub(crate) fn undo(&mut self) -> Result<(), Error> {
        let mut result = Ok(());
        while let Some(change) = self.changes.pop() {
            result = result.and(self.take_back(change));
        }
        result
    }

    /// Forgets all changes: they stay.
    pub(crate) fn keep(&mut self) {
        self.changes.clear();
    }

    fn take_back(&mut self, change: Change) -> Result<(), Error> {
        let (action, done) = match change {
            Change::Up { link, name } => {
                (format!("switch off `{name}`"), self.netlink.change(requests::set_up(link, false)))
            }
            Change::Name { link, old, was_up } => {
                let request = requests::set_name(link, &old);
                (format!("give `{old}` its name back"), self.while_off(link, was_up, request))
            }
            Change::Mac { link, name, old, was_up } => {
                let request = requests::set_mac(link, old);
                (format!("give `{name}` its address back"), self.while_off(link, was_up, request))
            }
            Change::Mtu { link, name, old } => (
                format!("set the packet size of `{name}` back"),
                self.netlink.change(requests::set_mtu(link, old)),
            ),
            Change::Vlan { link, name } => (
                format!("remove the VLAN `{name}`"),
                self.netlink.change(requests::remove_link(link)),
            ),
            Change::Address(wanted) => (
                format!("remove the address {}", wanted.address),
                self.netlink.change(requests::remove_address(&wanted)),
            ),
            Change::Route(wanted) => (
                format!("remove the route to {}/{}", wanted.network, wanted.prefix),
                self.netlink.change(requests::remove_route(&wanted)),
            ),
            Change::Setting { path, old } => return write_setting(&path, old.trim()),
            Change::Lease(release) => {
                // A courtesy: without it the server gives the address to others when the lease ends.
                let packet = frame::write(release.address, release.server, &release.message);
                if let (Some(packet), Ok(socket)) =
                    (packet, PacketSocket::open(release.link, &release.name))
                {
                    let _ = socket.send(&packet, release.through);
                }
                return Ok(());
            }
            Change::Lease6 { link, own, message } => {
                let _ = LinkSocket::open(link, own).and_then(|socket| socket.send(&message));
                return Ok(());
            }
        };
        match done {
            Err(error) if is_gone(&error) => Ok(()),
            done => done.map_err(failed(action)),
        }
    }

    /// Changes a link that must be off for it.
    fn while_off(&mut self, link: u32, is_up: bool, request: requests::Request) -> io::Result<()> {
        if is_up {
            self.netlink.change(requests::set_up(link, false))?;
        }
        let done = self.netlink.change(request);
        if is_up { done.and(self.netlink.change(requests::set_up(link, true))) } else { done }
    }
}

/// Opens a socket below IP, with the module that it needs.
pub(crate) fn open_packet_socket(link: u32, name: &str) -> Result<PacketSocket, Error> {
    match PacketSocket::open(link, name) {
        Err(error) if error.number() == Some(Errno::AFNOSUPPORT.raw_os_error()) => {
            modules::load("af_packet");
            Ok(PacketSocket::open(link, name)?)
        }
        opened => Ok(opened?),
    }
}

fn write_setting(path: &str, value: &str) -> Result<(), Error> {
    match fs::write(path, value) {
        // The link went, and its settings with it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(|source| Error::File { action: "write", path: path.into(), source }),
    }
}

/// Whether it was made just now.
fn new(made: io::Result<()>) -> io::Result<bool> {
    match made {
        Ok(()) => Ok(true),
        Err(error) if is(&error, Errno::EXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is(error: &io::Error, number: Errno) -> bool {
    Errno::from_io_error(error) == Some(number)
}

/// Whether what should go has gone: with its link, with its address, or by its lifetime.
fn is_gone(error: &io::Error) -> bool {
    [Errno::NODEV, Errno::NOENT, Errno::SRCH, Errno::ADDRNOTAVAIL]
        .into_iter()
        .any(|number| is(error, number))
}
