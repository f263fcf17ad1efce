//! A diagnostic as people read it: the sentence, the line it is about, and what to do.
//!
//! The form is the one that compilers have made familiar. Lines come from hostile files: control
//! characters are shown as a replacement, long lines are cut around the place, and values of secrets are
//! stars. Colour repeats what the words say. A library for this was dropped: none masks, and the
//! rest is a page.

use std::fmt::Write as _;

use kiln_config::{Diagnostic, Severity, Sources, Span, mask};

/// Characters of a line that are shown; a terminal's width with room for the margin.
const WIDTH: usize = 100;
/// Characters that are kept in front of the place where a line is cut.
const LEAD: usize = 40;

/// A place in one line of a document.
struct Mark {
    source: String,
    line: u32,
    column: u32,
    text: String,
    /// First character that is marked, and how many are.
    start: usize,
    length: usize,
    message: String,
    is_primary: bool,
}

/// Shows a diagnostic.
pub(crate) fn render(diagnostic: &Diagnostic, sources: &Sources, colour: bool) -> String {
    let paint = Paint(colour);
    let (word, code) = match diagnostic.severity {
        Severity::Error => ("error", "31"),
        Severity::Warning => ("warning", "33"),
        Severity::Note => ("note", "36"),
    };
    let mut text = paint.apply(&format!("1;{code}"), &format!("{word}[{}]", diagnostic.code));
    let message = clean(&mask::line(&diagnostic.message));
    put(&mut text, format_args!("{}\n", paint.apply("1", &format!(": {message}"))));
    let mut marks: Vec<Mark> = diagnostic
        .labels
        .iter()
        .map(|label| mark(sources, label.span, &label.message, false))
        .collect();
    marks.extend(diagnostic.span.map(|span| mark(sources, span, "", true)));
    let last = marks.iter().map(|mark| mark.line).max().unwrap_or(0);
    let margin = last.to_string().len();
    let blue = |part: &str| paint.apply("1;34", part);
    // The primary place first, then what is in the same document, then other documents.
    let primary = marks.iter().find(|mark| mark.is_primary);
    let home = primary.map(|mark| mark.source.clone());
    if let Some(mark) = primary {
        let place = format!("{}:{}:{}", clean(&mark.source), mark.line, mark.column);
        put(&mut text, format_args!("{:margin$}{} {place}\n", "", blue("-->")));
    }
    marks.sort_by(|one, other| {
        let key =
            |mark: &Mark| (Some(&mark.source) != home.as_ref(), mark.source.clone(), mark.line);
        key(one).cmp(&key(other))
    });
    let mut shown = home;
    let mut before = 0;
    for (index, mark) in marks.iter().enumerate() {
        if shown.as_ref() != Some(&mark.source) {
            let place = format!("{}:{}:{}", clean(&mark.source), mark.line, mark.column);
            put(&mut text, format_args!("{:margin$}{} {place}\n", "", blue(":::")));
            shown = Some(mark.source.clone());
            before = 0;
        }
        if before == 0 {
            put(&mut text, format_args!("{:margin$} {}\n", "", blue("|")));
        } else if mark.line > before + 1 {
            put(&mut text, format_args!("{}\n", blue("...")));
        }
        if index == 0 || mark.line != before {
            let number = format!("{:>margin$} |", mark.line);
            put(&mut text, format_args!("{} {}\n", blue(&number), mark.text));
        }
        let (sign, colour) = if mark.is_primary { ("^", code) } else { ("-", "34") };
        let line = format!("{} {}", sign.repeat(mark.length), mark.message);
        let line = paint.apply(&format!("1;{colour}"), line.trim_end());
        put(
            &mut text,
            format_args!("{:margin$} {} {:start$}{line}\n", "", blue("|"), "", start = mark.start),
        );
        before = mark.line;
    }
    if let Some(hint) = &diagnostic.hint {
        put(&mut text, format_args!("{:margin$} {}\n", "", blue("|")));
        put(
            &mut text,
            format_args!(
                "{:margin$} {} {}: {}\n",
                "",
                blue("="),
                paint.apply("1", "hint"),
                clean(hint)
            ),
        );
    }
    text
}

/// Formatting into a string cannot fail.
fn put(text: &mut String, part: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(part);
}

/// Colours words, or leaves them.
struct Paint(bool);

impl Paint {
    fn apply(&self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

fn mark(sources: &Sources, span: Span, message: &str, is_primary: bool) -> Mark {
    let place = sources.place(span);
    let line = sources.line(span);
    let masked = mask::line(line);
    let letters: Vec<char> = masked.chars().collect();
    let column = (place.column as usize).saturating_sub(1).min(letters.len());
    // A span of several lines is marked to the end of its first.
    let of_span = sources.text(span).lines().next().unwrap_or_default().chars().count();
    let from = if letters.len() > WIDTH { column.saturating_sub(LEAD) } else { 0 };
    let to = letters.len().min(from + WIDTH);
    let mut text: String = letters.get(from..to).unwrap_or_default().iter().collect();
    let mut start = column - from;
    if from > 0 {
        text.insert(0, '…');
        start += 1;
    }
    if to < letters.len() {
        text.push('…');
    }
    let length = of_span.min(to.saturating_sub(column)).max(1);
    let message = clean(message);
    Mark {
        source: place.source,
        line: place.line,
        column: place.column,
        text: clean(&text).trim_end().to_owned(),
        start,
        length,
        message,
        is_primary,
    }
}

/// Text without anything that a terminal would obey: control characters, and those that turn the
/// direction of writing (Unicode UAX #9).
pub(crate) fn clean(text: &str) -> String {
    let safe = |letter: char| match letter {
        '\t' => ' ',
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        letter if letter.is_control() => '\u{fffd}',
        letter => letter,
    };
    text.chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use kiln_config::{Diagnostic, Sources, Span};

    use super::render;

    #[test]
    fn two_places_of_one_document_stand_in_one_snippet() {
        let mut sources = Sources::default();
        let text = "a: 1\nb: 2\nc: 3\na: 4\n";
        let id = sources.add("x.yaml", text);
        let fault = Diagnostic::error("duplicate-key", Span::new(id, 15, 16), "`a` stands twice")
            .label(Span::new(id, 0, 1), "the first is here")
            .hint("remove one");
        let expected = "error[duplicate-key]: `a` stands twice\n --> x.yaml:4:1\n  |\n1 | a: 1\n  | - the first is here\n...\n4 | a: 4\n  | ^\n  |\n  = hint: remove one\n";
        assert_eq!(render(&fault, &sources, false), expected);
        assert!(render(&fault, &sources, true).contains("\x1b[1;31merror[duplicate-key]"));
    }

    #[test]
    fn hostile_lines_are_cut_cleaned_and_masked() {
        let mut sources = Sources::default();
        let long =
            format!("{}x\x1b[2J{}\npassword: hunter2\n", "a".repeat(5_000), "b".repeat(5_000));
        let id = sources.add("e\x1bvil", long);
        let fault = Diagnostic::error("x", Span::new(id, 5_000, 5_001), "m\x07")
            .label(Span::new(id, 10_016, 10_023), "secret");
        let text = render(&fault, &sources, false);
        assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'), "{text}");
        assert!(!text.contains("hunter2") && text.contains("*******"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 120), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        let column = |line: &str, sign| line.chars().position(|letter| letter == sign);
        assert_eq!(column(lines[3], 'x'), column(lines[4], '^'), "{text}");
    }
}
