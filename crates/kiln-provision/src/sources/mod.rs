//! Where configuration is looked for, and what was found there.
//!
//! The order is fixed and the same on every machine: what the image brings, then what its owner put
//! on its own disk, then what the kernel command line names. All of it is written down in a [`Trace`]
//! that people can read: "why did my file do nothing" has one place to be answered. A sealed machine takes
//! only what its image brings (DESIGN §6). Merging the search into the readers of the dialects was
//! dropped: two dialects would then look at two different sets of places.

mod command_line;
mod folders;

use serde::Serialize;

pub use command_line::Setup;
pub use folders::folder;

/// Documents that one machine takes at most: beyond, a folder holds something else by mistake.
pub const MAXIMUM_DOCUMENTS: usize = 256;

/// A document as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Path or name by which people find it again.
    pub name: String,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Where it was found.
    pub place: Place,
}

/// The kinds of places, in the order in which their documents are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The verified root.
    Image,
    /// The own disk's state: `/oem`, `/usr/local/cloud-config`.
    OwnDisk,
    /// An address or a file that the kernel command line names.
    CommandLine,
}

/// What a machine may take configuration from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Whether the machine starts only what is signed.
    pub sealed: bool,
}

impl Policy {
    /// Why a place is not looked at; nothing where it is.
    #[must_use]
    pub fn refusal(self, place: Place) -> Option<&'static str> {
        match place {
            Place::Image => None,
            _ if self.sealed => Some("the machine is sealed: only its signed image configures it"),
            _ => None,
        }
    }
}

/// What was looked at, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// One entry for each place.
    pub looked: Vec<Looked>,
}

/// One place that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// Kind of place.
    pub place: Place,
    /// Where exactly.
    pub at: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of looking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing is there.
    Absent,
    /// So many documents were taken.
    Taken(usize),
    /// It was not looked at, or not used, and why.
    Ignored(String),
}

impl Trace {
    /// Writes down one place.
    pub fn note(&mut self, place: Place, at: impl Into<String>, outcome: Outcome) {
        self.looked.push(Looked { place, at: at.into(), outcome });
    }

    /// Writes down a place from which a number of documents came.
    pub fn found(&mut self, place: Place, at: impl Into<String>, count: usize) {
        let outcome = if count == 0 { Outcome::Absent } else { Outcome::Taken(count) };
        self.note(place, at, outcome);
    }
}

impl std::fmt::Display for Trace {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for looked in &self.looked {
            let outcome = match &looked.outcome {
                Outcome::Absent => "nothing there".to_owned(),
                Outcome::Taken(1) => "1 document taken".to_owned(),
                Outcome::Taken(count) => format!("{count} documents taken"),
                Outcome::Ignored(reason) => format!("not used: {reason}"),
            };
            writeln!(formatter, "{}: {outcome}", looked.at)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Place, Policy, Trace};

    #[test]
    fn a_sealed_machine_takes_only_what_its_image_brings() {
        let refused = |sealed| {
            let places = [Place::Image, Place::OwnDisk, Place::CommandLine];
            places.map(|place| Policy { sealed }.refusal(place).is_some())
        };
        assert_eq!((refused(false), refused(true)), ([false; 3], [false, true, true]));
    }

    #[test]
    fn a_trace_can_be_read() {
        let mut trace = Trace::default();
        trace.found(Place::Image, "/system/oem", 2);
        trace.found(Place::OwnDisk, "/oem", 0);
        trace.note(Place::CommandLine, "http://a/b", Outcome::Ignored("too late".into()));
        assert_eq!(
            trace.to_string(),
            "/system/oem: 2 documents taken\n/oem: nothing there\nhttp://a/b: not used: too late\n"
        );
    }
}
