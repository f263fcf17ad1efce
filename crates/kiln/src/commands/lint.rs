//! `kiln lint`: what would not boot, must not be given away, or is better otherwise.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use kiln_build::{ReadOptions, parse_size};
use kiln_erofs::{Codec, Encoder, EncoderOptions};
use kiln_lint::{Finding, RULES, Settings, Severity};
use kiln_registry::Source;
use serde_json::{Value, json};

use crate::exit;
use crate::options::limits::LimitArguments;
use crate::options::parse_source;
use crate::options::registry::RegistryArguments;
use crate::progress::Lines;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln lint oci-archive:edge.tar
  kiln lint oci:edge --deny warning --allow no-login
  kiln lint docker://registry.example/edge:13 --json
  kiln lint --list

Exit codes: 0 nothing as bad as --deny, 1 an error, 2 wrong usage, 3 such a finding.";

/// Check a container image before it becomes an operating system
///
/// Prints one line for each finding and, below them, how to mend it. Builds nothing and runs no
/// program of the image.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LintArguments {
    /// Where the image comes from; see `kiln build --help`
    #[arg(required_unless_present = "list", value_parser = parse_source)]
    source: Option<Source>,
    /// The lowest severity that makes the command fail
    #[arg(long, value_name = "SEVERITY", value_enum, default_value = "error")]
    deny: Deny,
    /// A rule not to check; may be given more than once
    #[arg(long, value_name = "RULE")]
    allow: Vec<String>,
    /// Limit of large-docs [default: 20MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_docs: Option<u64>,
    /// Limit of large-caches [default: 20MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_caches: Option<u64>,
    /// Print the rules instead of checking an image
    #[arg(long, conflicts_with = "source")]
    list: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    limits: LimitArguments,
}

/// A severity on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Deny {
    /// Only what does not boot or is not safe to give away
    Error,
    /// Also what is probably not meant
    Warning,
    /// Everything
    Note,
}

impl Deny {
    fn severity(self) -> Severity {
        match self {
            Self::Error => Severity::Error,
            Self::Warning => Severity::Warning,
            Self::Note => Severity::Note,
        }
    }
}

pub(crate) fn run(
    arguments: LintArguments,
    quiet: bool,
    verbose: bool,
) -> Result<ExitCode, Failure> {
    let Some(source) = &arguments.source else {
        list(arguments.json)?;
        return Ok(ExitCode::SUCCESS);
    };
    let mut settings =
        Settings { allowed: arguments.allow.into_iter().collect(), ..Settings::default() };
    let limits = [("large-docs", arguments.max_docs), ("large-caches", arguments.max_caches)];
    for (rule, limit) in limits {
        settings.limits.extend(limit.map(|bytes| (rule.to_owned(), bytes)));
    }
    // A misspelt rule is told before a registry is asked for an image.
    settings.validate()?;
    let registry = arguments.registry.options(&[source])?;
    let mut reading = ReadOptions { registry, ..ReadOptions::default() };
    arguments.limits.apply(&mut reading);
    let mut lines = Lines::new(quiet, verbose);
    let mut store = store()?;
    let tree = kiln_build::load_tree(source, &reading, &mut store, &mut lines)?;
    let findings = kiln_lint::check(&tree, &store, &settings)?;
    if arguments.json {
        render::json(&findings.iter().map(finding_json).collect::<Value>())?;
    } else {
        render::data(&text(&findings))?;
        lines.line(&summary(&findings, settings.allowed.len()));
    }
    let denied = findings.iter().any(|finding| finding.rule.severity >= arguments.deny.severity());
    Ok(ExitCode::from(if denied { exit::REFUSED } else { exit::DONE }))
}

/// Where contents wait to be looked at: an unlinked file, uncompressed because it is short-lived.
/// All of them are kept, since an image may be one `/os.tar` that is read back whole.
fn store() -> Result<Encoder, Failure> {
    let spool = spool_file()
        .and_then(|spool| Encoder::new(EncoderOptions { codec: Codec::None, threads: 1, spool }));
    spool.map_err(|error| {
        Failure::new(
            format!("cannot make a temporary file: {error}"),
            "name a folder with room for the unpacked image in TMPDIR",
        )
    })
}

/// Beside what `TMPDIR` says, `/var/tmp` comes first: `/tmp` is memory on many systems.
fn spool_file() -> std::io::Result<File> {
    let large = Path::new("/var/tmp");
    if std::env::var_os("TMPDIR").is_none() && large.is_dir() {
        return tempfile::tempfile_in(large);
    }
    tempfile::tempfile()
}

/// Findings line by line; behind those of each rule, its fix.
fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for (index, finding) in findings.iter().enumerate() {
        text.push_str(&format!("{finding}\n"));
        let next = findings.get(index + 1).map(|next| next.rule.id);
        if next != Some(finding.rule.id) {
            text.push_str(&format!("  fix: {}\n", finding.rule.fix));
        }
    }
    text
}

fn summary(findings: &[Finding], allowed: usize) -> String {
    if findings.is_empty() {
        return format!("the image keeps all {} rules", RULES.len() - allowed.min(RULES.len()));
    }
    let count = |severity, word: &str| {
        let count = findings.iter().filter(|finding| finding.rule.severity == severity).count();
        format!("{count} {word}{}", if count == 1 { "" } else { "s" })
    };
    let (errors, warnings) = (count(Severity::Error, "error"), count(Severity::Warning, "warning"));
    format!("{errors}, {warnings}, {}", count(Severity::Note, "note"))
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "rule": finding.rule.id,
        "severity": finding.rule.severity.to_string(),
        "message": finding.message,
        "path": finding.path,
        "reason": finding.rule.reason,
        "fix": finding.rule.fix,
    })
}

fn list(as_json: bool) -> Result<(), Failure> {
    if as_json {
        let rules = RULES.iter().map(|rule| {
            json!({
                "rule": rule.id,
                "severity": rule.severity.to_string(),
                "threshold": rule.threshold.to_string(),
                "reason": rule.reason,
                "fix": rule.fix,
            })
        });
        return render::json(&rules.collect::<Value>());
    }
    let lines =
        RULES.iter().map(|rule| format!("{:<8} {:<19} {}\n", rule.severity, rule.id, rule.reason));
    render::data(&lines.collect::<String>())
}
