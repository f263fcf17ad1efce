//! What to do about errors that bring no advice of their own.
//!
//! The crates below say what went wrong and, where only they can know it, what to do. What they
//! cannot know is said here: the flags of the command line that raise their limits, and the remedies
//! for what the operating system refuses. It reads kinds of errors, never their words.

use std::error::Error;
use std::io::{self, ErrorKind};

/// What to do about `error`, found in its causes.
#[must_use]
pub fn advice(error: &(dyn Error + 'static)) -> Option<String> {
    of_image(error).or_else(|| {
        causes(error).find_map(|cause| of_system(cause.downcast_ref::<io::Error>()?.kind()))
    })
}

/// Advice if there is no room, wherever that was noticed.
pub(crate) fn of_space(error: &(dyn Error + 'static)) -> Option<String> {
    let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge];
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .find(|cause| full.contains(&cause.kind()))
        .and_then(|cause| of_system(cause.kind()))
}

/// Advice of the image reader, if its error is among the causes.
pub(crate) fn of_image(error: &(dyn Error + 'static)) -> Option<String> {
    causes(error).find_map(|cause| {
        let direct = cause.downcast_ref::<kiln_registry::Error>();
        let carried = || cause.downcast_ref().and_then(kiln_registry::Error::from_io);
        of_registry(direct.or_else(carried)?)
    })
}

/// Advice about an image.
pub(crate) fn of_registry(error: &kiln_registry::Error) -> Option<String> {
    use kiln_registry::Error as Registry;
    match error {
        Registry::Ratio { .. } => Some(trusted("--max-ratio")),
        Registry::Archive { .. } | Registry::Json { .. } | Registry::InvalidDocument { .. } => {
            Some("the image is damaged or of another kind: fetch or export it again".into())
        }
        Registry::NotAnImage { .. } => {
            Some("give a container image: oci:, oci-archive:, docker-archive: or docker://".into())
        }
        Registry::UnsupportedMediaType { .. } => {
            Some("export the image as OCI, its layers uncompressed, gzip or zstd".into())
        }
        Registry::Configuration { .. } => {
            Some("correct that file, or give another with `--auth-file`, `--certs-dir` or `--registries-conf`".into())
        }
        Registry::Transport { .. } => {
            let flags = "; the flags are `--plain-http` and `--certs-dir`";
            error.hint().map(|hint| hint + flags)
        }
        other => other.hint(),
    }
}

/// Advice about a tree.
pub(crate) fn of_tree(error: &kiln_tree::Error) -> Option<String> {
    use kiln_tree::Error as Tree;
    match error {
        Tree::Limit { what, .. } => match *what {
            "entries" => Some(trusted("--max-entries")),
            "bytes of a path" => Some(trusted("--max-path-length")),
            "bytes of files" => Some(trusted("--max-total-size")),
            "bytes of one file" => Some(trusted("--max-file-size")),
            _ => Some("no option raises this limit; change that path in the image".into()),
        },
        Tree::Entry { reason, .. } | Tree::Path { reason, .. } if reason.contains("device") => {
            Some("leave it out of the image, or give --allow-device-nodes if it must be".into())
        }
        Tree::Entry { .. } | Tree::Path { .. } => {
            Some("build the image again without that path; its layer may be hostile".into())
        }
        other => other.hint(),
    }
}

fn trusted(flag: &str) -> String {
    format!("if the image is trusted, raise the limit with `{flag}`")
}

/// Advice about what the operating system refused.
fn of_system(kind: ErrorKind) -> Option<String> {
    let advice = match kind {
        ErrorKind::NotFound => "check the path for typing",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "run as a user who may do that, or choose another path"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            "free some space or choose another folder with `-o`"
        }
        ErrorKind::IsADirectory => "there is a folder; give a file or another name",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "something else is in the way: remove it or choose another path"
        }
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
            "the file is damaged or cut short: fetch or make it again"
        }
        ErrorKind::OutOfMemory => "free some memory, or use fewer `--threads`",
        _ => return None,
    };
    Some(advice.into())
}

/// The error and all its causes, outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        error.source()
    })
}
