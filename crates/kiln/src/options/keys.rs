//! Keys: which file signs or verifies, and where its password comes from.
//!
//! Passwords come from a file or from `COSIGN_PASSWORD`, as with cosign, and never from the command
//! line. Nobody is asked on a terminal: whoever signs is a program more often than not.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use kiln_registry::Reference;
use kiln_release::signature::{MAXIMUM_KEY, PrivateKey, PublicKey};

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
    password_file: Option<PathBuf>,
}

impl PasswordArguments {
    /// Reads a private key.
    pub(crate) fn private_key(&self, path: &Path) -> Result<PrivateKey, Failure> {
        let password = match &self.password_file {
            Some(path) => {
                let mut text = read(path)?;
                while matches!(text.last(), Some(b'\n' | b'\r')) {
                    text.pop();
                }
                Some(text)
            }
            None => std::env::var_os(PASSWORD).map(std::ffi::OsString::into_encoded_bytes),
        };
        let name = path.display().to_string();
        Ok(PrivateKey::from_pem(&name, &read(path)?, password.as_deref())?)
    }
}

/// Reads a public key.
pub(crate) fn public_key(path: &Path) -> Result<PublicKey, Failure> {
    Ok(PublicKey::from_pem(&path.display().to_string(), &read(path)?)?)
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

/// Reads a small file, and one byte more than a key may have, which makes it none.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failure = |error| Failure::system(format!("cannot read {}", path.display()), error);
    let file = std::fs::File::open(path).map_err(failure)?;
    let mut text = Vec::new();
    file.take(MAXIMUM_KEY + 1).read_to_end(&mut text).map_err(failure)?;
    Ok(text)
}
