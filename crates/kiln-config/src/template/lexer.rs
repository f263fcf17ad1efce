//! A template cut into text and actions, and an action into tokens, each with its offset.
//!
//! The notation is that of Go's `text/template`. Trim markers are resolved here: the parser sees
//! text that is already trimmed. Reading characters and grammar in one pass was dropped, because
//! the rules about white space (`{{- 3}}` trims, `{{-3}}` is a number) would be spread over the
//! grammar.

use super::error::Fault;
use super::value::Value;

/// A stretch of the template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    /// Text that is put out as it stands.
    Text(String),
    /// What stands between the braces; the offset is that of the braces.
    Action(usize, Vec<Token>),
}

/// A word of an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    /// What it is.
    pub(super) word: Word,
    /// Bytes of the template in front of it.
    pub(super) offset: usize,
    /// Whether white space stands in front of it.
    pub(super) spaced: bool,
}

/// The words.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    /// `.`
    Dot,
    /// `.name`
    Field(String),
    /// `$name`, or `$` with an empty name.
    Variable(String),
    /// A function or a keyword.
    Name(String),
    /// A number, text or boolean.
    Literal(Value),
    /// `nil`
    Nil,
    /// `|`
    Pipe,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// `,`
    Comma,
    /// `(`
    Open,
    /// `)`
    Close,
}

/// Words of all actions together; a template of a thousand lines has some ten thousand, and each
/// costs a hundred bytes while it is read.
const MAXIMUM_WORDS: usize = 200_000;

const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// Cuts a template.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, Fault> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut trim = false;
    let mut words = 0_usize;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let length = rest.find("{{").unwrap_or(rest.len());
        let mut plain = rest.get(..length).unwrap_or_default();
        if trim {
            plain = plain.trim_start_matches(SPACE);
        }
        if length == rest.len() {
            push_text(&mut pieces, plain);
            return Ok(pieces);
        }
        let braces = at + length;
        let mut inside = braces + 2;
        let action = text.get(inside..).unwrap_or_default();
        if action.starts_with('-') && action.get(1..).is_some_and(|rest| rest.starts_with(SPACE)) {
            plain = plain.trim_end_matches(SPACE);
            inside += 2;
        }
        push_text(&mut pieces, plain);
        let (end, tokens) = if text.get(inside..).unwrap_or_default().starts_with("/*") {
            (comment(text, braces, inside)?, None)
        } else {
            let mut lexer = Lexer { text, at: inside, braces, words };
            let tokens = lexer.action()?;
            words = lexer.words + 1;
            (lexer.at, Some(tokens))
        };
        // `end` stands on `}}` or on `-}}`.
        let trimmed = text.get(end..).unwrap_or_default().starts_with('-');
        at = end + if trimmed { 3 } else { 2 };
        trim = trimmed;
        if let Some(tokens) = tokens {
            pieces.push(Piece::Action(braces, tokens));
        }
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Where the closing braces of a comment stand, their trim marker included.
fn comment(text: &str, braces: usize, start: usize) -> Result<usize, Fault> {
    let rest = text.get(start..).unwrap_or_default();
    let Some(length) = rest.find("*/") else {
        return Err(Fault::new(braces, "this comment is never closed").hint("end it with `*/}}`"));
    };
    let end = start + length + 2;
    let behind = text.get(end..).unwrap_or_default();
    if behind.starts_with("}}") {
        return Ok(end);
    }
    let space = behind.len() - behind.trim_start_matches(SPACE).len();
    if space > 0 && behind.get(space..).is_some_and(|rest| rest.starts_with("-}}")) {
        return Ok(end + space);
    }
    Err(Fault::new(braces, "a comment has to stand alone between its braces")
        .hint("end it with `*/}}`"))
}

struct Lexer<'text> {
    text: &'text str,
    at: usize,
    braces: usize,
    /// Words of the template up to here; an action counts as one itself.
    words: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Reads up to the closing braces and stops on them, or on the `-` of a trim marker.
    fn action(&mut self) -> Result<Vec<Token>, Fault> {
        let mut tokens = Vec::new();
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches(SPACE);
            let spaced = trimmed.len() < rest.len();
            self.at += rest.len() - trimmed.len();
            let rest = self.rest();
            if rest.starts_with("}}") || (spaced && rest.starts_with("-}}")) {
                return Ok(tokens);
            }
            let Some(first) = rest.chars().next() else {
                return Err(Fault::new(self.braces, "this `{{` is never closed")
                    .code("template-unclosed")
                    .hint("end the action with `}}`"));
            };
            let offset = self.at;
            self.words += 1;
            if self.words > MAXIMUM_WORDS {
                let message = format!("more than {MAXIMUM_WORDS} words in all actions");
                return Err(Fault::new(offset, message).code("template-too-large"));
            }
            let word = self.word(first)?;
            tokens.push(Token { word, offset, spaced });
        }
    }

    fn word(&mut self, first: char) -> Result<Word, Fault> {
        let rest = self.rest();
        let second = rest.get(first.len_utf8()..).unwrap_or_default().chars().next();
        let single = match first {
            '|' => Some(Word::Pipe),
            '=' => Some(Word::Assign),
            ',' => Some(Word::Comma),
            '(' => Some(Word::Open),
            ')' => Some(Word::Close),
            _ => None,
        };
        if let Some(word) = single {
            self.at += 1;
            return Ok(word);
        }
        match first {
            ':' if second == Some('=') => {
                self.at += 2;
                Ok(Word::Declare)
            }
            '"' | '\'' | '`' => self.quoted(first),
            '$' => {
                self.at += 1;
                Ok(Word::Variable(self.name()))
            }
            '.' if !second.is_some_and(|next| next.is_ascii_digit()) => {
                self.at += 1;
                let name = self.name();
                Ok(if name.is_empty() { Word::Dot } else { Word::Field(name) })
            }
            '0'..='9' | '.' | '+' | '-' => self.number(),
            _ if letter(first) => {
                let name = self.name();
                Ok(match name.as_str() {
                    "true" => Word::Literal(Value::Boolean(true)),
                    "false" => Word::Literal(Value::Boolean(false)),
                    "nil" => Word::Nil,
                    _ => Word::Name(name),
                })
            }
            _ => Err(Fault::new(self.at, format!("`{first}` means nothing in an action"))),
        }
    }

    fn name(&mut self) -> String {
        let rest = self.rest();
        let length = rest.find(|each: char| !letter(each)).unwrap_or(rest.len());
        let name = rest.get(..length).unwrap_or_default().to_owned();
        self.at += length;
        name
    }

    fn number(&mut self) -> Result<Word, Fault> {
        let rest = self.rest();
        let mut previous = ' ';
        let hexadecimal = rest.trim_start_matches(['+', '-']).starts_with(['0'])
            && rest.trim_start_matches(['+', '-']).get(1..2).is_some_and(|x| "xX".contains(x));
        let length = rest
            .char_indices()
            .find(|&(index, each)| {
                let sign = matches!(each, '+' | '-')
                    && (index == 0 || (matches!(previous, 'e' | 'E') && !hexadecimal));
                previous = each;
                !(letter(each) || each == '.' || sign)
            })
            .map_or(rest.len(), |(index, _)| index);
        let text = rest.get(..length).unwrap_or_default();
        let value =
            number(text).ok_or_else(|| Fault::new(self.at, format!("`{text}` is not a number")))?;
        self.at += length;
        Ok(Word::Literal(value))
    }

    /// A text in quotes, or a character, which is a number in Go.
    fn quoted(&mut self, quote: char) -> Result<Word, Fault> {
        let start = self.at;
        let body = self.rest().get(1..).unwrap_or_default();
        let unclosed = || {
            Fault::new(start, format!("this {quote} is never closed"))
                .code("template-unclosed")
                .hint(if quote == '"' {
                    "a text in double quotes ends in its line; use backticks for several lines"
                } else {
                    "close the text where it ends"
                })
        };
        let mut text = String::new();
        let mut letters = body.char_indices();
        while let Some((index, each)) = letters.next() {
            if each == quote {
                self.at = start + 1 + index + 1;
                if quote != '\'' {
                    return Ok(Word::Literal(Value::Text(text)));
                }
                let mut inside = text.chars();
                return match (inside.next(), inside.next()) {
                    (Some(one), None) => {
                        Ok(Word::Literal(Value::Integer(i64::from(u32::from(one)))))
                    }
                    _ => Err(Fault::new(start, "single quotes hold one character")
                        .hint("write a text in double quotes or backticks")),
                };
            }
            if quote == '`' {
                if each != '\r' {
                    text.push(each);
                }
            } else if each == '\n' {
                return Err(unclosed());
            } else if each == '\\' {
                let Some((_, escape)) = letters.next() else { return Err(unclosed()) };
                let resolved = escaped(escape, quote, letters.as_str());
                let Some((resolved, used)) = resolved else {
                    let message = format!("`\\{escape}` is no escape sequence");
                    return Err(Fault::new(start + 1 + index, message));
                };
                text.push(resolved);
                for _ in 0..used {
                    letters.next();
                }
            } else {
                text.push(each);
            }
        }
        Err(unclosed())
    }
}

/// The character of an escape sequence, and how many characters behind its letter belong to it.
/// Bytes beyond ASCII (`\xff`) are refused: texts here are Unicode.
fn escaped(letter: char, quote: char, behind: &str) -> Option<(char, usize)> {
    let code = |digits: usize, radix: u32, text: &str| {
        let digits_text = text.get(..digits)?;
        let plain = digits_text.chars().all(|digit| digit.is_digit(radix));
        plain.then(|| u32::from_str_radix(digits_text, radix).ok()).flatten()
    };
    let simple = match letter {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' => '\\',
        _ if letter == quote => quote,
        'x' => {
            return code(2, 16, behind)
                .filter(|&code| code < 128)
                .and_then(char::from_u32)
                .zip(Some(2));
        }
        'u' => return code(4, 16, behind).and_then(char::from_u32).zip(Some(4)),
        'U' => return code(8, 16, behind).and_then(char::from_u32).zip(Some(8)),
        '0'..='3' => {
            let high = letter.to_digit(8)?;
            let low = code(2, 8, behind)?;
            return char::from_u32(high * 64 + low).filter(char::is_ascii).zip(Some(2));
        }
        _ => return None,
    };
    Some((simple, 0))
}

fn letter(each: char) -> bool {
    each == '_' || each.is_alphanumeric()
}

/// A number as Go writes it: decimal, `0x`, `0o`, `0b`, octal with a leading zero, floating; digits
/// may be grouped with `_`.
pub(super) fn number(text: &str) -> Option<Value> {
    let clean: String = text.chars().filter(|&each| each != '_').collect();
    if text.ends_with('_') || text.contains("__") {
        return None;
    }
    let (negative, digits) = match clean.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, clean.strip_prefix('+').unwrap_or(&clean)),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let (radix, body) = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (16, digits.get(2..)?),
        Some("0o") => (8, digits.get(2..)?),
        Some("0b") => (2, digits.get(2..)?),
        Some(two) if two.starts_with('0') && two.ends_with(|end: char| end.is_ascii_digit()) => {
            (8, digits.get(1..)?)
        }
        _ => (10, digits),
    };
    if !body.starts_with(['+', '-'])
        && let Ok(magnitude) = i128::from_str_radix(body, radix)
    {
        let signed = if negative { -magnitude } else { magnitude };
        return i64::try_from(signed).ok().map(Value::Integer);
    }
    let decimal = digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    let value: f64 = clean.parse().ok()?;
    (decimal && value.is_finite() && digits.contains(['.', 'e', 'E']))
        .then_some(Value::Float(value))
}

#[cfg(test)]
mod tests {
    use super::{Value, number};

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("0", Some(Value::Integer(0))),
            ("42", Some(Value::Integer(42))),
            ("-3", Some(Value::Integer(-3))),
            ("+3", Some(Value::Integer(3))),
            ("0600", Some(Value::Integer(384))),
            ("0o17", Some(Value::Integer(15))),
            ("0x1F", Some(Value::Integer(31))),
            ("0b101", Some(Value::Integer(5))),
            ("1_000", Some(Value::Integer(1000))),
            ("1.5", Some(Value::Float(1.5))),
            (".5", Some(Value::Float(0.5))),
            ("1e3", Some(Value::Float(1000.0))),
            ("-2.5e-1", Some(Value::Float(-0.25))),
            ("9223372036854775808", None),
            ("08", None),
            ("1__0", None),
            ("1_", None),
            ("0x", None),
            ("--1", None),
            ("1i", None),
            ("inf", None),
            ("1a", None),
            ("0x-1", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }
}
