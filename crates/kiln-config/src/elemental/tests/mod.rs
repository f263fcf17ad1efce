//! Tables over whole documents: keys, stages, forks, faults.

mod tables;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use proptest::prelude::{ProptestConfig, any, prop, proptest};
use serde_json::Value;

use super::{Fork, KEYS, Scope, Support, command_line, is_cloud_config, lower_in, read, stages};
use crate::diagnostic::Diagnostics;
use crate::operation::Plan;
use crate::source::Sources;
use crate::yaml;
use tables::{DOCUMENTS, STEPS};

fn run(text: &str, fork: Fork) -> (Plan, Diagnostics) {
    let mut sources = Sources::default();
    let id = sources.add("a.yaml", text);
    let mut out = Diagnostics::default();
    let plan = read(&sources, id, 0, fork, &mut out);
    (plan, out)
}

fn codes(out: &Diagnostics) -> String {
    out.list().iter().map(|one| one.code).collect::<Vec<_>>().join(" ")
}

/// The actions of a plan as JSON without what is absent and without quotes, one behind the other.
fn actions(plan: &Plan) -> String {
    let mut shown = String::new();
    for operation in &plan.operations {
        let conditions = short(serde_json::to_value(&operation.conditions).unwrap());
        if !conditions.is_null() {
            write!(shown, "if {conditions} ").unwrap();
        }
        let action = short(serde_json::to_value(&operation.action).unwrap());
        write!(shown, "{action};").unwrap();
    }
    shown.replace('"', "")
}

fn short(value: Value) -> Value {
    match value {
        Value::Object(mut map) if map.len() == 1 && map.contains_key("plain") => {
            map.remove("plain").map_or(Value::Null, short)
        }
        Value::Object(map) => {
            let map: serde_json::Map<_, _> = map
                .into_iter()
                .map(|(key, value)| match value {
                    Value::Array(bytes) if key == "bytes" => {
                        let bytes: Vec<u8> = bytes
                            .iter()
                            .filter_map(|byte| u8::try_from(byte.as_u64()?).ok())
                            .collect();
                        (key, Value::String(String::from_utf8_lossy(&bytes).into_owned()))
                    }
                    value => (key, short(value)),
                })
                .filter(|(_, value)| !value.is_null() && *value != Value::Bool(false))
                .collect();
            if map.is_empty() { Value::Null } else { map.into() }
        }
        Value::Array(list) if list.is_empty() => Value::Null,
        Value::Array(list) => Value::Array(list.into_iter().map(short).collect()),
        other => other,
    }
}

#[test]
fn every_key_has_its_effect() {
    let mut scope = Scope::new(Fork::Yip);
    let steps = STEPS
        .iter()
        .map(|(step, actions, said)| (format!("stages: {{boot: [{step}]}}\n"), *actions, *said));
    let documents =
        DOCUMENTS.iter().map(|(text, actions, said)| ((*text).to_owned(), *actions, *said));
    let mut faults = String::new();
    for (text, expected, said) in steps.chain(documents) {
        let mut sources = Sources::default();
        let id = sources.add("a.yaml", text.clone());
        let mut out = Diagnostics::default();
        let node = yaml::document(id, &text).unwrap();
        super::fork_of(&node, Fork::Yip, &mut out);
        let plan = lower_in(&mut scope, &node, is_cloud_config(&text), 0, &mut out);
        if (actions(&plan).as_str(), codes(&out).as_str()) != (expected, said) {
            let shown = actions(&plan);
            writeln!(faults, "{text}     {shown}\nnot  {expected}\nsaid {}", codes(&out)).unwrap();
        }
    }
    assert!(faults.is_empty(), "{faults}");
    // A key counts as carried out only if a row has it.
    let stood = scope.stood.borrow();
    let missing: Vec<_> = KEYS
        .iter()
        .filter(|row| row.support == Support::CarriedOut)
        .map(|row| (row.place, row.key.to_owned()))
        .filter(|key| !stood.contains(key))
        .collect();
    assert!(missing.is_empty(), "no row has {missing:?}");
}

#[test]
fn the_table_of_keys_is_what_the_reader_asks_for() {
    let text = "#cloud-config\nusers: [{}]\nwrite_files: [{}]\nchpasswd: {users: [{}]}\nntp: {}\n\
        growpart: {}\nmount: {ephemeral: {}, persistent: {volume: {}}, extra-volumes: [{}]}\n\
        stages:\n  boot:\n  - after: [{}]\n    if_files: {}\n    dns: {}\n    downloads: [{}]\n\
        \x20   git: {auth: {}}\n    ensure_entities: [{}]\n    directories: [{}]\n    files: [{}]\n\
        \x20   users: {joe: {}}\n    systemctl: {overrides: [{}]}\n    datasource: {}\n\
        \x20   layout: {device: {}, expand_partition: {}, add_partitions: [{}]}\n\
        \x20   unpack_images: [{}]\n";
    let mut sources = Sources::default();
    let id = sources.add("a.yaml", text);
    let mut scope = Scope::new(Fork::Toolkit);
    let node = yaml::document(id, text).unwrap();
    lower_in(&mut scope, &node, true, 0, &mut Diagnostics::default());
    let table: BTreeSet<_> = KEYS.iter().map(|row| (row.place, row.key)).collect();
    assert_eq!(table.len(), KEYS.len(), "a key stands in the table twice");
    assert_eq!(*scope.asked.borrow(), table);
}

#[test]
fn the_guide_shows_the_table_of_keys() {
    let mut expected = String::new();
    let mut place = "";
    for row in KEYS {
        if row.place != place {
            place = row.place;
            write!(expected, "\n**In {place}**\n\n| key | here | |\n|---|---|---|\n").unwrap();
        }
        let here = match (row.support, row.toolkit) {
            (Support::CarriedOut, true) => "carried out",
            (Support::CarriedOut, false) => "carried out (yip)",
            (Support::Refused, _) => "refused",
            (Support::Ignored, _) => "ignored",
        };
        writeln!(expected, "| `{}` | {here} | {} |", row.key, row.remark).unwrap();
    }
    let guide = include_str!("../../../../../docs/configuration-elemental.md");
    let shown = guide
        .split_once("<!-- keys -->\n")
        .and_then(|(_, rest)| rest.split_once("\n<!-- end of keys -->"))
        .map(|(table, _)| table.trim());
    assert!(shown == Some(expected.trim()), "the table has to be:\n{expected}");
}

#[test]
fn every_stage_is_known_with_its_three_rounds() {
    let names = stages::names();
    assert_eq!(names.len(), 7 + 25);
    for name in &names {
        for round in ["", ".before", ".after"] {
            let text = format!("stages:\n  {name}{round}:\n  - commands: [a]\n");
            let (plan, out) = run(&text, Fork::Toolkit);
            assert_eq!(codes(&out), "", "{name}");
            assert_eq!(plan.operations[0].stage.to_string(), format!("{name}{round}"));
        }
    }
    let text = "stages: {netwrok: [{commands: [a]}], mine: [{commands: [b]}]}\n";
    let (plan, out) = run(text, Fork::Toolkit);
    assert_eq!((plan.operations.len(), codes(&out).as_str()), (2, "unknown-stage unknown-stage"));
    assert_eq!(out.list()[0].hint.as_deref(), Some("did you mean `network`?"));
}

#[test]
fn actions_of_a_step_come_in_the_fixed_order() {
    // Written the other way round.
    let step = "unpack_images: [{source: a, target: /t}]\n    layout: {device: {path: /dev/x}}\n    \
        datasource: {providers: [aws]}\n    systemd_firstboot: {locale: C}\n    environment: {A: b}\n    \
        systemctl: {start: [s]}\n    timesyncd: {NTP: a}\n    modules: [m]\n    \
        authorized_keys: {a: [ssh-rsa A]}\n    users: {a: {}}\n    sysctl: {a.b: 1}\n    hostname: h\n    \
        delete_entities: [{entity: '{kind: user, username: x}'}]\n    commands: [c]\n    \
        files: [{path: /f}]\n    directories: [{path: /d}]\n    \
        ensure_entities: [{entity: '{kind: user, username: x}'}]\n    git: {url: u, path: /g}\n    \
        downloads: [{path: /d, url: 'https://example.com/a'}]\n    dns: {nameservers: [a]}\n";
    let (plan, out) = run(&format!("stages:\n  boot:\n  - {step}"), Fork::Yip);
    assert_eq!(codes(&out), "");
    let order: Vec<String> = plan
        .operations
        .iter()
        .map(|operation| {
            let value = serde_json::to_value(&operation.action).unwrap();
            value.as_object().unwrap().keys().next().unwrap().clone()
        })
        .collect();
    let expected = "dns file git entity directory file command entity hostname sysctl user \
        authorized-keys module timesyncd systemctl environment systemd-firstboot datasource layout \
        unpack-image";
    assert_eq!(order.join(" "), expected);
    assert!(plan.operations.is_sorted_by_key(|operation| operation.rank));
}

#[test]
fn after_orders_the_steps_of_a_stage() {
    // Each word is a step: its name, and behind the colon the steps for which it waits.
    for (steps, expected, said) in [
        ("a b c", "a b c", ""),
        ("a b:c c", "a c b", ""),
        ("a b:d c:a d", "a c d b", ""),
        ("a:c b:a c", "c a b", ""),
        ("a:n.b b", "b a", ""),
        ("a:x b", "a b", "unknown-step"),
        ("a:a b", "a b", "unknown-step"),
        ("a:b b:a c", "c a b", "circular-steps"),
        ("a:b+c b c", "b c a", ""),
        ("s s:t t", "s t s", ""),
        ("a:s.2 s s", "s s a", ""),
    ] {
        let mut text = "name: n\nstages:\n  boot:\n".to_owned();
        for step in steps.split(' ') {
            let (name, after) = step.split_once(':').unwrap_or((step, ""));
            write!(text, "  - name: {name}\n    commands: [x]\n").unwrap();
            if !after.is_empty() {
                let after: Vec<_> =
                    after.split('+').map(|one| format!("{{name: {one}}}")).collect();
                writeln!(text, "    after: [{}]", after.join(", ")).unwrap();
            }
        }
        let (plan, out) = run(&text, Fork::Toolkit);
        let order: Vec<_> =
            plan.operations.iter().filter_map(|operation| operation.name.as_deref()).collect();
        assert_eq!((order.join(" ").as_str(), codes(&out).as_str()), (expected, said), "{steps}");
        let numbers: Vec<u32> = plan.operations.iter().map(|operation| operation.step).collect();
        assert!(numbers.iter().zip(0..).all(|(number, place)| *number == place), "{numbers:?}");
    }
}

#[test]
fn the_documents_name_stands_in_front_of_its_steps_names() {
    // The document's name, what the first step waits for, whether that is the second step, and what is
    // said; under both forks, which agree on it.
    for (name, wanted, waits, said) in [
        ("n", "b", true, ""),
        ("n", "n.b", true, ""),
        ("n", "n.b.1", true, ""),
        ("n", "m.b", false, "unknown-step"),
        ("n", "m.n.b", false, "unknown-step"),
        ("n", ".b", false, "unknown-step"),
        ("n", "nb", false, "unknown-step"),
        ("a.b", "a.b.b", true, ""),
        ("a.b", "a.b", false, "unknown-step"),
        // It is called by its path, which it has on a machine only.
        ("", "b", true, ""),
        ("", "/oem/90_custom.yaml.b", true, ""),
        ("", "/oem/90_custom.yaml.c", false, "unknown-step"),
    ] {
        for fork in [Fork::Toolkit, Fork::Yip] {
            let text = format!(
                "name: '{name}'\nstages:\n  boot:\n  - {{name: a, commands: [one], after: [{{name: \
                 '{wanted}'}}]}}\n  - {{name: b, commands: [two]}}\n"
            );
            let (plan, out) = run(&text, fork);
            let order: Vec<_> = plan.operations.iter().map(|one| one.name.as_deref()).collect();
            let expected = if waits { ["b", "a"] } else { ["a", "b"] };
            assert_eq!(order, expected.map(Some), "{name} {wanted} {fork:?}");
            assert_eq!(codes(&out), said, "{name} {wanted} {fork:?}");
            let hints = out.list().iter().filter_map(|one| one.hint.as_deref());
            let names = hints.filter(|hint| !name.is_empty() && !hint.contains(name)).count();
            assert_eq!(names, 0, "{name} {wanted}: {:?}", out.list());
        }
    }
}

#[test]
fn the_forks_differ_where_it_is_written() {
    // A step (or a document with the header), its actions and what is said under the toolkit's rules,
    // and its actions under yip's, where they differ.
    let plain = "{hostname:h};";
    let conditional = |condition: &str| format!("if [{condition}] {plain}");
    let rows: Vec<(&str, String, &str, Option<&str>)> = vec![
        // The default file system, the order of adding and growing, and what counts as there.
        (
            "{layout: {device: {path: /dev/x}, add_partitions: [{fsLabel: A, pLabel: a}]}}",
            "{layout:{add:[{format:ext4,fs_label:A,p_label:a,size_mib:0}],path:/dev/x}};".into(),
            "",
            Some(
                "{layout:{add:[{format:ext2,fs_label:A,p_label:a,size_mib:0}],add_first:true,path:/dev/x}};",
            ),
        ),
        // What has to be named so that a partition is added once.
        (
            "{layout: {device: {path: /dev/x}, add_partitions: [{pLabel: a}]}}",
            "{layout:{add:[{format:ext4,p_label:a,size_mib:0}],path:/dev/x}};".into(),
            "not-repeatable",
            Some("{layout:{add:[{format:ext2,p_label:a,size_mib:0}],add_first:true,path:/dev/x}};"),
        ),
        // What finds the disk.
        (
            "{layout: {device: {path: /dev/x, label: L}}}",
            "{layout:{label:L}};".into(),
            "ignored-key",
            Some("{layout:{add_first:true,path:/dev/x}};"),
        ),
        // When keys are fetched.
        (
            "#cloud-config\nssh_authorized_keys: ['github:a', ssh-rsa A]\n",
            "{authorized-keys:{file:authorized_keys,keys:[github:a,ssh-rsa A],user:root}};".into(),
            "",
            Some(
                "{authorized-keys:{file:authorized_keys,keys:[ssh-rsa A],user:root}};{authorized-keys:{file:authorized_keys,keys:[github:a],user:root}};",
            ),
        ),
        // Keys that the toolkit does not know.
        ("{only_os: a, hostname: h}", conditional("{fact:[os,a]}"), "yip-key", None),
        (
            "{only_os_version: a, hostname: h}",
            conditional("{fact:[os-version,a]}"),
            "yip-key",
            None,
        ),
        ("{only_arch: a, hostname: h}", conditional("{fact:[architecture,a]}"), "yip-key", None),
        (
            "{only_service_manager: openrc, hostname: h}",
            conditional("{fact:[service-manager,^openrc$]}"),
            "yip-key",
            None,
        ),
        (
            "{if_files: {all: [/a]}, hostname: h}",
            conditional("{files:[all,[/a]]}"),
            "yip-key",
            None,
        ),
        ("{git: {url: u, path: /p}}", "{git:{path:/p,url:u}};".into(), "yip-key", None),
        ("{modules: [m]}", "{module:{name:m,value:}};".into(), "yip-key", None),
        (
            "{systemctl: {overrides: [{service: s, content: c}]}}",
            "{unit:{dropins:[[override-yip.conf,c]],name:s.service}};".into(),
            "yip-key",
            None,
        ),
        (
            "{datasource: {providers: [aws], userdata_name: u}}",
            "{datasource:{providers:[aws],userdata_name:u}};".into(),
            "yip-key",
            None,
        ),
        (
            "{unpack_images: [{source: s, target: /t}]}",
            "{unpack-image:{source:s,target:/t}};".into(),
            "yip-key",
            None,
        ),
        (
            "{packages: {}, package_pins: {}}",
            String::new(),
            "packages-refused packages-refused",
            None,
        ),
    ];
    for (text, toolkit, said, yip) in rows {
        let yip = yip.unwrap_or(&toolkit).to_owned();
        let document = match text.starts_with('#') {
            true => text.to_owned(),
            false => format!("stages: {{boot: [{text}]}}\n"),
        };
        let (plan, out) = run(&document, Fork::Toolkit);
        assert_eq!((actions(&plan), codes(&out).as_str()), (toolkit, said), "{text}");
        assert_eq!(actions(&run(&document, Fork::Yip).0), yip, "{text}");
        let chosen = format!("{document}dialect: yip\n");
        let (plan, out) = run(&chosen, Fork::Toolkit);
        assert_eq!(actions(&plan), yip, "{text}");
        assert!(!codes(&out).contains("yip-key"), "{text}");
    }
}

#[test]
fn a_fault_never_takes_another_step_with_it() {
    let text = "stages:\n  boot:\n  - commands: [one]\n  - files: 5\n  - commands: [two]\n  - text\n  \
        - users: {a: [x]}\n    commands: [three]\n  - commands: {a: b}\n  - commands: [four]\n  \
        network: {}\n  fs:\n  - commands: [five]\n";
    let (plan, out) = run(text, Fork::Toolkit);
    let shown = actions(&plan).replace("{command:{script:", "").replace("}};", " ");
    assert_eq!(shown.trim_end(), "five one two three four");
    assert_eq!(codes(&out), ["wrong-type"; 5].join(" "));
    let (plan, out) = run("stages:\n  boot: [\n", Fork::Toolkit);
    assert_eq!((plan.operations.len(), codes(&out).as_str()), (0, "syntax"));
}

#[test]
fn the_header_is_found_behind_comments_only() {
    for (text, expected) in [
        ("#cloud-config\n", true),
        ("#cloud-config  \r\nx: 1\n", true),
        ("## template: jinja\n\n#cloud-config\n", true),
        ("# cloud-config\n", false),
        ("x: 1\n#cloud-config\n", false),
        ("\n\n\n\n\n\n\n\n\n\n#cloud-config\n", false),
        ("", false),
    ] {
        assert_eq!(is_cloud_config(text), expected, "{text:?}");
    }
}

/// Values of every kind, for keys that expect another.
const VALUES: [&str; 10] = [
    "~",
    "[]",
    "{}",
    "[~, {}, [x], -1]",
    "{a: {b: c}}",
    "'{{'",
    "ä",
    "99999999999999999999",
    "[[[]]]",
    "{paths: ['/', /a], users: {x: ~}}",
];

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_stands_under_a_key_is_read_without_a_panic(
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..9),
        yip in any::<bool>(),
    ) {
        let mut text = "#cloud-config\n".to_owned();
        let mut step = "stages:\n  rootfs:\n  - name: x\n".to_owned();
        for (key, value) in &picks {
            let (row, value) = (key.get(KEYS), value.get(&VALUES));
            match row.place {
                "a cloud-config" => writeln!(text, "{}: {value}", row.key).unwrap(),
                "a file" => writeln!(step, "    files: [{{path: /a, {}: {value}}}]", row.key).unwrap(),
                "a user" => writeln!(step, "    users: {{a: {{{}: {value}}}}}", row.key).unwrap(),
                _ => writeln!(step, "    {}: {value}", row.key).unwrap(),
            }
        }
        let fork = if yip { Fork::Yip } else { Fork::Toolkit };
        let _ = run(&format!("{text}{step}"), fork);
    }

    #[test]
    fn any_command_line_is_read_without_a_panic(
        text in "(stages|\\[|\\]|\\.|boot|0|=|\"|'|\\\\| |ä|commands){0,40}",
    ) {
        let mut sources = Sources::default();
        let id = sources.add("kernel command line", text);
        let _ = command_line(&sources, id, 0, Fork::Toolkit, &mut Diagnostics::default());
    }
}
