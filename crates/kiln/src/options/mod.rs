//! Groups of arguments that several verbs share, each with its own heading in the help.

pub(crate) mod change;
pub(crate) mod confirm;
pub(crate) mod containerfile;
pub(crate) mod documents;
pub(crate) mod fetch;
pub(crate) mod keys;
pub(crate) mod limits;
pub(crate) mod machine;
pub(crate) mod registry;
pub(crate) mod release;
pub(crate) mod strict;
pub(crate) mod users;

use kiln_registry::{Reference, Source};

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

/// Reads a reference, also as sources spell it.
pub(crate) fn parse_reference(text: &str) -> Result<Reference, kiln_registry::Error> {
    text.strip_prefix("docker://").unwrap_or(text).parse()
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
