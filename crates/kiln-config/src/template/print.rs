//! Values as text, in the notation of Go's `fmt`.
//!
//! `%v` of a list is `[a b]`, of a map `map[k:v]` in the order of the keys, of a floating number
//! the shortest digits that name it. Where Go would put a complaint such as `%!d(string=x)` into
//! the text, this is a fault: no file on a machine is meant to hold one.

use super::functions::room;
use super::value::Value;

/// Characters to which a value is padded at most, and digits behind the point; wider is a mistake.
const MAXIMUM_WIDTH: usize = 4096;

/// What an action puts out.
pub(super) fn action(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        other => plain(other),
    }
}

/// `%v`.
pub(super) fn plain(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::Boolean(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Integer(value) => out.push_str(&value.to_string()),
        Value::Float(value) => out.push_str(&shortest(*value, 'e')),
        Value::Text(value) => out.push_str(value),
        Value::List(list) => {
            out.push('[');
            for (index, value) in list.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                write(value, out);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push_str("map[");
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                write(value, out);
            }
            out.push(']');
        }
    }
}

/// `%g`: the shortest digits that name the number, with an exponent below -4 and from 6 on (Go's
/// strconv).
fn shortest(value: f64, letter: char) -> String {
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    format!("{mantissa}{letter}{}", signed_exponent(exponent))
}

fn signed_exponent(exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{:02}", exponent.unsigned_abs())
}

/// `strconv.Quote`.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for each in text.chars() {
        match each {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            each if (each as u32) < 0x20 || each as u32 == 0x7f => {
                out.push_str(&format!("\\x{:02x}", each as u32));
            }
            each if each.is_control() || matches!(each as u32, 0x2028 | 0x2029 | 0xfeff) => {
                out.push_str(&format!("\\u{:04x}", each as u32));
            }
            each => out.push(each),
        }
    }
    out.push('"');
    out
}

/// `print`: with a space between two values of which none is a text.
pub(super) fn print(values: &[Value]) -> String {
    let mut out = String::new();
    let mut previous_text = true;
    for value in values {
        let text = matches!(value, Value::Text(_));
        if !previous_text && !text {
            out.push(' ');
        }
        write(value, &mut out);
        previous_text = text;
    }
    out
}

/// `println`: with spaces between all and a line break behind.
pub(super) fn println(values: &[Value]) -> String {
    let mut out = String::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        write(value, &mut out);
    }
    out.push('\n');
    out
}

/// Flags of one verb of `printf`.
#[derive(Default)]
struct Verb {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `printf`.
pub(super) fn printf(format: &str, values: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut rest = format.chars().peekable();
    while let Some(each) = rest.next() {
        if each != '%' {
            out.push(each);
            continue;
        }
        let mut verb = Verb::default();
        while let Some(&flag) = rest.peek() {
            match flag {
                '-' => verb.minus = true,
                '+' => verb.plus = true,
                '#' => verb.sharp = true,
                ' ' => verb.space = true,
                '0' => verb.zero = true,
                _ => break,
            }
            rest.next();
        }
        verb.width = digits(&mut rest)?;
        if rest.peek() == Some(&'.') {
            rest.next();
            verb.precision = Some(digits(&mut rest)?.unwrap_or(0));
        }
        let Some(letter) = rest.next() else {
            return Err("has a format that ends in the middle of a verb".to_owned());
        };
        if letter == '%' {
            out.push('%');
            continue;
        }
        let value = values
            .next()
            .ok_or_else(|| format!("has no value for `%{letter}` in {}", quote(format)))?;
        formatted(&verb, letter, value, &mut out)?;
        room(out.len())?;
    }
    if values.next().is_some() {
        return Err(format!("has more values than verbs in {}", quote(format)));
    }
    Ok(out)
}

fn digits(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Option<usize>, String> {
    if rest.peek() == Some(&'*') {
        return Err("takes no widths from its values (`*`)".to_owned());
    }
    let mut number = None;
    while let Some(digit) = rest.peek().and_then(|each| each.to_digit(10)) {
        let next = number.unwrap_or(0_usize) * 10 + digit as usize;
        if next > MAXIMUM_WIDTH {
            return Err(format!("has a width beyond {MAXIMUM_WIDTH}"));
        }
        number = Some(next);
        rest.next();
    }
    Ok(number)
}

/// One value by one verb; lists and maps value by value, as in Go.
fn formatted(verb: &Verb, letter: char, value: &Value, out: &mut String) -> Result<(), String> {
    match value {
        Value::List(list) if letter != 'T' && (letter != 'v' || verb.width.is_some()) => {
            out.push('[');
            for (index, value) in list.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                formatted(verb, letter, value, out)?;
                room(out.len())?;
            }
            out.push(']');
            return Ok(());
        }
        Value::Map(map) if !matches!(letter, 'T' | 'v') => {
            out.push_str("map[");
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                formatted(verb, letter, &Value::Text(key.clone()), out)?;
                out.push(':');
                formatted(verb, letter, value, out)?;
                room(out.len())?;
            }
            out.push(']');
            return Ok(());
        }
        _ => {}
    }
    let wrong = || format!("cannot show {} by `%{letter}`", value.kind());
    let (body, numeric) = match (letter, value) {
        ('v', Value::Integer(number)) => (integer(verb, *number, 10, false), true),
        ('v', Value::Float(number)) => (float(verb, 'g', *number), true),
        ('v', Value::Text(text)) => (if verb.sharp { quote(text) } else { cut(verb, text) }, false),
        ('v', other) => (plain(other), false),
        ('s', Value::Text(text)) => (cut(verb, text), false),
        ('q', Value::Text(text)) => (quote(&cut(verb, text)), false),
        ('q', Value::Integer(number)) => {
            let each = u32::try_from(*number).ok().and_then(char::from_u32).ok_or_else(wrong)?;
            (format!("'{each}'"), false)
        }
        ('x' | 'X', Value::Text(text)) => {
            let mut hexadecimal = String::new();
            for byte in text.bytes() {
                hexadecimal.push_str(&format!("{byte:02x}"));
            }
            (if letter == 'X' { hexadecimal.to_uppercase() } else { hexadecimal }, false)
        }
        ('d', Value::Integer(number)) => (integer(verb, *number, 10, false), true),
        ('b', Value::Integer(number)) => (integer(verb, *number, 2, false), true),
        ('o', Value::Integer(number)) => (integer(verb, *number, 8, false), true),
        ('x', Value::Integer(number)) => (integer(verb, *number, 16, false), true),
        ('X', Value::Integer(number)) => (integer(verb, *number, 16, true), true),
        ('c', Value::Integer(number)) => {
            let each = u32::try_from(*number).ok().and_then(char::from_u32).ok_or_else(wrong)?;
            (each.to_string(), false)
        }
        ('U', Value::Integer(number)) if *number >= 0 => (format!("U+{number:04X}"), false),
        ('t', Value::Boolean(value)) => (value.to_string(), false),
        ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Float(number)) => {
            (float(verb, letter, *number), true)
        }
        ('T', other) => (go_type(other).to_owned(), false),
        (
            's' | 'q' | 'x' | 'X' | 'd' | 'b' | 'o' | 'c' | 'U' | 't' | 'e' | 'E' | 'f' | 'F' | 'g'
            | 'G',
            _,
        ) => {
            return Err(wrong());
        }
        _ => return Err(format!("knows no verb `%{letter}`")),
    };
    pad(verb, &body, numeric, out);
    Ok(())
}

fn cut(verb: &Verb, text: &str) -> String {
    verb.precision.map_or_else(|| text.to_owned(), |most| text.chars().take(most).collect())
}

fn integer(verb: &Verb, number: i64, radix: u32, upper: bool) -> String {
    let magnitude = number.unsigned_abs();
    let mut digits = match radix {
        2 => format!("{magnitude:b}"),
        8 => format!("{magnitude:o}"),
        16 => format!("{magnitude:x}"),
        _ => magnitude.to_string(),
    };
    if let Some(least) = verb.precision {
        digits = format!("{}{digits}", "0".repeat(least.saturating_sub(digits.len())));
    }
    if verb.sharp {
        let prefix = match radix {
            2 => "0b",
            8 => "0",
            16 => "0x",
            _ => "",
        };
        digits = format!("{prefix}{digits}");
    }
    if upper {
        digits = digits.to_uppercase();
    }
    format!("{}{digits}", sign(verb, number < 0))
}

fn sign(verb: &Verb, negative: bool) -> &'static str {
    match (negative, verb.plus, verb.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    }
}

fn float(verb: &Verb, letter: char, number: f64) -> String {
    let magnitude = number.abs();
    let upper = letter.is_ascii_uppercase();
    let mark = if upper { 'E' } else { 'e' };
    let body = match (letter.to_ascii_lowercase(), verb.precision) {
        ('f', precision) => format!("{magnitude:.*}", precision.unwrap_or(6)),
        ('e', precision) => {
            with_exponent(&format!("{magnitude:.*e}", precision.unwrap_or(6)), mark)
        }
        (_, None) => shortest(magnitude, mark),
        (_, Some(precision)) => {
            let precision = precision.max(1);
            let scientific = format!("{magnitude:.*e}", precision - 1);
            let exponent: i64 =
                scientific.split_once('e').and_then(|(_, text)| text.parse().ok()).unwrap_or(0);
            let most = i64::try_from(precision).unwrap_or(i64::MAX);
            if exponent < -4 || exponent >= most {
                let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
                let mantissa = trim_zeros(mantissa);
                with_exponent(&format!("{mantissa}e{exponent}"), mark)
            } else {
                let digits = usize::try_from(most - 1 - exponent).unwrap_or(0);
                trim_zeros(&format!("{magnitude:.digits$}")).to_owned()
            }
        }
    };
    format!("{}{body}", sign(verb, number.is_sign_negative()))
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

fn with_exponent(scientific: &str, mark: char) -> String {
    match scientific.split_once('e') {
        Some((mantissa, exponent)) => {
            format!("{mantissa}{mark}{}", signed_exponent(exponent.parse().unwrap_or(0)))
        }
        None => scientific.to_owned(),
    }
}

fn pad(verb: &Verb, body: &str, numeric: bool, out: &mut String) {
    let missing = verb.width.unwrap_or(0).saturating_sub(body.chars().count());
    if verb.minus {
        out.push_str(body);
        out.push_str(&" ".repeat(missing));
    } else if verb.zero && numeric && verb.precision.is_none_or(|_| body.contains('.')) {
        let (sign, digits) = match body.strip_prefix(['+', '-', ' ']) {
            Some(digits) => (body.get(..1).unwrap_or_default(), digits),
            None => ("", body),
        };
        out.push_str(sign);
        out.push_str(&"0".repeat(missing));
        out.push_str(digits);
    } else {
        out.push_str(&" ".repeat(missing));
        out.push_str(body);
    }
}

/// `%T`.
pub(super) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Boolean(_) => "bool",
        Value::Integer(_) => "int",
        Value::Float(_) => "float64",
        Value::Text(_) => "string",
        Value::List(_) => "[]interface {}",
        Value::Map(_) => "map[string]interface {}",
    }
}
