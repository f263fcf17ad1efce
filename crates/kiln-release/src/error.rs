//! The one error type of this crate.
//!
//! Every variant names the field that was wrong, because `release.json` is read by people too.

/// Why a `release.json` was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are no JSON, or not of the documented shape.
    #[error("release.json is malformed")]
    Json(#[source] serde_json::Error),
    /// The `format` field names a form that this build does not know.
    #[error("release.json has the unknown format `{0}`")]
    UnknownFormat(String),
    /// A field holds a value that no build writes.
    #[error("release.json field `{field}` is invalid: {reason}")]
    Field {
        /// The field's name, dotted.
        field: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
}

impl Error {
    /// What to do next, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownFormat(_) => Some("use the kiln that came with this release".into()),
            Self::Json(_) | Self::Field { .. } => None,
        }
    }
}
