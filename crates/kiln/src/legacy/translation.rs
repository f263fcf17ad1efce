//! What a call of another system's program becomes: words of Kiln's, what to look at before, and what
//! comes after. Values only; nothing here looks at the machine.

use std::ffi::{OsStr, OsString};

use super::flags::Parsed;

/// A restart that the other program makes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Power {
    /// The machine starts again.
    Restart,
    /// The machine is switched off.
    Off,
}

/// What has to be known of the machine before the words are carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Guard {
    /// The system is installed onto this disk, unless it runs from there. `instead` are the words
    /// for a recovery on the same disk.
    Install { target: OsString, force: bool, instead: Box<Translation> },
    /// A recovery brings the system, unless there is one.
    Deploy { force: bool },
}

/// A call in Kiln's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Translation {
    /// Kiln's words without the name of the program.
    pub(crate) arguments: Vec<OsString>,
    /// Which of the words are documents as the other program names them: files, folders, addresses,
    /// or their text.
    pub(crate) documents: Vec<usize>,
    /// What the user has to know.
    pub(crate) notes: Vec<String>,
    /// What to look at before.
    pub(crate) guard: Option<Guard>,
    /// What comes after success, where the verb has no word for it.
    pub(crate) power: Option<Power>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Text to show.
    Help(String),
    /// A call of Kiln.
    Call(Translation),
}

impl Translation {
    /// A call of a verb, with what all programs have in common.
    pub(super) fn of(verb: &[&str], parsed: &Parsed) -> Self {
        let mut translation = Self { notes: parsed.notes.clone(), ..Self::default() };
        if parsed.is_on("quiet") {
            translation.add("-q");
        } else if parsed.is_on("debug") {
            translation.add("-v");
        }
        for word in verb {
            translation.add(word);
        }
        for name in super::HIDDEN {
            if let Some(value) = parsed.value(name.name) {
                translation.option(&format!("--{}", name.name), value);
            }
        }
        translation
    }

    /// One more word.
    pub(super) fn add(&mut self, word: impl AsRef<OsStr>) {
        self.arguments.push(word.as_ref().to_owned());
    }

    /// An option and its value.
    pub(super) fn option(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.add(name);
        self.add(value);
    }

    /// A document, as the other program names it.
    pub(super) fn document(&mut self, name: impl AsRef<OsStr>) {
        self.documents.push(self.arguments.len());
        self.add(name);
    }

    /// What comes after: by a word, if the verb has one for it.
    pub(super) fn end_with(&mut self, power: Option<Power>, has: &[Power]) {
        match power {
            Some(Power::Restart) if has.contains(&Power::Restart) => self.add("--reboot"),
            Some(Power::Off) if has.contains(&Power::Off) => self.add("--poweroff"),
            _ => self.power = power,
        }
    }

    /// Something that the user has to know.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}
