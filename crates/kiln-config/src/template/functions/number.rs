//! Numbers.
//!
//! sprig reads anything as a number and takes zero for what is none; that is kept, since files rely
//! on it. A sum that does not fit into 64 bits and a division by zero are faults instead of wrong
//! numbers.

use super::{Function, MANY, at, row};
use crate::template::lexer::number;
use crate::template::value::Value;

pub(super) const TABLE: &[Function] = &[
    row("int", "A", (1, 1), int, "A as a whole number; 0 where it is none"),
    row("int64", "A", (1, 1), int, "the same"),
    row("atoi", "TEXT", (1, 1), atoi, "the decimal number that TEXT writes; 0 where it is none"),
    row("float64", "A", (1, 1), float64, "A as a floating number; 0 where it is none"),
    row("add", "A …", (1, MANY), add, "the sum of whole numbers"),
    row("add1", "A", (1, 1), add1, "A + 1"),
    row("sub", "A B", (2, 2), sub, "A - B"),
    row("mul", "A B …", (1, MANY), mul, "the product of whole numbers"),
    row("div", "A B", (2, 2), div, "A / B without fraction"),
    row("mod", "A B", (2, 2), modulo, "what is left of A / B"),
    row("max", "A …", (1, MANY), max, "the greatest whole number"),
    row("min", "A …", (1, MANY), min, "the least whole number"),
    row("ceil", "A", (1, 1), ceil, "the next whole number that is not below A"),
    row("floor", "A", (1, 1), floor, "the next whole number that is not above A"),
    row("round", "A DIGITS", (2, 2), round, "A with that many digits behind the point"),
];

/// As sprig's `toInt64`: what cannot be one is 0.
#[expect(clippy::cast_possible_truncation, reason = "saturates; sprig cuts off the fraction, too")]
fn whole(value: &Value) -> i64 {
    match value {
        Value::Boolean(value) => i64::from(*value),
        Value::Integer(value) => *value,
        Value::Float(value) => *value as i64,
        Value::Text(text) => match number(text) {
            Some(Value::Integer(value)) => value,
            _ => 0,
        },
        Value::Null | Value::List(_) | Value::Map(_) => 0,
    }
}

#[expect(clippy::cast_precision_loss, reason = "the function asks for a floating number")]
fn floating(value: &Value) -> f64 {
    match value {
        Value::Float(value) => *value,
        Value::Text(text) => match number(text) {
            Some(Value::Float(value)) => value,
            _ => text.parse().ok().filter(|value: &f64| value.is_finite()).unwrap_or(0.0),
        },
        other => whole(other) as f64,
    }
}

fn fits(value: Option<i64>) -> Result<Value, String> {
    value.map(Value::Integer).ok_or_else(|| "gives a number beyond 64 bits".to_owned())
}

fn int(arguments: &[Value]) -> Result<Value, String> {
    Ok(Value::Integer(whole(at(arguments, 0))))
}

fn atoi(arguments: &[Value]) -> Result<Value, String> {
    Ok(Value::Integer(super::text_at(arguments, 0)?.parse().unwrap_or(0)))
}

fn float64(arguments: &[Value]) -> Result<Value, String> {
    Ok(Value::Float(floating(at(arguments, 0))))
}

fn add(arguments: &[Value]) -> Result<Value, String> {
    fits(arguments.iter().map(whole).try_fold(0_i64, i64::checked_add))
}

fn add1(arguments: &[Value]) -> Result<Value, String> {
    fits(whole(at(arguments, 0)).checked_add(1))
}

fn sub(arguments: &[Value]) -> Result<Value, String> {
    fits(whole(at(arguments, 0)).checked_sub(whole(at(arguments, 1))))
}

fn mul(arguments: &[Value]) -> Result<Value, String> {
    fits(arguments.iter().map(whole).try_fold(1_i64, i64::checked_mul))
}

fn div(arguments: &[Value]) -> Result<Value, String> {
    let divisor = whole(at(arguments, 1));
    if divisor == 0 {
        return Err("divides by zero".to_owned());
    }
    fits(whole(at(arguments, 0)).checked_div(divisor))
}

fn modulo(arguments: &[Value]) -> Result<Value, String> {
    let divisor = whole(at(arguments, 1));
    if divisor == 0 {
        return Err("divides by zero".to_owned());
    }
    fits(whole(at(arguments, 0)).checked_rem(divisor))
}

fn max(arguments: &[Value]) -> Result<Value, String> {
    fits(arguments.iter().map(whole).max())
}

fn min(arguments: &[Value]) -> Result<Value, String> {
    fits(arguments.iter().map(whole).min())
}

fn ceil(arguments: &[Value]) -> Result<Value, String> {
    Ok(Value::Float(floating(at(arguments, 0)).ceil()))
}

fn floor(arguments: &[Value]) -> Result<Value, String> {
    Ok(Value::Float(floating(at(arguments, 0)).floor()))
}

fn round(arguments: &[Value]) -> Result<Value, String> {
    let digits = super::integer_at(arguments, 1)?;
    let digits = i32::try_from(digits).ok().filter(|digits| (0..=15).contains(digits));
    let factor = 10_f64.powi(digits.ok_or("takes 0 to 15 digits")?);
    Ok(Value::Float((floating(at(arguments, 0)) * factor).round() / factor))
}
