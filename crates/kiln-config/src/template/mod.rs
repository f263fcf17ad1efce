//! Templates in the notation of Go's `text/template`, with the functions of sprig that files for
//! machines use.
//!
//! Elemental's files hold such templates in contents, commands and names; a laptop has to find what
//! is wrong in them before a machine does. So reading is apart from carrying out: [`check`] needs
//! no values and finds unknown functions, wrong numbers of arguments, unknown variables and blocks
//! that do not end; [`render`] fills a template with the machine's facts, within fixed bounds.
//! Names for templates (`define`) and functions that depend on clock, chance or environment are
//! refused. An existing engine of another notation was dropped: the files are there, and are
//! written in this one.

mod error;
mod execute;
mod functions;
mod lexer;
mod parse;
mod print;
mod value;

pub use error::Error;
pub use execute::{MAXIMUM_OUTPUT, MAXIMUM_STEPS, MAXIMUM_VALUE};
pub use functions::{FUNCTIONS, Function, Group, REFUSED};
pub use value::{Value, Values};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::Span;

/// Whether a text has to be read as a template at all.
#[must_use]
pub fn is_template(text: &str) -> bool {
    text.contains("{{")
}

/// Says what is wrong with a template, without values. `span` is where the text stands in its
/// document.
///
/// The diagnostic points at the very place where the text stands in the document as it is; where
/// quotes or indentation were resolved in between, it points at the whole and names the line of the
/// text.
pub fn check(text: &str, span: Span, out: &mut Diagnostics) {
    let Err(fault) = parse::parse(text) else { return };
    let length = (span.end - span.start) as usize;
    let verbatim = match length.checked_sub(text.len()) {
        Some(0) => Some(0),
        Some(2) => Some(1),
        _ => None,
    };
    let (place, message) = match verbatim {
        Some(quote) => {
            let start = span.start as usize + quote + fault.offset.min(text.len());
            (Span::new(span.source, start, span.end as usize - quote), fault.message)
        }
        None => {
            let line = error::line(text, fault.offset);
            (span, format!("{} (line {line} of the template)", fault.message))
        }
    };
    let diagnostic = Diagnostic::error(fault.code, place, message);
    out.push(match fault.hint {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    });
}

/// Fills a template with values.
///
/// # Errors
/// What is wrong with the text, a value that does not fit, or a bound that was met; each with its
/// line.
pub fn render(text: &str, values: &Values) -> Result<String, Error> {
    let list = parse::parse(text).map_err(|fault| Error::Syntax {
        line: error::line(text, fault.offset),
        message: fault.message,
        hint: fault.hint,
    })?;
    execute::execute(text, &list, values.root())
}

#[cfg(test)]
mod tests;
