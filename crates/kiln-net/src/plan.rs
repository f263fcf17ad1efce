//! Which links are used for which wishes, and when enough of them are ready: pure, so that the
//! combinations of names, VLANs, late links and silent servers are tables and not machines.

use std::net::IpAddr;
use std::time::Duration;

use crate::arguments::{LinkWish, Method, RouteWish, Selector, Wishes};
use crate::leases::LinkLease;
use crate::link::Link;

/// How long other wires may still take once one is ready, where every wire is asked: a second
/// server that lives answers in less, and a boot does not wait for wires that lead nowhere.
const GRACE: Duration = Duration::from_secs(3);
/// The first metric of a default route; lower than those that systems give (networkd 1024,
/// NetworkManager 100 and up), because at the end they are gone anyway.
const FIRST_METRIC: u32 = 50;

/// One wish on one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    /// Number of the wish in [`links_of`].
    pub(crate) wish: usize,
    /// Number of the link.
    pub(crate) link: u32,
    /// Its name.
    pub(crate) name: String,
    /// Whether the wish is for every wire, of which one is enough.
    pub(crate) is_shared: bool,
}

/// The wishes for links: those of the command line, or DHCP on every wire where it has none. What is
/// for every wire is for the one that the machine was started from, if that is known.
#[must_use]
pub(crate) fn links_of(wishes: &Wishes) -> Vec<LinkWish> {
    let mut links = wishes.links.clone();
    if links.is_empty() {
        links.push(LinkWish {
            link: Selector::Any,
            method: Method::Dhcp,
            hostname: None,
            mtu: None,
            mac: None,
            dns: Vec::new(),
        });
    }
    let started_from = match (&wishes.boot_device, wishes.boot_mac) {
        (Some(name), _) => Some(Selector::Name(name.clone())),
        (None, Some(mac)) => Some(Selector::Mac(mac)),
        (None, None) => None,
    };
    for wish in &mut links {
        if let (Selector::Any, Some(link)) = (&wish.link, &started_from) {
            wish.link = link.clone();
        }
    }
    links
}

/// The tasks on these links, and the links that are wanted and not there.
///
/// A link that a wish names is no part of "every wire"; VLANs of the command line are.
#[must_use]
pub(crate) fn assign(
    wishes: &[LinkWish],
    vlans: &[String],
    links: &[Link],
) -> (Vec<Task>, Vec<String>) {
    let (mut tasks, mut missing) = (Vec::new(), Vec::new());
    let named: Vec<u32> =
        wishes.iter().filter_map(|wish| find(&wish.link, links)).map(|link| link.index).collect();
    for (number, wish) in wishes.iter().enumerate() {
        let mut add = |link: &Link, is_shared| {
            tasks.push(Task { wish: number, link: link.index, name: link.name.clone(), is_shared });
        };
        if wish.link == Selector::Any {
            let is_meant = |link: &&Link| {
                (link.is_wire() || vlans.contains(&link.name)) && !named.contains(&link.index)
            };
            links.iter().filter(is_meant).for_each(|link| add(link, true));
        } else if let Some(link) = find(&wish.link, links) {
            add(link, false);
        } else {
            missing.push(describe(&wish.link));
        }
    }
    if tasks.is_empty() && missing.is_empty() {
        missing.push(describe(&Selector::Any));
    }
    (tasks, missing)
}

/// The link that is meant. A VLAN has the hardware address of its wire, so an address means the wire.
#[must_use]
pub(crate) fn find<'a>(selector: &Selector, links: &'a [Link]) -> Option<&'a Link> {
    match selector {
        Selector::Any => None,
        Selector::Name(name) => links.iter().find(|link| link.is_called(name)),
        Selector::Mac(mac) => links.iter().find(|link| link.is_wire() && link.mac == Some(*mac)),
    }
}

/// A selector for people.
#[must_use]
pub(crate) fn describe(selector: &Selector) -> String {
    match selector {
        Selector::Any => "with a wire".into(),
        Selector::Name(name) => format!("`{name}`"),
        Selector::Mac(mac) => format!("with the address {mac}"),
    }
}

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It waits for a wire or for an answer.
    Waiting,
    /// It has an address since then.
    Ready(Duration),
    /// It will get none.
    Failed,
    /// It wants none.
    Idle,
}

/// Whether nothing more is waited for: what is named must have ended, and of "every wire" one is
/// enough, with a little time for the others unless `is_single`.
#[must_use]
pub(crate) fn is_over(tasks: &[(bool, Phase)], is_single: bool, now: Duration) -> bool {
    let grace = if is_single { Duration::ZERO } else { GRACE };
    let is_late = tasks.iter().any(|(_, phase)| match phase {
        Phase::Ready(since) => now >= since.saturating_add(grace),
        Phase::Waiting | Phase::Failed | Phase::Idle => false,
    });
    tasks.iter().all(|(is_shared, phase)| *phase != Phase::Waiting || (*is_shared && is_late))
}

/// The metric of the default routes of a task.
#[must_use]
pub(crate) fn metric(position: usize, is_boot_device: bool) -> u32 {
    let position = u32::try_from(position).unwrap_or(u32::MAX / 2);
    if is_boot_device { FIRST_METRIC } else { FIRST_METRIC + 1 + position }
}

/// The link of an `rd.route=` that names none: the one whose network has the router, or the first.
#[must_use]
pub(crate) fn link_of_route<'a>(route: &'a RouteWish, leases: &'a [LinkLease]) -> Option<&'a str> {
    if let Some(name) = &route.link {
        return Some(name);
    }
    let has_router = |lease: &&LinkLease| {
        let is_near = |(address, prefix): &(IpAddr, u8)| {
            route.gateway.is_some_and(|gateway| is_in_network(gateway, *address, *prefix))
        };
        lease.addresses.iter().any(is_near)
    };
    leases.iter().find(has_router).or(leases.first()).map(|lease| &*lease.name)
}

/// Whether two addresses are of one network.
#[must_use]
pub(crate) fn is_in_network(one: IpAddr, other: IpAddr, prefix: u8) -> bool {
    let bits = |address: IpAddr| match address {
        // Both families at the upper end of one number.
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
    one.is_ipv4() == other.is_ipv4() && (bits(one) ^ bits(other)) & mask == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Mac;

    fn wire(index: u32, name: &str) -> Link {
        let mac = Some(Mac([2, 0, 0, 0, 0, u8::try_from(index).unwrap()]));
        Link { index, name: name.into(), mac, is_ethernet: true, ..Link::default() }
    }

    fn links() -> Vec<Link> {
        let vlan = Link { kind: Some("vlan".into()), mac: wire(2, "").mac, ..wire(9, "eth0.5") };
        let renamed = Link { other_names: vec!["enp2s0".into()], ..wire(3, "eth1") };
        vec![Link { is_loopback: true, ..wire(1, "lo") }, wire(2, "eth0"), renamed, vlan]
    }

    #[test]
    fn wishes_find_their_links() {
        let cases = [
            ("", &["0 eth0 any", "0 eth1 any"][..]),
            ("ip=dhcp", &["0 eth0 any", "0 eth1 any"]),
            ("ip=eth1:dhcp", &["0 eth1"]),
            ("ip=enp2s0:dhcp", &["0 eth1"]),
            ("ip=eth0.5:dhcp", &["0 eth0.5"]),
            ("vlan=eth0.5:eth0", &["0 eth0 any", "0 eth1 any", "0 eth0.5 any"]),
            ("ip=eth0:none vlan=eth0.5:eth0 ip=eth0.5:dhcp", &["0 eth0", "1 eth0.5"]),
            ("ip=eth0:dhcp ip=eth0:auto6", &["0 eth0", "1 eth0"]),
            ("ip=dhcp ip=192.0.2.9:::24::eth1:none", &["0 eth0 any", "1 eth1"]),
            ("ip=02-00-00-00-00-02:dhcp", &["0 eth0"]),
            ("BOOTIF=01-02-00-00-00-00-03", &["0 eth1"]),
            ("BOOTIF=01-02-00-00-00-00-03 ip=eth0:dhcp", &["0 eth0"]),
            ("bootdev=eth1 ip=192.0.2.9:::24", &["0 eth1"]),
            ("ip=eth7:dhcp", &["no `eth7`"]),
            ("ip=eth7:dhcp ip=eth0:dhcp", &["1 eth0", "no `eth7`"]),
            ("BOOTIF=02-00-00-00-00-77", &["no with the address 02:00:00:00:00:77"]),
        ];
        for (text, expected) in cases {
            let wishes = Wishes::parse(text).unwrap();
            let vlans: Vec<String> = wishes.vlans.iter().map(|vlan| vlan.name.clone()).collect();
            let (tasks, missing) = assign(&links_of(&wishes), &vlans, &links());
            let shared = |task: &Task| if task.is_shared { " any" } else { "" };
            let tasks =
                tasks.iter().map(|task| format!("{} {}{}", task.wish, task.name, shared(task)));
            let shown: Vec<String> =
                tasks.chain(missing.iter().map(|name| format!("no {name}"))).collect();
            assert_eq!(shown, expected, "{text}");
        }
        let (tasks, missing) = assign(&links_of(&Wishes::default()), &[], &links()[..1]);
        assert_eq!((tasks, missing), (vec![], vec!["with a wire".to_owned()]));
    }

    #[test]
    fn one_of_every_wire_is_enough_and_all_of_the_named_are_wanted() {
        use Phase::{Failed, Idle, Ready, Waiting};
        let at = Duration::from_secs;
        let cases = [
            (vec![(true, Waiting)], false, 100, false),
            (vec![(true, Ready(at(5)))], false, 5, true),
            (vec![(true, Ready(at(5))), (true, Waiting)], false, 7, false),
            (vec![(true, Ready(at(5))), (true, Waiting)], false, 8, true),
            (vec![(true, Ready(at(5))), (true, Waiting)], true, 5, true),
            (vec![(false, Ready(at(5))), (false, Waiting)], false, 50, false),
            (vec![(false, Ready(at(5))), (false, Failed), (false, Idle)], false, 5, true),
            (vec![(true, Failed), (true, Failed)], false, 5, true),
            (vec![(true, Failed), (true, Waiting)], false, 50, false),
        ];
        for (tasks, is_single, now, expected) in cases {
            assert_eq!(is_over(&tasks, is_single, at(now)), expected, "{tasks:?} at {now}");
        }
    }

    #[test]
    fn routes_go_over_the_link_that_has_their_router() {
        let lease = |name: &str, address: &str, prefix| LinkLease {
            name: name.into(),
            mac: None,
            addresses: vec![(address.parse().unwrap(), prefix)],
            gateways: Vec::new(),
        };
        let leases = [lease("eth0", "192.0.2.9", 24), lease("eth1", "2001:db8::9", 64)];
        for (text, expected) in [
            ("rd.route=10.0.0.0/8:192.0.2.1", "eth0"),
            ("rd.route=[2001:db8:1::]/48:[2001:db8::1]", "eth1"),
            ("rd.route=10.0.0.0/8:198.51.100.1", "eth0"),
            ("rd.route=10.0.0.0/8:192.0.2.1:eth1", "eth1"),
        ] {
            let wishes = Wishes::parse(text).unwrap();
            assert_eq!(link_of_route(&wishes.routes[0], &leases), Some(expected), "{text}");
        }
        assert!(is_in_network([10, 0, 0, 1].into(), [10, 9, 9, 9].into(), 8));
        assert!(!is_in_network([10, 0, 0, 1].into(), [11, 0, 0, 1].into(), 8));
        assert!(is_in_network([10, 0, 0, 1].into(), [11, 0, 0, 1].into(), 0));
    }
}
