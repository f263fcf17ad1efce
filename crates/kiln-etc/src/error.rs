//! Why `/etc` could not be prepared.

use std::io;
use std::path::{Path, PathBuf};

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be used.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A system call failed.
    #[error(transparent)]
    System(#[from] kiln_sys::Error),
    /// A newer Kiln wrote this state; nothing of it is touched.
    #[error(
        "the state was written by a newer kiln: it has format {found}, this kiln knows {known}"
    )]
    Newer {
        /// Version that the state has.
        found: u32,
        /// Newest version that is known here.
        known: u32,
    },
    /// The version of the state cannot be read; nothing of it is touched.
    #[error("`{}` is no version of a state", path.display())]
    Format {
        /// The file with the version.
        path: PathBuf,
    },
    /// A setting has a value that does not exist.
    #[error("`{value}` in `{}` is neither persistent nor ephemeral", path.display())]
    Setting {
        /// The file with the setting.
        path: PathBuf,
        /// The value, cut to a readable length.
        value: String,
    },
    /// The decision about what is writable cannot be read.
    #[error("`{}` cannot be used, line {line}: {reason}", crate::mounts::PATH)]
    Mounts {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Error {
    /// What to do next, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Newer { .. } => {
                "start the newer release, or upgrade to one that knows the format"
            }
            Self::Format { .. } => "write the number of the format into it, for kiln 0.1 that is 2",
            Self::Setting { .. } => "write one of the two words into it and build again",
            Self::System(source) => return source.hint(),
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free space in /state"
            }
            Self::File { .. } | Self::Mounts { .. } => return None,
        };
        Some(hint.into())
    }

    /// Message and causes in one line.
    pub(crate) fn sentence(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// The adapter for `map_err` on file operations.
pub(crate) fn file(
    action: &'static str,
    path: impl AsRef<Path>,
) -> impl FnOnce(io::Error) -> Error {
    let path = path.as_ref().to_owned();
    move |source| Error::File { action, path, source }
}
