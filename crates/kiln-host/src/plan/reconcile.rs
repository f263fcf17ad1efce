//! What happened since the ledger was last written: told by the boot files and by notes on the ESP.
//!
//! A revision that never reached user space cannot write its own story. The loader's counters and
//! the first process's note can, and whatever runs next reads them here.

use crate::ledger::{Event, Failure, Ledger, Revision, Slot, Stage, State, Verification};
use crate::machine::Machine;

/// The ledger as it should be, given what is on the disk. `time` is the machine's clock in seconds
/// since 1970.
#[must_use]
pub fn reconcile(machine: &Machine, time: u64) -> Ledger {
    let mut ledger = machine.ledger.clone();
    add_delivered(machine, &mut ledger, time);
    skip_used(machine, &mut ledger);
    let generations: Vec<u32> =
        ledger.revisions.iter().map(|revision| revision.generation).collect();
    for generation in generations {
        if let Some(event) = event(machine, &ledger, generation, time) {
            ledger.record(generation, event);
        }
    }
    ledger
}

/// A ledger that was lost with the state begins anew, and must not give a number that the ESP still
/// carries: the loader orders by it.
fn skip_used(machine: &Machine, ledger: &mut Ledger) {
    let listed = machine.entries.iter().map(|entry| entry.name.generation);
    let staged = machine.staged.iter().map(|staged| staged.generation);
    let greatest = listed.chain(staged).max().unwrap_or(0);
    ledger.next_generation = ledger.next_generation.max(greatest.saturating_add(1));
}

/// Generation 1 came with the disk; nobody wrote it down yet. A ledger that stayed through an
/// installation has another release under this number, or one that was replaced since.
fn add_delivered(machine: &Machine, ledger: &mut Ledger, time: u64) {
    let Some(release) = &machine.delivered else { return };
    let Some(first) = machine.entries.iter().find(|entry| entry.name.generation == 1) else {
        return;
    };
    let starts_it =
        first.root.as_ref().is_some_and(|root| root.root.to_string() == release.root.hash);
    let is_known = ledger.revision(1).is_some_and(|known| {
        !starts_it
            || known.release.root.hash == release.root.hash && known.state() != State::Replaced
    });
    if is_known {
        return;
    }
    ledger.revisions.retain(|revision| revision.generation != 1);
    let origin = machine.origin.as_ref();
    let follow = origin.and_then(|origin| origin.follow.clone());
    let event = Event { time, state: State::Trying, failure: None };
    ledger.revisions.insert(
        0,
        Revision {
            generation: 1,
            slot: Slot::A,
            release: release.clone(),
            reference: follow.clone(),
            digest: origin.and_then(|origin| origin.digest.clone()),
            verification: Verification::Delivered,
            arguments: None,
            events: vec![event],
        },
    );
    if follow.is_some() {
        ledger.follow = follow;
    }
}

/// What became of one revision, if the ledger does not say so yet.
fn event(machine: &Machine, ledger: &Ledger, generation: u32, time: u64) -> Option<Event> {
    let revision = ledger.revision(generation)?;
    let entry = machine.entries.iter().find(|entry| entry.name.generation == generation);
    let is_booted = machine.booted.generation == Some(generation);
    let note = machine.notes.iter().find(|note| note.generation == generation);
    match (revision.state(), entry) {
        (State::Staged, None) => {
            let is_staged = machine.staged.iter().any(|staged| staged.generation == generation);
            (!is_staged).then_some(Event { time, state: State::Replaced, failure: None })
        }
        // The rename that activates happened, the ledger's turn did not come.
        (State::Staged, Some(_)) => Some(Event { time, state: State::Trying, failure: None }),
        (State::Trying | State::Blessed, None) => {
            Some(Event { time, state: State::Replaced, failure: None })
        }
        (State::Trying | State::Blessed, Some(entry)) if entry.name.is_bad() && !is_booted => {
            let failure = match note {
                Some(note) => note.failure(),
                None => Failure {
                    stage: Stage::Start,
                    reason: "no try reached its health checks".to_owned(),
                },
            };
            Some(Event { time, state: State::Failed, failure: Some(failure) })
        }
        // A rollback that was cut before its rename.
        (State::Left, Some(entry)) if !entry.name.is_bad() => {
            let mut before = revision.events.iter().rev().map(|event| event.state);
            let state = before.find(|state| *state != State::Left);
            Some(Event { time, state: state.unwrap_or(State::Blessed), failure: None })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::reconcile;
    use crate::ledger::{Slot, Stage, State};
    use crate::machine::{FailureNote, Machine};
    use crate::plan::test_support::{entry, machine, release, revision};

    fn states(machine: &Machine) -> Vec<(u32, State)> {
        let ledger = reconcile(machine, 7);
        ledger.revisions.iter().map(|revision| (revision.generation, revision.state())).collect()
    }

    #[test]
    fn nothing_new_changes_nothing() {
        let machine = machine();
        assert_eq!(reconcile(&machine, 7), machine.ledger);
    }

    #[test]
    fn the_delivered_release_is_written_down_once() {
        let mut machine = machine();
        machine.ledger.revisions.clear();
        machine.delivered = Some(release(1));
        machine.booted.generation = Some(1);
        machine.entries = vec![entry(1, 1, Some(Slot::A), false)];
        assert_eq!(states(&machine), [(1, State::Trying)]);
        machine.ledger = reconcile(&machine, 7);
        assert_eq!(reconcile(&machine, 8), machine.ledger);
    }

    #[test]
    fn what_was_installed_is_followed_also_with_a_ledger_that_stayed() {
        use crate::install::Origin;
        let mut machine = machine();
        machine.delivered = Some(release(3));
        machine.origin =
            Some(Origin::new(Some("docker://registry.example/edge".into()), Some("d".into())));
        machine.booted.generation = Some(1);
        machine.entries = vec![entry(1, 3, Some(Slot::A), false)];
        for kept in [true, false] {
            if !kept {
                machine.ledger = crate::ledger::Ledger::default();
            }
            let ledger = reconcile(&machine, 7);
            assert_eq!(ledger.follow.as_deref(), Some("docker://registry.example/edge"));
            let first = ledger.revision(1).unwrap();
            assert_eq!(
                (first.release.root.hash.clone(), first.state()),
                (release(3).root.hash, State::Trying)
            );
            assert_eq!(first.digest.as_deref(), Some("d"));
            assert_eq!(ledger.revision(2).map(|old| old.state()), kept.then_some(State::Replaced));
            assert_eq!(ledger.next_generation, if kept { 3 } else { 2 });
            // Once is enough: a person may follow something else since.
            machine.ledger = ledger;
            machine.ledger.follow = None;
            assert_eq!(reconcile(&machine, 8), machine.ledger);
        }
        // A machine that went on to other releases is left alone.
        machine.entries = vec![entry(1, 1, Some(Slot::A), false)];
        assert_eq!(reconcile(&machine, 8).follow, None);
    }

    #[test]
    fn a_ledger_that_was_lost_gives_no_number_twice() {
        let mut machine = machine();
        machine.ledger = crate::ledger::Ledger::default();
        assert_eq!(reconcile(&machine, 7).next_generation, 3);
        machine.entries.insert(0, entry(9, 3, Some(Slot::A), false));
        assert_eq!(reconcile(&machine, 7).next_generation, 10);
    }

    #[test]
    fn tries_that_ran_out_are_a_failure() {
        let mut machine = machine();
        machine.ledger.revisions[1] = revision(2, 2, Slot::B, State::Trying);
        machine.booted.generation = Some(1);
        machine.entries = vec![entry(1, 1, Some(Slot::A), false), entry(2, 2, Some(Slot::B), true)];
        let ledger = reconcile(&machine, 7);
        let failure = ledger.revision(2).unwrap().failure().unwrap();
        assert_eq!(failure.stage, Stage::Start);

        for (note, stage, reason) in [
            ("no root", Stage::Boot, "no root"),
            ("deadline: not blessed within 9 s", Stage::Deadline, "not blessed within 9 s"),
        ] {
            machine.notes = vec![FailureNote { generation: 2, reason: note.into() }];
            let ledger = reconcile(&machine, 7);
            let failure = ledger.revision(2).unwrap().failure().unwrap();
            assert_eq!((failure.stage, failure.reason.as_str()), (stage, reason));
            // Once it is written down, the note may go and nothing changes.
            let mut later = machine.clone();
            later.ledger = ledger;
            later.notes.clear();
            assert_eq!(reconcile(&later, 8), later.ledger);
        }

        // On its last try it runs: nothing has failed.
        machine.booted.generation = Some(2);
        assert_eq!(states(&machine)[1], (2, State::Trying));
    }

    #[test]
    fn a_cut_between_rename_and_ledger_is_made_good() {
        let mut machine = machine();
        machine.ledger.revisions.push(revision(3, 3, Slot::A, State::Staged));
        machine.ledger.next_generation = 4;
        machine.entries.insert(0, entry(3, 3, Some(Slot::A), false));
        assert_eq!(states(&machine)[2], (3, State::Trying));
        machine.entries.remove(0);
        assert_eq!(states(&machine)[2], (3, State::Replaced), "neither staged nor listed");
        machine.entries.retain(|entry| entry.name.generation != 1);
        assert_eq!(states(&machine)[0], (1, State::Replaced));
    }

    #[test]
    fn what_a_person_left_stays_left() {
        let mut machine = machine();
        machine.ledger.revisions[1] = revision(2, 2, Slot::B, State::Left);
        machine.booted.generation = Some(1);
        machine.entries = vec![entry(1, 1, Some(Slot::A), false), entry(2, 2, Some(Slot::B), true)];
        assert_eq!(states(&machine)[1], (2, State::Left));
        machine.entries[1] = entry(2, 2, Some(Slot::B), false);
        assert_eq!(states(&machine)[1], (2, State::Blessed), "the rename never happened");
    }

    /// A clock that stands in 1970, goes back, or is far ahead.
    #[test]
    fn the_clock_decides_nothing() {
        let times = [0, 1, 7, u64::MAX];
        let mut delivered = machine();
        delivered.ledger.revisions.clear();
        delivered.delivered = Some(release(1));
        delivered.entries = vec![entry(1, 1, Some(Slot::A), false)];
        let mut failed = machine();
        failed.ledger.revisions[1] = revision(2, 2, Slot::B, State::Trying);
        failed.booted.generation = Some(1);
        failed.entries = vec![entry(1, 1, Some(Slot::A), false), entry(2, 2, Some(Slot::B), true)];
        let mut cut = machine();
        cut.ledger.revisions.push(revision(3, 3, Slot::A, State::Staged));
        cut.ledger.next_generation = 4;
        cut.entries.insert(0, entry(3, 3, Some(Slot::A), false));
        for machine in [machine(), delivered, failed, cut] {
            let expected = states(&machine);
            for time in times {
                let mut found = machine.clone();
                found.ledger = reconcile(&machine, time);
                // Written down at one time and read at any other, it stays as it is.
                assert_eq!(states(&found), expected, "{time}");
                let text = found.ledger.to_json().unwrap();
                assert_eq!(
                    crate::ledger::Ledger::from_json(text.as_bytes()).unwrap(),
                    found.ledger
                );
                for later in times {
                    assert_eq!(reconcile(&found, later), found.ledger, "{time} {later}");
                }
                let quarantined = found.ledger.quarantined(&release(2).root.hash, None).is_some();
                assert_eq!(quarantined, expected.contains(&(2, State::Failed)));
            }
        }
    }
}
