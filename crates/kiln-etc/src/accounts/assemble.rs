//! Putting a file together again.

use super::entry::Entry;
use super::table::{Line, Table};

/// The text of a file: lines in the order of `ours`, or of `theirs` if `follows`, then what only the
/// other has. `entries` gives the entries of a name, none for one that goes.
pub(super) fn assemble(
    ours: &Table,
    theirs: &Table,
    follows: bool,
    mut entries: impl FnMut(&[u8]) -> Vec<Entry>,
) -> Vec<u8> {
    let (first, second) = if follows { (theirs, ours) } else { (ours, theirs) };
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in &first.lines {
        match line {
            Line::Of(name) => lines.extend(entries(name).iter().map(Entry::line)),
            Line::Other(text) => lines.push(text.clone()),
        }
    }
    let rest = second.names().into_iter().filter(|name| !first.has(name));
    let new: Vec<Vec<u8>> = rest.flat_map(&mut entries).map(|entry| entry.line()).collect();
    // Whatever comes behind a NIS line is not looked at before it (nss_compat).
    let is_foreign = |line: &Vec<u8>| line.first().is_some_and(|first| b"+-".contains(first));
    let at = lines.iter().position(is_foreign).unwrap_or(lines.len());
    lines.splice(at..at, new);
    let mut text = lines.join(&b'\n');
    if !lines.is_empty() {
        text.push(b'\n');
    }
    text
}
