//! Disks, arrays and file systems.
//!
//! Partitions of 2.0–2.2 are measured in sectors, those of 3.x in MiB: what does not divide is
//! refused instead of being rounded, because a table that is read again has to match to the sector.

use super::tree::{Map, bare, is_zero, members, refuse};
use super::{Mounts, Old, nodes, section};
use crate::diagnostic::Diagnostic;
use crate::node::{Node, Value};

/// Sectors of 512 bytes in a MiB. The spec says "device logical sectors"; disks with sectors of
/// 4096 bytes would be laid out otherwise, so a warning says what was assumed.
const SECTORS_PER_MIB: i64 = 2048;

pub(super) fn translate(old: &mut Old<'_, '_>, map: &mut Map, mounts: &Mounts) {
    let minor = old.minor;
    let disks = members(&mut old.fields, "disks", |node, out| {
        section(node, "a disk", minor, out, |old, map| {
            old.pass_exactly(map, 0, &["device"]);
            old.pass(map, 0, &["wipeTable"]);
            let partitions = members(&mut old.fields, "partitions", |node, out| {
                section(node, "a partition", minor, out, partition)
            });
            map.put_some("partitions", partitions);
        })
    });
    map.put_some("disks", disks);
    let raid = members(&mut old.fields, "raid", |node, out| {
        section(node, "a RAID array", minor, out, |old, map| {
            old.pass_exactly(map, 0, &["name", "level", "devices"]);
            old.pass(map, 0, &["spares"]);
            old.pass(map, 1, &["options"]);
        })
    });
    map.put_some("raid", raid);
    let filesystems = members(&mut old.fields, "filesystems", |node, out| {
        let node = section(node, "a file system", minor, out, |old, map| {
            filesystem(old, map, mounts);
        });
        // `root` without anything to make is the machine's own root.
        node.filter(|node| !is_zero(node))
    });
    map.put_some("filesystems", filesystems);
    if let Some(node) = old.fields.take("files") {
        map.put("files", nodes::files(node, minor, mounts, old.fields.out()));
    }
    if old.since(1, "directories").is_some() {
        let directories = members(&mut old.fields, "directories", |node, out| {
            section(node, "a directory", minor, out, |old, map| {
                nodes::directory(old, map, mounts);
            })
        });
        map.put_some("directories", directories);
    }
    if old.since(1, "links").is_some() {
        let links = members(&mut old.fields, "links", |node, out| {
            section(node, "a link", minor, out, |old, map| nodes::link(old, map, mounts))
        });
        map.put_some("links", links);
    }
}

fn partition(old: &mut Old<'_, '_>, map: &mut Map) {
    old.pass(map, 0, &["number", "typeGuid"]);
    old.pass_exactly(map, 0, &["label"]);
    old.pass(map, 1, &["guid"]);
    if old.minor >= 3 {
        for name in ["start", "size"] {
            let hint = if name == "start" { "write `startMiB`" } else { "write `sizeMiB`" };
            refuse(&mut old.fields, name, "it is deprecated since spec 2.3.0", hint);
        }
    } else {
        sectors(old, map, "start", "startMiB");
        sectors(old, map, "size", "sizeMiB");
    }
    old.pass_exactly(map, 3, &["startMiB", "sizeMiB", "shouldExist"]);
    old.pass(map, 3, &["wipePartitionEntry"]);
}

/// Sectors become MiB.
fn sectors(old: &mut Old<'_, '_>, map: &mut Map, name: &'static str, new: &'static str) {
    let Some(number) = old.fields.integer(name) else { return };
    if number.value % SECTORS_PER_MIB != 0 {
        let message = format!("`{name}` of {} sectors is no whole number of MiB", number.value);
        old.fields
            .out()
            .push(Diagnostic::error("untranslatable", number.span, message).hint(format!(
                "write a multiple of {SECTORS_PER_MIB}, or `{new}` with spec 2.3.0"
            )));
        return;
    }
    if number.value != 0 {
        let message = format!("`{name}` is taken as sectors of 512 bytes");
        old.fields.out().push(
            Diagnostic::warning("sectors", number.span, message)
                .hint(format!("write `{new}` with spec 2.3.0 or later")),
        );
    }
    map.put(new, bare(number.span, number.value / SECTORS_PER_MIB));
}

fn filesystem(old: &mut Old<'_, '_>, map: &mut Map, mounts: &Mounts) {
    let name = old.fields.text("name");
    let path = old.fields.take("path");
    let is_root = name.as_ref().is_some_and(|name| name.value == "root");
    let place = name.as_ref().and_then(|name| mounts.get(&name.value));
    if let Some(path) = path.filter(|_| place.is_none()) {
        let message = "`path` is refused: only what lies below /sysroot is known on the machine";
        old.fields.out().push(
            Diagnostic::error("untranslatable", path.span, message)
                .hint("write the paths of the machine, on file system `root`"),
        );
    }
    let minor = old.minor;
    let Some(mount) = old.fields.take("mount") else {
        return;
    };
    if is_root {
        let message = "file system `root` is refused: the machine's root is the release itself";
        old.fields.out().push(
            Diagnostic::error("untranslatable", mount.span, message)
                .hint("give the file system another name and a mount unit"),
        );
        return;
    }
    let made = section(mount, "`mount`", minor, old.fields.out(), |old, map| {
        old.pass_exactly(map, 0, &["device"]);
        old.pass(map, 0, &["format"]);
        old.pass_exactly(map, 1, &["label", "uuid"]);
        old.pass(map, 1, &["options", "wipeFilesystem"]);
        create(old, map);
    });
    for (key, node) in made.as_ref().and_then(Node::map).unwrap_or_default() {
        map.put(&key.text, node.clone());
    }
    if let (Some(name), Some(place)) = (name, place) {
        map.put("path", super::text(name.span, place.clone()));
    }
}

/// `create` of 2.0.0. Without `force` it fails on a disk that holds anything, which no 3.x config
/// can say.
fn create(old: &mut Old<'_, '_>, map: &mut Map) {
    let Some(create) = old.deprecated("create", "`wipeFilesystem` and `options`") else { return };
    let minor = old.minor;
    let newer = ["label", "uuid", "options", "wipeFilesystem"];
    if let Some(other) = newer.iter().find_map(|name| map.get(name)) {
        let message = "`create` stands beside keys that took its place";
        old.fields.out().push(
            Diagnostic::error("untranslatable", create.span, message)
                .label(other.span, "one of these is here")
                .hint("remove `create`"),
        );
        return;
    }
    let made = section(create, "`create`", minor, old.fields.out(), |old, map| {
        match old.fields.boolean("force") {
            Some(force) if force.value => map.put("wipeFilesystem", bare(force.span, true)),
            _ => {
                let message = "`create` without `force` is refused: 3.x cannot make a file system \
                               only where there is none";
                old.fields.out().push(
                    Diagnostic::error("untranslatable", create.span, message)
                        .hint("write `\"force\": true`, or `wipeFilesystem` with spec 2.1.0"),
                );
            }
        }
        old.pass(map, 0, &["options"]);
    });
    if let Some(Node { value: Value::Map(entries), .. }) = made {
        for (key, node) in entries {
            map.put(&key.text, node);
        }
    }
}
