//! Each action by what it leaves on a machine.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use common::{Machine, plan};
use kiln_config::action::{
    AuthorizedKeys, Contents, Directory, Dns, Entity, Environment, File, Git, Link, Owner,
    Password, Remote, Setting, Source, Systemctl, SystemctlVerb, Unit, UnpackImage, User,
};
use kiln_config::check::{Input, check};
use kiln_config::operation::{Condition, Exists, Fact, Failure, Text};
use kiln_config::{Action, Stage};
use kiln_provision::{NoStorage, Outcome, Report, run};

fn carry_out(machine: &mut Machine, action: Action) -> Report {
    machine.carry_out(&plan("boot", Failure::Continue, vec![action]), "boot")
}

/// Carries one action out that has to succeed.
fn good(machine: &mut Machine, action: Action) {
    let report = carry_out(machine, action);
    assert!(report.is_good(), "{report:?}");
}

/// Carries one action out that has to fail, and gives the sentence.
fn bad(machine: &mut Machine, action: Action) -> String {
    let report = carry_out(machine, action);
    match &report.records[0].outcome {
        Outcome::Failed { reason, .. } => reason.clone(),
        other => panic!("{other:?}"),
    }
}

fn file(path: &str, contents: &str) -> File {
    File {
        path: path.into(),
        contents: Some(Contents::bytes(contents)),
        append: Vec::new(),
        mode: None,
        owner: Owner::default(),
        overwrite: false,
    }
}

#[test]
fn files_follow_their_fields() {
    let mut machine = Machine::new();
    let owner = Owner { user: Some("ann".into()), group: Some("10".into()) };
    good(&mut machine, Action::File(File { mode: Some(0o640), owner, ..file("/etc/a", "1") }));
    let metadata = fs::metadata(machine.path("/etc/a")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o640, 1000, 10));
    good(&mut machine, Action::File(file("/etc/a", "1")));
    assert!(bad(&mut machine, Action::File(file("/etc/a", "2"))).contains("is there already"));
    good(&mut machine, Action::File(File { overwrite: true, ..file("/etc/a", "2") }));
    let metadata = fs::metadata(machine.path("/etc/a")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o644, 1000), "the owner is kept");
    let appended = vec![Contents::bytes("3"), Contents::bytes("4")];
    let append = File { contents: None, append: appended, ..file("/etc/a", "") };
    good(&mut machine, Action::File(append));
    assert_eq!(machine.read("/etc/a"), "234");
    good(&mut machine, Action::File(File { contents: None, ..file("/etc/empty", "") }));
    assert_eq!(machine.read("/etc/empty"), "");
    let unknown = Owner { user: Some("nobody-known".into()), group: None };
    let message = bad(&mut machine, Action::File(File { owner: unknown, ..file("/etc/b", "") }));
    assert!(message.contains("`nobody-known`"), "{message}");
    assert!(!machine.path("/etc/b").exists());
    // A misspelt path must not cost a folder.
    let folder = File { overwrite: true, ..file("/etc/skel", "") };
    assert!(bad(&mut machine, Action::File(folder)).contains("a folder"));
    assert_eq!(machine.read("/etc/skel/.profile"), "# profile\n");
}

#[test]
fn contents_are_fetched_unpacked_filled_and_proved() {
    use std::io::Write;
    let mut machine = Machine::new();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"abc").unwrap();
    let url = "https://files.example.com/tool?token=secret";
    machine.network.0.insert(url.into(), encoder.finish().unwrap());
    let remote = Remote { url: url.into(), ..Remote::default() };
    let hash = "sha256-ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let contents = |hash: &str| Contents {
        source: Source::Remote(remote.clone()),
        gzip: true,
        hash: Some(hash.into()),
        secret: false,
    };
    let fetched = |path: &str, hash| File { contents: Some(contents(hash)), ..file(path, "") };
    good(&mut machine, Action::File(fetched("/usr/local/bin/", hash)));
    assert_eq!(machine.read("/usr/local/bin/tool"), "abc");
    let message = bad(&mut machine, Action::File(fetched("/etc/x", "sha256-00")));
    assert!(message.contains("was expected") && !message.contains("token"), "{message}");
    assert!(!machine.path("/etc/x").exists());
    let template = Contents {
        source: Source::Template("id={{.MachineID}}".into()),
        gzip: false,
        hash: None,
        secret: false,
    };
    good(&mut machine, Action::File(File { contents: Some(template), ..file("/etc/id", "") }));
    assert_eq!(machine.read("/etc/id"), "id=0123");
}

#[test]
fn folders_and_links_follow_their_fields() {
    let mut machine = Machine::new();
    let folder = |path: &str, mode, replace| {
        Action::Directory(Directory { path: path.into(), mode, owner: Owner::default(), replace })
    };
    good(&mut machine, folder("/srv/a/b", Some(0o1777), false));
    assert_eq!(fs::metadata(machine.path("/srv/a/b")).unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(fs::metadata(machine.path("/srv/a")).unwrap().mode() & 0o7777, 0o755);
    good(&mut machine, folder("/srv/a/b", None, false));
    assert_eq!(fs::metadata(machine.path("/srv/a/b")).unwrap().mode() & 0o7777, 0o1777);
    assert!(bad(&mut machine, folder("/etc/passwd", None, false)).contains("a file"));
    assert!(bad(&mut machine, folder("/etc/skel", None, true)).contains("holds something"));
    let link = |path: &str, target: &str, hard, overwrite| {
        let (path, target, owner) = (path.into(), target.into(), Owner::default());
        Action::Link(Link { path, target, hard, owner, overwrite })
    };
    good(&mut machine, link("/etc/l", "passwd", false, false));
    good(&mut machine, link("/etc/l", "passwd", false, false));
    assert!(bad(&mut machine, link("/etc/l", "group", false, false)).contains("already"));
    good(&mut machine, link("/etc/l", "group", false, true));
    assert_eq!(fs::read_link(machine.path("/etc/l")).unwrap().to_str(), Some("group"));
    good(&mut machine, link("/etc/hard", "/etc/passwd", true, false));
    assert_eq!(fs::metadata(machine.path("/etc/passwd")).unwrap().nlink(), 2);
}

#[test]
fn a_user_can_log_in_and_owns_a_home() {
    let mut machine = Machine::new();
    machine.network.0.insert("https://github.com/joe.keys".into(), b"ssh-rsa B\n".to_vec());
    let joe = User {
        name: "joe".into(),
        password: Some(Password::Plain("joe".into())),
        create_home: true,
        groups: vec!["wheel".into()],
        keys: vec!["ssh-ed25519 A".into(), "github:joe".into()],
        keep_existing: true,
        ..User::default()
    };
    good(&mut machine, Action::User(joe.clone()));
    let shadow = machine.read("/etc/shadow");
    let line = shadow.lines().find(|line| line.starts_with("joe:")).unwrap();
    let hash = kiln_etc::password::hash("joe", [9; 12]).unwrap();
    assert_eq!(line, format!("joe:{hash}:20000:0:99999:7:::"));
    assert!(machine.read("/etc/group").contains("wheel:x:10:joe\n"));
    for (path, mode) in [
        ("/home/joe", 0o700),
        ("/home/joe/.profile", 0o644),
        ("/home/joe/.ssh", 0o700),
        ("/home/joe/.ssh/authorized_keys", 0o600),
    ] {
        let metadata = fs::metadata(machine.path(path)).unwrap();
        let seen = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        assert_eq!(seen, (mode, 1001, 1001), "{path}");
    }
    assert_eq!(machine.read("/home/joe/.ssh/authorized_keys"), "ssh-ed25519 A\nssh-rsa B\n");
    // A second run changes nothing but the day of the password.
    let before = machine.read("/etc/passwd");
    good(&mut machine, Action::User(joe));
    assert_eq!(machine.read("/etc/passwd"), before);
    assert_eq!(machine.read("/home/joe/.ssh/authorized_keys"), "ssh-ed25519 A\nssh-rsa B\n");
    assert_eq!(fs::metadata(machine.path("/etc/shadow")).unwrap().mode() & 0o7777, 0o644 & 0o7777);
}

#[test]
fn keys_are_kept_out_of_a_users_traps() {
    let mut machine = Machine::new();
    let keys = |keys: &[&str]| {
        let keys = keys.iter().map(|key| Text::from(*key)).collect();
        let file = "authorized_keys.d/ignition".to_owned();
        Action::AuthorizedKeys(AuthorizedKeys { user: "ann".into(), keys, file })
    };
    // What can be had is there, what cannot is told.
    let message = bad(&mut machine, keys(&["ssh-ed25519 A", "gitlab:nobody"]));
    assert!(message.contains("nothing"), "{message}");
    let path = "/home/ann/.ssh/authorized_keys.d/ignition";
    assert_eq!(machine.read(path), "ssh-ed25519 A\n");
    fs::remove_file(machine.path(path)).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", machine.path(path)).unwrap();
    assert!(bad(&mut machine, keys(&["ssh-ed25519 B"])).contains("symbolic link"));
    fs::remove_dir_all(machine.path("/home/ann/.ssh")).unwrap();
    std::os::unix::fs::symlink("/etc", machine.path("/home/ann/.ssh")).unwrap();
    assert!(bad(&mut machine, keys(&["ssh-ed25519 B"])).contains("symbolic link"));
    assert!(!machine.path("/etc/authorized_keys.d").exists());
}

#[test]
fn entities_change_one_entry() {
    let mut machine = Machine::new();
    let entity = |text: &str, path: Option<&str>, delete| {
        let path = path.map(Text::from);
        Action::Entity(Entity { path, entity: text.into(), delete })
    };
    good(&mut machine, entity("kind: group\ngroup_name: wheel\nusers: ann", None, false));
    assert!(machine.read("/etc/group").contains("wheel:x:10:ann\n"));
    good(&mut machine, entity("kind: shadow\nusername: ann\npassword: clear", None, false));
    assert!(
        machine.read("/etc/shadow").contains("ann:$6$")
            && !machine.read("/etc/shadow").contains("clear")
    );
    let other = Some("/etc/other/group");
    good(&mut machine, entity("kind: group\ngroup_name: g\ngid: 7", other, false));
    assert_eq!(machine.read("/etc/other/group"), "g:x:7:\n");
    good(&mut machine, entity("kind: user\nusername: ann", None, true));
    assert!(!machine.read("/etc/passwd").contains("ann"));
}

#[test]
fn units_are_written_enabled_masked_and_disabled() {
    let mut machine = Machine::new();
    let own = "/etc/systemd/system";
    let unit = Unit {
        name: "a.service".into(),
        contents: Some(
            "[Service]\n[Install]\nWantedBy=multi-user.target\nAlias=b.service\n".into(),
        ),
        enabled: Some(true),
        dropins: vec![("10-x.conf".into(), "[Service]\nNice=1\n".into())],
        ..Unit::default()
    };
    good(&mut machine, Action::Unit(unit));
    assert_eq!(machine.read(&format!("{own}/a.service.d/10-x.conf")), "[Service]\nNice=1\n");
    for link in ["multi-user.target.wants/a.service", "b.service"] {
        let target = fs::read_link(machine.path(&format!("{own}/{link}"))).unwrap();
        assert_eq!(target.to_str(), Some("/etc/systemd/system/a.service"));
    }
    let disabled = Unit { name: "a.service".into(), enabled: Some(false), ..Unit::default() };
    good(&mut machine, Action::Unit(disabled));
    assert_eq!(
        fs::read_dir(machine.path(&format!("{own}/multi-user.target.wants"))).unwrap().count(),
        0
    );
    assert!(fs::symlink_metadata(machine.path(&format!("{own}/b.service"))).is_err());

    let verb = |verb, unit: &str| Action::Systemctl(Systemctl { verb, unit: unit.into() });
    good(&mut machine, verb(SystemctlVerb::Enable, "sshd"));
    good(&mut machine, verb(SystemctlVerb::Enable, "getty@.service"));
    good(&mut machine, verb(SystemctlVerb::Enable, "getty@tty2.service"));
    for (link, target) in [
        ("multi-user.target.wants/sshd.service", "/usr/lib/systemd/system/sshd.service"),
        ("getty.target.wants/getty@tty1.service", "/usr/lib/systemd/system/getty@.service"),
        ("getty.target.wants/getty@tty2.service", "/usr/lib/systemd/system/getty@.service"),
    ] {
        let found = fs::read_link(machine.path(&format!("{own}/{link}"))).unwrap();
        assert_eq!(found.to_str(), Some(target), "{link}");
    }
    good(&mut machine, verb(SystemctlVerb::Mask, "sshd"));
    let masked = machine.path(&format!("{own}/sshd.service"));
    assert_eq!(fs::read_link(&masked).unwrap().to_str(), Some("/dev/null"));
    assert!(bad(&mut machine, verb(SystemctlVerb::Enable, "sshd")).contains("masked"));
    let unmasked = Unit { name: "sshd.service".into(), mask: Some(false), ..Unit::default() };
    good(&mut machine, Action::Unit(unmasked));
    assert!(fs::symlink_metadata(&masked).is_err());
    assert!(bad(&mut machine, verb(SystemctlVerb::Enable, "none")).contains("no such unit"));
    assert!(
        bad(&mut machine, verb(SystemctlVerb::Start, "sshd")).contains("before the system runs")
    );
    assert!(bad(&mut machine, verb(SystemctlVerb::Mask, "../x")).contains("no name"));
    machine.is_running = true;
    good(&mut machine, verb(SystemctlVerb::Start, "sshd"));
    assert_eq!(
        machine.programs.calls,
        ["systemctl daemon-reload", "systemctl start -- sshd.service"]
    );
}

#[test]
fn settings_are_in_their_files() {
    let mut machine = Machine::new();
    fs::create_dir_all(machine.folder.path().join("proc/sys/vm")).unwrap();
    fs::write(machine.folder.path().join("proc/sys/vm/max_map_count"), "1\n").unwrap();
    fs::write(machine.folder.path().join("proc/modules"), "bridge 1 0 - Live 0x0\n").unwrap();
    let setting = |name: &str, value: &str| Setting { name: name.into(), value: value.into() };
    good(&mut machine, Action::Sysctl(setting("vm.max_map_count", "262144")));
    let set = fs::read_to_string(machine.folder.path().join("proc/sys/vm/max_map_count")).unwrap();
    assert!(set.starts_with("262144"), "{set}");
    assert!(bad(&mut machine, Action::Sysctl(setting("vm.none", "1"))).contains("vm/none"));
    good(&mut machine, Action::Module(setting("bridge", "")));
    good(&mut machine, Action::Module(setting("loop", "max_loop=8 max_part=4")));
    assert_eq!(machine.programs.calls, ["modprobe -- loop max_loop=8 max_part=4"]);
    good(&mut machine, Action::Hostname(Text::Template("node-{{.MachineID}}".into())));
    assert_eq!(machine.read("/etc/hostname"), "node-0123\n");
    assert_eq!(machine.read("/etc/hosts"), "127.0.0.1 localhost node-0123\n");
    assert_eq!(fs::metadata(machine.path("/etc/hosts")).unwrap().mode() & 0o7777, 0o644);
    let variables = BTreeMap::from([("A".to_owned(), Text::from("1"))]);
    let file = "/etc/sub/environment".into();
    good(&mut machine, Action::Environment(Environment { file, variables }));
    assert_eq!(machine.read("/etc/sub/environment"), "A=\"1\"\n");
    let time = BTreeMap::from([("NTP".to_owned(), Text::from("time.example.com"))]);
    good(&mut machine, Action::Timesyncd(time));
    let path = "/etc/systemd/timesyncd.conf.d/10-kiln.conf";
    assert_eq!(machine.read(path), "[Time]\nNTP=time.example.com\n");
    let dns = Dns { nameservers: vec!["192.0.2.1".into()], ..Dns::default() };
    std::os::unix::fs::symlink("/run/nowhere", machine.path("/etc/resolv.conf")).unwrap();
    good(&mut machine, Action::Dns(dns));
    assert_eq!(machine.read("/etc/resolv.conf"), "nameserver 192.0.2.1\n");
    machine.programs.calls.clear();
    let options = [("keymap", "us"), ("force", "true")];
    let options = options.map(|(name, value)| (name.to_owned(), Text::from(value)));
    good(&mut machine, Action::SystemdFirstboot(options.into_iter().collect()));
    assert_eq!(machine.programs.calls, ["systemd-firstboot --force --keymap=us"]);
}

#[test]
fn conditions_decide_on_the_machine() {
    let cases = [
        (Condition::Node("^node-[0-9]$".into()), true),
        (Condition::Node("other".into()), false),
        (Condition::Fact(Fact::Os, "some|else".into()), true),
        (Condition::Fact(Fact::OsVersion, "^8".into()), false),
        (Condition::Fact(Fact::ServiceManager, "systemd".into()), false),
        (Condition::Files(Exists::All, vec!["/etc/passwd".into(), "/none".into()]), false),
        (Condition::Files(Exists::Any, vec!["/etc/passwd".into(), "/none".into()]), true),
        (Condition::Files(Exists::None, vec!["/none".into()]), true),
        (Condition::Command("true".into()), true),
        (Condition::Command("false".into()), false),
    ];
    for (condition, expected) in cases {
        let mut machine = Machine::new();
        machine.programs.bad = vec!["false".into()];
        let mut plan = plan("boot", Failure::Continue, vec![Action::File(file("/etc/a", ""))]);
        plan.operations[0].conditions = vec![condition.clone()];
        let report = machine.carry_out(&plan, "boot");
        assert_eq!(machine.path("/etc/a").exists(), expected, "{condition:?}");
        assert_eq!(report.records[0].outcome == Outcome::Done, expected, "{condition:?}");
        assert!(report.is_good(), "{condition:?}");
    }
    let mut machine = Machine::new();
    let mut broken = plan("boot", Failure::Continue, vec![Action::File(file("/etc/a", ""))]);
    broken.operations[0].conditions = vec![Condition::Node("(".into())];
    assert_eq!(machine.carry_out(&broken, "boot").failures().count(), 1);
    assert!(!machine.path("/etc/a").exists());
}

#[test]
fn repositories_and_images_are_brought() {
    let mut machine = Machine::new();
    let git = Git {
        url: "https://git.example/x".into(),
        path: "/srv/x".into(),
        branch: Some("main".into()),
        branch_only: true,
        ..Git::default()
    };
    good(&mut machine, Action::Git(git.clone()));
    let expected =
        "git clone --quiet --branch main --single-branch -- https://git.example/x /srv/x";
    assert_eq!(machine.programs.calls, [expected]);
    fs::create_dir_all(machine.path("/srv/x/.git")).unwrap();
    good(&mut machine, Action::Git(git.clone()));
    assert!(machine.programs.calls[2].ends_with("reset --quiet --hard FETCH_HEAD"));
    let option = Git { url: "--upload-pack=x".into(), ..git };
    assert!(bad(&mut machine, Action::Git(option)).contains("`-`"));
    let image = |source: String| {
        Action::UnpackImage(UnpackImage {
            source: source.into(),
            target: "/srv/i".into(),
            platform: None,
        })
    };
    let message = bad(&mut machine, image("oci:/nowhere".into()));
    assert!(message.contains("/nowhere"), "{message}");
}

#[test]
fn what_others_do_is_named_where_they_are_not() {
    let mut machine = Machine::new();
    let disk = kiln_config::storage::Disk { device: "/dev/sda".into(), ..Default::default() };
    let message = bad(&mut machine, Action::Disk(disk));
    assert_eq!(message, "partitions of `/dev/sda` cannot be carried out here");
}

/// Programs of the system on which the tests run, with a short patience.
struct Impatient;

impl kiln_provision::Programs for Impatient {
    fn run(
        &mut self,
        invocation: &kiln_provision::Invocation<'_>,
    ) -> Result<kiln_provision::Finished, kiln_provision::Error> {
        let root = std::path::Path::new("/");
        let patience = Some(std::time::Duration::from_millis(300));
        kiln_provision::Host { patience }
            .run(&kiln_provision::Invocation { root, ..invocation.clone() })
    }
}

#[test]
fn a_command_that_hangs_is_killed_and_the_next_step_runs() {
    let document = "stages:\n  initramfs:\n  - commands:\n    - echo on; sleep 60\n  - if: sleep 60\n    \
                    hostname: never\n  - commands: [exit 0]\n";
    let input = Input { name: "/oem/a.yaml".into(), bytes: document.into() };
    let checked = check(vec![input], None);
    let mut machine = Machine::new();
    let mut network = common::Network::default();
    let start = std::time::Instant::now();
    let report = machine.with(&mut Impatient, &mut network, &mut NoStorage, |surroundings| {
        run(&checked.plan, &Stage::named("initramfs"), &checked.sources, surroundings)
    });
    assert!(start.elapsed() < std::time::Duration::from_secs(30));
    let killed = "`sh` was killed, because it had not ended after 0 s";
    let hint = "give it an end (`timeout`), or start it by a unit of systemd".to_owned();
    let failed =
        |end: &str| Outcome::Failed { reason: format!("{killed}{end}"), hint: Some(hint.clone()) };
    let outcomes: Vec<_> = report.records.iter().map(|record| record.outcome.clone()).collect();
    // A condition without an answer is no yes.
    assert_eq!(outcomes, [failed(": on"), failed(""), Outcome::Done]);
    let said = format!("/oem/a.yaml:4:7: command of 17 bytes: {killed}: on");
    assert!(machine.said.contains(&said), "{:?}", machine.said);
}
