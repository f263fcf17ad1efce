//! The kernel command line: steps in dot notation, and addresses of further documents.
//!
//! `stages.boot[0].commands[0]="touch /run/x"` is the value of one place in a document that begins
//! empty. The forks hand each word to a query language, and so read `stages.after-install` as a
//! subtraction and `stages.rootfs.after` as a key below `rootfs`; here a name may hold hyphens, and
//! `before` and `after` belong to the stage. Words that are no such place are the kernel's or others'.

use std::collections::BTreeMap;

use super::{Fork, lower};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Spanned;
use crate::node::{Key, Node, Value};
use crate::operation::Plan;
use crate::source::{SourceId, Sources, Span};

/// Highest index of a list. The kernel's whole line has 4096 bytes at most (`COMMAND_LINE_SIZE`), so
/// nobody has more members; a higher index would only ask for memory.
const HIGHEST_INDEX: usize = 255;
/// Parts of one place; nothing in the dialect lies deeper.
const DEEPEST: usize = 16;
/// Arguments that name a further document: a file, a folder, or an address.
const SETUP: [&str; 3] = ["cos.setup", "elemental.setup", "kiln.setup"];
/// Arguments that keep Elemental from mounting anything.
const DISABLE: [&str; 2] = ["elemental.disable", "rd.cos.disable"];

/// What a kernel command line says to this dialect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The steps in dot notation.
    pub plan: Plan,
    /// Further documents, in their order: files, folders, addresses.
    pub setup: Vec<Spanned<String>>,
    /// Where Elemental is told to mount nothing. The plan is the same: who carries it out decides.
    pub disabled: Option<Span>,
}

/// Reads a kernel command line, which is one of the `sources`.
pub fn command_line(
    sources: &Sources,
    id: SourceId,
    document: u32,
    fork: Fork,
    out: &mut Diagnostics,
) -> CommandLine {
    let mut found = CommandLine::default();
    let Some(source) = sources.get(id) else { return found };
    let mut root = Tree::default();
    for word in words(id, &source.text, out) {
        let (key, value) = word.value.split_once('=').unwrap_or((&word.value, "true"));
        let (key, value) = (key.trim_matches('"'), value.trim_matches('"'));
        if SETUP.contains(&key) {
            if word.value.contains('=') && !value.is_empty() {
                found.setup.push(Spanned { value: value.to_owned(), span: word.span });
            } else {
                let message = format!("`{key}` names no document");
                out.push(Diagnostic::error("bad-argument", word.span, message));
            }
        } else if DISABLE.contains(&key) {
            found.disabled = found.disabled.or(Some(word.span));
        } else if key.starts_with("stages.") || key.starts_with("stages[") {
            match place(key) {
                Some(place) => root.put(&place, value, word.span, out),
                None => {
                    let message = format!("`{key}` is no place of a document");
                    out.push(
                        Diagnostic::error("bad-argument", word.span, message)
                            .hint("like `stages.boot[0].commands[0]=…`"),
                    );
                }
            }
        }
    }
    if !root.children.is_empty() {
        found.plan = lower(&root.node(), false, document, fork, out);
    }
    found
}

/// One part of a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Name(String),
    Index(usize),
}

/// A value that is built word by word.
#[derive(Debug, Default)]
struct Tree {
    span: Option<Span>,
    value: Option<String>,
    children: BTreeMap<(usize, Part), Tree>,
}

impl Tree {
    fn put(&mut self, place: &[Part], value: &str, span: Span, out: &mut Diagnostics) {
        self.span = self.span.or(Some(span));
        let Some((first, rest)) = place.split_first() else {
            if let Some(before) =
                self.span.filter(|_| self.value.is_some() || !self.children.is_empty())
            {
                let message = "this place got a value before, the last one counts";
                out.push(
                    Diagnostic::warning("duplicate-key", span, message)
                        .label(before, "the first is here"),
                );
            }
            self.value = Some(value.to_owned());
            self.children.clear();
            return;
        };
        let same_kind = self.children.keys().next().is_none_or(|(_, one)| {
            matches!(
                (one, first),
                (Part::Name(_), Part::Name(_)) | (Part::Index(_), Part::Index(_))
            )
        });
        if self.value.is_some() || !same_kind {
            let message = "this place is something else already";
            out.push(Diagnostic::error("bad-argument", span, message));
            return;
        }
        // Names keep the order of the line, indices their own.
        let order = match first {
            Part::Index(_) => 0,
            Part::Name(_) => self
                .children
                .keys()
                .find(|(_, part)| part == first)
                .map_or(self.children.len(), |(order, _)| *order),
        };
        self.children.entry((order, first.clone())).or_default().put(rest, value, span, out);
    }

    fn node(&self) -> Node {
        let span = self.span.unwrap_or(Span::new(SourceId(0), 0, 0));
        let value = match (&self.value, self.children.keys().next()) {
            (Some(text), _) => Value::Scalar { text: text.clone(), quoted: false },
            (None, None) => Value::Null,
            (None, Some((_, Part::Index(_)))) => {
                Value::List(self.children.values().map(Self::node).collect())
            }
            (None, Some((_, Part::Name(_)))) => Value::Map(
                self.children
                    .iter()
                    .filter_map(|((_, part), child)| match part {
                        Part::Name(name) => Some((
                            Key { span: child.span.unwrap_or(span), text: name.clone() },
                            child.node(),
                        )),
                        Part::Index(_) => None,
                    })
                    .collect(),
            ),
        };
        Node { span, value }
    }
}

/// The parts of `stages.boot[0].commands[0]`. A part in brackets that is no number is a name.
fn place(key: &str) -> Option<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    let mut rest = key;
    while !rest.is_empty() && parts.len() <= DEEPEST {
        if let Some(inner) = rest.strip_prefix('[') {
            let (text, behind) = inner.split_once(']')?;
            parts.push(match text.parse::<usize>() {
                Ok(index) if index <= HIGHEST_INDEX => Part::Index(index),
                Ok(_) => return None,
                Err(_) => name(text)?,
            });
            rest = behind;
        } else {
            let text = if parts.is_empty() { rest } else { rest.strip_prefix('.')? };
            let (text, behind) = text.split_at(text.find(['.', '[']).unwrap_or(text.len()));
            parts.push(name(text)?);
            rest = behind;
        }
    }
    let phase = match parts.get(2) {
        Some(Part::Name(phase)) if matches!(phase.as_str(), "before" | "after") => phase.clone(),
        _ => String::new(),
    };
    if !phase.is_empty()
        && let Some(Part::Name(stage)) = parts.get_mut(1)
    {
        *stage = format!("{stage}.{phase}");
        parts.remove(2);
    }
    (parts.len() > 1 && parts.len() <= DEEPEST).then_some(parts)
}

/// A name, which the forks' users put into quotes.
fn name(text: &str) -> Option<Part> {
    let text = text.trim_matches('"');
    (!text.is_empty() && !text.contains(['[', ']'])).then(|| Part::Name(text.to_owned()))
}

/// Splits a line as a shell does: quotes and backslashes hold words together.
fn words(id: SourceId, text: &str, out: &mut Diagnostics) -> Vec<Spanned<String>> {
    let mut all = Vec::new();
    let mut word: Option<(usize, String)> = None;
    let mut quote: Option<(char, usize)> = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        let escaped = character == '\\' && quote.is_none_or(|(mark, _)| mark == '"');
        if quote.is_none() && character.is_whitespace() {
            if let Some((start, value)) = word.take() {
                all.push(Spanned { value, span: Span::new(id, start, at) });
            }
            continue;
        }
        let (_, value) = word.get_or_insert_with(|| (at, String::new()));
        match quote {
            _ if escaped => value.extend(characters.next().map(|(_, next)| next)),
            Some((mark, _)) if mark == character => quote = None,
            Some(_) => value.push(character),
            None if matches!(character, '"' | '\'') => quote = Some((character, at)),
            None => value.push(character),
        }
    }
    if let Some((mark, at)) = quote {
        let message = format!("the quote `{mark}` has no end");
        out.push(Diagnostic::error("bad-argument", Span::new(id, at, at + 1), message));
    }
    if let Some((start, value)) = word {
        all.push(Spanned { value, span: Span::new(id, start, text.len()) });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{command_line, place};
    use crate::action::Action;
    use crate::diagnostic::Diagnostics;
    use crate::elemental::Fork;
    use crate::source::Sources;

    fn run(text: &str) -> (Vec<String>, Vec<String>, Vec<&'static str>) {
        let mut sources = Sources::default();
        let id = sources.add("kernel command line", text);
        let mut out = Diagnostics::default();
        let found = command_line(&sources, id, 0, Fork::Toolkit, &mut out);
        let operations = found
            .plan
            .operations
            .iter()
            .map(|operation| {
                let what = match &operation.action {
                    Action::Command(command) => command.script.written().to_owned(),
                    Action::File(file) => {
                        format!("{} {:o}", file.path.written(), file.mode.unwrap_or(0))
                    }
                    other => format!("{other:?}"),
                };
                format!("{} {}: {what}", operation.stage, operation.step)
            })
            .collect();
        let setup = found.setup.into_iter().map(|one| one.value).collect();
        (operations, setup, out.list().iter().map(|one| one.code).collect())
    }

    #[test]
    fn dot_notation_makes_steps() {
        for (text, expected) in [
            ("stages.network[0].commands[0]=reboot", vec!["network 0: reboot"]),
            (
                r#"root=LABEL=x quiet "stages.boot[0].commands[0]=echo a  b" stages.boot[0].commands[1]='c d'"#,
                vec!["boot 0: echo a  b", "boot 0: c d"],
            ),
            (r#"stages.boot[0].commands[0]="echo \"x\" y" "#, vec![r#"boot 0: echo "x" y"#]),
            (
                "stages.boot[9].commands[3]=later stages.boot[1].commands[0]=first",
                vec!["boot 0: first", "boot 1: later"],
            ),
            ("stages.rootfs.after[0].commands[0]=x", vec!["rootfs.after 0: x"]),
            ("stages[rootfs.before][0].commands[0]=x", vec!["rootfs.before 0: x"]),
            ("stages.after-install[0].commands[0]=x", vec!["after-install 0: x"]),
            (
                "stages.fs[0].files[0].path=/a stages.fs[0].files[0].permissions=0600",
                vec!["fs 0: /a 600"],
            ),
            ("stages.x=", vec![]),
            ("console=ttyS0 stagesx.boot=1", vec![]),
        ] {
            assert_eq!(run(text).0, expected, "{text}");
        }
    }

    #[test]
    fn setup_arguments_are_collected_in_order() {
        let (operations, setup, said) = run(
            "cos.setup=/a quiet elemental.setup=https://example.com/b.yaml kiln.setup=\"/c d\"",
        );
        assert_eq!(setup, ["/a", "https://example.com/b.yaml", "/c d"]);
        assert!(operations.is_empty() && said.is_empty());
    }

    #[test]
    fn what_is_no_place_is_said_and_the_rest_is_read() {
        for (text, code) in [
            ("stages.boot[99999999999].commands[0]=x", "bad-argument"),
            ("stages.boot[300].commands[0]=x", "bad-argument"),
            ("stages..boot=x", "bad-argument"),
            ("stages.boot[]=x", "bad-argument"),
            ("cos.setup=", "bad-argument"),
            ("cos.setup", "bad-argument"),
            ("stages.boot[0].commands[0]=x stages.boot[0].commands.y=z", "bad-argument"),
            ("stages.boot[0].commands[0]=x stages.boot[0].commands[0]=y", "duplicate-key"),
            ("stages.boot[0].commands=x", "wrong-type"),
            ("'unfinished", "bad-argument"),
        ] {
            let (operations, _, said) = run(&format!("stages.fs[0].commands[0]=keep {text}"));
            assert_eq!(said, [code], "{text}");
            assert!(operations.contains(&"fs 0: keep".to_owned()), "{text}");
        }
        let deep = format!("stages{}", ".a".repeat(5_000));
        assert_eq!(place(&deep), None);
    }
}
