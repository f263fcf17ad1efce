//! What is said about a document: one sentence, its place, and what to do.
//!
//! Diagnostics are data. They are shown in one place of the command line, as text, JSON or SARIF; a
//! reader never prints and never stops at the first fault, because who repairs a file wants all of them
//! at once. A reader that finds an error goes on with the value it would have had by default.

use serde::Serialize;

use crate::source::Span;

/// Faults after which no more are collected: beyond, nobody reads them and a hostile document could
/// make megabytes of them.
pub const MAXIMUM: usize = 500;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; what will happen is what was written.
    Note,
    /// Probably not what was meant; the document is carried out, the sentence says how.
    Warning,
    /// The document is refused.
    Error,
}

/// A further place that belongs to a diagnostic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is there, lower case, no full stop.
    pub message: String,
}

/// One thing to say about a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable name of the rule, lower case with hyphens (`unknown-key`); documented and for machines.
    pub code: &'static str,
    /// The sentence, lower case, no full stop, with the offending name in backticks.
    pub message: String,
    /// Where; absent only for what concerns no single place.
    pub span: Option<Span>,
    /// Further places, for instance the first of two that contradict each other.
    pub labels: Vec<Label>,
    /// What to do next, lower case, no full stop.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A diagnostic at a place.
    #[must_use]
    pub fn new(
        severity: Severity,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            code,
            message: message.into(),
            span: Some(span),
            labels: Vec::new(),
            hint: None,
        }
    }

    /// An error at a place.
    #[must_use]
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, span, message)
    }

    /// A warning at a place.
    #[must_use]
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, span, message)
    }

    /// A note at a place.
    #[must_use]
    pub fn note(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, span, message)
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a further place.
    #[must_use]
    pub fn label(mut self, span: Span, message: impl Into<String>) -> Self {
        self.labels.push(Label { span, message: message.into() });
        self
    }
}

/// All diagnostics of a run, in the order in which they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    errors: usize,
}

impl Diagnostics {
    /// Takes one in. Beyond [`MAXIMUM`] only errors still count, so that nothing faulty passes.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Error {
            self.errors += 1;
        }
        if self.list.len() < MAXIMUM {
            self.list.push(diagnostic);
        }
    }

    /// Takes in all of another run.
    pub fn extend(&mut self, others: Self) {
        let kept = others.list.iter().filter(|one| one.severity == Severity::Error).count();
        self.errors += others.errors.saturating_sub(kept);
        for diagnostic in others.list {
            self.push(diagnostic);
        }
    }

    /// Whether a document has to be refused.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Number of errors, those beyond [`MAXIMUM`] included.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// The diagnostics.
    #[must_use]
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// Orders them by document and place; those without a place come first.
    pub fn sort(&mut self) {
        self.list.sort_by_key(|diagnostic| diagnostic.span);
    }
}

#[cfg(test)]
mod tests {
    use super::{Diagnostic, Diagnostics, MAXIMUM};
    use crate::source::{SourceId, Span};

    #[test]
    fn errors_beyond_the_maximum_still_count() {
        let span = Span::new(SourceId(0), 0, 1);
        let mut all = Diagnostics::default();
        for _ in 0..MAXIMUM {
            all.push(Diagnostic::warning("w", span, "careful"));
        }
        assert!(!all.has_errors());
        all.push(Diagnostic::error("e", span, "bad"));
        assert_eq!((all.has_errors(), all.list().len()), (true, MAXIMUM));
        let mut outer = Diagnostics::default();
        outer.extend(all);
        assert_eq!(outer.errors(), 1);
    }
}
