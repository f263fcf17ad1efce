//! Texts.
//!
//! Offsets and lengths count bytes, as Go counts them; a cut inside a character is a fault instead
//! of a text that is no longer Unicode. Each result is measured before it is made.

use base64ct::Encoding as _;
use sha2::Digest as _;

use super::{Function, MANY, at, integer_at, list_at, room, row, text_at, wants};
use crate::template::print;
use crate::template::value::Value;

pub(super) const TABLE: &[Function] = &[
    row(
        "print",
        "A …",
        (0, MANY),
        print_all,
        "the arguments, spaces between those that are no texts",
    ),
    row("println", "A …", (0, MANY), print_line, "the arguments with spaces, and a line break"),
    row("printf", "FORMAT A …", (1, MANY), printf, "FORMAT with its verbs (%s %d %v %q …) filled"),
    row("toString", "A", (1, 1), to_string, "A as text"),
    row("quote", "A …", (0, MANY), quote, "the arguments in double quotes, escaped as in Go"),
    row("squote", "A …", (0, MANY), squote, "the arguments in single quotes"),
    row("cat", "A …", (0, MANY), cat, "the arguments with spaces between"),
    row("lower", "TEXT", (1, 1), lower, "TEXT in small letters"),
    row("upper", "TEXT", (1, 1), upper, "TEXT in capital letters"),
    row("title", "TEXT", (1, 1), title, "TEXT with a capital letter at the start of each word"),
    row("untitle", "TEXT", (1, 1), untitle, "TEXT with a small letter at the start of each word"),
    row("trim", "TEXT", (1, 1), trim, "TEXT without white space at its ends"),
    row("trimAll", "CHARACTERS TEXT", (2, 2), trim_all, "TEXT without those at its ends"),
    row("trimPrefix", "PREFIX TEXT", (2, 2), trim_prefix, "TEXT without PREFIX"),
    row("trimSuffix", "SUFFIX TEXT", (2, 2), trim_suffix, "TEXT without SUFFIX"),
    row("nospace", "TEXT", (1, 1), nospace, "TEXT without any white space"),
    row("contains", "PART TEXT", (2, 2), contains, "whether PART is in TEXT"),
    row("hasPrefix", "PREFIX TEXT", (2, 2), has_prefix, "whether TEXT begins with PREFIX"),
    row("hasSuffix", "SUFFIX TEXT", (2, 2), has_suffix, "whether TEXT ends with SUFFIX"),
    row("replace", "OLD NEW TEXT", (3, 3), replace, "TEXT with NEW for each OLD"),
    row("repeat", "COUNT TEXT", (2, 2), repeat, "TEXT that often"),
    row("substr", "START END TEXT", (3, 3), substr, "the bytes of TEXT from START to before END"),
    row(
        "trunc",
        "COUNT TEXT",
        (2, 2),
        trunc,
        "the first COUNT bytes, or the last where it is negative",
    ),
    row("indent", "COUNT TEXT", (2, 2), indent, "TEXT with that many spaces before each line"),
    row("nindent", "COUNT TEXT", (2, 2), nindent, "the same behind a line break"),
    row("plural", "ONE MANY COUNT", (3, 3), plural, "ONE where COUNT is 1, otherwise MANY"),
    row("join", "SEPARATOR LIST", (2, 2), join, "the members of LIST with SEPARATOR between"),
    row("b64enc", "TEXT", (1, 1), b64enc, "TEXT in base64"),
    row("b64dec", "TEXT", (1, 1), b64dec, "the text that base64 stands for"),
    row("sha256sum", "TEXT", (1, 1), sha256sum, "SHA-256 of TEXT, hexadecimal"),
    row("sha512sum", "TEXT", (1, 1), sha512sum, "SHA-512 of TEXT, hexadecimal"),
];

fn print_all(arguments: &[Value]) -> Result<Value, String> {
    Ok(print::print(arguments).into())
}

fn print_line(arguments: &[Value]) -> Result<Value, String> {
    Ok(print::println(arguments).into())
}

fn printf(arguments: &[Value]) -> Result<Value, String> {
    let values = arguments.get(1..).unwrap_or_default();
    print::printf(text_at(arguments, 0)?, values).map(Into::into)
}

fn to_string(arguments: &[Value]) -> Result<Value, String> {
    Ok(print::plain(at(arguments, 0)).into())
}

/// The arguments that are something, each through `show`, with spaces between.
fn spaced(arguments: &[Value], show: impl Fn(&Value) -> String) -> Value {
    let shown = arguments.iter().filter(|value| !matches!(value, Value::Null)).map(show);
    shown.collect::<Vec<_>>().join(" ").into()
}

fn quote(arguments: &[Value]) -> Result<Value, String> {
    Ok(spaced(arguments, |value| print::quote(&print::plain(value))))
}

fn squote(arguments: &[Value]) -> Result<Value, String> {
    Ok(spaced(arguments, |value| format!("'{}'", print::plain(value))))
}

fn cat(arguments: &[Value]) -> Result<Value, String> {
    Ok(spaced(arguments, print::plain))
}

fn lower(arguments: &[Value]) -> Result<Value, String> {
    Ok(text_at(arguments, 0)?.to_lowercase().into())
}

fn upper(arguments: &[Value]) -> Result<Value, String> {
    Ok(text_at(arguments, 0)?.to_uppercase().into())
}

/// Each letter in front of which a word ends changed.
fn words(text: &str, ends: fn(char) -> bool, change: fn(char, &mut String)) -> Value {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for each in text.chars() {
        if inside {
            out.push(each);
        } else {
            change(each, &mut out);
        }
        inside = !ends(each);
    }
    out.into()
}

/// Go's `strings.Title`: in ASCII all but letters, digits and `_` ends a word, beyond it only white
/// space.
fn title(arguments: &[Value]) -> Result<Value, String> {
    let ends = |each: char| match each {
        '_' => false,
        each if each.is_ascii() => !each.is_ascii_alphanumeric(),
        each => each.is_whitespace(),
    };
    Ok(words(text_at(arguments, 0)?, ends, |each, out| out.extend(each.to_uppercase())))
}

fn untitle(arguments: &[Value]) -> Result<Value, String> {
    let change = |each: char, out: &mut String| out.extend(each.to_lowercase());
    Ok(words(text_at(arguments, 0)?, char::is_whitespace, change))
}

fn trim(arguments: &[Value]) -> Result<Value, String> {
    Ok(text_at(arguments, 0)?.trim().into())
}

fn trim_all(arguments: &[Value]) -> Result<Value, String> {
    let set: Vec<char> = text_at(arguments, 0)?.chars().collect();
    Ok(text_at(arguments, 1)?.trim_matches(|each| set.contains(&each)).into())
}

fn trim_prefix(arguments: &[Value]) -> Result<Value, String> {
    let (prefix, text) = (text_at(arguments, 0)?, text_at(arguments, 1)?);
    Ok(text.strip_prefix(prefix).unwrap_or(text).into())
}

fn trim_suffix(arguments: &[Value]) -> Result<Value, String> {
    let (suffix, text) = (text_at(arguments, 0)?, text_at(arguments, 1)?);
    Ok(text.strip_suffix(suffix).unwrap_or(text).into())
}

fn nospace(arguments: &[Value]) -> Result<Value, String> {
    let text = text_at(arguments, 0)?;
    Ok(text.chars().filter(|each| !each.is_whitespace()).collect::<String>().into())
}

fn contains(arguments: &[Value]) -> Result<Value, String> {
    Ok(text_at(arguments, 1)?.contains(text_at(arguments, 0)?).into())
}

fn has_prefix(arguments: &[Value]) -> Result<Value, String> {
    Ok(text_at(arguments, 1)?.starts_with(text_at(arguments, 0)?).into())
}

fn has_suffix(arguments: &[Value]) -> Result<Value, String> {
    Ok(text_at(arguments, 1)?.ends_with(text_at(arguments, 0)?).into())
}

fn replaced(text: &str, old: &str, new: &str) -> Result<String, String> {
    let places = text.matches(old).count();
    room(places.saturating_mul(new.len()).saturating_add(text.len()))?;
    Ok(text.replace(old, new))
}

fn replace(arguments: &[Value]) -> Result<Value, String> {
    let (old, new) = (text_at(arguments, 0)?, text_at(arguments, 1)?);
    replaced(text_at(arguments, 2)?, old, new).map(Into::into)
}

fn repeat(arguments: &[Value]) -> Result<Value, String> {
    let text = text_at(arguments, 1)?;
    let count = usize::try_from(integer_at(arguments, 0)?)
        .map_err(|_| "cannot repeat less than 0 times".to_owned())?;
    room(count.saturating_mul(text.len()))?;
    Ok(text.repeat(count).into())
}

/// Bytes of a text, between the borders of characters.
fn bytes(text: &str, range: std::ops::Range<usize>) -> Result<Value, String> {
    match text.get(range.clone()) {
        Some(part) => Ok(part.into()),
        None if range.start > range.end || range.end > text.len() => {
            Err(format!("cuts bytes {} to {} out of {}", range.start, range.end, text.len()))
        }
        None => Err("cuts through a character".to_owned()),
    }
}

fn substr(arguments: &[Value]) -> Result<Value, String> {
    let text = text_at(arguments, 2)?;
    let start = usize::try_from(integer_at(arguments, 0)?).ok();
    let end = usize::try_from(integer_at(arguments, 1)?).ok();
    let end = end.filter(|end| *end <= text.len());
    match start {
        None => bytes(text, 0..end.unwrap_or(text.len())),
        Some(start) => bytes(text, start..end.unwrap_or(text.len())),
    }
}

fn trunc(arguments: &[Value]) -> Result<Value, String> {
    let text = text_at(arguments, 1)?;
    let count = integer_at(arguments, 0)?;
    let most = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if most >= text.len() {
        Ok(text.into())
    } else if count < 0 {
        bytes(text, text.len() - most..text.len())
    } else {
        bytes(text, 0..most)
    }
}

fn indented(arguments: &[Value]) -> Result<String, String> {
    let count = usize::try_from(integer_at(arguments, 0)?)
        .map_err(|_| "cannot indent by less than 0".to_owned())?;
    room(count)?;
    let spaces = " ".repeat(count);
    let text = replaced(text_at(arguments, 1)?, "\n", &format!("\n{spaces}"))?;
    Ok(format!("{spaces}{text}"))
}

fn indent(arguments: &[Value]) -> Result<Value, String> {
    indented(arguments).map(Into::into)
}

fn nindent(arguments: &[Value]) -> Result<Value, String> {
    indented(arguments).map(|text| format!("\n{text}").into())
}

fn plural(arguments: &[Value]) -> Result<Value, String> {
    let index = usize::from(integer_at(arguments, 2)? != 1);
    Ok(text_at(arguments, index)?.into())
}

fn join(arguments: &[Value]) -> Result<Value, String> {
    let separator = text_at(arguments, 0)?;
    let members: Vec<String> = match at(arguments, 1) {
        Value::List(_) => {
            let list = list_at(arguments, 1)?.iter();
            list.filter(|value| !matches!(value, Value::Null)).map(print::plain).collect()
        }
        Value::Null => Vec::new(),
        Value::Map(_) => return Err(wants("a list", at(arguments, 1))),
        other => vec![print::plain(other)],
    };
    room(members.len().saturating_mul(separator.len()))?;
    Ok(members.join(separator).into())
}

fn b64enc(arguments: &[Value]) -> Result<Value, String> {
    Ok(base64ct::Base64::encode_string(text_at(arguments, 0)?.as_bytes()).into())
}

fn b64dec(arguments: &[Value]) -> Result<Value, String> {
    let text = text_at(arguments, 0)?;
    let bytes =
        base64ct::Base64::decode_vec(text).map_err(|_| "gets what is no base64".to_owned())?;
    let text = String::from_utf8(bytes).map_err(|_| "gives bytes that are no text".to_owned())?;
    Ok(text.into())
}

fn hexadecimal(bytes: &[u8]) -> Value {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

fn sha256sum(arguments: &[Value]) -> Result<Value, String> {
    Ok(hexadecimal(&sha2::Sha256::digest(text_at(arguments, 0)?)))
}

fn sha512sum(arguments: &[Value]) -> Result<Value, String> {
    Ok(hexadecimal(&sha2::Sha512::digest(text_at(arguments, 0)?)))
}
