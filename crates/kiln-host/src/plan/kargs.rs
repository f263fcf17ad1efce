//! Other kernel arguments for the release that runs: a revision of its own, in the same slot.
//!
//! It gets a generation and counted tries like a release, so a machine that does not come up with it
//! goes back by itself. The boot file that runs stays as the way back, which is why nothing is changed
//! before it has proved itself. Changing the boot file in place was dropped for that reason.

use kiln_boot::arguments::{
    ADDON_NAME_LIMIT, COMMAND_LINE_LIMIT, defect, edited, is_protected, matches, words,
};
use kiln_boot::entry::{FOLDER, MAXIMUM_GENERATION};
use kiln_release::Addon;

use crate::Error;
use crate::ledger::{LocalArguments, State};
use crate::machine::{BootEntry, Machine, Staged};

/// Most boot files in the loader's menu: the new one, the one that runs, that of the other slot, and one
/// more. Every one takes its kernel and drivers on the ESP, which the next upgrade needs, too.
const MAXIMUM_ENTRIES: usize = 4;

/// Most deletions that are remembered: more than a command line has arguments of eight bytes.
const MAXIMUM_DELETIONS: usize = 256;

/// Clusters for folders and their growth.
const SPARE_CLUSTERS: u64 = 4;

/// One wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArgumentEdit {
    /// Put an argument behind the others.
    Append(String),
    /// Leave an argument out; a name without `=` stands for all its values.
    Delete(String),
    /// Switch an addon of the release on.
    Enable(String),
    /// Switch it off.
    Disable(String),
}

/// Wishes, and what has to be known to judge them.
#[derive(Debug, Clone, Copy)]
pub struct ArgumentRequest<'a> {
    /// In the order in which they were given.
    pub edits: &'a [ArgumentEdit],
    /// The command line of the boot file that runs.
    pub command_line: &'a str,
    /// Whether that file is signed.
    pub is_sealed: bool,
    /// What the release lets be switched on.
    pub addons: &'a [Addon],
    /// Bytes of all files of addons.
    pub addon_length: u64,
    /// Also what failed before, and before the running system has proved itself.
    pub is_forced: bool,
}

/// The way to other arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgumentPlan {
    /// The generation that runs, whose boot file is the pattern.
    pub from: u32,
    /// The generation of the new one.
    pub generation: u32,
    /// What it has.
    pub arguments: LocalArguments,
    /// The command line of its boot file.
    pub command_line: String,
    /// Files on the ESP that go first, by path.
    pub removes: Vec<String>,
    /// Generations that end with them.
    pub replaces: Vec<u32>,
}

/// The wishes that the next boot starts with, or the running one, if either has any.
#[must_use]
pub fn wishes(machine: &Machine) -> Option<&LocalArguments> {
    let next = machine.next_entry().filter(|entry| entry.is_usable());
    let generation = next.map(|entry| entry.name.generation).or(machine.booted.generation)?;
    machine.ledger.revision(generation)?.arguments.as_ref()
}

/// Decides about other arguments; `None` if they are as wished already.
///
/// # Errors
/// [`Error::Refused`] with the reason; nothing may be changed then.
pub fn kernel_arguments(
    machine: &Machine,
    request: &ArgumentRequest<'_>,
) -> Result<Option<ArgumentPlan>, Error> {
    for edit in request.edits {
        check(edit, request)?;
    }
    let running = running(machine, request.is_forced)?;
    let before = wishes(machine).cloned();
    let before = before.unwrap_or_else(|| LocalArguments::of_release(request.command_line));
    let mut arguments = LocalArguments { varies: Some(running.name.generation), ..before.clone() };
    for edit in request.edits {
        apply(&mut arguments, edit)?;
    }
    if arguments.wishes_the_same(&before) {
        return Ok(None);
    }
    let command_line = arguments.command_line();
    let whole = whole_line(&command_line, &arguments, request.addons);
    if whole.len() > COMMAND_LINE_LIMIT {
        let reason = format!(
            "the kernel takes {COMMAND_LINE_LIMIT} bytes of arguments, these are {}",
            whole.len()
        );
        return refuse(reason, "take others away with `kiln kargs --delete`");
    }
    if !request.is_forced {
        refuse_what_failed(machine, running, &arguments)?;
    }
    let generation = machine.ledger.next_generation;
    if generation > MAXIMUM_GENERATION {
        return refuse("all generations are used".to_owned(), "install anew");
    }
    let (removes, replaces) = room(machine, running, request, command_line.len() as u64)?;
    let from = running.name.generation;
    Ok(Some(ArgumentPlan { from, generation, arguments, command_line, removes, replaces }))
}

/// Whether a wish may be had at all.
fn check(edit: &ArgumentEdit, request: &ArgumentRequest<'_>) -> Result<(), Error> {
    let is_known = |name: &String| request.addons.iter().any(|addon| addon.name == *name);
    match edit {
        ArgumentEdit::Append(argument) | ArgumentEdit::Delete(argument) if request.is_sealed => {
            refuse(
                format!(
                    "this machine is sealed: its boot file is signed, and `{}` is not",
                    legible(argument)
                ),
                "only addons that the release brings can be switched on: `kiln kargs` lists them",
            )
        }
        ArgumentEdit::Append(argument) | ArgumentEdit::Delete(argument) => match defect(argument) {
            Some(reason) => refuse(
                format!("`{}` cannot be changed here: {reason}", legible(argument)),
                "give each argument by its own option; what only a release may set is set by \
                 `kiln build --karg`",
            ),
            None => Ok(()),
        },
        ArgumentEdit::Enable(name) if !is_known(name) => refuse(
            format!("the running release brings no addon `{}`", legible(name)),
            "`kiln kargs` lists them; `kiln build --addon NAME=ARGS` puts one into a release",
        ),
        ArgumentEdit::Disable(name) if name.len() > ADDON_NAME_LIMIT => {
            refuse(format!("no addon is called `{}`", legible(name)), "`kiln kargs` lists them")
        }
        ArgumentEdit::Enable(_) | ArgumentEdit::Disable(_) => Ok(()),
    }
}

/// The entry whose boot file is the pattern and the way back.
fn running(machine: &Machine, is_forced: bool) -> Result<&BootEntry, Error> {
    if machine.booted.is_recovery {
        return refuse(
            "the recovery system has the arguments that it was built with".to_owned(),
            "start the system itself",
        );
    }
    let Some(running) = machine.booted_entry().filter(|entry| entry.root.is_some()) else {
        return refuse(
            "nothing on the ESP says which boot file started this system".to_owned(),
            "restart it by its boot loader",
        );
    };
    if let Some(next) = machine.next_entry().filter(|next| next.is_usable())
        && next.root != running.root
    {
        let generation = next.name.generation;
        return refuse(
            format!("generation {generation}, which has another root, waits for a restart"),
            "restart first, or take it back by `kiln rollback`",
        );
    }
    let is_release = |staged: &&Staged| !is_leftover(machine, staged.generation);
    if let Some(staged) = machine.staged.iter().find(is_release)
        && !is_forced
    {
        return refuse(
            format!("generation {} is staged and would never be started", staged.generation),
            "finish it by `kiln upgrade`, or give it up with `--force`",
        );
    }
    if running.name.counter.is_some() && !is_forced {
        return refuse(
            "the running system has not proved itself yet, and would be the only way back"
                .to_owned(),
            "wait until `kiln status` says `blessed`; after `kiln rollback`, restart first; `--force` \
             does it all the same",
        );
    }
    Ok(running)
}

/// Whether a staged boot file is what a power cut left of a change of arguments.
fn is_leftover(machine: &Machine, generation: u32) -> bool {
    machine.ledger.revision(generation).is_none_or(crate::ledger::Revision::is_variation)
}

fn apply(arguments: &mut LocalArguments, edit: &ArgumentEdit) -> Result<(), Error> {
    match edit {
        ArgumentEdit::Append(argument) => {
            arguments.delete.retain(|pattern| pattern != argument);
            let has = words(&arguments.command_line()).contains(&argument.as_str());
            if !has {
                arguments.append.push(argument.clone());
            }
        }
        ArgumentEdit::Delete(pattern) => {
            let before = arguments.append.len();
            arguments.append.retain(|argument| !matches(pattern, argument));
            let is_local = arguments.append.len() != before;
            let of_release = words(&arguments.release);
            let is_of_release =
                of_release.iter().any(|word| !is_protected(word) && matches(pattern, word));
            if !is_local && !is_of_release {
                let pattern = legible(pattern);
                return refuse(
                    format!("there is no argument `{pattern}`"),
                    "`kiln kargs` lists all arguments",
                );
            }
            if is_of_release && !arguments.delete.contains(pattern) {
                arguments.delete.push(pattern.clone());
            }
            if arguments.delete.len() > MAXIMUM_DELETIONS {
                return refuse("too many deletions".to_owned(), "build a release without them");
            }
        }
        ArgumentEdit::Enable(name) => {
            if !arguments.addons.contains(name) {
                arguments.addons.push(name.clone());
                arguments.addons.sort_unstable();
            }
        }
        ArgumentEdit::Disable(name) => arguments.addons.retain(|enabled| enabled != name),
    }
    Ok(())
}

/// The line with what addons add to it.
fn whole_line(line: &str, arguments: &LocalArguments, addons: &[Addon]) -> String {
    let enabled = addons.iter().filter(|addon| arguments.addons.contains(&addon.name));
    let added: Vec<String> = enabled.map(|addon| addon.arguments.clone()).collect();
    edited(line, &[], &added)
}

/// The same release with the same arguments, if it never worked.
fn refuse_what_failed(
    machine: &Machine,
    running: &BootEntry,
    arguments: &LocalArguments,
) -> Result<(), Error> {
    let hash = running.root.as_ref().map(|root| root.root.to_string());
    let failed = machine.ledger.revisions.iter().rev().find(|revision| {
        let is_same = revision
            .arguments
            .as_ref()
            .map_or_else(|| arguments.is_plain(), |others| others.wishes_the_same(arguments));
        let was = |state| revision.events.iter().any(|event| event.state == state);
        Some(&revision.release.root.hash) == hash.as_ref()
            && is_same
            && (was(State::Failed) || was(State::Blessed))
    });
    let failed = failed
        .filter(|revision| !revision.events.iter().any(|event| event.state == State::Blessed));
    let Some(failed) = failed else { return Ok(()) };
    let last = failed.events.iter().rev().find_map(|event| event.failure.as_ref());
    let why = last.map_or_else(String::new, |why| format!(": {}: {}", why.stage, why.reason));
    refuse(
        format!("these arguments failed here as generation {}{why}", failed.generation),
        "give others, or try them again with `--force`",
    )
}

/// What has to go so that the new boot file has room: paths and generations. Never the one that runs,
/// and never one of the other slot.
fn room(
    machine: &Machine,
    running: &BootEntry,
    request: &ArgumentRequest<'_>,
    line_length: u64,
) -> Result<(Vec<String>, Vec<u32>), Error> {
    let cluster = machine.system_partition.cluster.max(1);
    let whole = |length: u64| length.div_ceil(cluster) * cluster;
    let (doomed, mut spare): (Vec<&BootEntry>, Vec<&BootEntry>) = machine
        .entries
        .iter()
        .filter(|entry| entry.name != running.name)
        .filter(|entry| entry.slot.is_none() || entry.slot == running.slot)
        // What was never proved is superseded by this change; what starts from no slot is a leftover.
        .partition(|entry| entry.slot.is_none() || entry.name.counter.is_some());
    let mut doomed = doomed;
    spare.sort_by_key(|entry| std::cmp::Reverse(entry.name.generation));

    let staged: u64 = machine.staged.iter().map(|staged| whole(u64::from(staged.length))).sum();
    let needed = whole(u64::from(running.length) + line_length)
        + request.addon_length.div_ceil(cluster) * cluster
        + (SPARE_CLUSTERS + request.addons.len() as u64) * cluster;
    loop {
        let freed: u64 = doomed.iter().map(|entry| whole(u64::from(entry.length))).sum();
        let available = machine.system_partition.free + staged + freed;
        let listed = machine.entries.len() + 1 - doomed.len();
        if listed <= MAXIMUM_ENTRIES && needed <= available {
            break;
        }
        match spare.pop() {
            Some(oldest) => doomed.push(oldest),
            None if needed <= available => break,
            None => {
                return refuse(
                    format!(
                        "another boot file needs {needed} bytes on the ESP, {available} are free or can \
                         be freed"
                    ),
                    "remove files that are not Kiln's from the ESP",
                );
            }
        }
    }
    let mut removes: Vec<String> =
        doomed.iter().map(|entry| format!("{FOLDER}/{}", entry.file)).collect();
    let mut replaces: Vec<u32> = doomed.iter().map(|entry| entry.name.generation).collect();
    removes.extend(machine.staged.iter().map(|staged| Staged::path(staged.generation)));
    replaces.extend(machine.staged.iter().map(|staged| staged.generation));
    Ok((removes, replaces))
}

/// Text from outside for messages: short, and nothing that a terminal obeys.
fn legible(text: &str) -> String {
    let plain = text.chars().map(|letter| if letter.is_control() { '?' } else { letter });
    plain.take(80).collect()
}

fn refuse<T>(reason: String, hint: &str) -> Result<T, Error> {
    Err(Error::Refused { reason, hint: hint.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::ArgumentEdit::{Append, Delete, Disable, Enable};
    use super::{ArgumentEdit, ArgumentPlan, ArgumentRequest, kernel_arguments};
    use crate::Error;
    use crate::ledger::{LocalArguments, Revision, Slot, State};
    use crate::machine::{Machine, Staged};
    use crate::plan::test_support::{entry, machine, revision};
    use kiln_release::Addon;

    const LINE: &str = "kiln.root=x kiln.mode=system panic=10 console=tty0 console=ttyS0 quiet";

    fn append(argument: &str) -> ArgumentEdit {
        Append(argument.to_owned())
    }

    fn serial() -> Addon {
        Addon {
            name: "serial".into(),
            arguments: "console=ttyS1".into(),
            length: 1024,
            digest: "0".repeat(64),
        }
    }

    fn decide(machine: &Machine, edits: &[ArgumentEdit]) -> Result<Option<ArgumentPlan>, Error> {
        decide_as(machine, edits, false, false)
    }

    fn decide_as(
        machine: &Machine,
        edits: &[ArgumentEdit],
        is_sealed: bool,
        is_forced: bool,
    ) -> Result<Option<ArgumentPlan>, Error> {
        let request = ArgumentRequest {
            edits,
            command_line: LINE,
            is_sealed,
            addons: &[serial()],
            addon_length: 0,
            is_forced,
        };
        kernel_arguments(machine, &request)
    }

    /// A revision of the running release with one more argument.
    fn variation(generation: u32, argument: &str, state: State) -> Revision {
        let mut arguments = LocalArguments::of_release(LINE);
        arguments.append.push(argument.to_owned());
        arguments.varies = Some(2);
        Revision { arguments: Some(arguments), ..revision(generation, 2, Slot::B, state) }
    }

    #[test]
    fn a_change_is_a_new_generation_in_the_same_slot() {
        let machine = machine();
        let edits = [append("debug"), Delete("console".into()), Enable("serial".into())];
        let plan = decide(&machine, &edits).unwrap().unwrap();
        assert_eq!((plan.from, plan.generation), (2, 3));
        assert_eq!(plan.command_line, "kiln.root=x kiln.mode=system panic=10 quiet debug");
        assert_eq!(plan.arguments.addons, ["serial"]);
        assert_eq!((plan.arguments.release.as_str(), plan.arguments.varies), (LINE, Some(2)));
        assert!(plan.removes.is_empty(), "the running entry and the other slot's stay");
    }

    #[test]
    fn what_is_so_already_changes_nothing() {
        for edits in [&[][..], &[append("quiet")], &[Disable("serial".into())]] {
            assert_eq!(decide(&machine(), edits).unwrap(), None, "{edits:?}");
        }
        let back = [append("debug"), Delete("debug".into())];
        assert_eq!(decide(&machine(), &back).unwrap(), None);
    }

    #[test]
    fn a_change_that_waits_for_its_restart_is_built_upon_and_superseded() {
        let mut machine = machine();
        machine.entries.insert(0, entry(3, 2, Some(Slot::B), false));
        machine.entries[0].name = "kiln-00000003+3-0.efi".parse().unwrap();
        machine.entries[0].file = machine.entries[0].name.to_string();
        machine.ledger.revisions.push(variation(3, "debug", State::Trying));
        machine.ledger.next_generation = 4;
        let plan = decide(&machine, &[append("splash")]).unwrap().unwrap();
        assert!(plan.command_line.ends_with("quiet debug splash"), "{}", plan.command_line);
        assert_eq!((plan.from, plan.generation), (2, 4));
        assert_eq!(plan.removes, ["EFI/Linux/kiln-00000003+3-0.efi"]);
        assert_eq!(plan.replaces, [3]);
        let plan = decide(&machine, &[Delete("debug".into())]).unwrap().unwrap();
        assert_eq!(plan.command_line, LINE);
    }

    #[test]
    fn what_is_no_argument_or_not_to_be_changed_is_refused() {
        let long: Vec<ArgumentEdit> =
            (0..5).map(|index| append(&format!("a{index}={}", "b".repeat(450)))).collect();
        let control = append("a\u{1b}[2J");
        for (edits, expected) in [
            (&[append("kiln.root=1")][..], "only a release"),
            (&[append("a=b kiln.root=1")], "one word"),
            (&[append("a\nb")], "a?b"),
            (&[control], "a?[2J"),
            (&[Delete("kiln.mode".into())], "only a release"),
            (&[Delete("panic=10".into())], "only a release"),
            (&[Delete("absent".into())], "no argument `absent`"),
            (&[Enable("other".into())], "no addon `other`"),
            (&long, "2047"),
        ] {
            let error = decide(&machine(), edits).unwrap_err();
            assert!(error.to_string().contains(expected), "{expected}: {error}");
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn a_sealed_machine_takes_addons_alone() {
        for edits in [[append("debug")], [Delete("quiet".into())]] {
            let error = decide_as(&machine(), &edits, true, true).unwrap_err();
            assert!(error.to_string().contains("sealed"), "{error}");
        }
        let enable = [Enable("serial".into())];
        let plan = decide_as(&machine(), &enable, true, false).unwrap().unwrap();
        assert_eq!(plan.command_line, LINE, "the boot file keeps its bytes");
    }

    #[test]
    fn nothing_is_changed_while_there_would_be_no_way_back() {
        type Change = fn(&mut Machine);
        let cases: [(Change, &str, bool); 5] = [
            (|machine| machine.booted.is_recovery = true, "recovery", false),
            (|machine| machine.booted.generation = None, "which boot file", false),
            (
                |machine| {
                    machine.entries[0].name = "kiln-00000002+2-1.efi".parse().unwrap();
                },
                "not proved itself",
                true,
            ),
            (
                |machine| {
                    machine.entries.insert(0, entry(3, 3, Some(Slot::A), false));
                },
                "waits for a restart",
                false,
            ),
            (
                |machine| {
                    machine.ledger.revisions.push(revision(3, 3, Slot::A, State::Staged));
                    machine.ledger.next_generation = 4;
                    let staged =
                        Staged { generation: 3, length: 10, root: None, slot: Some(Slot::A) };
                    machine.staged.push(staged);
                },
                "is staged",
                true,
            ),
        ];
        for (change, expected, is_forcible) in cases {
            let mut machine = machine();
            change(&mut machine);
            let error = decide(&machine, &[append("debug")]).unwrap_err();
            assert!(error.to_string().contains(expected), "{expected}: {error}");
            let forced = decide_as(&machine, &[append("debug")], false, true);
            assert_eq!(forced.is_ok(), is_forcible, "{expected}");
        }
        // What a power cut left of an earlier change is no release.
        let mut cut = machine();
        cut.ledger.revisions.push(variation(3, "debug", State::Staged));
        cut.ledger.next_generation = 4;
        cut.staged.push(Staged { generation: 3, length: 10, root: None, slot: Some(Slot::B) });
        let plan = decide(&cut, &[append("debug")]).unwrap().unwrap();
        assert_eq!(plan.removes, ["EFI/kiln/kiln-00000003.staged"]);
    }

    #[test]
    fn arguments_that_failed_are_not_tried_again_by_accident() {
        let mut machine = machine();
        machine.ledger.revisions.push(variation(3, "debug", State::Failed));
        machine.ledger.next_generation = 4;
        let error = decide(&machine, &[append("debug")]).unwrap_err();
        assert!(error.to_string().contains("failed here as generation 3"), "{error}");
        assert!(decide(&machine, &[append("other")]).unwrap().is_some());
        assert!(decide_as(&machine, &[append("debug")], false, true).unwrap().is_some());
        // The release itself is as good as before.
        let hash = machine.ledger.revisions[1].release.root.hash.clone();
        assert_eq!(machine.ledger.quarantined(&hash, None), None);
        let blessed = variation(4, "debug", State::Blessed);
        machine.ledger.revisions.push(blessed);
        machine.ledger.next_generation = 5;
        assert!(decide(&machine, &[append("debug")]).unwrap().is_some(), "it worked since");
    }

    #[test]
    fn old_boot_files_fall_away_but_never_the_ways_back() {
        let mut machine = machine();
        machine.booted.generation = Some(5);
        let more = [5, 4, 3].map(|generation| entry(generation, 2, Some(Slot::B), false));
        machine.entries.splice(0..0, more);
        machine.ledger.next_generation = 6;
        // 5 runs, 1 is the other slot's; of 2, 3 and 4 the newest may stay.
        let removes = |machine: &Machine| {
            decide(machine, &[append("debug")]).map(|plan| plan.unwrap().replaces)
        };
        assert_eq!(removes(&machine).unwrap(), [2, 3]);
        machine.system_partition.free = 0;
        assert_eq!(removes(&machine).unwrap(), [2, 3], "two are room enough");
        for entry in &mut machine.entries[1..4] {
            entry.length = 4096;
        }
        let error = removes(&machine).unwrap_err();
        assert!(error.to_string().contains("on the ESP"), "{error}");
        machine.entries.retain(|entry| entry.slot != Some(Slot::B) || entry.name.generation == 5);
        machine.system_partition.free = 1 << 30;
        machine.entries.push(entry(4, 4, None, false));
        assert_eq!(removes(&machine).unwrap(), [4], "what starts from no slot is a leftover");
    }
}
