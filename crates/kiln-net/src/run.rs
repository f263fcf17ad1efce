//! Brings the links up: one loop over all of them, without threads, until enough are ready.
//!
//! A round looks at the links, lets each task go one step, and waits for a packet or a moment. Links
//! are looked at again in each round instead of being listened to: a list is 1 ms of work, cannot be
//! missed, and shows late links, late carriers and vanished links all the same way.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Error;
use crate::arguments::{LinkWish, Method, StaticAddress, Wishes};
use crate::dhcp::client::Client;
use crate::dhcp6;
use crate::dhcp6::socket::LinkSocket;
use crate::job::{Dhcp, Dhcp6, Job, Stage};
use crate::kernel::Kernel;
use crate::leases::{Leases, LinkLease};
use crate::link::Link;
use crate::netlink::answers::{Address, Names, Router};
use crate::netlink::requests::{AddressRequest, RouteRequest};
use crate::netlink::socket::Announcements;
use crate::network::Options;
use crate::plan::{self, Phase};

/// The longest pause between two looks at the links.
const ROUND: Duration = Duration::from_millis(200);
/// After which a machine whose command line says nothing goes on with IPv6 alone.
const IPV4_PATIENCE: Duration = Duration::from_secs(10);

/// The work between [`crate::up`] and its leases.
pub(crate) struct Run<'a> {
    pub(crate) kernel: &'a mut Kernel,
    wishes: &'a Wishes,
    links: &'a [LinkWish],
    options: &'a Options,
    started: Instant,
    say: &'a mut dyn FnMut(&str),
    announcements: Option<Announcements>,
    names: Vec<Names>,
    jobs: Vec<Job>,
    /// The first refusal of the kernel.
    fault: Option<Error>,
    seed: u64,
}

/// What a round sees.
pub(crate) struct View {
    pub(crate) now: Duration,
    pub(crate) links: Vec<Link>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) routers: Vec<Router>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        kernel: &'a mut Kernel,
        wishes: &'a Wishes,
        links: &'a [LinkWish],
        options: &'a Options,
        started: Instant,
        say: &'a mut dyn FnMut(&str),
    ) -> Result<Self, Error> {
        let [a, b, c, d, e, f, g, h, ..] = kiln_sys::machine::random()?;
        Ok(Self {
            kernel,
            wishes,
            links,
            options,
            started,
            say,
            // Without it name servers of advertisements are missing, and everything else works.
            announcements: Announcements::open().ok(),
            names: Vec::new(),
            jobs: Vec::new(),
            fault: None,
            seed: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        })
    }

    /// Works until enough is ready, and gives what came of it.
    pub(crate) fn finish(mut self) -> Result<Leases, Error> {
        let mut said_waiting = false;
        loop {
            let now = self.started.elapsed();
            let links = self.prepare()?;
            let missing = self.assign(&links)?;
            let view = View {
                now,
                addresses: self.kernel.addresses(),
                routers: self.kernel.routers(),
                links: self.kernel.links()?,
            };
            let mut jobs = std::mem::take(&mut self.jobs);
            for job in &mut jobs {
                // What goes wrong on one link is no matter of the others.
                if let Err(error) = self.advance(job, &view) {
                    job.stage = Stage::Failed(error.to_string());
                    self.fault.get_or_insert(error);
                }
            }
            self.jobs = jobs;
            self.names.extend(self.announcements.iter().flat_map(Announcements::heard));
            let waits_for_links = !missing.is_empty() && now < self.options.first_link;
            if !missing.is_empty() && !said_waiting {
                (self.say)(&format!("network: waiting for a link {}", missing.join(", ")));
                said_waiting = true;
            }
            if !missing.is_empty() && !waits_for_links && self.jobs.is_empty() {
                let found: Vec<String> =
                    view.links.iter().map(|link| format!("`{}`", link.name)).collect();
                return Err(Error::NoLink {
                    wanted: missing.join(", "),
                    found: found.join(", "),
                    waited: self.options.first_link,
                });
            }
            let phases: Vec<(bool, Phase)> =
                self.jobs.iter().map(|job| (job.task.is_shared, job.stage.phase())).collect();
            let is_single = self.links.iter().any(|link| link.method == Method::SingleDhcp);
            if !waits_for_links && plan::is_over(&phases, is_single, now) {
                return self.conclude(&view, &missing);
            }
            self.wait(now);
        }
    }

    /// Names and VLANs, as far as their links are there.
    fn prepare(&mut self) -> Result<Vec<Link>, Error> {
        let mut links = self.kernel.links()?;
        for rename in &self.wishes.renames {
            let wire = links.iter().find(|link| link.is_wire() && link.mac == Some(rename.mac));
            if let Some(link) = wire.filter(|link| link.name != rename.name) {
                self.kernel.rename(link, &rename.name)?;
                links = self.kernel.links()?;
            }
        }
        for vlan in &self.wishes.vlans {
            let parent = links.iter().find(|link| link.is_called(&vlan.parent)).cloned();
            if let Some(parent) =
                parent.filter(|_| !links.iter().any(|link| link.name == vlan.name))
            {
                self.kernel.add_vlan(&vlan.name, &parent, vlan.number)?;
                self.kernel.set_up(&parent)?;
                (self.say)(&format!("network: {} on {}", vlan.name, parent.name));
                links = self.kernel.links()?;
            }
        }
        Ok(links)
    }

    /// Begins the tasks of links that are new; gives the links that are wanted and not there.
    fn assign(&mut self, links: &[Link]) -> Result<Vec<String>, Error> {
        let vlans: Vec<String> = self.wishes.vlans.iter().map(|vlan| vlan.name.clone()).collect();
        let (tasks, missing) = plan::assign(self.links, &vlans, links);
        for task in tasks {
            let is_same = |job: &Job| (job.task.wish, job.task.link) == (task.wish, task.link);
            let is_known = self.jobs.iter().any(is_same);
            let Some(wish) = self.links.get(task.wish).filter(|_| !is_known) else { continue };
            let Some(link) = links.iter().find(|link| link.index == task.link) else { continue };
            if let Some(mac) = wish.mac {
                self.kernel.set_mac(link, mac)?;
            }
            if let Some(mtu) = wish.mtu {
                self.kernel.set_mtu(link, mtu)?;
            }
            if matches!(wish.method, Method::Auto6 | Method::Either6 | Method::Dhcp6) {
                self.kernel.set_ipv6(&link.name, "disable_ipv6", "0")?;
                self.kernel.set_ipv6(&link.name, "accept_ra", "1")?;
            }
            self.kernel.set_up(link)?;
            let stage = match wish.method {
                Method::Off => Stage::Idle,
                _ => Stage::Carrier,
            };
            self.jobs.push(Job::new(task, stage, self.jobs.len()));
        }
        Ok(missing)
    }

    /// One step of one task.
    fn advance(&mut self, job: &mut Job, view: &View) -> Result<(), Error> {
        let Some(wish) = self.links.get(job.task.wish) else { return Ok(()) };
        if job.stage.phase() != Phase::Waiting {
            return Ok(());
        }
        let Some(link) = view.links.iter().find(|link| link.index == job.task.link) else {
            job.stage = Stage::Failed("it vanished".into());
            return Ok(());
        };
        job.task.name.clone_from(&link.name);
        if matches!(job.stage, Stage::Carrier) {
            if link.has_carrier {
                (self.say)(&format!("network: {} has carrier", link.name));
                job.since = view.now;
                job.stage = self.begin(job, wish, link)?;
            } else if view.now >= self.options.carrier {
                job.stage = Stage::Failed("no carrier".into());
            }
            return Ok(());
        }
        let waited = view.now.saturating_sub(job.since);
        let is_ipv6_ready = job.has_ipv6(view);
        if let Stage::Dhcp(dhcp) = &mut job.stage {
            dhcp.advance(waited);
            if dhcp.client.lease().is_some() {
                self.take_lease(job, link, view.now)?;
                return Ok(());
            }
            // Nobody asked for IPv4 by name, and a network without it is a network.
            if is_ipv6_ready && self.wishes.links.is_empty() && waited >= IPV4_PATIENCE {
                job.stage = Stage::Ready(view.now);
                return Ok(());
            }
        } else if matches!(job.stage, Stage::OwnAddress | Stage::Dhcp6(_)) {
            if wish.method == Method::Either6 && is_ipv6_ready {
                job.stage = Stage::Ready(view.now);
            } else {
                self.advance_dhcp6(job, link, view, waited)?;
            }
        } else if let Stage::Neighbours(wanted) = &job.stage {
            let wanted = *wanted;
            let fixed = view.addresses.iter().find(|one| {
                one.link == link.index && wanted.is_some_and(|address| address == one.address)
            });
            if fixed.is_some_and(|address| address.is_taken) {
                job.stage = Stage::Failed("somebody else has the address".into());
            } else if fixed.is_some_and(|address| !address.is_tentative)
                || (wanted.is_none() && is_ipv6_ready)
                || (wish.method == Method::Link6 && job.own_address(view).is_some())
            {
                job.stage = Stage::Ready(view.now);
            }
        }
        if job.stage.phase() == Phase::Waiting && waited >= self.options.limit {
            job.stage = match is_ipv6_ready {
                true => Stage::Ready(view.now),
                false => Stage::Failed(job.stage.reason()),
            };
        }
        Ok(())
    }

    /// What a link does once it has carrier.
    fn begin(&mut self, job: &Job, wish: &LinkWish, link: &Link) -> Result<Stage, Error> {
        Ok(match &wish.method {
            Method::Off => Stage::Idle,
            Method::Dhcp | Method::SingleDhcp => {
                let Some(mac) = link.mac else {
                    return Ok(Stage::Failed("it is not Ethernet, which DHCP here needs".into()));
                };
                let client = Client::new(mac, wish.hostname.clone(), self.seed_for(link));
                let socket = crate::kernel::open_packet_socket(link.index, &link.name)?;
                (self.say)(&format!("network: {} asks for an address", link.name));
                Stage::Dhcp(Box::new(Dhcp::new(client, socket)))
            }
            Method::Dhcp6 | Method::Either6 => {
                (self.say)(&format!("network: {} asks for an IPv6 address", link.name));
                Stage::OwnAddress
            }
            Method::Auto6 | Method::Link6 => {
                (self.say)(&format!("network: {} listens for routers", link.name));
                Stage::Neighbours(None)
            }
            Method::Static(wanted) => {
                let is_taken = self.jobs.iter().any(|other| {
                    other.task.wish == job.task.wish && other.stage.phase() != Phase::Waiting
                });
                if job.task.is_shared && is_taken {
                    return Ok(Stage::Idle);
                }
                self.configure(job, link, wanted)?
            }
        })
    }

    fn configure(
        &mut self,
        job: &Job,
        link: &Link,
        wanted: &StaticAddress,
    ) -> Result<Stage, Error> {
        let StaticAddress { address, prefix, peer, gateway } = *wanted;
        let request = AddressRequest { link: link.index, address, prefix, peer, lifetime: None };
        self.kernel.add_address(&link.name, request)?;
        (self.say)(&format!("network: {} has {address}/{prefix}", link.name));
        if let Some(gateway) = gateway {
            let network: IpAddr = match gateway {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
            };
            self.route(job, link, (network, 0), Some(gateway))?;
        }
        Ok(match address {
            IpAddr::V4(_) => Stage::Ready(self.started.elapsed()),
            // The kernel first asks whether somebody else has it.
            IpAddr::V6(address) => Stage::Neighbours(Some(address)),
        })
    }

    fn route(
        &mut self,
        job: &Job,
        link: &Link,
        (network, prefix): (IpAddr, u8),
        gateway: Option<IpAddr>,
    ) -> Result<(), Error> {
        let metric = self.metric(job);
        let request = RouteRequest { link: link.index, network, prefix, gateway, metric };
        self.kernel.add_route(&link.name, request)
    }

    fn metric(&self, job: &Job) -> u32 {
        let is_boot_device = self.wishes.boot_device.as_deref() == Some(&job.task.name);
        plan::metric(job.position, is_boot_device)
    }

    /// Gives the link what was leased.
    fn take_lease(&mut self, job: &mut Job, link: &Link, now: Duration) -> Result<(), Error> {
        let Stage::Dhcp(dhcp) = &job.stage else { return Ok(()) };
        let Some(lease) = dhcp.client.lease().cloned() else { return Ok(()) };
        let release = dhcp.release(link);
        let request = AddressRequest {
            link: link.index,
            address: lease.address.into(),
            prefix: lease.prefix,
            peer: None,
            lifetime: lease.lifetime,
        };
        self.kernel.add_address(&link.name, request)?;
        if let Some(release) = release {
            self.kernel.note_lease(release);
        }
        // What the driver or the kernel refuses of the rest is no reason to have no network.
        let wish = self.links.get(job.task.wish);
        let size = lease.mtu.filter(|_| wish.is_none_or(|wish| wish.mtu.is_none()));
        let mut done = vec![size.map_or(Ok(()), |bytes| self.kernel.set_mtu(link, bytes.into()))];
        for (network, prefix, router) in &lease.routes {
            let gateway = (!router.is_unspecified()).then_some(IpAddr::V4(*router));
            done.push(self.route(job, link, (IpAddr::V4(*network), *prefix), gateway));
        }
        for error in done.into_iter().filter_map(Result::err) {
            (self.say)(&format!("network: {error}"));
        }
        (self.say)(&format!(
            "network: {} has {}/{} from {}",
            link.name, lease.address, lease.prefix, lease.server
        ));
        job.lease = Some(lease);
        job.stage = Stage::Ready(now);
        Ok(())
    }

    /// One step of a task that asks a DHCPv6 server.
    fn advance_dhcp6(
        &mut self,
        job: &mut Job,
        link: &Link,
        view: &View,
        waited: Duration,
    ) -> Result<(), Error> {
        let Stage::Dhcp6(dhcp) = &mut job.stage else {
            if let (Some(own), Some(mac)) = (job.own_address(view), link.mac) {
                let client = dhcp6::client::Client::new(mac, self.seed_for(link), waited);
                let action = format!("open the DHCPv6 port on `{}`", link.name);
                let socket = LinkSocket::open(link.index, own)
                    .map_err(|source| Error::Kernel { action, source })?;
                job.stage = Stage::Dhcp6(Box::new(Dhcp6::new(client, own, socket)));
            }
            return Ok(());
        };
        dhcp.advance(waited);
        let lease = dhcp.client.lease().cloned();
        let address = lease.as_ref().and_then(|lease| lease.address);
        let (Some(lease), Some(address)) = (lease, address) else { return Ok(()) };
        if let Some(message) = dhcp.client.release() {
            self.kernel.note_lease6(link.index, dhcp.own, message);
        }
        let request = AddressRequest {
            link: link.index,
            address: address.into(),
            prefix: 128,
            peer: None,
            lifetime: lease.lifetime,
        };
        self.kernel.add_address(&link.name, request)?;
        (self.say)(&format!("network: {} has {address}", link.name));
        job.lease6 = Some(lease);
        job.stage = Stage::Neighbours(Some(address));
        Ok(())
    }

    /// Random for each link.
    fn seed_for(&self, link: &Link) -> u64 {
        self.seed.rotate_left(link.index % 64) ^ u64::from(link.index)
    }

    /// Sleeps until a packet comes or something is due.
    fn wait(&self, now: Duration) {
        let due = self.jobs.iter().filter_map(|job| job.due(now)).min();
        let pause = due.unwrap_or(ROUND).min(ROUND);
        let time = Timespec {
            tv_sec: i64::try_from(pause.as_secs()).unwrap_or(0),
            tv_nsec: i64::from(pause.subsec_nanos()),
        };
        let sockets = self.jobs.iter().filter_map(Job::socket);
        let mut list: Vec<PollFd<'_>> =
            sockets.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN)).collect();
        // An interruption only makes the round come earlier.
        if poll(&mut list, Some(&time)).is_err() {
            std::thread::sleep(pause);
        }
    }

    /// The leases, or why there are none.
    fn conclude(mut self, view: &View, missing: &[String]) -> Result<Leases, Error> {
        for job in &self.jobs {
            if let Stage::Failed(reason) = &job.stage {
                (self.say)(&format!("network: {}: {reason}", job.task.name));
            }
        }
        let is_ready = |job: &&Job| matches!(job.stage.phase(), Phase::Ready(_));
        if !self.jobs.iter().any(|job| is_ready(&job)) {
            return Err(self.fault.take().unwrap_or_else(|| self.why_none(missing)));
        }
        let mut jobs: Vec<&Job> = self.jobs.iter().filter(is_ready).collect();
        jobs.sort_by_key(|job| self.metric(job));
        let mut leases = Leases::default();
        for server in self.wishes.dns.iter().copied() {
            leases.add_dns(server, "");
        }
        for job in jobs {
            if let Some(wish) = self.links.get(job.task.wish) {
                job.report(wish, view, self.wishes.ignores_peer_dns, &mut leases);
            }
        }
        if !self.wishes.ignores_peer_dns {
            for names in &self.names {
                let link = view.links.iter().find(|link| link.index == names.link);
                let used = link.filter(|link| leases.links.iter().any(|one| one.name == link.name));
                let Some(link) = used.map(|link| link.name.clone()) else { continue };
                names.dns.iter().for_each(|server| leases.add_dns((*server).into(), &link));
                names.search.iter().for_each(|domain| leases.add_search(domain));
            }
        }
        self.add_wanted_routes(view, &leases.links)?;
        Ok(leases)
    }

    fn add_wanted_routes(&mut self, view: &View, leases: &[LinkLease]) -> Result<(), Error> {
        for route in &self.wishes.routes {
            let name = plan::link_of_route(route, leases);
            let link = name.and_then(|name| view.links.iter().find(|link| link.is_called(name)));
            let Some(link) = link else {
                (self.say)(&format!("network: no link for the route to {}", route.network));
                continue;
            };
            let request = RouteRequest {
                link: link.index,
                network: route.network,
                prefix: route.prefix,
                gateway: route.gateway,
                metric: plan::metric(0, true),
            };
            self.kernel.add_route(&link.name, request)?;
        }
        Ok(())
    }

    fn why_none(&self, missing: &[String]) -> Error {
        let had_carrier = |job: &Job| job.since > Duration::ZERO;
        if missing.is_empty() && !self.jobs.iter().any(had_carrier) {
            let links: Vec<&str> = self.jobs.iter().map(|job| &*job.task.name).collect();
            return Error::NoCarrier { links: links.join(", "), waited: self.options.carrier };
        }
        let mut tried: Vec<String> = self
            .jobs
            .iter()
            .map(|job| format!("{}: {}", job.task.name, job.stage.reason()))
            .collect();
        tried.extend(missing.iter().map(|link| format!("no link {link}")));
        Error::NoAddress { tried: tried.join("; "), waited: self.started.elapsed() }
    }
}
