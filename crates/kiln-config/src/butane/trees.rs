//! `trees`: a folder of files beside the config becomes entries of the config.
//!
//! An entry that the config already has for a path gives mode and owner, the tree gives contents;
//! where both give contents, neither is guessed to be right.

use std::collections::HashMap;

use super::convert::Context;
use super::sugar::{data_url, inside, no_files};
use super::{TreeEntry, TreeKind};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::{Fields, Spanned};
use crate::ignition::translate::tree::{Map, bare, list, text};
use crate::node::{Key, Node, Value};
use crate::source::Span;

/// Entries that all trees of a config may have together.
const MAXIMUM_ENTRIES: usize = 20_000;

/// Puts the entries of all trees into Ignition's `storage`.
pub(super) fn fill(
    written: &Node,
    storage: &mut Node,
    context: Context<'_>,
    out: &mut Diagnostics,
) {
    let Some(trees) = written.get("trees").filter(|trees| !trees.is_null()) else { return };
    let Some(members) = trees.list() else {
        out.push(crate::fields::wrong_kind(trees, "trees", "a list"));
        return;
    };
    let mut places = places(storage);
    for member in members {
        let Some(mut fields) = Fields::open(member, "a tree", out) else { continue };
        let local = fields.require_text("local");
        let path = fields.text("path");
        fields.finish();
        let Some(local) = local else { continue };
        let Some(files) = context.files else {
            out.push(no_files("trees", &local));
            continue;
        };
        if !inside(&local.value) {
            let message = format!("`{}` leads out of the folder of local files", local.value);
            out.push(Diagnostic::error("path-escape", local.span, message));
            continue;
        }
        let base = path.map_or_else(|| "/".to_owned(), |path| path.value);
        match files.tree(&local.value) {
            Ok(entries) => {
                for entry in entries {
                    if places.len() > MAXIMUM_ENTRIES {
                        let message = format!("trees hold more than {MAXIMUM_ENTRIES} entries");
                        out.push(Diagnostic::error("too-many-values", local.span, message));
                        return;
                    }
                    add(&local, &base, entry, storage, &mut places, out);
                }
            }
            Err(fault) => {
                let message = format!("`{}` cannot be read: {fault}", local.value);
                out.push(Diagnostic::error("local-file", local.span, message));
            }
        }
    }
}

/// Path → list and place in the list.
type Places = HashMap<String, (&'static str, usize)>;

fn places(storage: &Node) -> Places {
    let mut places = Places::new();
    for kind in ["files", "directories", "links"] {
        let members = storage.get(kind).and_then(Node::list).unwrap_or_default();
        for (index, member) in members.iter().enumerate() {
            if let Some(path) = member.get("path").and_then(Node::text) {
                places.entry(path.to_owned()).or_insert((kind, index));
            }
        }
    }
    places
}

fn add(
    local: &Spanned<String>,
    base: &str,
    entry: TreeEntry,
    storage: &mut Node,
    places: &mut Places,
    out: &mut Diagnostics,
) {
    let span = local.span;
    if !inside(&entry.path) {
        let message = format!("`{}` in `{}` is no path inside it", entry.path, local.value);
        out.push(Diagnostic::error("path-escape", span, message));
        return;
    }
    let path = format!("{}/{}", base.trim_end_matches('/'), entry.path.trim_start_matches("./"));
    let kind = match entry.kind {
        TreeKind::File { .. } => "files",
        TreeKind::Link { .. } => "links",
    };
    let wanted = match &entry.kind {
        TreeKind::File { .. } => "contents",
        TreeKind::Link { .. } => "target",
    };
    match places.get(&path).copied() {
        Some((known, index)) => {
            let free = known == kind
                && entry_at(storage, kind, index).is_some_and(|node| node.get(wanted).is_none());
            if !free {
                let message =
                    format!("`{path}` stands in the config and in tree `{}`", local.value);
                out.push(
                    Diagnostic::error("duplicate-entry", span, message)
                        .hint("remove it from one of the two"),
                );
                return;
            }
            if let Some(Node { value: Value::Map(entries), .. }) = entry_at(storage, kind, index) {
                for (name, node) in values(span, entry.kind) {
                    if entries.iter().all(|(key, _)| key.text != name) {
                        entries.push((Key { span, text: name.to_owned() }, node));
                    }
                }
            }
        }
        None => {
            let mut map = Map::new(span);
            map.put("path", text(span, path.clone()));
            for (name, node) in values(span, entry.kind) {
                map.put(name, node);
            }
            let Value::Map(entries) = &mut storage.value else { return };
            let place = entries.iter().position(|(key, _)| key.text == kind);
            let place = place.unwrap_or_else(|| {
                let key = Key { span, text: kind.to_owned() };
                entries.push((key, list(span, Vec::new())));
                entries.len() - 1
            });
            if let Some((_, Node { value: Value::List(members), .. })) = entries.get_mut(place) {
                places.insert(path, (kind, members.len()));
                members.push(map.node());
            }
        }
    }
}

fn values(span: Span, kind: TreeKind) -> Vec<(&'static str, Node)> {
    match kind {
        TreeKind::File { contents, executable } => {
            let mut map = Map::new(span);
            map.put("source", text(span, data_url(&contents)));
            map.put("compression", text(span, ""));
            let mode = if executable { 0o755 } else { 0o644 };
            vec![("contents", map.node()), ("mode", bare(span, mode))]
        }
        TreeKind::Link { target } => vec![("target", text(span, target))],
    }
}

fn entry_at<'node>(storage: &'node mut Node, kind: &str, index: usize) -> Option<&'node mut Node> {
    let Value::Map(entries) = &mut storage.value else { return None };
    let (_, node) = entries.iter_mut().find(|(key, _)| key.text == kind)?;
    let Value::List(members) = &mut node.value else { return None };
    members.get_mut(index)
}
