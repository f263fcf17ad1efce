//! The functions that a template may call.
//!
//! Those of Go's `text/template` and of sprig that files for machines use, in one table that is
//! also the documentation. What would make the same file give other bytes on the next machine or
//! the next day (environment, clock, randomness, network) is refused by name with the reason, and
//! so is what changes a value in place. A value of the wrong kind is a fault, as in Go; nothing is
//! guessed.

mod collection;
mod logic;
mod number;
mod text;

use super::execute::MAXIMUM_VALUE;
use super::value::Value;

/// A function of templates.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Its arguments as they are written; `…` is any number.
    pub arguments: &'static str,
    /// What it gives, in one line.
    pub documentation: &'static str,
    /// Fewest and most arguments.
    count: (usize, usize),
    /// For `and` and `or`: the truth of an argument that ends looking at the others.
    pub(super) decides: Option<bool>,
    call: fn(&[Value]) -> Result<Value, String>,
}

/// Functions of one theme.
#[derive(Debug)]
pub struct Group {
    /// Its title.
    pub title: &'static str,
    /// The functions.
    pub functions: &'static [Function],
}

/// All functions.
pub const FUNCTIONS: &[Group] = &[
    Group { title: "Comparisons and logic", functions: logic::TABLE },
    Group { title: "Texts", functions: text::TABLE },
    Group { title: "Numbers", functions: number::TABLE },
    Group { title: "Lists and maps", functions: collection::TABLE },
];

/// Any number of arguments.
const MANY: usize = usize::MAX;

/// A row of a table: name, arguments, fewest and most of them, what it gives, and the function.
const fn row(
    name: &'static str,
    arguments: &'static str,
    count: (usize, usize),
    call: fn(&[Value]) -> Result<Value, String>,
    documentation: &'static str,
) -> Function {
    Function { name, arguments, documentation, count, decides: None, call }
}

const ENVIRONMENT: &str = "a machine's configuration must not depend on the environment of the program \
                           that reads it";
const CLOCK: &str = "the same file would give other bytes tomorrow";
const RANDOM: &str = "the same file would give other bytes each time it is read";
const NETWORK: &str = "reading a file must ask nobody";
const PLACE: &str = "values are never changed in place; build the map with `dict` or `merge`";
const EXPRESSION: &str = "regular expressions are not carried out; `contains`, `hasPrefix` and \
                          `replace` are";
const WEB: &str = "it escapes for web pages, which a machine's files are not";

/// Functions of Go and sprig that are refused, each with the reason.
pub const REFUSED: &[(&str, &str)] = &[
    ("env", ENVIRONMENT),
    ("expandenv", ENVIRONMENT),
    ("now", CLOCK),
    ("date", CLOCK),
    ("dateInZone", CLOCK),
    ("date_in_zone", CLOCK),
    ("dateModify", CLOCK),
    ("date_modify", CLOCK),
    ("mustDateModify", CLOCK),
    ("htmlDate", CLOCK),
    ("htmlDateInZone", CLOCK),
    ("ago", CLOCK),
    ("toDate", CLOCK),
    ("mustToDate", CLOCK),
    ("unixEpoch", CLOCK),
    ("duration", CLOCK),
    ("durationRound", CLOCK),
    ("randAlphaNum", RANDOM),
    ("randAlpha", RANDOM),
    ("randNumeric", RANDOM),
    ("randAscii", RANDOM),
    ("randBytes", RANDOM),
    ("randInt", RANDOM),
    ("shuffle", RANDOM),
    ("uuidv4", RANDOM),
    ("genPrivateKey", RANDOM),
    ("genCA", RANDOM),
    ("genCAWithKey", RANDOM),
    ("genSelfSignedCert", RANDOM),
    ("genSelfSignedCertWithKey", RANDOM),
    ("genSignedCert", RANDOM),
    ("genSignedCertWithKey", RANDOM),
    ("derivePassword", RANDOM),
    ("encryptAES", RANDOM),
    ("bcrypt", RANDOM),
    ("htpasswd", RANDOM),
    ("getHostByName", NETWORK),
    ("set", PLACE),
    ("unset", PLACE),
    ("mergeOverwrite", "`merge` takes the maps in the order of their weight"),
    ("regexMatch", EXPRESSION),
    ("mustRegexMatch", EXPRESSION),
    ("regexFind", EXPRESSION),
    ("regexFindAll", EXPRESSION),
    ("regexReplaceAll", EXPRESSION),
    ("regexReplaceAllLiteral", EXPRESSION),
    ("regexSplit", EXPRESSION),
    ("regexQuoteMeta", EXPRESSION),
    ("html", WEB),
    ("js", WEB),
    ("urlquery", WEB),
    ("call", "values hold no functions"),
];

/// The function of a name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().flat_map(|group| group.functions).find(|function| function.name == name)
}

/// Why a function is refused.
pub(super) fn refusal(name: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(refused, _)| *refused == name).map(|(_, reason)| *reason)
}

/// The names of all functions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().flat_map(|group| group.functions).map(|function| function.name)
}

impl Function {
    /// Whether it takes that many arguments.
    pub(super) fn accepts(&self, given: usize) -> Result<(), String> {
        let (least, most) = self.count;
        if (least..=most).contains(&given) {
            return Ok(());
        }
        let wanted = match (least, most) {
            (0, 0) => "no arguments".to_owned(),
            (1, 1) => "1 argument".to_owned(),
            (least, most) if least == most => format!("{least} arguments"),
            (1, MANY) => "at least 1 argument".to_owned(),
            (least, MANY) => format!("at least {least} arguments"),
            (least, most) => format!("{least} to {most} arguments"),
        };
        Err(format!("`{}` takes {wanted}, and gets {given}", self.name))
    }

    /// Calls it. The fault is the end of a sentence that begins with its name.
    pub(super) fn call(&self, arguments: &[Value]) -> Result<Value, String> {
        (self.call)(arguments)
    }
}

/// Refuses a value that would be too large, before it is made.
pub(super) fn room(bytes: usize) -> Result<(), String> {
    if bytes > MAXIMUM_VALUE {
        return Err(format!("would make a value of more than {MAXIMUM_VALUE} bytes"));
    }
    Ok(())
}

/// The argument at a place; nothing where an optional one is not given.
fn at(arguments: &[Value], index: usize) -> &Value {
    const NOTHING: &Value = &Value::Null;
    arguments.get(index).unwrap_or(NOTHING)
}

fn wants(expected: &str, value: &Value) -> String {
    format!("wants {expected}, and gets {}", value.kind())
}

/// An argument that has to be a text.
fn text_at(arguments: &[Value], index: usize) -> Result<&str, String> {
    match at(arguments, index) {
        Value::Text(text) => Ok(text),
        other => Err(wants("a text", other)),
    }
}

/// An argument that has to be a whole number; a floating one without fraction is one.
#[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small right before")]
fn integer_at(arguments: &[Value], index: usize) -> Result<i64, String> {
    match at(arguments, index) {
        Value::Integer(number) => Ok(*number),
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => Ok(*number as i64),
        other => Err(wants("a whole number", other)),
    }
}

/// An argument that has to be a list.
fn list_at(arguments: &[Value], index: usize) -> Result<&[Value], String> {
    match at(arguments, index) {
        Value::List(list) => Ok(list),
        other => Err(wants("a list", other)),
    }
}

/// An argument that has to be a map.
fn map_at(
    arguments: &[Value],
    index: usize,
) -> Result<&std::collections::BTreeMap<String, Value>, String> {
    match at(arguments, index) {
        Value::Map(map) => Ok(map),
        other => Err(wants("a map", other)),
    }
}
