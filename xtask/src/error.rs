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
    /// No fuzz target has this name.
    #[error("there is no fuzz target `{given}`; there are {known}")]
    UnknownTarget { given: String, known: String },
    /// The demo's system does not run as it should.
    #[error("systemctl is-system-running says {state}; failed units:\n{failed}")]
    NotRunning { state: String, failed: String },
    /// The bench cannot make its surroundings.
    #[error("the bench needs root rights: it bootstraps a Debian and mounts folders into it")]
    NotRoot,
    /// Some contenders of a bench did not run; each stands above.
    #[error("{count} contenders did not run, so the comparison is not complete")]
    Contenders { count: usize },
    /// A command line asks for nothing.
    #[error("no contender's name starts with `{only}`")]
    NoContender { only: String },
    /// There is no recipe for an architecture.
    #[error("Kiln cannot be built for `{name}`: choose amd64 or arm64")]
    Architecture { name: String },
    /// A C compiler for another architecture is missing.
    #[error("{program} is not installed")]
    Compiler { program: String, packages: &'static str },
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
            Self::Compiler { packages, .. } => {
                Some(format!("on Debian: apt-get install {packages}"))
            }
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
