//! What holds for every Ignition config: the readers survive anything, merging with nothing changes
//! nothing, the order of lists makes no difference, and the configs of real fleets are carried out.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use kiln_config::action::{Action, Source};
use kiln_config::ignition::keys::State;
use kiln_config::ignition::{self, Config, KEYS, Version, nested, read};
use kiln_config::{Diagnostics, Plan, Severity, Sources};
use proptest::prelude::*;
use serde_json::{Value, json};

fn config(text: &str, out: &mut Diagnostics) -> Option<Config> {
    let mut sources = Sources::default();
    let id = sources.add("x.ign", text);
    read::text(&sources, id, out)
}

/// The whole way of a document, for what must not panic on any.
fn run(text: &str) -> Option<(Config, Plan)> {
    let mut out = Diagnostics::default();
    let mut sources = Sources::default();
    let id = sources.add("x.ign", text);
    let config = read::text(&sources, id, &mut out)?;
    let fetch =
        |_: &ignition::config::Resource, _: &ignition::config::Ignition| Err("no".to_owned());
    let (mut fetch, mut reader) = (fetch, read::text);
    let _ = nested::resolve(config.clone(), &mut sources, &mut reader, &mut fetch, &mut out);
    let plan = ignition::lower(&config, 0, &mut out);
    Some((config, plan))
}

/// Values that are taken, refused or read in surprising ways.
fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        prop_oneof![Just(0), Just(-1), Just(420), Just(4095), any::<i64>()].prop_map(Value::from),
        proptest::sample::select(vec![
            "",
            "/",
            "/a",
            "/a/b",
            "/etc/x",
            "a",
            "..",
            "/dev/vdb",
            "/dev/vg/lv",
            "data:,x",
            "gzip",
            "ext4",
            "raid0",
            "a.service",
            "a@b.service",
            "a@.service",
            "a.conf",
            "https://a.example/x",
            "s3://b/k",
            "[Unit]\nA=b\n",
            "core",
            "3.6.0",
            "sha256-00",
        ])
        .prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ]
}

/// Trees with the keys of the spec in any place.
fn tree() -> impl Strategy<Value = Value> {
    let mut names: Vec<String> = KEYS
        .iter()
        .flat_map(|key| key.path.split('.'))
        .map(|name| name.trim_end_matches("[]").to_owned())
        .collect();
    names.sort_unstable();
    names.dedup();
    leaf().prop_recursive(5, 60, 6, move |inner| {
        let keys = proptest::sample::select(names.clone());
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((keys, inner), 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Configs whose sections have the right shape, with values of any kind.
fn document() -> impl Strategy<Value = String> {
    let version = proptest::sample::select(Version::ALL.to_vec());
    let entries = proptest::collection::vec(
        (proptest::sample::select(KEYS.to_vec()), prop_oneof![leaf(), tree()]),
        0..12,
    );
    (version, entries).prop_map(|(version, entries)| {
        let mut root = json!({});
        for (key, value) in entries {
            place(&mut root, key.path, value);
        }
        root["ignition"]["version"] = json!(version.name());
        root.to_string()
    })
}

/// Puts a value where a path of [`KEYS`] leads, making what is on the way.
fn place(at: &mut Value, path: &str, value: Value) {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let key = name.trim_end_matches("[]");
    if !at.is_object() {
        *at = json!({});
    }
    let slot = &mut at[key];
    let slot = if name.ends_with("[]") {
        if !slot.is_array() {
            *slot = json!([]);
        }
        let list = slot.as_array_mut().unwrap();
        if list.is_empty() || list.len() % 3 == 1 {
            list.push(json!({}));
        }
        list.last_mut().unwrap()
    } else {
        slot
    };
    match rest {
        Some(rest) => place(slot, rest, value),
        None => *slot = value,
    }
}

/// The operations without their places, which move when lists are shuffled.
fn operations(text: &str) -> Vec<(u32, Action)> {
    let mut out = Diagnostics::default();
    let config = config(text, &mut out).unwrap();
    ignition::validate(&config, &mut out);
    assert!(!out.has_errors(), "{:?}", out.list());
    let plan = ignition::lower(&config, 0, &mut out);
    plan.operations.into_iter().map(|operation| (operation.rank, operation.action)).collect()
}

fn entries() -> impl Strategy<Value = Vec<(String, u16)>> {
    proptest::collection::btree_map("(/[abc]){1,4}", 0..512_u16, 1..12)
        .prop_map(|map| map.into_iter().collect())
}

/// The device of a volume; for a longer name that may be another volume of the list.
fn below(name: &str) -> String {
    format!("/dev/mapper/{}", name.get(2..).filter(|rest| !rest.is_empty()).unwrap_or("disk"))
}

fn whole(list: &[(String, u16)]) -> Value {
    let pick = |kind: u16| list.iter().filter(move |(_, number)| number % 2 == kind);
    let names = list.iter().map(|(path, number)| (path.replace('/', "x"), *number));
    json!({
        "ignition": {"version": "3.6.0"},
        "storage": {
            "files": pick(0).map(|(path, mode)| json!({"path": path, "mode": mode})).collect::<Vec<_>>(),
            "directories": pick(1).map(|(path, mode)| json!({"path": path, "mode": mode})).collect::<Vec<_>>(),
            "luks": names.clone().map(|(name, _)| json!({"name": name, "device": below(&name)}))
                .collect::<Vec<_>>(),
            "filesystems": names.clone().map(|(name, _)| json!({"device": format!("/dev/{name}"), "format": "xfs"}))
                .collect::<Vec<_>>(),
            "disks": names.clone().map(|(name, _)| json!({"device": format!("/dev/disk/{name}")})).collect::<Vec<_>>(),
        },
        "passwd": {
            "users": names.clone().map(|(name, _)| json!({"name": name, "sshAuthorizedKeys": ["k"]})).collect::<Vec<_>>(),
            "groups": names.clone().map(|(name, number)| json!({"name": name, "gid": number})).collect::<Vec<_>>(),
        },
        "systemd": {
            "units": names.map(|(name, number)| json!({"name": format!("{name}.service"), "enabled": number % 3 == 0}))
                .collect::<Vec<_>>(),
        },
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        run(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn arbitrary_trees_are_carried_to_a_plan_without_a_panic(document in document()) {
        run(&document);
    }

    #[test]
    fn merging_with_nothing_changes_nothing(document in document()) {
        if let Some(config) = config(&document, &mut Diagnostics::default()) {
            let mut out = Diagnostics::default();
            prop_assert_eq!(ignition::merge(Config::default(), config.clone(), &mut out), config);
            prop_assert!(out.list().is_empty());
        }
    }

    #[test]
    fn merging_a_config_with_itself_names_nothing_twice(list in entries()) {
        let mut out = Diagnostics::default();
        let config = config(&whole(&list).to_string(), &mut out).unwrap();
        let merged = ignition::merge(config.clone(), config.clone(), &mut out);
        prop_assert_eq!(merged, config);
    }

    #[test]
    fn shuffled_lists_give_the_same_plan(
        (list, shuffled) in entries().prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle()))
    ) {
        let (one, other) = (operations(&whole(&list).to_string()), operations(&whole(&shuffled).to_string()));
        prop_assert!(one.len() > list.len());
        prop_assert_eq!(one, other);
    }
}

#[test]
fn the_worker_of_a_fleet_is_carried_out_with_all_it_says() {
    let text = include_str!("fixtures/ignition/worker-3.4.ign");
    let mut out = Diagnostics::default();
    let config = config(text, &mut out).unwrap();
    ignition::validate(&config, &mut out);
    let plan = ignition::lower(&config, 0, &mut out);
    assert!(out.list().is_empty(), "{:?}", out.list());
    let said: Vec<String> = plan
        .operations
        .iter()
        .map(|operation| match &operation.action {
            Action::KernelArguments(all) => {
                format!("{:?} {:?}", all.should_exist, all.should_not_exist)
            }
            Action::Disk(disk) => format!("{} {}", disk.device, disk.partitions.len()),
            Action::Filesystem(one) => format!("{:?} {:?}", one.format, one.path),
            Action::Group(group) => format!("{} {:?}", group.name, group.gid),
            Action::User(user) => format!("{} {:?}", user.name, user.groups),
            Action::Directory(one) => format!("{:?} {:?} {:?}", one.path, one.mode, one.owner.user),
            Action::File(file) => match &file.contents.as_ref().unwrap().source {
                Source::Bytes(bytes) => {
                    format!("{} {}", file.path.written(), String::from_utf8_lossy(bytes))
                }
                other => format!("{other:?}"),
            },
            Action::Link(link) => format!("{} {} {}", link.path, link.target, link.overwrite),
            Action::Unit(unit) => {
                format!("{} {:?} {:?} {}", unit.name, unit.enabled, unit.mask, unit.dropins.len())
            }
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        said,
        [
            "[\"mitigations=auto,nosmt\"] [\"debug\"]",
            "/dev/vdb 2",
            "Some(\"ext4\") Some(\"/var/data\")",
            "Some(\"xfs\") Some(\"/var/log-archive\")",
            "operators Some(1500)",
            "core [\"operators\"]",
            "/etc/hostname worker-1",
            "/etc/localtime ../usr/share/zoneinfo/UTC true",
            "/etc/chrony.d/site.conf server ntp.example iburst\nmakestep 1.0 3\n",
            "Plain(\"/var/data/app/a/b\") Some(448) Some(\"core\")",
            "/etc/systemd/system-preset/20-ignition.preset enable app.service\n",
            "app.service Some(true) None 0",
            "apt-daily.timer None Some(true) 0",
            "sshd.service None None 1",
        ]
    );
}

#[test]
fn a_pointer_config_fetches_the_worker_with_its_header_and_its_authority() {
    let pointer = include_str!("fixtures/ignition/worker-pointer-3.4.ign");
    let worker = include_str!("fixtures/ignition/worker-3.4.ign");
    let mut sources = Sources::default();
    let mut out = Diagnostics::default();
    let id = sources.add("pointer.ign", pointer);
    let root = read::text(&sources, id, &mut out).unwrap();
    let mut asked = Vec::new();
    let mut fetch = |resource: &ignition::config::Resource,
                     settings: &ignition::config::Ignition| {
        let header = resource.http_headers[0].value.as_ref().unwrap().value.clone();
        let url = resource.source.as_ref().unwrap().value.clone();
        asked.push((url, header, settings.certificate_authorities.len()));
        Ok(worker.as_bytes().to_vec())
    };
    let merged =
        nested::resolve(root, &mut sources, &mut read::text, &mut fetch, &mut out).unwrap();
    assert!(out.list().is_empty(), "{:?}", out.list());
    let expected = ("https://api.fleet.example:22623/config/worker", "Bearer one-time-token");
    assert_eq!(asked, [(expected.0.to_owned(), expected.1.to_owned(), 1)]);
    // Each entry shows the document from which it came.
    let hostname = &merged.storage.files[0].entry;
    assert_eq!(hostname.path.value, "/etc/hostname");
    let place = sources.place(hostname.span).to_string();
    assert_eq!(place, "https://api.fleet.example:22623/config/worker:16:7");
    assert_eq!(
        sources.place(merged.ignition.certificate_authorities[0].span).source,
        "pointer.ign"
    );
}

#[test]
fn a_token_is_never_part_of_what_is_said() {
    let text = r#"{"ignition": {"version": "3.6.0", "config": {"merge": [
        {"source": "https://u:SECRET@a.example/x?t=SECRET", "httpHeaders": [{"name": "A", "value": "SECRET"}]}]}},
        "storage": {"files": [{"path": "/a", "contents": {"source": "data:,SECRET", "compression": "gzip"}}]}}"#;
    let mut out = Diagnostics::default();
    let mut sources = Sources::default();
    let id = sources.add("x.ign", text);
    let config = read::text(&sources, id, &mut out).unwrap();
    let mut fetch =
        |_: &ignition::config::Resource, _: &ignition::config::Ignition| Err("refused".to_owned());
    let _ = nested::resolve(config, &mut sources, &mut read::text, &mut fetch, &mut out);
    assert!(out.errors() >= 2);
    for one in out.list() {
        assert!(!format!("{one:?}").contains("SECRET"), "{one:?}");
    }
}

#[test]
fn the_table_of_keys_is_what_the_reader_knows_and_lowering_refuses() {
    for key in KEYS {
        for version in Version::ALL {
            let mut root = json!({});
            place(&mut root, key.path, json!(null));
            root["ignition"]["version"] = json!(version.name());
            let mut out = Diagnostics::default();
            let _ = config(&root.to_string(), &mut out);
            let is_unknown = out.list().iter().any(|one| one.code == "unknown-key");
            assert_eq!(is_unknown, version < key.since, "{} in {}", key.path, version.name());
        }
        let value = match key.path.rsplit('.').next().unwrap() {
            "tpm2" | "enabled" | "needsNetwork" => json!(true),
            "threshold" => json!(1),
            _ => json!("https://a.example/x"),
        };
        let mut root = json!({"ignition": {"version": "3.6.0"}});
        place(&mut root, key.path, value);
        if key.path == "ignition.version" {
            continue;
        }
        let mut out = Diagnostics::default();
        if let Some(config) = config(&root.to_string(), &mut out) {
            ignition::lower(&config, 0, &mut out);
        }
        let is_refused = out.list().iter().any(|one| one.code == "refused");
        assert_eq!(is_refused, matches!(key.state, State::Refused(_)), "{}", key.path);
    }
    // And the reader knows no key that the table does not have.
    let mut paths: Vec<&str> = KEYS.iter().map(|key| key.path).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), KEYS.len());
}

#[test]
fn the_table_of_versions_in_the_guide_is_that_of_the_reader() {
    let guide = include_str!("../../../docs/configuration-ignition.md");
    for version in Version::ALL {
        let row = guide
            .lines()
            .find(|line| line.starts_with(&format!("| {} |", version.name())))
            .unwrap_or_else(|| panic!("no row for {}", version.name()));
        let mut listed: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        listed.sort_unstable();
        let mut added: Vec<&str> = if version == Version::V3_0 {
            Vec::new()
        } else {
            KEYS.iter().filter(|key| key.since == version).map(|key| key.path).collect()
        };
        added.extend(
            ignition::url::SCHEMES
                .iter()
                .filter(|(name, _, since)| *since == version && *name != "oci")
                .map(|(name, ..)| *name),
        );
        // What the table names by its folder stands for all below it.
        let is_covered = |path: &str| {
            listed.iter().any(|one| path == *one || path.starts_with(&format!("{one}.")))
        };
        for path in &added {
            let is_header = path.contains("httpHeaders");
            assert!(is_covered(path) || is_header, "{path} is missing for {}", version.name());
        }
        for one in &listed {
            let is_real =
                added.iter().any(|path| path == one || path.starts_with(&format!("{one}.")));
            assert!(is_real || *one == "httpHeaders", "{one} stands for {}", version.name());
        }
    }
}

#[test]
fn a_megabyte_is_checked_without_what_grows_with_its_square() {
    let file = |number: usize| json!({"path": format!("/srv/d{}/f{number}", number % 50), "contents": {"source": "data:,hello%20world"}});
    let text = json!({"ignition": {"version": "3.6.0"}, "storage": {"files": (0..20_000).map(file).collect::<Vec<_>>()}});
    let text = text.to_string();
    assert!(text.len() > 1 << 20);
    let started = std::time::Instant::now();
    let mut out = Diagnostics::default();
    let config = config(&text, &mut out).unwrap();
    ignition::validate(&config, &mut out);
    assert_eq!(out.list().iter().filter(|one| one.severity == Severity::Error).count(), 0);
    assert_eq!(config.storage.files.len(), 20_000);
    // Without optimisation and beside other tests; what is quadratic takes minutes.
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
