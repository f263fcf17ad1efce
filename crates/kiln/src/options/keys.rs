//! Keys and trust roots: which file signs or verifies, and where its password comes from.
//!
//! Passwords come from a file or from `COSIGN_PASSWORD`, as with cosign, and never from the command
//! line. Nobody is asked on a terminal: whoever signs is a program more often than not.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use kiln_registry::Reference;
use kiln_release::signature::{
    AllowedSigner, KeylessTrust, MAXIMUM_KEY, MAXIMUM_TRUST_ROOT, PrivateKey, PublicKey, Trust,
    TrustRoot,
};

use crate::render::Failure;

/// The environment variable with the password of a private key, as cosign has it.
const PASSWORD: &str = "COSIGN_PASSWORD";
/// The environment variable with the repository of signatures, as cosign has it.
const REPOSITORY: &str = "COSIGN_REPOSITORY";

/// The password of a private key.
#[derive(Debug, Args)]
pub(crate) struct PasswordArguments {
    /// A file with the password of the private key [default: the variable COSIGN_PASSWORD]
    #[arg(long, value_name = "FILE")]
    key_password_file: Option<PathBuf>,
}

impl PasswordArguments {
    /// Reads a private key.
    pub(crate) fn private_key(&self, path: &Path) -> Result<PrivateKey, Failure> {
        let password = match &self.key_password_file {
            Some(path) => {
                let mut text = read(path, MAXIMUM_KEY)?;
                while matches!(text.last(), Some(b'\n' | b'\r')) {
                    text.pop();
                }
                Some(text)
            }
            None => std::env::var_os(PASSWORD).map(std::ffi::OsString::into_encoded_bytes),
        };
        let name = path.display().to_string();
        Ok(PrivateKey::from_pem(&name, &read(path, MAXIMUM_KEY)?, password.as_deref())?)
    }
}

/// Whose signatures are asked for.
#[derive(Debug, Args)]
pub(crate) struct TrustArguments {
    /// Use only images that one of these public keys signed; may be given more than once
    #[arg(long, value_name = "KEY")]
    verify: Vec<PathBuf>,
    /// Use only images that this e-mail address or URL signed keyless; may be given more than once.
    /// `*` stands for anything but `/` and `@`, `**` for anything
    #[arg(long, value_name = "SUBJECT", requires_all = ["verify_issuer", "trust_root"])]
    verify_identity: Vec<String>,
    /// Who identified the SUBJECT, as its certificate says
    #[arg(long, value_name = "URL", requires = "verify_identity")]
    verify_issuer: Option<String>,
    /// The certificate authorities and logs that prove it: Sigstore's trusted_root.json
    #[arg(long, value_name = "FILE", requires = "verify_identity")]
    trust_root: Option<PathBuf>,
}

impl TrustArguments {
    /// Whether signatures are asked for.
    pub(crate) fn is_given(&self) -> bool {
        !self.verify.is_empty() || !self.verify_identity.is_empty()
    }

    /// Reads the keys and the trust root; nothing if no signature is asked for.
    pub(crate) fn read(&self) -> Result<Option<Trust>, Failure> {
        let keys =
            self.verify.iter().map(|path| public_key(path)).collect::<Result<Vec<_>, _>>()?;
        let keyless = match (&self.verify_issuer, &self.trust_root) {
            (Some(issuer), Some(path)) => vec![self.keyless(issuer, path)?],
            _ => Vec::new(),
        };
        let trust = Trust { keys, keyless, identities: Vec::new() };
        Ok((!trust.is_empty()).then_some(trust))
    }

    fn keyless(&self, issuer: &str, path: &Path) -> Result<KeylessTrust, Failure> {
        let signer = |subject: &String| {
            AllowedSigner::new(subject, issuer).map_err(|reason| {
                Failure::new(reason, "write it as the certificate has it, stars for what varies")
            })
        };
        let root = TrustRoot::parse(&read(path, MAXIMUM_TRUST_ROOT)?).map_err(|reason| {
            Failure::new(
                format!("{} is no trust root that can be used: {reason}", path.display()),
                "give the trusted_root.json of the Sigstore that signed the image",
            )
        })?;
        let signers = self.verify_identity.iter().map(signer).collect::<Result<_, _>>()?;
        Ok(KeylessTrust { root, signers })
    }
}

/// Reads a public key.
fn public_key(path: &Path) -> Result<PublicKey, Failure> {
    Ok(PublicKey::from_pem(&path.display().to_string(), &read(path, MAXIMUM_KEY)?)?)
}

/// The repository that has the signatures, if it is not each image's own.
pub(crate) fn signature_repository() -> Result<Option<Reference>, Failure> {
    let Some(name) = std::env::var_os(REPOSITORY).filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let name = name.to_string_lossy();
    let refused = |reason: String| {
        Failure::new(
            format!("{REPOSITORY} is no repository: {reason}"),
            "write it like registry.example/signatures, or unset it",
        )
    };
    let reference: Reference =
        name.parse().map_err(|error: kiln_registry::Error| refused(error.to_string()))?;
    if reference.tag.is_some() || reference.digest.is_some() {
        return Err(refused(format!("{reference} has a tag or digest")));
    }
    Ok(Some(reference))
}

/// Reads a small file, and one byte more than it may have, which makes it none.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    let failure = |error| Failure::system(format!("cannot read {}", path.display()), error);
    let file = std::fs::File::open(path).map_err(failure)?;
    let mut text = Vec::new();
    file.take(most + 1).read_to_end(&mut text).map_err(failure)?;
    Ok(text)
}
