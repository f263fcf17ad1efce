//! One task under way: its stage, its DHCP client with the socket, and what it reports at the end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use kiln_sys::packet::PacketSocket;

use crate::arguments::{LinkWish, Method};
use crate::dhcp::client::{Client, State};
use crate::dhcp::frame;
use crate::dhcp::lease::Lease;
use crate::dhcp6;
use crate::dhcp6::socket::LinkSocket;
use crate::kernel::Release;
use crate::leases::{Leases, LinkLease};
use crate::link::Link;
use crate::plan::{Phase, Task};
use crate::run::View;

/// Bytes of a packet that are looked at: an Ethernet link's largest, and no jumbo frame holds DHCP.
const PACKET_MAXIMUM: usize = 1500;
/// Packets that are read before other links get their turn.
const PACKETS_AT_ONCE: usize = 64;
/// Where questions go: everybody on the wire.
const EVERYBODY: [u8; 6] = [0xff; 6];

/// A task under way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) task: Task,
    pub(crate) stage: Stage,
    /// When it got its carrier, from the beginning; zero before.
    pub(crate) since: Duration,
    pub(crate) lease: Option<Lease>,
    pub(crate) lease6: Option<dhcp6::packet::Answer>,
    /// Its place among all tasks.
    pub(crate) position: usize,
}

/// How far it is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// It waits for a wire with something at its other end.
    Carrier,
    /// It asks a DHCP server.
    Dhcp(Box<Dhcp>),
    /// It waits for its address for the wire, to ask a DHCPv6 server from.
    OwnAddress,
    /// It asks a DHCPv6 server.
    Dhcp6(Box<Dhcp6>),
    /// The kernel asks routers and neighbours: for an address of its own making, or about this one.
    Neighbours(Option<Ipv6Addr>),
    /// It has an address since then.
    Ready(Duration),
    /// It will get none, and why.
    Failed(String),
    /// It wants none.
    Idle,
}

impl Stage {
    pub(crate) fn phase(&self) -> Phase {
        match self {
            Self::Carrier
            | Self::Dhcp(_)
            | Self::OwnAddress
            | Self::Dhcp6(_)
            | Self::Neighbours(_) => Phase::Waiting,
            Self::Ready(since) => Phase::Ready(*since),
            Self::Failed(_) => Phase::Failed,
            Self::Idle => Phase::Idle,
        }
    }

    /// Why it is not further, for people.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Carrier => "no carrier".into(),
            Self::Dhcp(dhcp) => dhcp.reason(),
            Self::OwnAddress => "it has no IPv6 address for the wire".into(),
            Self::Dhcp6(dhcp) => dhcp.reason(),
            Self::Neighbours(Some(address)) => format!("{address} is not usable yet"),
            Self::Neighbours(None) => "no router answered".into(),
            Self::Failed(reason) => reason.clone(),
            Self::Ready(_) | Self::Idle => "nothing to do".into(),
        }
    }
}

/// A DHCP client with its socket.
#[derive(Debug)]
pub(crate) struct Dhcp {
    pub(crate) client: Client,
    socket: PacketSocket,
    /// The hardware address that the last answer came from.
    through: [u8; 6],
    /// Whether anything like an answer came at all.
    has_heard: bool,
    /// Why the last question could not be sent.
    fault: Option<String>,
}

impl Dhcp {
    pub(crate) fn new(client: Client, socket: PacketSocket) -> Self {
        Self { client, socket, through: EVERYBODY, has_heard: false, fault: None }
    }

    /// Reads what has come and sends what is due; `now` counts from the carrier.
    pub(crate) fn advance(&mut self, now: Duration) {
        let mut buffer = [0; PACKET_MAXIMUM];
        for _ in 0..PACKETS_AT_ONCE {
            // A link that was switched off meanwhile shows in the next round.
            let Ok(Some((length, from))) = self.socket.receive(&mut buffer) else { break };
            let packet = buffer.get(..length).unwrap_or_default();
            if let Some((_, message)) = frame::read(packet) {
                let before = self.client.state().clone();
                self.client.hear(now, message);
                if *self.client.state() != before {
                    (self.through, self.has_heard) = (from, true);
                }
            }
        }
        if let Some(message) = self.client.ask(now) {
            let packet = frame::write(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, &message);
            let sent = packet.map(|packet| self.socket.send(&packet, EVERYBODY));
            // Not fatal: the next question may pass.
            self.fault = sent.and_then(Result::err).map(|error| error.to_string());
        }
    }

    /// How the lease is given back.
    pub(crate) fn release(&self, link: &Link) -> Option<Release> {
        let (address, server, message) = self.client.release()?;
        let (name, through) = (link.name.clone(), self.through);
        Some(Release { link: link.index, name, address, server, through, message })
    }

    fn reason(&self) -> String {
        match (&self.fault, self.client.state(), self.has_heard) {
            (Some(fault), _, _) => fault.clone(),
            (None, State::Requesting { server, .. }, _) => {
                format!("the DHCP server {server} offered an address and then fell silent")
            }
            (None, _, true) => "DHCP servers offer addresses and do not lease them".into(),
            (None, _, false) => "no DHCP server answered".into(),
        }
    }
}

/// A DHCPv6 client with its socket.
#[derive(Debug)]
pub(crate) struct Dhcp6 {
    pub(crate) client: dhcp6::client::Client,
    /// The link's address for the wire.
    pub(crate) own: Ipv6Addr,
    socket: LinkSocket,
    /// Why the last question could not be sent.
    fault: Option<String>,
}

impl Dhcp6 {
    pub(crate) fn new(client: dhcp6::client::Client, own: Ipv6Addr, socket: LinkSocket) -> Self {
        Self { client, own, socket, fault: None }
    }

    /// Reads what has come and sends what is due; `now` counts from the carrier.
    pub(crate) fn advance(&mut self, now: Duration) {
        let mut buffer = [0; PACKET_MAXIMUM];
        for _ in 0..PACKETS_AT_ONCE {
            let Some(message) = self.socket.receive(&mut buffer) else { break };
            self.client.hear(now, message);
        }
        if let Some(message) = self.client.ask(now) {
            self.fault = self.socket.send(&message).err().map(|error| error.to_string());
        }
    }

    fn reason(&self) -> String {
        match (&self.fault, self.client.state()) {
            (Some(fault), _) => fault.clone(),
            (None, dhcp6::client::State::Requesting { .. }) => {
                "a DHCPv6 server offered an address and then fell silent".into()
            }
            (None, _) => "no DHCPv6 server answered".into(),
        }
    }
}

impl Job {
    pub(crate) fn new(task: Task, stage: Stage, position: usize) -> Self {
        Self { task, stage, since: Duration::ZERO, lease: None, lease6: None, position }
    }

    /// When it wants to do something next, from now.
    pub(crate) fn due(&self, now: Duration) -> Option<Duration> {
        let next = match &self.stage {
            Stage::Dhcp(dhcp) => dhcp.client.next(),
            Stage::Dhcp6(dhcp) => dhcp.client.next(),
            _ => None,
        };
        Some(next?.saturating_add(self.since).saturating_sub(now))
    }

    /// What it listens on.
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.stage {
            Stage::Dhcp(dhcp) => Some(dhcp.socket.as_fd()),
            Stage::Dhcp6(dhcp) => Some(dhcp.socket.as_fd()),
            _ => None,
        }
    }

    /// Whether its link has an IPv6 address that reaches beyond the wire, and a router.
    pub(crate) fn has_ipv6(&self, view: &View) -> bool {
        let is_mine = |link: u32| link == self.task.link;
        let is_usable = view
            .addresses
            .iter()
            .any(|one| is_mine(one.link) && one.is_global() && !one.is_tentative && !one.is_taken);
        is_usable && view.routers.iter().any(|router| is_mine(router.link))
    }

    /// Its link's IPv6 address for the wire, once it may be used.
    pub(crate) fn own_address(&self, view: &View) -> Option<Ipv6Addr> {
        let mut addresses = view.addresses.iter().filter(|one| {
            one.link == self.task.link && one.address.is_unicast_link_local() && !one.is_taken
        });
        addresses.find(|one| !one.is_tentative).map(|one| one.address)
    }

    /// Adds what came of it.
    pub(crate) fn report(
        &self,
        wish: &LinkWish,
        view: &View,
        ignores_peer_dns: bool,
        leases: &mut Leases,
    ) {
        let name = &self.task.name;
        wish.dns.iter().for_each(|server| leases.add_dns(*server, name));
        if leases.hostname.is_none() {
            leases.hostname.clone_from(&wish.hostname);
        }
        let mut addresses: Vec<(IpAddr, u8)> = Vec::new();
        let mut gateways: Vec<IpAddr> = Vec::new();
        if let Method::Static(fixed) = &wish.method {
            addresses.push((fixed.address, fixed.prefix));
            gateways.extend(fixed.gateway);
        }
        if let Some(lease) = &self.lease {
            addresses.push((lease.address.into(), lease.prefix));
            gateways.extend(lease.gateways().into_iter().map(IpAddr::V4));
            if !ignores_peer_dns {
                lease.dns.iter().for_each(|server| leases.add_dns((*server).into(), name));
                lease.search.iter().for_each(|domain| leases.add_search(domain));
            }
            if leases.hostname.is_none() {
                leases.hostname.clone_from(&lease.hostname);
            }
        }
        if let Some(lease) = self.lease6.as_ref().filter(|_| !ignores_peer_dns) {
            lease.dns.iter().for_each(|server| leases.add_dns((*server).into(), name));
            lease.search.iter().for_each(|domain| leases.add_search(domain));
        }
        let own = view.addresses.iter().filter(|one| one.link == self.task.link && one.is_global());
        addresses.extend(own.map(|one| (IpAddr::V6(one.address), one.prefix)));
        let own = view.routers.iter().filter(|one| one.link == self.task.link);
        gateways.extend(own.map(|one| IpAddr::V6(one.address)));
        let link = view.links.iter().find(|link| link.index == self.task.link);
        let known = leases.links.iter_mut().find(|lease| lease.name == *name);
        let lease = match known {
            Some(lease) => lease,
            None => {
                leases.links.push(LinkLease {
                    name: name.clone(),
                    mac: link.and_then(|link| link.mac),
                    addresses: Vec::new(),
                    gateways: Vec::new(),
                });
                match leases.links.last_mut() {
                    Some(lease) => lease,
                    None => return,
                }
            }
        };
        for address in addresses {
            if !lease.addresses.contains(&address) {
                lease.addresses.push(address);
            }
        }
        for gateway in gateways {
            if !lease.gateways.contains(&gateway) {
                lease.gateways.push(gateway);
            }
        }
    }
}
