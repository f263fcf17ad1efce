//! The keys of one map, taken one after the other, with a word about those nobody took.
//!
//! A dialect's reader says which keys it knows by taking them; what is left at the end is unknown, and
//! the nearest known name is suggested. A value of the wrong kind is an error with its place, and the
//! reader goes on as if the key were absent, so one run finds all faults. A table of keys beside
//! the reader was dropped: the two would drift apart.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::node::{Key, Node, Value};
use crate::source::Span;
use crate::suggest::nearest;

/// A value with the place where it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
}

/// Keys that most maps may have: one allocation for each map instead of four.
const KNOWN_KEYS: usize = 16;
/// Entries up to which each is compared with all before it; a map of a document has a handful, and an index
/// of these costs more than it saves.
const FEW_ENTRIES: usize = 16;

/// The keys of one map.
#[derive(Debug)]
pub struct Fields<'node, 'out> {
    /// What the map describes, for sentences: `a file`, `a user`.
    what: &'static str,
    span: Span,
    entries: &'node [(Key, Node)],
    known: Vec<&'static str>,
    unknown: Severity,
    out: &'out mut Diagnostics,
}

impl<'node, 'out> Fields<'node, 'out> {
    /// Opens a map; nothing at all counts as an empty one. A key that stands there twice is an error
    /// which names both lines.
    ///
    /// Gives nothing, and an error, where the node is no map.
    pub fn open(node: &'node Node, what: &'static str, out: &'out mut Diagnostics) -> Option<Self> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            Value::Scalar { .. } | Value::List(_) => {
                out.push(wrong_kind(node, what, "a map"));
                return None;
            }
        };
        for (key, first) in repeated(entries) {
            let message = format!("`{}` stands twice in {what}", key.text);
            out.push(
                Diagnostic::error("duplicate-key", key.span, message)
                    .label(first, "the first is here")
                    .hint("remove one of the two"),
            );
        }
        Some(Self {
            what,
            span: node.span,
            entries,
            known: Vec::with_capacity(KNOWN_KEYS),
            unknown: Severity::Warning,
            out,
        })
    }

    /// Unknown keys are errors in this map; without it they are warnings and ignored.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.unknown = Severity::Error;
        self
    }

    /// Place of the whole map.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// What the map describes.
    #[must_use]
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// All that stands in the map, in its order.
    #[must_use]
    pub fn present(&self) -> &'node [(Key, Node)] {
        self.entries
    }

    /// The keys that were asked for until now.
    #[must_use]
    pub fn known(&self) -> &[&'static str] {
        &self.known
    }

    /// Where diagnostics go.
    pub fn out(&mut self) -> &mut Diagnostics {
        self.out
    }

    /// The value of a key, which is known from now on; nothing where it is absent or null.
    pub fn take(&mut self, name: &'static str) -> Option<&'node Node> {
        self.take_with_key(name).map(|(_, node)| node)
    }

    /// The same with the key itself, also where the value is null.
    pub fn entry(&mut self, name: &'static str) -> Option<&'node (Key, Node)> {
        self.known.push(name);
        self.entries.iter().find(|(key, _)| key.text == name)
    }

    /// The same with the key itself.
    pub fn take_with_key(&mut self, name: &'static str) -> Option<(&'node Key, &'node Node)> {
        self.entry(name).filter(|(_, node)| !node.is_null()).map(|(key, node)| (key, node))
    }

    /// The value of a key that has to be there; an error at the map where it is not.
    pub fn require(&mut self, name: &'static str) -> Option<&'node Node> {
        let found = self.take(name);
        if found.is_none() {
            let message = format!("{} needs `{name}`", self.what);
            self.out.push(Diagnostic::error("missing-key", self.span, message));
        }
        found
    }

    /// A scalar as text; numbers and booleans count by what was written.
    pub fn text(&mut self, name: &'static str) -> Option<Spanned<String>> {
        let node = self.take(name)?;
        text(node, name, self.out)
    }

    /// A scalar as text that has to be there.
    pub fn require_text(&mut self, name: &'static str) -> Option<Spanned<String>> {
        let node = self.require(name)?;
        text(node, name, self.out)
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &'static str) -> Option<Spanned<bool>> {
        let node = self.take(name)?;
        if let Some(value) = node.boolean() {
            return Some(Spanned { value, span: node.span });
        }
        self.out.push(wrong_kind(node, name, "`true` or `false`"));
        None
    }

    /// A whole number in decimal notation.
    pub fn integer(&mut self, name: &'static str) -> Option<Spanned<i64>> {
        let node = self.take(name)?;
        if let Some(value) = node.integer() {
            return Some(Spanned { value, span: node.span });
        }
        self.out.push(wrong_kind(node, name, "a whole number"));
        None
    }

    /// The members of a list; none where the key is absent.
    pub fn list(&mut self, name: &'static str) -> &'node [Node] {
        let Some(node) = self.take(name) else { return &[] };
        if let Some(list) = node.list() {
            return list;
        }
        self.out.push(wrong_kind(node, name, "a list"));
        &[]
    }

    /// A list of scalars.
    pub fn texts(&mut self, name: &'static str) -> Vec<Spanned<String>> {
        let list = self.list(name);
        list.iter().filter_map(|node| text(node, name, self.out)).collect()
    }

    /// The entries of a map whose keys the user chooses.
    pub fn entries(&mut self, name: &'static str) -> &'node [(Key, Node)] {
        let Some(node) = self.take(name) else { return &[] };
        if let Some(map) = node.map() {
            return map;
        }
        self.out.push(wrong_kind(node, name, "a map"));
        &[]
    }

    /// Ends reading: says which keys nobody took, and whom they resemble. To be called always.
    pub fn finish(self) {
        for (key, _) in self.entries {
            if self.known.contains(&key.text.as_str()) {
                continue;
            }
            let end = match self.unknown {
                Severity::Error => "",
                Severity::Note | Severity::Warning => ", it is ignored",
            };
            let message = format!("{} has no key `{}`{end}", self.what, key.text);
            let diagnostic = Diagnostic::new(self.unknown, "unknown-key", key.span, message);
            self.out.push(match nearest(&key.text, self.known.iter().copied()) {
                Some(name) => diagnostic.hint(format!("did you mean `{name}`?")),
                None => diagnostic,
            });
        }
    }
}

/// Keys that stand in a map already, in its order, each with the place of the first of its name.
fn repeated(entries: &[(Key, Node)]) -> Vec<(&Key, Span)> {
    if entries.len() <= FEW_ENTRIES {
        let keys = || entries.iter().map(|(key, _)| key);
        let first = |at: usize, key: &Key| keys().take(at).find(|other| other.text == key.text);
        let twice = keys().enumerate().map(|(at, key)| (key, first(at, key)));
        return twice.filter_map(|(key, first)| Some((key, first?.span))).collect();
    }
    let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
    let mut twice = Vec::new();
    for (key, _) in entries {
        match seen.entry(&key.text) {
            Entry::Occupied(first) => twice.push((key, *first.get())),
            Entry::Vacant(place) => {
                place.insert(key.span);
            }
        }
    }
    twice
}

/// The text of a scalar, or an error that names what was expected.
pub fn text(node: &Node, what: &str, out: &mut Diagnostics) -> Option<Spanned<String>> {
    if let Some(text) = node.text() {
        return Some(Spanned { value: text.to_owned(), span: node.span });
    }
    out.push(wrong_kind(node, what, "a string"));
    None
}

/// The sentence about a value of the wrong kind.
#[must_use]
pub fn wrong_kind(node: &Node, what: &str, expected: &str) -> Diagnostic {
    let message = format!("`{what}` has to be {expected}, and is {}", node.kind());
    Diagnostic::error(
        "wrong-type",
        node.span,
        message.replace("`a ", "a `").replace("`an ", "an `"),
    )
}

#[cfg(test)]
mod tests {
    use super::Fields;
    use crate::diagnostic::Diagnostics;
    use crate::source::SourceId;
    use crate::yaml::document;

    #[test]
    fn keys_that_stand_twice_are_found_in_small_maps_and_large_ones() {
        for others in [0, 13, 14, 15, 100] {
            let others: String = (0..others).map(|number| format!("k{number}: 1\n")).collect();
            let text = format!("path: /a\n{others}path: /b\npath: /c\n");
            let node = document(SourceId(0), &text).unwrap();
            let mut out = Diagnostics::default();
            Fields::open(&node, "a file", &mut out).unwrap();
            let said: Vec<_> =
                out.list().iter().map(|one| (one.code, one.labels[0].span.start)).collect();
            assert_eq!(said, [("duplicate-key", 0), ("duplicate-key", 0)], "{text}");
        }
    }

    #[test]
    fn every_fault_of_a_map_is_found_in_one_run() {
        let text = "path: /a\npath: /b\npermsisions: 1\nenabled: maybe\nsize: x\nlist: 1\n";
        let node = document(SourceId(0), text).unwrap();
        let mut out = Diagnostics::default();
        let mut fields = Fields::open(&node, "a file", &mut out).unwrap();
        assert_eq!(fields.text("path").map(|path| path.value), Some("/a".into()));
        assert_eq!(fields.text("permissions"), None);
        assert_eq!(fields.boolean("enabled"), None);
        assert_eq!(fields.integer("size"), None);
        assert!(fields.list("list").is_empty());
        assert!(fields.require_text("owner").is_none());
        fields.finish();
        let said: Vec<_> = out.list().iter().map(|one| (one.code, one.message.as_str())).collect();
        assert_eq!(
            said,
            [
                ("duplicate-key", "`path` stands twice in a file"),
                ("wrong-type", "`enabled` has to be `true` or `false`, and is a string"),
                ("wrong-type", "`size` has to be a whole number, and is a string"),
                ("wrong-type", "`list` has to be a list, and is a number"),
                ("missing-key", "a file needs `owner`"),
                ("unknown-key", "a file has no key `permsisions`, it is ignored"),
            ]
        );
        assert_eq!(out.list()[5].hint.as_deref(), Some("did you mean `permissions`?"));
    }
}
