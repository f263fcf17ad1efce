//! The text parsers of this module for the fuzzer (crate `kiln-fuzz`), which cannot reach them
//! otherwise without talking to a registry. Compiled with the feature `fuzzing` only.

use std::path::Path;

use super::auth::{Credentials, Login};
use super::challenge::Challenge;
use super::registries_conf;
use crate::{Error, Reference};

/// Hosts and repositories that a registries.conf makes of a reference, in the order they are asked.
///
/// # Errors
/// What loading the file and looking the reference up give.
pub fn places(path: &Path, reference: &Reference) -> Result<Vec<(String, String)>, Error> {
    let configuration = registries_conf::load(&[path.to_owned()])?;
    let places = configuration.places(reference)?;
    Ok(places.into_iter().map(|place| (place.host, place.repository)).collect())
}

/// Name and password that an auth file holds for a place, as they go into a header.
///
/// # Errors
/// What loading the file and looking the place up give.
pub fn login(path: &Path, host: &str, repository: &str) -> Result<Option<String>, Error> {
    let login = Credentials::load(&[path.to_owned()])?.find(host, repository)?;
    Ok(login.and_then(|login| match login {
        Login::Basic(text) => Some(text),
        // Goes into the body of a form, where anything may stand.
        Login::Refresh(_) => None,
    }))
}

/// Whether a header value is a challenge that can be answered.
pub fn challenge(value: &str) -> bool {
    Challenge::parse(value).is_ok()
}
