//! Why a template cannot be carried out.
//!
//! Faults of the text are found without a machine and are shown as diagnostics by
//! [`check`](super::check); the same faults come out of [`render`](super::render) as this error,
//! together with those that depend on values.

/// A template that cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no template.
    #[error("template line {line}: {message}")]
    Syntax {
        /// Line of the text, counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// A value does not fit.
    #[error("template line {line}: {message}")]
    Value {
        /// Line of the text, counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// It takes too long or makes too much.
    #[error("template line {line}: {message}")]
    Limit {
        /// Line of the text, counted from 1.
        line: usize,
        /// Which bound was met.
        message: String,
    },
}

impl Error {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Syntax { hint, .. } => hint.as_deref(),
            Self::Value { .. } => Some("give a value for what may be absent with `default`"),
            Self::Limit { .. } => Some("write large texts out instead of computing them"),
        }
    }
}

/// What is wrong with the text of a template, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Bytes in front of it.
    pub(super) offset: usize,
    /// Stable name of the rule.
    pub(super) code: &'static str,
    /// The sentence.
    pub(super) message: String,
    /// What to do next.
    pub(super) hint: Option<String>,
}

impl Fault {
    pub(super) fn new(offset: usize, message: impl Into<String>) -> Self {
        Self { offset, code: "template-syntax", message: message.into(), hint: None }
    }

    pub(super) fn code(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The line of an offset, counted from 1.
pub(super) fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}
