//! What this machine has run.

use serde::Serialize;

use crate::ledger::{Ledger, Revision};

/// The value of `format`.
const FORMAT: &str = "kiln.history.v1";

/// Everything that `kiln history` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct History {
    /// Always `kiln.history.v1`.
    pub format: &'static str,
    /// All revisions with all their events, as the ledger has them, newest first.
    pub revisions: Vec<Revision>,
}

impl History {
    /// The history of a machine.
    #[must_use]
    pub fn of(ledger: &Ledger) -> Self {
        let revisions = ledger.revisions.iter().rev().cloned().collect();
        Self { format: FORMAT, revisions }
    }
}
