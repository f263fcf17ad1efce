//! What was done, as data: for the console, for `--json`, for the file beside the marks.

use std::time::Duration;

use kiln_config::{Place, Stage};
use serde::{Serialize, Serializer};

/// What became of the operations of a stage, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Name of the stage.
    #[serde(serialize_with = "name")]
    pub stage: Stage,
    /// One for each operation that was looked at.
    pub records: Vec<Record>,
    /// Why the machine must not go on: a document that is all or nothing failed, and is undone.
    pub aborted: Option<String>,
}

/// What became of one operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Where it was written.
    pub place: Place,
    /// Number of its document.
    pub document: u32,
    /// Name of its step.
    pub name: Option<String>,
    /// What it does, without secrets.
    pub action: String,
    /// What became of it.
    pub outcome: Outcome,
    /// How long it took, in milliseconds.
    #[serde(rename = "milliseconds", serialize_with = "milliseconds")]
    pub duration: Duration,
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// It was carried out.
    Done,
    /// It was not to run here.
    Skipped {
        /// Why.
        reason: String,
    },
    /// It failed.
    Failed {
        /// Why.
        reason: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// It was carried out and undone, because a later one of its document failed.
    Undone,
}

impl Report {
    /// Whether nothing failed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.aborted.is_none() && self.failures().next().is_none()
    }

    /// What failed.
    pub fn failures(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|record| matches!(record.outcome, Outcome::Failed { .. }))
    }
}

fn name<S: Serializer>(stage: &Stage, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(stage)
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
