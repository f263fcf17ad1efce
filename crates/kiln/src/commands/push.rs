//! `kiln push`: a release into a registry, from where machines upgrade.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use kiln_build::{Progress as _, Unit};
use kiln_registry::{Digest, Reference};
use kiln_release::push::{PushOptions, ReleaseFolder, Report, Stage, push};
use kiln_release::signature::Scheme;

use super::sign;
use crate::options::keys::PasswordArguments;
use crate::options::registry::RegistryArguments;
use crate::progress::Lines;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln build docker://registry.example/edge:13 -o out
  kiln push out registry.example/edge:13
  kiln push out registry.example/edge:13 --sign-key cosign.key
  kiln push out registry.example/edge:13 --json | jq -r .manifest_digest";

/// Push a release to a registry, for machines to upgrade to
///
/// Puts the release beside the container image REF, which then means both: machines that run Kiln
/// fetch from the release only what they do not have. Without an image at REF the release itself
/// gets the tag. What the registry has is not sent again; an interrupted push can be repeated.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PushArguments {
    /// The folder that `kiln build -o` wrote
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Where it goes: HOST/REPOSITORY:TAG
    #[arg(value_name = "REF", value_parser = parse_reference)]
    reference: Reference,
    /// The container image it belongs to, in the same repository [default: REF]
    #[arg(long, value_name = "REF", value_parser = parse_reference)]
    subject: Option<Reference>,
    /// A folder with room for the compressed files [default: FOLDER]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Sign the release and the image that it belongs to with this private key
    #[arg(long, value_name = "FILE")]
    sign_key: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    password: PasswordArguments,
    #[command(flatten)]
    registry: RegistryArguments,
}

/// A reference, also as sources spell it.
pub(super) fn parse_reference(text: &str) -> Result<Reference, kiln_registry::Error> {
    text.strip_prefix("docker://").unwrap_or(text).parse()
}

pub(crate) fn run(
    arguments: &PushArguments,
    quiet: bool,
    verbose: bool,
) -> Result<ExitCode, Failure> {
    let folder = ReleaseFolder::open(&arguments.folder)?;
    // Before anything is sent: a wrong password is no reason for a release without a signature.
    let key = arguments.sign_key.as_deref().map(|path| arguments.password.private_key(path));
    let key = key.transpose()?;
    let registry = arguments.registry.options(&[])?;
    let options = PushOptions {
        reference: &arguments.reference,
        subject: arguments.subject.as_ref(),
        registry: &registry,
        scratch: arguments.scratch.as_ref().unwrap_or(&arguments.folder),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let lines = Mutex::new((Lines::new(quiet, verbose), None));
    let report = push(&folder, &options, &|stage, done, total| {
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        let (lines, last) = &mut *lines;
        if last.replace(stage) != Some(stage) {
            lines.expect(Unit::Bytes, None);
            lines.line(describe(stage));
            lines.expect(Unit::Bytes, Some(total));
        }
        lines.advance(done);
    })?;
    let (mut lines, _) = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
    lines.expect(Unit::Bytes, None);
    drop(lines);
    let reference = &arguments.reference;
    let mut text = to_text(&report, reference);
    let mut value = to_json(&report);
    if let Some(key) = &key {
        let digests: Vec<Digest> =
            report.subject.into_iter().chain([report.manifest_digest]).collect();
        let signed = sign::sign_all(reference, &digests, key, Scheme::Tag, &registry)?;
        let fingerprint = key.public().fingerprint();
        text += &sign::to_text(&signed, reference, fingerprint);
        value["signed"] = sign::to_json(&signed, fingerprint);
    }
    if arguments.json {
        render::json(&value)?;
    } else {
        render::data(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(stage: Stage) -> &'static str {
    match stage {
        Stage::Read => "reading the root image",
        Stage::Compress => "compressing the contents",
        Stage::Send => "sending",
    }
}

fn to_text(report: &Report, reference: &Reference) -> String {
    let name = reference.name();
    let mut text = format!("{name}@{}\n", report.manifest_digest);
    for tag in &report.tags {
        text.push_str(&format!("{name}:{tag}\n"));
    }
    text
}

fn to_json(report: &Report) -> serde_json::Value {
    serde_json::json!({
        "manifest_digest": report.manifest_digest.to_string(),
        "subject": report.subject.map(|subject| subject.to_string()),
        "tags": report.tags,
        "bytes": report.bytes,
        "sent_bytes": report.sent,
        "blobs": report.blobs.0,
        "sent_blobs": report.blobs.1,
    })
}

#[cfg(test)]
mod tests {
    use super::parse_reference;

    #[test]
    fn references_are_also_read_as_sources_spell_them() {
        let plain = parse_reference("registry.example/edge:13").unwrap();
        assert_eq!(parse_reference("docker://registry.example/edge:13").unwrap(), plain);
        assert!(parse_reference("edge").is_err(), "the registry is never guessed");
    }
}
