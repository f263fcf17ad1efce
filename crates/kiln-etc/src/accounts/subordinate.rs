//! Ranges of subordinate ids (subuid(5), subgid(5)).
//!
//! They are ids like all others: what is here stays, because files are owned by them, and what is new
//! moves to where it is free. Two users must never share one, so nothing is given that overlaps.

use std::collections::BTreeMap;

use super::AccountFile;
use super::AccountFile::Passwd;
use super::entry::Entry;
use super::fate::{Fates, Sides};

/// Where subordinate ids begin (`SUB_UID_MIN` of login.defs(5)).
const SUBORDINATE_START: u64 = 100_000;

/// The ranges of `file` by name, after users came and went as `users` says.
pub(super) fn subordinate(
    sides: &Sides,
    users: &Fates,
    file: AccountFile,
    notes: &mut Vec<String>,
) -> BTreeMap<Vec<u8>, Vec<Entry>> {
    let (ours, theirs) = (sides.ours.table(file), sides.theirs.table(file));
    let base = sides.base.as_ref().map(|base| base.table(file));
    let mut lines: BTreeMap<Vec<u8>, Vec<Entry>> = BTreeMap::new();
    for (name, entries) in &ours.entries {
        let is_unchanged = base.is_some_and(|base| base.all(name) == entries);
        if !(is_unchanged && users.dropped.contains(name)) {
            lines.insert(name.clone(), entries.clone());
        }
    }
    let mut end = SUBORDINATE_START;
    for entry in ours.entries.values().chain(theirs.entries.values()).flatten() {
        end = end.max(range(entry).1);
    }
    for name in theirs.names() {
        let is_known = base.is_some_and(|base| base.has(name) || base.reserves(name));
        // A name that passwd does not know may be a number (subuid(5)).
        let is_user = sides.has_user(users, name) || !sides.theirs.table(Passwd).has(name);
        let may_be_new = base.is_some() || users.new.contains(name);
        if ours.has(name) || ours.reserves(name) || is_known || !is_user || !may_be_new {
            continue;
        }
        let mut new = Vec::new();
        for entry in theirs.all(name) {
            let mut entry = entry.clone();
            let taken = lines.values().flatten().any(|other| overlap(range(other), range(&entry)));
            if taken {
                let (start, stop) = range(&entry);
                let moved = end..end + (stop - start);
                let who = String::from_utf8_lossy(name).into_owned();
                let Ok(first) = u32::try_from(moved.start) else { continue };
                if moved.end > u64::from(u32::MAX) {
                    notes.push(format!("no subordinate ids are free for {who}"));
                    continue;
                }
                notes.push(format!("subordinate ids of {who} begin at {first} here"));
                entry.set_number(1, first);
                end = moved.end;
            }
            new.push(entry);
        }
        lines.insert(name.to_vec(), new);
    }
    lines
}

/// First id, and the one behind the last.
fn range(entry: &Entry) -> (u64, u64) {
    let start = u64::from(entry.number(1).unwrap_or_default());
    (start, start + u64::from(entry.number(2).unwrap_or_default()))
}

fn overlap(one: (u64, u64), other: (u64, u64)) -> bool {
    one.0 < other.1 && other.0 < one.1
}
