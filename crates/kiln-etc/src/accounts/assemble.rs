//! Putting a file together again, and the ranges of subordinate ids.

use std::collections::BTreeMap;

use super::AccountFile;
use super::AccountFile::Passwd;
use super::entry::Entry;
use super::merge::Merge;
use super::table::{Line, Table};

/// Where subordinate ids begin (`SUB_UID_MIN` of login.defs(5)).
const SUBORDINATE_START: u64 = 100_000;

/// The text of a file: lines in the order of `ours`, or of `theirs` if `follows`, then what only the
/// other has. `entries` gives the entries of a name, none for one that goes.
pub(super) fn assemble(
    ours: &Table,
    theirs: &Table,
    follows: bool,
    mut entries: impl FnMut(&[u8]) -> Vec<Entry>,
) -> Vec<u8> {
    let (first, second) = if follows { (theirs, ours) } else { (ours, theirs) };
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in &first.lines {
        match line {
            Line::Of(name) => lines.extend(entries(name).iter().map(Entry::line)),
            Line::Other(text) => lines.push(text.clone()),
        }
    }
    let rest = second.names().into_iter().filter(|name| !first.has(name));
    let new: Vec<Vec<u8>> = rest.flat_map(&mut entries).map(|entry| entry.line()).collect();
    // Whatever comes behind a NIS line is not looked at before it (nss_compat).
    let is_foreign = |line: &Vec<u8>| line.first().is_some_and(|first| b"+-".contains(first));
    let at = lines.iter().position(is_foreign).unwrap_or(lines.len());
    lines.splice(at..at, new);
    let mut text = lines.join(&b'\n');
    if !lines.is_empty() {
        text.push(b'\n');
    }
    text
}

/// Ranges of subordinate ids by name. They are ids: what is here stays, what is new moves where it is
/// free.
pub(super) fn subordinate(
    merge: &Merge<'_>,
    file: AccountFile,
    notes: &mut Vec<String>,
) -> BTreeMap<Vec<u8>, Vec<Entry>> {
    let (ours, theirs) = (merge.sides.ours.table(file), merge.sides.theirs.table(file));
    let base = merge.sides.base.as_ref().map(|base| base.table(file));
    let mut lines: BTreeMap<Vec<u8>, Vec<Entry>> = BTreeMap::new();
    for (name, entries) in &ours.entries {
        let is_unchanged = base.is_some_and(|base| base.all(name) == entries);
        if !(is_unchanged && merge.users.dropped.contains(name)) {
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
        let is_user = merge.has_user(name) || !merge.sides.theirs.table(Passwd).has(name);
        let may_be_new = base.is_some() || merge.users.new.contains(name);
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
