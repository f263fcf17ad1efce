//! The table of translations in rows.txt, whole documents, and arbitrary ones.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{Mounts, applies, document, read};
use crate::diagnostic::Diagnostics;
use crate::ignition::{Config, validate};
use crate::node::{Node, Value};
use crate::source::{SourceId, Sources};

fn mounts() -> Mounts {
    Mounts::from([("given".to_owned(), "/srv/given/".to_owned())])
}

/// A tree as JSON.
fn plain(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Scalar { text, quoted: true } => json!(text),
        Value::Scalar { text, quoted: false } => serde_json::from_str(text).unwrap(),
        Value::List(list) => list.iter().map(plain).collect(),
        Value::Map(map) => {
            let entries = map.iter().map(|(key, node)| (key.text.clone(), plain(node)));
            entries.collect::<serde_json::Map<_, _>>().into()
        }
    }
}

fn translated(input: &Json) -> (Option<Node>, Diagnostics) {
    let node = crate::json::document(SourceId(0), &input.to_string()).unwrap();
    let mut out = Diagnostics::default();
    (document(&node, &mounts(), &mut out), out)
}

fn codes(out: &Diagnostics) -> Vec<&'static str> {
    out.list().iter().map(|diagnostic| diagnostic.code).collect()
}

#[test]
fn each_row_is_translated_as_the_table_says() {
    let mut rows = 0;
    for line in include_str!("rows.txt").lines().filter(|line| !line.starts_with('#')) {
        rows += 1;
        let (head, tail) = line.split_once(" => ").unwrap();
        let mut words = head.splitn(3, ' ');
        let (version, section, input) =
            (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let (output, expected_codes) = tail.split_once(" ! ").unwrap_or((tail, ""));
        let (path, is_member) = match section.strip_suffix("[]") {
            Some(path) => (path, true),
            None => (section, false),
        };
        let input: Json = serde_json::from_str(input).unwrap();
        let mut value = if is_member { json!([input]) } else { input };
        for name in path.rsplit('.') {
            value = json!({ name: value });
        }
        value["ignition"]["version"] = json!(version);
        let (node, out) = translated(&value);
        let node = node.unwrap();
        let expected_codes: Vec<&str> =
            expected_codes.split(',').filter(|code| !code.is_empty()).collect();
        assert_eq!(codes(&out), expected_codes, "{line}\n{:?}", out.list());
        let found = path.split('.').try_fold(&node, |node, name| node.get(name));
        let found = match (output, is_member) {
            ("none", _) => {
                assert_eq!(found.map(plain), Some(json!([])), "{line}");
                continue;
            }
            (_, true) => found.and_then(|node| node.list()?.first()),
            _ => found,
        };
        let expected: Option<Json> = (output != "-").then(|| serde_json::from_str(output).unwrap());
        assert_eq!(found.map(plain), expected, "{line}");
        // What comes out is read as 3.x without a word about kinds or names.
        let mut out = Diagnostics::default();
        crate::ignition::read::node(&node, &mut out).unwrap();
        assert!(out.list().is_empty(), "{line}\n{:?}", out.list());
    }
    assert!(rows >= 400, "{rows}");
}

fn config(text: &str) -> (Config, Sources, Diagnostics) {
    let mut sources = Sources::default();
    let id = sources.add("old.ign", text);
    let node = crate::json::document(id, text).unwrap();
    assert!(applies(&node));
    let mut out = Diagnostics::default();
    let config = read(&node, &mounts(), &mut out).unwrap();
    validate(&config, &mut out);
    (config, sources, out)
}

#[test]
fn a_bootstrap_config_is_read_and_appends() {
    let (config, sources, out) = config(include_str!("fixtures/bootstrap-2.2.ign"));
    assert_eq!(out.list(), []);
    let [motd, openshift] = config.storage.files.as_slice() else { panic!("two files") };
    assert_eq!((motd.contents.as_ref(), motd.append.len()), (None, 1));
    assert_eq!(motd.entry.overwrite.as_ref().map(|overwrite| overwrite.value), Some(false));
    assert_eq!(openshift.mode.as_ref().map(|mode| mode.value), Some(384));
    assert_eq!(openshift.entry.overwrite.as_ref().map(|overwrite| overwrite.value), Some(true));
    assert_eq!(sources.text(motd.entry.path.span), "\"/etc/motd\"");
    assert_eq!(config.passwd.users[0].ssh_authorized_keys.len(), 1);
    assert_eq!(config.systemd.units[0].name.value, "bootkube.service");
}

#[test]
fn a_pointer_config_becomes_a_merge() {
    let (config, _, _) = config(include_str!("fixtures/worker-pointer-2.2.ign"));
    let resources = config.ignition.merge.iter();
    let merge: Vec<_> =
        resources.filter_map(|resource| Some(resource.source.as_ref()?.value.as_str())).collect();
    assert_eq!(merge, ["https://api.fleet.example:22623/config/worker"]);
    assert_eq!(config.ignition.certificate_authorities.len(), 1);
}

#[test]
fn a_mount_unit_says_where_a_file_system_is() {
    let (config, _, out) = config(
        r#"{"ignition": {"version": "2.3.0"}, "storage": {
        "filesystems": [{"name": "data", "mount": {"device": "/dev/disk/by-label/d", "format": "ext4"}}],
        "files": [{"filesystem": "data", "path": "/x", "contents": {"source": "data:,1"}}]},
        "systemd": {"units": [{"name": "var-data.mount", "enabled": true, "contents":
        "[Mount]\nWhat = /dev/disk/by-label/d\nWhere=/var/data\n[Install]\nWantedBy=local-fs.target\n"}]}}"#,
    );
    assert!(!out.has_errors(), "{:?}", out.list());
    assert_eq!(config.storage.files[0].entry.path.value, "/var/data/x");
    let path = config.storage.filesystems[0].path.as_ref().map(|path| path.value.as_str());
    assert_eq!(path, Some("/var/data"));
}

#[test]
fn what_is_appended_to_a_file_of_the_config_joins_it() {
    let (config, _, out) = config(
        r#"{"ignition": {"version": "2.2.0"}, "storage": {"files": [
        {"filesystem": "root", "path": "/a", "mode": 420, "contents": {"source": "data:,1"}},
        {"filesystem": "root", "path": "/a", "append": true, "contents": {"source": "data:,2"}},
        {"filesystem": "root", "path": "/a", "append": true, "mode": 420, "contents": {"source": "data:,3"}}
        ]}}"#,
    );
    assert_eq!(out.list(), []);
    let [file] = config.storage.files.as_slice() else { panic!("one file") };
    assert_eq!((file.contents.is_some(), file.append.len()), (true, 2));
}

#[test]
fn what_has_no_meaning_in_3_is_refused_with_its_place() {
    const FILE: &str = r#"{"filesystem": "root", "path": "/a"}"#;
    const LINK: &str = r#"{"filesystem": "root", "path": "/a", "target": "/b"}"#;
    const UNIT: &str = r#"{"name": "a.service", "mask": true}"#;
    for (body, code) in [
        (format!(r#""storage": {{"files": [{FILE}, {FILE}]}}"#), "same-path"),
        (format!(r#""storage": {{"files": [{FILE}], "directories": [{FILE}]}}"#), "same-path"),
        (
            format!(
                r#""storage": {{"links": [{LINK}],
                "files": [{{"filesystem": "root", "path": "/a/c"}}]}}"#
            ),
            "below-link",
        ),
        (format!(r#""systemd": {{"units": [{UNIT}, {UNIT}]}}"#), "duplicate-entry"),
        (r#""networkd": {"units": [{"name": "a.network"}]}"#.to_owned(), "untranslatable"),
        (
            r#""storage": {"files": [{"filesystem": "oem", "path": "/a"}]}"#.to_owned(),
            "unknown-mount",
        ),
    ] {
        let text = format!("{{\"ignition\": {{\"version\": \"2.2.0\"}},\n{body}}}");
        let (_, sources, out) = config(&text);
        let said = out.list().iter().find(|said| said.code == code);
        let said = said.unwrap_or_else(|| panic!("{body}: {:?}", out.list()));
        assert!(sources.place(said.span.unwrap()).line >= 2, "{body}");
        assert!(out.has_errors());
    }
}

#[test]
fn other_versions_are_refused_by_name() {
    for version in ["2.5.0", "2.1.0-experimental", "2.2", "1.0.0", "3.0.0"] {
        let (node, out) = translated(&json!({"ignition": {"version": version}}));
        assert!(node.is_none());
        assert_eq!(codes(&out), ["unknown-version"], "{version}");
    }
    let (node, out) = translated(&json!({"ignitionVersion": 1}));
    assert_eq!((node, codes(&out)), (None, vec!["unknown-version"]));
    for (text, expected) in [
        (r#"{"ignition": {"version": "2.2.0"}}"#, true),
        (r#"{"ignition": {"version": "3.2.0"}}"#, false),
        (r#"{"ignition": {}}"#, false),
        (r#"{"ignitionVersion": 1}"#, true),
        ("[]", false),
    ] {
        assert_eq!(applies(&crate::json::document(SourceId(0), text).unwrap()), expected);
    }
}

/// Arbitrary values under names that mean something.
fn arbitrary() -> impl Strategy<Value = Json> {
    const NAMES: &str = "ignition version config append replace source storage files disks \
        partitions start size filesystems mount create force name device path filesystem contents \
        overwrite systemd units dropins enable passwd users groups uid networkd links directories \
        raid user mode verification";
    let names: Vec<&'static str> = NAMES.split_whitespace().collect();
    let texts = vec!["", "root", "/a", "2.2.0", "x.mount", "data:,", "ä"];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        prop::sample::select(texts).prop_map(|text| json!(text)),
    ];
    leaf.prop_recursive(6, 64, 8, move |inner| {
        let key = prop::sample::select(names.clone()).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            prop::collection::vec((key, inner), 0..6)
                .prop_map(|entries| entries.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn no_document_makes_it_panic(mut value in arbitrary(), minor in 0..5) {
        if let Some(map) = value.as_object_mut() {
            let ignition = map.entry("ignition").or_insert(json!({}));
            if let Some(ignition) = ignition.as_object_mut() {
                ignition.insert("version".into(), json!(format!("2.{minor}.0")));
            }
        }
        let (node, _) = translated(&value);
        if let Some(node) = node {
            let mut out = Diagnostics::default();
            if let Some(config) = crate::ignition::read::node(&node, &mut out) {
                validate(&config, &mut out);
            }
        }
    }
}
