//! What one document says twice in different sections: a path that is a file and a link.
//!
//! Inside a section names are keys, so only different sections can contradict each other, those that
//! are lowered to files (`sysctl`, `network`, `kubernetes`) included.

use std::collections::BTreeMap;

use crate::action::Action;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::operation::{Operation, Text};

/// The path that an action puts something at.
pub(super) fn path(action: &Action) -> Option<&str> {
    match action {
        Action::Directory(directory) => plain(&directory.path),
        Action::File(file) => plain(&file.path),
        Action::Link(link) => Some(&link.path),
        _ => None,
    }
}

fn plain(text: &Text) -> Option<&str> {
    match text {
        Text::Plain(text) => Some(text),
        Text::Template(_) => None,
    }
}

/// Says which paths stand in two sections.
pub(super) fn check(operations: &[Operation], out: &mut Diagnostics) {
    let mut seen = BTreeMap::new();
    for operation in operations {
        let Some(path) = path(&operation.action) else { continue };
        if let Some(first) = seen.get(path) {
            let message = format!("`{path}` is given by two sections");
            out.push(
                Diagnostic::error("contradiction", operation.origin, message)
                    .label(*first, "the first is here")
                    .hint("remove one of the two"),
            );
        } else {
            seen.insert(path, operation.origin);
        }
    }
}
