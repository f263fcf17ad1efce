//! Groups of arguments that several verbs share, each with its own heading in the help.

pub(crate) mod confirm;
pub(crate) mod containerfile;
pub(crate) mod keys;
pub(crate) mod limits;
pub(crate) mod machine;
pub(crate) mod registry;
pub(crate) mod users;

use kiln_registry::Source;

/// Reads a source for clap, which shows no hint of its own.
pub(crate) fn parse_source(text: &str) -> Result<Source, String> {
    text.parse().map_err(|error: kiln_registry::Error| match error.hint() {
        Some(hint) => format!("{error}\n\nhint: {hint}"),
        None => error.to_string(),
    })
}
