//! Other kernel arguments: a boot file like the running one, under a new generation.
//!
//! Everything is decided and made in memory first. Then what is superseded goes, the number is used
//! up, the addons are laid beside where the boot file will be, the boot file comes to where no loader
//! lists it, and **the rename that lists it is the commit point**. A cut before it leaves the machine as
//! it was, but for files that the next change removes.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use kiln_boot::arguments::{ADDON_FOLDER, ADDON_SUFFIX, words};
use kiln_boot::entry::{EntryName, FOLDER};
use kiln_boot::uki::{self, format::ADDON_LIMIT};
use kiln_build::AddonFile;
use kiln_disk::fat::update::Change;
use kiln_release::Addon;

use super::{begin, now};
use crate::Error;
use crate::esp::{self, SystemPartitionDevice};
use crate::ledger::{Event, LocalArguments, Revision, State};
use crate::machine::{BootEntry, Machine, Paths, Staged, is_signed};
use crate::plan::{self, ArgumentEdit, ArgumentPlan, ArgumentRequest};

/// Largest boot file that is read back from the ESP, in bytes.
const MAXIMUM_BOOT_FILE: u32 = 256 << 20;

/// What is to be done, and how.
#[derive(Debug, Clone, Copy)]
pub struct ArgumentOptions<'a> {
    /// The wishes, in order.
    pub edits: &'a [ArgumentEdit],
    /// Only say what would happen.
    pub dry_run: bool,
    /// Also what failed before, and before the running system has proved itself.
    pub is_forced: bool,
}

/// The arguments of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionArguments {
    /// Its generation, if it is known.
    pub generation: Option<u32>,
    /// The wishes, and the release's own line.
    pub arguments: LocalArguments,
}

/// Everything about the kernel arguments of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelArguments {
    /// Whether the running boot file is signed.
    pub is_sealed: bool,
    /// What runs.
    pub current: RevisionArguments,
    /// What the next boot has, if that is another revision.
    pub pending: Option<RevisionArguments>,
    /// What the running release lets be switched on.
    pub addons: Vec<Addon>,
}

impl KernelArguments {
    /// Each argument of a revision with where it is from: `release`, `local` or `addon`.
    #[must_use]
    pub fn sources(&self, revision: &RevisionArguments) -> Vec<(&'static str, String)> {
        let RevisionArguments { arguments, .. } = revision;
        let line = arguments.command_line();
        let of_release = words(&arguments.release);
        let source = |word: &&str| if of_release.contains(word) { "release" } else { "local" };
        let own = words(&line).into_iter().map(|word| (source(&word), word.to_owned()));
        let enabled = self.addons.iter().filter(|addon| arguments.addons.contains(&addon.name));
        let added = enabled.flat_map(|addon| words(&addon.arguments));
        own.chain(added.map(|word| ("addon", word.to_owned()))).collect()
    }
}

/// Reads what there is; changes nothing.
///
/// # Errors
/// As [`crate::machine::read`]; [`Error::Refused`] if the running boot file is not known.
pub fn show_kernel_arguments(paths: &Paths) -> Result<KernelArguments, Error> {
    let machine = super::status(paths)?;
    let addons = addons_of_running(paths)?.into_iter().map(|addon| addon.facts).collect();
    report(&machine, addons)
}

/// Plans the change and, unless `dry_run`, makes the next boot take it; `None` if nothing has to be
/// changed. What is reported is the state before.
///
/// # Errors
/// [`Error::Refused`] before anything was changed; later errors leave the running revision as the one
/// that boots.
pub fn change_kernel_arguments(
    paths: &Paths,
    options: ArgumentOptions<'_>,
    busy: impl FnOnce(),
) -> Result<(KernelArguments, Option<ArgumentPlan>), Error> {
    let (store, mut machine) = begin(paths, busy)?;
    let files = addons_of_running(paths)?;
    let addons: Vec<Addon> = files.iter().map(|addon| addon.facts.clone()).collect();
    let before = report(&machine, addons.clone())?;
    let running = running(&machine)?;
    let pattern = esp::read(&machine.system_partition.node, &path(running), MAXIMUM_BOOT_FILE)?;
    let (command_line, is_sealed) = facts(&pattern)?;
    let request = ArgumentRequest {
        edits: options.edits,
        command_line: &command_line,
        is_sealed,
        addons: &addons,
        addon_length: addons.iter().map(|addon| addon.length).sum(),
        is_forced: options.is_forced,
    };
    let Some(plan) = plan::kernel_arguments(&machine, &request)? else {
        return Ok((before, None));
    };
    let enabled: Vec<AddonFile> = files
        .into_iter()
        .filter(|addon| plan.arguments.addons.contains(&addon.facts.name))
        .collect();
    if let Some(unsigned) = enabled.iter().find(|addon| is_sealed && !is_signed(&addon.bytes)) {
        return Err(Error::Refused {
            reason: format!(
                "addon `{}` is not signed, and the firmware would not take it",
                unsigned.facts.name
            ),
            hint: "build the release with its keys".to_owned(),
        });
    }
    let boot_file = if plan.command_line == command_line {
        pattern
    } else {
        uki::with_command_line(&pattern, plan.command_line.as_bytes())
            .map_err(|source| Error::Build(source.into()))?
    };
    if options.dry_run {
        return Ok((before, Some(plan)));
    }

    // What the new revision is, but for its arguments, is what runs.
    let event = |state| Event { time: now(), state, failure: None };
    let pattern = machine.ledger.revision(plan.from).cloned();
    let Some(pattern) = pattern else {
        return Err(Error::Refused {
            reason: format!("the ledger does not know generation {}, which runs", plan.from),
            hint: "`kiln upgrade` to any release writes it down".to_owned(),
        });
    };
    let mut esp = SystemPartitionDevice::open(&machine.system_partition.node, machine.sector_size)?;
    for generation in &plan.replaces {
        machine.ledger.record(*generation, event(State::Replaced));
    }
    let generation = machine.ledger.add(Revision {
        arguments: Some(plan.arguments.clone()),
        events: vec![event(State::Staged)],
        ..pattern
    });
    // The number is used up before a file carries it.
    store.write(&machine.ledger)?;
    for path in &plan.removes {
        esp.remove(path)?;
    }
    esp.remove_addons_except(&machine.generations_beside(&plan.replaces))?;
    esp.put_addons(generation, &enabled)?;
    let staged = Staged::path(generation);
    esp.put(&staged, &boot_file)?;
    // The commit point.
    esp.change(&Change::Move { from: &staged, to: &EntryName::fresh(generation).path() })?;
    machine.ledger.record(generation, event(State::Trying));
    store.write(&machine.ledger)?;
    Ok((before, Some(plan)))
}

fn report(machine: &Machine, addons: Vec<Addon>) -> Result<KernelArguments, Error> {
    let of_entry = |entry: &BootEntry| -> Result<RevisionArguments, Error> {
        let generation = Some(entry.name.generation);
        let revision = machine.ledger.revision(entry.name.generation);
        if let Some(arguments) = revision.and_then(|revision| revision.arguments.clone()) {
            return Ok(RevisionArguments { generation, arguments });
        }
        let bytes = esp::read(&machine.system_partition.node, &path(entry), MAXIMUM_BOOT_FILE)?;
        let (line, _) = facts(&bytes)?;
        Ok(RevisionArguments { generation, arguments: LocalArguments::of_release(&line) })
    };
    let running = running(machine)?;
    let next = machine.next_entry().filter(|next| next.is_usable() && next.name != running.name);
    Ok(KernelArguments {
        is_sealed: running.is_signed,
        current: of_entry(running)?,
        pending: next.map(of_entry).transpose()?,
        addons,
    })
}

fn running(machine: &Machine) -> Result<&BootEntry, Error> {
    machine.booted_entry().ok_or_else(|| Error::Refused {
        reason: "nothing on the ESP says which boot file started this system".to_owned(),
        hint: "restart it by its boot loader".to_owned(),
    })
}

fn path(entry: &BootEntry) -> String {
    format!("{FOLDER}/{}", entry.file)
}

/// Command line of a boot file, and whether it is signed.
fn facts(boot_file: &[u8]) -> Result<(String, bool), Error> {
    let uki = uki::parse(boot_file).map_err(|source| Error::Build(source.into()))?;
    let line = crate::machine::command_line(boot_file).unwrap_or_default();
    Ok((line, uki.signed))
}

/// The addons in the running root, which is proved at every read, sorted by name.
fn addons_of_running(paths: &Paths) -> Result<Vec<AddonFile>, Error> {
    let folder = &paths.addons;
    let failed = |source| Error::file("read", folder, source);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let mut addons = Vec::new();
    for entry in entries {
        let file = entry.map_err(failed)?.file_name();
        let Some(name) = file.to_str().and_then(|file| file.strip_suffix(ADDON_SUFFIX)) else {
            continue;
        };
        let bytes = read_bounded(&folder.join(&file))?;
        addons.extend(bytes.and_then(|bytes| AddonFile::read(name, bytes)));
    }
    addons.sort_by(|left, right| left.facts.name.cmp(&right.facts.name));
    Ok(addons)
}

fn read_bounded(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let failed = |source| Error::file("read", path, source);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(ADDON_LIMIT as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok((bytes.len() <= ADDON_LIMIT).then_some(bytes))
}

/// The boot file of a new release with this machine's wishes, and what comes beside it.
#[derive(Debug)]
pub(super) struct Carried<'a> {
    pub(super) arguments: Option<LocalArguments>,
    pub(super) boot_file: Cow<'a, [u8]>,
    pub(super) addons: Vec<AddonFile>,
}

/// Carries this machine's wishes over to a release whose root is in `slot`, proved. A signed boot file
/// stays as it is and takes addons alone; addons that the release lacks are remembered for the next.
pub(super) fn carry<'a>(
    machine: &Machine,
    boot_file: &'a [u8],
    slot: &File,
) -> Result<Carried<'a>, Error> {
    let plain = || Carried { arguments: None, boot_file: boot_file.into(), addons: Vec::new() };
    let Some(wishes) = plan::wishes(machine).filter(|wishes| !wishes.is_plain()) else {
        return Ok(plain());
    };
    let (line, is_sealed) = facts(boot_file)?;
    let mut arguments = wishes.carried_to(&line);
    let addons = addons_of_slot(slot, &arguments.addons)?;
    if is_sealed {
        arguments.append.clear();
        arguments.delete.clear();
        return Ok(Carried { arguments: Some(arguments), addons, ..plain() });
    }
    let line = arguments.command_line();
    if line.len() > kiln_boot::arguments::COMMAND_LINE_LIMIT {
        return Err(Error::Refused {
            reason: "this machine's kernel arguments and the release's are too long together"
                .into(),
            hint: "take some away with `kiln kargs --delete` and upgrade again".into(),
        });
    }
    let boot_file = uki::with_command_line(boot_file, line.as_bytes())
        .map_err(|source| Error::Build(source.into()))?;
    Ok(Carried { arguments: Some(arguments), boot_file: boot_file.into(), addons })
}

/// Addons of the root in a slot, as far as it has them.
fn addons_of_slot(slot: &File, names: &[String]) -> Result<Vec<AddonFile>, Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |source: kiln_erofs::Error| Error::Build(source.into());
    let image = kiln_erofs::Image::open(slot).map_err(failed)?;
    let mut addons = Vec::new();
    for name in names {
        let path = format!("{ADDON_FOLDER}/{name}{ADDON_SUFFIX}");
        let Some(inode) = image.lookup(path.as_bytes()).map_err(failed)? else { continue };
        if inode.is(kiln_erofs::format::MODE_FILE) {
            let bytes = image.read(&inode, ADDON_LIMIT as u64).map_err(failed)?;
            addons.extend(AddonFile::read(name, bytes));
        }
    }
    Ok(addons)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use kiln_boot::uki::{addon, parse, with_command_line};

    use super::carry;
    use crate::ledger::LocalArguments;
    use crate::loader::test_program;
    use crate::machine::Machine;
    use crate::plan::test_support::machine;

    /// The smallest program with a command line.
    fn boot_file(command_line: &[u8]) -> Vec<u8> {
        addon(&test_program(b".text", &[0; 16]), command_line).unwrap()
    }

    fn wishing(append: &[&str], delete: &[&str], addons: &[&str]) -> Machine {
        let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let mut machine = machine();
        machine.ledger.revisions[1].arguments = Some(LocalArguments {
            append: strings(append),
            delete: strings(delete),
            addons: strings(addons),
            varies: Some(1),
            ..LocalArguments::of_release("kiln.root=2 quiet splash")
        });
        machine
    }

    #[test]
    fn a_new_release_gets_what_the_machine_wishes() {
        let slot = tempfile::tempfile().unwrap();
        let new = boot_file(b"kiln.root=3 quiet console=tty0");

        let plain = carry(&machine(), &new, &slot).unwrap();
        assert_eq!((plain.arguments, plain.boot_file == new), (None, true));
        let given_up = carry(&wishing(&[], &[], &[]), &new, &slot).unwrap();
        assert_eq!((given_up.arguments, given_up.boot_file == new), (None, true));

        let wishes = wishing(&["debug"], &["quiet", "splash"], &[]);
        let found = carry(&wishes, &new, &slot).unwrap();
        let line = parse(&found.boot_file).unwrap().section(".cmdline").unwrap().to_vec();
        assert_eq!(line, b"kiln.root=3 console=tty0 debug");
        let arguments = found.arguments.unwrap();
        assert_eq!(
            (arguments.release.as_str(), arguments.varies),
            ("kiln.root=3 quiet console=tty0", None)
        );
        assert!(found.boot_file == with_command_line(&new, &line).unwrap());

        let mut signed = new.clone();
        signed[0x58 + 112 + 4 * 8 + 4] = 8;
        let sealed = carry(&wishes, &signed, &slot).unwrap();
        assert!(sealed.boot_file == signed && sealed.arguments.unwrap().append.is_empty());

        let long = format!("a={}", "b".repeat(2040));
        let error = carry(&wishing(&[&long], &[], &[]), &new, &slot).unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
    }

    #[test]
    fn a_slot_without_a_root_gives_no_addons() {
        let slot: File = tempfile::tempfile().unwrap();
        let file = boot_file(b"kiln.root=3");
        assert!(carry(&wishing(&[], &[], &["serial"]), &file, &slot).is_err());
    }
}
