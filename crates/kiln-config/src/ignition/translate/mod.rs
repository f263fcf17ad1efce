//! Ignition's configs of spec 2.0.0–2.4.0, translated to 3.x.
//!
//! What has one meaning in 3.x is translated, also where a later 2.x declared it old; what has
//! none, or would depend on what the machine happens to hold, is refused by name with place and
//! reason, never dropped silently. A file in an old notation that means nearly the same is worse
//! than none.
//!
//! What depends on nothing but the translated config (one path twice, a path through a link of the
//! config) is left to [`super::validate`], which says it for every version. A translator from each
//! 2.x to the next was dropped: five copies of the same structures for a few keys.

mod accounts;
mod nodes;
mod storage;
pub(crate) mod tree;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::tree::{Map, is_zero, list, members, refuse, text};
use super::config::Config;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Fields;
use crate::node::Node;

/// Where file systems are mounted whose names a config only mentions: name → absolute path.
pub type Mounts = BTreeMap<String, String>;

/// A map of the old document.
struct Old<'node, 'out> {
    fields: Fields<'node, 'out>,
    minor: u32,
}

impl<'node, 'out> Old<'node, 'out> {
    fn open(
        node: &'node Node,
        what: &'static str,
        minor: u32,
        out: &'out mut Diagnostics,
    ) -> Option<Self> {
        Some(Self { fields: Fields::open(node, what, out)?, minor })
    }

    /// The value of a key that came with `2.minor.0`; in older documents it is unknown, and ignored
    /// as Ignition ignores it.
    fn since(&mut self, minor: u32, name: &'static str) -> Option<&'node Node> {
        if self.minor >= minor {
            return self.fields.take(name);
        }
        let span = self.fields.entry(name)?.0.span;
        let message = format!("`{name}` came with spec 2.{minor}.0, it is ignored");
        let hint = format!("write `2.{minor}.0` as version of the config");
        self.fields.out().push(Diagnostic::warning("unknown-key", span, message).hint(hint));
        None
    }

    /// Passes values on under the same key; what 2.x writes for none is left out.
    fn pass(&mut self, map: &mut Map, since: u32, names: &[&'static str]) {
        for name in names {
            if let Some(node) = self.since(since, name).filter(|node| !is_zero(node)) {
                map.put(name, node.clone());
            }
        }
    }

    /// The same for keys for which an empty value means something else than none.
    fn pass_exactly(&mut self, map: &mut Map, since: u32, names: &[&'static str]) {
        for name in names {
            map.put_some(name, self.since(since, name).cloned());
        }
    }

    /// Says that a key is old, where it is written.
    fn deprecated(&mut self, name: &'static str, instead: &str) -> Option<&'node Node> {
        let minor = self.minor;
        let (key, node) = self.fields.take_with_key(name)?;
        if minor > 0 && !is_zero(node) {
            let message = format!("`{name}` is deprecated since spec 2.1.0");
            let diagnostic = Diagnostic::warning("deprecated-key", key.span, message);
            self.fields.out().push(diagnostic.hint(format!("write {instead}")));
        }
        Some(node)
    }

    /// A map below a key, rewritten by `change`.
    fn map(
        &mut self,
        name: &'static str,
        what: &'static str,
        since: u32,
        change: impl FnOnce(&mut Old<'node, '_>, &mut Map),
    ) -> Option<Node> {
        let node = self.since(since, name)?;
        section(node, what, self.minor, self.fields.out(), change)
    }
}

/// A map rewritten by `change`; nothing where the node is none.
fn section<'node>(
    node: &'node Node,
    what: &'static str,
    minor: u32,
    out: &mut Diagnostics,
    change: impl FnOnce(&mut Old<'node, '_>, &mut Map),
) -> Option<Node> {
    let mut old = Old::open(node, what, minor, out)?;
    let mut map = Map::new(node.span);
    change(&mut old, &mut map);
    old.fields.finish();
    Some(map.node())
}

/// Whether a document is of spec 2.x (or of the still older one without `ignition.version`).
#[must_use]
pub fn applies(node: &Node) -> bool {
    let version = node.get("ignition").and_then(|ignition| ignition.get("version"));
    match version.and_then(Node::text) {
        Some(version) => version.starts_with("2."),
        None => node.get("ignitionVersion").is_some(),
    }
}

/// Reads a document of spec 2.x to the tree of a config.
///
/// `mounts` says where file systems are mounted whose names the document only mentions; those for
/// which the document itself has a mount unit need no entry.
///
/// Gives nothing, and an error, where the document is of another version.
pub fn read(node: &Node, mounts: &Mounts, out: &mut Diagnostics) -> Option<Config> {
    super::read::node(&document(node, mounts, out)?, out)
}

/// The document of spec 3.x that means the same.
pub fn document(node: &Node, mounts: &Mounts, out: &mut Diagnostics) -> Option<Node> {
    let minor = minor(node, out)?;
    let mut old = Old::open(node, "an Ignition config", minor, out)?;
    let mut new = Map::new(node.span);
    let ignition = old.map("ignition", "`ignition`", 0, |old, map| {
        if let Some(version) = old.fields.take("version") {
            // HTTP headers and proxies came with 2.4.0 on one branch and with 3.1.0 on the other.
            map.put("version", text(version.span, if minor >= 4 { "3.1.0" } else { "3.0.0" }));
        }
        map.put_some("config", old.map("config", "`config`", 0, config));
        map.put_some(
            "timeouts",
            old.map("timeouts", "`timeouts`", 1, |old, map| {
                old.pass_exactly(map, 1, &["httpResponseHeaders", "httpTotal"]);
            }),
        );
        map.put_some(
            "security",
            old.map("security", "`security`", 2, |old, map| {
                map.put_some(
                    "tls",
                    old.map("tls", "`tls`", 2, |old, map| {
                        let authorities =
                            members(&mut old.fields, "certificateAuthorities", |node, out| {
                                section(node, "a certificate authority", minor, out, reference)
                            });
                        map.put_some("certificateAuthorities", authorities);
                    }),
                );
            }),
        );
        map.put_some(
            "proxy",
            old.map("proxy", "`proxy`", 4, |old, map| {
                old.pass(map, 4, &["httpProxy", "httpsProxy", "noProxy"]);
            }),
        );
    });
    new.put_some("ignition", ignition);
    let mounts = nodes::mounts(node, mounts);
    let storage =
        old.map("storage", "`storage`", 0, |old, map| storage::translate(old, map, &mounts));
    new.put_some("storage", storage);
    new.put_some("systemd", old.map("systemd", "`systemd`", 0, systemd));
    new.put_some("passwd", old.map("passwd", "`passwd`", 0, accounts::translate));
    networkd(&mut old);
    old.fields.finish();
    Some(new.node())
}

/// The second number of the version.
fn minor(node: &Node, out: &mut Diagnostics) -> Option<u32> {
    if let Some(version) = node.get("ignitionVersion") {
        let message = "configs of Ignition's first spec (`ignitionVersion`) are not translated";
        out.push(
            Diagnostic::error("unknown-version", version.span, message)
                .hint("rewrite it for spec 3.4.0"),
        );
        return None;
    }
    let version = node.get("ignition").and_then(|ignition| ignition.get("version"));
    let minor = match version.and_then(Node::text) {
        Some("2.0.0") => Some(0),
        Some("2.1.0") => Some(1),
        Some("2.2.0") => Some(2),
        Some("2.3.0") => Some(3),
        Some("2.4.0") => Some(4),
        _ => None,
    };
    if minor.is_none() {
        let span = version.map_or(node.span, |version| version.span);
        let shown = version.and_then(Node::text).unwrap_or_default();
        let message = format!("`{}` is no version of spec 2 that Kiln translates", shorten(shown));
        out.push(
            Diagnostic::error("unknown-version", span, message)
                .hint("write one of 2.0.0, 2.1.0, 2.2.0, 2.3.0, 2.4.0, or a config of 3.x"),
        );
    }
    minor
}

/// At most so many characters of a name that comes from a document are shown.
fn shorten(name: &str) -> String {
    name.chars().take(60).collect()
}

/// `append` is 3.x's `merge`.
fn config(old: &mut Old<'_, '_>, map: &mut Map) {
    let minor = old.minor;
    let merge = members(&mut old.fields, "append", |node, out| {
        section(node, "a config to append", minor, out, reference)
    });
    map.put_some("merge", merge);
    map.put_some("replace", old.map("replace", "`replace`", 0, reference));
}

/// A config or certificate and where it comes from.
fn reference(old: &mut Old<'_, '_>, map: &mut Map) {
    old.pass_exactly(map, 0, &["source"]);
    old.pass(map, 4, &["httpHeaders"]);
    verification(old, map);
}

fn verification(old: &mut Old<'_, '_>, map: &mut Map) {
    let verification = old.map("verification", "`verification`", 0, |old, map| {
        old.pass(map, 0, &["hash"]);
    });
    map.put_some("verification", verification);
}

fn systemd(old: &mut Old<'_, '_>, map: &mut Map) {
    let minor = old.minor;
    let units = members(&mut old.fields, "units", |node, out| {
        section(node, "a unit", minor, out, |old, map| {
            old.pass_exactly(map, 0, &["name"]);
            let enable = old.deprecated("enable", "`enabled`").filter(|node| !is_zero(node));
            // `enabled` says more than `enable`, which can only say yes.
            let enabled = old.since(1, "enabled").or(enable);
            map.put_some("enabled", enabled.cloned());
            old.pass(map, 0, &["mask", "contents"]);
            let dropins = members(&mut old.fields, "dropins", |node, out| {
                section(node, "a drop-in", minor, out, |old, map| {
                    old.pass_exactly(map, 0, &["name"]);
                    old.pass(map, 0, &["contents"]);
                })
            });
            map.put_some("dropins", dropins);
        })
    });
    map.put_some("units", units);
}

/// Units of systemd-networkd have no place in 3.x: each is refused by its name.
fn networkd(old: &mut Old<'_, '_>) {
    let Some(node) = old.fields.take("networkd") else { return };
    let Some(mut fields) = Fields::open(node, "`networkd`", old.fields.out()) else { return };
    if let Some(units) = fields.take("units") {
        for unit in units.list().unwrap_or_default() {
            let name = unit.get("name").unwrap_or(unit);
            let shown = shorten(name.text().unwrap_or("without name"));
            let message = format!("networkd unit `{shown}` is refused: 3.x has no networkd units");
            fields.out().push(
                Diagnostic::error("untranslatable", name.span, message)
                    .hint(format!("write it as file `/etc/systemd/network/{shown}`")),
            );
        }
        if units.list().is_none() {
            refuse(&mut fields, "units", "3.x has no networkd units", "");
        }
    }
    fields.finish();
}

/// An empty list, for callers that fill it.
fn empty(span: crate::source::Span) -> Node {
    list(span, Vec::new())
}
