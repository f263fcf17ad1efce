//! The form of a value: how it is read, how it is written, and what a schema says about it.
//!
//! Each key of Kiln's YAML is one line of a [`record!`] table, and reader, writer and JSON Schema all
//! come from that line, so none of them can know a key that the others do not. Deriving the
//! schema from types (schemars) was dropped: it describes what `serde` would take, and this reader is not
//! `serde`, because it has to know places and find all faults.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::{Fields, text, wrong_kind};
use crate::node::{Node, Value};
use crate::operation::Text;
use crate::provision::tree::Tree;

/// How one kind of value looks in a document.
pub(crate) trait Shape {
    /// What it is in a plan.
    type Value: PartialEq;
    /// Takes the value of `key`; says what is wrong where there is none.
    fn read(node: &Node, key: &'static str, out: &mut Diagnostics) -> Option<Self::Value>;
    /// The value as it is written.
    fn write(value: &Self::Value) -> Tree;
    /// The value in JSON Schema (draft 2020-12).
    fn schema() -> Tree;
}

/// A map with fixed keys, one of which may name it.
pub(crate) trait Record: Shape {
    /// What it describes: `a file`.
    const WHAT: &'static str;
    /// The key that names it: where records stand in a map by name, that key stands in front.
    const NAME: &'static str;
    /// Takes a record; `name` is the scalar that stood in front of it.
    fn read_named(
        node: &Node,
        name: Option<Node>,
        out: &mut Diagnostics,
    ) -> Option<<Self as Shape>::Value>;
}

/// The record without its name, and the name; nothing where the name is no plain string.
pub(crate) fn write_named<S: Record>(value: &S::Value) -> Option<(String, Tree)> {
    let mut entries = S::write(value).entries();
    let at = entries.iter().position(|(key, _)| key == S::NAME)?;
    match entries.remove(at) {
        (_, Tree::Text(name)) => Some((name, Tree::Map(entries))),
        _ => None,
    }
}

/// The schema of a record whose name stands in front of it.
pub(crate) fn schema_named<S: Record>() -> Tree {
    let entries = S::schema().entries().into_iter().filter_map(|(key, value)| {
        Some(match (key.as_str(), value) {
            ("properties", Tree::Map(mut properties)) => {
                properties.retain(|(key, _)| key != S::NAME);
                (key, Tree::Map(properties))
            }
            ("required", Tree::List(mut names)) => {
                names.retain(|name| *name != Tree::text(S::NAME));
                if names.is_empty() {
                    return None;
                }
                (key, Tree::List(names))
            }
            (_, value) => (key, value),
        })
    });
    Tree::Map(entries.collect())
}

/// The schema of an object that has these keys and no others.
pub(crate) fn object(properties: Vec<(String, Tree)>, required: Vec<Tree>) -> Tree {
    let mut schema = Tree::map([
        ("type", Tree::text("object")),
        ("additionalProperties", Tree::Flag(false)),
        ("properties", Tree::Map(properties)),
    ])
    .entries();
    if !required.is_empty() {
        schema.push(("required".to_owned(), Tree::List(required)));
    }
    Tree::Map(schema)
}

/// A schema with what it is for and what it is without a word.
pub(crate) fn described(schema: Tree, help: &str, default: Option<Tree>) -> Tree {
    let mut entries = schema.entries();
    entries.push(("description".to_owned(), Tree::text(help)));
    entries.extend(default.map(|value| ("default".to_owned(), value)));
    Tree::Map(entries)
}

/// The schema of objects whose keys the user chooses.
pub(crate) fn by_name(value: Tree) -> Tree {
    Tree::map([("type", Tree::text("object")), ("additionalProperties", value)])
}

/// Writes `$shape`, which reads, writes and describes `$value`, from a table of its keys.
///
/// Keys of `needs` have to be there, the first of them names the record; those of `takes` have a value
/// without a word.
macro_rules! record {
    ($(#[$meta:meta])* $shape:ident: $value:ident, $what:literal;
     needs { $($need_key:literal $need:ident: $need_shape:ty, $need_help:literal;)+ }
     takes { $($key:literal $field:ident: $kind:ty = $default:expr, $help:literal;)* }) => {
        $(#[$meta])*
        pub(crate) struct $shape;

        impl $crate::provision::shape::Record for $shape {
            const WHAT: &'static str = $what;
            const NAME: &'static str = $crate::provision::shape::first(&[$($need_key),+]);

            fn read_named(
                node: &$crate::Node,
                mut name: Option<$crate::Node>,
                out: &mut $crate::Diagnostics,
            ) -> Option<<Self as $crate::provision::shape::Shape>::Value> {
                let mut fields = $crate::Fields::open(node, $what, out)?.strict();
                $(let $need =
                    $crate::provision::shape::need::<$need_shape>(&mut fields, $need_key, &mut name);)+
                $(let $field =
                    $crate::provision::shape::take::<$kind>(&mut fields, $key);)*
                fields.finish();
                Some($value {
                    $($need: $need?,)+
                    $($field: $field.unwrap_or_else(|| $default),)*
                })
            }
        }

        impl $crate::provision::shape::Shape for $shape {
            type Value = $value;

            fn read(
                node: &$crate::Node,
                _key: &'static str,
                out: &mut $crate::Diagnostics,
            ) -> Option<$value> {
                <Self as $crate::provision::shape::Record>::read_named(node, None, out)
            }

            fn write(value: &$value) -> $crate::provision::tree::Tree {
                let needed = [
                    $(($need_key.to_owned(),
                       <$need_shape as $crate::provision::shape::Shape>::write(&value.$need)),)+
                ];
                // A value that is the default needs no word.
                let others: Vec<Option<(String, $crate::provision::tree::Tree)>> = vec![$({
                    let default: <$kind as $crate::provision::shape::Shape>::Value = $default;
                    (value.$field != default).then(|| {
                        let tree = <$kind as $crate::provision::shape::Shape>::write(&value.$field);
                        ($key.to_owned(), tree)
                    })
                }),*];
                let entries = needed.into_iter().chain(others.into_iter().flatten()).collect();
                $crate::provision::tree::Tree::Map(entries)
            }

            fn schema() -> $crate::provision::tree::Tree {
                use $crate::provision::shape::{Shape, described, object};
                use $crate::provision::tree::Tree;
                object(
                    vec![
                        $(($need_key.to_owned(),
                           described(<$need_shape as Shape>::schema(), $need_help, None)),)+
                        $(($key.to_owned(),
                           described(<$kind as Shape>::schema(), $help,
                               $crate::provision::shape::shown(<$kind as Shape>::write(&$default)))),)*
                    ],
                    vec![$(Tree::text($need_key)),+],
                )
            }
        }
    };
}
pub(crate) use record;

/// The first of some names; a table always has one.
pub(crate) const fn first(names: &[&'static str]) -> &'static str {
    match names {
        [first, ..] => first,
        [] => "",
    }
}

/// A value without which a record is nothing.
pub(crate) fn need<S: Shape>(
    fields: &mut Fields<'_, '_>,
    key: &'static str,
    name: &mut Option<Node>,
) -> Option<S::Value> {
    if let Some(node) = name.take() {
        return S::read(&node, key, fields.out());
    }
    let node = fields.require(key)?;
    S::read(node, key, fields.out())
}

/// A value that may be absent.
pub(crate) fn take<S: Shape>(fields: &mut Fields<'_, '_>, key: &'static str) -> Option<S::Value> {
    let node = fields.take(key)?;
    S::read(node, key, fields.out())
}

/// A default that is worth showing.
pub(crate) fn shown(default: Tree) -> Option<Tree> {
    match default {
        Tree::Null | Tree::List(_) | Tree::Map(_) => None,
        Tree::Text(text) if text.is_empty() => None,
        value => Some(value),
    }
}

fn kind(name: &str) -> Tree {
    Tree::map([("type", Tree::text(name))])
}

/// A string.
pub(crate) struct Word;

impl Shape for Word {
    type Value = String;

    fn read(node: &Node, key: &'static str, out: &mut Diagnostics) -> Option<String> {
        text(node, key, out).map(|text| text.value)
    }

    fn write(value: &String) -> Tree {
        Tree::text(value)
    }

    fn schema() -> Tree {
        // Numbers and booleans count by what was written.
        let kinds = ["string", "number", "boolean"].map(Tree::text);
        Tree::map([("type", Tree::List(kinds.into()))])
    }
}

/// An absolute path of the machine.
pub(crate) struct Path;

impl Shape for Path {
    type Value = String;

    fn read(node: &Node, key: &'static str, out: &mut Diagnostics) -> Option<String> {
        let path = text(node, key, out)?;
        check_path(&path.value, node, key, out).then_some(path.value)
    }

    fn write(value: &String) -> Tree {
        Tree::text(value)
    }

    fn schema() -> Tree {
        Tree::map([("type", Tree::text("string")), ("pattern", Tree::text("^/"))])
    }
}

/// Whether a path is absolute and leads nowhere else.
pub(crate) fn check_path(path: &str, node: &Node, key: &str, out: &mut Diagnostics) -> bool {
    let (problem, hint) = if !path.starts_with('/') {
        ("is not absolute", "begin it with `/`")
    } else if path.split('/').any(|part| part == "..") {
        ("has a part `..`", "write the path that is meant")
    } else if path.contains('\0') {
        ("has a zero byte", "write the path that is meant")
    } else {
        return true;
    };
    let message = format!("`{key}` {problem}: `{path}`");
    out.push(Diagnostic::error("path", node.span, message).hint(hint));
    false
}

/// A string that the machine may have to fill: as it stands, or `{template: …}`.
pub(crate) struct Holes;

impl Shape for Holes {
    type Value = Text;

    fn read(node: &Node, key: &'static str, out: &mut Diagnostics) -> Option<Text> {
        if matches!(node.value, Value::Map(_)) {
            let mut fields = Fields::open(node, "a template", out)?.strict();
            let template = fields.require_text("template");
            fields.finish();
            return template.map(|text| Text::Template(text.value));
        }
        text(node, key, out).map(|text| Text::Plain(text.value))
    }

    fn write(value: &Text) -> Tree {
        match value {
            Text::Plain(text) => Tree::text(text),
            Text::Template(text) => Tree::map([("template", Tree::text(text))]),
        }
    }

    fn schema() -> Tree {
        let template =
            object(vec![("template".to_owned(), kind("string"))], vec![Tree::text("template")]);
        Tree::map([("oneOf", Tree::List(vec![Word::schema(), template]))])
    }
}

/// The same for a path.
pub(crate) struct PathHoles;

impl Shape for PathHoles {
    type Value = Text;

    fn read(node: &Node, key: &'static str, out: &mut Diagnostics) -> Option<Text> {
        let path = Holes::read(node, key, out)?;
        match &path {
            Text::Plain(plain) => check_path(plain, node, key, out).then_some(path),
            Text::Template(_) => Some(path),
        }
    }

    fn write(value: &Text) -> Tree {
        Holes::write(value)
    }

    fn schema() -> Tree {
        Holes::schema()
    }
}

/// `true` or `false`.
pub(crate) struct Flag;

impl Shape for Flag {
    type Value = bool;

    fn read(node: &Node, key: &'static str, out: &mut Diagnostics) -> Option<bool> {
        let flag = node.boolean();
        if flag.is_none() {
            out.push(wrong_kind(node, key, "`true` or `false`"));
        }
        flag
    }

    fn write(value: &bool) -> Tree {
        Tree::Flag(*value)
    }

    fn schema() -> Tree {
        kind("boolean")
    }
}

/// A flag whose key says the opposite of its field: `createGroup` for one that forbids it.
pub(crate) struct Opposite;

impl Shape for Opposite {
    type Value = bool;

    fn read(node: &Node, key: &'static str, out: &mut Diagnostics) -> Option<bool> {
        Flag::read(node, key, out).map(|flag| !flag)
    }

    fn write(value: &bool) -> Tree {
        Tree::Flag(!value)
    }

    fn schema() -> Tree {
        Flag::schema()
    }
}

/// A whole number of some width, not below 0.
pub(crate) struct Number<Width>(std::marker::PhantomData<Width>);

impl<Width: TryFrom<u64> + Into<u64> + Copy + PartialEq> Shape for Number<Width> {
    type Value = Width;

    fn read(node: &Node, key: &'static str, out: &mut Diagnostics) -> Option<Width> {
        let number = match &node.value {
            Value::Scalar { text, quoted: false } => text.parse::<u64>().ok(),
            _ => None,
        };
        let number = number.and_then(|number| Width::try_from(number).ok());
        if number.is_none() {
            let bits = size_of::<Width>() * 8;
            out.push(wrong_kind(node, key, &format!("a whole number from 0 to 2^{bits} - 1")));
        }
        number
    }

    fn write(value: &Width) -> Tree {
        Tree::Number((*value).into())
    }

    fn schema() -> Tree {
        Tree::map([("type", Tree::text("integer")), ("minimum", Tree::Number(0))])
    }
}

/// Permission bits in octal notation, with or without quotes: `0644`, `"0644"`.
pub(crate) struct Mode;

/// All bits that chmod(2) knows.
const MODE_BITS: u32 = 0o7777;

impl Shape for Mode {
    type Value = u32;

    fn read(node: &Node, key: &'static str, out: &mut Diagnostics) -> Option<u32> {
        let written = text(node, key, out)?;
        let digits = written.value.strip_prefix("0o").unwrap_or(&written.value);
        let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= MODE_BITS);
        if mode.is_none() || digits.starts_with('+') {
            let message = format!("`{key}` is no mode in octal notation: `{}`", written.value);
            let hint = "write permission bits as `0644` or `4755`";
            out.push(Diagnostic::error("mode", node.span, message).hint(hint));
            return None;
        }
        mode
    }

    fn write(value: &u32) -> Tree {
        Tree::Text(format!("{value:04o}"))
    }

    fn schema() -> Tree {
        let kinds = ["string", "integer"].map(Tree::text);
        Tree::map([
            ("type", Tree::List(kinds.into())),
            ("pattern", Tree::text("^(0o)?[0-7]{1,5}$")),
        ])
    }
}

/// A value that may be absent.
pub(crate) struct Maybe<S>(std::marker::PhantomData<S>);

impl<S: Shape> Shape for Maybe<S> {
    type Value = Option<S::Value>;

    fn read(node: &Node, key: &'static str, out: &mut Diagnostics) -> Option<Self::Value> {
        S::read(node, key, out).map(Some)
    }

    fn write(value: &Self::Value) -> Tree {
        value.as_ref().map_or(Tree::Null, S::write)
    }

    fn schema() -> Tree {
        S::schema()
    }
}

/// A list.
pub(crate) struct Many<S>(std::marker::PhantomData<S>);

impl<S: Shape> Shape for Many<S> {
    type Value = Vec<S::Value>;

    fn read(node: &Node, key: &'static str, out: &mut Diagnostics) -> Option<Self::Value> {
        let Some(list) = node.list() else {
            out.push(wrong_kind(node, key, "a list"));
            return None;
        };
        Some(list.iter().filter_map(|node| S::read(node, key, out)).collect())
    }

    fn write(value: &Self::Value) -> Tree {
        Tree::List(value.iter().map(S::write).collect())
    }

    fn schema() -> Tree {
        Tree::map([("type", Tree::text("array")), ("items", S::schema())])
    }
}

/// A map from names that the user chooses.
pub(crate) struct Named<S>(std::marker::PhantomData<S>);

impl<S: Shape> Shape for Named<S> {
    type Value = BTreeMap<String, S::Value>;

    fn read(node: &Node, key: &'static str, out: &mut Diagnostics) -> Option<Self::Value> {
        Some(pairs::<S>(node, key, out)?.into_iter().collect())
    }

    fn write(value: &Self::Value) -> Tree {
        Tree::Map(value.iter().map(|(name, value)| (name.clone(), S::write(value))).collect())
    }

    fn schema() -> Tree {
        by_name(S::schema())
    }
}

/// The entries of a map in the order of the document; a name that stands there twice is an error.
pub(crate) fn pairs<S: Shape>(
    node: &Node,
    key: &'static str,
    out: &mut Diagnostics,
) -> Option<Vec<(String, S::Value)>> {
    // Opened for its word about keys that stand there twice; the keys themselves are the user's.
    let _ = Fields::open(node, key, out)?;
    let entries = node.map().unwrap_or_default();
    let read = |(name, node): &(crate::Key, Node)| {
        S::read(node, key, out).map(|value| (name.text.clone(), value))
    };
    Some(entries.iter().filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::{Flag, Holes, Many, Mode, Number, Path, Shape, Word};
    use crate::diagnostic::Diagnostics;
    use crate::source::SourceId;
    use crate::yaml::document;

    fn read<S: Shape>(text: &str) -> Result<S::Value, String> {
        let node = document(SourceId(0), text).unwrap();
        let mut out = Diagnostics::default();
        let value = S::read(&node, "key", &mut out);
        match out.list().first() {
            Some(fault) => Err(fault.message.clone()),
            None => Ok(value.unwrap()),
        }
    }

    #[test]
    fn modes_are_octal_with_and_without_quotes() {
        for (text, mode) in [("0644", 0o644), ("\"755\"", 0o755), ("0o4755", 0o4755), ("0", 0)] {
            assert_eq!(read::<Mode>(text), Ok(mode), "{text}");
        }
        for text in ["0888", "17777", "-1", "+7", "rwx", "\"\"", "0x1"] {
            assert!(read::<Mode>(text).unwrap_err().contains("octal"), "{text}");
        }
    }

    #[test]
    fn paths_are_absolute_and_lead_nowhere_else() {
        assert_eq!(read::<Path>("/etc/..x/y"), Ok("/etc/..x/y".into()));
        for text in ["etc/x", "/a/../b", "\"/a\\0b\"", "\"\"", "[]"] {
            assert!(read::<Path>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn kinds_are_told_apart() {
        assert_eq!(read::<Number<u32>>("4294967295"), Ok(u32::MAX));
        assert!(read::<Number<u32>>("4294967296").is_err());
        assert!(read::<Number<u32>>("\"1\"").is_err());
        assert!(read::<Flag>("yes").is_err());
        assert!(read::<Many<Word>>("a").is_err());
        assert_eq!(read::<Word>("5"), Ok("5".into()));
        assert_eq!(
            read::<Holes>("{template: x}"),
            Ok(crate::operation::Text::Template("x".into()))
        );
        assert!(read::<Holes>("{tempalte: x}").is_err());
    }
}
