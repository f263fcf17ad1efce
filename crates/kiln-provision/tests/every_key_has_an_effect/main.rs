//! Every key that counts as carried out, by what it does to a machine.
//!
//! A row is four lines or more: the key; a document, in it the key's part between `«` and `»`; what is
//! looked at on the machine, see [`Run::see`]; and what is seen. The document is carried out twice, with that
//! part and without it (behind a `|` stands what takes its place): the first time exactly the expected is
//! seen, the second time it is not. So a key that is read and then forgotten fails here. The rows are
//! compared with the tables of the dialects, which the guide and the specification show: no key is in
//! them without a row.

#![expect(clippy::unwrap_used, reason = "test helpers")]

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "what else a run is made of is for other tests")]
mod common;
mod seen;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use kiln_config::elemental::{KEYS, Support};
use kiln_config::ignition::keys::State;
use seen::Run;

/// Keys that say what holds anyway, and why: what is seen is the same without them.
const ALWAYS: [(&str, &str); 6] = [
    ("a user / name", "the key of the map names the user"),
    ("a user / no_log_init", "no record of logins is made for anybody"),
    ("a cloud-init user / no_log_init", "the same"),
    ("passwd.users[].noLogInit", "the same"),
    ("`ephemeral` / type", "what is gone with the next boot is kept in memory, whatever it says"),
    ("`ntp` / ntp_client", "systemd-timesyncd is used whatever it says"),
];

/// Rows that are carried out at the same time.
const SIDE_BY_SIDE: usize = 16;

/// One key of a dialect.
struct Row {
    key: &'static str,
    text: String,
    look: &'static str,
    expected: &'static str,
}

/// The rows of a file; blocks of lines, the first of which is about the file.
fn rows(file: &'static str) -> Vec<Row> {
    let blocks = file.trim_end().split("\n\n").skip(1);
    blocks
        .map(|block| {
            let lines: Vec<&str> = block.lines().collect();
            let [key, text @ .., look, expected] = lines.as_slice() else {
                panic!("no row: {block}")
            };
            Row { key, text: text.join("\n"), look, expected }
        })
        .collect()
}

/// The document with the key's part, and without it.
fn variants(text: &str) -> (String, String) {
    let (mut with, mut without) = (String::new(), String::new());
    for (number, piece) in text.split('«').enumerate() {
        if number == 0 {
            with.push_str(piece);
            without.push_str(piece);
            continue;
        }
        let (part, rest) = piece.split_once('»').unwrap_or_else(|| panic!("no end in {text}"));
        let (part, instead) = part.split_once('|').unwrap_or((part, ""));
        with.extend([part, rest]);
        without.extend([instead, rest]);
    }
    (with, without)
}

/// What is wrong with a row; nothing where it holds.
fn fault(Row { key, text, look, expected }: &Row, carry_out: fn(&str) -> Run) -> String {
    let mut fault = String::new();
    let (with, without) = variants(text);
    let seen = carry_out(&with).see(look);
    if seen != *expected {
        writeln!(fault, "{key}: {with}\n  seen     {seen}\n  expected {expected}").unwrap();
    }
    let is_always = ALWAYS.iter().any(|(always, _)| always == key);
    let alone = carry_out(&without).see(look);
    if (alone == *expected) != is_always {
        writeln!(fault, "{key}: {without}\n  seen without it {alone}").unwrap();
    }
    fault
}

/// Carries the rows of a file out, and compares them with the keys that count as carried out.
fn check(file: &'static str, carry_out: fn(&str) -> Run, keys: BTreeSet<String>) {
    let rows = rows(file);
    // Each change is flushed to the disk; side by side they wait together.
    let share = rows.len().div_ceil(SIDE_BY_SIDE);
    let faults: String = std::thread::scope(|scope| {
        let runs: Vec<_> = rows
            .chunks(share)
            .map(|rows| scope.spawn(move || rows.iter().map(|row| fault(row, carry_out)).collect()))
            .collect();
        runs.into_iter().map(|run| -> String { run.join().unwrap() }).collect()
    });
    assert!(faults.is_empty(), "{faults}");
    let found: BTreeSet<_> = rows.iter().map(|row| row.key.to_owned()).collect();
    assert_eq!(found.len(), rows.len(), "a key has two rows");
    let missing: Vec<_> = keys.difference(&found).collect();
    assert!(missing.is_empty(), "no row has {missing:?}");
    let unknown: Vec<_> = found.difference(&keys).collect();
    assert!(unknown.is_empty(), "the table of keys has no {unknown:?}");
}

#[test]
fn every_key_of_a_cloud_config_has_an_effect() {
    let carried_out = KEYS.iter().filter(|key| key.support == Support::CarriedOut);
    let keys = carried_out.map(|key| format!("{} / {}", key.place, key.key)).collect();
    check(include_str!("elemental.txt"), Run::cloud_config, keys);
}

#[test]
fn every_key_of_ignition_has_an_effect() {
    let keys = kiln_config::ignition::KEYS.iter();
    let carried_out = keys.filter(|key| key.state == State::CarriedOut);
    let keys = carried_out.map(|key| key.path.to_owned()).collect();
    check(include_str!("ignition.txt"), Run::ignition, keys);
}

#[test]
fn every_section_of_a_provision_document_has_an_effect() {
    let schema: serde_json::Value =
        serde_json::from_str(&kiln_config::provision::schema()).unwrap();
    let sections = schema["properties"].as_object().unwrap().keys().cloned();
    let is_header = |key: &String| ["apiVersion", "kind", "metadata"].contains(&key.as_str());
    let keys = sections.filter(|key| !is_header(key)).collect();
    check(include_str!("provision.txt"), Run::provision, keys);
}

#[test]
fn every_stage_runs_in_its_three_rounds_and_only_there() {
    let moments = ["pre-rootfs", "rootfs", "initramfs", "fs", "boot", "network", "reconcile"];
    let hooks = ["install", "upgrade", "reset", "install-chroot", "upgrade-chroot", "reset-chroot"];
    let hooks = hooks.iter().flat_map(|name| [format!("before-{name}"), format!("after-{name}")]);
    let names: Vec<String> = moments.map(str::to_owned).into_iter().chain(hooks).collect();
    let mut text = String::from("stages:\n");
    // The last round comes first in the text: the order is that of the rounds.
    for name in &names {
        for round in [".after", "", ".before"] {
            writeln!(text, "  {name}{round}: [{{commands: ['{name}{round}']}}]").unwrap();
        }
    }
    for name in &names {
        let run = Run::stages(&text, &[name.as_str()]);
        let expected = format!("sh -c {name}.before; sh -c {name}; sh -c {name}.after");
        assert_eq!(run.see("calls"), expected);
        let last = format!("{name}.after");
        assert_eq!(Run::stages(&text, &[&last]).see("calls"), format!("sh -c {last}"));
    }
}
