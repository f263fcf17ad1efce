//! Lists and maps.
//!
//! Nothing is changed in place: each function gives a new value. Maps are walked by key, where Go
//! leaves the order of `keys` and `values` to chance.

use std::collections::BTreeMap;

use super::{Function, MANY, at, integer_at, list_at, map_at, room, row, text_at, wants};
use crate::template::print;
use crate::template::value::{ENTRY, Value};

pub(super) const TABLE: &[Function] = &[
    row("len", "A", (1, 1), len, "bytes of a text, members of a list, keys of a map"),
    row(
        "index",
        "A KEY …",
        (1, MANY),
        index,
        "the member of a list or map, further keys inside it",
    ),
    row("slice", "A START END", (1, 3), slice, "members or bytes from START to before END"),
    row("list", "A …", (0, MANY), list, "a list of the arguments"),
    row("tuple", "A …", (0, MANY), list, "the same"),
    row("first", "LIST", (1, 1), first, "the first member; nothing where there is none"),
    row("last", "LIST", (1, 1), last, "the last member; nothing where there is none"),
    row("rest", "LIST", (1, 1), rest, "all members but the first"),
    row("initial", "LIST", (1, 1), initial, "all members but the last"),
    row("append", "LIST A", (2, 2), append, "LIST with A behind it"),
    row("prepend", "LIST A", (2, 2), prepend, "LIST with A in front of it"),
    row("concat", "LIST …", (0, MANY), concat, "the members of all lists"),
    row("reverse", "LIST", (1, 1), reverse, "LIST from its end"),
    row("uniq", "LIST", (1, 1), uniq, "LIST without members that came before"),
    row("without", "LIST A …", (1, MANY), without, "LIST without the arguments"),
    row("compact", "LIST", (1, 1), compact, "LIST without what is empty"),
    row("has", "A LIST", (2, 2), has, "whether A is in LIST"),
    row("sortAlpha", "LIST", (1, 1), sort_alpha, "the members as texts, sorted"),
    row("toStrings", "LIST", (1, 1), to_strings, "the members as texts"),
    row("split", "SEPARATOR TEXT", (2, 2), split, "the parts of TEXT as a map with keys _0, _1, …"),
    row("splitList", "SEPARATOR TEXT", (2, 2), split_list, "the parts of TEXT as a list"),
    row("until", "COUNT", (1, 1), until, "the numbers from 0 to before COUNT"),
    row("untilStep", "START END STEP", (3, 3), until_step, "the numbers from START to before END"),
    row("dict", "KEY A …", (0, MANY), dict, "a map of keys and values"),
    row("get", "MAP KEY", (2, 2), get, "the value of KEY; an empty text where there is none"),
    row("hasKey", "MAP KEY", (2, 2), has_key, "whether MAP has KEY"),
    row("keys", "MAP …", (1, MANY), keys, "the keys of the maps, sorted"),
    row("values", "MAP", (1, 1), values, "the values, sorted by their keys"),
    row("pick", "MAP KEY …", (1, MANY), pick, "MAP with only these keys"),
    row("omit", "MAP KEY …", (1, MANY), omit, "MAP without these keys"),
    row(
        "merge",
        "MAP …",
        (1, MANY),
        merge,
        "all keys; the first map that has a key gives its value",
    ),
    row("dig", "KEY … D MAP", (3, MANY), dig, "the value at the end of the keys, or D"),
    row("toJson", "A", (1, 1), to_json, "A as JSON"),
];

fn length(number: usize) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn len(arguments: &[Value]) -> Result<Value, String> {
    Ok(match at(arguments, 0) {
        Value::Text(text) => length(text.len()),
        Value::List(list) => length(list.len()),
        Value::Map(map) => length(map.len()),
        other => return Err(wants("a text, a list or a map", other)),
    })
}

/// A place in something of that length.
fn place(value: &Value, length: usize, border: bool) -> Result<usize, String> {
    let Value::Integer(number) = value else { return Err(wants("a whole number", value)) };
    usize::try_from(*number)
        .ok()
        .filter(|&place| place < length || (border && place == length))
        .ok_or_else(|| format!("gets place {number}, and there are {length}"))
}

fn index(arguments: &[Value]) -> Result<Value, String> {
    const NOTHING: &Value = &Value::Null;
    let mut value = at(arguments, 0);
    for (number, key) in arguments.iter().enumerate().skip(1) {
        value = match value {
            Value::List(list) => list.get(place(key, list.len(), false)?).unwrap_or(NOTHING),
            Value::Map(map) => match key {
                Value::Text(key) => map.get(key).unwrap_or(NOTHING),
                other => return Err(wants("a text as key of a map", other)),
            },
            Value::Text(text) if number + 1 == arguments.len() => {
                let byte = text.as_bytes().get(place(key, text.len(), false)?).copied();
                return Ok(Value::Integer(byte.map_or(0, i64::from)));
            }
            other => return Err(wants("a list or a map", other)),
        };
    }
    Ok(value.clone())
}

fn slice(arguments: &[Value]) -> Result<Value, String> {
    let length = match at(arguments, 0) {
        Value::Text(text) => text.len(),
        Value::List(list) => list.len(),
        other => return Err(wants("a list or a text", other)),
    };
    let start = arguments.get(1).map_or(Ok(0), |value| place(value, length, true))?;
    let end = arguments.get(2).map_or(Ok(length), |value| place(value, length, true))?;
    match at(arguments, 0) {
        Value::Text(text) => text.get(start..end).map(Into::into),
        Value::List(list) => list.get(start..end).map(|part| Value::List(part.to_vec())),
        _ => None,
    }
    .ok_or_else(|| format!("cannot cut from {start} to {end}"))
}

fn list(arguments: &[Value]) -> Result<Value, String> {
    Ok(Value::List(arguments.to_vec()))
}

fn first(arguments: &[Value]) -> Result<Value, String> {
    Ok(list_at(arguments, 0)?.first().cloned().unwrap_or_default())
}

fn last(arguments: &[Value]) -> Result<Value, String> {
    Ok(list_at(arguments, 0)?.last().cloned().unwrap_or_default())
}

fn rest(arguments: &[Value]) -> Result<Value, String> {
    Ok(Value::List(list_at(arguments, 0)?.get(1..).unwrap_or_default().to_vec()))
}

fn initial(arguments: &[Value]) -> Result<Value, String> {
    Ok(Value::List(list_at(arguments, 0)?.split_last().map_or(Vec::new(), |(_, all)| all.to_vec())))
}

fn append(arguments: &[Value]) -> Result<Value, String> {
    let mut list = list_at(arguments, 0)?.to_vec();
    list.push(at(arguments, 1).clone());
    Ok(Value::List(list))
}

fn prepend(arguments: &[Value]) -> Result<Value, String> {
    let mut list = vec![at(arguments, 1).clone()];
    list.extend_from_slice(list_at(arguments, 0)?);
    Ok(Value::List(list))
}

fn concat(arguments: &[Value]) -> Result<Value, String> {
    let mut list = Vec::new();
    for (index, _) in arguments.iter().enumerate() {
        list.extend_from_slice(list_at(arguments, index)?);
    }
    Ok(Value::List(list))
}

fn reverse(arguments: &[Value]) -> Result<Value, String> {
    Ok(Value::List(list_at(arguments, 0)?.iter().rev().cloned().collect()))
}

/// Members up to which those that compare each with each other are walked; their square is work.
const MAXIMUM_COMPARED: usize = 2_000;

fn compared(list: &[Value], with: usize) -> Result<(), String> {
    if list.len().saturating_mul(with) > MAXIMUM_COMPARED * MAXIMUM_COMPARED {
        return Err(format!("compares at most {MAXIMUM_COMPARED} members"));
    }
    Ok(())
}

fn uniq(arguments: &[Value]) -> Result<Value, String> {
    let list = list_at(arguments, 0)?;
    compared(list, list.len())?;
    let mut kept: Vec<Value> = Vec::new();
    for value in list {
        if !kept.contains(value) {
            kept.push(value.clone());
        }
    }
    Ok(Value::List(kept))
}

fn without(arguments: &[Value]) -> Result<Value, String> {
    let list = list_at(arguments, 0)?;
    compared(list, arguments.len())?;
    let dropped = arguments.get(1..).unwrap_or_default();
    Ok(Value::List(list.iter().filter(|value| !dropped.contains(value)).cloned().collect()))
}

fn compact(arguments: &[Value]) -> Result<Value, String> {
    let list = list_at(arguments, 0)?;
    Ok(Value::List(list.iter().filter(|value| value.truth()).cloned().collect()))
}

fn has(arguments: &[Value]) -> Result<Value, String> {
    match at(arguments, 1) {
        Value::Null => Ok(false.into()),
        Value::List(list) => Ok(list.contains(at(arguments, 0)).into()),
        other => Err(wants("a list", other)),
    }
}

fn strings(arguments: &[Value]) -> Result<Vec<String>, String> {
    Ok(list_at(arguments, 0)?.iter().map(print::plain).collect())
}

fn sort_alpha(arguments: &[Value]) -> Result<Value, String> {
    let mut list = strings(arguments)?;
    list.sort();
    Ok(list.into())
}

fn to_strings(arguments: &[Value]) -> Result<Value, String> {
    Ok(strings(arguments)?.into())
}

/// The parts of a text; with an empty separator its characters, as in Go.
fn parts(arguments: &[Value]) -> Result<Vec<String>, String> {
    let (separator, text) = (text_at(arguments, 0)?, text_at(arguments, 1)?);
    let count = if separator.is_empty() { text.len() } else { text.matches(separator).count() };
    room(count.saturating_mul(ENTRY).saturating_add(text.len()))?;
    Ok(if separator.is_empty() {
        text.chars().map(String::from).collect()
    } else {
        text.split(separator).map(str::to_owned).collect()
    })
}

fn split(arguments: &[Value]) -> Result<Value, String> {
    let parts = parts(arguments)?.into_iter().enumerate();
    Ok(Value::Map(parts.map(|(index, part)| (format!("_{index}"), part.into())).collect()))
}

fn split_list(arguments: &[Value]) -> Result<Value, String> {
    Ok(parts(arguments)?.into())
}

fn numbers(start: i64, end: i64, step: i64) -> Result<Value, String> {
    let distance = i128::from(end) - i128::from(start);
    if step == 0 || distance.signum() != i128::from(step.signum()) {
        return Ok(Value::List(Vec::new()));
    }
    let step = i128::from(step);
    let count = (distance + step - step.signum()) / step;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    room(count.saturating_mul(ENTRY))?;
    let mut list = Vec::with_capacity(count);
    let mut number = i128::from(start);
    for _ in 0..count {
        list.push(Value::Integer(i64::try_from(number).unwrap_or(end)));
        number += step;
    }
    Ok(Value::List(list))
}

fn until(arguments: &[Value]) -> Result<Value, String> {
    let count = integer_at(arguments, 0)?;
    numbers(0, count, if count < 0 { -1 } else { 1 })
}

fn until_step(arguments: &[Value]) -> Result<Value, String> {
    numbers(integer_at(arguments, 0)?, integer_at(arguments, 1)?, integer_at(arguments, 2)?)
}

fn dict(arguments: &[Value]) -> Result<Value, String> {
    let mut map = BTreeMap::new();
    for pair in arguments.chunks(2) {
        let value = pair.get(1).cloned().unwrap_or_else(|| "".into());
        map.insert(print::plain(at(pair, 0)), value);
    }
    Ok(Value::Map(map))
}

fn get(arguments: &[Value]) -> Result<Value, String> {
    let key = text_at(arguments, 1)?;
    Ok(map_at(arguments, 0)?.get(key).cloned().unwrap_or_else(|| "".into()))
}

fn has_key(arguments: &[Value]) -> Result<Value, String> {
    Ok(map_at(arguments, 0)?.contains_key(text_at(arguments, 1)?).into())
}

fn keys(arguments: &[Value]) -> Result<Value, String> {
    let mut all = Vec::new();
    for (index, _) in arguments.iter().enumerate() {
        all.extend(map_at(arguments, index)?.keys().cloned());
    }
    all.sort();
    Ok(all.into())
}

fn values(arguments: &[Value]) -> Result<Value, String> {
    Ok(Value::List(map_at(arguments, 0)?.values().cloned().collect()))
}

/// The keys behind the map.
fn chosen(arguments: &[Value]) -> Result<Vec<&str>, String> {
    (1..arguments.len()).map(|index| text_at(arguments, index)).collect()
}

fn pick(arguments: &[Value]) -> Result<Value, String> {
    let map = map_at(arguments, 0)?;
    let chosen = chosen(arguments)?.into_iter();
    let picked = chosen.filter_map(|key| Some((key.to_owned(), map.get(key)?.clone())));
    Ok(Value::Map(picked.collect()))
}

fn omit(arguments: &[Value]) -> Result<Value, String> {
    let mut map = map_at(arguments, 0)?.clone();
    for key in chosen(arguments)? {
        map.remove(key);
    }
    Ok(Value::Map(map))
}

/// Fills what `into` lacks, maps inside maps, too.
fn fill(into: &mut BTreeMap<String, Value>, from: &BTreeMap<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Map(inner)), Value::Map(from)) => fill(inner, from),
            (Some(old), _) if old.truth() => {}
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

fn merge(arguments: &[Value]) -> Result<Value, String> {
    let mut merged = map_at(arguments, 0)?.clone();
    for (index, _) in arguments.iter().enumerate().skip(1) {
        fill(&mut merged, map_at(arguments, index)?);
    }
    Ok(Value::Map(merged))
}

fn dig(arguments: &[Value]) -> Result<Value, String> {
    let count = arguments.len().saturating_sub(2);
    let mut map = map_at(arguments, count + 1)?;
    for index in 0..count {
        let key = text_at(arguments, index)?;
        match map.get(key) {
            None => break,
            Some(value) if index + 1 == count => return Ok(value.clone()),
            Some(Value::Map(inner)) => map = inner,
            Some(other) => return Err(wants("a map on the way", other)),
        }
    }
    Ok(at(arguments, count).clone())
}

fn to_json(arguments: &[Value]) -> Result<Value, String> {
    let mut out = String::new();
    json(at(arguments, 0), &mut out)?;
    Ok(out.into())
}

fn json(value: &Value, out: &mut String) -> Result<(), String> {
    room(out.len())?;
    match value {
        Value::Null => out.push_str("null"),
        Value::Text(text) => json_text(text, out),
        Value::List(list) => {
            out.push('[');
            for (index, value) in list.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                json(value, out)?;
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                json_text(key, out);
                out.push(':');
                json(value, out)?;
            }
            out.push('}');
        }
        // Rust writes a floating number without exponent, which JSON reads as well.
        Value::Float(number) => out.push_str(&number.to_string()),
        other => out.push_str(&print::plain(other)),
    }
    Ok(())
}

/// RFC 8259 §7; `<`, `>` and `&` are escaped, too, as Go's encoder does.
fn json_text(text: &str, out: &mut String) {
    out.push('"');
    for each in text.chars() {
        match each {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", each as u32));
            }
            each if (each as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", each as u32)),
            each => out.push(each),
        }
    }
    out.push('"');
}
