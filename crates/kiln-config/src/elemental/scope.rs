//! What all readers of one document share: the fork, the budget of decoded bytes, and the words for
//! strings, paths and templates.
//!
//! Fields that the forks fill in on the machine become [`Text::Template`]; in all others `{{` is kept as
//! it stands, with a warning, because its author expects something else. Filling in everywhere was
//! dropped: a path or a unit that really holds two braces would change its meaning.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::{Fork, KEYS, Support};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::{Fields, Spanned, text};
use crate::node::{Key, Node};
use crate::operation::Text;
use crate::source::Span;

/// Longest path in bytes: Linux's `PATH_MAX` without the byte that ends it; longer ones cannot exist.
const LONGEST_PATH: usize = 4095;

/// Keys that only yip knows and that are carried out, by the map in which they stand.
static YIP_ONLY: LazyLock<BTreeMap<&str, Vec<&str>>> = LazyLock::new(|| {
    let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in KEYS {
        if !row.toolkit && row.support == Support::CarriedOut {
            all.entry(row.place).or_default().push(row.key);
        }
    }
    all
});

/// What the readers of one document share.
#[derive(Debug)]
pub(super) struct Scope {
    /// The implementation that is followed.
    pub(super) fork: Fork,
    /// The document's own name, which stands in front of its steps' names in `after`.
    pub(super) name: Option<String>,
    /// Bytes that encoded contents gave until now.
    pub(super) decoded: Cell<usize>,
    /// Whether the last layout of the document asked for binds; a later step may leave the variable out.
    pub(super) bind: Cell<bool>,
    /// Every key that a reader asked for, with its map.
    #[cfg(test)]
    pub(super) asked: std::cell::RefCell<BTreeSet<(&'static str, &'static str)>>,
    /// Every key that stood in a document, with its map.
    #[cfg(test)]
    pub(super) stood: std::cell::RefCell<BTreeSet<(&'static str, String)>>,
}

impl Scope {
    /// The scope of a new document.
    pub(super) fn new(fork: Fork) -> Self {
        Self {
            fork,
            name: None,
            decoded: Cell::new(0),
            bind: Cell::new(false),
            #[cfg(test)]
            asked: std::cell::RefCell::default(),
            #[cfg(test)]
            stood: std::cell::RefCell::default(),
        }
    }

    /// Ends reading a map; see [`Fields::finish`].
    pub(super) fn finish(&self, mut fields: Fields<'_, '_>) {
        #[cfg(test)]
        {
            let what = fields.what();
            self.asked.borrow_mut().extend(fields.known().iter().map(|key| (what, *key)));
            let stood = fields.present().iter().map(|(key, _)| (what, key.text.clone()));
            self.stood.borrow_mut().extend(stood);
        }
        if self.fork == Fork::Toolkit
            && let Some(names) = YIP_ONLY.get(fields.what())
        {
            for (key, _) in fields.present() {
                if names.contains(&key.text.as_str()) {
                    let message = format!(
                        "`{}` is a key of yip that the toolkit passes over; it is carried out here",
                        key.text
                    );
                    fields.out().push(
                        Diagnostic::note("yip-key", key.span, message)
                            .hint("`dialect: yip` at the top of the file says that it is meant"),
                    );
                }
            }
        }
        fields.finish();
    }
}

/// A string that the machine fills in.
pub(super) fn template(value: Spanned<String>, out: &mut Diagnostics) -> Text {
    if value.value.contains("{{") {
        check(&value.value, value.span, out);
        Text::Template(value.value)
    } else {
        Text::Plain(value.value)
    }
}

/// Checks a template. The only place of this dialect that knows who does it.
pub(super) fn check(text: &str, span: Span, out: &mut Diagnostics) {
    crate::template::check(text, span, out);
}

/// A string that stays as it is.
pub(super) fn plain(value: Spanned<String>, out: &mut Diagnostics) -> String {
    if value.value.contains("{{") {
        out.push(
            Diagnostic::warning(
                "template-kept",
                value.span,
                "templates are not filled in here, `{{` stays as it stands",
            )
            .hint("contents, commands, `if`, entities, host names and variables are filled in"),
        );
    }
    value.value
}

/// Absolute path of the machine, or an error.
pub(super) fn path(value: Spanned<String>, what: &str, out: &mut Diagnostics) -> Option<String> {
    let span = value.span;
    let text = plain(value, out);
    let fault = if !text.starts_with('/') {
        "has to be an absolute path"
    } else if text.split('/').any(|part| part == "..") {
        "may not lead upwards with `..`"
    } else if text.contains('\0') || text.len() > LONGEST_PATH {
        "is no path that can exist"
    } else {
        return Some(text);
    };
    let shown: String = text.chars().take(80).collect();
    out.push(Diagnostic::error("bad-path", span, format!("`{what}` {fault}, and is `{shown}`")));
    None
}

/// A path under a key that has to be there.
pub(super) fn required_path(fields: &mut Fields<'_, '_>, name: &'static str) -> Option<String> {
    let value = fields.require_text(name)?;
    path(value, name, fields.out())
}

/// The entries of a map whose keys the user chooses. One that stands there twice is an error, and the
/// first counts.
pub(super) fn entries<'node>(
    fields: &mut Fields<'node, '_>,
    name: &'static str,
) -> Vec<&'node (Key, Node)> {
    let Some(node) = fields.take(name) else { return Vec::new() };
    let Some(map) = Fields::open(node, name, fields.out()) else { return Vec::new() };
    let mut seen = BTreeSet::new();
    map.present().iter().filter(|(key, _)| seen.insert(key.text.as_str())).collect()
}

/// A list of strings that stay as they are; empty ones are left out.
pub(super) fn strings(fields: &mut Fields<'_, '_>, name: &'static str) -> Vec<Spanned<String>> {
    let mut list = fields.texts(name);
    list.retain(|one| !one.value.is_empty());
    list
}

/// Text of a node that is not empty.
pub(super) fn filled(node: &Node, what: &str, out: &mut Diagnostics) -> Option<Spanned<String>> {
    let value = text(node, what, out)?;
    (!value.value.trim().is_empty()).then_some(value)
}

/// A number that fits, from a text or a number.
pub(super) fn number<N: std::str::FromStr>(
    value: &Spanned<String>,
    what: &str,
    expected: &str,
    out: &mut Diagnostics,
) -> Option<N> {
    let number = value.value.trim().parse().ok();
    if number.is_none() {
        let shown: String = value.value.chars().take(80).collect();
        let message = format!("`{what}` has to be {expected}, and is `{shown}`");
        out.push(Diagnostic::error("bad-number", value.span, message));
    }
    number
}
