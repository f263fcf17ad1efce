//! Files of users as they have them on disk: the whole plan and all that is said, as text.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::fmt::Write as _;

use kiln_config::elemental::{Fork, read};
use kiln_config::{Diagnostics, Severity, Sources};
use serde_json::Value;

/// The plan and the diagnostics of a document, one line for each.
fn show(name: &str, text: &str) -> String {
    let mut sources = Sources::default();
    let id = sources.add(name, text);
    let mut out = Diagnostics::default();
    let plan = read(&sources, id, 0, Fork::Toolkit, &mut out);
    out.sort();
    let mut shown = String::new();
    for operation in &plan.operations {
        let action = short(serde_json::to_value(&operation.action).unwrap());
        let conditions = short(serde_json::to_value(&operation.conditions).unwrap());
        let line = sources.place(operation.origin).line;
        let name = operation.name.as_deref().unwrap_or("-");
        write!(shown, "{} {} [{name}] line {line}: ", operation.stage, operation.step).unwrap();
        if !conditions.is_null() {
            write!(shown, "if {conditions}: ").unwrap();
        }
        writeln!(shown, "{action}").unwrap();
    }
    for one in out.list() {
        let place = one.span.map(|span| sources.place(span).to_string()).unwrap_or_default();
        let severity = match one.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        writeln!(shown, "{severity} {place} {}: {}", one.code, one.message).unwrap();
    }
    shown
}

/// A value without what is absent or by default, bytes as text.
fn short(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| match value {
                Value::Array(bytes) if key == "bytes" => {
                    let bytes: Vec<u8> =
                        bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
                    (key, Value::String(String::from_utf8_lossy(&bytes).into_owned()))
                }
                value => (key, short(value)),
            })
            .filter(|(_, value)| !value.is_null() && *value != Value::Bool(false))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(list) if list.is_empty() => Value::Null,
        Value::Array(list) => Value::Array(list.into_iter().map(short).collect()),
        other => other,
    }
}

#[test]
fn elemental_files_of_users_give_the_plan_that_they_mean() {
    for (name, text, expected) in [
        (
            "cloud-init.yaml",
            include_str!("fixtures/elemental/cloud-init.yaml"),
            include_str!("fixtures/elemental/cloud-init.plan"),
        ),
        (
            "userdata.yaml",
            include_str!("fixtures/elemental/userdata.yaml"),
            include_str!("fixtures/elemental/userdata.plan"),
        ),
    ] {
        let shown = show(name, text);
        assert_eq!(shown, expected, "{name} gives:\n{shown}");
    }
}
