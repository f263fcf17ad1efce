//! A document that is to be written: values in the order in which they shall stand, as YAML or JSON.
//!
//! The counterpart of [`crate::Node`] without places. The YAML is the smallest subset that every reader
//! understands alike: block maps and lists, literal blocks for text of several lines, and double quotes
//! wherever a word could be taken for something else (YAML 1.2.2, and the booleans of 1.1 too). A
//! general emitter was dropped: what it quotes is its own affair, and changes with its version.

use std::fmt::Write as _;

use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

use crate::node::{Node, Value};

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tree {
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Number(u64),
    /// A string.
    Text(String),
    /// A scalar as its author wrote it without quotes; only from [`Tree::from`] a [`Node`].
    Word(String),
    /// No value.
    Null,
    /// A list.
    List(Vec<Self>),
    /// A map, in order.
    Map(Vec<(String, Self)>),
}

impl Tree {
    /// A string.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A map of fixed keys.
    pub(crate) fn map<const LENGTH: usize>(entries: [(&str, Self); LENGTH]) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// The entries of a map; none of anything else.
    pub(crate) fn entries(self) -> Vec<(String, Self)> {
        if let Self::Map(entries) = self { entries } else { Vec::new() }
    }

    /// The whole as a YAML document.
    pub(crate) fn yaml(&self) -> String {
        let mut text = String::new();
        self.block(&mut text, 0);
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.trim_start().to_owned()
    }

    /// Appends the value behind `key:` or `-`; blocks begin on a line of their own.
    fn block(&self, text: &mut String, indent: usize) {
        match self {
            Self::Flag(flag) => put(text, format_args!(" {flag}")),
            Self::Number(number) => put(text, format_args!(" {number}")),
            Self::Word(word) => put(text, format_args!(" {word}")),
            Self::Null => text.push_str(" null"),
            Self::Text(value) if is_block(value) => {
                text.push_str(" |");
                for line in value.strip_suffix('\n').unwrap_or(value).split('\n') {
                    text.push('\n');
                    if !line.is_empty() {
                        put(text, format_args!("{:indent$}{line}", ""));
                    }
                }
            }
            Self::Text(value) => put(text, format_args!(" {}", scalar(value))),
            Self::List(list) if list.is_empty() => text.push_str(" []"),
            Self::Map(map) if map.is_empty() => text.push_str(" {}"),
            Self::List(list) => {
                for value in list {
                    put(text, format_args!("\n{:indent$}-", ""));
                    let mut inner = String::new();
                    value.block(&mut inner, indent + 2);
                    // The first entry of a block stands on the line of its dash.
                    match inner.strip_prefix('\n') {
                        Some(block) => {
                            put(text, format_args!(" {}", block.trim_start_matches(' ')))
                        }
                        None => text.push_str(&inner),
                    }
                }
            }
            Self::Map(map) => {
                for (key, value) in map {
                    put(text, format_args!("\n{:indent$}{}:", "", scalar(key)));
                    value.block(text, indent + 2);
                }
            }
        }
    }
}

impl From<&Node> for Tree {
    fn from(node: &Node) -> Self {
        match &node.value {
            Value::Null => Self::Null,
            Value::Scalar { text, quoted: false } if is_plain(text) => Self::Word(text.clone()),
            Value::Scalar { text, .. } => Self::Text(text.clone()),
            Value::List(list) => Self::List(list.iter().map(Self::from).collect()),
            Value::Map(map) => {
                Self::Map(map.iter().map(|(key, node)| (key.text.clone(), node.into())).collect())
            }
        }
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Text(text) | Self::Word(text) => serializer.serialize_str(text),
            Self::Null => serializer.serialize_unit(),
            Self::List(list) => {
                let mut sequence = serializer.serialize_seq(Some(list.len()))?;
                for value in list {
                    sequence.serialize_element(value)?;
                }
                sequence.end()
            }
            Self::Map(map) => {
                let mut entries = serializer.serialize_map(Some(map.len()))?;
                for (key, value) in map {
                    entries.serialize_entry(key, value)?;
                }
                entries.end()
            }
        }
    }
}

/// Formatting into a string cannot fail.
fn put(text: &mut String, part: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(part);
}

/// Whether text stands well as a literal block: lines of printable characters that end with one
/// break, the first of them not empty and not indented (YAML 1.2.2 §8.1.1.1).
fn is_block(text: &str) -> bool {
    let Some(body) = text.strip_suffix('\n') else { return false };
    !body.is_empty()
        && !body.ends_with('\n')
        && !body.starts_with([' ', '\t', '\n'])
        && body.chars().all(|letter| letter == '\n' || letter == '\t' || is_printable(letter))
        && body.split('\n').all(|line| !line.trim().is_empty() || line.is_empty())
}

/// YAML 1.2.2 §5.1, without the breaks of other standards and the byte order mark.
fn is_printable(letter: char) -> bool {
    matches!(letter, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}'
        | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..)
        && !matches!(letter, '\u{2028}' | '\u{2029}')
}

/// Whether a word needs no quotes anywhere in a block.
fn is_plain(text: &str) -> bool {
    let safe = |letter: char| letter.is_ascii_alphanumeric() || "_./-+@=,:% ".contains(letter);
    !text.is_empty()
        && text.chars().all(safe)
        && !text.starts_with(['-', '@', '%', ',', ':', '='])
        && !text.ends_with(':')
        && !text.contains(": ")
        && text.trim() == text
}

/// Words and numbers that some reader of YAML would not take for a string.
fn is_something_else(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let words = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"];
    words.contains(&lower.trim_start_matches(['.', '+', '-']))
        || text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first))
            && text
                .chars()
                .all(|letter| letter.is_ascii_hexdigit() || "+-._:xobeE".contains(letter))
}

/// A string on one line, quoted where that is needed.
fn scalar(text: &str) -> String {
    if is_plain(text) && !is_something_else(text) {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            letter if is_printable(letter) => quoted.push(letter),
            letter => match u32::from(letter) {
                code @ 0..=0xff => put(&mut quoted, format_args!("\\x{code:02x}")),
                code @ 0x100..=0xffff => put(&mut quoted, format_args!("\\u{code:04x}")),
                code => put(&mut quoted, format_args!("\\U{code:08x}")),
            },
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Tree;
    use crate::source::SourceId;
    use crate::yaml::document;

    fn same(tree: &Tree, text: &str) -> bool {
        let node = document(SourceId(0), text).unwrap_or_else(|fault| panic!("{fault:?}\n{text}"));
        strip(&Tree::from(&node)) == strip(tree)
    }

    /// Words, numbers and flags by what is written.
    fn strip(tree: &Tree) -> Tree {
        match tree {
            Tree::Flag(flag) => Tree::text(flag.to_string()),
            Tree::Number(number) => Tree::text(number.to_string()),
            Tree::Word(word) => Tree::text(word),
            Tree::List(list) => Tree::List(list.iter().map(strip).collect()),
            Tree::Map(map) => {
                Tree::Map(map.iter().map(|(key, value)| (key.clone(), strip(value))).collect())
            }
            other => other.clone(),
        }
    }

    fn trees() -> impl Strategy<Value = Tree> {
        let text =
            prop_oneof!["[ -~\n]{0,12}", any::<String>(), "[a-z/.]{1,8}", "(no|1e3|~|null|-)"];
        let leaf = prop_oneof![
            any::<bool>().prop_map(Tree::Flag),
            any::<u64>().prop_map(Tree::Number),
            text.clone().prop_map(Tree::Text),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Tree::List),
                proptest::collection::vec((text.clone(), inner), 0..4).prop_map(Tree::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(tree in trees()) {
            let tree = Tree::map([("value", tree)]);
            let text = tree.yaml();
            prop_assert!(same(&tree, &text), "{text}");
        }
    }

    #[test]
    fn yaml_looks_as_people_write_it() {
        let tree = Tree::map([
            ("name", Tree::text("a b")),
            ("mode", Tree::text("0644")),
            ("text", Tree::text("one\n\n  two\n")),
            (
                "list",
                Tree::List(vec![
                    Tree::map([("a", Tree::Number(1)), ("b", Tree::List(vec![Tree::Flag(true)]))]),
                    Tree::List(Vec::new()),
                    Tree::text("/etc/x"),
                ]),
            ),
            ("no", Tree::text("yes")),
        ]);
        let expected = "name: a b\nmode: \"0644\"\ntext: |\n  one\n\n    two\nlist:\n  - a: 1\n    b:\n      - true\n  - []\n  - /etc/x\n\"no\": \"yes\"\n";
        assert_eq!(tree.yaml(), expected);
    }
}
