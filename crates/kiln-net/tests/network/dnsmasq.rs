//! The same against dnsmasq, a server that others wrote, behind a wire in another namespace.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::namespace::{addresses, inside, ip, state, up};

/// The far end of the wire, in a namespace of its own.
struct Far {
    holder: Child,
    server: Child,
    folder: tempfile::TempDir,
}

impl Far {
    /// Moves `v1` there and starts dnsmasq on it.
    fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut holder = Command::new("unshare");
        holder.args(["--net", "--", "sleep", "300"]).stdin(Stdio::null());
        let holder = holder.spawn().unwrap();
        let number = holder.id();
        // The process is there before its namespace is.
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let path = format!("/proc/{number}/ns/net");
        while std::fs::read_link(&path).is_ok_and(|other| other == own) {
            std::thread::sleep(Duration::from_millis(5));
        }
        ip(&format!("link set v1 netns {number}"));
        let inside = |command: &str| {
            let mut enter = Command::new("nsenter");
            enter.args(["-t", &number.to_string(), "-n"]).args(command.split(' '));
            enter
        };
        for command in [
            "ip link set lo up",
            // A link-local address that dnsmasq can send from at once.
            "ip link set v1 addrgenmode none",
            "ip link set v1 up",
            "ip address add fe80::1/64 dev v1 nodad",
            "ip address add 192.0.2.1/24 dev v1",
            "ip address add 2001:db8::1/64 dev v1 nodad",
        ] {
            assert!(inside(command).status().unwrap().success(), "{command}");
        }
        let mut server =
            inside("dnsmasq --keep-in-foreground --log-facility=- --conf-file=/dev/null");
        server.args(["--port=0", "--user=root", "--group=root", "--interface=v1"]);
        server.args(["--log-dhcp", "--bind-interfaces", "--leasefile-ro"]);
        server.arg(format!("--pid-file={}", folder.path().join("pid").display())).args(options);
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let server = server.stderr(log).spawn().expect("this test needs `dnsmasq`");
        Self { holder, server, folder }
    }

    fn log(&self) -> String {
        // What was sent last is on its way.
        std::thread::sleep(Duration::from_millis(200));
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.log());
        }
        for child in [&mut self.server, &mut self.holder] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

const IPV4: &[&str] = &[
    "--dhcp-range=192.0.2.100,192.0.2.100,1h",
    "--dhcp-option=option:dns-server,192.0.2.53",
    "--dhcp-option=option:domain-search,a.example.com,b.example.com",
    "--dhcp-option=option:classless-static-route,198.51.100.0/24,192.0.2.7,0.0.0.0/0,192.0.2.1",
    "--dhcp-option=option:mtu,1400",
];

#[test]
fn a_lease_of_dnsmasq_is_taken_and_given_back() {
    inside("dnsmasq::a_lease_of_dnsmasq_is_taken_and_given_back", || {
        let before = state();
        let far = Far::start(IPV4);
        let network = up("ip=::::edge:v0:dhcp").unwrap();
        let leases = network.leases();
        assert_eq!(addresses(leases, "v0")[0], "192.0.2.100/24");
        assert_eq!(leases.search, ["a.example.com", "b.example.com"]);
        assert_eq!(leases.dns.len(), 1);
        let routes = ip("route show table main");
        assert!(routes.contains("default via 192.0.2.1 dev v0"), "{routes}");
        assert!(routes.contains("198.51.100.0/24 via 192.0.2.7 dev v0"), "{routes}");
        assert!(ip("link show v0").contains("mtu 1400"));
        // The far end is there.
        std::net::UdpSocket::bind("192.0.2.100:0").unwrap();
        network.down().unwrap();
        let log = far.log();
        for line in [
            "DHCPDISCOVER(v1)",
            "vendor class: kiln",
            "client provides name: edge",
            "DHCPRELEASE(v1) 192.0.2.100",
        ] {
            assert!(log.contains(line), "{line} in {log}");
        }
        drop(far);
        assert_eq!(state().lines().last(), before.lines().last());
    });
}

#[test]
fn routers_give_an_address_and_name_servers() {
    inside("dnsmasq::routers_give_an_address_and_name_servers", || {
        let far = Far::start(&[
            "--enable-ra",
            "--dhcp-range=2001:db8::,ra-only",
            "--ra-param=v1,5",
            "--dhcp-option=option6:dns-server,[2001:db8::53],[fe80::53]",
            "--dhcp-option=option6:domain-search,example.com",
        ]);
        for line in ["ip=v0:auto6", ""] {
            let network = up(line).unwrap();
            let leases = network.leases();
            assert!(addresses(leases, "v0").iter().any(|one| one.starts_with("2001:db8::")));
            assert!(ip("-6 route show default").contains("dev v0"));
            let text = kiln_net::resolv_conf(leases);
            assert!(text.contains("nameserver 2001:db8::53\nnameserver fe80::53%v0\n"), "{text}");
            assert!(text.contains("search example.com\n"), "{text}");
            network.down().unwrap();
            assert_eq!(ip("-6 address show dev v0"), "");
            assert_eq!(ip("-6 route show dev v0"), "");
        }
        drop(far);
    });
}

#[test]
fn a_lease_of_dhcpv6_is_taken_and_given_back() {
    inside("dnsmasq::a_lease_of_dhcpv6_is_taken_and_given_back", || {
        let far = Far::start(&[
            "--enable-ra",
            "--dhcp-range=2001:db8::100,2001:db8::100,64,1h",
            "--ra-param=v1,5",
            "--dhcp-option=option6:dns-server,[2001:db8::53]",
            "--dhcp-option=option6:domain-search,example.com",
        ]);
        for line in ["ip=v0:dhcp6", "ip=v0:either6"] {
            let network = up(line).unwrap();
            let leases = network.leases();
            assert!(addresses(leases, "v0").contains(&"2001:db8::100/128".to_owned()));
            std::net::TcpListener::bind("[2001:db8::100]:0").unwrap();
            let text = kiln_net::resolv_conf(leases);
            assert!(text.ends_with("search example.com\nnameserver 2001:db8::53\n"), "{text}");
            network.down().unwrap();
            assert_eq!(ip("-6 address show dev v0"), "");
        }
        let log = far.log();
        assert_eq!(log.matches("DHCPRELEASE(v1)").count(), 2, "{log}");
    });
}

#[test]
fn a_fixed_ipv6_address_is_used_once_nobody_else_has_it() {
    inside("dnsmasq::a_fixed_ipv6_address_is_used_once_nobody_else_has_it", || {
        let _far = Far::start(&["--dhcp-range=2001:db8::,static"]);
        let network = up("ip=[2001:db8::a]::[2001:db8::1]:64::v0:none").unwrap();
        std::net::TcpListener::bind("[2001:db8::a]:0").unwrap();
        assert!(ip("-6 route show default").contains("via 2001:db8::1 dev v0"));
        network.down().unwrap();
        let error = up("ip=[2001:db8::1]::[2001:db8::2]:64::v0:none").unwrap_err();
        assert!(error.to_string().contains("somebody else has the address"), "{error}");
    });
}
