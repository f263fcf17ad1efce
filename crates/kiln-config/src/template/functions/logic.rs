//! Comparisons and logic.
//!
//! As in Go, values of different kinds are not compared but refused, with two exceptions that Go
//! makes, too, or that whole numbers from facts need: nothing equals only nothing, and a whole
//! number may be compared with a floating one.

use std::cmp::Ordering;

use super::{Function, MANY, at, row, wants};
use crate::template::value::Value;

pub(super) const TABLE: &[Function] = &[
    row("eq", "A B …", (2, MANY), equal, "whether A equals B or one of those behind it"),
    row("ne", "A B", (2, 2), unequal, "whether A differs from B"),
    row("lt", "A B", (2, 2), less, "whether A is less than B"),
    row("le", "A B", (2, 2), less_or_equal, "whether A is at most B"),
    row("gt", "A B", (2, 2), greater, "whether A is greater than B"),
    row("ge", "A B", (2, 2), greater_or_equal, "whether A is at least B"),
    deciding("and", false, "the first argument that is false, or the last one"),
    deciding("or", true, "the first argument that is true, or the last one"),
    row("not", "A", (1, 1), negated, "whether A is false"),
    row("default", "D A", (1, 2), default, "A, or D where A is empty"),
    row("coalesce", "A …", (0, MANY), coalesce, "the first argument that is not empty"),
    row("empty", "A", (1, 1), negated, "whether A is nothing, false, zero, or holds nothing"),
    row("all", "A …", (0, MANY), all, "whether no argument is empty"),
    row("any", "A …", (0, MANY), any, "whether an argument is not empty"),
    row("ternary", "A B C", (3, 3), ternary, "A where C is true, otherwise B"),
    row("fail", "TEXT", (1, 1), fail, "ends the template with TEXT as its fault"),
    row("kindOf", "A", (1, 1), kind_of, "the kind of A in Go's words: string, int, map, …"),
    row("kindIs", "KIND A", (2, 2), kind_is, "whether A is of that kind"),
];

const fn deciding(name: &'static str, decides: bool, documentation: &'static str) -> Function {
    let row = row(name, "A …", (1, MANY), last, documentation);
    Function { decides: Some(decides), ..row }
}

/// Those in front of it did not decide.
fn last(arguments: &[Value]) -> Result<Value, String> {
    Ok(arguments.last().cloned().unwrap_or_default())
}

#[expect(clippy::cast_precision_loss, reason = "Go's own float64 would lose the same digits")]
fn same(one: &Value, other: &Value) -> Result<bool, String> {
    Ok(match (one, other) {
        (Value::Null, _) | (_, Value::Null) => one == other,
        (Value::Boolean(one), Value::Boolean(other)) => one == other,
        (Value::Integer(one), Value::Integer(other)) => one == other,
        (Value::Float(one), Value::Float(other)) => one == other,
        (Value::Integer(one), Value::Float(other)) => (*one as f64) == *other,
        (Value::Float(one), Value::Integer(other)) => *one == (*other as f64),
        (Value::Text(one), Value::Text(other)) => one == other,
        (Value::List(_) | Value::Map(_), _) | (_, Value::List(_) | Value::Map(_)) => {
            return Err("compares no lists and no maps".to_owned());
        }
        _ => return Err(format!("cannot compare {} with {}", one.kind(), other.kind())),
    })
}

fn equal(arguments: &[Value]) -> Result<Value, String> {
    let first = at(arguments, 0);
    for other in arguments.iter().skip(1) {
        if same(first, other)? {
            return Ok(true.into());
        }
    }
    Ok(false.into())
}

fn unequal(arguments: &[Value]) -> Result<Value, String> {
    same(at(arguments, 0), at(arguments, 1)).map(|same| (!same).into())
}

#[expect(clippy::cast_precision_loss, reason = "Go's own float64 would lose the same digits")]
fn order(arguments: &[Value]) -> Result<Ordering, String> {
    let (one, other) = (at(arguments, 0), at(arguments, 1));
    let order = match (one, other) {
        (Value::Integer(one), Value::Integer(other)) => Some(one.cmp(other)),
        (Value::Text(one), Value::Text(other)) => Some(one.as_bytes().cmp(other.as_bytes())),
        (Value::Float(one), Value::Float(other)) => one.partial_cmp(other),
        (Value::Integer(one), Value::Float(other)) => (*one as f64).partial_cmp(other),
        (Value::Float(one), Value::Integer(other)) => one.partial_cmp(&(*other as f64)),
        _ => None,
    };
    order.ok_or_else(|| format!("cannot order {} and {}", one.kind(), other.kind()))
}

fn less(arguments: &[Value]) -> Result<Value, String> {
    order(arguments).map(|order| order.is_lt().into())
}

fn less_or_equal(arguments: &[Value]) -> Result<Value, String> {
    order(arguments).map(|order| order.is_le().into())
}

fn greater(arguments: &[Value]) -> Result<Value, String> {
    order(arguments).map(|order| order.is_gt().into())
}

fn greater_or_equal(arguments: &[Value]) -> Result<Value, String> {
    order(arguments).map(|order| order.is_ge().into())
}

fn negated(arguments: &[Value]) -> Result<Value, String> {
    Ok((!at(arguments, 0).truth()).into())
}

fn default(arguments: &[Value]) -> Result<Value, String> {
    let given = at(arguments, 1);
    Ok(if given.truth() { given.clone() } else { at(arguments, 0).clone() })
}

fn coalesce(arguments: &[Value]) -> Result<Value, String> {
    Ok(arguments.iter().find(|each| each.truth()).cloned().unwrap_or_default())
}

fn all(arguments: &[Value]) -> Result<Value, String> {
    Ok(arguments.iter().all(Value::truth).into())
}

fn any(arguments: &[Value]) -> Result<Value, String> {
    Ok(arguments.iter().any(Value::truth).into())
}

fn ternary(arguments: &[Value]) -> Result<Value, String> {
    match at(arguments, 2) {
        Value::Boolean(true) => Ok(at(arguments, 0).clone()),
        Value::Boolean(false) => Ok(at(arguments, 1).clone()),
        other => Err(wants("`true` or `false` last", other)),
    }
}

fn fail(arguments: &[Value]) -> Result<Value, String> {
    Err(format!("says: {}", super::text_at(arguments, 0)?))
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Boolean(_) => "bool",
        Value::Integer(_) => "int",
        Value::Float(_) => "float64",
        Value::Text(_) => "string",
        Value::List(_) => "slice",
        Value::Map(_) => "map",
    }
}

fn kind_of(arguments: &[Value]) -> Result<Value, String> {
    Ok(go_kind(at(arguments, 0)).into())
}

fn kind_is(arguments: &[Value]) -> Result<Value, String> {
    Ok((super::text_at(arguments, 0)? == go_kind(at(arguments, 1))).into())
}
