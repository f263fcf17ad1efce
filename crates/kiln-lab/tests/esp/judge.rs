//! What becomes of a disk after a power cut: what the loader would start, whether all that is listed is
//! whole, and whether the product goes on from there.
//!
//! Every disk is looked at as it is and as the product's own opening of the ESP leaves it. A sample
//! goes on: it becomes a machine again, the loader's choice is started and counted, Kiln blesses it,
//! and fsck.fat and Kiln's own reading have the last word.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::Path;

use kiln_boot::entry::{EntryName, FOLDER};
use kiln_boot::entry::{Listed, sort};
use kiln_boot::loader_set::beside;
use kiln_boot::shim::Shim;
use kiln_boot::{signature, uki};
use kiln_disk::fat::Fat;
use kiln_disk::fat::update::Change;
use kiln_disk::layout::{self, Stage};
use kiln_disk::replay::RecordingDevice;
use kiln_disk::{BlockDevice, gpt};
use kiln_host::esp::SystemPartitionDevice;
use kiln_host::execute::{bless, status};
use kiln_host::ledger::{Ledger, Slot, State};
use kiln_host::machine::Staged;
use kiln_lab::Oracle;
use kiln_lab::replay::steps::Step;
use kiln_lab::replay::{Operation, Options, Overlay, States};
use kiln_verity::RootArgument;
use sha2::{Digest as _, Sha256};

use super::machine::{DISK, ESP, MIB, Machine, Running, SLOTS};

/// What firmware starts.
pub const FIRST: &str = "EFI/BOOT/BOOTX64.EFI";

/// Start of all chance; a failure prints it.
pub const SEED: u64 = 1;

/// Of the different disks, one in this many has what the next run does first cut short again.
const AGAIN: usize = 24;
/// And one in this many goes on to a blessed boot.
const ONWARDS: usize = 24;

/// Largest file that is read, in bytes.
const MAXIMUM_FILE: u32 = 1 << 20;

/// What starts, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Its generation; `None` for recovery.
    pub generation: Option<u32>,
    pub file: String,
    pub root: RootArgument,
    pub slot: Slot,
}

/// Counts of a run.
#[derive(Default)]
pub struct Figures {
    /// Different disks, by layout and digest.
    pub disks: HashSet<(usize, u128)>,
    pub cuts: usize,
    pub onwards: usize,
}

/// The judge of one layout of a scenario.
pub struct Judge<'a> {
    pub layout: usize,
    pub figures: &'a mut Figures,
    /// A folder for machines that go on.
    pub scratch: &'a Path,
    pub addons: &'a [(&'static str, Vec<u8>)],
    /// Digests of all boot files that may be listed, and of all loaders.
    known: HashSet<[u8; 32]>,
    /// What slots hold, by their digests.
    held: HashMap<(usize, u128), Vec<RootArgument>>,
    /// Every root that is asked for.
    wanted: Vec<RootArgument>,
    /// Generations that had failed when a step began.
    failed: BTreeSet<u32>,
}

impl<'a> Judge<'a> {
    pub fn new(
        layout: usize,
        figures: &'a mut Figures,
        scratch: &'a Path,
        addons: &'a [(&'static str, Vec<u8>)],
    ) -> Self {
        let (known, held, wanted) = (HashSet::new(), HashMap::new(), Vec::new());
        Self { layout, figures, scratch, addons, known, held, wanted, failed: BTreeSet::new() }
    }

    /// Learns what is whole from a disk on which nothing is under way.
    pub fn learn(&mut self, disk: &Overlay) -> Result<(), String> {
        for (_, bytes) in boot_files(disk)? {
            self.known.insert(Sha256::digest(&bytes).into());
            let (_, root) = facts_of(&bytes)?;
            if !self.wanted.contains(&root) {
                self.wanted.push(root);
            }
        }
        self.known
            .extend(loaders(disk)?.iter().map(|bytes| <[u8; 32]>::from(Sha256::digest(bytes))));
        self.held.clear();
        Ok(())
    }

    /// Everything that the loader lists, in its order; each is whole, and so is its root.
    pub fn menu(&mut self, disk: &Overlay) -> Result<Vec<Start>, String> {
        let files = boot_files(disk)?;
        let mut listed = Vec::new();
        for (name, bytes) in &files {
            let digest: [u8; 32] = Sha256::digest(bytes).into();
            if !self.known.contains(&digest) {
                return Err(format!("{name}: it is not whole"));
            }
            listed.extend(Listed::read(name, &facts_of(bytes)?.0));
        }
        sort(&mut listed);
        let start = |entry: Listed| {
            let (_, root) = facts_of(&files[&entry.file])?;
            let slot = self.holder(disk, &root)?;
            let slot = slot.ok_or_else(|| format!("{}: no slot holds its root", entry.file))?;
            let generation = entry.file.parse::<EntryName>().ok().map(|name| name.generation);
            Ok(Start { generation, file: entry.file, root, slot })
        };
        listed.into_iter().map(start).collect()
    }

    /// The slot that holds a root, to the last byte.
    fn holder(&mut self, disk: &Overlay, root: &RootArgument) -> Result<Option<Slot>, String> {
        for (number, place) in SLOTS.into_iter().enumerate() {
            let digest = disk.digest_of(place.clone()).map_err(|error| error.to_string())?;
            let wanted = &self.wanted;
            let held = self.held.entry((number, digest)).or_insert_with(|| {
                let mut bytes = vec![0; MIB as usize];
                disk.read_at(place.start, &mut bytes).unwrap();
                wanted.iter().filter(|root| holds(&bytes, root)).copied().collect()
            });
            if held.contains(root) {
                return Ok(Some([Slot::A, Slot::B, Slot::Recovery][number]));
            }
        }
        Ok(None)
    }

    /// Looks at every disk that a cut inside of a step leaves.
    pub fn step(&mut self, start: &Overlay, step: &Step, ledger: &[u8]) -> Result<Overlay, String> {
        let mut end = start.clone();
        carry_out(&mut end, &step.operations);
        self.learn(start)?;
        let before = self.menu(start)?;
        let names = before.iter().filter_map(|start| start.file.parse::<EntryName>().ok());
        self.failed.extend(names.filter(|name| name.is_bad()).map(|name| name.generation));
        self.learn(&end)?;
        let after = self.menu(&end)?;
        // What was first and is gone in the end leaves its place to the next before the new one comes.
        let stays = |start: &&Start| after.iter().any(|other| other.generation == start.generation);
        let mut allowed = vec![after.first().map(|start| start.generation)];
        allowed.extend(before.iter().find(stays).map(|start| Some(start.generation)));
        allowed.push(before.first().map(|start| start.generation));

        let options =
            Options { seed: SEED, exhaustive: 8, samples: 48, tears: 64, ..Options::default() };
        let states = States::new(start.clone(), &step.operations, options);
        for (number, state) in states.enumerate() {
            let state = state.map_err(|error| error.to_string())?;
            let told = |reason: String| format!("{}: {reason}", state.cut);
            let ledgers = step.ledgers_at(&state.cut.window);
            let ledgers = ledgers.into_iter().map(|text| text.unwrap_or(ledger));
            let ledgers: Vec<&[u8]> = ledgers.collect();
            self.disk(&state.disk, &allowed, &ledgers, number).map_err(told)?;
        }
        Ok(end)
    }

    fn disk(
        &mut self,
        disk: &Overlay,
        allowed: &[Option<Option<u32>>],
        ledgers: &[&[u8]],
        number: usize,
    ) -> Result<(), String> {
        self.figures.disks.insert((self.layout, disk.digest()));
        self.figures.cuts += 1;
        self.check(disk, allowed, ledgers)?;
        let (tidy, operations) = repaired(disk)?;
        if !operations.is_empty() {
            self.check(&tidy, allowed, ledgers)?;
            if number.is_multiple_of(AGAIN) {
                for again in States::new(disk.clone(), &operations, Options::default()) {
                    let again = again.map_err(|error| error.to_string())?;
                    let told = |reason: String| format!("then {}: {reason}", again.cut);
                    self.figures.disks.insert((self.layout, again.disk.digest()));
                    self.figures.cuts += 1;
                    self.check(&again.disk, allowed, ledgers).map_err(told)?;
                    let (tidy, _) = repaired(&again.disk).map_err(told)?;
                    self.check(&tidy, allowed, ledgers).map_err(told)?;
                }
            }
        }
        if self.figures.cuts.is_multiple_of(ONWARDS) {
            for ledger in ledgers {
                self.onwards(disk, ledger)?;
            }
        }
        Ok(())
    }

    /// The first of the menu is what it was or what it will be, all of the menu can start, the table
    /// is there, and every number on the ESP is used up in the ledger.
    fn check(
        &mut self,
        disk: &Overlay,
        allowed: &[Option<Option<u32>>],
        ledgers: &[&[u8]],
    ) -> Result<(), String> {
        self.loaders_start(disk)?;
        let menu = self.menu(disk)?;
        let first = menu.first().ok_or("nothing is listed")?;
        if !allowed.contains(&Some(first.generation)) {
            return Err(format!("it starts {first:?}"));
        }
        let table = gpt::read(disk).map_err(|error| error.to_string())?.table;
        let stage = layout::stage(&table).map_err(|error| error.to_string())?;
        if !matches!(stage, Stage::Complete | Stage::Unformatted) {
            return Err(format!("the table is {stage:?}"));
        }
        let fat = Fat::open(disk, ESP.start, ESP.end - ESP.start);
        let files = fat.and_then(|fat| fat.list()).map_err(|error| error.to_string())?;
        let staged = files.iter().filter_map(|file| {
            Staged::generation_of(file.path.rsplit('/').next().unwrap_or_default())
        });
        let listed = menu.iter().filter_map(|start| start.generation);
        let largest = listed.chain(staged).max().unwrap_or(0);
        for text in ledgers {
            let ledger = Ledger::from_json(text).map_err(|error| error.to_string())?;
            if ledger.next_generation <= largest {
                return Err(format!("{largest} is on the ESP and the ledger would give it again"));
            }
        }
        Ok(())
    }

    /// What firmware starts is whole, and starts what is behind it.
    fn loaders_start(&self, disk: &Overlay) -> Result<(), String> {
        let found = loaders(disk)?;
        for bytes in &found {
            if !self.known.contains(&<[u8; 32]>::from(Sha256::digest(bytes))) {
                return Err("a boot loader is not whole".to_owned());
            }
        }
        let [first, rest @ ..] = found.as_slice() else { return Err(format!("{FIRST} is gone")) };
        let Some(shim) = Shim::read(first) else { return Ok(()) };
        let certificates = rest.first().map(|second| signature::certificates(second));
        match certificates {
            Some(certificates) if shim.vouches_for(&certificates) => Ok(()),
            _ => Err(format!("shim {} does not start what is behind it", shim.version)),
        }
    }

    /// Starts the machine again, to a boot that has proved itself.
    fn onwards(&mut self, disk: &Overlay, ledger: &[u8]) -> Result<(), String> {
        self.figures.onwards += 1;
        let first = self.menu(disk)?.swap_remove(0);
        let folder = self.scratch.join("onwards");
        let _ = fs::remove_dir_all(&folder);
        let running = |file: &str| Running {
            entry: format!("{FOLDER}/{file}"),
            root: first.root,
            slot: first.slot,
        };
        let machine = Machine::around(&folder, disk, ledger, &running(&first.file));
        machine.bring_addons(self.addons);
        let told = |error: kiln_host::Error| error.to_string();
        if let Some(counted) = counted(&first.file) {
            let mut esp =
                SystemPartitionDevice::open(&machine.esp().to_string_lossy(), 512).map_err(told)?;
            let (from, to) = (format!("{FOLDER}/{}", first.file), format!("{FOLDER}/{counted}"));
            esp.change(&Change::Move { from: &from, to: &to }).map_err(told)?;
            machine.starts(&running(&counted));
        }
        let blessed = bless(&machine.paths, || {}).map_err(told)?;
        let found = status(&machine.paths).map_err(told)?;
        if let Some(generation) = first.generation {
            let entry = found.booted_entry().ok_or("what runs is no entry")?;
            let revision =
                found.ledger.revision(generation).ok_or("the ledger does not know it")?;
            // One that was rolled back from stays bad while it runs on.
            let is_left = revision.state() == State::Left;
            let is_sound = blessed == Some(generation) && entry.name.counter.is_none();
            if !(is_sound && revision.state() == State::Blessed || is_left) || !entry.is_usable() {
                return Err(format!("{blessed:?} is blessed, {entry:?} is {:?}", revision.state()));
            }
        }
        let failed = found.ledger.revisions.iter().filter(|known| known.state() == State::Failed);
        let failed: Vec<u32> = failed.map(|known| known.generation).collect();
        // What had failed before may be gone by now.
        let may_have = |generation: &u32| {
            self.failed.contains(generation)
                || found.entries.iter().any(|entry| entry.name.generation == *generation)
        };
        if !failed.iter().all(may_have) {
            return Err(format!("nothing failed, and the ledger says that {failed:?} did"));
        }
        // The next change begins with this; from then on the ESP claims to be clean.
        SystemPartitionDevice::open(&machine.esp().to_string_lossy(), 512).map_err(told)?;
        let checked = Oracle::new("fsck.fat").argument("-n").argument(machine.esp()).outcome();
        let checked = checked.map_err(|error| error.to_string())?;
        if checked.status == 0 { Ok(()) } else { Err(format!("fsck.fat: {}", checked.text)) }
    }
}

/// The ESP after the product opened it for a change, and what that wrote.
fn repaired(disk: &Overlay) -> Result<(Overlay, Vec<Operation>), String> {
    let mut device = Part { disk: RecordingDevice::new(disk.clone()) };
    SystemPartitionDevice::on(&mut device, "esp").map_err(|error| error.to_string())?;
    let (disk, operations) = device.disk.finish();
    Ok((disk, operations.into_iter().map(Operation::from).collect()))
}

/// The ESP as a device.
struct Part {
    disk: RecordingDevice<Overlay>,
}

impl BlockDevice for &mut Part {
    fn sector_size(&self) -> u32 {
        512
    }

    fn length(&self) -> u64 {
        ESP.end - ESP.start
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.disk.read_at(ESP.start + offset, buffer)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.disk.write_at(ESP.start + offset, bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.disk.flush()
    }
}

/// Does to a disk what was recorded.
pub fn carry_out(disk: &mut Overlay, operations: &[Operation]) {
    for operation in operations {
        if let Operation::Write { offset, bytes, .. } = operation {
            assert!(offset + bytes.len() as u64 <= DISK, "a write behind the disk's end");
            disk.write_at(*offset, bytes).unwrap();
        }
    }
}

/// What firmware starts, and what that starts if it is shim.
fn loaders(disk: &Overlay) -> Result<Vec<Vec<u8>>, String> {
    let told = |error: kiln_disk::Error| error.to_string();
    let fat = Fat::open(disk, ESP.start, ESP.end - ESP.start).map_err(told)?;
    let mut found = vec![fat.read(FIRST, MAXIMUM_FILE).map_err(told)?];
    if let Some(shim) = Shim::read(&found[0]) {
        found.push(fat.read(&beside(FIRST, &shim.second_stage), MAXIMUM_FILE).map_err(told)?);
    }
    Ok(found)
}

/// What is left after the loader has started an entry, by the name it gives it.
pub fn counted(file: &str) -> Option<String> {
    let name: EntryName = file.parse().ok()?;
    name.counter?;
    Some(name.started().to_string())
}

/// What the loader finds in its folder.
fn boot_files(disk: &Overlay) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let told = |error: kiln_disk::Error| error.to_string();
    let fat = Fat::open(disk, ESP.start, ESP.end - ESP.start).map_err(told)?;
    let mut files = BTreeMap::new();
    for entry in fat.list().map_err(told)? {
        let name = entry.path.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/'));
        let is_listed = |name: &&str| !name.contains('/') && name.to_lowercase().ends_with(".efi");
        if let Some(name) = name.filter(is_listed).filter(|_| !entry.directory) {
            let bytes = fat.read(&entry.path, MAXIMUM_FILE).map_err(told)?;
            files.insert(name.to_owned(), bytes);
        }
    }
    Ok(files)
}

/// `.osrel` of a boot file, and the root that it wants.
fn facts_of(boot_file: &[u8]) -> Result<(String, RootArgument), String> {
    let parsed = uki::parse(boot_file).map_err(|error| error.to_string())?;
    let text = |section| String::from_utf8_lossy(parsed.section(section).unwrap_or_default());
    let root = text(".cmdline")
        .split(' ')
        .find_map(|word| word.strip_prefix("kiln.root=")?.parse().ok())
        .ok_or("a boot file names no root")?;
    Ok((text(".osrel").into_owned(), root))
}

fn holds(slot: &[u8], argument: &RootArgument) -> bool {
    let Some(image) = slot.get(..argument.image_length() as usize) else { return false };
    let (data, tree) = image.split_at(argument.hash_offset() as usize);
    let built = kiln_verity::build(data, argument.data_blocks, &argument.salt, 1).unwrap();
    built.root == argument.root && built.bytes == tree
}
