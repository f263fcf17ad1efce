//! `kiln validate`: what is wrong with configuration, told before a machine reads it.

use std::process::ExitCode;

use clap::Args;
use kiln_config::check::Checked;
use kiln_config::{Diagnostic, Severity, Sources, Span, mask};
use serde_json::{Value, json};

use crate::exit;
use crate::options::documents::DocumentArguments;
use crate::render::{self, Failure};
use crate::snippet;

const EXAMPLES: &str = "\
Examples:
  kiln validate cloud-config.yaml
  kiln validate base.ign site.yaml --strict
  kiln validate config.ign --json
  kiln validate *.yaml --sarif > findings.sarif
  curl -fs https://example.com/config.ign | kiln validate -

Exit codes: 0 a machine takes them, 1 an error (with --strict also a warning), 2 wrong usage.";

/// Schema of SARIF 2.1.0 (OASIS, section 3.13.3).
const SARIF_SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// Check configuration of any dialect
///
/// Reads all documents as one machine would, and shows each fault with its line and, where one is
/// known, what was meant. Elemental's and cloud-init's YAML, Ignition, Butane and Kiln's own YAML are
/// told apart by what stands in them. Nothing is fetched and nothing is changed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ValidateArguments {
    #[command(flatten)]
    documents: DocumentArguments,
    /// Let warnings count as errors
    #[arg(long)]
    strict: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Print the result as SARIF 2.1.0, for code hosts and editors
    #[arg(long, conflicts_with = "json")]
    sarif: bool,
}

pub(crate) fn run(arguments: &ValidateArguments, quiet: bool) -> Result<ExitCode, Failure> {
    let checked = arguments.documents.check()?;
    if arguments.json {
        render::json(&as_json(&checked))?;
    } else if arguments.sarif {
        render::json(&as_sarif(&checked))?;
    } else {
        render::data(&text(&checked, render::is_coloured_data()))?;
        if !quiet {
            render::message(&summary(&checked));
        }
    }
    let refused = checked.diagnostics.has_errors()
        || arguments.strict && count(&checked, Severity::Warning) > 0;
    Ok(ExitCode::from(if refused { exit::FAILED } else { exit::DONE }))
}

/// All diagnostics as snippets, an empty line between them.
pub(crate) fn text(checked: &Checked, colour: bool) -> String {
    let all = checked.diagnostics.list().iter();
    let shown: Vec<String> =
        all.map(|one| snippet::render(one, &checked.sources, colour) + "\n").collect();
    shown.concat()
}

fn count(checked: &Checked, severity: Severity) -> usize {
    match severity {
        Severity::Error => checked.diagnostics.errors(),
        _ => checked.diagnostics.list().iter().filter(|one| one.severity == severity).count(),
    }
}

fn summary(checked: &Checked) -> String {
    let number =
        |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    format!(
        "{}: {}, {}, {}",
        number(checked.documents.len(), "document"),
        number(count(checked, Severity::Error), "error"),
        number(count(checked, Severity::Warning), "warning"),
        number(checked.plan.operations.len(), "operation"),
    )
}

/// The place just behind a span.
fn end_of(sources: &Sources, span: Span) -> kiln_config::Place {
    sources.place(Span { start: span.end, ..span })
}

fn place_json(sources: &Sources, span: Span) -> Value {
    let (start, end) = (sources.place(span), end_of(sources, span));
    json!({
        "source": start.source,
        "line": start.line,
        "column": start.column,
        "end_line": end.line,
        "end_column": end.column,
    })
}

fn as_json(checked: &Checked) -> Value {
    let sources = &checked.sources;
    let name = |id| sources.get(id).map(|source| source.name.clone());
    let documents = checked.documents.iter().map(|document| {
        json!({
            "source": name(document.source),
            "dialect": document.dialect.map(kiln_config::check::Dialect::name),
        })
    });
    let diagnostics = checked.diagnostics.list().iter().map(|one| {
        let labels = one.labels.iter().map(
            |label| json!({ "place": place_json(sources, label.span), "message": label.message }),
        );
        json!({
            "severity": one.severity,
            "code": one.code,
            "message": mask::line(&one.message),
            "place": one.span.map(|span| place_json(sources, span)),
            "labels": labels.collect::<Value>(),
            "hint": one.hint,
        })
    });
    json!({
        "format": "kiln.validate.v1",
        "valid": !checked.diagnostics.has_errors(),
        "documents": documents.collect::<Value>(),
        "diagnostics": diagnostics.collect::<Value>(),
    })
}

fn as_sarif(checked: &Checked) -> Value {
    let sources = &checked.sources;
    let location = |span: Span, message: Option<&str>| {
        let (start, end) = (sources.place(span), end_of(sources, span));
        let mut location = json!({
            "physicalLocation": {
                "artifactLocation": { "uri": start.source },
                "region": {
                    "startLine": start.line,
                    "startColumn": start.column,
                    "endLine": end.line,
                    "endColumn": end.column,
                },
            },
        });
        if let (Some(message), Some(map)) = (message, location.as_object_mut()) {
            map.insert("message".into(), json!({ "text": message }));
        }
        location
    };
    let result = |one: &Diagnostic| {
        let hint = one.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        json!({
            "ruleId": one.code,
            "level": one.severity,
            "message": { "text": format!("{}{hint}", mask::line(&one.message)) },
            "locations": one.span.iter().map(|span| location(*span, None)).collect::<Value>(),
            "relatedLocations": one.labels.iter()
                .map(|label| location(label.span, Some(&label.message)))
                .collect::<Value>(),
        })
    };
    let all = checked.diagnostics.list();
    let mut rules: Vec<&str> = all.iter().map(|one| one.code).collect();
    rules.sort_unstable();
    rules.dedup();
    json!({
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "kiln",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.into_iter().map(|id| json!({ "id": id })).collect::<Value>(),
            } },
            // Columns count characters (section 3.14.27).
            "columnKind": "unicodeCodePoints",
            "results": all.iter().map(result).collect::<Value>(),
        }],
    })
}
