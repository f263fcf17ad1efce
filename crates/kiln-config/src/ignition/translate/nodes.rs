//! Files, directories and links: paths on named file systems become paths of the machine.
//!
//! 2.x names a file system and a path on it; 3.x knows only where things are in the end. `root` is
//! the machine's root; for any other name the place has to be known: given by the caller, said by a
//! mount unit of the same config, or `path` below `/sysroot`. It is never guessed.

use std::collections::{BTreeMap, HashMap};

use super::tree::{Map, bare, is_zero, text};
use super::{Mounts, Old, empty, section, shorten, verification};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::node::{Node, Value};

/// The place at which Ignition finds the future root while it runs.
const SYSROOT: &str = "/sysroot";

/// Where the named file systems of a document are mounted.
pub(super) fn mounts(node: &Node, given: &Mounts) -> Mounts {
    let mut mounts: BTreeMap<String, String> = BTreeMap::new();
    let units = unit_mounts(node);
    for filesystem in node.get("storage").map_or(&[][..], |storage| list_of(storage, "filesystems"))
    {
        let Some(name) = filesystem.get("name").and_then(Node::text) else { continue };
        let device = filesystem.get("mount").and_then(|mount| mount.get("device"));
        let place = match filesystem.get("path").and_then(Node::text) {
            Some(path) => path
                .strip_prefix(SYSROOT)
                .filter(|rest| rest.is_empty() || rest.starts_with('/'))
                .map(|rest| format!("/{}", rest.trim_matches('/'))),
            None => device.and_then(Node::text).and_then(|device| units.get(device).cloned()),
        };
        if let Some(place) = place {
            mounts.insert(name.to_owned(), place);
        }
    }
    mounts.extend(given.iter().map(|(name, path)| (name.clone(), path.clone())));
    for place in mounts.values_mut() {
        // 3.x wants paths without a slash at their end.
        *place = format!("/{}", place.trim_matches('/'));
    }
    mounts.insert("root".to_owned(), "/".to_owned());
    mounts
}

/// Device → place, from the mount units of the document.
fn unit_mounts(node: &Node) -> HashMap<String, String> {
    let units = node.get("systemd").map_or(&[][..], |systemd| list_of(systemd, "units"));
    let mut mounts = HashMap::new();
    for unit in units {
        let name = unit.get("name").and_then(Node::text).unwrap_or_default();
        let contents = unit.get("contents").and_then(Node::text).unwrap_or_default();
        if !name.ends_with(".mount") {
            continue;
        }
        let value = |key: &str| {
            let lines = contents.lines().filter_map(|line| line.split_once('='));
            let mut found = lines.filter(|(name, _)| name.trim() == key);
            found.next_back().map(|(_, value)| value.trim().to_owned())
        };
        if let (Some(device), Some(place)) = (value("What"), value("Where"))
            && place.starts_with('/')
        {
            mounts.insert(device, place);
        }
    }
    mounts
}

fn list_of<'node>(node: &'node Node, key: &str) -> &'node [Node] {
    node.get(key).and_then(Node::list).unwrap_or_default()
}

/// What files, directories and links have in common.
fn entry(old: &mut Old<'_, '_>, map: &mut Map, mounts: &Mounts) {
    let filesystem = old.fields.require("filesystem");
    let path = old.fields.require("path");
    if let (None, Some(path)) = (filesystem, path) {
        map.put("path", path.clone());
    }
    if let (Some(filesystem), Some(path)) = (filesystem, path) {
        let name = filesystem.text().unwrap_or_default();
        match (mounts.get(name), path.text()) {
            (Some(mount), Some(inside)) => {
                let mount = mount.trim_end_matches('/');
                let slash = if inside.starts_with('/') { "" } else { "/" };
                let whole = if mount.is_empty() {
                    inside.to_owned()
                } else {
                    format!("{mount}{slash}{inside}")
                };
                map.put("path", text(path.span, whole));
            }
            (Some(_), None) => map.put("path", path.clone()),
            (None, _) => {
                let shown = shorten(name);
                let message = format!("where file system `{shown}` is mounted is not known");
                old.fields.out().push(
                    Diagnostic::error("unknown-mount", filesystem.span, message)
                        .hint("add a mount unit for its device to the config"),
                );
                map.put("path", path.clone());
            }
        }
    }
    for name in ["user", "group"] {
        let owner = old.map(name, "an owner", 0, |old, map| {
            old.pass_exactly(map, 0, &["id"]);
            old.pass(map, 1, &["name"]);
        });
        map.put_some(name, owner.filter(|owner| !is_zero(owner)));
    }
}

pub(super) fn directory(old: &mut Old<'_, '_>, map: &mut Map, mounts: &Mounts) {
    entry(old, map, mounts);
    old.pass_exactly(map, 2, &["overwrite"]);
    old.pass_exactly(map, 0, &["mode"]);
}

pub(super) fn link(old: &mut Old<'_, '_>, map: &mut Map, mounts: &Mounts) {
    entry(old, map, mounts);
    old.pass_exactly(map, 2, &["overwrite"]);
    old.pass_exactly(map, 0, &["target"]);
    old.pass(map, 0, &["hard"]);
}

/// All files. 2.x carries them out one after the other, so what is appended to a file of the same
/// config joins that file, where 3.x wants one entry for each path.
pub(super) fn files(node: &Node, minor: u32, mounts: &Mounts, out: &mut Diagnostics) -> Node {
    let Some(members) = node.list() else { return node.clone() };
    let mut files: Vec<Node> = Vec::with_capacity(members.len());
    let mut places: HashMap<String, usize> = HashMap::new();
    for member in members {
        let translated = section(member, "a file", minor, out, |old, map| file(old, map, mounts));
        let Some(translated) = translated else { continue };
        let path = translated.get("path").and_then(Node::text).unwrap_or_default().to_owned();
        let earlier = places.get(&path).and_then(|&place| files.get_mut(place));
        match earlier {
            Some(earlier) if joins(earlier, &translated) => join(earlier, &translated),
            _ => {
                places.entry(path).or_insert(files.len());
                files.push(translated);
            }
        }
    }
    Node { span: node.span, value: Value::List(files) }
}

/// Whether an entry only appends, and to a file with the same owner and mode.
fn joins(earlier: &Node, later: &Node) -> bool {
    let same = |key: &str| match (earlier.get(key), later.get(key)) {
        (_, None) => true,
        (Some(one), Some(other)) => plain(one) == plain(other),
        (None, Some(_)) => false,
    };
    later.get("append").is_some() && ["mode", "user", "group"].into_iter().all(same)
}

/// A value without its places.
fn plain(node: &Node) -> String {
    match &node.value {
        Value::Null => String::new(),
        Value::Scalar { text, .. } => text.clone(),
        Value::List(list) => list.iter().map(plain).collect::<Vec<_>>().join(","),
        Value::Map(map) => {
            let entries = map.iter().map(|(key, node)| format!("{}={}", key.text, plain(node)));
            entries.collect::<Vec<_>>().join(",")
        }
    }
}

fn join(earlier: &mut Node, later: &Node) {
    let more = later.get("append").and_then(Node::list).unwrap_or_default().to_vec();
    let Value::Map(entries) = &mut earlier.value else { return };
    match entries.iter_mut().find(|(key, _)| key.text == "append") {
        Some((_, Node { value: Value::List(list), .. })) => list.extend(more),
        _ => {
            let key = crate::node::Key { span: later.span, text: "append".to_owned() };
            entries.push((key, Node { span: later.span, value: Value::List(more) }));
        }
    }
}

fn file(old: &mut Old<'_, '_>, map: &mut Map, mounts: &Mounts) {
    let span = old.fields.span();
    entry(old, map, mounts);
    let overwrite = old.since(2, "overwrite");
    let append = old.since(2, "append").filter(|node| !is_zero(node));
    old.pass_exactly(map, 0, &["mode"]);
    let contents = old.map("contents", "`contents`", 0, |old, map| {
        // An empty source is an empty file in 2.x, and so is none; in 3.x none keeps what is there.
        match old.fields.take("source") {
            Some(source) if !is_zero(source) => map.put("source", source.clone()),
            Some(source) => map.put("source", text(source.span, "data:,")),
            None => map.put("source", text(old.fields.span(), "data:,")),
        }
        old.pass(map, 0, &["compression"]);
        old.pass(map, 4, &["httpHeaders"]);
        verification(old, map);
    });
    let contents = contents.unwrap_or_else(|| {
        let mut map = Map::new(span);
        map.put("source", text(span, "data:,"));
        map.node()
    });
    match append {
        Some(append) if append.boolean() == Some(true) => {
            if let Some(overwrite) = overwrite.filter(|node| node.boolean() == Some(true)) {
                let message = "`append` and `overwrite` contradict each other";
                old.fields.out().push(
                    Diagnostic::error("untranslatable", overwrite.span, message)
                        .label(append.span, "`append` is here")
                        .hint("remove one of the two"),
                );
            }
            map.put("overwrite", bare(append.span, false));
            let mut list = empty(append.span);
            if let Value::List(members) = &mut list.value {
                members.push(contents);
            }
            map.put("append", list);
        }
        Some(append) => {
            old.fields.out().push(crate::fields::wrong_kind(append, "append", "`true` or `false`"));
        }
        None => {
            // Files of 2.x take the place of what is there, unless they say otherwise.
            map.put("overwrite", overwrite.cloned().unwrap_or_else(|| bare(span, true)));
            map.put("contents", contents);
        }
    }
}
