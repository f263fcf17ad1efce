//! The documents that are read, and places in them.
//!
//! A [`Span`] is twelve bytes and names its document, so that every value of every dialect can carry
//! one and a contradiction between two files can show both lines. Lines and columns are counted only
//! when something is shown: keeping them in each node was dropped, because most are never asked for.

use serde::Serialize;

/// Bytes of one document; what is larger is no configuration but an archive in disguise, and its
/// reader would have to hold all of it. Contents of that size belong behind a URL.
pub const MAXIMUM_BYTES: usize = 16 << 20;

/// Which of the [`Sources`] a span lies in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct SourceId(pub u32);

/// A range of bytes of one document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Span {
    /// The document.
    pub source: SourceId,
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte; never below `start`.
    pub end: u32,
}

impl Span {
    /// A span of `source`; ends are brought into order, and offsets beyond 4 GiB are cut.
    #[must_use]
    pub fn new(source: SourceId, start: usize, end: usize) -> Self {
        let start = u32::try_from(start).unwrap_or(u32::MAX);
        let end = u32::try_from(end).unwrap_or(u32::MAX).max(start);
        Self { source, start, end }
    }

    /// From the start of this one to the end of `other`, where both lie in one document.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        if self.source == other.source {
            Self { end: other.end.max(self.end), ..self }
        } else {
            self
        }
    }
}

/// A place as people read it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Name of the document: a path, a URL, or a name like `kernel command line`.
    pub source: String,
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}:{}", self.source, self.line, self.column)
    }
}

/// One document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name as it is shown: a path, a URL.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// All documents that were read, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    list: Vec<Source>,
}

impl Sources {
    /// Takes a document in and gives its number.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> SourceId {
        let id = SourceId(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        self.list.push(Source { name: name.into(), text: text.into() });
        id
    }

    /// The document with this number.
    #[must_use]
    pub fn get(&self, id: SourceId) -> Option<&Source> {
        self.list.get(usize::try_from(id.0).ok()?)
    }

    /// All documents with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (SourceId, &Source)> {
        (0_u32..).map(SourceId).zip(&self.list)
    }

    /// The text of a span; empty where the span lies outside its document.
    #[must_use]
    pub fn text(&self, span: Span) -> &str {
        self.get(span.source)
            .and_then(|source| source.text.get(span.start as usize..span.end as usize))
            .unwrap_or_default()
    }

    /// Where a span begins, for people.
    #[must_use]
    pub fn place(&self, span: Span) -> Place {
        let Some(source) = self.get(span.source) else {
            return Place { source: String::new(), line: 1, column: 1 };
        };
        let before = floor(&source.text, span.start as usize);
        let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Place {
            source: source.name.clone(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }

    /// The whole line in which a span begins, without its line break.
    #[must_use]
    pub fn line(&self, span: Span) -> &str {
        let Some(source) = self.get(span.source) else { return "" };
        let start = floor(&source.text, span.start as usize).len();
        let begin =
            source.text.get(..start).and_then(|text| text.rfind('\n')).map_or(0, |at| at + 1);
        let rest = source.text.get(begin..).unwrap_or_default();
        rest.lines().next().unwrap_or_default()
    }
}

/// What stands before `offset`, which is moved back to the border of a character.
fn floor(text: &str, offset: usize) -> &str {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Sources, Span};

    #[test]
    fn places_count_lines_and_characters() {
        let mut sources = Sources::default();
        let id = sources.add("a.yaml", "ä: b\nkey: välue x\n");
        for (start, end, line, column, text) in
            [(0, 2, 1, 1, "ä"), (4, 5, 1, 4, "b"), (6, 9, 2, 1, "key"), (11, 17, 2, 6, "välue")]
        {
            let span = Span::new(id, start, end);
            let place = sources.place(span);
            assert_eq!((place.line, place.column, sources.text(span)), (line, column, text));
        }
        assert_eq!(sources.line(Span::new(id, 12, 13)), "key: välue x");
        assert_eq!(sources.place(Span::new(id, 11, 12)).to_string(), "a.yaml:2:6");
    }

    #[test]
    fn a_span_outside_its_document_shows_nothing_and_does_not_panic() {
        let mut sources = Sources::default();
        let id = sources.add("a", "ä");
        for (start, end) in [(1, 2), (5, 9), (9, 2)] {
            let span = Span::new(id, start, end);
            let _ = (sources.text(span), sources.line(span), sources.place(span));
        }
        let other = Span::new(super::SourceId(7), 0, 1);
        assert_eq!((sources.text(other), sources.line(other)), ("", ""));
    }
}
