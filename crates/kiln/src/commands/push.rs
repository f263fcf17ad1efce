//! `kiln push`: a release into a registry, from where machines upgrade.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use kiln_build::{Input, Progress as _, Unit, format_size};
use kiln_registry::{Digest, Reference, Source};
use kiln_release::Release;
use kiln_release::push::{PushOptions, ReleaseFolder, Report, Stage, check, push, rehearse};
use kiln_release::signature::Scheme;
use tempfile::TempDir;

use super::sign;
use crate::options::keys::PasswordArguments;
use crate::options::registry::RegistryArguments;
use crate::options::release::ReleaseArguments;
use crate::options::{has_transport, parse_reference, parse_source};
use crate::progress::Lines;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln push docker-archive:edge.tar registry.example/edge:13
  kiln push docker://registry.example/edge:13 registry.example/edge:13 --sign-key cosign.key
  kiln push oci:edge registry.example/edge:13 --compress zstd:9 --dry-run

  kiln build docker://registry.example/edge:13 -o out
  kiln push out registry.example/edge:13
  kiln push out registry.example/edge:13 --json | jq -r .manifest_digest";

/// How the folder of a release begins that is needed only while it is sent.
const WORK: &str = "kiln-push-";

/// Where that folder is made: TMPDIR says another place (environ(7)), and /tmp is memory on most systems.
const USUAL_SCRATCH: &str = "/var/tmp";

/// Push a release to a registry, for machines to upgrade to
///
/// A SOURCE, such as docker-archive:edge.tar, is built on the way; a FOLDER has what `kiln build` wrote.
/// The release comes beside the container image REF, which then means both: machines that run Kiln
/// fetch from the release only what they do not have. Without an image at REF the release itself
/// gets the tag. What the registry has is not sent again; an interrupted push can be repeated.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PushArguments {
    /// The image to build, or the folder that `kiln build -o` wrote; see `kiln build --help`
    #[arg(value_name = "SOURCE|FOLDER", value_parser = parse_what)]
    what: What,
    /// Where it goes: HOST/REPOSITORY:TAG
    #[arg(value_name = "REF", value_parser = parse_reference)]
    reference: Reference,
    /// The container image it belongs to, in the same repository [default: REF]
    #[arg(long, value_name = "REF", value_parser = parse_reference)]
    subject: Option<Reference>,
    /// A folder with room for the compressed files, with a SOURCE also for the root image [default:
    /// FOLDER; TMPDIR or /var/tmp]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Only say what would be sent
    #[arg(long)]
    dry_run: bool,
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
    #[command(flatten, next_help_heading = "Building a SOURCE")]
    release: ReleaseArguments,
}

/// What is pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// A release that was built.
    Folder(PathBuf),
    /// What a release is built from.
    Source(Source),
}

/// A source has a transport; all else is a path.
fn parse_what(text: &str) -> Result<What, String> {
    if has_transport(text) {
        parse_source(text).map(What::Source)
    } else {
        Ok(What::Folder(text.into()))
    }
}

pub(crate) fn run(
    arguments: PushArguments,
    quiet: bool,
    verbose: bool,
) -> Result<ExitCode, Failure> {
    // Before anything is built or sent: a wrong password is no reason for a release without a signature.
    let key = arguments.sign_key.as_deref().map(|path| arguments.password.private_key(path));
    let key = key.transpose()?;
    let registry = arguments.registry.options(&[])?;
    let threads = arguments.release.threads();
    let scratch = match (&arguments.scratch, &arguments.what) {
        (Some(scratch), _) | (None, What::Folder(scratch)) => scratch.clone(),
        (None, What::Source(_)) => usual_scratch(),
    };
    let reference = &arguments.reference;
    let subject = arguments.subject.as_ref();
    let options =
        PushOptions { reference, subject, registry: &registry, scratch: &scratch, threads };
    let mut lines = Lines::new(quiet, verbose);
    let (folder, _work) = match arguments.what {
        What::Folder(path) => {
            if let Some(argument) = arguments.release.given() {
                return Err(Failure::new(
                    format!("`{argument}` means nothing for {}, which is built", path.display()),
                    "give it to `kiln build`, or push the image itself, such as oci-archive:edge.tar",
                ));
            }
            (ReleaseFolder::open(&path)?, None)
        }
        What::Source(source) => {
            check(&options)?;
            let (folder, work) =
                build(source, arguments.release, &arguments.registry, &scratch, &mut lines)?;
            (folder, Some(work))
        }
    };
    let (report, mut lines) = send(&folder, &options, arguments.dry_run, lines)?;
    let (sent, all) = (format_size(report.sent), format_size(report.bytes));
    let verb = if arguments.dry_run { "would be sent" } else { "were sent" };
    lines.line(&format!("{sent} of {all} {verb}, the registry has the rest"));
    drop(lines);
    let mut text = to_text(&report, reference);
    let mut value = to_json(&report, &folder.release, arguments.dry_run);
    if let Some(key) = key.as_ref().filter(|_| !arguments.dry_run) {
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

/// Where large files go that nobody keeps.
fn usual_scratch() -> PathBuf {
    std::env::var_os("TMPDIR").map_or_else(|| USUAL_SCRATCH.into(), PathBuf::from)
}

/// Builds a release that goes away with the returned folder.
fn build(
    source: Source,
    release: ReleaseArguments,
    registry: &RegistryArguments,
    scratch: &Path,
    lines: &mut Lines,
) -> Result<(ReleaseFolder, TempDir), Failure> {
    let work = tempfile::Builder::new().prefix(WORK).tempdir_in(scratch).map_err(|error| {
        Failure::system(format!("cannot make a folder in {}", scratch.display()), error)
    })?;
    let options = release.build_options(Input::Source(source), registry, work.path().to_owned())?;
    kiln_build::build(&options, lines)?;
    Ok((ReleaseFolder::open(work.path())?, work))
}

/// Sends a release, or finds out what that would mean.
fn send(
    folder: &ReleaseFolder,
    options: &PushOptions<'_>,
    dry_run: bool,
    lines: Lines,
) -> Result<(Report, Lines), Failure> {
    let lines = Mutex::new((lines, None));
    let watch = |stage, done, total| {
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        let (lines, last) = &mut *lines;
        if last.replace(stage) != Some(stage) {
            lines.expect(Unit::Bytes, None);
            lines.line(describe(stage));
            lines.expect(Unit::Bytes, Some(total));
        }
        lines.advance(done);
    };
    let act = if dry_run { rehearse } else { push };
    let report = act(folder, options, &watch)?;
    let (mut lines, _) = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
    lines.expect(Unit::Bytes, None);
    Ok((report, lines))
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

fn to_json(report: &Report, release: &Release, dry_run: bool) -> serde_json::Value {
    serde_json::json!({
        "format": "kiln.push.v1",
        "dry_run": dry_run,
        "name": release.name,
        "version": release.version,
        "root_hash": release.root.hash,
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
    use super::{What, parse_what};

    #[test]
    fn what_has_no_transport_is_a_folder() {
        for text in ["out", "./out", "/tmp/a:b", "docker-archives:x", "C:out"] {
            assert_eq!(parse_what(text).unwrap(), What::Folder(text.into()));
        }
        for text in ["oci:edge", "docker-archive:edge.tar", "dir:root", "docker://h.example/e"] {
            assert_eq!(parse_what(text).unwrap(), What::Source(text.parse().unwrap()));
        }
        assert!(parse_what("docker:edge").is_err(), "no path by that name is meant");
    }
}
