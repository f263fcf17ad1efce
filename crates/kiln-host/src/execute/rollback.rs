//! Going back by hand.

use kiln_disk::fat::update::Change;

use super::{begin, now};
use crate::Error;
use crate::esp::SystemPartitionDevice;
use crate::ledger::{Event, Revision, State};
use crate::machine::{Machine, Paths};
use crate::plan::{self, Rollback};

/// Plans the way back and, unless `dry_run`, makes the next boot take it. The rename on the ESP is
/// the commit point.
///
/// # Errors
/// [`Error::Refused`] if there is nothing to go back to; as reading the machine;
/// [`Error::Mounted`].
pub fn rollback(
    paths: &Paths,
    dry_run: bool,
    busy: impl FnOnce(),
) -> Result<(Machine, Rollback), Error> {
    let (store, mut machine) = begin(paths, busy)?;
    let back = plan::rollback(&machine)?;
    if dry_run {
        return Ok((machine, back));
    }
    let mut esp = SystemPartitionDevice::open(&machine.system_partition.node, machine.sector_size)?;
    if let Some(generation) = back.renumbered {
        // The number is used up before it appears, so that a cut here never gives it twice.
        if let Some(target) = machine.ledger.revision(back.to).cloned() {
            let event = Event { time: now(), state: State::Staged, failure: None };
            machine.ledger.add(Revision { generation, events: vec![event], ..target });
        } else {
            machine.ledger.next_generation = generation + 1;
        }
        store.write(&machine.ledger)?;
        esp.copy_addons(back.to, generation)?;
    }
    let event = |state| Event { time: now(), state, failure: None };
    if let (None, Some(from)) = (back.renumbered, back.from) {
        // Before the rename: a bad entry that nobody left would be taken for a failed one. If the
        // rename does not happen, the next look at the disk takes this back.
        machine.ledger.record(from, event(State::Left));
        store.write(&machine.ledger)?;
    }
    for (from, to) in &back.renames {
        esp.change(&Change::Move { from, to })?;
    }
    if let Some(generation) = back.renumbered {
        machine.ledger.record(generation, event(State::Trying));
        machine.ledger.record(back.to, event(State::Replaced));
        store.write(&machine.ledger)?;
    }
    Ok((machine, back))
}
