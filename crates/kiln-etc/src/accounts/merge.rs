//! The merge of all files: each field by itself, ids by the machine, the rest by whoever changed it.

use std::collections::BTreeSet;

use super::AccountFile::{Group, Gshadow, Passwd, Shadow, Subgid, Subuid};
use super::assemble::assemble;
use super::entry::Entry;
use super::fate::{Fates, Sides, decide, has_both};
use super::ids::{Ids, assign, primary_group};
use super::subordinate::subordinate;
use super::table::Side;
use super::{AccountFile, Accounts};

/// What a merge gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// The files of the machine under its new release.
    pub accounts: Accounts,
    /// Sentences about what could not be as the release says.
    pub notes: Vec<String>,
}

/// Merges what a new release brings (`theirs`) into the machine's files (`ours`), which came from those
/// of an older release (`base`, `None` if it is not known any more).
///
/// - A file that the machine or the release lacks stays as it is on the machine.
/// - What only the release changed is the release's, what the machine changed is the machine's.
/// - Ids never change for a name that is here. A new name whose id is taken gets a free one.
/// - What the machine deleted stays deleted; what the release dropped goes if the machine never
///   changed it, and if nobody needs it as primary group.
/// - Lines that are no entries are kept where they are; new entries come last, but before NIS lines.
///
/// Doing it again with the result changes nothing.
#[must_use]
pub fn merge(base: Option<&Accounts>, ours: &Accounts, theirs: &Accounts) -> Merged {
    let sides =
        Sides { base: base.map(Side::parse), ours: Side::parse(ours), theirs: Side::parse(theirs) };
    let mut notes = Vec::new();
    let [mut users, mut groups] = decide(&sides, ours, theirs);
    let ids = assign(&sides, &mut users, &mut groups, &mut notes);
    let merge = Merge { sides: &sides, users, groups, ids };
    // Nothing was ever changed here: then the release's order is the better one.
    let follows = sides.base.as_ref() == Some(&sides.ours);
    let mut accounts = ours.clone();
    for file in AccountFile::ALL {
        if !has_both(file, ours, theirs) {
            continue;
        }
        let (ours, theirs) = (sides.ours.table(file), sides.theirs.table(file));
        let text = match file {
            Subuid | Subgid => {
                let lines = subordinate(&sides, &merge.users, file, &mut notes);
                assemble(ours, theirs, follows, |name| lines.get(name).cloned().unwrap_or_default())
            }
            _ => assemble(ours, theirs, follows, |name| merge.lines(file, name, &mut notes)),
        };
        accounts.set(file, Some(text));
    }
    Merged { accounts, notes }
}

/// A merge under way.
struct Merge<'a> {
    sides: &'a Sides,
    users: Fates,
    groups: Fates,
    ids: Ids,
}

impl Merge<'_> {
    /// The entries of a name after the merge.
    fn lines(&self, file: AccountFile, name: &[u8], notes: &mut Vec<String>) -> Vec<Entry> {
        let fates = if matches!(file, Passwd | Shadow) { &self.users } else { &self.groups };
        let (ours, theirs) = (self.sides.ours.table(file), self.sides.theirs.table(file));
        if fates.dropped.contains(name) {
            return Vec::new();
        }
        match (ours.all(name).split_first(), theirs.get(name)) {
            (Some((first, others)), Some(theirs)) => {
                let first = self.both(file, first, theirs, notes);
                std::iter::once(first).chain(others.iter().cloned()).collect()
            }
            (Some(_), None) => ours.all(name).to_vec(),
            (None, Some(theirs)) if fates.new.contains(name) && !ours.reserves(name) => {
                vec![self.new_entry(file, theirs)]
            }
            (None, _) => Vec::new(),
        }
    }

    fn new_entry(&self, file: AccountFile, theirs: &Entry) -> Entry {
        let mut entry = theirs.clone();
        match file {
            Passwd => {
                if let Some(uid) = self.ids.uids.get(theirs.name()) {
                    entry.set_number(2, *uid);
                }
                if let Some(gid) = primary_group(self.sides, &self.ids, theirs) {
                    entry.set_number(3, gid);
                }
            }
            Group => {
                if let Some(gid) = self.ids.gids.get(theirs.name()) {
                    entry.set_number(2, *gid);
                }
            }
            Shadow | Gshadow | Subuid | Subgid => {}
        }
        for field in member_fields(file) {
            let members = list(theirs.field(*field));
            let members: Vec<&[u8]> =
                members.into_iter().filter(|member| self.may_join(member)).collect();
            entry.set(*field, members.join(&b','));
        }
        entry
    }

    /// An entry that both sides have.
    fn both(
        &self,
        file: AccountFile,
        ours: &Entry,
        theirs: &Entry,
        notes: &mut Vec<String>,
    ) -> Entry {
        let base = self.sides.base.as_ref().and_then(|base| base.table(file).get(ours.name()));
        let mut merged = ours.clone();
        for field in 1..file.fields() {
            let was = base.map(|base| base.field(field));
            if file == Passwd && field == 3 {
                let moves = self.sides.moves_group(ours.name());
                let gid = moves.then(|| primary_group(self.sides, &self.ids, theirs)).flatten();
                if let Some(gid) = gid {
                    merged.set_number(field, gid);
                }
            } else if file.numbers().contains(&field) {
                if was == Some(ours.field(field)) && was != Some(theirs.field(field)) {
                    let kind = if file == Passwd { "user" } else { "group" };
                    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                    let (name, kept) = (text(ours.name()), text(ours.field(field)));
                    let offered = text(theirs.field(field));
                    notes.push(format!("{kind} {name} keeps id {kept}: the release has {offered}"));
                }
            } else if member_fields(file).contains(&field) {
                merged.set(field, self.members(was, ours.field(field), theirs.field(field)));
            } else if was == Some(ours.field(field)) {
                merged.set(field, theirs.field(field).to_vec());
            }
        }
        merged
    }

    /// Members by the machine, without whom the release took out, and with whom it put in.
    fn members(&self, base: Option<&[u8]>, ours: &[u8], theirs: &[u8]) -> Vec<u8> {
        let (here, theirs) = (list(ours), list(theirs));
        let was = base.map(list);
        let is_out = |member: &&[u8]| {
            was.as_ref().is_some_and(|was| was.contains(member)) && !theirs.contains(member)
        };
        let mut seen: BTreeSet<&[u8]> = here.iter().copied().collect();
        let is_in = |member: &&[u8]| match &was {
            Some(was) => !was.contains(member) && self.may_join(member),
            // Who is no member here may have been taken out here.
            None => self.users.new.contains(*member),
        };
        let mut members: Vec<&[u8]> = here.iter().filter(|one| !is_out(one)).copied().collect();
        members.extend(theirs.iter().filter(|member| is_in(member)).filter(|one| seen.insert(one)));
        // To the letter where nothing changes: a line that only looks changed would count as touched.
        if members == here { ours.to_vec() } else { members.join(&b',') }
    }

    /// Nobody joins a group who was deleted here.
    fn may_join(&self, user: &[u8]) -> bool {
        self.sides.has_user(&self.users, user) || !self.sides.theirs.table(Passwd).has(user)
    }
}

/// Fields that hold names of users, by commas.
fn member_fields(file: AccountFile) -> &'static [usize] {
    match file {
        Group => &[3],
        Gshadow => &[2, 3],
        Passwd | Shadow | Subuid | Subgid => &[],
    }
}

fn list(field: &[u8]) -> Vec<&[u8]> {
    field.split(|byte| *byte == b',').filter(|member| !member.is_empty()).collect()
}
