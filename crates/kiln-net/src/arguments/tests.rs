//! Tables of the words that machines have on their command lines, and of those that are refused.

use super::*;
use proptest::prelude::*;

fn show(wishes: &Wishes) -> String {
    let mut parts = Vec::new();
    for wish in &wishes.links {
        let link = match &wish.link {
            Selector::Any => "*".to_owned(),
            Selector::Name(name) => name.clone(),
            Selector::Mac(mac) => mac.to_string(),
        };
        let method = match &wish.method {
            Method::Static(one) => format!(
                "{}/{}{}{}",
                one.address,
                one.prefix,
                one.peer.map_or_else(String::new, |peer| format!(" peer {peer}")),
                one.gateway.map_or_else(String::new, |gateway| format!(" via {gateway}"))
            ),
            other => format!("{other:?}"),
        };
        let mut text = format!("{link} {method}");
        for (name, value) in [
            (" name ", wish.hostname.clone()),
            (" mtu ", wish.mtu.map(|mtu| mtu.to_string())),
            (" mac ", wish.mac.map(|mac| mac.to_string())),
        ] {
            text.extend(value.map(|value| format!("{name}{value}")));
        }
        text.extend(wish.dns.iter().map(|server| format!(" dns {server}")));
        parts.push(text);
    }
    for vlan in &wishes.vlans {
        parts.push(format!("vlan {} {} on {}", vlan.name, vlan.number, vlan.parent));
    }
    parts.extend(wishes.renames.iter().map(|one| format!("{} is {}", one.mac, one.name)));
    for route in &wishes.routes {
        let gateway = route.gateway.map_or_else(|| "-".to_owned(), |one| one.to_string());
        let link = route.link.as_deref().unwrap_or("*");
        parts.push(format!("to {}/{} via {gateway} on {link}", route.network, route.prefix));
    }
    parts.extend(wishes.dns.iter().map(|server| format!("dns {server}")));
    parts.extend(wishes.boot_mac.map(|mac| format!("booted {mac}")));
    parts.extend(wishes.boot_device.as_ref().map(|name| format!("first {name}")));
    if wishes.ignores_peer_dns {
        parts.push("no peer dns".into());
    }
    if wishes.keeps {
        parts.push("keep".into());
    }
    parts.extend(wishes.carrier.map(|wait| format!("carrier {}", wait.as_secs())));
    parts.extend(wishes.limit.map(|wait| format!("dhcp {}", wait.as_secs())));
    parts.join("; ")
}

#[test]
fn words_of_dracut_and_the_kernel_are_read() {
    let cases = [
        ("", ""),
        ("quiet root=/dev/vda rd.neednet=1", ""),
        // One field.
        ("ip=dhcp", "* Dhcp"),
        ("ip=on", "* Dhcp"),
        ("ip=any", "* Dhcp"),
        ("ip=single-dhcp", "* SingleDhcp"),
        ("ip=dhcp6", "* Dhcp6"),
        ("ip=auto6", "* Auto6"),
        ("ip=either6", "* Either6"),
        ("ip=link6", "* Link6"),
        ("ip=192.0.2.9", "* 192.0.2.9/24"),
        // A link and its method.
        ("ip=eth0:dhcp", "eth0 Dhcp"),
        ("ip=eth0:on", "eth0 Dhcp"),
        ("ip=enp1s0f0np0:auto6", "enp1s0f0np0 Auto6"),
        ("ip=eth0.5:dhcp6", "eth0.5 Dhcp6"),
        ("ip=eth0:none", "eth0 Off"),
        ("ip=eth0:off", "eth0 Off"),
        ("ip=eth0:dhcp:9000", "eth0 Dhcp mtu 9000"),
        ("ip=eth0:dhcp:1500:52:54:00:12:34:56", "eth0 Dhcp mtu 1500 mac 52:54:00:12:34:56"),
        ("ip=eth0:dhcp::52:54:00:12:34:56", "eth0 Dhcp mac 52:54:00:12:34:56"),
        ("ip=eth0:dhcp:", "eth0 Dhcp"),
        ("ip=52-54-00-12-34-56:dhcp", "52:54:00:12:34:56 Dhcp"),
        ("ip=eth0:dhcp ip=eth1:dhcp ip=eth0:dhcp", "eth0 Dhcp; eth1 Dhcp"),
        // All fields.
        (
            "ip=192.0.2.10::192.0.2.1:255.255.255.0:edge:eth0:none",
            "eth0 192.0.2.10/24 via 192.0.2.1 name edge",
        ),
        ("ip=192.0.2.10::192.0.2.1:24::eth0:off", "eth0 192.0.2.10/24 via 192.0.2.1"),
        ("ip=192.0.2.10::192.0.2.1:24::eth0", "eth0 192.0.2.10/24 via 192.0.2.1"),
        ("ip=192.0.2.10::192.0.2.1:24", "* 192.0.2.10/24 via 192.0.2.1"),
        ("ip=192.0.2.10/25::192.0.2.1:::eth0:none", "eth0 192.0.2.10/25 via 192.0.2.1"),
        ("ip=10.1.2.3:::::eth0:none", "eth0 10.1.2.3/8"),
        ("ip=172.16.2.3:::::eth0:none", "eth0 172.16.2.3/16"),
        ("ip=192.0.2.10::0.0.0.0:24::eth0:none", "eth0 192.0.2.10/24"),
        (
            "ip=192.0.2.10::192.0.2.1:24::eth0:none:192.0.2.53",
            "eth0 192.0.2.10/24 via 192.0.2.1 dns 192.0.2.53",
        ),
        (
            "ip=192.0.2.10::192.0.2.1:24::eth0:none:192.0.2.53:192.0.2.54",
            "eth0 192.0.2.10/24 via 192.0.2.1 dns 192.0.2.53 dns 192.0.2.54",
        ),
        (
            "ip=192.0.2.10::192.0.2.1:24::eth0:none::192.0.2.54:192.0.2.123",
            "eth0 192.0.2.10/24 via 192.0.2.1 dns 192.0.2.54",
        ),
        (
            "ip=192.0.2.10::192.0.2.1:24::eth0:none:1400",
            "eth0 192.0.2.10/24 via 192.0.2.1 mtu 1400",
        ),
        (
            "ip=192.0.2.10::192.0.2.1:24::eth0:none:1400:52:54:00:12:34:56",
            "eth0 192.0.2.10/24 via 192.0.2.1 mtu 1400 mac 52:54:00:12:34:56",
        ),
        (
            "ip=192.0.2.10::192.0.2.1:24::eth0:none::52:54:00:12:34:56",
            "eth0 192.0.2.10/24 via 192.0.2.1 mac 52:54:00:12:34:56",
        ),
        // PXE loaders name the boot server, dracut the other end.
        (
            "ip=192.0.2.10:192.0.2.5:192.0.2.1:255.255.255.0 BOOTIF=01-52-54-00-12-34-56",
            "* 192.0.2.10/24 via 192.0.2.1; booted 52:54:00:12:34:56",
        ),
        (
            "ip=192.0.2.10:192.0.2.5:192.0.2.5:32::ppp0:none",
            "ppp0 192.0.2.10/32 peer 192.0.2.5 via 192.0.2.5",
        ),
        ("ip=192.0.2.10:192.0.2.5/31::::ppp0:none", "ppp0 192.0.2.10/31 peer 192.0.2.5"),
        ("ip=::::edge:eth0:dhcp", "eth0 Dhcp name edge"),
        ("ip=:::::eth0:dhcp", "eth0 Dhcp"),
        ("ip=:::::eth0", "eth0 Dhcp"),
        ("ip=::::edge::dhcp", "* Dhcp name edge"),
        ("ip=:::::eth0:none", "eth0 Off"),
        ("ip=192.0.2.10::192.0.2.1:24:edge:eth0:dhcp", "eth0 Dhcp name edge"),
        (
            "ip=[2001:db8::a]::[2001:db8::1]:64:edge:eth0:none",
            "eth0 2001:db8::a/64 via 2001:db8::1 name edge",
        ),
        (
            "ip=[2001:db8::a]/56::[fe80::1]:::eth0:none:[2001:db8::53]",
            "eth0 2001:db8::a/56 via fe80::1 dns 2001:db8::53",
        ),
        ("ip=[2001:db8::a]:::::eth0:none:1400", "eth0 2001:db8::a/64 mtu 1400"),
        // The other words.
        ("vlan=eth0.5:eth0", "vlan eth0.5 5 on eth0"),
        ("vlan=vlan0005:eth0", "vlan vlan0005 5 on eth0"),
        ("vlan=vlan4094:enp1s0", "vlan vlan4094 4094 on enp1s0"),
        (
            "nameserver=192.0.2.53 nameserver=[2001:db8::53] nameserver=2001:db8::54",
            "dns 192.0.2.53; dns 2001:db8::53; dns 2001:db8::54",
        ),
        ("rd.route=198.51.100.0/24:192.0.2.1", "to 198.51.100.0/24 via 192.0.2.1 on *"),
        ("rd.route=198.51.100.0/24:192.0.2.1:eth0", "to 198.51.100.0/24 via 192.0.2.1 on eth0"),
        ("rd.route=198.51.100.0/255.255.255.0::eth0", "to 198.51.100.0/24 via - on eth0"),
        (
            "rd.route=[2001:db8:3::/48]:[2001:db8::1]:eth0",
            "to 2001:db8:3::/48 via 2001:db8::1 on eth0",
        ),
        ("ifname=lan:52:54:00:12:34:56", "52:54:00:12:34:56 is lan"),
        ("BOOTIF=52:54:00:12:34:56", "booted 52:54:00:12:34:56"),
        ("BOOTIF=01:52:54:00:12:34:56 bootdev=eth1", "booted 52:54:00:12:34:56; first eth1"),
        ("rd.peerdns=0 kiln.net.keep", "no peer dns; keep"),
        ("rd.peerdns=1 kiln.net.keep=0", ""),
        ("rd.net.timeout.carrier=5 rd.net.timeout.dhcp=90", "carrier 5; dhcp 90"),
        ("\"ip=eth0:dhcp\"", "eth0 Dhcp"),
        ("a=\"x ip=off y\" ip=dhcp -- ip=off bond=b0", "* Dhcp"),
    ];
    for (text, expected) in cases {
        match Wishes::parse(text) {
            Ok(wishes) => assert_eq!(show(&wishes), expected, "{text}"),
            Err(error) => panic!("{text}: {error}"),
        }
    }
}

#[test]
fn what_cannot_be_carried_out_is_refused_by_name() {
    let cases = [
        ("ip=", "empty"),
        ("ip", "empty"),
        ("ip=off", "forbids"),
        ("ip=none", "forbids"),
        ("ip=::::::off", "forbids"),
        ("ip=::::::", "neither address"),
        ("ip=ibft", "not supported"),
        ("ip=eth0:ibft", "not supported"),
        ("ip=bootp", "not supported"),
        ("ip=:::::eth0:rarp", "not supported"),
        ("ip=eth0", "no IP address"),
        ("ip=eth0:dhpc", "no IP address"),
        ("ip=[2001:db8::1", "brackets"),
        ("ip=2001:db8::1", "no IP address"),
        ("ip=192.0.2.10::192.0.2.1:255.0.255.0::eth0:none", "mask"),
        ("ip=192.0.2.10::192.0.2.1:33::eth0:none", "mask"),
        ("ip=192.0.2.10::[2001:db8::1]:24::eth0:none", "families"),
        ("ip=127.0.0.1::192.0.2.1:24::eth0:none", "none that a machine"),
        ("ip=224.0.0.1::192.0.2.1:24::eth0:none", "none that a machine"),
        ("\"ip=192.0.2.10::192.0.2.1:24:a b:eth0:none\"", "host name"),
        ("ip=192.0.2.10::192.0.2.1:24::a/b:none", "name of a link"),
        ("ip=192.0.2.10::192.0.2.1:24::eth0:dchp", "method"),
        ("ip=eth0:dhcp:67", "packet size"),
        ("ip=eth0:dhcp:99999999999", "packet size"),
        ("ip=eth0:dhcp:1500:52:54:00", "hardware address"),
        ("ip=eth0:dhcp:dns.example.com", "no IP address"),
        ("ip=eth0:dhcp:192.0.2.1:192.0.2.2:192.0.2.3:192.0.2.4", "too many"),
        ("ip=a-name-too-long-for-a-link:dhcp", "name of a link"),
        ("vlan=eth0", "name of a link"),
        ("vlan=lan:eth0", "VLAN's number"),
        ("vlan=lan0:eth0", "VLAN's number"),
        ("vlan=lan4095:eth0", "VLAN's number"),
        ("vlan=eth0:eth0", "VLAN's number"),
        ("vlan=vlan99999999:eth0", "VLAN's number"),
        ("nameserver=dns.example.com", "no IP address"),
        ("nameserver=", "no IP address"),
        ("rd.route=198.51.100.0:192.0.2.1", "ADDRESS/BITS"),
        ("rd.route=198.51.100.0/24", "neither router"),
        ("rd.route=198.51.100.0/24:[2001:db8::1]", "families"),
        ("rd.route=198.51.100.0/24:192.0.2.1:eth0:x", "more than three"),
        ("ifname=lan", "hardware address"),
        ("ifname=lan:52:54:00:12:34", "hardware address"),
        ("BOOTIF=20-52-54-00-12-34-56", "not Ethernet"),
        ("BOOTIF=", "hardware address"),
        ("bootdev=", "name of a link"),
        ("bond=bond0:eth0,eth1", "not supported"),
        ("bridge=br0:eth0", "not supported"),
        ("team=team0:eth0", "not supported"),
        ("kiln.net.keep=maybe", "neither 0 nor 1"),
        ("rd.net.timeout.dhcp=-1", "seconds"),
        ("rd.net.timeout.carrier=3601", "seconds"),
    ];
    for (text, expected) in cases {
        let error = match Wishes::parse(text) {
            Err(error) => error,
            Ok(wishes) => panic!("{text}: {wishes:?}"),
        };
        let message = error.to_string();
        let word = text.split('=').next().unwrap_or_default().trim_matches('"');
        assert!(message.contains(expected) && message.contains(word), "{text}: {message}");
        assert!(error.hint().is_some(), "{text}");
    }
}

#[test]
fn a_line_of_nothing_but_words_of_the_network_is_bounded() {
    let text = (0..100).map(|number| format!("ip=eth{number}:dhcp ")).collect::<String>();
    assert!(Wishes::parse(&text).is_err_and(|error| error.to_string().contains("too many")));
}

proptest! {
    #[test]
    fn any_line_is_read_or_refused(text in "((ip|vlan|rd\\.route|ifname|BOOTIF|nameserver)=)?[a-f0-9:.\\[\\]/ -]{0,60}") {
        if let Ok(wishes) = Wishes::parse(&text) {
            for wish in &wishes.links {
                if let Method::Static(one) = &wish.method {
                    let most = if one.address.is_ipv4() { 32 } else { 128 };
                    prop_assert!(one.prefix <= most);
                }
            }
        }
    }
}
