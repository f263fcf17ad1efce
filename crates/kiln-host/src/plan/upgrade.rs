//! Which slot a release goes to, what has to make room, and whether it may come at all.

use std::cmp::Ordering;

use kiln_boot::entry::{MAXIMUM_GENERATION, compare_versions};
use kiln_release::Sequence;

use crate::Error;
use crate::ledger::{Slot, State};
use crate::machine::{BootEntry, Machine, Staged};

/// What is known of a release before it is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer<'a> {
    /// Digest of the container image's manifest (`sha256:…`).
    pub manifest_digest: Option<&'a str>,
    /// Root hash, unless this machine builds the root itself.
    pub root_hash: Option<&'a str>,
    /// Its place in the order of releases.
    pub sequence: Sequence,
    /// Its CPU architecture in OCI's words.
    pub architecture: &'a str,
    /// Length in bytes of the root image with its hash tree, or the best guess.
    pub root_length: u64,
    /// Length in bytes of the boot file, or the best guess.
    pub boot_length: u64,
    /// The oldest Kiln that can bring it onto a machine.
    pub minimum_agent: Option<&'a str>,
}

/// What the person or the policy allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions {
    /// A release that failed here before.
    pub quarantined: bool,
    /// A release with a smaller sequence.
    pub older: bool,
}

/// What to do with an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing at all.
    Nothing(Reason),
    /// This release is staged: only activation is missing.
    Activate {
        /// Its generation.
        generation: u32,
    },
    /// Fetch and write.
    Write(Plan),
}

/// Why nothing is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It runs already.
    Running,
    /// It starts at the next boot already.
    Activated,
}

/// The way of one release onto the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The slot that will hold it.
    pub target: Slot,
    /// Whether the slot seems to hold this very root already, so that only the boot file has to be
    /// written. Its top hash block says so; whoever relies on it verifies the rest.
    pub keeps_slot: bool,
    /// Files on the ESP that go first, by path: what starts from the target slot, and what was
    /// staged.
    pub removes: Vec<String>,
    /// Generations that end with these files.
    pub replaces: Vec<u32>,
    /// The generation that the release gets.
    pub generation: u32,
}

/// Decides about an offer. `own_version` is the version of this Kiln, `architecture` that of the
/// machine.
///
/// # Errors
/// [`Error::Refused`] with the reason; nothing may be changed then.
pub fn upgrade(
    machine: &Machine,
    offer: &Offer<'_>,
    permissions: Permissions,
    architecture: &str,
    own_version: &str,
) -> Result<Decision, Error> {
    let refuse = |reason: String, hint: &str| Err(Error::Refused { reason, hint: hint.to_owned() });
    if let Some(reason) = already(machine, offer) {
        return Ok(Decision::Nothing(reason));
    }
    refuse_what_cannot_run(offer, architecture, own_version)?;
    let returning = is_on_disk(machine, offer);
    if let Some(running) = machine.booted_release()
        && offer.sequence < running.sequence
        && !(permissions.older || returning)
    {
        let reason = format!(
            "its sequence {} is older than the running {}",
            offer.sequence, running.sequence
        );
        return refuse(
            reason,
            "going back to the previous slot is `kiln rollback`; \
            `--allow-older` installs something older where policy permits",
        );
    }
    let quarantined =
        machine.ledger.quarantined(offer.root_hash.unwrap_or_default(), offer.manifest_digest);
    if let Some(failed) = quarantined.filter(|_| !permissions.quarantined) {
        let why = failed
            .events
            .iter()
            .rev()
            .find_map(|event| event.failure.as_ref())
            .map_or_else(String::new, |failure| format!(": {}: {}", failure.stage, failure.reason));
        let reason = format!("it failed here as generation {}{why}", failed.generation);
        return refuse(reason, "publish a repaired release, or try this one again with `--force`");
    }
    if let Some(staged) = staged_match(machine, offer) {
        return Ok(Decision::Activate { generation: staged });
    }
    if let Some(last) = last_resort(machine).filter(|_| !permissions.quarantined) {
        let reason = format!(
            "the running system has not proved itself yet, and generation {last}, to which it would \
             fall back, would be overwritten"
        );
        return refuse(
            reason,
            "wait until `kiln status` says `blessed`; after `kiln rollback`, restart first; \
             `--force` does it all the same",
        );
    }
    plan(machine, offer).map(Decision::Write)
}

/// Refuses a release for other machines, and one that needs a newer Kiln than this to bring it here.
pub(super) fn refuse_what_cannot_run(
    offer: &Offer<'_>,
    architecture: &str,
    own_version: &str,
) -> Result<(), Error> {
    let refuse = |reason: String, hint: &str| Err(Error::Refused { reason, hint: hint.to_owned() });
    if offer.architecture != architecture {
        let reason = format!("it is for {}, this machine is {architecture}", offer.architecture);
        return refuse(reason, "name an image for this architecture");
    }
    match offer.minimum_agent {
        Some(minimum) if compare_versions(own_version, minimum) == Ordering::Less => refuse(
            format!("it needs kiln {minimum} or newer, this is {own_version}"),
            "upgrade to a release in between first",
        ),
        _ => Ok(()),
    }
}

/// What an unproved system falls back to, if an upgrade would overwrite it.
fn last_resort(machine: &Machine) -> Option<u32> {
    machine.booted_entry()?.name.counter?;
    let target = target(machine);
    let others = machine.entries.iter().filter(|entry| entry.is_usable());
    others
        .filter(|entry| entry.slot == Some(target))
        .map(|entry| entry.name.generation)
        .find(|generation| Some(*generation) != machine.booted.generation)
}

/// Whether nothing has to be done.
fn already(machine: &Machine, offer: &Offer<'_>) -> Option<Reason> {
    let is_offer = |generation: u32| {
        machine.ledger.revision(generation).is_some_and(|revision| {
            Some(revision.release.root.hash.as_str()) == offer.root_hash
                || offer.manifest_digest.is_some()
                    && revision.release.source.manifest_digest.as_deref() == offer.manifest_digest
        })
    };
    let next = machine.next_entry().filter(|entry| entry.is_usable())?;
    let is_next = is_offer(next.name.generation);
    match machine.booted.generation {
        Some(booted) if booted == next.name.generation && is_next => {
            // Bringing it again is how a slot that rots is repaired.
            machine.damaged_slot().is_none().then_some(Reason::Running)
        }
        _ if is_next => Some(Reason::Activated),
        _ => None,
    }
}

/// Whether one of the slots has it with a usable entry: going back there is always allowed.
fn is_on_disk(machine: &Machine, offer: &Offer<'_>) -> bool {
    machine.entries.iter().filter(|entry| entry.slot.is_some()).any(|entry| {
        machine.ledger.revision(entry.name.generation).is_some_and(|revision| {
            revision.events.iter().any(|event| event.state == State::Blessed)
                && (Some(revision.release.root.hash.as_str()) == offer.root_hash
                    || offer.manifest_digest.is_some()
                        && revision.release.source.manifest_digest.as_deref()
                            == offer.manifest_digest)
        })
    })
}

fn staged_match(machine: &Machine, offer: &Offer<'_>) -> Option<u32> {
    machine
        .staged
        .iter()
        .filter(|staged| staged.slot.is_some())
        .map(|staged| staged.generation)
        .find(|generation| {
            machine.ledger.revision(*generation).is_some_and(|revision| {
                revision.state() == State::Staged
                    && (Some(revision.release.root.hash.as_str()) == offer.root_hash
                        || offer.manifest_digest.is_some()
                            && revision.release.source.manifest_digest.as_deref()
                                == offer.manifest_digest)
            })
        })
}

/// The slot that may be overwritten: never the running one, and the damaged one if recovery's copy
/// runs in its place, because the other holds the only way back.
fn target(machine: &Machine) -> Slot {
    if let Some(damaged) = machine.damaged_slot() {
        return damaged;
    }
    if machine.booted.slot != Slot::Recovery {
        return machine.booted.slot.other();
    }
    // From recovery: keep the slot that still has a usable entry, if only one has.
    let is_kept =
        |slot| machine.entries.iter().any(|entry| entry.slot == Some(slot) && entry.is_usable());
    if is_kept(Slot::A) && !is_kept(Slot::B) { Slot::B } else { Slot::A }
}

pub(super) fn plan(machine: &Machine, offer: &Offer<'_>) -> Result<Plan, Error> {
    let refuse = |reason: String, hint: &str| Err(Error::Refused { reason, hint: hint.to_owned() });
    let target = target(machine);
    let Some(partition) = machine.partition(target) else {
        return refuse(
            format!("the disk {} has no slot {target}", machine.disk),
            "the first boot makes it; `kiln inspect DISK` shows the layout",
        );
    };
    if offer.root_length > partition.length {
        let reason = format!(
            "its root of {} bytes does not fit slot {target} of {} bytes",
            offer.root_length, partition.length
        );
        return refuse(reason, "build a smaller image, or install anew with larger slots");
    }
    let generation = machine.ledger.next_generation;
    if generation > MAXIMUM_GENERATION {
        return refuse("all generations are used".to_owned(), "install anew");
    }

    let keeps_slot = offer.root_hash.is_some_and(|hash| {
        machine.entries.iter().any(|entry| {
            let root = entry.root.as_ref().map(|root| root.root.to_string());
            entry.slot == Some(target) && root.as_deref() == Some(hash)
        })
    });
    let doomed = machine.entries.iter().filter(|entry| {
        // What starts from no slot is a leftover; it would only be tried in vain.
        entry.slot == Some(target) || entry.slot.is_none()
    });
    let mut doomed: Vec<_> =
        doomed.filter(|entry| Some(entry.name.generation) != machine.booted.generation).collect();
    let cluster = machine.system_partition.cluster.max(1);
    let whole = |length: u64| length.div_ceil(cluster) * cluster;
    let staged: u64 = machine.staged.iter().map(|staged| whole(u64::from(staged.length))).sum();
    let available = |doomed: &[&BootEntry]| {
        let freed: u64 = doomed.iter().map(|entry| whole(u64::from(entry.length))).sum();
        machine.system_partition.free + staged + freed
    };
    let needed = whole(offer.boot_length) + machine.system_partition.cluster;
    let is_proved = machine.booted_entry().is_some_and(|entry| entry.name.counter.is_none());
    if needed > available(&doomed) && is_proved {
        // Other arguments for the root that runs: what runs is the way back, these are history.
        let is_history = |entry: &&BootEntry| {
            entry.slot == Some(machine.booted.slot)
                && Some(entry.name.generation) != machine.booted.generation
        };
        doomed.extend(machine.entries.iter().filter(is_history));
    }
    let mut removes: Vec<String> =
        doomed.iter().map(|entry| format!("{}/{}", kiln_boot::entry::FOLDER, entry.file)).collect();
    let mut replaces: Vec<u32> = doomed.iter().map(|entry| entry.name.generation).collect();
    removes.extend(machine.staged.iter().map(|staged| Staged::path(staged.generation)));
    replaces.extend(machine.staged.iter().map(|staged| staged.generation));
    let available = available(&doomed);
    if needed > available {
        let reason = format!(
            "its boot file needs {needed} bytes on the ESP, {available} are free or can be freed"
        );
        return refuse(
            reason,
            "remove files that are not Kiln's from the ESP, or build with a \
            smaller set of modules",
        );
    }
    Ok(Plan { target, keeps_slot, removes, replaces, generation })
}

#[cfg(test)]
mod tests {
    use super::{Decision, Offer, Permissions, Reason, upgrade};
    use crate::Error;
    use crate::ledger::{Slot, State};
    use crate::machine::{Machine, Staged};
    use crate::plan::test_support::{digest, entry, hash, machine, revision};
    use kiln_release::Sequence;

    /// The offer of release `number`, which is newer than all below.
    fn offer(hash: &str, digest: &'static str, sequence: u64) -> Offer<'static> {
        Offer {
            manifest_digest: Some(digest),
            root_hash: Some(Box::leak(hash.to_owned().into_boxed_str())),
            sequence: Sequence(sequence),
            architecture: "amd64",
            root_length: 1 << 20,
            boot_length: 1 << 20,
            minimum_agent: None,
        }
    }

    fn decide(machine: &Machine, offer: &Offer<'_>) -> Result<Decision, Error> {
        upgrade(machine, offer, Permissions::default(), "amd64", "0.1.0")
    }

    #[test]
    fn a_slot_whose_copy_runs_is_the_one_that_is_written_again() {
        let mut machine = machine();
        machine.booted.slot = Slot::Recovery;
        for (number, sequence) in [(2, 20), (3, 30)] {
            let hash = hash(number);
            let offer = offer(&hash, digest(number), sequence);
            let decision = upgrade(&machine, &offer, Permissions::default(), "amd64", "1.0.0");
            let Ok(Decision::Write(plan)) = decision else { panic!("{decision:?}") };
            // Both ways back stay: the release before, and the copy that runs.
            assert_eq!((plan.target, plan.generation), (Slot::B, 3));
            assert!(plan.removes.is_empty() && plan.replaces.is_empty(), "{plan:?}");
        }
        machine.booted.is_recovery = true;
        assert_eq!(machine.damaged_slot(), None);
    }

    #[test]
    fn the_other_slot_is_written_and_what_started_from_it_goes() {
        let mut machine = machine();
        let plan = match decide(&machine, &offer(&hash(3), "sha256:3", 30)).unwrap() {
            Decision::Write(plan) => plan,
            other => panic!("{other:?}"),
        };
        assert_eq!((plan.target, plan.keeps_slot, plan.generation), (Slot::A, false, 3));
        assert_eq!(plan.removes, ["EFI/Linux/kiln-00000001.efi"]);
        assert_eq!(plan.replaces, [1]);

        // From the other side.
        machine.booted.slot = Slot::A;
        machine.booted.generation = Some(1);
        let Decision::Write(plan) = decide(&machine, &offer(&hash(3), "sha256:3", 30)).unwrap()
        else {
            panic!("no plan");
        };
        assert_eq!(plan.target, Slot::B);
        assert_eq!(plan.replaces, [2]);
    }

    #[test]
    fn earlier_arguments_make_room_when_nothing_else_does() {
        let mut machine = machine();
        machine.booted.generation = Some(3);
        machine.entries.insert(0, entry(3, 2, Some(Slot::B), false));
        machine.ledger.revisions.push(revision(3, 2, Slot::B, State::Blessed));
        machine.ledger.next_generation = 4;
        let large = Offer { boot_length: (1 << 20) + 8192, ..offer(&hash(3), "sha256:3", 30) };
        let replaces = |machine: &Machine| match decide(machine, &large) {
            Ok(Decision::Write(plan)) => Ok(plan.replaces),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(replaces(&machine).unwrap(), [1], "there is room");
        machine.system_partition.free = 0;
        assert_eq!(replaces(&machine).unwrap(), [1, 2], "never the one that runs");
        machine.entries.retain(|entry| entry.name.generation != 1);
        machine.entries[0].name = "kiln-00000003+2-1.efi".parse().unwrap();
        let error = replaces(&machine).unwrap_err();
        assert!(error.contains("on the ESP"), "an unproved system keeps its way back: {error}");
    }

    #[test]
    fn what_runs_or_is_next_is_left_alone() {
        let mut machine = machine();
        let running = offer(&hash(2), digest(2), 20);
        assert_eq!(decide(&machine, &running).unwrap(), Decision::Nothing(Reason::Running));
        // Known by its manifest alone, as for a plain container image.
        let plain = Offer { root_hash: None, ..running };
        assert_eq!(decide(&machine, &plain).unwrap(), Decision::Nothing(Reason::Running));
        machine.booted.slot = Slot::A;
        machine.booted.generation = Some(1);
        assert_eq!(decide(&machine, &running).unwrap(), Decision::Nothing(Reason::Activated));
    }

    #[test]
    fn a_staged_release_only_needs_activation() {
        let mut machine = machine();
        machine.ledger.next_generation = 4;
        machine.ledger.revisions.push(revision(3, 3, Slot::A, State::Staged));
        machine.staged.push(Staged { generation: 3, length: 10, root: None, slot: Some(Slot::A) });
        let same = offer(&hash(3), digest(3), 30);
        assert_eq!(decide(&machine, &same).unwrap(), Decision::Activate { generation: 3 });
        let Decision::Write(plan) = decide(&machine, &offer(&hash(4), digest(4), 40)).unwrap()
        else {
            panic!("no plan");
        };
        assert!(plan.removes.contains(&"EFI/kiln/kiln-00000003.staged".to_owned()));
        assert!(plan.replaces.contains(&3));
    }

    #[test]
    fn the_same_root_in_the_target_slot_is_not_written_again() {
        let mut machine = machine();
        // Generation 1 was left: its entry is bad, its root is still in slot A.
        machine.entries[1] = entry(1, 1, Some(Slot::A), true);
        let Decision::Write(plan) = decide(&machine, &offer(&hash(1), digest(1), 10)).unwrap()
        else {
            panic!("no plan");
        };
        assert!(plan.keeps_slot);
    }

    #[test]
    fn refusals_say_why() {
        let base = offer(&hash(3), digest(3), 30);
        type Change = fn(&mut Machine);
        let failed: Change = |machine| {
            machine.ledger.next_generation = 4;
            machine.ledger.revisions.push(revision(3, 3, Slot::A, State::Failed));
        };
        let nothing: Change = |_| {};
        let cases: [(Change, Offer<'_>, &str); 7] = [
            (nothing, Offer { architecture: "arm64", ..base }, "arm64"),
            (nothing, Offer { sequence: Sequence(19), ..base }, "older"),
            (nothing, Offer { minimum_agent: Some("9.0"), ..base }, "9.0"),
            (nothing, Offer { root_length: 1 << 40, ..base }, "does not fit"),
            (nothing, Offer { boot_length: 1 << 40, ..base }, "ESP"),
            (failed, base, "failed here as generation 3: health check: disk is read-only"),
            (|machine| machine.slots.clear(), base, "no slot A"),
        ];
        for (change, offer, expected) in cases {
            let mut machine = machine();
            change(&mut machine);
            let error = decide(&machine, &offer).unwrap_err();
            assert!(error.to_string().contains(expected), "{expected}: {error}");
            assert!(error.hint().is_some(), "{error}");
        }
        let mut forced = machine();
        failed(&mut forced);
        let all = Permissions { quarantined: true, older: true };
        for offer in [base, Offer { sequence: Sequence(1), ..base }] {
            let decision = upgrade(&forced, &offer, all, "amd64", "0.1.0").unwrap();
            assert!(matches!(decision, Decision::Write(_)), "{decision:?}");
        }
    }

    #[test]
    fn an_unproved_system_keeps_its_way_back() {
        let mut machine = machine();
        let next = offer(&hash(3), digest(3), 30);
        machine.entries[0].name = "kiln-00000002+2-1.efi".parse().unwrap();
        let error = decide(&machine, &next).unwrap_err();
        assert!(error.to_string().contains("generation 1, to which"), "{error}");
        let force = Permissions { quarantined: true, older: false };
        assert!(upgrade(&machine, &next, force, "amd64", "0.1.0").is_ok());
        // With nothing to fall back to, an upgrade is the way out.
        machine.entries[1] = entry(1, 1, Some(Slot::A), true);
        assert!(decide(&machine, &next).is_ok());
    }

    #[test]
    fn recovery_keeps_the_slot_that_still_works() {
        let mut machine = machine();
        machine.booted.slot = Slot::Recovery;
        machine.booted.generation = None;
        machine.booted.is_recovery = true;
        for (good, target) in [(Slot::A, Slot::B), (Slot::B, Slot::A)] {
            machine.entries = vec![entry(5, 5, Some(good), false)];
            let Decision::Write(plan) = decide(&machine, &offer(&hash(9), "sha256:9", 90)).unwrap()
            else {
                panic!("no plan");
            };
            assert_eq!(plan.target, target);
        }
    }
}
