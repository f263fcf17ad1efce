//! The values that a template works with.
//!
//! Own and small, because a template must never see more than what the machine was asked to tell:
//! facts, numbers, texts, lists, maps. Maps are ordered by key, as Go orders them when it walks
//! one, so that the same facts always give the same bytes. Whole numbers stay whole: Go turns each
//! number of JSON into a floating one and then prints sixteen million as `1.6e+07`, which nobody
//! ever wanted in a file.

use std::collections::BTreeMap;

use crate::node::{self, Node};

/// Levels of nesting that a value may have; walks over values recurse this deep.
pub(super) const MAXIMUM_DEPTH: usize = 64;

/// Bytes of memory that a value takes beside its text, on 64-bit machines.
pub(super) const ENTRY: usize = 32;

/// A value.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Value {
    /// Nothing; a key that is absent gives this.
    #[default]
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A floating number.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// A map.
    Map(BTreeMap<String, Self>),
}

impl Value {
    /// Whether `if` takes its first branch: everything but nothing, `false`, zero, and what is
    /// empty.
    #[must_use]
    pub fn truth(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Boolean(value) => *value,
            Self::Integer(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(value) => !value.is_empty(),
            Self::List(value) => !value.is_empty(),
            Self::Map(value) => !value.is_empty(),
        }
    }

    /// What it is, for people.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Boolean(_) => "a boolean",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a floating number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    /// The value of a tree that was read from JSON or YAML.
    #[must_use]
    pub fn from_node(node: &Node) -> Self {
        match &node.value {
            node::Value::Null => Self::Null,
            node::Value::Scalar { text, quoted: true } => Self::Text(text.clone()),
            node::Value::Scalar { text, quoted: false } => {
                if let Some(value) = node.boolean() {
                    Self::Boolean(value)
                } else if let Some(value) = node.integer() {
                    Self::Integer(value)
                } else if text.starts_with(|first: char| first.is_ascii_digit() || first == '-')
                    && let Ok(value) = text.parse::<f64>()
                    && value.is_finite()
                {
                    Self::Float(value)
                } else {
                    Self::Text(text.clone())
                }
            }
            node::Value::List(list) => Self::List(list.iter().map(Self::from_node).collect()),
            node::Value::Map(map) => Self::Map(
                map.iter().map(|(key, node)| (key.text.clone(), Self::from_node(node))).collect(),
            ),
        }
    }

    /// Bytes of memory that it takes, at most `limit` and a little more; nothing where it is nested
    /// too deep.
    pub(super) fn weight(&self, depth: usize, limit: usize) -> Option<usize> {
        if depth > MAXIMUM_DEPTH {
            return None;
        }
        let mut sum = ENTRY;
        match self {
            Self::Text(text) => sum += text.len(),
            Self::List(list) => {
                for one in list {
                    sum = sum.saturating_add(one.weight(depth + 1, limit.saturating_sub(sum))?);
                    if sum > limit {
                        break;
                    }
                }
            }
            Self::Map(map) => {
                for (key, one) in map {
                    sum = sum.saturating_add(key.len());
                    sum = sum.saturating_add(one.weight(depth + 1, limit.saturating_sub(sum))?);
                    if sum > limit {
                        break;
                    }
                }
            }
            Self::Null | Self::Boolean(_) | Self::Integer(_) | Self::Float(_) => {}
        }
        Some(sum)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Value {
    fn from(list: Vec<T>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}

/// What a template may ask for: the names behind the first dot.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    root: Value,
}

impl Default for Values {
    fn default() -> Self {
        Self { root: Value::Map(BTreeMap::new()) }
    }
}

impl Values {
    /// The machine's facts under `.Values`, where Elemental's templates look for them.
    #[must_use]
    pub fn facts(facts: Value) -> Self {
        let mut values = Self::default();
        values.insert("Values", facts);
        values
    }

    /// Gives a name behind the first dot its value: `MachineID` for `.MachineID`.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        if let Value::Map(map) = &mut self.root {
            map.insert(name.into(), value.into());
        }
    }

    pub(super) fn root(&self) -> &Value {
        &self.root
    }
}

#[cfg(test)]
mod tests {
    use super::Value;
    use crate::source::SourceId;

    #[test]
    fn a_tree_becomes_values_with_whole_numbers() {
        let text = r#"{"a": [1, -2.5, true, null, "7", 1e3], "b": {"c": "x"}}"#;
        let node = crate::json::document(SourceId(0), text).unwrap();
        let Value::Map(map) = Value::from_node(&node) else { panic!("a map") };
        assert_eq!(
            map["a"],
            Value::List(vec![
                Value::Integer(1),
                Value::Float(-2.5),
                Value::Boolean(true),
                Value::Null,
                "7".into(),
                Value::Float(1000.0),
            ])
        );
        assert_eq!(map["a"].weight(0, 1000), Some(7 * super::ENTRY + 1));
        assert!(size_of::<Value>() <= super::ENTRY);
        let deep = (0..70).fold(Value::Null, |value, _| Value::List(vec![value]));
        assert_eq!(deep.weight(0, 1000), None);
    }
}
