//! What people read when they log in: what runs, what comes next, and what failed last and why.
//!
//! A file below `/run`, so that it never outlives the boot that it speaks of.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::Error;
use crate::ledger::{Ledger, Revision, State};
use crate::machine::{Machine, Paths};
use crate::provisioning;

/// Most characters of a reason that are shown; `kiln status` shows all.
const MAXIMUM_REASON: usize = 240;

/// The newest revision that failed, unless a newer one has proved itself since.
#[must_use]
pub fn last_failure(ledger: &Ledger) -> Option<&Revision> {
    let is_later = |revision: &&Revision| {
        matches!(revision.state(), State::Failed | State::Blessed | State::Left)
    };
    let newest = ledger.revisions.iter().rev().find(is_later)?;
    (newest.state() == State::Failed).then_some(newest)
}

/// The text. `is_blessed` says whether this boot was.
#[must_use]
pub fn text(machine: &Machine, is_blessed: bool) -> String {
    let mut text = String::new();
    let booted = &machine.booted;
    let name = match (machine.booted_release(), booted.is_recovery) {
        (_, true) => "recovery".to_owned(),
        (Some(release), _) => format!("{} ({} {})", release.title, release.name, release.version),
        (None, _) => "an unknown release".to_owned(),
    };
    let generation =
        booted.generation.map_or_else(String::new, |number| format!(", generation {number}"));
    let proved = if is_blessed || booted.is_recovery { "" } else { ", not yet proved" };
    line(&mut text, &format!("Kiln: {name}{generation} in slot {}{proved}.", booted.slot));
    if let Some(slot) = machine.damaged_slot() {
        let said = format!("Slot {slot} cannot be read; `kiln upgrade` writes it again.");
        line(&mut text, &said);
    }
    if booted.is_recovery {
        line(&mut text, "What is changed here is gone after a restart, unless it is in /state.");
        if !machine.has_state {
            line(&mut text, "The state is damaged and not mounted; `kiln reset` can give it up.");
        }
        line(&mut text, "`kiln upgrade REF` or `kiln recovery install` brings a system back.");
    }
    if let Some(next) = machine.next_entry().map(|entry| entry.name.generation)
        && booted.generation.is_some_and(|generation| generation != next)
    {
        line(&mut text, &format!("Generation {next} starts at the next boot."));
    }
    if let Some(failed) = last_failure(&machine.ledger)
        && let Some(failure) = failed.failure()
    {
        let said = one_line(&failure.reason);
        let (generation, version) = (failed.generation, &failed.release.version);
        let stage = failure.stage;
        line(
            &mut text,
            &format!("Generation {generation} (version {version}) failed: {stage}: {said}"),
        );
        line(&mut text, "It is not tried again by itself; `kiln status` says more.");
    }
    text
}

/// Writes the text for this boot.
///
/// # Errors
/// [`Error::File`].
pub fn write(paths: &Paths, machine: &Machine) -> Result<(), Error> {
    let mut text = text(machine, paths.blessed.exists());
    match provisioning::last_failure(paths) {
        Some(reason) => {
            let said = configuration(&reason);
            text.push_str(&said);
            put(&paths.issue, &for_getty(&said))?;
        }
        None => match fs::remove_file(&paths.issue) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("remove", &paths.issue, error));
            }
            _ => {}
        },
    }
    put(&paths.motd, &text)
}

fn put(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |source| Error::file("write", path, source);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, text).map_err(failed)
}

/// What is to be said about a configuration that failed.
fn configuration(reason: &str) -> String {
    let mut text = String::new();
    line(&mut text, &format!("The configuration of this machine failed: {}", one_line(reason)));
    line(&mut text, &format!("{}.", provisioning::HINT));
    text
}

/// A text for getty, to which a backslash is the beginning of something else (agetty(8)).
fn for_getty(text: &str) -> String {
    text.replace('\\', "/")
}

fn line(text: &mut String, line: &str) {
    // Writing into a string cannot fail.
    let _ = writeln!(text, "{line}");
}

/// The end of a reason in one line without control characters: it came from programs, and a terminal
/// would obey them.
pub(crate) fn one_line(reason: &str) -> String {
    let clean: Vec<char> = reason
        .trim()
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    let start = clean.len().saturating_sub(MAXIMUM_REASON);
    let end: String = clean.iter().skip(start).collect();
    if start == 0 { end } else { format!("…{end}") }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{last_failure, one_line, text, write};
    use crate::ledger::{Slot, State};
    use crate::machine::Paths;
    use crate::plan::test_support::{entry, machine, revision};

    #[test]
    fn it_says_what_runs_and_what_comes() {
        let mut machine = machine();
        assert_eq!(text(&machine, true), "Kiln: Edge 2 (edge 2), generation 2 in slot B.\n");
        assert!(text(&machine, false).contains("slot B, not yet proved."));
        machine.entries.insert(0, entry(3, 3, Some(Slot::A), false));
        assert!(text(&machine, true).contains("\nGeneration 3 starts at the next boot.\n"));
    }

    #[test]
    fn a_slot_that_recovery_stands_in_for_is_named_at_login() {
        let mut machine = machine();
        machine.booted.slot = Slot::Recovery;
        let expected = "Kiln: Edge 2 (edge 2), generation 2 in slot recovery.\n\
                        Slot B cannot be read; `kiln upgrade` writes it again.\n";
        assert_eq!(text(&machine, true), expected);
        machine.booted.is_recovery = true;
        assert!(!text(&machine, true).contains("cannot be read"), "recovery was meant");
    }

    #[test]
    fn in_recovery_it_says_what_to_do() {
        let mut machine = machine();
        machine.booted.is_recovery = true;
        machine.booted.slot = Slot::Recovery;
        machine.booted.generation = None;
        let said = text(&machine, true);
        assert!(said.starts_with("Kiln: recovery in slot recovery.\nWhat is changed"), "{said}");
        assert!(said.contains("kiln recovery install") && !said.contains("damaged"), "{said}");
        machine.has_state = false;
        assert!(text(&machine, true).contains("The state is damaged"));
    }

    #[test]
    fn it_says_what_failed_until_something_newer_works() {
        let mut machine = machine();
        machine.ledger.revisions.push(revision(3, 3, Slot::A, State::Failed));
        let said = text(&machine, true);
        assert!(said.contains("Generation 3 (version 3) failed: health check: disk is read-only"));
        machine.ledger.revisions.push(revision(4, 4, Slot::A, State::Trying));
        assert!(last_failure(&machine.ledger).is_some(), "nothing newer has proved itself");
        machine.ledger.revisions[3] = revision(4, 4, Slot::A, State::Blessed);
        assert_eq!(last_failure(&machine.ledger), None);
    }

    #[test]
    fn a_configuration_that_failed_is_told_before_and_after_the_login() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::below(folder.path());
        let machine = machine();
        write(&paths, &machine).unwrap();
        assert!(!paths.issue.exists());
        let folder = paths.provisioning_failure.parent().unwrap();
        fs::create_dir_all(folder).unwrap();
        fs::write(&paths.provisioning_failure, "c.ign:3:1: no disk `\\a`\n").unwrap();
        write(&paths, &machine).unwrap();
        let said = fs::read_to_string(&paths.motd).unwrap();
        let expected = "The configuration of this machine failed: c.ign:3:1: no disk `\\a`\n\
                        `kiln explain` shows what was asked for; repair the documents in /oem and \
                        restart.\n";
        assert!(said.ends_with(expected), "{said}");
        let issue = fs::read_to_string(&paths.issue).unwrap();
        assert_eq!(issue, expected.replace('\\', "/"), "getty would take `\\a` for something else");
        fs::remove_file(&paths.provisioning_failure).unwrap();
        write(&paths, &machine).unwrap();
        assert!(!paths.issue.exists() && !fs::read_to_string(&paths.motd).unwrap().contains("oem"));
    }

    #[test]
    fn reasons_cannot_speak_to_the_terminal() {
        assert_eq!(one_line("a\x1b[2J\nb\n"), "a [2J b");
        let long = one_line(&"ä".repeat(1000));
        assert_eq!(long.chars().count(), super::MAXIMUM_REASON + 1);
    }
}
