//! Numbers for what a release brings: its own where they are free, else the nearest free ones.
//!
//! What exists on the machine keeps its numbers, because the machine's files are owned by them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::AccountFile::{Group, Passwd};
use super::entry::Entry;
use super::fate::{FIRST_PERSON, Fates, Sides};

/// Ids that systemd-sysusers and `useradd --system` give away, from the top.
const SYSTEM_IDS: RangeInclusive<u32> = 100..=999;
/// Ids that `useradd` gives away, from the bottom. Above are nobody, dynamic users and containers.
const PERSON_IDS: RangeInclusive<u32> = FIRST_PERSON..=59_999;
/// The group of those who have none.
const NO_GROUP: u32 = 65_534;

/// The numbers of all new users and groups.
#[derive(Debug, Default)]
pub(super) struct Ids {
    pub(super) uids: BTreeMap<Vec<u8>, u32>,
    pub(super) gids: BTreeMap<Vec<u8>, u32>,
}

/// Gives numbers to what is new; takes names out of `users` and `groups` for which there is none.
pub(super) fn assign(
    sides: &Sides,
    users: &mut Fates,
    groups: &mut Fates,
    notes: &mut Vec<String>,
) -> Ids {
    let (passwd, group) = (sides.theirs.table(Passwd), sides.theirs.table(Group));
    let mut pool = Pool::new(sides);
    let mut ids = Ids::default();
    for name in group.names() {
        let Some(wanted) = group.get(name).and_then(|entry| entry.number(2)) else { continue };
        if !groups.new.contains(name) {
            continue;
        }
        let holder = holder(sides, groups, &ids.gids, Group, name, wanted);
        match settle("group", name, wanted, holder, None, &mut pool, notes) {
            Some(gid) => drop(ids.gids.insert(name.to_vec(), gid)),
            None => drop(groups.new.remove(name)),
        }
    }
    for name in passwd.names() {
        let Some(wanted) = passwd.get(name).and_then(|entry| entry.number(2)) else { continue };
        if !users.new.contains(name) {
            continue;
        }
        let holder = holder(sides, users, &ids.uids, Passwd, name, wanted);
        // A user and the group of its name have one number where that can be.
        let partner = ids
            .gids
            .get(name)
            .copied()
            .filter(|gid| self::holder(sides, users, &ids.uids, Passwd, name, *gid).is_none());
        match settle("user", name, wanted, holder, partner, &mut pool, notes) {
            Some(uid) => drop(ids.uids.insert(name.to_vec(), uid)),
            None => drop(users.new.remove(name)),
        }
    }
    ids
}

/// The primary group on this machine of a user that the release describes.
pub(super) fn primary_group(sides: &Sides, ids: &Ids, theirs: &Entry) -> Option<u32> {
    let wanted = theirs.number(3)?;
    let group = sides.ours.table(Group);
    let Some(name) = sides.theirs.table(Group).name_of(2, wanted) else {
        // Nobody knows that number; whoever has it here is somebody else.
        let is_foreign = group.name_of(2, wanted).is_some();
        return Some(if is_foreign { NO_GROUP } else { wanted });
    };
    let ours = || group.get(name).and_then(|entry| entry.number(2));
    ids.gids.get(name).copied().or_else(ours).or_else(|| {
        // Deleted here: the number must not become somebody else's.
        let is_foreign = group.name_of(2, wanted).is_some();
        Some(if is_foreign { NO_GROUP } else { wanted })
    })
}

/// The other name that has `number` after the merge, unless the release itself gives one number to
/// both.
fn holder<'a>(
    sides: &'a Sides,
    fates: &Fates,
    given: &'a BTreeMap<Vec<u8>, u32>,
    file: super::AccountFile,
    name: &[u8],
    number: u32,
) -> Option<&'a [u8]> {
    let (ours, theirs) = (sides.ours.table(file), sides.theirs.table(file));
    let shared = |other: &[u8]| {
        let of = |name| theirs.get(name).and_then(|entry| entry.number(2));
        of(other) == Some(number) && of(name) == Some(number)
    };
    let kept = ours.names().into_iter().filter(|other| !fates.dropped.contains(*other));
    let kept = kept.filter(|other| ours.all(other).iter().any(|one| one.number(2) == Some(number)));
    let new =
        given.iter().filter(|(_, given)| **given == number).map(|(other, _)| other.as_slice());
    let taken = kept.chain(new).find(|other| *other != name && !shared(other));
    // A line that is no entry, which other programs may understand all the same.
    let is_reserved = ours.reserved_numbers().any(|reserved| reserved == number);
    taken.or_else(|| is_reserved.then_some(b"a damaged line"))
}

fn settle(
    kind: &str,
    name: &[u8],
    wanted: u32,
    holder: Option<&[u8]>,
    partner: Option<u32>,
    pool: &mut Pool,
    notes: &mut Vec<String>,
) -> Option<u32> {
    let Some(holder) = holder else {
        pool.used.insert(wanted);
        return Some(wanted);
    };
    let (name, holder) = (String::from_utf8_lossy(name), String::from_utf8_lossy(holder));
    let found = partner.or_else(|| pool.take(wanted));
    notes.push(match found {
        Some(found) => format!("{kind} {name} has id {found} here: {wanted} belongs to {holder}"),
        None => format!("{kind} {name} is not added: {wanted} belongs to {holder}, no id is free"),
    });
    found
}

/// Numbers that no side uses, as user or as group: so that both can have the same.
struct Pool {
    used: BTreeSet<u32>,
}

impl Pool {
    fn new(sides: &Sides) -> Self {
        let mut used = BTreeSet::new();
        let all = sides.base.iter().chain([&sides.ours, &sides.theirs]);
        for side in all {
            used.extend(side.table(Passwd).numbers(2));
            used.extend(side.table(Passwd).numbers(3));
            used.extend(side.table(Group).numbers(2));
        }
        used.extend(sides.ours.table(Passwd).reserved_numbers());
        used.extend(sides.ours.table(Group).reserved_numbers());
        Self { used }
    }

    fn take(&mut self, wanted: u32) -> Option<u32> {
        let found = if PERSON_IDS.contains(&wanted) {
            PERSON_IDS.into_iter().find(|id| !self.used.contains(id))
        } else {
            SYSTEM_IDS.rev().find(|id| !self.used.contains(id))
        };
        self.used.extend(found);
        found
    }
}
