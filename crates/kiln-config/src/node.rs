//! A document as a tree in which every value knows its place.
//!
//! Both notations end here, so that a dialect does not care in which it was written. Scalars keep their
//! text and whether they were quoted: `0600` is a mode to one reader, a decimal number to another,
//! and `no` is a word to both. Resolving scalars while parsing was dropped for that reason.

use crate::source::Span;

/// A value with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// From the first to behind the last byte.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// The kinds of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// No value: `null`, `~` or nothing at all.
    Null,
    /// A scalar.
    Scalar {
        /// The text, escapes resolved.
        text: String,
        /// Whether it can only be a string: quoted, a block scalar, or tagged `!!str`.
        quoted: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map in the order of the document; a key may stand there twice, which [`crate::Fields`] reports.
    Map(Vec<(Key, Node)>),
}

/// A key of a map with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Where it stands.
    pub span: Span,
    /// The key.
    pub text: String,
}

impl Node {
    /// What it is, for the sentence "expected …, found …".
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Scalar { quoted: true, .. } => "a string",
            Value::Scalar { text, .. } if boolean(text).is_some() => "a boolean",
            Value::Scalar { text, .. } if text.parse::<i64>().is_ok() => "a number",
            Value::Scalar { .. } => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The text of a scalar, however it was written.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// `true` or `false`, where it is one and not a quoted word.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        match &self.value {
            Value::Scalar { text, quoted: false } => boolean(text),
            _ => None,
        }
    }

    /// A whole number in decimal notation, where it is one and not a quoted word.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        match &self.value {
            Value::Scalar { text, quoted: false } => text.parse().ok(),
            _ => None,
        }
    }

    /// The members of a list.
    #[must_use]
    pub fn list(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    /// The entries of a map.
    #[must_use]
    pub fn map(&self) -> Option<&[(Key, Self)]> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The value of a key; the first, where it stands there twice.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.map()?.iter().find(|(name, _)| name.text == key).map(|(_, node)| node)
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }
}

/// YAML 1.2 §10.3.2 (core schema): only these are booleans; `yes`, `no`, `on`, `off` are words.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}
