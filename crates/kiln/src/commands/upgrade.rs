//! `kiln upgrade`: a new release onto this machine.

use std::process::ExitCode;

use clap::Args;
use kiln_build::BuildOptions;
use kiln_build::recipe::Recipe;
use kiln_host::execute::{self, Action, Outcome, UpgradeOptions, upgrade};
use kiln_host::ledger::{self, Verification};
use kiln_host::machine::Paths;
use kiln_host::plan::{Permissions, Reason};
use kiln_registry::Source;
use serde_json::{Value, json};

use crate::exit;
use crate::hooks::tools::Power;
use crate::hooks::{self, DocumentHooks};
use crate::options::fetch::FetchArguments;
use crate::options::keys::signature_repository;
use crate::options::machine::{MachineArguments, busy};
use crate::options::strict::StrictArguments;
use crate::options::{has_transport, parse_source};
use crate::progress::Lines;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln upgrade registry.example/edge:14 --reboot
  kiln upgrade --follow registry.example/edge:stable
  kiln upgrade --check
  kiln upgrade --stage
  kiln upgrade --recovery
  kiln upgrade oci-archive:/media/stick/edge.tar

Exit codes: 0 done, or nothing to do; 1 failed or refused, and the running system still starts; 2
wrong usage; 10 with --check: something is available.";

/// Bring a new release onto this machine
///
/// Writes it into the slot that does not run, proves what was written, and makes it what the next
/// boot tries. If it does not prove itself in three boots, the machine goes back by itself. A power
/// cut at any moment leaves the old or the new release, never neither. Hooks are before-upgrade,
/// after-upgrade-chroot, after-upgrade and post-upgrade; --check lists them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UpgradeArguments {
    /// The container image; docker:// if nothing else is said [default: what --follow named]
    #[arg(value_name = "REF", value_parser = parse_reference)]
    reference: Option<Source>,
    /// Only say whether there is something new
    #[arg(long, group = "action")]
    check: bool,
    /// Write everything, but let the next boot start what runs now
    #[arg(long, group = "action")]
    stage: bool,
    /// Write everything and let the next boot start it; this is the default
    #[arg(long, group = "action")]
    apply: bool,
    /// Restart when it is done
    #[arg(long, conflicts_with_all = ["check", "stage"])]
    reboot: bool,
    /// Take this image whenever no REF is given, from now on
    #[arg(long, value_name = "REF", value_parser = parse_reference, conflicts_with = "check")]
    follow: Option<Source>,
    /// Fill recovery instead of a slot [default REF: what runs]
    #[arg(long, group = "action", conflicts_with_all = ["reboot", "follow"])]
    recovery: bool,
    /// Take a release that failed here before, or overwrite what an unproved system falls back to
    #[arg(long)]
    force: bool,
    /// Take a release that is older than the running one
    #[arg(long)]
    allow_older: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    strict: StrictArguments,
    #[command(flatten)]
    machine: MachineArguments,
    #[command(flatten)]
    fetch: FetchArguments,
}

pub(crate) fn run(
    arguments: UpgradeArguments,
    quiet: bool,
    verbose: bool,
) -> Result<ExitCode, Failure> {
    let paths = arguments.machine.paths();
    if arguments.recovery && arguments.reference.is_none() {
        return refresh_recovery(&arguments, &paths);
    }
    let source = source(&arguments, &paths)?;
    let action = match (arguments.check, arguments.stage) {
        (true, _) => Action::Check,
        (_, true) => Action::Stage,
        _ => Action::Apply,
    };
    let build = build_options(&arguments, &source, &paths)?;
    let mut options = UpgradeOptions::new(build, source, action);
    options.permissions =
        Permissions { quarantined: arguments.force, older: arguments.allow_older };
    options.into_recovery = arguments.recovery;
    options.follow = arguments.follow.as_ref().map(followed).transpose()?;
    options.skip_verification = arguments.fetch.no_verify;
    options.signatures = signature_repository()?;
    let mut lines = Lines::new(quiet, verbose);
    let mut hooks = DocumentHooks::new("upgrade", &arguments.machine, &[], quiet)?;
    let outcome = upgrade(&paths, &options, &mut lines, &mut hooks, busy)?;
    if action != Action::Check {
        clear_cache(&paths);
    }
    let verification = verification(&outcome, &paths)?;
    if arguments.json {
        let mut value = to_json(&outcome, &options.source);
        if let Some(verification) = &verification {
            value["verification"] = json!(verification);
        }
        render::json(&value)?;
    } else {
        match &verification {
            Some(Verification::Signed(key)) => lines.line(&format!("verified by {key}")),
            Some(_) => lines.line("unverified: nobody whom this machine trusts vouches for it"),
            None => {}
        }
        lines.line(&describe(&outcome, &options.source, arguments.reboot));
    }
    if let (Outcome::Available { .. }, false) = (&outcome, arguments.json) {
        render::data(&hooks::describe(&hooks.planned()))?;
    }
    drop(lines);
    let is_pending =
        matches!(outcome, Outcome::Activated { .. } | Outcome::Nothing(Reason::Activated));
    let asked = (arguments.reboot && is_pending).then_some(Power::Restart);
    hooks.finish(&arguments.machine, asked)?;
    Ok(match outcome {
        Outcome::Available { .. } => ExitCode::from(exit::AVAILABLE),
        _ => arguments.strict.code(&hooks),
    })
}

/// Gives recovery what runs: nothing has to be fetched.
fn refresh_recovery(arguments: &UpgradeArguments, paths: &Paths) -> Result<ExitCode, Failure> {
    let generation = execute::refresh(paths, busy)?;
    if arguments.json {
        render::json(&json!({
            "format": "kiln.upgrade.v1",
            "outcome": if generation.is_some() { "recovery" } else { "nothing" },
        }))?;
    } else {
        render::message(&match generation {
            Some(generation) => format!("recovery holds generation {generation}"),
            None => "recovery holds what runs already".to_owned(),
        });
    }
    Ok(ExitCode::SUCCESS)
}

/// A reference without a transport is one of a registry.
pub(super) fn parse_reference(text: &str) -> Result<Source, String> {
    if has_transport(text) { parse_source(text) } else { parse_source(&format!("docker://{text}")) }
}

/// A reference as it is remembered, for calls from any folder.
fn followed(source: &Source) -> Result<String, Failure> {
    let (Source::OciLayout { path, .. }
    | Source::OciArchive { path, .. }
    | Source::DockerArchive { path, .. }
    | Source::Directory(path)
    | Source::Tar(path)) = source
    else {
        return Ok(source.to_string());
    };
    if path.is_absolute() {
        return Ok(source.to_string());
    }
    Err(Failure::new(
        format!("{source} cannot be followed: it depends on the folder of the call"),
        "name the whole path, beginning with /",
    ))
}

/// What to fetch.
fn source(arguments: &UpgradeArguments, paths: &Paths) -> Result<Source, Failure> {
    if let Some(source) = arguments.reference.as_ref().or(arguments.follow.as_ref()) {
        return Ok(source.clone());
    }
    let nothing = || {
        Failure::new(
            "this machine follows no reference",
            "name one: `kiln upgrade REF`, or for all later calls `kiln upgrade --follow REF`",
        )
    };
    let follow = ledger::read(&paths.ledger)?.and_then(|ledger| ledger.follow);
    let follow = follow.ok_or_else(nothing)?;
    parse_source(&follow).map_err(|reason| {
        Failure::new(
            format!("the followed reference cannot be used: {reason}"),
            "name another one with `kiln upgrade --follow REF`",
        )
    })
}

/// As the running system was built, and as this call wants it read.
fn build_options(
    arguments: &UpgradeArguments,
    source: &Source,
    paths: &Paths,
) -> Result<BuildOptions, Failure> {
    let fetch = &arguments.fetch;
    let registry = fetch.registry.options_of_machine(source, paths)?;
    let mut options = fetch.build_options(source.clone(), registry, paths.ledger.clone());
    let text = std::fs::read(&paths.recipe).map_err(|error| {
        Failure::system(
            format!("cannot read {}, which says how this system is built", paths.recipe.display()),
            error,
        )
    })?;
    Recipe::from_json(&text)?.apply(&mut options)?;
    Ok(options)
}

/// Layers are kept only to go on after an interruption; state is not to fill up with them.
pub(super) fn clear_cache(paths: &Paths) {
    match std::fs::remove_dir_all(&paths.cache) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            render::warning(&format!("cannot clear {}: {error}", paths.cache.display()));
        }
        _ => {}
    }
}

/// Who vouches for what there is or came, if anything is or did.
fn verification(outcome: &Outcome, paths: &Paths) -> Result<Option<Verification>, Failure> {
    let generation = match outcome {
        Outcome::Available { verification, .. } => return Ok(Some(verification.clone())),
        Outcome::Staged { generation } | Outcome::Activated { generation } => *generation,
        Outcome::Nothing(_) | Outcome::Recovery => return Ok(None),
    };
    let ledger = ledger::read(&paths.ledger)?;
    let revision = ledger.as_ref().and_then(|ledger| ledger.revision(generation));
    Ok(revision.map(|revision| revision.verification.clone()))
}

fn describe(outcome: &Outcome, source: &Source, reboot: bool) -> String {
    match outcome {
        Outcome::Nothing(Reason::Running) => format!("{source} runs already"),
        Outcome::Nothing(Reason::Activated) => format!("{source} starts at the next boot already"),
        Outcome::Available { manifest_digest, .. } => {
            format!("{source} is available: {manifest_digest}")
        }
        Outcome::Staged { generation } => format!(
            "generation {generation} is staged; the next boot starts what runs now, until `kiln \
             upgrade` is called without --stage"
        ),
        Outcome::Recovery => format!("recovery holds {source}"),
        Outcome::Activated { generation } if reboot => {
            format!("generation {generation} starts now")
        }
        Outcome::Activated { generation } => {
            format!("generation {generation} starts at the next boot")
        }
    }
}

fn to_json(outcome: &Outcome, source: &Source) -> Value {
    let facts = match outcome {
        Outcome::Nothing(Reason::Running) => json!({ "outcome": "nothing", "reason": "running" }),
        Outcome::Nothing(Reason::Activated) => {
            json!({ "outcome": "nothing", "reason": "activated" })
        }
        Outcome::Available { manifest_digest, sequence, .. } => json!({
            "outcome": "available", "manifest_digest": manifest_digest, "sequence": sequence.0,
        }),
        Outcome::Recovery => json!({ "outcome": "recovery" }),
        Outcome::Staged { generation } => json!({ "outcome": "staged", "generation": generation }),
        Outcome::Activated { generation } => {
            json!({ "outcome": "activated", "generation": generation })
        }
    };
    let mut value = json!({ "format": "kiln.upgrade.v1", "reference": source.to_string() });
    if let (Some(value), Value::Object(facts)) = (value.as_object_mut(), facts) {
        value.extend(facts);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::{followed, parse_reference};

    #[test]
    fn a_reference_without_a_transport_is_of_a_registry() {
        for (text, expected) in [
            ("registry.example/edge:14", "docker://registry.example/edge:14"),
            ("localhost:5000/edge:1", "docker://localhost:5000/edge:1"),
            ("docker://registry.example/edge:14", "docker://registry.example/edge:14"),
            ("oci:/media/stick:edge", "oci:/media/stick:edge"),
            ("oci-archive:edge.tar", "oci-archive:edge.tar"),
        ] {
            assert_eq!(parse_reference(text).unwrap().to_string(), expected);
        }
        assert!(followed(&parse_reference("oci:stick").unwrap()).is_err());
        for text in ["oci:/media/stick", "registry.example/edge"] {
            assert!(followed(&parse_reference(text).unwrap()).is_ok(), "{text}");
        }
        assert!(parse_reference("").is_err());
        assert!(parse_reference("UPPER CASE").is_err());
    }
}
