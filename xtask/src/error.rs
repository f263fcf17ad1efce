//! Why a developer command failed.

use std::io;
use std::path::PathBuf;

/// A failure of a developer command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A program could not be started.
    #[error("cannot start {program}: {source}")]
    Start { program: String, source: io::Error },
    /// A program failed; what it said stands above.
    #[error("`{command}` failed with {status}")]
    Failed { command: String, status: String },
    /// A package manager failed for a reason that is not handled.
    #[error("`{command}` failed:\n{output}")]
    Packages { command: String, output: String },
    /// No package can be installed here.
    #[error("packages are missing and this is not Debian with root rights: {missing}")]
    NoPackageManager { missing: String },
    /// A file could not be used.
    #[error("cannot {action} {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    /// Rules of style are broken; each stands above.
    #[error("{count} rules of style are broken")]
    Style { count: usize },
    /// The demo's system does not run as it should.
    #[error("systemctl is-system-running says {state}; failed units:\n{failed}")]
    NotRunning { state: String, failed: String },
    /// The test kit failed.
    #[error("{0}")]
    Lab(#[from] kiln_lab::Error),
    /// The machine could not be run.
    #[error("{0}")]
    Machine(#[from] kiln_qemu::Error),
}

impl Error {
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Lab(error) => error.hint(),
            Self::Machine(error) => error.hint(),
            Self::NoPackageManager { missing } => {
                Some(format!("as root: apt-get install {missing}"))
            }
            _ => None,
        }
    }
}

/// Turns a system error into [`Error::File`].
pub(crate) fn file_error(
    action: &'static str,
    path: &std::path::Path,
) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path: path.clone(), source }
}
