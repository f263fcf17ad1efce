//! What becomes of each name: kept, added, dropped or left deleted.

use std::collections::BTreeSet;

use super::AccountFile::{Group, Gshadow, Passwd, Shadow};
use super::table::Side;
use super::{AccountFile, Accounts};

/// The lowest id of people (login.defs of all large distributions): below are the system's own.
pub(super) const FIRST_PERSON: u32 = 1000;

/// The three sides of a merge.
pub(super) struct Sides {
    /// The release that the machine's files came from; `None` if it is not known any more.
    pub(super) base: Option<Side>,
    pub(super) ours: Side,
    pub(super) theirs: Side,
}

impl Sides {
    /// Whether the machine changed what it had of a name in one of these files.
    fn is_touched(&self, files: [AccountFile; 2], name: &[u8]) -> bool {
        let Some(base) = &self.base else { return true };
        let differs = |file| base.table(file).all(name) != self.ours.table(file).all(name);
        files.into_iter().any(differs)
    }

    /// Whether the release gives a user another primary group, by its name, and the machine did not.
    pub(super) fn moves_group(&self, user: &[u8]) -> bool {
        let Some(base) = &self.base else { return false };
        let entry = |side: &Side| side.table(Passwd).get(user).and_then(|entry| entry.number(3));
        let group =
            |side: &Side, gid: Option<u32>| side.table(Group).name_of(2, gid?).map(<[u8]>::to_vec);
        let (was, here, now) = (entry(base), entry(&self.ours), entry(&self.theirs));
        let after = group(&self.theirs, now);
        was.is_some() && was == here && after.is_some() && after != group(base, was)
    }

    /// Whether a user exists after the merge.
    pub(super) fn has_user(&self, users: &Fates, user: &[u8]) -> bool {
        let is_here = self.ours.table(Passwd).has(user) && !users.dropped.contains(user);
        is_here || users.new.contains(user)
    }
}

/// The names of users, or of groups, that change by the merge.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fates {
    /// Brought by the new release.
    pub(super) new: BTreeSet<Vec<u8>>,
    /// Not in the new release, and never changed here.
    pub(super) dropped: BTreeSet<Vec<u8>>,
}

/// Decides for users and groups.
pub(super) fn decide(sides: &Sides, ours: &Accounts, theirs: &Accounts) -> [Fates; 2] {
    let users = fates(sides, [Passwd, Shadow], has_both(Passwd, ours, theirs));
    let mut groups = fates(sides, [Group, Gshadow], has_both(Group, ours, theirs));
    // A primary group goes only with its last user.
    let passwd = sides.ours.table(Passwd);
    let needed: BTreeSet<u32> = passwd
        .entries
        .iter()
        .filter(|(name, _)| !users.dropped.contains(*name) && !sides.moves_group(name))
        .flat_map(|(_, entries)| entries)
        .filter_map(|entry| entry.number(3))
        .collect();
    let group = sides.ours.table(Group);
    groups.dropped.retain(|name| {
        let gid = group.get(name).and_then(|entry| entry.number(2));
        !gid.is_some_and(|gid| needed.contains(&gid))
    });
    [users, groups]
}

/// A file that the machine deleted stays deleted, one that the release lacks stays as it is here.
pub(super) fn has_both(file: AccountFile, ours: &Accounts, theirs: &Accounts) -> bool {
    ours.get(file).is_some() && theirs.get(file).is_some()
}

fn fates(sides: &Sides, files: [AccountFile; 2], both: bool) -> Fates {
    let mut fates = Fates::default();
    if !both {
        return fates;
    }
    let [file, _] = files;
    let (ours, theirs) = (sides.ours.table(file), sides.theirs.table(file));
    for (name, entries) in &theirs.entries {
        if ours.has(name) || ours.reserves(name) {
            continue;
        }
        let is_new = match &sides.base {
            Some(base) => !base.table(file).has(name) && !base.table(file).reserves(name),
            // It may have been deleted here: a service without its user is worse than one user too
            // many, but nobody who could log in comes back that way.
            None => {
                let id = entries.first().and_then(|entry| entry.number(2));
                id.is_some_and(|id| id < FIRST_PERSON)
            }
        };
        if is_new {
            fates.new.insert(name.clone());
        }
    }
    if let Some(base) = &sides.base {
        let gone = ours.entries.keys().filter(|name| !theirs.has(name));
        let gone = gone.filter(|name| base.table(file).has(name));
        fates.dropped.extend(gone.filter(|name| !sides.is_touched(files, name)).cloned());
    }
    fates
}
