//! Reading a machine: facts of this boot, partition table, ESP, slots, ledger. Changes nothing.

use std::fs::{self, File};
use std::path::Path;

use kiln_boot::entry::{EntryName, FOLDER, RECOVERY_FILE};
use kiln_boot::uki;
use kiln_disk::fat::update::Volume;
use kiln_disk::fat::{Entry as FatEntry, Fat};
use kiln_disk::layout::{ESP, Role};
use kiln_disk::{BlockDevice as _, FileDevice, Gpt, gpt};
use kiln_release::Release;
use kiln_verity::{BLOCK, RootArgument, verify_block};

use super::{
    BootEntry, Booted, FailureNote, LOADER_PATHS, LoaderFile, Machine, Paths, RECOVERY_FACTS,
    RecoverySlot, STAGING, SlotPartition, Staged, SystemPartition,
};
use crate::Error;
use crate::install::Origin;
use crate::ledger::{self, Ledger, Slot};
use crate::loader::{self, Loader};

/// Largest boot file that is read, in bytes.
const MAXIMUM_BOOT_FILE: u32 = 1 << 30;
/// Largest note or `release.json` on the ESP that is read, in bytes.
const MAXIMUM_NOTE: u32 = 16 << 20;

/// Reads everything.
///
/// # Errors
/// [`Error::NotKiln`] on any other system, and whatever reading the disk gives.
pub fn read(paths: &Paths) -> Result<Machine, Error> {
    let facts = Facts::read(&paths.facts)?;
    let disk_node = paths.node(&facts.disk);
    let disk = open(&disk_node)?;
    let table = gpt::read(&disk).map_err(Error::disk(&disk_node))?.table;
    let sector_size = table.sector_size;

    let mut slots = Vec::new();
    for slot in [Slot::A, Slot::B, Slot::Recovery] {
        if let Some(length) = length_of(&table, slot.role())
            && let Some(node) = partition_node(paths, &facts.disk, slot.role().number)
        {
            slots.push(SlotPartition { slot, node, length });
        }
    }
    let esp_length = length_of(&table, ESP)
        .ok_or_else(|| Error::NotKiln { reason: format!("{} has no {}", facts.disk, ESP.name) })?;
    let node = partition_node(paths, &facts.disk, ESP.number).ok_or_else(|| Error::NotKiln {
        reason: format!("the kernel shows no node for {} of {}", ESP.name, facts.disk),
    })?;
    let esp = open(&node)?;
    let failed = || Error::disk(&node);
    let fat = Fat::open(&esp, 0, esp_length).map_err(failed())?;
    let volume = Volume::open(&esp, 0, esp_length).map_err(failed())?;
    let system_partition = SystemPartition {
        node: node.clone(),
        free: volume.free_bytes(),
        cluster: volume.occupied_bytes(1),
    };
    drop(volume);

    let mut machine = Machine {
        disk: disk_node,
        sector_size,
        booted: facts.booted,
        entries: Vec::new(),
        staged: Vec::new(),
        slots,
        recovery: None,
        has_state: facts.has_state,
        system_partition,
        loaders: loaders(&fat).map_err(failed())?,
        notes: Vec::new(),
        delivered: None,
        origin: Origin::read(&fat),
        ledger: ledger::read(&paths.ledger)?.unwrap_or_default(),
    };
    read_boot_files(&mut machine, &fat).map_err(failed())?;
    if machine.booted.generation.is_none() && !machine.booted.is_recovery {
        machine.booted.generation = generation_by_root(&machine);
    }
    Ok(machine)
}

/// What can be told without reading the disk, for which one must be root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glimpse {
    /// What runs.
    pub booted: Booted,
    /// Whether the loader counts this boot; `None` if nothing says so.
    pub is_counted: Option<bool>,
    /// What happened until the ledger was last written.
    pub ledger: Ledger,
}

/// Reads the facts of this boot and the ledger.
///
/// # Errors
/// [`Error::NotKiln`] on any other system, [`Error::File`], [`Error::Ledger`].
pub fn glimpse(paths: &Paths) -> Result<Glimpse, Error> {
    let facts = Facts::read(&paths.facts)?;
    let ledger = ledger::read(&paths.ledger)?.unwrap_or_default();
    Ok(Glimpse { booted: facts.booted, is_counted: facts.is_counted, ledger })
}

/// Whether the loader counts this boot, by the first process's word alone: for those who must know
/// when the disk or the ledger cannot be read.
#[must_use]
pub fn is_counted(paths: &Paths) -> bool {
    Facts::read(&paths.facts).is_ok_and(|facts| facts.is_counted == Some(true))
}

/// What the first process wrote.
struct Facts {
    booted: Booted,
    disk: String,
    is_counted: Option<bool>,
    has_state: bool,
}

impl Facts {
    fn read(path: &Path) -> Result<Self, Error> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NotKiln { reason: format!("{} is missing", path.display()) });
            }
            Err(source) => return Err(Error::file("read", path, source)),
        };
        Self::parse(&text)
            .map_err(|what| Error::NotKiln { reason: format!("{} lacks `{what}`", path.display()) })
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let value = |key: &'static str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            lines.find(|(name, _)| *name == key).map(|(_, value)| value.to_owned()).ok_or(key)
        };
        let partition = value("partition")?;
        let slots = [Slot::A, Slot::B, Slot::Recovery];
        let slot = slots.into_iter().find(|slot| slot.role().name == partition);
        let generation = value("entry")
            .ok()
            .and_then(|entry| entry.rsplit(['/', '\\']).next()?.parse::<EntryName>().ok())
            .map(|name| name.generation);
        let booted = Booted {
            root_hash: value("root")?,
            slot: slot.ok_or("partition")?,
            generation,
            is_recovery: value("mode")? == "recovery",
        };
        let is_counted = value("counted").ok().map(|answer| answer == "yes");
        // First processes before recovery never ran without the state.
        let has_state = value("state").map_or(true, |answer| answer == "disk");
        Ok(Self { booted, disk: value("disk")?, is_counted, has_state })
    }
}

fn open(node: &str) -> Result<FileDevice, Error> {
    let file = File::open(node).map_err(Error::device("open", node))?;
    let sector_size = kiln_sys::block::sector_size(&file, node).unwrap_or(512);
    FileDevice::new(file, sector_size).map_err(Error::device("open", node))
}

fn length_of(table: &Gpt, role: Role) -> Option<u64> {
    let (_, partition) = table.named(role.name)?;
    (partition.type_guid == role.type_guid).then(|| partition.length(table.sector_size))
}

/// The node of a partition, by the disk's folder in sysfs.
fn partition_node(paths: &Paths, disk: &str, number: u32) -> Option<String> {
    let name = disk.strip_prefix("/dev/")?.replace('/', "!");
    let entries = fs::read_dir(paths.block_devices.join(name)).ok()?;
    let is_number = |folder: &Path| {
        fs::read_to_string(folder.join("partition"))
            .is_ok_and(|text| text.trim_end() == number.to_string())
    };
    entries
        .flatten()
        .find(|entry| is_number(&entry.path()))
        .and_then(|entry| entry.file_name().into_string().ok())
        .map(|name| paths.node(&format!("/dev/{}", name.replace('!', "/"))))
}

fn read_boot_files(machine: &mut Machine, fat: &Fat<'_>) -> Result<(), kiln_disk::Error> {
    let listed = format!("{FOLDER}/").to_ascii_lowercase();
    let staging = format!("{STAGING}/").to_ascii_lowercase();
    for found in fat.list()?.into_iter().filter(|found| !found.directory) {
        let lower = found.path.to_ascii_lowercase();
        let file = found.path.rsplit('/').next().unwrap_or_default().to_owned();
        if lower.strip_prefix(&listed).is_some_and(|rest| !rest.contains('/')) {
            if file.eq_ignore_ascii_case(RECOVERY_FILE) {
                let (root, is_signed) = facts_of(fat, &found.path, found.length)?;
                let is_usable =
                    root.as_ref().is_some_and(|root| holds(machine, root, Slot::Recovery));
                let length = found.length;
                machine.recovery =
                    Some(RecoverySlot { length, root, is_usable, is_signed, release: None });
                continue;
            }
            let Ok(name) = file.parse::<EntryName>() else { continue };
            let (root, is_signed) = facts_of(fat, &found.path, found.length)?;
            let slot = root.as_ref().and_then(|root| holder(machine, root));
            let length = found.length;
            machine.entries.push(BootEntry { name, file, length, root, slot, is_signed });
        } else if lower.strip_prefix(&staging).is_some_and(|rest| !rest.contains('/')) {
            if let Some(generation) = Staged::generation_of(&file) {
                let (root, _) = facts_of(fat, &found.path, found.length)?;
                let slot = root.as_ref().and_then(|root| holder(machine, root));
                machine.staged.push(Staged { generation, length: found.length, root, slot });
            } else if let Some(generation) = FailureNote::generation_of(&file) {
                let text = fat.read(&found.path, MAXIMUM_NOTE)?;
                let reason = String::from_utf8_lossy(&text).trim_end().to_owned();
                machine.notes.push(FailureNote { generation, reason });
            } else if file.eq_ignore_ascii_case(DELIVERED) {
                let text = fat.read(&found.path, MAXIMUM_NOTE)?;
                machine.delivered = Release::from_json(&text).ok();
            }
        }
    }
    read_recovery_facts(machine, fat)?;
    // As the loader orders them: good before bad, then the newest first.
    machine
        .entries
        .sort_by_key(|entry| (entry.name.is_bad(), std::cmp::Reverse(entry.name.generation)));
    Ok(())
}

/// The boot loaders of an ESP.
pub(crate) fn loaders(fat: &Fat<'_>) -> Result<Vec<LoaderFile>, kiln_disk::Error> {
    let listed = fat.list()?;
    let mut loaders = Vec::new();
    for path in LOADER_PATHS {
        let is_it = |found: &&FatEntry| !found.directory && found.path.eq_ignore_ascii_case(path);
        let Some(found) = listed.iter().find(is_it) else { continue };
        let is_sane = found.length <= loader::MAXIMUM_LENGTH;
        let bytes = is_sane.then(|| fat.read(&found.path, loader::MAXIMUM_LENGTH)).transpose()?;
        let (path, length) = (found.path.clone(), found.length);
        let loader = bytes.and_then(|bytes| Loader::read(&bytes));
        loaders.push(LoaderFile { path, length, loader });
    }
    Ok(loaders)
}

/// Who recovery's root is, if that is on the ESP.
fn read_recovery_facts(machine: &mut Machine, fat: &Fat<'_>) -> Result<(), kiln_disk::Error> {
    let Some(recovery) = &mut machine.recovery else { return Ok(()) };
    let text = match fat.read(RECOVERY_FACTS, MAXIMUM_NOTE) {
        Ok(text) => text,
        Err(kiln_disk::Error::NoFile(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    let hash = recovery.root.as_ref().map(|root| root.root.to_string());
    let release = Release::from_json(&text).ok();
    recovery.release = release.filter(|release| Some(&release.root.hash) == hash.as_ref());
    Ok(())
}

/// `release.json` of the delivered release, in [`STAGING`].
pub(crate) const DELIVERED: &str = "release.json";

impl FailureNote {
    /// Path of the note on the ESP.
    #[must_use]
    pub fn path(generation: u32) -> String {
        format!("{STAGING}/failure-{generation:08}.txt")
    }

    fn generation_of(file: &str) -> Option<u32> {
        let lower = file.to_ascii_lowercase();
        let digits = lower.strip_prefix("failure-")?.strip_suffix(".txt")?;
        let is_number = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { digits.parse().ok() } else { None }
    }
}

/// The root that a boot file starts, `None` for a file that no build wrote, and whether it is signed.
fn facts_of(
    fat: &Fat<'_>,
    path: &str,
    length: u32,
) -> Result<(Option<RootArgument>, bool), kiln_disk::Error> {
    if length > MAXIMUM_BOOT_FILE {
        return Ok((None, false));
    }
    let bytes = fat.read(path, MAXIMUM_BOOT_FILE)?;
    Ok((root_argument(&bytes), is_signed(&bytes)))
}

/// Whether a boot file or an addon carries a signature. Which one is the firmware's to judge.
pub(crate) fn is_signed(program: &[u8]) -> bool {
    uki::parse(program).is_ok_and(|program| program.signed)
}

/// The root on the command line of a boot file.
pub(crate) fn root_argument(boot_file: &[u8]) -> Option<RootArgument> {
    let command_line = command_line(boot_file)?;
    let mut words = command_line.split_ascii_whitespace();
    words.find_map(|word| word.strip_prefix("kiln.root="))?.parse().ok()
}

/// The command line of a boot file.
pub(crate) fn command_line(boot_file: &[u8]) -> Option<String> {
    let uki = uki::parse(boot_file).ok()?;
    let bytes = uki.section(".cmdline")?;
    Some(String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned())
}

/// The slot whose top hash block is that of `root`. Recovery is none: a system starts from there only in
/// need.
fn holder(machine: &Machine, root: &RootArgument) -> Option<Slot> {
    [Slot::A, Slot::B].into_iter().find(|slot| holds(machine, root, *slot))
}

/// Whether the top hash block in a slot is that of `root`. Reading errors mean that it is not.
fn holds(machine: &Machine, root: &RootArgument, slot: Slot) -> bool {
    let Some(partition) = machine.partition(slot) else { return false };
    let mut block = [0; BLOCK];
    root.image_length() <= partition.length
        && open(&partition.node)
            .and_then(|device| {
                device
                    .read_at(root.hash_offset(), &mut block)
                    .map_err(Error::device("read", &partition.node))
            })
            .is_ok()
        && verify_block(&root.salt, &block, &root.root.0)
}

/// The newest entry that starts the running root: for kernels that were started without the loader.
fn generation_by_root(machine: &Machine) -> Option<u32> {
    let hash = |entry: &&BootEntry| {
        entry.root.as_ref().is_some_and(|root| root.root.to_string() == machine.booted.root_hash)
    };
    machine.entries.iter().filter(hash).map(|entry| entry.name.generation).max()
}

#[cfg(test)]
mod tests {
    use super::Facts;
    use crate::ledger::Slot;
    use crate::machine::FailureNote;

    #[test]
    fn facts_of_a_boot_are_read() {
        let text = "root=ab\nmode=system\ndisk=/dev/vda\npartition=kiln-root-b\n\
                    entry=\\EFI\\Linux\\kiln-00000002+2-1.efi\n";
        let facts = Facts::parse(text).unwrap();
        let booted = &facts.booted;
        assert_eq!((booted.slot, booted.generation, booted.is_recovery), (Slot::B, Some(2), false));
        assert_eq!(facts.is_counted, None);
        for (answer, expected) in [("yes", true), ("no", false)] {
            let facts = Facts::parse(&format!("{text}counted={answer}\n")).unwrap();
            assert_eq!(facts.is_counted, Some(expected));
        }
        let without = text.replace("entry=", "x=");
        assert_eq!(Facts::parse(&without).unwrap().booted.generation, None);
        for key in ["root", "mode", "disk", "partition"] {
            let broken = text.replace(&format!("{key}="), "x=");
            assert_eq!(Facts::parse(&broken).err(), Some(key));
        }
        assert_eq!(Facts::parse(&text.replace("root-b", "foreign")).err(), Some("partition"));
    }

    #[test]
    fn notes_are_known_by_their_names() {
        assert_eq!(FailureNote::path(2), "EFI/kiln/failure-00000002.txt");
        assert_eq!(FailureNote::generation_of("FAILURE-00000002.TXT"), Some(2));
        assert_eq!(FailureNote::generation_of("failure-2.txt"), None);
    }
}
