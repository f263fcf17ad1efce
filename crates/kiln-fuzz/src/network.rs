//! What comes from a network before anything is trusted, and what the kernel command line says about
//! it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use kiln_net::arguments::Method;
use kiln_net::dhcp::client::{Client, State};
use kiln_net::dhcp::{frame, lease, packet};
use kiln_net::dhcp6;
use kiln_net::netlink::{answers, message};
use kiln_net::{Mac, Wishes, is_host_name, is_link_name};

use crate::text::lossy;

/// The link that the answers are for.
const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

/// Reads a message of a DHCP server: as it is, as the answer to a client's question and to its request, and
/// around it a packet. A lease holds nothing that a machine cannot have. The same bytes are read as an
/// answer of DHCPv6, and as what the kernel says about links.
pub fn dhcp(data: &[u8]) -> bool {
    let _ = frame::read(data);
    if let Some(framed) = frame::write(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, data) {
        assert_eq!(frame::read(&framed), None, "a client's packet is taken for a server's");
    }
    for one in message::messages(data) {
        let _ = (answers::link(one.body), answers::address(one.body), answers::router(one.body));
        let _ = (answers::names(one.body), answers::error(one.body));
    }
    let _ = (answers::link(data), answers::address(data), answers::names(data));
    if let Some(answer) = dhcp6::packet::read(data, MAC) {
        assert!(answer.address.is_none_or(dhcp6::packet::is_usable));
    }
    let mut client = Client::new(MAC, None, 7);
    let mut now = Duration::ZERO;
    for kind in [2, 5] {
        let Some(question) = client.ask(now) else { break };
        let mut answer = data.to_vec();
        // The number of the exchange and the link, which a stranger on the wire sees.
        for place in (4..8).chain(28..34) {
            if let (Some(byte), Some(asked)) = (answer.get_mut(place), question.get(place)) {
                *byte = *asked;
            }
        }
        if let Some(byte) = answer.get_mut(242) {
            *byte = kind;
        }
        client.hear(now, &answer);
        let Some(next) = client.next() else { break };
        assert!(next <= now + Duration::from_secs(60));
        now = now.max(next);
    }
    if let State::Bound(bound) = client.state() {
        assert!(lease::is_usable(bound.address) && (1..=32).contains(&bound.prefix));
        assert!(bound.hostname.as_deref().is_none_or(is_host_name));
        assert!(bound.routes.iter().all(|(_, bits, router)| *bits <= 32 && !router.is_multicast()));
        assert!(bound.mtu.is_none_or(|mtu| mtu >= 576));
    }
    packet::read(data).is_some()
}

/// Reads what a command line says about the network: whatever is taken can be given to the kernel.
pub fn network_arguments(data: &[u8]) -> bool {
    let wishes = match Wishes::parse(&lossy(data)) {
        Ok(wishes) => wishes,
        Err(error) => {
            assert!(error.hint().is_some(), "{error} has no hint");
            return false;
        }
    };
    let most = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
    for wish in &wishes.links {
        assert!(wish.hostname.as_deref().is_none_or(is_host_name));
        assert!(wish.mtu.is_none_or(|mtu| (68..=65_535).contains(&mtu)));
        if let Method::Static(fixed) = &wish.method {
            assert!(fixed.prefix <= most(fixed.address) && !fixed.address.is_multicast());
            let others = [fixed.gateway, fixed.peer].into_iter().flatten();
            assert!(others.into_iter().all(|one| one.is_ipv4() == fixed.address.is_ipv4()));
        }
    }
    assert!(wishes.vlans.iter().all(|vlan| (1..=4094).contains(&vlan.number)));
    assert!(wishes.vlans.iter().all(|vlan| is_link_name(&vlan.name) && is_link_name(&vlan.parent)));
    assert!(wishes.renames.iter().all(|rename| is_link_name(&rename.name)));
    assert!(wishes.routes.iter().all(|route| route.prefix <= most(route.network)));
    true
}
