//! What to do when the health checks of this boot have passed.

use kiln_boot::entry::{EntryName, FOLDER};

use crate::machine::Machine;

/// A boot file that proved itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blessing {
    /// Its generation.
    pub generation: u32,
    /// The rename that stops the counting, if it still counts: paths on the ESP.
    pub rename: Option<(String, String)>,
}

/// The blessing of the running revision, or `None` if nothing says which boot file started it (a
/// kernel started directly, recovery) or a person has gone back from it meanwhile.
#[must_use]
pub fn bless(machine: &Machine) -> Option<Blessing> {
    if machine.booted.is_recovery {
        return None;
    }
    let entry = machine.booted_entry()?;
    // `+0-3` is both the mark of a rollback and what the last try leaves; only the latter, which
    // has just worked, is blessed. The ledger tells the two apart.
    let revision = machine.ledger.revision(entry.name.generation);
    if revision.is_some_and(|revision| revision.state() == crate::ledger::State::Left) {
        return None;
    }
    let blessed: EntryName = entry.name.blessed();
    let rename = (entry.name.counter.is_some())
        .then(|| (format!("{FOLDER}/{}", entry.file), format!("{FOLDER}/{blessed}")));
    Some(Blessing { generation: entry.name.generation, rename })
}

#[cfg(test)]
mod tests {
    use super::bless;
    use crate::ledger::State;
    use crate::plan::test_support::{machine, revision};

    #[test]
    fn a_counted_entry_loses_its_counter() {
        let mut machine = machine();
        let blessing = bless(&machine).unwrap();
        assert_eq!((blessing.generation, blessing.rename), (2, None), "blessed before");

        machine.entries[0].name = "kiln-00000002+2-1.efi".parse().unwrap();
        machine.entries[0].file = "KILN-00000002+2-1.EFI".into();
        let rename = bless(&machine).unwrap().rename.unwrap();
        assert_eq!(rename.0, "EFI/Linux/KILN-00000002+2-1.EFI");
        assert_eq!(rename.1, "EFI/Linux/kiln-00000002.efi");

        machine.entries[0].name = "kiln-00000002+0-3.efi".parse().unwrap();
        assert!(bless(&machine).unwrap().rename.is_some(), "the last try worked");
    }

    #[test]
    fn what_a_person_left_or_nobody_knows_is_not_blessed() {
        let mut left = machine();
        left.entries[0].name = "kiln-00000002+0-3.efi".parse().unwrap();
        left.ledger.revisions[1] = revision(2, 2, crate::ledger::Slot::B, State::Left);
        assert_eq!(bless(&left), None);
        let mut unknown = machine();
        unknown.booted.generation = None;
        assert_eq!(bless(&unknown), None);
        let mut recovery = machine();
        recovery.booted.is_recovery = true;
        assert_eq!(bless(&recovery), None);
    }
}
