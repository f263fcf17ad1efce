//! `kiln explain`: what a machine will do with its configuration, in order, and where each step comes from.

use std::io::Read as _;
use std::process::ExitCode;

use clap::Args;
use kiln_config::action::{Action, Contents, Source};
use kiln_config::check::Checked;
use kiln_config::operation::{Condition, Exists, Operation, Text};
use kiln_config::source::MAXIMUM_BYTES;
use kiln_config::{mask, provision};
use serde_json::{Value, json};

use crate::commands::validate;
use crate::exit;
use crate::options::documents::DocumentArguments;
use crate::render::{self, Failure};
use crate::snippet::clean;

const EXAMPLES: &str = "\
Examples:
  kiln explain cloud-config.yaml
  kiln explain config.ign --show /etc/chrony.conf
  kiln explain base.ign site.yaml --json
  kiln explain cloud-config.yaml --provision > provision.yaml

Exit codes: 0 done, 1 a document has an error or writes no such file, 2 wrong usage.";

/// Characters of a value that are shown in a line.
const WIDTH: usize = 60;

/// Show what a machine will do with its configuration
///
/// Prints the operations of all documents in the order in which they are carried out, stage by stage,
/// each with the file and the line that asks for it. Passwords, hashes, tokens and keys are hidden.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExplainArguments {
    #[command(flatten)]
    documents: DocumentArguments,
    /// Print the decoded contents of this file instead
    #[arg(long, value_name = "PATH")]
    show: Option<String>,
    /// Print the operations as JSON
    #[arg(long, conflicts_with = "show")]
    json: bool,
    /// Print all of it as one document of Kiln's own YAML, secrets included
    #[arg(long, conflicts_with_all = ["show", "json"])]
    provision: bool,
}

pub(crate) fn run(arguments: &ExplainArguments, quiet: bool) -> Result<ExitCode, Failure> {
    let checked = arguments.documents.check()?;
    if !quiet || checked.diagnostics.has_errors() {
        let said = validate::text(&checked, render::is_coloured());
        if !said.is_empty() {
            render::message(said.trim_end());
        }
    }
    if checked.diagnostics.has_errors() {
        return Ok(ExitCode::from(exit::FAILED));
    }
    if let Some(path) = &arguments.show {
        show(&checked, path)?;
    } else if arguments.provision {
        render::data(&provision::write(&checked.plan))?;
    } else if arguments.json {
        render::json(&as_json(&checked))?;
    } else {
        render::data(&text(&checked))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The operation without its secrets.
fn masked(operation: &Operation) -> Operation {
    Operation { action: mask::masked(&operation.action), ..operation.clone() }
}

fn as_json(checked: &Checked) -> Value {
    let operations = checked.plan.operations.iter().map(|operation| {
        let mut value = provision::describe(&masked(operation));
        if let Some(map) = value.as_object_mut() {
            let place = checked.sources.place(operation.origin);
            // Full names for programs, also where the YAML would leave them out.
            map.insert("stage".into(), operation.stage.to_string().into());
            map.insert("origin".into(), json!(place));
        }
        value
    });
    json!({ "format": "kiln.explain.v1", "operations": operations.collect::<Value>() })
}

/// All stages, each with its operations.
fn text(checked: &Checked) -> String {
    let mut text = String::new();
    let mut stage = None;
    for operation in &checked.plan.operations {
        if stage != Some(&operation.stage) {
            let gap = if stage.is_some() { "\n" } else { "" };
            text.push_str(&format!("{gap}{}\n", clean(&operation.stage.to_string())));
            stage = Some(&operation.stage);
        }
        let place = checked.sources.place(operation.origin);
        let name = provision::action_name(operation);
        let summary = summary(&masked(operation));
        let from = match &operation.name {
            Some(step) => format!("{}:{}, {}", place.source, place.line, short(step)),
            None => format!("{}:{}", place.source, place.line),
        };
        text.push_str(&format!("  {name:<15} {summary}\n  {:<15} from {}\n", "", clean(&from)));
        for condition in &operation.conditions {
            let condition = clean(&short(&condition_text(condition)));
            text.push_str(&format!("  {:<15} if {condition}\n", ""));
        }
    }
    text
}

fn condition_text(condition: &Condition) -> String {
    match condition {
        Condition::Command(command) => format!("`{}` succeeds", mask::line(command.written())),
        Condition::Node(expression) => format!("the host name matches `{expression}`"),
        Condition::Fact(fact, expression) => {
            let fact = json!(fact);
            format!("{} matches `{expression}`", fact.as_str().unwrap_or_default())
        }
        Condition::Files(exist, paths) => {
            let paths: Vec<&str> = paths.iter().map(Text::written).collect();
            let word = match exist {
                Exists::All => "all exist",
                Exists::Any => "one exists",
                Exists::None => "none exists",
            };
            format!("{word} of {}", paths.join(", "))
        }
    }
}

/// What an operation does, in one line: its name, then what else was said about it.
fn summary(operation: &Operation) -> String {
    /// Keys that name a thing, the best one first.
    const NAMES: [&str; 9] =
        ["path", "name", "device", "script", "user", "file", "url", "entity", "unit"];
    let value = provision::describe(operation);
    let value = value.get(provision::action_name(operation)).cloned().unwrap_or_default();
    let Value::Object(map) = value else { return shown("", &value) };
    let name = NAMES.into_iter().find(|name| map.contains_key(*name));
    let mut parts: Vec<String> =
        name.and_then(|name| map.get(name)).map(|value| shown("", value)).into_iter().collect();
    for (key, value) in &map {
        if Some(key.as_str()) != name {
            parts.push(format!("{key}={}", shown(key, value)));
        }
    }
    parts.join(" ")
}

/// A value in a line; contents of files by their size.
fn shown(key: &str, value: &Value) -> String {
    let text = match (key, value) {
        ("text" | "template" | "contents", Value::String(text)) if text != mask::HIDDEN => {
            return format!("({} bytes)", text.len());
        }
        ("base64", Value::String(text)) => {
            let padding = text.bytes().rev().take_while(|&byte| byte == b'=').count();
            return format!("({} bytes)", (text.len() / 4 * 3).saturating_sub(padding));
        }
        (_, Value::String(text)) => text.clone(),
        (_, Value::Array(list)) => {
            let parts: Vec<String> = list.iter().map(|one| shown("", one)).collect();
            format!("[{}]", parts.join(", "))
        }
        (_, Value::Object(map)) => {
            let part = |(key, value): (&String, &Value)| format!("{key}: {}", shown(key, value));
            format!("{{{}}}", map.iter().map(part).collect::<Vec<_>>().join(", "))
        }
        (_, value) => value.to_string(),
    };
    clean(&short(&text))
}

/// The first line, cut.
fn short(text: &str) -> String {
    let first = text.trim_end().lines().next().unwrap_or_default();
    let is_more = first.chars().count() > WIDTH || first.len() < text.trim_end().len();
    let cut: String = first.chars().take(WIDTH).collect();
    if is_more { cut + "…" } else { cut }
}

/// Prints the contents of a file as the machine will have them.
fn show(checked: &Checked, path: &str) -> Result<(), Failure> {
    let files: Vec<_> = checked
        .plan
        .operations
        .iter()
        .filter_map(|operation| match &operation.action {
            Action::File(file) if file.path.written() == path => Some((operation, file)),
            _ => None,
        })
        .collect();
    if files.is_empty() {
        let message = format!("no document writes {}", clean(path));
        return Err(Failure::new(message, "`kiln explain FILE` lists the files that are written"));
    }
    for (operation, file) in &files {
        if files.len() > 1 {
            let place = checked.sources.place(operation.origin);
            render::message(&format!(
                "{} from {}:{}",
                operation.stage,
                clean(&place.source),
                place.line
            ));
        }
        for contents in file.contents.iter().chain(&file.append) {
            render::bytes(&decoded(contents)?)?;
        }
    }
    Ok(())
}

/// The bytes of contents; a line about those that only the machine can know.
fn decoded(contents: &Contents) -> Result<Vec<u8>, Failure> {
    if contents.secret {
        return Ok(format!("{}\n", mask::HIDDEN).into_bytes());
    }
    let bytes = match &contents.source {
        Source::Bytes(bytes) => bytes,
        Source::Template(template) => return Ok(template.clone().into_bytes()),
        Source::Remote(_) => {
            let shown = mask::address(contents).unwrap_or_default();
            return Ok(format!("(fetched from {})\n", clean(&shown)).into_bytes());
        }
    };
    if !contents.gzip {
        return Ok(bytes.clone());
    }
    let mut plain = Vec::new();
    let mut reader =
        flate2::read::MultiGzDecoder::new(bytes.as_slice()).take(MAXIMUM_BYTES as u64 + 1);
    reader
        .read_to_end(&mut plain)
        .map_err(|error| Failure::system("cannot unpack the contents", error))?;
    if plain.len() > MAXIMUM_BYTES {
        return Err(Failure::new(
            format!("unpacked, the contents have more than {} MiB", MAXIMUM_BYTES >> 20),
            "put contents of this size behind a URL",
        ));
    }
    Ok(plain)
}
