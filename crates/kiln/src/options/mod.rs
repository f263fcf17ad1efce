//! Groups of arguments that several verbs share, each with its own heading in the help.

pub(crate) mod change;
pub(crate) mod confirm;
pub(crate) mod containerfile;
pub(crate) mod fetch;
pub(crate) mod keys;
pub(crate) mod limits;
pub(crate) mod machine;
pub(crate) mod registry;
pub(crate) mod release;
pub(crate) mod users;

use kiln_registry::Source;

/// Words before a colon that say how the rest is to be read.
const TRANSPORTS: [&str; 6] = ["oci", "oci-archive", "docker-archive", "docker", "dir", "tar"];

/// Whether a text names a source by its transport, and is neither a reference alone nor a path.
pub(crate) fn has_transport(text: &str) -> bool {
    text.split_once(':').is_some_and(|(word, _)| TRANSPORTS.contains(&word))
}

/// Reads a source for clap, which shows no hint of its own.
pub(crate) fn parse_source(text: &str) -> Result<Source, String> {
    text.parse().map_err(|error: kiln_registry::Error| match error.hint() {
        Some(hint) => format!("{error}\n\nhint: {hint}"),
        None => error.to_string(),
    })
}
