//! The judgement of this boot: it proved itself, or it failed.

use std::fs;

use kiln_disk::fat::update::Change;

use super::{begin, now};
use crate::Error;
use crate::esp::SystemPartitionDevice;
use crate::etc;
use crate::ledger::{Event, Failure, Stage, State};
use crate::machine::{FailureNote, Paths};
use crate::plan;

/// What a failure means for this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assessment {
    /// The loader counts it: starting again leads to another try, or to the revision before.
    Counted,
    /// It used up its tries, and nothing else on this disk can start: starting again would start
    /// the same for ever, so it is better to stay up for a person to look.
    Alone,
    /// It was blessed in an earlier boot: starting again would start the same.
    Blessed,
    /// Nothing says which boot file started it.
    Unknown,
}

/// Blesses the running revision; gives its generation, or `None` if nothing is to be blessed.
///
/// The rename on the ESP is the commit point. Notes of failed boots are removed after it: the ledger
/// has them.
///
/// # Errors
/// As reading the machine, and [`Error::Mounted`].
pub fn bless(paths: &Paths, busy: impl FnOnce()) -> Result<Option<u32>, Error> {
    let (store, mut machine) = begin(paths, busy)?;
    let blessing = plan::bless(&machine);
    let has_notes = !machine.notes.is_empty();
    if has_notes || blessing.as_ref().is_some_and(|blessing| blessing.rename.is_some()) {
        let partition = &machine.system_partition;
        let mut esp = SystemPartitionDevice::open(&partition.node, machine.sector_size)?;
        if let Some((from, to)) = blessing.as_ref().and_then(|blessing| blessing.rename.as_ref()) {
            esp.change(&Change::Move { from, to })?;
        }
        for note in &machine.notes {
            esp.remove(&FailureNote::path(note.generation))?;
        }
    }
    if let Some(blessing) = &blessing {
        let event = Event { time: now(), state: State::Blessed, failure: None };
        let before = machine.ledger.clone();
        machine.ledger.record(blessing.generation, event);
        if machine.ledger != before {
            store.write(&machine.ledger)?;
        }
    }
    // What is left over now goes next time; that is no reason to doubt this boot.
    let _ = etc::collect_garbage(paths, &machine);
    let blessed = &paths.blessed;
    fs::write(blessed, b"").map_err(|source| Error::file("write", blessed, source))?;
    Ok(blessing.map(|blessing| blessing.generation))
}

/// Writes down that this boot failed. The loader's count is left alone: it decides, at the next
/// start, whether this revision gets another try.
///
/// # Errors
/// As reading the machine.
pub fn fail(
    paths: &Paths,
    stage: Stage,
    reason: &str,
    busy: impl FnOnce(),
) -> Result<Assessment, Error> {
    let (store, mut machine) = begin(paths, busy)?;
    let Some(entry) = machine.booted_entry().cloned() else { return Ok(Assessment::Unknown) };
    if entry.name.counter.is_none() {
        return Ok(Assessment::Blessed);
    }
    let failure = Failure { stage, reason: reason.to_owned() };
    let event = Event { time: now(), state: State::Failed, failure: Some(failure) };
    machine.ledger.record(entry.name.generation, event);
    store.write(&machine.ledger)?;
    let has_other =
        machine.entries.iter().any(|other| other.name != entry.name && other.is_usable());
    let has_recovery = machine.recovery.as_ref().is_some_and(|recovery| recovery.is_usable);
    let is_alone = entry.name.is_bad() && !has_other && !has_recovery;
    Ok(if is_alone { Assessment::Alone } else { Assessment::Counted })
}
