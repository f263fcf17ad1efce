//! JSON (RFC 8259) to [`Node`] trees.
//!
//! Strict: what other readers of the same file refuse is refused here, so a file that passes here also
//! passes there. Reading JSON as YAML was dropped: the two differ in escapes beyond the basic
//! plane, and YAML accepts what is no JSON.

use jsonc_parser::ast;
use jsonc_parser::common::{Range, Ranged as _};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use crate::diagnostic::Diagnostic;
use crate::node::{Key, Node, Value};
use crate::source::{SourceId, Span};

/// Levels of nesting; each reader of the tree may recurse this deep.
const MAXIMUM_DEPTH: usize = 64;

/// Reads a text that holds one JSON value.
///
/// # Errors
/// The fault that ended reading, with its place.
pub fn document(source: SourceId, text: &str) -> Result<Node, Diagnostic> {
    let strict = ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &strict).map_err(|error| {
        let range = error.range();
        let span = Span::new(source, range.start, range.end.max(range.start + 1));
        Diagnostic::error(
            "syntax",
            span,
            format!("not JSON: {}", lower_first(&error.kind().to_string())),
        )
    })?;
    match &parsed.value {
        Some(value) => convert(source, value, 0),
        None => Ok(Node { span: Span::new(source, 0, text.len()), value: Value::Null }),
    }
}

fn convert(source: SourceId, value: &ast::Value<'_>, depth: usize) -> Result<Node, Diagnostic> {
    let span = place(source, value.range());
    if depth > MAXIMUM_DEPTH {
        let message = format!("nested more than {MAXIMUM_DEPTH} levels deep");
        return Err(Diagnostic::error("too-deep", span, message));
    }
    let value = match value {
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::StringLit(string) => {
            Value::Scalar { text: string.value.to_string(), quoted: true }
        }
        ast::Value::NumberLit(number) => {
            Value::Scalar { text: number.value.to_owned(), quoted: false }
        }
        ast::Value::BooleanLit(boolean) => {
            Value::Scalar { text: boolean.value.to_string(), quoted: false }
        }
        ast::Value::Array(array) => {
            let list = array.elements.iter().map(|element| convert(source, element, depth + 1));
            Value::List(list.collect::<Result<_, _>>()?)
        }
        ast::Value::Object(object) => {
            let map = object.properties.iter().map(|property| {
                let span = place(source, property.name.range());
                let key = Key { span, text: property.name.as_str().to_owned() };
                Ok((key, convert(source, &property.value, depth + 1)?))
            });
            Value::Map(map.collect::<Result<_, Diagnostic>>()?)
        }
    };
    Ok(Node { span, value })
}

fn place(source: SourceId, range: Range) -> Span {
    Span::new(source, range.start, range.end)
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::document;
    use crate::node::Value;
    use crate::source::{SourceId, Sources};

    #[test]
    fn values_know_their_places() {
        let mut sources = Sources::default();
        let text = "{\"a\": [1, true, null],\n \"b\": \"\\ud83d\\ude00\"}";
        let id = sources.add("a.ign", text);
        let node = document(id, text).unwrap();
        let list = node.get("a").and_then(crate::Node::list).unwrap();
        assert_eq!(
            (list[0].integer(), list[1].boolean(), list[2].is_null()),
            (Some(1), Some(true), true)
        );
        let string = node.get("b").unwrap();
        assert_eq!(string.value, Value::Scalar { text: "😀".into(), quoted: true });
        assert_eq!(sources.place(string.span).to_string(), "a.ign:2:7");
    }

    #[test]
    fn what_other_readers_refuse_is_refused() {
        let deep = "[".repeat(100) + &"]".repeat(100);
        for text in [
            "{\"a\": 1,}",
            "{a: 1}",
            "{'a': 1}",
            "// x\n{}",
            "{\"a\" 1}",
            "[1 2]",
            "0x10",
            "{} {}",
            "\"\\x41\"",
            "\"\\ud800\"",
            "[",
            "+1",
            "NaN",
            deep.as_str(),
        ] {
            assert!(document(SourceId(0), text).is_err(), "{text}");
        }
    }
}
