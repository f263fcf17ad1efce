//! Going back by hand: to the revision in the other slot, whatever its age.

use kiln_boot::entry::{EntryName, FOLDER, MAXIMUM_GENERATION};

use crate::Error;
use crate::machine::{BootEntry, Machine};

/// The way back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollback {
    /// The generation that is left.
    pub from: Option<u32>,
    /// The generation whose root will run.
    pub to: u32,
    /// Renames on the ESP, in order; each is one change. The last one is the commit.
    pub renames: Vec<(String, String)>,
    /// The number that the target gets if it has to be listed anew.
    pub renumbered: Option<u32>,
}

/// Plans the way back from the running revision, or from what a restart would start instead of it: an
/// upgrade that was not restarted into is taken back, and a rollback is not done twice.
///
/// If the other revision is good, marking the running one bad is enough: the loader then prefers
/// the other. If it is bad itself (it failed, or was left earlier), it gets a new generation with
/// counted tries, so that it comes first and falls back to the running one if it fails again.
///
/// # Errors
/// [`Error::Refused`] if there is nothing to go back to.
pub fn rollback(machine: &Machine) -> Result<Rollback, Error> {
    let running = machine.booted_entry();
    if let Some(back) = running.and_then(|running| pending(machine, running)) {
        return Ok(back);
    }
    let other = machine
        .entries
        .iter()
        .filter(|entry| running.is_none_or(|running| running.name != entry.name))
        .find(|entry| entry.root.is_some() && entry.slot.is_some());
    let Some(other) = other else {
        return Err(Error::Refused {
            reason: "there is no other revision on this disk".to_owned(),
            hint: "`kiln upgrade REF` brings one".to_owned(),
        });
    };
    let to = other.name.generation;
    let from = running.map(|entry| entry.name.generation);
    if other.name.is_bad() {
        let generation = machine.ledger.next_generation;
        if generation > MAXIMUM_GENERATION {
            return Err(Error::Refused {
                reason: "all generations are used".to_owned(),
                hint: "install anew".to_owned(),
            });
        }
        let fresh = EntryName::fresh(generation);
        let renames = vec![(path(&other.file), path(&fresh.to_string()))];
        return Ok(Rollback { from, to, renames, renumbered: Some(generation) });
    }
    let renames = running
        .map(|running| (path(&running.file), path(&running.name.bad().to_string())))
        .into_iter()
        .collect();
    Ok(Rollback { from, to, renames, renumbered: None })
}

/// What to do if the next boot leaves the running entry anyway.
fn pending(machine: &Machine, running: &BootEntry) -> Option<Rollback> {
    let next = machine.next_entry().filter(|next| next.is_usable() && next.name != running.name)?;
    let (running_generation, next_generation) = (running.name.generation, next.name.generation);
    if running.name.is_bad() {
        // It was left already, or is on its last try; either way the next boot is the other one's.
        let (from, to) = (Some(running_generation), next_generation);
        return Some(Rollback { from, to, renames: Vec::new(), renumbered: None });
    }
    let rename = (path(&next.file), path(&next.name.bad().to_string()));
    let (from, to) = (Some(next_generation), running_generation);
    running.is_usable().then(|| Rollback { from, to, renames: vec![rename], renumbered: None })
}

fn path(file: &str) -> String {
    format!("{FOLDER}/{file}")
}

#[cfg(test)]
mod tests {
    use super::rollback;
    use crate::ledger::Slot;
    use crate::plan::test_support::{entry, machine};

    #[test]
    fn the_running_entry_is_marked_bad() {
        let back = rollback(&machine()).unwrap();
        assert_eq!((back.from, back.to, back.renumbered), (Some(2), 1, None));
        let (old, new) = (
            "EFI/Linux/kiln-00000002.efi".to_owned(),
            "EFI/Linux/kiln-00000002+0-3.efi".to_owned(),
        );
        assert_eq!(back.renames, [(old, new)]);
    }

    #[test]
    fn a_bad_entry_comes_back_under_a_new_number() {
        let mut machine = machine();
        machine.booted.generation = Some(1);
        machine.booted.slot = Slot::A;
        machine.entries = vec![entry(1, 1, Some(Slot::A), false), entry(2, 2, Some(Slot::B), true)];
        let back = rollback(&machine).unwrap();
        assert_eq!((back.from, back.to, back.renumbered), (Some(1), 2, Some(3)));
        let (old, new) = (
            "EFI/Linux/kiln-00000002+0-3.efi".to_owned(),
            "EFI/Linux/kiln-00000003+3-0.efi".to_owned(),
        );
        assert_eq!(back.renames, [(old, new)]);
    }

    #[test]
    fn an_upgrade_that_was_not_started_is_taken_back() {
        let mut machine = machine();
        machine.booted.generation = Some(1);
        machine.booted.slot = Slot::A;
        machine.entries[0].name = "kiln-00000002+3-0.efi".parse().unwrap();
        machine.entries[0].file = "kiln-00000002+3-0.efi".into();
        let back = rollback(&machine).unwrap();
        assert_eq!((back.from, back.to, back.renumbered), (Some(2), 1, None));
        let (old, new) = (
            "EFI/Linux/kiln-00000002+3-0.efi".to_owned(),
            "EFI/Linux/kiln-00000002+0-3.efi".to_owned(),
        );
        assert_eq!(back.renames, [(old, new)], "what runs stays what it is");
    }

    #[test]
    fn a_rollback_that_waits_for_its_restart_is_not_done_twice() {
        let mut machine = machine();
        machine.entries = vec![entry(1, 1, Some(Slot::A), false), entry(2, 2, Some(Slot::B), true)];
        let back = rollback(&machine).unwrap();
        assert_eq!((back.from, back.to, back.renumbered), (Some(2), 1, None));
        assert_eq!(back.renames, []);
    }

    #[test]
    fn nothing_to_go_back_to_is_refused() {
        let mut machine = machine();
        machine.entries.truncate(1);
        assert!(rollback(&machine).unwrap_err().to_string().contains("no other revision"));
        machine.entries.push(entry(1, 1, None, false));
        assert!(rollback(&machine).is_err(), "its root is gone");
    }
}
