//! The one error type of this crate: why an image could not be judged.

use crate::RULES;

/// Why the rules could not be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A rule that does not exist was named.
    #[error("there is no rule `{id}`")]
    UnknownRule {
        /// The name as it was given.
        id: String,
    },
    /// A file of the image could not be read back.
    #[error("cannot read /{path}")]
    Read {
        /// Path in the image, without leading slash.
        path: String,
        /// What the store said.
        #[source]
        source: std::io::Error,
    },
    /// A file that the boot needs could not be read back.
    #[error(transparent)]
    Boot(#[from] kiln_boot::Error),
}

impl Error {
    /// What to do next, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownRule { .. } => {
                let ids: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
                Some(format!("the rules are {}", ids.join(", ")))
            }
            Self::Boot(error) => error.hint(),
            Self::Read { .. } => None,
        }
    }
}
