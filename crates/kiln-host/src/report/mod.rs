//! What a machine tells about itself: values with a stable JSON form, and the same as text.
//!
//! The JSON is a promise to scripts: keys are only added, and `format` says which promise it is. The
//! text is for people and may change. Neither needs root: what cannot be read is missing.

mod history;
mod status;
mod text;

use serde::Serialize;

pub use history::{History, LoaderChange, LoaderName};
pub use status::{LoaderReport, SlotReport, Status, SystemPartitionReport};

use crate::ledger::{Failure, Revision, Slot, State, Verification};
use crate::machine::BootEntry;

/// A revision in reports. What the ledger does not know is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RevisionReport {
    /// Its number on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// Where its root is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// What became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Its file name on the ESP, while the loader lists it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// Starts that the loader has left for it, while it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tries_left: Option<u8>,
    /// The release's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The version that people see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The release's title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its place in the order of releases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Digest of the container image's manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest_digest: Option<String>,
    /// The root hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_hash: Option<String>,
    /// The kernel's release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Where it was fetched from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Who vouches for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// When its state last changed, in seconds since 1970 by the machine's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<u64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

impl RevisionReport {
    /// A revision that the ledger knows.
    fn of(revision: &Revision) -> Self {
        let release = &revision.release;
        Self {
            generation: Some(revision.generation),
            slot: Some(revision.slot),
            state: Some(revision.state()),
            entry: None,
            tries_left: None,
            name: Some(release.name.clone()),
            version: Some(release.version.clone()),
            title: Some(release.title.clone()),
            sequence: Some(release.sequence.0),
            manifest_digest: release.source.manifest_digest.clone(),
            root_hash: Some(release.root.hash.clone()),
            kernel: Some(release.kernel.clone()),
            reference: revision.reference.clone(),
            verification: Some(revision.verification.clone()),
            time: revision.events.last().map(|event| event.time),
            failure: revision.failure().cloned(),
        }
    }

    /// A revision that nothing is known of but these.
    fn unknown(generation: Option<u32>, slot: Option<Slot>, root_hash: Option<String>) -> Self {
        Self {
            generation,
            slot,
            state: None,
            entry: None,
            tries_left: None,
            name: None,
            version: None,
            title: None,
            sequence: None,
            manifest_digest: None,
            root_hash,
            kernel: None,
            reference: None,
            verification: None,
            time: None,
            failure: None,
        }
    }

    fn listed_as(self, entry: &BootEntry) -> Self {
        let tries_left = entry.name.counter.map(|counter| counter.left);
        Self { entry: Some(entry.file.clone()), tries_left, ..self }
    }
}
