//! Files, directories and links: each by itself, and against each other and the units.

use std::collections::HashMap;

use super::{has_special_bits, path, range, resource};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Spanned;
use crate::ignition::config::{Account, Config, Entry, Storage, Version};
use crate::source::Span;

/// All bits that a mode can have.
const ALL_BITS: i64 = 0o7777;
/// Setuid, setgid and sticky.
const SPECIAL_BITS: i64 = 0o7000;

pub(super) fn check(config: &Config, out: &mut Diagnostics) {
    let storage = &config.storage;
    let version = config.version.value;
    for file in &storage.files {
        entry(&file.entry, out);
        mode(file.mode.as_ref(), version, out);
        if let Some(contents) = &file.contents {
            resource::check(contents, false, version, out);
        }
        for appended in &file.append {
            resource::check(appended, false, version, out);
        }
        let has_source = file.contents.as_ref().is_some_and(|contents| contents.source.is_some());
        if let Some(overwrite) = file.entry.overwrite.as_ref().filter(|overwrite| overwrite.value)
            && !has_source
        {
            let message = "`overwrite` needs `contents.source`, or there is nothing to write";
            out.push(
                Diagnostic::error("overwrite-without-contents", overwrite.span, message)
                    .hint("write `\"source\": \"\"` for an empty file"),
            );
        }
    }
    for directory in &storage.directories {
        entry(&directory.entry, out);
        mode(directory.mode.as_ref(), version, out);
    }
    for link in &storage.links {
        entry(&link.entry, out);
        if link.target.as_ref().is_none_or(|target| target.value.is_empty()) {
            let message = "a link needs `target`";
            out.push(Diagnostic::error("missing-key", link.entry.span, message));
        }
    }
    same_paths(config, out);
    below_links(storage, out);
    hard_links(storage, out);
}

fn entry(entry: &Entry, out: &mut Diagnostics) {
    path(&entry.path, "path", out);
    for (what, account) in [("user", &entry.user), ("group", &entry.group)] {
        let Some(Account { id, name, .. }) = account else { continue };
        range(id.as_ref(), "id", i64::from(u32::MAX) - 1, out);
        if let (Some(id), Some(name)) = (id, name.as_ref().filter(|name| !name.value.is_empty())) {
            let message = format!("`{what}` has both `id` and `name`");
            out.push(
                Diagnostic::error("id-and-name", name.span, message)
                    .label(id.span, "the number is here"),
            );
        }
    }
}

fn mode(mode: Option<&Spanned<i64>>, version: Version, out: &mut Diagnostics) {
    let Some(mode) = mode else { return };
    if !(0..=ALL_BITS).contains(&mode.value) {
        let message =
            format!("a mode is from 0 to {ALL_BITS} (octal 7777), and this is {}", mode.value);
        out.push(
            Diagnostic::error("bad-mode", mode.span, message)
                .hint("JSON writes modes in decimal: 420 is octal 0644"),
        );
    } else if mode.value & SPECIAL_BITS != 0 && !has_special_bits(version) {
        let message = format!(
            "setuid, setgid and sticky bits mean nothing in version {}, they are left out",
            version.name()
        );
        out.push(
            Diagnostic::warning("special-mode-bits", mode.span, message)
                .hint("write `3.6.0` as `ignition.version`"),
        );
    }
}

/// All entries with the word for their kind.
fn all(storage: &Storage) -> impl Iterator<Item = &Entry> {
    let files = storage.files.iter().map(|file| &file.entry);
    let directories = storage.directories.iter().map(|directory| &directory.entry);
    let links = storage.links.iter().map(|link| &link.entry);
    files.chain(directories).chain(links)
}

/// Files, directories, links and what the units write share one space of paths.
fn same_paths(config: &Config, out: &mut Diagnostics) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for entry in all(&config.storage) {
        let path = &entry.path;
        if path.value.is_empty() {
            continue;
        }
        match seen.get(path.value.as_str()) {
            None => {
                seen.insert(&path.value, path.span);
            }
            Some(first) => {
                let message = format!("`{}` stands twice in this config", path.value);
                out.push(
                    Diagnostic::error("same-path", path.span, message)
                        .label(*first, "the first is here")
                        .hint("a path is one file, one directory or one link"),
                );
            }
        }
    }
    let mut claim = |path: String, span: Span| {
        if let Some(entry) = seen.get(path.as_str()) {
            let message =
                format!("the unit is written to `{path}`, which is an entry of `storage`");
            out.push(
                Diagnostic::error("unit-path", span, message).label(*entry, "the entry is here"),
            );
        }
    };
    for unit in &config.systemd.units {
        let path = format!("/etc/systemd/system/{}", unit.name.value);
        if unit.contents.is_some() {
            claim(path.clone(), unit.name.span);
        }
        for dropin in unit.dropins.iter().filter(|dropin| dropin.contents.is_some()) {
            claim(format!("{path}.d/{}", dropin.name.value), dropin.name.span);
        }
    }
}

/// A path that leads through a link of the same config depends on what is made first.
fn below_links(storage: &Storage, out: &mut Diagnostics) {
    let links = storage.links.iter().map(|link| &link.entry.path);
    let links: HashMap<&str, Span> = links.map(|path| (path.value.as_str(), path.span)).collect();
    for entry in all(storage) {
        let path = entry.path.value.as_str();
        let above = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
        if let Some((link, span)) = above.filter_map(|above| links.get_key_value(above)).next() {
            let message = format!("`{path}` leads through the link `{link}` of the same config");
            out.push(
                Diagnostic::error("below-link", entry.path.span, message)
                    .label(*span, "the link is here")
                    .hint("write the path that the link leads to"),
            );
        }
    }
}

fn hard_links(storage: &Storage, out: &mut Diagnostics) {
    let directories = storage.directories.iter().map(|directory| &directory.entry.path);
    let directories: HashMap<&str, Span> =
        directories.map(|path| (path.value.as_str(), path.span)).collect();
    for link in
        storage.links.iter().filter(|link| link.hard.as_ref().is_some_and(|hard| hard.value))
    {
        if let Some(target) = &link.target
            && let Some(span) =
                directories.get(absolute(&link.entry.path.value, &target.value).as_str())
        {
            let message = format!("a hard link cannot lead to the directory `{}`", target.value);
            out.push(
                Diagnostic::error("hard-link-to-directory", target.span, message)
                    .label(*span, "the directory is here"),
            );
        }
        for account in [&link.entry.user, &link.entry.group].into_iter().flatten() {
            let message = "a hard link has the owner of what it leads to, this one is ignored";
            out.push(Diagnostic::warning("hard-link-owner", account.span, message));
        }
    }
}

/// A target as an absolute, clean path.
fn absolute(link: &str, target: &str) -> String {
    let folder = link.rsplit_once('/').map_or("", |(folder, _)| folder);
    let joined =
        if target.starts_with('/') { target.to_owned() } else { format!("{folder}/{target}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
