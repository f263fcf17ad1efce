//! What is said where a path persists that the release itself brings.
//!
//! Every dialect can ask for it, and it is carried out, but its author should know the price: what stands
//! there is not what the root's hash proves. An error was dropped: there are programs that put others
//! below `/usr` and cannot be told otherwise.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::Span;

/// The rule's stable name; `kiln lint` looks for it in documents of an image.
pub const CODE: &str = "persistent-programs";
/// Folders that belong to the release, apart from [`LOCAL`].
const RELEASE: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// What is below `/usr` and belongs to the machine all the same (hier(7)).
const LOCAL: &str = "/usr/local";

/// Warns of each path that hides what the release brings.
pub(crate) fn warn<Path: AsRef<str>>(paths: &[Path], span: Span, out: &mut Diagnostics) {
    for path in paths.iter().map(AsRef::as_ref).filter(|path| is_of_release(path)) {
        let message = format!(
            "`{path}` hides what the root's hash proves: it is copied for each release, and merged when \
             the next one comes"
        );
        out.push(
            Diagnostic::warning(CODE, span, message)
                .hint("put it into the image, or below `/usr/local`, `/opt` or `/var`"),
        );
    }
}

fn is_of_release(path: &str) -> bool {
    let is_in = |folder: &str| {
        path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    RELEASE.iter().any(|folder| is_in(folder)) && !is_in(LOCAL)
}

#[cfg(test)]
mod tests {
    use super::is_of_release;

    #[test]
    fn what_the_release_brings_is_told_from_what_the_machine_has() {
        for (path, expected) in [
            ("/usr", true),
            ("/usr/libexec", true),
            ("/lib/firmware", true),
            ("/usr/local", false),
            ("/usr/local/bin", false),
            ("/usr/localised", true),
            ("/etc", false),
            ("/library", false),
        ] {
            assert_eq!(is_of_release(path), expected, "{path}");
        }
    }
}
