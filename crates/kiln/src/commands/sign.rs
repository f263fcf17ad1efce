//! `kiln sign`: who vouches for an image and its release.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use kiln_registry::{Digest, Options, Reference};
use kiln_release::fetch::look_up;
use kiln_release::signature::{PrivateKey, Scheme, SignOptions, Signed, sign};

use crate::options::keys::{PasswordArguments, signature_repository};
use crate::options::parse_reference;
use crate::options::registry::RegistryArguments;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln sign registry.example/edge:14 --key cosign.key
  kiln sign registry.example/edge:14 --key cosign.key --referrers
  COSIGN_REPOSITORY=registry.example/signatures kiln sign registry.example/edge:14 --key cosign.key";

/// Sign an image and its releases, for machines that ask for it
///
/// Signs the digests that REF means now: the container image, and the newest release beside it for
/// each architecture. The signatures are those of cosign, which verifies them, and stand in the
/// registry. Signing again with the same key adds nothing.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SignArguments {
    /// What to sign: HOST/REPOSITORY:TAG or @DIGEST
    #[arg(value_name = "REF", value_parser = parse_reference)]
    reference: Reference,
    /// The private key: of `cosign generate-key-pair`, or PKCS#8
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Put signatures under the tag sha256-DIGEST.sig; this is the default
    #[arg(long, group = "scheme")]
    tag_scheme: bool,
    /// Put signatures as referrers, in the bundle format of newer versions of cosign
    #[arg(long, group = "scheme")]
    referrers: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    password: PasswordArguments,
    #[command(flatten)]
    registry: RegistryArguments,
}

pub(crate) fn run(arguments: &SignArguments) -> Result<ExitCode, Failure> {
    let key = arguments.password.private_key(&arguments.key)?;
    let registry = arguments.registry.options(&[])?;
    let named = look_up(&arguments.reference, &registry)?;
    if let Some(digest) = arguments.reference.digest.filter(|digest| *digest != named.digest) {
        return Err(Failure::new(
            format!("{digest} is not what the registry has under it"),
            "nothing was signed; ask who runs the registry",
        ));
    }
    let mut digests = vec![named.digest];
    digests.extend(named.releases()?.into_iter().filter(|digest| *digest != named.digest));
    let scheme = if arguments.referrers { Scheme::Referrers } else { Scheme::Tag };
    let signed = sign_all(&arguments.reference, &digests, &key, scheme, &registry)?;
    let fingerprint = key.public().fingerprint();
    if arguments.json {
        let mut value = to_json(&signed, fingerprint);
        value["format"] = "kiln.sign.v1".into();
        render::json(&value)?;
    } else {
        render::data(&to_text(&signed, &arguments.reference, fingerprint))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Signs digests in the repository of `reference`.
pub(super) fn sign_all(
    reference: &Reference,
    digests: &[Digest],
    key: &PrivateKey,
    scheme: Scheme,
    registry: &Options,
) -> Result<Vec<Signed>, Failure> {
    let place = signature_repository()?;
    let options = SignOptions { key, scheme, place: place.as_ref(), registry };
    let signed = digests.iter().map(|digest| sign(reference, *digest, &options));
    Ok(signed.collect::<Result<Vec<_>, _>>()?)
}

pub(super) fn to_text(signed: &[Signed], reference: &Reference, key: Digest) -> String {
    let line = |one: &Signed| {
        let how = if one.is_new { "signed" } else { "was signed already" };
        format!("{}@{} {how} by {key}\n", reference.name(), one.digest)
    };
    signed.iter().map(line).collect()
}

pub(super) fn to_json(signed: &[Signed], key: Digest) -> serde_json::Value {
    let one = |signed: &Signed| {
        serde_json::json!({
            "digest": signed.digest.to_string(),
            "location": signed.location,
            "new": signed.is_new,
        })
    };
    serde_json::json!({
        "key": key.to_string(),
        "signatures": signed.iter().map(one).collect::<Vec<_>>(),
    })
}
