//! The table of translations in rows.txt, mount units, trees, whole documents, and arbitrary ones.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{Files, TreeEntry, TreeKind, VERSIONS, any, applies, document, read};
use crate::diagnostic::Diagnostics;
use crate::ignition::translate::Mounts;
use crate::ignition::{Config, validate};
use crate::node::{Node, Value};
use crate::source::{SourceId, Sources};

/// A folder of files.
struct Folder;

impl Files for Folder {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        match path {
            "a.txt" => Ok(b"local".to_vec()),
            "keys" => Ok(b"k1\r\n\nk2\n".to_vec()),
            "binary" => Ok(vec![0xff, 0xfe]),
            _ => Err("no such file".to_owned()),
        }
    }

    fn tree(&self, path: &str) -> Result<Vec<TreeEntry>, String> {
        let entry = |path: &str, kind| TreeEntry { path: path.to_owned(), kind };
        let file = |executable| TreeKind::File { contents: b"x".to_vec(), executable };
        match path {
            "tree" => Ok(vec![
                entry("etc/a", file(false)),
                entry("bin/run", file(true)),
                entry("etc/link", TreeKind::Link { target: "a".to_owned() }),
            ]),
            "evil" => Ok(vec![entry("../../etc/passwd", file(false))]),
            _ => Err("no such folder".to_owned()),
        }
    }
}

/// A tree as JSON; octal numbers of YAML as decimal ones.
fn plain(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Scalar { text, quoted: true } => json!(text),
        Value::Scalar { text, quoted: false } => {
            let octal = text.strip_prefix("0o").or_else(|| text.strip_prefix('0'));
            match octal.and_then(|digits| i64::from_str_radix(digits, 8).ok()) {
                Some(number) => json!(number),
                None => serde_json::from_str(text).unwrap(),
            }
        }
        Value::List(list) => list.iter().map(plain).collect(),
        Value::Map(map) => {
            let entries = map.iter().map(|(key, node)| (key.text.clone(), plain(node)));
            entries.collect::<serde_json::Map<_, _>>().into()
        }
    }
}

fn codes(out: &Diagnostics) -> Vec<&'static str> {
    out.list().iter().map(|diagnostic| diagnostic.code).collect()
}

fn translated(text: &str) -> (Option<Node>, Diagnostics) {
    let node = crate::yaml::document(SourceId(0), text).unwrap();
    assert!(applies(&node));
    let mut out = Diagnostics::default();
    (document(&node, Some(&Folder), &mut out), out)
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
        let (variant, version) = version.split_once('-').unwrap();
        let (output, expected_codes) = tail.split_once(" ! ").unwrap_or((tail, ""));
        let (path, is_member) = match section.strip_suffix("[]") {
            Some(path) => (path, true),
            None => (section, false),
        };
        let mut text = if is_member { format!("[{input}]") } else { input.to_owned() };
        for (index, name) in path.rsplit('.').enumerate() {
            let last = index + 1 == path.split('.').count();
            text = if last { format!("{name}: {text}") } else { format!("{{{name}: {text}}}") };
        }
        let (node, out) = translated(&format!("variant: {variant}\nversion: {version}\n{text}\n"));
        let node = node.unwrap();
        let expected_codes: Vec<&str> =
            expected_codes.split(',').filter(|code| !code.is_empty()).collect();
        assert_eq!(codes(&out), expected_codes, "{line}\n{:?}", out.list());
        let path = path.replace("kernel_arguments", "kernelArguments");
        let found = path.split('.').try_fold(&node, |node, name| node.get(name));
        let found = if is_member { found.and_then(|node| node.list()?.first()) } else { found };
        let expected: Option<Json> = (output != "-").then(|| serde_json::from_str(output).unwrap());
        assert_eq!(found.map(plain), expected, "{line}");
        // What comes out is read as 3.x without a word about kinds or names.
        let mut out = Diagnostics::default();
        crate::ignition::read::node(&node, &mut out).unwrap();
        assert!(out.list().is_empty(), "{line}\n{:?}", out.list());
    }
    assert!(rows >= 150, "{rows}");
}

fn config(text: &str, files: Option<&dyn Files>) -> (Option<Config>, Sources, Diagnostics) {
    let mut sources = Sources::default();
    let id = sources.add("a.bu", text);
    let node = crate::yaml::document(id, text).unwrap();
    let mut out = Diagnostics::default();
    let config = read(&node, files, &mut out);
    if let Some(config) = &config {
        validate(config, &mut out);
    }
    (config, sources, out)
}

#[test]
fn places_point_into_the_yaml() {
    let (config, sources, out) = config(
        "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: etc/a\n      mode: 0644\n      \
         contents:\n        inline: |\n          hello\n    - path: /b\n      contents:\n        local: x\n",
        None,
    );
    let config = config.unwrap();
    assert_eq!(config.storage.files[0].mode.as_ref().map(|mode| mode.value), Some(0o644));
    let said: Vec<_> = out
        .list()
        .iter()
        .filter_map(|said| Some((said.code, sources.place(said.span?).to_string())))
        .collect();
    assert!(said.contains(&("local-file", "a.bu:12:16".to_owned())), "{said:?}");
    assert!(said.iter().any(|(_, place)| place == "a.bu:5:13"), "{said:?}");
}

#[test]
fn a_machine_has_no_local_files() {
    for text in [
        "storage: {files: [{path: /a, contents: {local: a.txt}}]}",
        "storage: {trees: [{local: tree}]}",
        "systemd: {units: [{name: a.service, contents_local: a.txt}]}",
        "passwd: {users: [{name: a, ssh_authorized_keys_local: [keys]}]}",
    ] {
        let text = format!("variant: fcos\nversion: 1.5.0\n{text}\n");
        let (_, _, out) = config(&text, None);
        assert_eq!(codes(&out), ["local-file"], "{text}");
        let (_, _, out) = config(&text, Some(&Folder));
        assert!(!codes(&out).contains(&"local-file"), "{text}: {:?}", out.list());
    }
}

/// Name and contents of the units that come out.
fn units(storage: &str, systemd: &str) -> (Vec<(String, String)>, Diagnostics) {
    let text = format!("variant: fcos\nversion: 1.5.0\nstorage: {storage}\nsystemd: {systemd}\n");
    let (node, out) = translated(&text);
    let node = node.unwrap();
    let list = node.get("systemd").and_then(|node| node.get("units")).and_then(Node::list);
    let word = |node: &Node, key| node.get(key).and_then(Node::text).unwrap_or_default().to_owned();
    let units = list.unwrap_or_default().iter();
    (units.map(|unit| (word(unit, "name"), word(unit, "contents"))).collect(), out)
}

#[test]
fn mount_units_are_made_on_request() {
    let plain = "{filesystems: [{device: /dev/disk/by-label/d, path: /var/log-a, format: xfs, \
                 mount_options: [noatime, ro], with_mount_unit: true}]}";
    let (made, out) = units(plain, "{}");
    assert_eq!(codes(&out), [""; 0]);
    assert_eq!(
        made,
        [(
            "var-log\\x2da.mount".to_owned(),
            "# Made from with_mount_unit\n[Unit]\n\
             Requires=systemd-fsck@dev-disk-by\\x2dlabel-d.service\n\
             After=systemd-fsck@dev-disk-by\\x2dlabel-d.service\n\n\
             [Mount]\nWhere=/var/log-a\nWhat=/dev/disk/by-label/d\nType=xfs\nOptions=noatime,ro\n\n\
             [Install]\nRequiredBy=local-fs.target\n"
                .to_owned()
        )]
    );
    let swap = "{filesystems: [{device: /dev/sdb2, format: swap, with_mount_unit: true}]}";
    let (made, _) = units(swap, "{}");
    assert_eq!(made[0].0, "dev-sdb2.swap");
    assert_eq!(
        made[0].1,
        "# Made from with_mount_unit\n[Swap]\nWhat=/dev/sdb2\n\n[Install]\nRequiredBy=swap.target\n"
    );
    let remote = "{luks: [{name: l, clevis: {tang: [{url: u}]}}], filesystems: \
                  [{device: /dev/mapper/l, path: /d, format: ext4, with_mount_unit: true}]}";
    let (made, _) = units(remote, "{}");
    assert!(made[0].1.contains("Options=_netdev\n\n[Install]\nRequiredBy=remote-fs.target\n"));
    let (made, _) = units(&remote.replace("with_mount_unit: true", "with_mount_unit: false"), "{}");
    assert!(made.is_empty());
    let own = "{units: [{name: dev-sdb2.swap, contents: mine}, {name: b.service}]}";
    let (made, _) = units(swap, own);
    let names: Vec<_> =
        made.iter().map(|(name, contents)| (name.as_str(), contents.as_str())).collect();
    assert_eq!(names, [("dev-sdb2.swap", "mine"), ("b.service", "")]);
    for (storage, code) in [
        ("{filesystems: [{device: /dev/b, format: ext4, with_mount_unit: true}]}", "missing-key"),
        ("{filesystems: [{device: /dev/b, path: /p, with_mount_unit: true}]}", "missing-key"),
        ("{filesystems: [{path: /p, format: ext4, with_mount_unit: true}]}", "missing-key"),
        (
            "{filesystems: [{device: /dev/b, path: \"/p\\nx\", format: ext4, with_mount_unit: true}]}",
            "bad-mount-unit",
        ),
        ("{filesystems: [{device: /dev/b, with_mount_unit: 7}]}", "wrong-type"),
    ] {
        assert_eq!(codes(&units(storage, "{}").1), [code], "{storage}");
    }
}

#[test]
fn trees_become_entries() {
    let read = |storage: &str| {
        let (node, out) =
            translated(&format!("variant: fcos\nversion: 1.5.0\nstorage: {storage}\n"));
        (plain(node.unwrap().get("storage").unwrap()), out)
    };
    let contents = json!({"source": "data:;base64,eA==", "compression": ""});
    let (storage, out) = read("{trees: [{local: tree, path: /opt/}]}");
    assert_eq!(codes(&out), [""; 0]);
    assert_eq!(
        storage,
        json!({
            "files": [
                {"path": "/opt/etc/a", "contents": contents, "mode": 420},
                {"path": "/opt/bin/run", "contents": contents, "mode": 493},
            ],
            "links": [{"path": "/opt/etc/link", "target": "a"}],
        })
    );
    let (storage, out) = read("{files: [{path: /etc/a, mode: 0600}], trees: [{local: tree}]}");
    assert_eq!(codes(&out), [""; 0]);
    assert_eq!(storage["files"][0], json!({"path": "/etc/a", "mode": 384, "contents": contents}));
    for (storage, code) in [
        (
            "{files: [{path: /etc/a, contents: {inline: y}}], trees: [{local: tree}]}",
            "duplicate-entry",
        ),
        ("{directories: [{path: /etc/a}], trees: [{local: tree}]}", "duplicate-entry"),
        ("{trees: [{local: evil}]}", "path-escape"),
        ("{trees: [{local: ../tree}]}", "path-escape"),
        ("{trees: [{local: absent}]}", "local-file"),
        ("{trees: [{path: /a}]}", "missing-key"),
        ("{trees: {local: tree}}", "wrong-type"),
        ("{trees: [{local: tree, paht: /a}]}", "unknown-key"),
    ] {
        assert_eq!(codes(&read(storage).1), [code], "{storage}");
    }
}

#[test]
fn openshift_brings_kernel_arguments() {
    for version in ["4.8.0", "4.14.0"] {
        let (node, out) = translated(&format!(
            "variant: openshift\nversion: {version}\nmetadata: {{name: x}}\n\
             openshift: {{kernel_arguments: [nosmt, 1]}}\n"
        ));
        assert_eq!(codes(&out), ["ignored-key"]);
        let (config, mut out) = (node.unwrap(), Diagnostics::default());
        let config = crate::ignition::read::node(&config, &mut out).unwrap();
        assert_eq!(out.list(), []);
        let arguments = config.kernel_arguments.should_exist.iter().map(|word| word.value.as_str());
        assert_eq!(arguments.collect::<Vec<_>>(), ["nosmt", "1"]);
    }
}

#[test]
fn variant_and_version_have_to_be_known() {
    for (text, code) in [
        ("variant: fcos", "missing-version"),
        ("variant:\nversion: 1.5.0", "missing-version"),
        ("variant: rhcos\nversion: 0.1.0", "unknown-version"),
        ("variant: fcos\nversion: 1.5", "unknown-version"),
        ("variant: fcos\nversion: 1.8.0-experimental", "unknown-version"),
        ("variant: flatcar\nversion: 1.5.0", "unknown-version"),
        ("variant: [a]\nversion: {}", "unknown-version"),
    ] {
        let (node, out) = translated(text);
        assert!(node.is_none());
        assert_eq!(codes(&out), [code], "{text}");
    }
    for (variant, version, ignition) in VERSIONS {
        let (node, _) = translated(&format!("variant: {variant}\nversion: {version}\n"));
        let found = node.as_ref().and_then(|node| node.get("ignition")?.get("version")?.text());
        assert_eq!(found, Some(ignition.name()));
    }
}

#[test]
fn one_call_reads_every_notation() {
    for (text, expected) in [
        ("{\"ignition\": {\"version\": \"3.4.0\"}}", Some("3.4.0")),
        ("{\"ignition\": {\"version\": \"2.2.0\"}}", Some("3.0.0")),
        ("{\"ignition\": {\"version\": \"2.4.0\"}}", Some("3.1.0")),
        ("variant: fcos\nversion: 1.4.0\n", Some("3.3.0")),
        ("{\"ignition\": ", None),
        ("a: [", None),
    ] {
        let mut sources = Sources::default();
        let id = sources.add("a", text);
        let mut out = Diagnostics::default();
        let config = any(&sources, id, &Mounts::new(), None, &mut out);
        assert_eq!(config.map(|config| config.version.value.name()), expected, "{text}");
        assert_eq!(out.has_errors(), expected.is_none());
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,80}") {
        let mut sources = Sources::default();
        for text in [text.clone(), format!("variant: fcos\nversion: 1.5.0\nstorage: {text}\n")] {
            let id = sources.add("a", text);
            let mut out = Diagnostics::default();
            if let Some(config) = any(&sources, id, &Mounts::new(), Some(&Folder), &mut out) {
                validate(&config, &mut out);
            }
        }
    }

    #[test]
    fn no_mixture_of_keys_makes_it_panic(words in prop::collection::vec(prop::sample::select(vec![
        "storage: ", "files: ", "trees: ", "filesystems: ", "with_mount_unit: ", "true", "[", "]", "{", "}", ", ",
        "path: ", "local: ", "inline: ", "contents: ", "tree", "/a", "''", "null", "mode: ", "0644", "9", "systemd: ",
        "units: ", "name: ", "device: ", "format: ", "swap", "luks: ", "clevis: ", "tang: ", "openshift: ",
        "kernel_arguments: ", "passwd: ", "users: ", "ssh_authorized_keys_local: ", "boot_device: ", "grub: ",
    ]), 0..20)) {
        let mut sources = Sources::default();
        let text = format!("{{variant: openshift, version: 4.14.0, {}}}", words.concat());
        let id = sources.add("a", text.clone());
        let mut out = Diagnostics::default();
        let _ = any(&sources, id, &Mounts::new(), Some(&Folder), &mut out);
        let node = crate::yaml::document(SourceId(0), &text);
        if let Ok(node) = node && let Some(config) = read(&node, Some(&Folder), &mut out) {
            validate(&config, &mut out);
        }
    }
}
