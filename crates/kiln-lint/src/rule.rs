//! What a rule, its severity and a finding are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::image::Image;
use crate::{Error, RULES};

/// How bad it is to break a rule. Later is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; the system is as good with it.
    Note,
    /// The system works, but probably not as its author means.
    Warning,
    /// The system does not boot, or it is not safe to give to anyone.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// From where on a rule is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threshold {
    /// The first case breaks it.
    Any,
    /// More bytes than these break it; [`Settings::limits`] can set others.
    Bytes(u64),
}

impl fmt::Display for Threshold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("any"),
            Self::Bytes(bytes) => write!(formatter, "more than {}", mebibytes(*bytes)),
        }
    }
}

/// Bytes in MiB with one decimal, none where it is whole.
pub(crate) fn mebibytes(bytes: u64) -> String {
    let tenths = u128::from(bytes) * 10 / (1 << 20);
    match tenths % 10 {
        0 => format!("{} MiB", tenths / 10),
        tenth => format!("{}.{tenth} MiB", tenths / 10),
    }
}

/// A rule, as it is declared in [`RULES`].
#[derive(Debug)]
pub struct Rule {
    /// Its name on the command line: lower-case words joined with `-`, never reused.
    pub id: &'static str,
    /// How bad it is to break it.
    pub severity: Severity,
    /// From where on it is broken.
    pub threshold: Threshold,
    /// Why it exists: one sentence.
    pub reason: &'static str,
    /// What the image's author can do: one sentence.
    pub fix: &'static str,
    /// The function that looks for faults; its second argument is the limit in bytes, 0 for rules
    /// that have none.
    pub(crate) check: fn(&Image<'_>, u64) -> Result<Vec<Fault>, Error>,
}

/// What a rule found, not yet tied to the rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) path: Option<String>,
}

impl Fault {
    /// A fault of the image as a whole.
    pub(crate) fn of_image(message: impl Into<String>) -> Self {
        Self { message: message.into(), path: None }
    }

    /// A fault of one path, given without leading slash.
    pub(crate) fn at(path: &[u8], message: impl Into<String>) -> Self {
        let path = format!("/{}", String::from_utf8_lossy(path).escape_debug());
        Self { message: message.into(), path: Some(path) }
    }
}

/// A rule that an image breaks.
#[derive(Debug)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// What was found.
    pub message: String,
    /// Where, as an absolute path of the image without control characters; none if it is about the
    /// whole image.
    pub path: Option<String>,
}

impl fmt::Display for Finding {
    /// One line: `severity: [id] message (path)`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: [{}] {}", self.rule.severity, self.rule.id, self.message)?;
        match &self.path {
            Some(path) => write!(formatter, " ({path})"),
            None => Ok(()),
        }
    }
}

/// What a user changes about the rules.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Rules that are not checked, by id.
    pub allowed: BTreeSet<String>,
    /// Other limits in bytes for rules that have one, by id.
    pub limits: BTreeMap<String, u64>,
}

impl Settings {
    /// Refuses names that no rule has: a misspelt `--allow` must not look as if it worked.
    ///
    /// # Errors
    /// [`Error::UnknownRule`] with the first such name.
    pub fn validate(&self) -> Result<(), Error> {
        let known = |id: &str| RULES.iter().any(|rule| rule.id == id);
        match self.allowed.iter().chain(self.limits.keys()).find(|id| !known(id)) {
            Some(id) => Err(Error::UnknownRule { id: id.clone() }),
            None => Ok(()),
        }
    }

    /// The limit of a rule in bytes; 0 if it has none.
    pub(crate) fn limit(&self, rule: &Rule) -> u64 {
        match rule.threshold {
            Threshold::Any => 0,
            Threshold::Bytes(bytes) => self.limits.get(rule.id).copied().unwrap_or(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Settings, Severity, Threshold, mebibytes};
    use crate::RULES;

    #[test]
    fn severities_are_ordered_for_deny() {
        assert!(Severity::Note < Severity::Warning && Severity::Warning < Severity::Error);
        assert_eq!(format!("{:<8}|", Severity::Note), "note    |");
    }

    #[test]
    fn sizes_read_well() {
        let cases = [(20 << 20, "20 MiB"), ((3 << 20) / 2, "1.5 MiB"), (0, "0 MiB")];
        for (bytes, expected) in cases {
            assert_eq!(mebibytes(bytes), expected);
        }
        assert_eq!(Threshold::Bytes(1 << 20).to_string(), "more than 1 MiB");
    }

    #[test]
    fn names_of_rules_are_checked() {
        let settings = Settings { allowed: ["no-kernal".to_owned()].into(), ..Settings::default() };
        let error = settings.validate().unwrap_err();
        assert_eq!(error.to_string(), "there is no rule `no-kernal`");
        assert!(error.hint().unwrap().contains("no-kernel"));
    }

    #[test]
    fn declarations_are_well_formed() {
        let mut ids = std::collections::BTreeSet::new();
        for rule in RULES {
            assert!(ids.insert(rule.id), "{} twice", rule.id);
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
            assert!(rule.id.bytes().all(plain), "{}", rule.id);
            for sentence in [rule.reason, rule.fix] {
                assert!(sentence.len() > 20 && !sentence.ends_with('.'), "{sentence}");
                assert!(!sentence.contains(['|', '\n']), "breaks the table: {sentence}");
            }
        }
    }

    #[test]
    fn hostile_names_cannot_forge_lines() {
        let fault = Fault::at(b"run/a\nerror: \x1b[2J", "x");
        assert_eq!(fault.path.unwrap(), "/run/a\\nerror: \\u{1b}[2J");
    }
}
