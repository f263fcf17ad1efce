//! What this machine has run, and which boot loaders were replaced meanwhile.
//!
//! Loaders are told apart from revisions, because they belong to none: one starts all of them, and it
//! stays when a machine goes back.

use serde::Serialize;

use crate::ledger::{Ledger, Revision};
use crate::loader::Record;

/// The value of `format`.
const FORMAT: &str = "kiln.history.v1";

/// Everything that `kiln history` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct History {
    /// Always `kiln.history.v1`.
    pub format: &'static str,
    /// All revisions with all their events, as the ledger has them, newest first.
    pub revisions: Vec<Revision>,
    /// Boot loaders that took the place of others, newest first.
    pub loaders: Vec<LoaderChange>,
}

/// A boot loader in the place of another. Who laid it there is not known: Kiln's own updates and
/// another tool's look alike on the ESP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoaderChange {
    /// When it was found, in seconds since 1970 by the machine's clock.
    pub time: u64,
    /// The generation that ran then, and brought it if Kiln laid it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// The name of that generation's release, if the ledger still knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The version of that release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its path on the ESP.
    pub path: String,
    /// What was there before; missing if Kiln did not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<LoaderName>,
    /// What is there since then; missing if Kiln does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<LoaderName>,
}

/// A loader and its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoaderName {
    /// `systemd-boot` or `shim`.
    pub kind: String,
    /// Its version.
    pub version: String,
}

impl History {
    /// The history of a machine.
    #[must_use]
    pub fn of(ledger: &Ledger, record: &Record) -> Self {
        let revisions = ledger.revisions.iter().rev().cloned().collect();
        let name = |found: Option<(&str, &str)>| {
            found.map(|(kind, version)| LoaderName { kind: kind.into(), version: version.into() })
        };
        let changes = record.changes().map(|(before, event)| {
            let ran = event.generation.and_then(|generation| ledger.revision(generation));
            LoaderChange {
                time: event.time,
                generation: event.generation,
                name: ran.map(|revision| revision.release.name.clone()),
                version: ran.map(|revision| revision.release.version.clone()),
                path: event.path.clone(),
                from: name(before.loader()),
                to: name(event.loader()),
            }
        });
        let mut loaders: Vec<LoaderChange> = changes.collect();
        loaders.reverse();
        Self { format: FORMAT, revisions, loaders }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::History;
    use crate::loader::{LoaderEvent, Record};
    use crate::plan::test_support::machine;

    fn event(time: u64, generation: Option<u32>, path: &str, found: Option<&str>) -> LoaderEvent {
        let kind = found.is_some_and(|version| version.contains('.')).then(|| "shim".to_owned());
        let (path, version) = (path.to_owned(), found.map(str::to_owned));
        LoaderEvent { time, generation, path, version, kind }
    }

    /// Scripts read these keys.
    #[test]
    fn what_replaced_what_is_told_with_its_release() {
        let events = vec![
            event(9, Some(1), "a", Some("252")),
            event(9, Some(1), "b", None),
            event(20, Some(2), "a", Some("257")),
            event(20, Some(7), "b", Some("16.1")),
            event(3, None, "a", None),
        ];
        let record = Record { events, ..Record::default() };
        let history = History::of(&machine().ledger, &record);
        let value = serde_json::to_value(&history).unwrap();
        let systemd_boot = |version| json!({ "kind": "systemd-boot", "version": version });
        let expected = json!([
            { "time": 3, "path": "a", "from": systemd_boot("257") },
            {
                "time": 20, "generation": 7, "path": "b",
                "to": { "kind": "shim", "version": "16.1" },
            },
            {
                "time": 20, "generation": 2, "name": "edge", "version": "2", "path": "a",
                "from": systemd_boot("252"), "to": systemd_boot("257"),
            },
        ]);
        assert_eq!(value["loaders"], expected);
        assert_eq!(value["revisions"].as_array().map(Vec::len), Some(2));
    }
}
