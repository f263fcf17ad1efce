//! One map of an Ignition config while it is read: strict kinds, and keys that came with a later version.
//!
//! [`Fields`] takes numbers as text, which suits the other dialects; Ignition's schema does not, so a
//! number where a string belongs is an error here. A key that the document's version does not have yet
//! is ignored like any unknown key, but the sentence says which version brought it.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::{Fields, Spanned, wrong_kind};
use crate::ignition::config::Version;
use crate::node::{Node, Value};
use crate::source::Span;

/// Members of one list; a machine has fewer by far, and pairs of them are compared.
const MAXIMUM_MEMBERS: usize = 100_000;

/// A map that is being read.
#[derive(Debug)]
pub(super) struct Map<'node, 'out> {
    fields: Fields<'node, 'out>,
    version: Version,
}

impl<'node, 'out> Map<'node, 'out> {
    /// Opens a map; nothing, and an error, where the node is none.
    pub(super) fn open(
        node: &'node Node,
        what: &'static str,
        version: Version,
        out: &'out mut Diagnostics,
    ) -> Option<Self> {
        Some(Self { fields: Fields::open(node, what, out)?, version })
    }

    /// Place of the map.
    pub(super) fn span(&self) -> Span {
        self.fields.span()
    }

    /// Whether the document's version has the key; where not and the key is there, that is said.
    pub(super) fn since(&mut self, name: &'static str, first: Version) -> bool {
        if self.version >= first {
            return true;
        }
        if let Some((key, _)) = self.fields.entry(name) {
            let message = format!(
                "`{name}` does not exist in version {}, it is ignored",
                self.version.name()
            );
            let hint = format!("write `{}` as `ignition.version`", first.name());
            self.fields
                .out()
                .push(Diagnostic::warning("unknown-key", key.span, message).hint(hint));
        }
        false
    }

    /// A string.
    pub(super) fn text(&mut self, name: &'static str) -> Option<Spanned<String>> {
        let node = self.fields.take(name)?;
        string(node, name, self.fields.out())
    }

    /// A string that has to be there; empty, at the place of the map, where it is not.
    pub(super) fn required(&mut self, name: &'static str) -> Spanned<String> {
        self.text(name).unwrap_or(Spanned { value: String::new(), span: self.span() })
    }

    /// A boolean.
    pub(super) fn boolean(&mut self, name: &'static str) -> Option<Spanned<bool>> {
        self.fields.boolean(name)
    }

    /// A whole number; in YAML also in octal notation, as modes are written there.
    pub(super) fn integer(&mut self, name: &'static str) -> Option<Spanned<i64>> {
        let node = self.fields.take(name)?;
        if let Value::Scalar { text, quoted: false } = &node.value
            && let Some(value) = number(text)
        {
            return Some(Spanned { value, span: node.span });
        }
        self.fields.out().push(wrong_kind(node, name, "a whole number"));
        None
    }

    /// A list of strings.
    pub(super) fn texts(&mut self, name: &'static str) -> Vec<Spanned<String>> {
        let list = self.members(name);
        list.iter().filter_map(|node| string(node, name, self.fields.out())).collect()
    }

    /// A list of maps; a member that is none is reported and left out.
    pub(super) fn maps<T>(
        &mut self,
        name: &'static str,
        what: &'static str,
        read: impl Fn(&mut Map<'node, '_>) -> T,
    ) -> Vec<T> {
        let (list, version) = (self.members(name), self.version);
        let mut all = Vec::with_capacity(list.len());
        for node in list {
            if node.is_null() {
                self.fields.out().push(wrong_kind(node, name, "a list of maps"));
            } else if let Some(mut map) = Map::open(node, what, version, self.fields.out()) {
                all.push(read(&mut map));
                map.fields.finish();
            }
        }
        all
    }

    /// A map.
    pub(super) fn map<T>(
        &mut self,
        name: &'static str,
        what: &'static str,
        read: impl FnOnce(&mut Map<'node, '_>) -> T,
    ) -> Option<T> {
        let node = self.fields.take(name)?;
        let mut map = Map::open(node, what, self.version, self.fields.out())?;
        let value = read(&mut map);
        map.fields.finish();
        Some(value)
    }

    /// Marks a key as known, whose value is read elsewhere.
    pub(super) fn known(&mut self, name: &'static str) {
        self.fields.entry(name);
    }

    /// Says which keys nobody took.
    pub(super) fn finish(self) {
        self.fields.finish();
    }

    fn members(&mut self, name: &'static str) -> &'node [Node] {
        let list = self.fields.list(name);
        let Some(first) = list.get(MAXIMUM_MEMBERS) else { return list };
        let message = format!("`{name}` has more than {MAXIMUM_MEMBERS} members");
        self.fields.out().push(Diagnostic::error("too-many", first.span, message));
        &[]
    }
}

/// The text of a scalar that is a string.
pub(super) fn string(node: &Node, what: &str, out: &mut Diagnostics) -> Option<Spanned<String>> {
    match &node.value {
        Value::Scalar { text, .. } if node.kind() == "a string" && !decimal(node) => {
            Some(Spanned { value: text.clone(), span: node.span })
        }
        _ => {
            out.push(wrong_kind(node, what, "a string"));
            None
        }
    }
}

/// Whether an unquoted scalar is a number with a fraction or beyond 64 bits, which is no string either.
fn decimal(node: &Node) -> bool {
    match &node.value {
        Value::Scalar { text, quoted: false } => {
            text.bytes().next().is_some_and(|byte| byte.is_ascii_digit() || byte == b'-')
                && text.parse::<f64>().is_ok()
        }
        _ => false,
    }
}

/// YAML 1.1 and 1.2 write octal numbers as `0644` and `0o644`; JSON has neither.
fn number(text: &str) -> Option<i64> {
    let octal = text.strip_prefix("0o").or_else(|| text.strip_prefix('0'));
    match octal {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            i64::from_str_radix(digits, 8).ok()
        }
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn whole_numbers_in_both_notations() {
        for (text, expected) in [
            ("420", Some(420)),
            ("0644", Some(420)),
            ("0o644", Some(420)),
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("0888", None),
            ("1.0", None),
            ("1e3", None),
            ("9223372036854775808", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }
}
