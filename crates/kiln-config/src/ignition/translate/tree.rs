//! One map that is rewritten: keys read from one tree, written into another, places kept.
//!
//! Translators do not build the tree of a config but the document that the newest spec would have
//! had, each value with the place where its author wrote it. So kinds, versions and contents are
//! judged by the one reader and the one validator, and their sentences point into the author's
//! file. Building the config directly was dropped: every check of a kind would have been written
//! three times.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Fields;
use crate::node::{Key, Node, Value};
use crate::source::Span;

/// A map in the making.
#[derive(Debug, Clone)]
pub(crate) struct Map {
    span: Span,
    entries: Vec<(Key, Node)>,
}

impl Map {
    /// An empty map that stands at a place.
    pub(crate) fn new(span: Span) -> Self {
        Self { span, entries: Vec::new() }
    }

    /// Gives a key its value, which stands where the value stands.
    pub(crate) fn put(&mut self, name: &str, node: Node) {
        self.entries.push((Key { span: node.span, text: name.to_owned() }, node));
    }

    /// The same where there is a value.
    pub(crate) fn put_some(&mut self, name: &str, node: Option<Node>) {
        if let Some(node) = node {
            self.put(name, node);
        }
    }

    /// Puts the members of a list behind those that the key has.
    pub(crate) fn extend_list(&mut self, name: &str, node: Node) {
        let known = self.entries.iter_mut().find(|(key, _)| key.text == name);
        match (known, node.value) {
            (Some((_, Node { value: Value::List(list), .. })), Value::List(more)) => {
                list.extend(more);
            }
            (_, value) => self.put(name, Node { span: node.span, value }),
        }
    }

    /// The value of a key that was put.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
    }

    /// The map.
    pub(crate) fn node(self) -> Node {
        Node { span: self.span, value: Value::Map(self.entries) }
    }
}

/// A string at a place.
pub(crate) fn text(span: Span, text: impl Into<String>) -> Node {
    Node { span, value: Value::Scalar { text: text.into(), quoted: true } }
}

/// A boolean or number at a place.
pub(crate) fn bare(span: Span, value: impl std::fmt::Display) -> Node {
    Node { span, value: Value::Scalar { text: value.to_string(), quoted: false } }
}

/// A list at a place.
pub(crate) fn list(span: Span, members: Vec<Node>) -> Node {
    Node { span, value: Value::List(members) }
}

/// A bare scalar as the string that it was meant to be; all else as it is.
pub(crate) fn quoted(node: &Node) -> Node {
    match &node.value {
        Value::Scalar { text: word, .. } => text(node.span, word.clone()),
        _ => node.clone(),
    }
}

/// Whether a value is what old specs write for none: nothing, an empty string, `false` or 0.
pub(crate) fn is_zero(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Scalar { text, quoted: true } => text.is_empty(),
        Value::Scalar { text, quoted: false } => text == "0" || node.boolean() == Some(false),
        Value::List(list) => list.is_empty(),
        Value::Map(map) => map.is_empty(),
    }
}

/// Each member of a list through `change`; what it gives nothing for is left out.
pub(crate) fn members(
    fields: &mut Fields<'_, '_>,
    name: &'static str,
    mut change: impl FnMut(&Node, &mut Diagnostics) -> Option<Node>,
) -> Option<Node> {
    let node = fields.take(name)?;
    let Some(list) = node.list() else {
        // The reader of the result says what kind it has to be.
        return Some(node.clone());
    };
    let mut all = Vec::with_capacity(list.len());
    for member in list {
        all.extend(change(member, fields.out()));
    }
    Some(Node { span: node.span, value: Value::List(all) })
}

/// Refuses a key by name, with the reason.
pub(crate) fn refuse(
    fields: &mut Fields<'_, '_>,
    name: &'static str,
    reason: &str,
    hint: &str,
) -> bool {
    let Some((key, node)) = fields.take_with_key(name) else { return false };
    if is_zero(node) {
        return false;
    }
    let message = format!("`{name}` is refused: {reason}");
    let diagnostic = Diagnostic::error("untranslatable", key.span, message);
    fields.out().push(if hint.is_empty() { diagnostic } else { diagnostic.hint(hint) });
    true
}
