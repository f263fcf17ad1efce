//! `network:`: host name, name servers and links, the latter as files of systemd-networkd.
//!
//! A link says what nearly every machine needs; whatever else networkd knows is a file below `files:`.
//! Names and addresses are checked, because a line break in one of them would be a line of its own
//! in a file that root's programs believe (systemd.network(5)).

use std::net::IpAddr;

use crate::action::{Action, Contents};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Fields;
use crate::node::Node;
use crate::operation::Text;
use crate::provision::document::{Lowering, is_line, section};
use crate::provision::records::{DnsShape, choice, choices};
use crate::provision::shape::{Holes, Many, Number, Shape, Word, by_name, described, object, take};
use crate::provision::tree::Tree;

/// In front of what images bring for all links; the first file that matches wins.
const PREFIX: &str = "/etc/systemd/network/10-provision-";

const DHCP: [(&str, &str); 4] =
    [("true", "yes"), ("false", "no"), ("ipv4", "ipv4"), ("ipv6", "ipv6")];

/// Reads the section.
pub(super) fn read(node: &Node, into: &mut Lowering, out: &mut Diagnostics) {
    let Some(mut fields) = Fields::open(node, "network", out).map(Fields::strict) else { return };
    if let Some((key, node)) = fields.take_with_key("hostname")
        && let Some(name) = Holes::read(node, "hostname", fields.out())
        && check_name(&name, node, fields.out())
    {
        into.first_boot(key.span, Action::Hostname(name));
    }
    if let Some((key, node)) = fields.take_with_key("dns")
        && let Some(dns) = DnsShape::read(node, "dns", fields.out())
    {
        into.first_boot(key.span, Action::Dns(dns));
    }
    for (key, node) in section(&mut fields, "links") {
        if let Some(text) = link(&key.text, node, fields.out()) {
            let name: String = key
                .text
                .chars()
                .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
                .collect();
            let path = format!("{PREFIX}{name}.network");
            into.file(key.span, path, Contents::bytes(text), 0o644);
        }
    }
    fields.finish();
}

/// Whether a text is a host name (RFC 1123 §2.1); what only the machine can fill is checked there.
pub(super) fn is_name(name: &Text) -> bool {
    let Text::Plain(name) = name else { return true };
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // Linux takes no more (HOST_NAME_MAX of gethostname(2)).
    name.len() <= 64 && name.split('.').all(is_label)
}

fn check_name(name: &Text, node: &Node, out: &mut Diagnostics) -> bool {
    if is_name(name) {
        return true;
    }
    let message = format!("`{:.80}` is no host name", name.written());
    let hint = "use letters, digits and `-`, parts divided by `.`, at most 64 characters";
    out.push(Diagnostic::error("host-name", node.span, message).hint(hint));
    false
}

/// The text of a `.network` file.
fn link(name: &str, node: &Node, out: &mut Diagnostics) -> Option<String> {
    let mut fields = Fields::open(node, "a link", out)?.strict();
    if !is_line(&[name], node, "links", fields.out()) {
        return None;
    }
    let mac = fields.text("mac");
    let mut text = match &mac {
        Some(mac) if is_mac(&mac.value) => {
            format!("[Match]\nPermanentMACAddress={}\n", mac.value)
        }
        Some(mac) => {
            let message = format!("`{:.40}` is no MAC address", mac.value);
            let hint = "write six pairs of hexadecimal digits, divided by `:`";
            fields.out().push(Diagnostic::error("mac-address", mac.span, message).hint(hint));
            return None;
        }
        None => format!("[Match]\nName={name}\n"),
    };
    if let Some(mtu) = take::<Number<u32>>(&mut fields, "mtu") {
        text.push_str(&format!("\n[Link]\nMTUBytes={mtu}\n"));
    }
    text.push_str("\n[Network]\n");
    if let Some(node) = fields.take("dhcp")
        && let Some(word) = choice(node, "dhcp", &DHCP, fields.out())
    {
        text.push_str(&format!("DHCP={word}\n"));
    }
    for (key, line, check) in [
        ("addresses", "Address", is_prefix as fn(&str) -> bool),
        ("gateways", "Gateway", is_address),
        ("dns", "DNS", is_address),
        ("search", "Domains", is_domain),
    ] {
        for value in fields.texts(key) {
            if check(&value.value) {
                text.push_str(&format!("{line}={}\n", value.value));
            } else {
                let message = format!("`{key}` has `{:.80}`, which is none", value.value);
                let fault = Diagnostic::error("address", value.span, message);
                fields.out().push(match key {
                    "addresses" => {
                        fault.hint("write an address with its length, as `192.0.2.7/24`")
                    }
                    _ => fault,
                });
            }
        }
    }
    fields.finish();
    Some(text)
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let is_pair =
        |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.len() == 6 && parts.iter().all(is_pair)
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

fn is_prefix(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let longest = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= longest)
}

fn is_domain(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_letter)
}

/// The schema of the section.
pub(super) fn schema() -> Tree {
    let texts = || Many::<Word>::schema();
    // `true` and `false` are taken as words and as booleans.
    let mut words = choices(&DHCP).entries();
    if let Some((_, Tree::List(list))) = words.first_mut() {
        list.extend([Tree::Flag(true), Tree::Flag(false)]);
    }
    let link = [
        (
            "mac",
            Word::schema(),
            "The link with this permanent MAC address; without it the one of this name.",
        ),
        ("dhcp", Tree::Map(words), "Whether it asks for addresses, and of which kind."),
        ("addresses", texts(), "Addresses with their length, as 192.0.2.7/24."),
        ("gateways", texts(), "Routers for everything else."),
        ("dns", texts(), "Name servers behind this link."),
        ("search", texts(), "Domains that are searched."),
        ("mtu", Number::<u32>::schema(), "Bytes of the largest packet."),
    ];
    let link = link.map(|(key, schema, help)| (key.to_owned(), described(schema, help, None)));
    let keys = [
        ("hostname", Holes::schema(), "Name of the machine."),
        ("dns", DnsShape::schema(), "Name servers for the whole machine."),
        (
            "links",
            by_name(object(link.into(), Vec::new())),
            "Links by name, as files of systemd-networkd.",
        ),
    ];
    let keys = keys.map(|(key, schema, help)| (key.to_owned(), described(schema, help, None)));
    object(keys.into(), Vec::new())
}
