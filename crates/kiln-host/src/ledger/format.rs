//! The ledger: what this machine has run, what became of it, and what it may run again.
//!
//! One JSON file in state. The boot files on the ESP say what *will* start; the ledger says what
//! *happened*, which no boot loader can. It is never needed to boot: when it is lost, the entries
//! and slots still start, and only history and quarantine are gone.
//!
//! The text is canonical (keys in the order of the fields, two spaces, one final line feed).
//! Unknown keys are refused in the same format version, because a Kiln that went back to an older
//! release must not silently drop what the newer one wrote.

use kiln_release::Release;
use serde::{Deserialize, Serialize};

use super::LocalArguments;
use crate::Error;

/// The value of `format` in every ledger that this crate writes.
pub const FORMAT: &str = "kiln.ledger.v1";

/// Revisions that are kept; older ones that nothing on the disk needs are forgotten.
pub const MAXIMUM_REVISIONS: usize = 64;

/// Longest reason that is kept, in bytes: enough for the last lines of a health check.
pub const MAXIMUM_REASON: usize = 4096;

/// The place of a root image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// Partition `kiln-root-a`.
    A,
    /// Partition `kiln-root-b`.
    B,
    /// Partition `kiln-recovery`.
    Recovery,
}

impl Slot {
    /// The slot that an upgrade writes while this one runs.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B | Self::Recovery => Self::A,
        }
    }

    /// Its partition.
    #[must_use]
    pub fn role(self) -> kiln_disk::layout::Role {
        match self {
            Self::A => kiln_disk::layout::ROOT_A,
            Self::B => kiln_disk::layout::ROOT_B,
            Self::Recovery => kiln_disk::layout::RECOVERY,
        }
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::A => "A",
            Self::B => "B",
            Self::Recovery => "recovery",
        })
    }
}

/// The life of a revision.
///
/// ```text
/// staged ──► trying ──► blessed ──► replaced
///    │          │           │
///    ▼          ▼           ▼
/// replaced    failed     left (rolled back by a person)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// On the disk whole, but no loader lists it.
    Staged,
    /// The loader lists it with counted tries.
    Trying,
    /// It passed its health checks; the loader starts it without counting.
    Blessed,
    /// It did not prove itself; the machine went back and does not try it again by itself.
    Failed,
    /// A person went back from it.
    Left,
    /// Its slot or its boot file was taken for another one.
    Replaced,
}

/// Where a boot stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Before or in Kiln's first process: kernel panic, no root, no state.
    Boot,
    /// Between the first process and the health checks: the system hung or crashed.
    Start,
    /// systemd's emergency or rescue mode.
    Emergency,
    /// A health check failed or hung.
    Health,
    /// The time until blessing ran out.
    Deadline,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Boot => "boot",
            Self::Start => "start",
            Self::Emergency => "emergency mode",
            Self::Health => "health check",
            Self::Deadline => "deadline",
        })
    }
}

/// Why a revision failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Where it stopped.
    pub stage: Stage,
    /// What was wrong, for people.
    pub reason: String,
}

/// What is known about a release's origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verification {
    /// Taken without a signature by a trusted key: nobody vouched for it.
    Unverified,
    /// Came with the disk image that the machine was made from.
    Delivered,
    /// Signed by a key of the policy, its fingerprint (`sha256:…` of its DER form); or by somebody
    /// whom the policy lists, the certificate's subject with its issuer in brackets.
    Signed(String),
}

/// Something that happened to a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Seconds since 1970 by the machine's clock, which may be wrong.
    pub time: u64,
    /// What it became.
    pub state: State,
    /// Why, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// One release with one generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    /// Its number on this machine; only grows.
    pub generation: u32,
    /// Where its root is, or was.
    pub slot: Slot,
    /// What it runs.
    pub release: Release,
    /// The reference that it was fetched from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Digest of the manifest that the reference named then: whoever asks again and finds the same
    /// digest knows that nothing changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Who vouches for it.
    pub verification: Verification,
    /// Its kernel arguments, where not those of the release alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<LocalArguments>,
    /// What happened to it, oldest first, at least one event.
    pub events: Vec<Event>,
}

impl Revision {
    /// What it is now.
    #[must_use]
    pub fn state(&self) -> State {
        self.events.last().map_or(State::Replaced, |event| event.state)
    }

    /// Whether it is a release that ran already, with other kernel arguments.
    #[must_use]
    pub fn is_variation(&self) -> bool {
        self.arguments.as_ref().is_some_and(|arguments| arguments.varies.is_some())
    }

    /// Why it failed, if it did and nobody changed that.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.events.last().and_then(|event| event.failure.as_ref())
    }
}

/// The whole ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// Always [`FORMAT`].
    pub format: String,
    /// The generation that the next revision gets; never taken back.
    pub next_generation: u32,
    /// What `kiln upgrade` without a reference fetches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<String>,
    /// By generation, ascending.
    pub revisions: Vec<Revision>,
}

impl Default for Ledger {
    fn default() -> Self {
        // Generation 1 is that of a built image.
        Self { format: FORMAT.to_owned(), next_generation: 2, follow: None, revisions: Vec::new() }
    }
}

impl Ledger {
    /// The canonical text.
    ///
    /// # Errors
    /// [`Error::Ledger`] if a field cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, Error> {
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|source| Error::Ledger { reason: source.to_string() })?;
        text.push('\n');
        Ok(text)
    }

    /// Reads and checks a ledger.
    ///
    /// # Errors
    /// [`Error::Ledger`] for anything that this crate does not write.
    pub fn from_json(text: &[u8]) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Ledger { reason };
        let ledger: Self =
            serde_json::from_slice(text).map_err(|source| refuse(source.to_string()))?;
        if ledger.format != FORMAT {
            return Err(refuse(format!("unknown format `{}`", ledger.format)));
        }
        let generations: Vec<u32> =
            ledger.revisions.iter().map(|revision| revision.generation).collect();
        if !generations.is_sorted_by(|left, right| left < right) {
            return Err(refuse("generations are not ascending".to_owned()));
        }
        if generations.last().is_some_and(|last| *last >= ledger.next_generation) {
            return Err(refuse("the next generation was used already".to_owned()));
        }
        if ledger.revisions.iter().any(|revision| revision.events.is_empty()) {
            return Err(refuse("a revision without an event".to_owned()));
        }
        Ok(ledger)
    }

    /// The revision with a number.
    #[must_use]
    pub fn revision(&self, generation: u32) -> Option<&Revision> {
        self.revisions.iter().find(|revision| revision.generation == generation)
    }

    /// Adds an event, unless the revision is unknown or is in that state already.
    pub fn record(&mut self, generation: u32, event: Event) {
        let revision = self.revisions.iter_mut().find(|revision| revision.generation == generation);
        if let Some(revision) = revision
            && revision.state() != event.state
        {
            let reason = |failure: Failure| Failure {
                reason: shortened(&failure.reason),
                stage: failure.stage,
            };
            revision.events.push(Event { failure: event.failure.map(reason), ..event });
        }
    }

    /// Adds a revision with the next generation, and gives that. Old revisions that are over are
    /// forgotten beyond [`MAXIMUM_REVISIONS`].
    pub fn add(&mut self, revision: Revision) -> u32 {
        let generation = self.next_generation;
        self.next_generation += 1;
        self.revisions.push(Revision { generation, ..revision });
        let mut surplus = self.revisions.len().saturating_sub(MAXIMUM_REVISIONS);
        self.revisions.retain(|revision| {
            let forget = surplus > 0 && revision.state() == State::Replaced;
            surplus -= usize::from(forget);
            !forget
        });
        generation
    }

    /// The revision by which a release with this root failed here, unless it ever proved itself: what
    /// worked once and then failed has a rotten slot, and bringing it again is the repair.
    #[must_use]
    pub fn quarantined(&self, root_hash: &str, manifest_digest: Option<&str>) -> Option<&Revision> {
        let matches = |revision: &&Revision| {
            let source = revision.release.source.manifest_digest.as_deref();
            revision.release.root.hash == root_hash
                || (manifest_digest.is_some() && source == manifest_digest)
        };
        let has = |revision: &Revision, state| {
            revision.events.iter().any(|event: &Event| event.state == state)
        };
        // The newest one that was judged: one that was only staged says nothing.
        let mut judged = self
            .revisions
            .iter()
            .rev()
            .filter(matches)
            // A change of arguments that failed says nothing about the release that ran before it.
            .filter(|revision| !revision.is_variation() || has(revision, State::Blessed))
            .filter(|revision| has(revision, State::Failed) || has(revision, State::Blessed));
        judged.next().filter(|revision| !has(revision, State::Blessed))
    }
}

/// Cuts a reason at a character, keeping its end: the last lines say why.
fn shortened(reason: &str) -> String {
    let start = reason.len().saturating_sub(MAXIMUM_REASON);
    let start = (start..reason.len()).find(|at| reason.is_char_boundary(*at)).unwrap_or(start);
    reason.get(start..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        Event, Failure, Ledger, MAXIMUM_REASON, MAXIMUM_REVISIONS, Slot, Stage, State, Verification,
    };
    use crate::plan::test_support::{hash, revision};

    fn ledger() -> Ledger {
        let mut failed = revision(2, 2, Slot::B, State::Failed);
        failed.reference = Some("docker://registry.example/edge:13".into());
        failed.verification = Verification::Signed("ab12".into());
        Ledger {
            next_generation: 3,
            follow: Some("docker://registry.example/edge:13".into()),
            revisions: vec![revision(1, 1, Slot::A, State::Blessed), failed],
            ..Ledger::default()
        }
    }

    /// A ledger of the field must be readable for ever.
    #[test]
    fn the_text_is_frozen() {
        let text = ledger().to_json().unwrap();
        let golden = include_str!("../../tests/golden/ledger.json");
        assert_eq!(text, golden);
        assert_eq!(Ledger::from_json(golden.as_bytes()).unwrap(), ledger());
    }

    #[test]
    fn what_this_crate_does_not_write_is_refused() {
        let good = ledger().to_json().unwrap();
        for (old, new, expected) in [
            ("ledger.v1", "ledger.v2", "unknown format"),
            ("\"next_generation\": 3", "\"next_generation\": 2", "used already"),
            ("\"generation\": 1,", "\"generation\": 2,", "not ascending"),
            ("\"follow\"", "\"folow\"", "folow"),
            ("\"slot\": \"a\"", "\"slot\": \"c\"", "unknown variant"),
            ("\"generation\": 1,", "\"generation\": -1,", "invalid value"),
        ] {
            let text = good.replacen(old, new, 1);
            assert_ne!(text, good, "{old}");
            let error = Ledger::from_json(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(expected), "{expected}: {error}");
            assert!(error.hint().is_some());
        }
        let mut empty = ledger();
        empty.revisions[0].events.clear();
        let error = Ledger::from_json(empty.to_json().unwrap().as_bytes()).unwrap_err();
        assert!(error.to_string().contains("without an event"), "{error}");
    }

    #[test]
    fn events_are_recorded_once_and_reasons_cut_at_a_character() {
        let mut ledger = ledger();
        let failure = Failure { stage: Stage::Health, reason: "ä".repeat(MAXIMUM_REASON) + "!" };
        let event = Event { time: 5, state: State::Failed, failure: Some(failure) };
        ledger.record(1, event.clone());
        ledger.record(1, event.clone());
        ledger.record(99, event);
        assert_eq!(ledger.revisions[0].events.len(), 2);
        let reason = &ledger.revision(1).unwrap().failure().unwrap().reason;
        assert!(reason.len() <= MAXIMUM_REASON && reason.ends_with("ä!"), "{}", reason.len());
    }

    #[test]
    fn numbers_only_grow_and_old_revisions_are_forgotten() {
        let mut ledger = Ledger::default();
        for number in 0..MAXIMUM_REVISIONS + 10 {
            let generation = ledger.add(revision(0, 1, Slot::A, State::Replaced));
            assert_eq!(usize::try_from(generation).unwrap(), number + 2);
        }
        assert_eq!(ledger.revisions.len(), MAXIMUM_REVISIONS);
        assert_eq!(ledger.revisions.last().unwrap().generation, ledger.next_generation - 1);
        ledger.revisions[0] = revision(12, 2, Slot::B, State::Failed);
        ledger.add(revision(0, 3, Slot::A, State::Staged));
        assert!(ledger.quarantined(&hash(2), None).is_some(), "a failure is not forgotten");
    }

    #[test]
    fn what_failed_is_quarantined_until_it_proves_itself() {
        let mut ledger = ledger();
        assert_eq!(ledger.quarantined(&hash(1), Some("sha256:1")), None);
        assert_eq!(ledger.quarantined(&hash(2), None).unwrap().generation, 2);
        // The machine's own build of the same image has no hash yet.
        assert_eq!(ledger.quarantined("", Some("sha256:2")).unwrap().generation, 2);
        let event = |state| Event { time: 9, state, failure: None };
        ledger.record(2, event(State::Replaced));
        assert!(ledger.quarantined(&hash(2), None).is_some(), "its slot was taken, no more");
        ledger.add(revision(0, 2, Slot::B, State::Staged));
        assert!(ledger.quarantined(&hash(2), None).is_some(), "staged by force, and not started");
        ledger.record(2, event(State::Blessed));
        assert_eq!(ledger.quarantined(&hash(2), None), None);
        let failure = Failure { stage: Stage::Boot, reason: "cannot verify".into() };
        ledger.record(2, Event { failure: Some(failure), ..event(State::Failed) });
        assert_eq!(ledger.quarantined(&hash(2), None), None, "its slot has rotted since");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, at in 0_usize..3000) {
            let _ = Ledger::from_json(&bytes);
            let mut text = ledger().to_json().unwrap().into_bytes();
            let start = at.min(text.len());
            let end = (start + bytes.len()).min(text.len());
            text.splice(start..end, bytes);
            let _ = Ledger::from_json(&text);
        }
    }
}
