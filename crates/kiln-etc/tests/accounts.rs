//! Merging of account files: one table of cases, and properties that hold for any text.

use std::collections::{BTreeMap, BTreeSet};

use kiln_etc::accounts::AccountFile::{self, Group, Gshadow, Passwd, Shadow, Subuid};
use kiln_etc::accounts::{Accounts, Merged, merge};
use proptest::prelude::*;

fn accounts(files: &[(AccountFile, &str)]) -> Accounts {
    let mut accounts = Accounts::default();
    for (file, text) in files {
        accounts.set(*file, Some(text.as_bytes().to_vec()));
    }
    accounts
}

fn text(accounts: &Accounts, file: AccountFile) -> String {
    String::from_utf8_lossy(accounts.get(file).unwrap_or(b"(none)")).into_owned()
}

/// What a case says: its name, then base, ours, theirs, expected.
type Case = (&'static str, [&'static str; 4]);

const PASSWD: &[Case] = &[
    ("nothing", ["r:x:0:0:::\n"; 4]),
    (
        "a service user beside the machine's own",
        [
            "r:x:0:0:::\n",
            "r:x:0:0:::\nanna:x:1000:1000:::\n",
            "r:x:0:0:::\nweb:x:998:998:::\n",
            "r:x:0:0:::\nanna:x:1000:1000:::\nweb:x:998:998:::\n",
        ],
    ),
    (
        "an untouched file follows the release and its order",
        [
            "r:x:0:0:::\na:x:5:5:::\n",
            "r:x:0:0:::\na:x:5:5:::\n",
            "# new\na:x:5:5::/a:\nr:x:0:0:::\n",
            "# new\na:x:5:5::/a:\nr:x:0:0:::\n",
        ],
    ),
    (
        "fields by whoever changed them, the machine where both did",
        [
            "a:x:5:5:old:/old:/bin/sh\n",
            "a:x:5:5:mine:/old:/bin/zsh\n",
            "a:x:5:5:yours:/new:/bin/sh\n",
            "a:x:5:5:mine:/new:/bin/zsh\n",
        ],
    ),
    (
        "ids never change for who is here",
        ["a:x:5:5:::\n", "a:x:5:5:::\n", "a:x:6:5::/a:\n", "a:x:5:5::/a:\n"],
    ),
    (
        "deleted here stays deleted",
        ["r:x:0:0:::\na:x:5:5:::\n", "r:x:0:0:::\n", "r:x:0:0:::\na:x:5:5:::\n", "r:x:0:0:::\n"],
    ),
    (
        "dropped by the release, changed here: it stays",
        ["a:x:5:5:::\n", "a:x:5:5:me::\n", "", "a:x:5:5:me::\n"],
    ),
    (
        "dropped by the release, untouched: it goes",
        ["a:x:5:5:::\n", "a:x:5:5:::\nb:x:1000:5:::\n", "", "b:x:1000:5:::\n"],
    ),
    (
        "made on both sides: the machine's",
        ["", "web:x:1001:1001:::\n", "web:x:998:998::/srv:\n", "web:x:1001:1001:::\n"],
    ),
    (
        "a taken uid: the next free one from above",
        ["", "mine:x:998:998:::\n", "web:x:998:997:::\n", "mine:x:998:998:::\nweb:x:999:997:::\n"],
    ),
    (
        "a person's taken uid: the next free one from below",
        [
            "",
            "anna:x:1000:1000:::\n",
            "bert:x:1000:100:::\n",
            "anna:x:1000:1000:::\nbert:x:1001:100:::\n",
        ],
    ),
    (
        "a renamed user keeps the id",
        ["old:x:998:9:::\n", "old:x:998:9:::\n", "new:x:998:9:::\n", "new:x:998:9:::\n"],
    ),
    (
        "two names for one id by the release's own wish",
        [
            "r:x:0:0:::\n",
            "r:x:0:0:me::\n",
            "r:x:0:0:::\ntoor:x:0:0:::\n",
            "r:x:0:0:me::\ntoor:x:0:0:::\n",
        ],
    ),
    (
        "what is no entry stays where it is, NIS lines last",
        [
            "r:x:0:0:::\n",
            "# mine\n\nr:x:0:0:::\nno colon\na\0b:x:7:7:::\n+::::::\n",
            "r:x:0:0:::\nweb:x:998:998:::\nbroken\n",
            "# mine\n\nr:x:0:0:::\nno colon\na\0b:x:7:7:::\nweb:x:998:998:::\n+::::::\n",
        ],
    ),
    (
        "a damaged line keeps its name and its number",
        [
            "",
            "web:x:998:998\nr:x:0:0:::\n",
            "web:x:990:990:::\nsql:x:998:990:::\n",
            "web:x:998:998\nr:x:0:0:::\nsql:x:999:990:::\n",
        ],
    ),
    (
        "duplicates stay together, the first counts",
        [
            "a:x:5:5:::\n",
            "a:x:5:5:one::\nb:x:6:6:::\na:x:7:7:two::\n",
            "a:x:5:5::/a:\na:x:8:8:::\n",
            "a:x:5:5:one:/a:\na:x:7:7:two::\nb:x:6:6:::\n",
        ],
    ),
    ("no line feed at the end", ["", "a:x:5:5:::", "", "a:x:5:5:::\n"]),
];

const GROUP: &[Case] = &[
    (
        "members of both sides",
        ["g:x:9:a,b\n", "g:x:9:a,b,mine\n", "g:x:9:b,theirs\n", "g:x:9:b,mine,theirs\n"],
    ),
    (
        "who left a group here does not come back",
        ["g:x:9:a,b\n", "g:x:9:b\n", "g:x:9:a,b\n", "g:x:9:b\n"],
    ),
];

const GSHADOW: &[Case] =
    &[("administrators and members", ["g:!:a:a\n", "g:!:a:a,m\n", "g:*:a,t:a\n", "g:*:a,t:a,m\n"])];

#[test]
fn each_side_keeps_what_it_changed() {
    let tables = [(Passwd, PASSWD), (Group, GROUP), (Gshadow, GSHADOW)];
    let cases = tables.iter().flat_map(|(file, cases)| cases.iter().map(move |case| (*file, case)));
    for (file, (name, [base, ours, theirs, expected])) in cases {
        let [base, ours, theirs] = [base, ours, theirs].map(|text| accounts(&[(file, *text)]));
        let merged = merge(Some(&base), &ours, &theirs);
        assert_eq!(text(&merged.accounts, file), *expected, "{name}");
        let again = merge(Some(&base), &merged.accounts, &theirs);
        assert_eq!(again.accounts, merged.accounts, "{name}: not stable");
    }
}

#[test]
fn a_user_is_one_thing_in_all_files() {
    let base = accounts(&[
        (Passwd, "r:x:0:0:::\nkiln:x:1000:1000:::\nold:x:900:900:::\nkept:x:901:901:::\n"),
        (Shadow, "r:*:1::::::\nkiln:$y$image:1::::::\nold:!*:1::::::\nkept:!*:1::::::\n"),
        (Group, "r:x:0:\nsudo:x:27:kiln\nkiln:x:1000:\nold:x:900:\nkept:x:901:\n"),
        (Subuid, "kiln:100000:65536\n"),
    ]);
    // `kiln` was deleted, `kept` got a password, `anna` was added and has a group of the release's.
    let ours = accounts(&[
        (Passwd, "r:x:0:0:::\nold:x:900:900:::\nkept:x:901:901:::\nanna:x:998:900:::\n"),
        (Shadow, "r:!*:1::::::\nold:!*:1::::::\nkept:$y$mine:1::::::\nanna:$y$a:1::::::\n"),
        (Group, "r:x:0:\nsudo:x:27:\nold:x:900:\nkept:x:901:\nanna:x:998:\n"),
        (Subuid, "anna:100000:65536\n"),
    ]);
    let theirs = accounts(&[
        (Passwd, "r:x:0:0:::\nkiln:x:1000:1000:::\nweb:x:998:998::/srv:\n"),
        (Shadow, "r:*:1::::::\nkiln:$y$image:1::::::\nweb:!*:1::::::\n"),
        (Group, "r:x:0:\nsudo:x:27:kiln\nkiln:x:1000:\nweb:x:998:kiln\nlog:x:997:web,kiln\n"),
        (Subuid, "kiln:100000:65536\nweb:165536:65536\n"),
    ]);
    let Merged { accounts: merged, notes } = merge(Some(&base), &ours, &theirs);
    assert_eq!(
        text(&merged, Passwd),
        "r:x:0:0:::\nkept:x:901:901:::\nanna:x:998:900:::\nweb:x:999:999::/srv:\n"
    );
    assert_eq!(
        text(&merged, Shadow),
        "r:!*:1::::::\nkept:$y$mine:1::::::\nanna:$y$a:1::::::\nweb:!*:1::::::\n",
        "a lock of root is the machine's"
    );
    assert_eq!(
        text(&merged, Group),
        "r:x:0:\nsudo:x:27:\nold:x:900:\nkept:x:901:\nanna:x:998:\nweb:x:999:\nlog:x:997:web\n",
        "the primary group of anna stays, nobody joins who was deleted"
    );
    assert_eq!(text(&merged, Subuid), "anna:100000:65536\nweb:165536:65536\n");
    assert_eq!(
        notes,
        [
            "group web has id 999 here: 998 belongs to anna",
            "user web has id 999 here: 998 belongs to anna",
        ]
    );
    assert_eq!(merge(Some(&base), &merged, &theirs).accounts, merged);
}

#[test]
fn a_primary_group_is_found_by_its_name() {
    let base = accounts(&[(Passwd, "a:x:5:50:::\n"), (Group, "one:x:50:\n")]);
    // Here group `one` has got another number, and 60 belongs to somebody.
    let ours =
        accounts(&[(Passwd, "a:x:5:50:::\n"), (Group, "one:x:50:\nmine:x:60:\ntwo:x:61:\n")]);
    let theirs = accounts(&[
        (Passwd, "a:x:5:60:::\nweb:x:6:60:::\nlost:x:7:61:::\n"),
        (Group, "one:x:50:\ntwo:x:60:\n"),
    ]);
    let merged = merge(Some(&base), &ours, &theirs).accounts;
    assert_eq!(
        text(&merged, Passwd),
        "a:x:5:61:::\nweb:x:6:61:::\nlost:x:7:65534:::\n",
        "moved with the release, by name; a number without a name joins nobody's group"
    );
}

#[test]
fn without_an_ancestor_no_person_comes_back() {
    let ours = accounts(&[(Passwd, "r:x:0:0:::\n"), (Group, "sudo:x:27:\n")]);
    let theirs = accounts(&[
        (Passwd, "r:x:0:0:::\nkiln:x:1000:1000:::\nweb:x:998:998:::\n"),
        (Group, "sudo:x:27:kiln,web\nweb:x:998:\nkiln:x:1000:\n"),
    ]);
    let merged = merge(None, &ours, &theirs).accounts;
    assert_eq!(text(&merged, Passwd), "r:x:0:0:::\nweb:x:998:998:::\n");
    assert_eq!(text(&merged, Group), "sudo:x:27:web\nweb:x:998:\n");
    assert_eq!(merge(None, &merged, &theirs).accounts, merged);
}

#[test]
fn ranges_of_subordinate_ids_never_overlap() {
    let side = |user: &str, ranges: &str| {
        accounts(&[(Passwd, &format!("{user}:x:1000:1000:::\n")), (Subuid, ranges)])
    };
    let base = accounts(&[(Passwd, ""), (Subuid, "")]);
    let ours = side("anna", "anna:100000:65536\n");
    let merged = merge(Some(&base), &ours, &side("bert", "bert:110000:65536\n"));
    assert_eq!(text(&merged.accounts, Subuid), "anna:100000:65536\nbert:175536:65536\n");
    let merged = merge(Some(&base), &ours, &side("bert", "bert:100000:4294967294\n"));
    assert_eq!(text(&merged.accounts, Subuid), "anna:100000:65536\n");
    assert!(merged.notes.iter().any(|note| note.contains("bert")), "{:?}", merged.notes);
}

#[test]
fn missing_files_stay_as_they_are() {
    let some = accounts(&[(Passwd, "a:x:5:5:::\n")]);
    let none = Accounts::default();
    assert_eq!(merge(Some(&some), &none, &some).accounts, none);
    assert_eq!(merge(Some(&some), &some, &none).accounts, some);
    assert_eq!(merge(None, &none, &none).accounts, none);
}

/// Lines that meet each other often: few names, few numbers, some damage.
fn file(kind: AccountFile) -> impl Strategy<Value = String> {
    let name = "[ab-e]|web|[+-]?[ab]|#a|";
    let number = "[0-3]|99[5-9]|100[0-2]|4294967295|x|";
    let line = match kind {
        Passwd => (name, number, number).prop_map(|(a, b, c)| format!("{a}:x:{b}:{c}:::")).boxed(),
        Group => (name, number, "([abcd],){0,2}[ab]?")
            .prop_map(|(a, b, c)| format!("{a}:x:{b}:{c}"))
            .boxed(),
        Shadow => (name, "[!*xy]?").prop_map(|(a, b)| format!("{a}:{b}:1::::::")).boxed(),
        Gshadow => (name, "[ab]?", "[cd]?").prop_map(|(a, b, c)| format!("{a}:!:{b}:{c}")).boxed(),
        _ => (name, "1000[0-9]0|4294967[0-9]{3}", "10|65536")
            .prop_map(|(a, b, c)| format!("{a}:{b}:{c}"))
            .boxed(),
    };
    let line = prop_oneof![8 => line, 1 => "\\PC{0,12}", 1 => Just("a\0:x:1:1:::".to_owned())];
    (proptest::collection::vec(line, 0..7), any::<bool>())
        .prop_map(|(lines, end)| lines.join("\n") + if end { "\n" } else { "" })
}

fn side() -> impl Strategy<Value = Accounts> {
    let files = AccountFile::ALL.map(|kind| proptest::option::weighted(0.95, file(kind)));
    files.prop_map(|files| {
        let mut accounts = Accounts::default();
        for (kind, text) in AccountFile::ALL.into_iter().zip(files) {
            accounts.set(kind, text.map(String::into_bytes));
        }
        accounts
    })
}

/// Names by their uid, of lines that are whole.
fn by_uid(accounts: &Accounts) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for line in text(accounts, Passwd).lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [name, _, uid, ..] = fields[..]
            && fields.len() == 7
        {
            found.entry(uid.to_owned()).or_default().insert(name.to_owned());
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn again_changes_nothing(base in proptest::option::of(side()), ours in side(), theirs in side()) {
        let merged = merge(base.as_ref(), &ours, &theirs).accounts;
        let again = merge(base.as_ref(), &merged, &theirs).accounts;
        for file in AccountFile::ALL {
            prop_assert_eq!(text(&again, file), text(&merged, file), "{:?}", file);
        }
    }

    #[test]
    fn no_two_names_get_one_id(base in proptest::option::of(side()), ours in side(), theirs in side()) {
        let merged = merge(base.as_ref(), &ours, &theirs).accounts;
        let (before, given) = (by_uid(&ours), by_uid(&theirs));
        for (uid, names) in by_uid(&merged) {
            for one in &names {
                for other in names.iter().filter(|other| *other != one) {
                    let both = |sides: &BTreeMap<String, BTreeSet<String>>| {
                        sides.get(&uid).is_some_and(|names| names.contains(one) && names.contains(other))
                    };
                    prop_assert!(both(&before) || both(&given), "{one} and {other} have {uid}");
                }
            }
        }
    }

    #[test]
    fn who_was_deleted_does_not_come_back(base in side(), ours in side(), theirs in side()) {
        let merged = merge(Some(&base), &ours, &theirs).accounts;
        let names = |side: &Accounts| -> BTreeSet<String> {
            by_uid(side).into_values().flatten().collect()
        };
        let (before, here, now) = (names(&base), names(&ours), names(&merged));
        for name in before.difference(&here) {
            prop_assert!(!now.contains(name), "{name}");
        }
    }

    #[test]
    fn any_bytes_are_survived(
        base in proptest::collection::vec(any::<u8>(), 0..200),
        ours in proptest::collection::vec(any::<u8>(), 0..200),
        theirs in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let side = |bytes: Vec<u8>| {
            let mut accounts = Accounts::default();
            for file in AccountFile::ALL {
                accounts.set(file, Some(bytes.clone()));
            }
            accounts
        };
        let _ = merge(Some(&side(base)), &side(ours), &side(theirs));
    }
}
