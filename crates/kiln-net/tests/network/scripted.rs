//! Against a server that does what each test wants: the network comes up, gives what it should, and is
//! gone without a trace.

use crate::namespace::{addresses, inside, ip, state, up};
use crate::server::{Manner, Server};

#[test]
fn a_lease_is_taken_used_and_given_back() {
    inside("scripted::a_lease_is_taken_used_and_given_back", || {
        let before = state();
        let server = Server::start("v1", Manner::default());
        let network = up("quiet ip=v0:dhcp rd.route=198.51.100.0/24:192.0.2.7").unwrap();
        let leases = network.leases();
        assert_eq!(addresses(leases, "v0"), ["192.0.2.9/24"]);
        assert_eq!(leases.hostname.as_deref(), Some("edge"));
        assert_eq!(
            kiln_net::resolv_conf(leases).lines().skip(1).collect::<Vec<_>>(),
            ["search example.com", "nameserver 192.0.2.53"]
        );
        let address = ip("-4 -o address show dev v0");
        assert!(address.contains("inet 192.0.2.9/24 brd 192.0.2.255"), "{address}");
        assert!(address.contains("valid_lft 3600sec"), "{address}");
        let routes = ip("route show table main");
        assert!(routes.contains("default via 192.0.2.1 dev v0 metric 51"), "{routes}");
        assert!(routes.contains("198.51.100.0/24 via 192.0.2.7 dev v0"), "{routes}");
        assert!(ip("link show v0").contains("mtu 1400"));
        assert_eq!(server.heard(), [1, 3]);
        network.down().unwrap();
        assert_eq!(server.heard(), [7]);
        assert_eq!(state(), before);
    });
}

#[test]
fn without_a_word_every_wire_is_asked_and_one_is_enough() {
    inside("scripted::without_a_word_every_wire_is_asked_and_one_is_enough", || {
        // The other end is a wire, too, and nobody answers there.
        let _server = Server::start("v1", Manner::default());
        let network = up("quiet").unwrap();
        assert_eq!(addresses(network.leases(), "v0"), ["192.0.2.9/24"]);
        assert_eq!(network.leases().links.len(), 1);
        drop(network);
        assert_eq!(ip("-4 -o address show dev v0"), "");
    });
}

#[test]
fn lies_deafness_and_a_refusal_do_not_keep_a_machine_off_its_network() {
    inside("scripted::lies_deafness_and_a_refusal_do_not_keep_a_machine_off_its_network", || {
        let manner =
            Manner { deaf: 1, refusals: 1, is_preceded_by_lies: true, ..Manner::default() };
        let server = Server::start("v1", manner);
        let network = up("ip=v0:dhcp").unwrap();
        assert_eq!(addresses(network.leases(), "v0"), ["192.0.2.9/24"]);
        assert_eq!(server.heard(), [1, 1, 3, 1, 3]);
        network.down().unwrap();
    });
}

#[test]
fn a_router_outside_of_the_network_is_reached_by_its_route() {
    inside("scripted::a_router_outside_of_the_network_is_reached_by_its_route", || {
        // As clouds lease: one address alone, the router by a classless route (RFC 3442).
        let mut options = vec![1, 4, 255, 255, 255, 255, 121, 14];
        options.extend([32, 10, 0, 0, 1, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
        let manner = Manner { address: [10, 0, 9, 9], options, ..Manner::default() };
        let _server = Server::start("v1", manner);
        let network = up("ip=v0:dhcp").unwrap();
        let routes = ip("route show table main");
        assert!(routes.contains("10.0.0.1 dev v0"), "{routes}");
        assert!(routes.contains("default via 10.0.0.1 dev v0"), "{routes}");
        network.down().unwrap();
        assert_eq!(ip("route show table main"), "");
    });
}

#[test]
fn a_fixed_address_needs_no_server() {
    inside("scripted::a_fixed_address_needs_no_server", || {
        let mac = "02:00:5e:00:53:01";
        let before = state();
        let line =
            "ip=192.0.2.10::192.0.2.1:255.255.255.0:edge:lan:none:1400 nameserver=192.0.2.53";
        let own = ip("-o link show v0");
        let own = own.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
        let network = up(&format!("{line} ifname=lan:{own}")).unwrap();
        assert_eq!(addresses(network.leases(), "lan"), ["192.0.2.10/24"]);
        assert_eq!(network.leases().hostname.as_deref(), Some("edge"));
        assert!(ip("route show table main").contains("default via 192.0.2.1 dev lan"));
        assert!(ip("link show lan").contains("mtu 1400"));
        network.down().unwrap();
        assert_eq!(state(), before);
        let network = up(&format!("ip=192.0.2.10/24:::::v0:none::{mac}")).unwrap();
        assert!(ip("link show v0").contains(mac));
        network.down().unwrap();
        assert_eq!(state(), before);
    });
}

#[test]
fn what_was_there_before_stays() {
    inside("scripted::what_was_there_before_stays", || {
        ip("link set v0 up");
        ip("address add 192.0.2.10/24 dev v0");
        ip("address add 192.0.2.20/24 dev v0");
        let before = state();
        let network = up("ip=192.0.2.10::192.0.2.1:24::v0:none").unwrap();
        assert!(ip("route show table main").contains("default via 192.0.2.1"));
        network.down().unwrap();
        assert_eq!(state(), before);
        let network = up("ip=192.0.2.30::192.0.2.1:24::v0:none kiln.net.keep").unwrap();
        assert!(network.is_kept());
        network.down().unwrap();
        let kept = state();
        assert!(kept.contains("192.0.2.30") && kept.contains("default via 192.0.2.1"), "{kept}");
    });
}

#[test]
fn failures_say_what_was_waited_for_and_leave_nothing() {
    inside("scripted::failures_say_what_was_waited_for_and_leave_nothing", || {
        let before = state();
        let fails = |line: &str, expected: &str| {
            let error = up(line).unwrap_err();
            assert!(error.to_string().contains(expected), "{line}: {error}");
            assert!(error.hint().is_some(), "{line}");
            assert_eq!(state(), before, "{line}");
        };
        fails("ip=v7:dhcp", "no network link `v7` appeared within 1 s; there are `lo`, ");
        fails("ip=v0:dhcp rd.net.timeout.dhcp=2", "v0: no DHCP server answered");
        fails("ip=v0:auto6 rd.net.timeout.dhcp=3", "v0: no router answered");
        fails("ip=v0:off", "forbids");
        let silent = Server::start("v1", Manner { deaf: 99, ..Manner::default() });
        fails("ip=v0:dhcp rd.net.timeout.dhcp=4", "v0: no DHCP server answered");
        assert!(silent.heard().len() >= 2);
        ip("link set v1 down");
        fails("ip=v0:dhcp rd.net.timeout.carrier=1", "no carrier on v0 within 1 s");
    });
}

#[test]
fn a_late_wire_is_waited_for() {
    inside("scripted::a_late_wire_is_waited_for", || {
        ip("link set v1 down");
        let late = std::thread::spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(700));
            ip("link set v1 up");
        });
        let _server = Server::start("v1", Manner::default());
        let network = up("ip=dhcp bootdev=v0").unwrap();
        late.join().unwrap();
        assert_eq!(addresses(network.leases(), "v0"), ["192.0.2.9/24"]);
        network.down().unwrap();
    });
}

#[test]
fn a_plain_resolv_conf_is_covered_and_comes_back() {
    inside("scripted::a_plain_resolv_conf_is_covered_and_comes_back", || {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("etc/resolv.conf");
        for folder in ["etc", "run"] {
            std::fs::create_dir(root.path().join(folder)).unwrap();
        }
        std::fs::write(&file, "nameserver 198.51.100.53\n").unwrap();
        let read = || std::fs::read_to_string(&file).unwrap();
        let network = up("ip=192.0.2.10::192.0.2.1:24::v0:none:192.0.2.53 rd.peerdns=0").unwrap();
        let resolver = kiln_net::Resolver::place(root.path(), network.leases()).unwrap();
        assert!(read().contains("nameserver 192.0.2.53\n"));
        resolver.remove().unwrap();
        assert_eq!(read(), "nameserver 198.51.100.53\n");
        assert_eq!(std::fs::read_dir(root.path().join("run")).unwrap().count(), 0);
        network.down().unwrap();
    });
}
