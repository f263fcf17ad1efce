//! A wire with two ends in a network namespace of its own, looked at with `ip`, which others wrote.

use std::process::Command;
use std::time::Duration;

use kiln_net::{Error, Leases, Network, Options};

/// Set in the process that runs in the namespace.
const INSIDE: &str = "KILN_NET_INSIDE";

/// Runs `body` in namespaces of its own for networks and mounts, with `v0` and `v1` as the ends of a
/// wire and `v1` switched on. The test is run once more, in a process that begins there: to
/// enter one from a thread is nothing that a test may do by itself.
pub(crate) fn inside(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        ip("link set lo up");
        ip("link add v0 type veth peer name v1");
        ip("link set v1 up");
        // The first time gives a link its queue, which then stays.
        ip("link set v0 up");
        ip("link set v0 down");
        return body();
    }
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--"]).arg(program).args(["--exact", test, "--nocapture"]);
    let output = command.env(INSIDE, "1").output().expect("this test needs `unshare`");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "in a namespace (as root only): {text}{errors}");
    assert!(text.contains("1 passed"), "no test {test}: {text}");
}

/// What `ip` says.
pub(crate) fn ip(arguments: &str) -> String {
    let output =
        Command::new("ip").args(arguments.split(' ')).output().expect("this test needs `ip`");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Everything that can be left behind.
pub(crate) fn state() -> String {
    let links = ip("-o link show");
    // What the wire itself does, and in which order links were changed, is not looked at.
    let links: Vec<&str> =
        links.split_inclusive('\n').filter(|line| line.contains(": v0@")).collect();
    // Whether the far end is on is the test's matter.
    let links = links.concat().replace(",M-DOWN", "");
    [&*links, &ip("-4 -o address"), &ip("-4 route show table main")].concat()
}

/// Short waits, so that failures come in seconds.
pub(crate) fn options() -> Options {
    let second = Duration::from_secs(1);
    Options { first_link: second, carrier: 2 * second, limit: 6 * second }
}

/// Brings the network up, and shows what was said when a test fails.
pub(crate) fn up(line: &str) -> Result<Network, Error> {
    let result = kiln_net::up(line, &options(), &mut |text| println!("{text}"));
    println!("{line}: {:?}", result.as_ref().map(Network::leases));
    result
}

/// The addresses and prefixes of a link in order.
pub(crate) fn addresses(leases: &Leases, name: &str) -> Vec<String> {
    let link = leases.links.iter().find(|link| link.name == name);
    let link = link.map(|link| link.addresses.iter().map(|(one, bits)| format!("{one}/{bits}")));
    link.into_iter().flatten().collect()
}

/// The number of a link.
pub(crate) fn index(name: &str) -> u32 {
    let text = std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex"));
    // /sys shows the links of the namespace in which it was mounted.
    let from_ip = || ip(&format!("-o link show {name}")).split(':').next().unwrap().to_owned();
    text.unwrap_or_else(|_| from_ip()).trim().parse().unwrap()
}
