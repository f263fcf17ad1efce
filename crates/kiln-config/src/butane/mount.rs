//! `with_mount_unit`: the systemd unit that mounts a file system at each boot.
//!
//! Names follow systemd's rule of escaping, since systemd finds the unit of a path by its name
//! only. Units are written from the YAML and not from the finished config, because Ignition has no
//! word for them. A unit of the same name in the config comes first: what its author wrote is kept.

use std::collections::BTreeSet;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::ignition::translate::tree::{Map, bare, text};
use crate::node::Node;
use crate::source::Span;

/// The units of all file systems that ask for one, in their order.
pub(super) fn units(storage: &Node, out: &mut Diagnostics) -> Vec<Node> {
    let list = storage.get("filesystems").and_then(Node::list).unwrap_or_default();
    let remote = remote_volumes(storage);
    list.iter().filter_map(|filesystem| unit(filesystem, &remote, out)).collect()
}

fn unit(filesystem: &Node, remote: &BTreeSet<&str>, out: &mut Diagnostics) -> Option<Node> {
    let wish = filesystem.get("with_mount_unit")?;
    if wish.boolean() != Some(true) {
        return None;
    }
    let word = |key: &str| filesystem.get(key).and_then(Node::text).filter(|text| !text.is_empty());
    let missing = |key: &str, out: &mut Diagnostics| {
        let message = format!("`with_mount_unit` needs `{key}`");
        out.push(Diagnostic::error("missing-key", wish.span, message));
    };
    let Some(device) = word("device") else {
        missing("device", out);
        return None;
    };
    let Some(format) = word("format") else {
        missing("format", out);
        return None;
    };
    let options: Vec<&str> = filesystem
        .get("mount_options")
        .and_then(Node::list)
        .unwrap_or_default()
        .iter()
        .filter_map(Node::text)
        .collect();
    let is_remote = needs_network(device, remote);
    let fields = [device, format].into_iter().chain(options.iter().copied()).chain(word("path"));
    if fields.into_iter().any(|field| field.contains(['\n', '\r'])) {
        let message = "a mount unit cannot hold a line break";
        out.push(Diagnostic::error("bad-mount-unit", filesystem.span, message));
        return None;
    }
    let (name, contents) = if format == "swap" {
        (format!("{}.swap", escape(device)), swap_contents(device, &options, is_remote))
    } else {
        let Some(path) = word("path") else {
            missing("path", out);
            return None;
        };
        let contents = mount_contents(device, path, format, &options, is_remote);
        (format!("{}.mount", escape(path)), contents)
    };
    Some(made(wish.span, &name, contents))
}

fn made(span: Span, name: &str, contents: String) -> Node {
    let mut map = Map::new(span);
    map.put("name", text(span, name));
    map.put("enabled", bare(span, true));
    map.put("contents", text(span, contents));
    map.node()
}

/// Names of the encrypted volumes that a server on the network opens.
fn remote_volumes(storage: &Node) -> BTreeSet<&str> {
    let volumes = storage.get("luks").and_then(Node::list).unwrap_or_default().iter();
    let remote = volumes.filter(|volume| {
        let Some(clevis) = volume.get("clevis") else { return false };
        let asks = clevis.get("tang").and_then(Node::list).is_some_and(|tang| !tang.is_empty());
        let custom = clevis.get("custom").and_then(|custom| custom.get("needs_network"));
        asks || custom.and_then(Node::boolean) == Some(true)
    });
    remote.filter_map(|volume| volume.get("name")?.text()).collect()
}

/// Whether a device is one of these volumes.
fn needs_network(device: &str, remote: &BTreeSet<&str>) -> bool {
    device
        .strip_prefix("/dev/mapper/")
        .or_else(|| device.strip_prefix("/dev/disk/by-id/dm-name-"))
        .is_some_and(|name| remote.contains(name))
}

/// The line of options; empty where there are none.
fn options_line(options: &[&str], is_remote: bool) -> String {
    let mut all = options.to_vec();
    if is_remote {
        // Without it systemd would mount before the network is up (systemd.mount(5)).
        all.push("_netdev");
    }
    if all.is_empty() { String::new() } else { format!("Options={}\n", all.join(",")) }
}

fn mount_contents(
    device: &str,
    path: &str,
    format: &str,
    options: &[&str],
    is_remote: bool,
) -> String {
    let check = format!("systemd-fsck@{}.service", escape(device));
    let options = options_line(options, is_remote);
    let target = if is_remote { "remote-fs.target" } else { "local-fs.target" };
    format!(
        "# Made from with_mount_unit\n[Unit]\nRequires={check}\nAfter={check}\n\n[Mount]\n\
         Where={path}\nWhat={device}\nType={format}\n{options}\n[Install]\nRequiredBy={target}\n"
    )
}

fn swap_contents(device: &str, options: &[&str], is_remote: bool) -> String {
    let options = options_line(options, is_remote);
    format!(
        "# Made from with_mount_unit\n[Swap]\nWhat={device}\n{options}\n[Install]\nRequiredBy=swap.target\n"
    )
}

/// The name of a path as systemd writes it in names of units (`systemd-escape --path`,
/// systemd.unit(5)).
pub(super) fn escape(path: &str) -> String {
    let parts: Vec<&str> =
        path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let joined = parts.join("/");
    if joined.is_empty() {
        return "-".to_owned();
    }
    let mut name = String::with_capacity(joined.len());
    for (index, byte) in joined.bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if index == 0 => name.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => name.push(byte.into()),
            _ => name.push_str(&format!("\\x{byte:02x}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn names_are_those_of_systemd_escape() {
        for (path, expected) in [
            ("/", "-"),
            ("", "-"),
            ("/var", "var"),
            ("/var/", "var"),
            ("/var//lib/./data", "var-lib-data"),
            ("/var/log-archive", "var-log\\x2darchive"),
            ("/dev/disk/by-partlabel/data", "dev-disk-by\\x2dpartlabel-data"),
            ("/.hidden", "\\x2ehidden"),
            ("/a/.b", "a-.b"),
            ("/a b", "a\\x20b"),
            ("/ä", "\\xc3\\xa4"),
            ("/a:b_c", "a:b_c"),
            ("/a\\b", "a\\x5cb"),
        ] {
            assert_eq!(escape(path), expected, "{path}");
        }
    }
}
