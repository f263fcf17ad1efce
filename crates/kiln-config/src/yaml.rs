//! YAML 1.2 to [`Node`] trees.
//!
//! The events come from `granit-parser`, imported here only. Aliases are copied in place while a budget
//! of nodes lasts, so a small document cannot grow without bound; an alias inside its own anchor is
//! refused by the same rule, because its anchor is not complete yet. Tags other than `!!str` are
//! ignored: no dialect here gives them a meaning.

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, options};

use crate::diagnostic::Diagnostic;
use crate::node::{Key, Node, Value};
use crate::source::{SourceId, Span};

/// Nodes of one document, copies through aliases included: twenty times a large fleet's
/// configuration, and some hundred megabytes of memory at the very worst.
pub const MAXIMUM_NODES: usize = 500_000;
/// Bytes of scalars that aliases may copy in addition to those that stand in the document.
const MAXIMUM_COPIED: usize = 16 << 20;
/// Levels of nesting; each reader of the tree may recurse this deep.
const MAXIMUM_DEPTH: usize = 64;

/// Reads a text that holds any number of documents (`---`); empty ones are left out.
///
/// # Errors
/// The fault that ended reading, with its place.
pub fn documents(source: SourceId, text: &str) -> Result<Vec<Node>, Diagnostic> {
    Builder { source, text, depth: 0, nodes: 0, copied: 0, anchors: Vec::new() }.documents()
}

/// Reads a text that holds one document.
///
/// # Errors
/// The fault that ended reading, or a second document.
pub fn document(source: SourceId, text: &str) -> Result<Node, Diagnostic> {
    let mut all = documents(source, text)?.into_iter();
    let first =
        all.next().unwrap_or(Node { span: Span::new(source, 0, text.len()), value: Value::Null });
    match all.next() {
        None => Ok(first),
        Some(second) => Err(Diagnostic::error(
            "several-documents",
            second.span,
            "a second document begins here, and only one is read from a file",
        )
        .hint("put it into a file of its own")),
    }
}

struct Builder<'text> {
    source: SourceId,
    text: &'text str,
    depth: usize,
    nodes: usize,
    copied: usize,
    anchors: Vec<(usize, Node)>,
}

/// A list or map that is still open: where it begins, its anchor, and where its members begin among those
/// of all that are open.
enum Open {
    List(Span, usize, usize),
    Map(Span, usize, usize, Option<Key>),
}

impl Builder<'_> {
    fn documents(mut self) -> Result<Vec<Node>, Diagnostic> {
        let settings: Options = options! {
            emit_comments: false,
            flow_nesting_limit: MAXIMUM_DEPTH,
            block_nesting_limit: MAXIMUM_DEPTH,
        };
        let text = self.text;
        let mut documents = Vec::new();
        let mut open: Vec<Open> = Vec::new();
        // Members of all that is open lie behind each other and are cut off when it ends: one that grew by
        // itself would take twice its memory, and most have two or three members.
        let mut values: Vec<Node> = Vec::new();
        let mut entries: Vec<(Key, Node)> = Vec::new();
        for event in Parser::new_from_str_with_options(text, settings) {
            let (event, span) = event.map_err(|error| self.fault(&error))?;
            let span = self.span(span);
            let complete = match event {
                Event::SequenceStart(_, anchor, _) => {
                    self.enter(span)?;
                    open.push(Open::List(span, anchor, values.len()));
                    continue;
                }
                Event::MappingStart(_, anchor, _) => {
                    self.enter(span)?;
                    open.push(Open::Map(span, anchor, entries.len(), None));
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    self.depth = self.depth.saturating_sub(1);
                    match open.pop() {
                        Some(Open::List(start, anchor, first)) => {
                            let list: Vec<Node> = values.drain(first..).collect();
                            // The end token of a block stands in front of what follows it.
                            let end = list.last().map_or(span, |node| node.span);
                            self.named(
                                anchor,
                                Node { span: start.to(end), value: Value::List(list) },
                            )
                        }
                        Some(Open::Map(start, anchor, first, _)) => {
                            let map: Vec<(Key, Node)> = entries.drain(first..).collect();
                            let end = map.last().map_or(span, |(_, node)| node.span);
                            self.named(anchor, Node { span: start.to(end), value: Value::Map(map) })
                        }
                        None => continue,
                    }
                }
                Event::Scalar(value, style, anchor, tag) => {
                    let quoted =
                        style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.suffix() == "str");
                    let value = match &*value {
                        "" | "~" | "null" | "Null" | "NULL" if !quoted => Value::Null,
                        _ => Value::Scalar { text: value.into_owned(), quoted },
                    };
                    self.count(span, 1)?;
                    self.named(anchor, Node { span, value })
                }
                Event::Alias(anchor) => self.alias(anchor, span)?,
                Event::DocumentStart(..) => {
                    self.anchors.clear();
                    continue;
                }
                _ => continue,
            };
            match open.last_mut() {
                None if complete.is_null() => {}
                None => documents.push(complete),
                Some(Open::List(..)) => values.push(complete),
                Some(Open::Map(_, _, _, key)) => match key.take() {
                    Some(name) => entries.push((name, complete)),
                    None => *key = Some(as_key(complete)?),
                },
            }
        }
        Ok(documents)
    }

    fn span(&self, span: granit_parser::Span) -> Span {
        let range = span.byte_range().unwrap_or(0..0);
        Span::new(self.source, range.start, range.end)
    }

    fn enter(&mut self, span: Span) -> Result<(), Diagnostic> {
        self.depth += 1;
        if self.depth > MAXIMUM_DEPTH {
            return Err(Diagnostic::error(
                "too-deep",
                span,
                format!("nested more than {MAXIMUM_DEPTH} levels deep"),
            ));
        }
        self.count(span, 1)
    }

    fn count(&mut self, span: Span, nodes: usize) -> Result<(), Diagnostic> {
        self.nodes += nodes;
        if self.nodes > MAXIMUM_NODES {
            return Err(Diagnostic::error(
                "too-many-values",
                span,
                format!("more than {MAXIMUM_NODES} values, copies through aliases included"),
            ));
        }
        Ok(())
    }

    fn named(&mut self, anchor: usize, node: Node) -> Node {
        if anchor != 0 {
            self.anchors.push((anchor, node.clone()));
        }
        node
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<Node, Diagnostic> {
        let Some((_, node)) = self.anchors.iter().find(|(name, _)| *name == anchor) else {
            return Err(Diagnostic::error(
                "alias-cycle",
                span,
                format!("`{}` stands inside the value that it names", self.text_of(span)),
            ));
        };
        let (nodes, bytes) = size(node);
        let node = node.clone();
        self.count(span, nodes)?;
        self.copied += bytes;
        if self.copied > MAXIMUM_COPIED {
            return Err(Diagnostic::error(
                "too-many-values",
                span,
                format!("aliases copy more than {MAXIMUM_COPIED} bytes"),
            ));
        }
        Ok(node)
    }

    fn text_of(&self, span: Span) -> &str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    fn fault(&self, error: &ScanError) -> Diagnostic {
        let at = error.marker().byte_offset().unwrap_or(self.text.len());
        let at = at.min(self.text.len());
        Diagnostic::error(
            "syntax",
            Span::new(self.source, at, at + 1),
            format!("not YAML: {}", error.info()),
        )
    }
}

/// Values and bytes of scalars of a tree.
fn size(node: &Node) -> (usize, usize) {
    match &node.value {
        Value::Null => (1, 0),
        Value::Scalar { text, .. } => (1, text.len()),
        Value::List(list) => {
            list.iter().map(size).fold((1, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
        }
        Value::Map(map) => map.iter().fold((1, 0), |sum, (key, node)| {
            let (nodes, bytes) = size(node);
            (sum.0 + nodes + 1, sum.1 + bytes + key.text.len())
        }),
    }
}

fn as_key(node: Node) -> Result<Key, Diagnostic> {
    let span = node.span;
    match node.value {
        Value::Scalar { text, .. } => Ok(Key { span, text }),
        Value::Null => Ok(Key { span, text: String::new() }),
        Value::List(_) | Value::Map(_) => {
            Err(Diagnostic::error("key-kind", span, "a list or a map cannot be a key here"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{document, documents};
    use crate::node::{Node, Value};
    use crate::source::{SourceId, Sources};

    fn read(text: &str) -> Result<Node, String> {
        document(SourceId(0), text).map_err(|fault| fault.code.to_owned())
    }

    fn show(node: &Node) -> String {
        match &node.value {
            Value::Null => "-".into(),
            Value::Scalar { text, quoted } => format!("{}{text}", if *quoted { "'" } else { "" }),
            Value::List(list) => {
                format!("[{}]", list.iter().map(show).collect::<Vec<_>>().join(" "))
            }
            Value::Map(map) => {
                let entries = map.iter().map(|(key, node)| format!("{}={}", key.text, show(node)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn values_keep_their_text_and_their_quotes() {
        for (text, expected) in [
            ("a: 0600\nb: 'no'\nc: no\nd:\n", "{a=0600 b='no c=no d=-}"),
            ("- |\n  x\n  y\n- >-\n  x\n  y\n", "['x\ny\n 'x y]"),
            ("a: &x [1, 2]\nb: *x\n", "{a=[1 2] b=[1 2]}"),
            ("a: 1\na: 2\n", "{a=1 a=2}"),
            ("{\"a\": \"\\u00e4\"}", "{a='ä}"),
            ("a: !!str 5", "{a='5}"),
            ("", "-"),
            ("# only a comment\n", "-"),
        ] {
            assert_eq!(read(text).map(|node| show(&node)), Ok(expected.into()), "{text}");
        }
    }

    #[test]
    fn bombs_cycles_and_nonsense_are_refused() {
        let bomb = (0..9).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, level| {
            let names = vec![format!("*a{level}"); 9].join(",");
            format!("{text}a{}: &a{} [{names}]\n", level + 1, level + 1)
        });
        for (text, expected) in [
            (bomb.as_str(), "too-many-values"),
            ("a: &x [*x]\n", "alias-cycle"),
            ("a: *nobody\n", "syntax"),
            ("a: [1, 2\n", "syntax"),
            ("a: 1\n---\nb: 2\n", "several-documents"),
            ("? [a]\n: b\n", "key-kind"),
            ("a: 'x\n", "syntax"),
        ] {
            assert_eq!(read(text).map(|node| show(&node)), Err(expected.into()), "{text:.80}");
        }
        let deep = "[".repeat(5_000);
        assert!(read(&deep).is_err());
        let deep =
            (0..200).fold(String::new(), |text, level| format!("{text}{}- \n", " ".repeat(level)));
        let _ = read(&deep);
    }

    #[test]
    fn spans_cover_values() {
        let mut sources = Sources::default();
        let text = "users:\n  joe:\n    passwd: \"j\"\nlast: 1\n";
        let id = sources.add("a", text);
        let node = document(id, text).unwrap();
        let users = node.get("users").unwrap();
        assert_eq!(sources.text(users.span), "joe:\n    passwd: \"j\"");
        assert_eq!(sources.place(users.span).to_string(), "a:2:3");
        assert_eq!(sources.text(node.get("last").unwrap().span), "1");
        assert_eq!(documents(id, "a: 1\n---\nb: 2\n").map(|all| all.len()), Ok(2));
    }
}
