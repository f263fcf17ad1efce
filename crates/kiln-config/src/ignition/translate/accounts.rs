//! Users and groups.
//!
//! The `create` object of 2.0.0 became keys of the user itself with 2.1.0; it is lifted, and
//! refused where a user has both, because which of the two counts then was never written down.

use super::tree::{Map, is_zero, members};
use super::{Old, section};
use crate::diagnostic::Diagnostic;

/// Keys that lie in `create` in 2.0.0 and in the user since 2.1.0.
const PLAIN: [&str; 5] = ["uid", "gecos", "homeDir", "primaryGroup", "shell"];
const FLAGS: [&str; 5] = ["noCreateHome", "groups", "noUserGroup", "noLogInit", "system"];

pub(super) fn translate(old: &mut Old<'_, '_>, map: &mut Map) {
    let minor = old.minor;
    let users =
        members(&mut old.fields, "users", |node, out| section(node, "a user", minor, out, user));
    map.put_some("users", users);
    let groups = members(&mut old.fields, "groups", |node, out| {
        section(node, "a group", minor, out, |old, map| {
            old.pass_exactly(map, 0, &["name", "gid"]);
            old.pass(map, 0, &["passwordHash", "system"]);
        })
    });
    map.put_some("groups", groups);
}

fn user(old: &mut Old<'_, '_>, map: &mut Map) {
    old.pass_exactly(map, 0, &["name", "passwordHash"]);
    old.pass(map, 0, &["sshAuthorizedKeys"]);
    let create = old.deprecated("create", "its keys in the user itself");
    let before = map.clone();
    properties(old, map, 1);
    let Some(create) = create else { return };
    let both = PLAIN.iter().chain(&FLAGS).find_map(|name| map.get(name));
    if let Some(key) = both.filter(|_| !is_zero(create)) {
        let message = "`create` stands beside keys of the user that mean the same";
        old.fields.out().push(
            Diagnostic::error("untranslatable", create.span, message)
                .label(key.span, "one of these is here")
                .hint("move the keys of `create` into the user"),
        );
        *map = before;
        return;
    }
    let minor = old.minor;
    let lifted = section(create, "`create`", minor, old.fields.out(), |old, map| {
        properties(old, map, 0);
    });
    let lifted = lifted.and_then(|node| node.map().map(<[_]>::to_vec)).unwrap_or_default();
    for (key, node) in lifted {
        map.put(&key.text, node);
    }
}

fn properties(old: &mut Old<'_, '_>, map: &mut Map, since: u32) {
    old.pass_exactly(map, since, &PLAIN[..1]);
    old.pass(map, since, &PLAIN[1..]);
    old.pass(map, since, &FLAGS);
}
