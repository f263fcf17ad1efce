//! Account files: what a machine has, what a release brings, and what becomes of both.

use std::collections::{BTreeMap, BTreeSet};

use kiln_etc::accounts::{AccountFile, Accounts, mask, merge};

/// Between the files of an input: six of the machine, six of the release, six of the release before.
const SEPARATOR: u8 = 1;

/// Merges three sets of account files. Doing it again changes nothing, no two names come to share a
/// uid, nobody who was deleted comes back, and no hash passes the mask.
pub fn accounts(data: &[u8]) -> bool {
    let mut parts = data.split(|byte| *byte == SEPARATOR);
    let mut side = || {
        let mut accounts = Accounts::default();
        let mut count = 0;
        for (file, part) in AccountFile::ALL.into_iter().zip(parts.by_ref()) {
            accounts.set(file, Some(part.to_vec()));
            count += 1;
        }
        (count > 0).then_some(accounts)
    };
    let (Some(ours), Some(theirs), base) = (side(), side(), side()) else { return false };
    let merged = merge(base.as_ref(), &ours, &theirs);
    let again = merge(base.as_ref(), &merged.accounts, &theirs);
    assert_eq!(again.accounts, merged.accounts, "a second merge changes something");

    let (before, given) = (by_uid(&ours), by_uid(&theirs));
    for (uid, names) in by_uid(&merged.accounts) {
        for pair in names.iter().flat_map(|one| names.iter().map(move |other| (one, other))) {
            let both = |side: &BTreeMap<u32, BTreeSet<Vec<u8>>>| {
                let names = side.get(&uid);
                names.is_some_and(|names| names.contains(pair.0) && names.contains(pair.1))
            };
            assert!(pair.0 == pair.1 || both(&before) || both(&given), "one uid for two: {pair:?}");
        }
    }
    if let Some(base) = &base {
        let (old, here, now) = (names(base), names(&ours), names(&merged.accounts));
        assert!(old.difference(&here).all(|name| !now.contains(name)), "somebody came back");
    }
    for file in [AccountFile::Shadow, AccountFile::Gshadow] {
        let masked = mask(file, merged.accounts.get(file).unwrap_or_default(), &mut Vec::new());
        let mut lines = masked.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#"));
        assert!(
            lines.all(|line| line
                .split(|byte| *byte == b':')
                .skip(1)
                .all(|one| !one.contains(&b'$')))
        );
    }
    merged.accounts.get(AccountFile::Passwd).is_some_and(|text| !text.is_empty())
}

/// Names by uid, of lines that are whole.
fn by_uid(accounts: &Accounts) -> BTreeMap<u32, BTreeSet<Vec<u8>>> {
    let mut found: BTreeMap<u32, BTreeSet<Vec<u8>>> = BTreeMap::new();
    let text = accounts.get(AccountFile::Passwd).unwrap_or_default();
    for line in text.split(|byte| *byte == b'\n') {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        if let [name, _, uid, _, _, _, _] = fields[..] {
            // `00` is root's number as well.
            let uid = std::str::from_utf8(uid).ok().and_then(|uid| uid.parse().ok());
            if let Some(uid) = uid {
                found.entry(uid).or_default().insert(name.to_vec());
            }
        }
    }
    found
}

fn names(accounts: &Accounts) -> BTreeSet<Vec<u8>> {
    by_uid(accounts).into_values().flatten().collect()
}
