//! What becomes of the account files, as tables.

use kiln_etc::accounts::{AccountFile, Accounts};

use super::*;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000:Ann:/home/ann:/bin/zsh\n";
const SHADOW: &str = "root:*:1::::::\nann:$6$old:100:1:90:7:14:20000:\n";
const GROUP: &str = "root:x:0:\nwheel:x:10:\nusers:x:100:\nann:x:1000:\nstaff:x:1001:ann\n";
const GSHADOW: &str = "root:*::\nwheel:!::\nann:!::\n";
const SUBUID: &str = "ann:100000:65536\n";

fn machine() -> Machine {
    Machine {
        shell: "/bin/bash".into(),
        common_group: 100,
        has_gshadow: true,
        has_subordinates: true,
        today: 20_000,
        ..Machine::default()
    }
}

fn user(name: &str) -> User {
    User { name: name.into(), create_home: true, keep_existing: true, ..User::default() }
}

struct After {
    files: Vec<(AccountFile, String)>,
    rest: Rest,
}

impl After {
    fn line(&self, file: AccountFile, name: &str) -> Option<&str> {
        let (_, text) = self.files.iter().find(|(changed, _)| *changed == file)?;
        text.lines().find(|line| line.split(':').next() == Some(name))
    }
}

fn after(user: &User, machine: &Machine) -> Result<After, String> {
    let mut accounts = Accounts::default();
    for (file, text) in [
        (Passwd, PASSWD),
        (Shadow, SHADOW),
        (Group, GROUP),
        (Gshadow, GSHADOW),
        (Subuid, SUBUID),
        (Subgid, SUBUID),
    ] {
        accounts.set(file, Some(text.into()));
    }
    let mut editor = Editor::new(accounts);
    let rest = change(&mut editor, user, machine).map_err(|error| error.to_string())?;
    let files = editor.finish().into_iter();
    let files = files.map(|(file, text)| (file, String::from_utf8(text).unwrap())).collect();
    Ok(After { files, rest })
}

#[test]
fn a_new_user_is_in_all_files() {
    let joe = User { gecos: Some("Joe".into()), groups: vec!["wheel".into()], ..user("joe") };
    let machine = Machine { password: Some("$6$new".into()), ..machine() };
    let after = after(&joe, &machine).unwrap();
    for (file, expected) in [
        (Passwd, "joe:x:1002:1002:Joe:/home/joe:/bin/bash"),
        (Shadow, "joe:$6$new:20000:0:99999:7:::"),
        (Group, "joe:x:1002:"),
        (Gshadow, "joe:!::"),
        (Subuid, "joe:165536:65536"),
        (Subgid, "joe:165536:65536"),
    ] {
        assert_eq!(after.line(file, "joe"), Some(expected));
    }
    assert_eq!(after.line(Group, "wheel"), Some("wheel:x:10:joe"));
    assert_eq!(after.line(Gshadow, "wheel"), Some("wheel:!::joe"));
    assert_eq!(after.rest.home, Some(Home { path: "/home/joe".into(), uid: 1002, gid: 1002 }));
}

#[test]
fn numbers_and_main_groups_follow_the_rules() {
    let cases: [(&str, User, Option<u32>, &str); 9] = [
        ("free", user("joe"), None, "joe:x:1002:1002:"),
        ("home's owner", user("joe"), Some(1500), "joe:x:1500:1500:"),
        ("home's owner is another", user("joe"), Some(1000), "joe:x:1002:1002:"),
        ("home belongs to root", user("joe"), Some(0), "joe:x:1002:1002:"),
        ("stated", User { uid: Some(7), ..user("joe") }, Some(1500), "joe:x:7:7:"),
        ("group of its name", user("staff"), None, "staff:x:1001:1001:"),
        ("system", User { system: true, ..user("svc") }, None, "svc:x:999:999:"),
        (
            "named",
            User { primary_group: Some("wheel".into()), ..user("joe") },
            None,
            "joe:x:1002:10:",
        ),
        ("common", User { no_user_group: true, ..user("joe") }, None, "joe:x:1002:100:"),
    ];
    for (case, wish, home_owner, expected) in cases {
        let after = after(&wish, &Machine { home_owner, ..machine() }).unwrap();
        let line = after.line(Passwd, &wish.name).unwrap();
        assert!(line.starts_with(expected), "{case}: {line}");
    }
}

#[test]
fn yip_keeps_all_but_the_password() {
    let wish = User { uid: Some(7), shell: Some("/bin/x".into()), lock: true, ..user("ann") };
    let machine = Machine { password: Some("$6$new".into()), ..machine() };
    let changed = after(&wish, &machine).unwrap();
    assert_eq!(changed.files.len(), 1);
    assert_eq!(changed.line(Shadow, "ann"), Some("ann:$6$new:20000:1:90:7:14:20000:"));
    assert!(after(&user("ann"), &self::machine()).unwrap().files.is_empty());
}

#[test]
fn ignition_changes_what_is_stated() {
    let wish = User {
        uid: Some(1005),
        shell: Some("/bin/sh".into()),
        groups: vec!["wheel".into(), "nothing".into()],
        keep_existing: false,
        ..user("ann")
    };
    let changed = after(&wish, &machine()).unwrap();
    assert_eq!(changed.line(Passwd, "ann"), Some("ann:x:1005:1000:Ann:/home/ann:/bin/sh"));
    assert_eq!(changed.line(Group, "wheel"), Some("wheel:x:10:ann"));
    assert_eq!(changed.line(Shadow, "ann"), None, "the password stays");
    assert_eq!(changed.rest, Rest { home: None, missing: vec!["nothing".into()] });
}

#[test]
fn accounts_without_password_are_closed() {
    for (wish, expected) in [
        (user("joe"), "joe:*:20000:0:99999:7:::"),
        (User { lock: true, ..user("joe") }, "joe:!:20000:0:99999:7:::"),
    ] {
        assert_eq!(after(&wish, &machine()).unwrap().line(Shadow, "joe"), Some(expected));
    }
}

#[test]
fn removal_leaves_no_trace_in_any_file() {
    let gone = after(&User { absent: true, ..user("ann") }, &machine()).unwrap();
    assert_eq!(gone.files.len(), 6);
    for (file, text) in &gone.files {
        assert!(!text.contains("ann"), "{file:?}: {text}");
    }
    assert!(after(&User { absent: true, ..user("none") }, &machine()).unwrap().files.is_empty());
}

#[test]
fn what_would_break_others_is_refused() {
    for (wish, expected) in [
        (User { uid: Some(1000), ..user("joe") }, "`ann`"),
        (User { primary_group: Some("none".into()), ..user("joe") }, "`none`"),
        (User { gecos: Some("a:b".into()), ..user("joe") }, "no entry"),
        (User { shell: Some("/bin/sh\nroot2:x:0:0::/:/bin/sh".into()), ..user("joe") }, "no entry"),
    ] {
        let message = after(&wish, &machine()).err().unwrap();
        assert!(message.contains(expected), "{message}");
    }
}
