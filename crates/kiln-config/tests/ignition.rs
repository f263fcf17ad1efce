//! The rules of the Ignition spec as tables: one row, one config, all that is said about it and where.
//!
//! The rows are data (`tests/ignition/*.json`), so that whoever knows the spec can check them without
//! reading Rust. In their texts `'` stands for `"`, and `«…»` marks places, counted from 1; an expectation
//! is `SEVERITY CODE PLACE [LABEL…]`. A row holds if exactly what it expects is said, at exactly these
//! places; so a row with a wrong expectation fails, which the last test proves for each of them.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::collections::BTreeMap;

use kiln_config::ignition::{self, Config, nested, read};
use kiln_config::{Diagnostics, Severity, SourceId, Sources, Span};
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    /// Wraps `text` in a config of this version.
    version: Option<String>,
    text: String,
    /// The config that `text` is merged into.
    parent: Option<String>,
    /// What can be fetched, by URL.
    #[serde(default)]
    remote: BTreeMap<String, String>,
    #[serde(default)]
    expect: Vec<String>,
    /// The config that merging has to give.
    merged: Option<String>,
    /// The operations that lowering has to give: rank and action.
    plan: Option<Vec<(String, Value)>>,
    /// Part of a hint that has to be given.
    hint: Option<String>,
}

fn rows(file: &str) -> Vec<Row> {
    let path = format!("{}/tests/ignition/{file}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).expect(&path)
}

/// The documents of a row, and the places that are marked in them.
#[derive(Default)]
struct Documents {
    sources: Sources,
    marks: Vec<Span>,
}

impl Documents {
    fn add(&mut self, name: &str, marked: &str, version: Option<&str>) -> SourceId {
        let marked = match version {
            Some(version) if marked.is_empty() => {
                format!("{{'ignition': {{'version': '{version}'}}}}")
            }
            Some(version) => format!("{{'ignition': {{'version': '{version}'}}, {marked}}}"),
            None => marked.to_owned(),
        };
        let id = SourceId(u32::try_from(self.sources.iter().count()).unwrap());
        let (mut text, mut open) = (String::new(), Vec::new());
        for letter in marked.chars() {
            match letter {
                '«' => {
                    open.push((self.marks.len(), text.len()));
                    self.marks.push(Span::default());
                }
                '»' => {
                    let (mark, start) = open.pop().expect("a mark ends that never began");
                    self.marks[mark] = Span::new(id, start, text.len());
                }
                '\'' => text.push('"'),
                letter => text.push(letter),
            }
        }
        assert!(open.is_empty(), "a mark never ends in {marked}");
        self.sources.add(name, text)
    }

    /// A place by its number; one that nobody marked shows as its text.
    fn mark(&self, span: Span) -> String {
        match self.marks.iter().position(|mark| *mark == span) {
            Some(place) => (place + 1).to_string(),
            None => format!("?{}:{}", self.sources.place(span), self.sources.text(span)),
        }
    }
}

/// What is said, in the notation of the rows.
fn said(documents: &Documents, out: &Diagnostics) -> Vec<String> {
    let mut said: Vec<String> = out
        .list()
        .iter()
        .map(|one| {
            let severity = match one.severity {
                Severity::Error => "E",
                Severity::Warning => "W",
                Severity::Note => "N",
            };
            let mut text = format!("{severity} {}", one.code);
            for span in one.span.into_iter().chain(one.labels.iter().map(|label| label.span)) {
                text.push(' ');
                text.push_str(&documents.mark(span));
            }
            text
        })
        .collect();
    said.sort();
    said
}

/// Carries a row out; the text of the error says what differs.
fn check(row: &Row) -> Result<(), String> {
    let mut documents = Documents::default();
    let mut out = Diagnostics::default();
    let version = row.version.as_deref();
    let mut fetched = BTreeMap::new();
    for (url, text) in &row.remote {
        // Added for the marks in it; the run itself adds it again when it is fetched.
        let id = documents.add(url, text, None);
        fetched.insert(url.clone(), (id, documents.sources.get(id).unwrap().text.clone()));
    }
    let parent = row.parent.as_ref().map(|text| {
        let id = documents.add("parent", text, version);
        read::text(&documents.sources, id, &mut out).expect("a parent that is read")
    });
    let id = documents.add("text", &row.text, version);
    let mut config = read::text(&documents.sources, id, &mut out);
    if let (Some(parent), Some(child)) = (parent, config.clone()) {
        config = Some(ignition::merge(parent, child, &mut out));
    } else if let Some(read) = config.take_if(|_| !row.remote.is_empty()) {
        config = resolved(read, &documents, &fetched, &mut out);
    } else if let Some(read) = &config {
        ignition::validate(read, &mut out);
    }
    let plan = match (&row.plan, &config) {
        (Some(_), Some(config)) => Some(ignition::lower(config, 3, &mut out)),
        _ => None,
    };
    let mut expected = row.expect.clone();
    expected.sort();
    let found = said(&documents, &out);
    if found != expected {
        return Err(format!("{}: expected {expected:?}, found {found:?}", row.name));
    }
    if let Some(hint) = &row.hint
        && !out.list().iter().any(|one| one.hint.as_ref().is_some_and(|text| text.contains(hint)))
    {
        return Err(format!("{}: no hint has `{hint}`", row.name));
    }
    if let Some(merged) = &row.merged {
        let id = documents.add("merged", merged, version);
        let expected = read::text(&documents.sources, id, &mut Diagnostics::default());
        let (found, expected) = (bare(&config), bare(&expected));
        if found != expected {
            return Err(format!("{}: expected {expected}, found {found}", row.name));
        }
    }
    if let (Some(expected), Some(plan)) = (&row.plan, plan) {
        let found: Vec<(String, Value)> = plan
            .operations
            .iter()
            .map(|operation| {
                assert_eq!((operation.document, operation.step), (3, 0), "{}", row.name);
                let rank = RANKS.get(operation.rank as usize).expect("a known rank");
                ((*rank).to_owned(), compact(serde_json::to_value(&operation.action).unwrap()))
            })
            .collect();
        let expected: Vec<(String, Value)> = expected.clone();
        if found != expected {
            let show = |list: &[(String, Value)]| serde_json::to_string(list).unwrap();
            return Err(format!(
                "{}: expected\n{}\nfound\n{}",
                row.name,
                show(&expected),
                show(&found)
            ));
        }
    }
    Ok(())
}

const RANKS: [&str; 12] = [
    "kernel-arguments",
    "disk",
    "raid",
    "luks",
    "filesystem",
    "group",
    "user",
    "absent-group",
    "keys",
    "entry",
    "hard-link",
    "unit",
];

fn resolved(
    config: Config,
    documents: &Documents,
    fetched: &BTreeMap<String, (SourceId, String)>,
    out: &mut Diagnostics,
) -> Option<Config> {
    let mut sources = documents.sources.clone();
    let mut reader = |sources: &Sources, id: SourceId, out: &mut Diagnostics| {
        // Marks belong to the copy that was read for them.
        let name = sources.get(id).map(|source| source.name.clone()).unwrap_or_default();
        let own = fetched.iter().find(|(url, _)| ignition::url::shown(url) == name);
        read::text(sources, own.map_or(id, |(_, (own, _))| *own), out)
    };
    let mut fetch = |resource: &ignition::config::Resource,
                     settings: &ignition::config::Ignition| {
        let url = &resource.source.as_ref().unwrap().value;
        // A server that wants a certificate asks whether the settings in force have one.
        if url.contains("needs-authority") && settings.certificate_authorities.is_empty() {
            return Err("unknown authority".to_owned());
        }
        fetched.get(url).map(|(_, text)| text.clone().into_bytes()).ok_or("not there".to_owned())
    };
    nested::resolve(config, &mut sources, &mut reader, &mut fetch, out)
}

/// A tree without its places, and without what is not there.
fn bare(config: &Option<Config>) -> Value {
    fn strip(value: Value) -> Value {
        match value {
            Value::Object(mut map) => {
                map.remove("span");
                if map.len() == 1 && map.contains_key("value") {
                    return map.remove("value").unwrap();
                }
                map.into_iter().map(|(key, value)| (key, strip(value))).collect()
            }
            Value::Array(list) => list.into_iter().map(strip).collect(),
            other => other,
        }
    }
    strip(serde_json::to_value(config).unwrap())
}

/// An action without what is not there; bytes that are text as text.
fn compact(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key, compact(value)))
            .filter(|(key, value)| {
                // A unit that is disabled is another than one that is left alone.
                let is_default = *value == Value::Bool(false) && key != "enabled" && key != "mask";
                !(value.is_null() || is_default)
                    && value.as_array().is_none_or(|list| !list.is_empty())
                    && value.as_object().is_none_or(|map| !map.is_empty())
            })
            .map(|(key, value)| match (key.as_str(), &value) {
                ("bytes", Value::Array(list)) => {
                    let bytes: Vec<u8> = list
                        .iter()
                        .map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap())
                        .collect();
                    (key, Value::String(String::from_utf8(bytes).unwrap()))
                }
                _ => (key, value),
            })
            .collect(),
        Value::Array(list) => list.into_iter().map(compact).collect(),
        other => other,
    }
}

const FILES: [&str; 8] =
    ["wrong-type", "versions", "schemes", "unknown-keys", "rules", "merge", "nested", "lower"];

fn holds(file: &str, least: usize) {
    let rows = rows(file);
    assert!(rows.len() >= least, "{file} has {} rows", rows.len());
    let faults: Vec<String> = rows.iter().filter_map(|row| check(row).err()).collect();
    assert!(faults.is_empty(), "{} of {} rows:\n{}", faults.len(), rows.len(), faults.join("\n"));
}

#[test]
fn a_value_of_the_wrong_kind_is_an_error_at_its_place() {
    holds("wrong-type", 400);
}

#[test]
fn a_key_is_known_from_its_version_on() {
    holds("versions", 200);
}

#[test]
fn a_scheme_is_known_from_its_version_on() {
    holds("schemes", 60);
}

#[test]
fn an_unknown_key_is_ignored_with_a_warning() {
    holds("unknown-keys", 30);
}

#[test]
fn every_rule_of_the_spec_holds_at_its_boundaries() {
    holds("rules", 200);
}

#[test]
fn a_child_wins_over_its_parent_by_the_rules_of_each_list() {
    holds("merge", 80);
}

#[test]
fn configs_that_name_others_are_read_depth_first_and_bounded() {
    holds("nested", 20);
}

#[test]
fn a_config_is_lowered_to_the_operations_that_carry_it_out() {
    holds("lower", 60);
}

#[test]
fn each_row_fails_if_it_expects_anything_else() {
    let mut count = 0;
    for file in FILES {
        for row in rows(file) {
            count += 1;
            let mut more = row.clone();
            more.expect.push("E no-such-code 1".to_owned());
            check(&more).expect_err(&row.name);
            if !row.expect.is_empty() {
                let mut less = row.clone();
                less.expect.pop();
                check(&less).expect_err(&row.name);
            }
            if let Some(plan) = &row.plan {
                let mut other = row.clone();
                let mut plan = plan.clone();
                plan.push(("unit".to_owned(), Value::Null));
                other.plan = Some(plan);
                check(&other).expect_err(&row.name);
            }
            if row.merged.is_some() {
                let mut other = row.clone();
                other.merged =
                    Some("'systemd': {'units': [{'name': 'no-such.service'}]}".to_owned());
                other.version = Some(row.version.clone().unwrap_or_else(|| "3.6.0".to_owned()));
                if row.version.is_some() {
                    check(&other).expect_err(&row.name);
                }
            }
        }
    }
    assert!(count >= 1_000, "{count} rows");
}
