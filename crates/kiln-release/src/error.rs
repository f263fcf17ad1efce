//! The one error type of this crate.
//!
//! Every variant names the field, digest, reference or file that was wrong, because what travels is
//! read by people too, usually when a machine did not get its release.

use std::io;

use crate::signature::Reason;

/// Why a release could not be read, pushed, fetched or rebuilt.
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
    /// A table, boot recipe or manifest that no Kiln writes.
    #[error("the release's {what} is refused: {reason}")]
    Malformed {
        /// `table`, `boot recipe`, `contents` or `manifest`.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes are not those that they should be.
    #[error("{what} has the digest {actual}, expected {expected}")]
    Digest {
        /// What was read.
        what: String,
        /// Hexadecimal SHA-256 that it should have.
        expected: String,
        /// What it has.
        actual: String,
    },
    /// The rebuilt root image is another one than the release's.
    #[error("the rebuilt root has the root hash {actual}, the release says {expected}")]
    RootHash {
        /// The hash in `release.json`.
        expected: String,
        /// The hash of what was written.
        actual: String,
    },
    /// This build cannot write images of the release's profile.
    #[error("the release's root has the profile {profile}, which this kiln cannot write")]
    UnknownProfile {
        /// The profile's number.
        profile: u16,
    },
    /// The release asks for a newer Kiln.
    #[error("the release needs kiln {needed}, this is {own}")]
    AgentTooOld {
        /// `minimum_agent` of the release.
        needed: String,
        /// This version.
        own: String,
    },
    /// What was named is neither a release nor an image with one.
    #[error("{reference} is no release: {reason}")]
    NotARelease {
        /// The reference.
        reference: String,
        /// What it is instead.
        reason: String,
    },
    /// A folder does not hold what a build writes.
    #[error("{path} is no folder of a release: {reason}")]
    Folder {
        /// The folder or file.
        path: String,
        /// What is missing or wrong.
        reason: String,
    },
    /// A key cannot be used.
    #[error("the key {name} cannot be used: {reason}")]
    Key {
        /// Its file.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody vouches for something, and somebody has to.
    #[error("{subject} is refused: {reason}")]
    Signature {
        /// What it is about, with its digest.
        subject: String,
        /// What is wrong with its signature.
        reason: Reason,
    },
    /// A file could not be read or written.
    #[error("cannot {doing}")]
    Io {
        /// What was tried, with the file's name.
        doing: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The root image cannot be read or written.
    #[error("the root image cannot be used")]
    Image(#[from] kiln_erofs::Error),
    /// The boot file cannot be read.
    #[error("the boot file cannot be used")]
    BootFile(#[from] kiln_boot::Error),
    /// The hash tree cannot be made.
    #[error("the root's hash tree cannot be made")]
    Verity(#[from] kiln_verity::Error),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] kiln_registry::Error),
}

impl Error {
    /// What to do next, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownFormat(_) | Self::UnknownProfile { .. } | Self::AgentTooOld { .. } => {
                Some("use the kiln that came with this release".into())
            }
            Self::Malformed { .. } | Self::Digest { .. } => {
                Some("push the release again; what the registry holds is not what was built".into())
            }
            Self::RootHash { .. } => Some(
                "nothing was activated; try again, and report it if it stays: equal trees must \
                 give equal roots"
                    .into(),
            ),
            Self::NotARelease { .. } => {
                Some("name an image that `kiln push` was given, or push a release first".into())
            }
            Self::Folder { .. } => {
                Some("give the folder that `kiln build -o FOLDER` wrote".to_owned())
            }
            Self::Key { .. } => Some(
                "give a key as `cosign generate-key-pair` makes it, its password in COSIGN_PASSWORD \
                 or with --key-password-file"
                    .to_owned(),
            ),
            Self::Signature { reason, .. } => Some(reason.hint().to_owned()),
            Self::Image(error) => error.hint(),
            Self::BootFile(error) => error.hint(),
            Self::Verity(error) => error.hint(),
            Self::Registry(error) => error.hint(),
            Self::Json(_) | Self::Field { .. } | Self::Io { .. } => None,
        }
    }

    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    pub(crate) fn malformed(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Malformed { what, reason: reason.into() }
    }
}
