//! A machine of files: one disk with a table, an ESP, two slots, recovery and state, and what stands for
//! the rest of the system, so that Kiln's executors work on it as they are.
//!
//! The disk is one file for the replay and a file for each partition for the executors, which open
//! them by their paths. There is no file system on the state partition: the state is a folder.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_boot::os_release::{Mode, boot_file_text};
use kiln_boot::uki::{UkiSections, assemble};
use kiln_disk::fat::{FatFile, format_filesystem};
use kiln_disk::layout::{self, Role};
use kiln_disk::{FileDevice, Gpt, Guid, PartitionEntry, apply, gpt};
use kiln_host::ledger::{Event, Ledger, Revision, Slot, State, Verification};
use kiln_host::machine::Paths;
use kiln_lab::efi;
use kiln_lab::replay::{Base, Overlay};
use kiln_release::{FORMAT, Release as Facts};
use kiln_verity::RootArgument;

pub const MIB: u64 = 1 << 20;
/// Length of the disk in bytes.
pub const DISK: u64 = 64 * MIB;
/// The shortest ESP that is FAT32, in bytes.
pub const ESP: Range<u64> = MIB..35 * MIB;
/// Slot A, slot B and recovery.
pub const SLOTS: [Range<u64>; 3] = [35 * MIB..36 * MIB, 36 * MIB..37 * MIB, 37 * MIB..38 * MIB];
const STATE: Range<u64> = 38 * MIB..60 * MIB;
/// Blocks of data in a root.
const BLOCKS: u64 = 4;

/// Partitions by role and place.
fn partitions() -> [(Role, Range<u64>); 5] {
    let [a, b, recovery] = SLOTS;
    [
        (layout::ESP, ESP),
        (layout::ROOT_A, a),
        (layout::ROOT_B, b),
        (layout::RECOVERY, recovery),
        (layout::STATE, STATE),
    ]
}

/// One release: a root with its hash tree, its facts, and the boot file that wants it.
#[derive(Clone)]
pub struct Release {
    pub argument: RootArgument,
    pub root: Vec<u8>,
    pub boot_file: Vec<u8>,
    pub facts: Facts,
}

impl Release {
    pub fn new(number: u8) -> Self {
        let salt = [number; 32];
        let data: Vec<u8> = (0..BLOCKS * 4096).map(|at| (at % 251) as u8 ^ number).collect();
        let tree = kiln_verity::build(&data[..], BLOCKS, &salt, 1).unwrap();
        let argument = RootArgument { root: tree.root, data_blocks: BLOCKS, salt };
        let root = [data, tree.bytes].concat();
        let boot_file = boot_file(&argument, number);
        let facts = serde_json::json!({
            "format": FORMAT, "name": "edge", "version": number.to_string(), "title": "Edge",
            "sequence": number, "architecture": architecture(), "kernel": "6.12", "profile": 1,
            "tree_digest": "0".repeat(64),
            "root": {
                "length": root.len(), "hash": argument.root.to_string(),
                "data_blocks": BLOCKS, "salt": kiln_verity::encode_hex(&salt),
            },
            "boot_files": [], "source": { "kind": "oci" }, "packages": [],
            "minimum_agent": "0.1.0",
        });
        let facts = Facts::from_json(facts.to_string().as_bytes()).unwrap();
        Self { argument, root, boot_file, facts }
    }
}

pub fn architecture() -> String {
    kiln_registry::Platform::host().architecture
}

/// A boot file of the system mode, of another length for each number.
pub fn boot_file(argument: &RootArgument, number: u8) -> Vec<u8> {
    let mut kernel = efi::program(Some("6.12"));
    kernel.resize(kernel.len() + 2000 + 700 * usize::from(number), number);
    let os_release = boot_file_text("Edge", Mode::System);
    let command_line = format!("kiln.root={argument} kiln.mode=system");
    let sections = UkiSections {
        os_release: os_release.as_bytes(),
        command_line: command_line.as_bytes(),
        kernel_release: b"6.12",
        initrd: b"i",
        linux: &kernel,
    };
    assemble(&efi::program(None), &sections).unwrap()
}

/// A revision of the ledger.
pub fn revision(generation: u32, slot: Slot, facts: &Facts, state: State) -> Revision {
    Revision {
        generation,
        slot,
        release: facts.clone(),
        reference: None,
        digest: None,
        verification: Verification::Unverified,
        arguments: None,
        events: vec![Event { time: 1, state, failure: None }],
    }
}

/// What runs, as the first process writes it down.
pub struct Running {
    /// Path of its boot file.
    pub entry: String,
    pub root: RootArgument,
    pub slot: Slot,
}

impl Running {
    fn facts(&self) -> String {
        let Self { entry, root, slot } = self;
        let is_recovery = entry.contains("recovery");
        format!(
            "root={}\nmode={}\ndisk=/dev/vda\npartition={}\nstate=disk\nentry={entry}\ncounted={}\n",
            root.root,
            if is_recovery { "recovery" } else { "system" },
            slot.role().name,
            if entry.contains('+') { "yes" } else { "no" },
        )
    }
}

/// A machine before anything happens to it.
pub struct Before {
    /// Files on the ESP.
    pub files: Vec<(String, Vec<u8>)>,
    /// Roots in slot A, slot B and recovery.
    pub slots: [Vec<u8>; 3],
    pub ledger: Ledger,
    pub running: Running,
    /// Addons of the running release.
    pub addons: Vec<(&'static str, Vec<u8>)>,
}

impl Before {
    /// Makes its disk as one file.
    pub fn disk(&self, path: &Path, number: u8) -> Overlay {
        let file = File::options().create_new(true).read(true).write(true).open(path).unwrap();
        file.set_len(DISK).unwrap();
        let mut table = Gpt::empty(512, DISK, Guid([number; 16])).unwrap();
        for (role, place) in partitions() {
            let entry = PartitionEntry {
                type_guid: role.type_guid,
                guid: Guid([number ^ role.number as u8; 16]),
                first_lba: place.start / 512,
                last_lba: place.end / 512 - 1,
                attributes: 0,
                name: role.name.into(),
            };
            table.partitions.insert(role.number, entry);
        }
        let files: Vec<FatFile<'_>> =
            self.files.iter().map(|(path, bytes)| FatFile { path, bytes }).collect();
        let length = ESP.end - ESP.start;
        for (offset, bytes) in format_filesystem(length, 512, 7, b"KILN-ESP   ", &files).unwrap() {
            file.write_all_at(&bytes, ESP.start + offset).unwrap();
        }
        for (bytes, place) in self.slots.iter().zip(SLOTS) {
            file.write_all_at(bytes, place.start).unwrap();
        }
        let mut device = FileDevice::new(file, 512).unwrap();
        apply(&mut device, &gpt::create(&table).unwrap()).unwrap();
        Overlay::new(Arc::new(Base::open(path, DISK, 512).unwrap()))
    }
}

/// A machine's folder.
pub struct Machine {
    folder: PathBuf,
    pub paths: Paths,
}

impl Machine {
    /// One that is there.
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), paths: Paths::below(folder) }
    }

    /// Makes it around a disk.
    pub fn around(folder: &Path, disk: &Overlay, ledger: &[u8], running: &Running) -> Self {
        let machine = Self::at(folder);
        for below in ["dev", "run/kiln", "state/kiln", "state/var/lib"] {
            fs::create_dir_all(folder.join(below)).unwrap();
        }
        disk.materialise(0..DISK, &folder.join("dev/vda")).unwrap();
        for (role, place) in partitions() {
            let node = format!("vda{}", role.number);
            disk.materialise(place, &folder.join("dev").join(&node)).unwrap();
            let node = folder.join("sys/class/block/vda").join(node);
            fs::create_dir_all(&node).unwrap();
            fs::write(node.join("partition"), format!("{}\n", role.number)).unwrap();
        }
        fs::write(machine.paths.ledger.join("ledger.json"), ledger).unwrap();
        machine.starts(running);
        machine
    }

    /// Lets something run.
    pub fn starts(&self, running: &Running) {
        fs::write(&self.paths.facts, running.facts()).unwrap();
        let _ = fs::remove_file(&self.paths.blessed);
    }

    pub fn bring_addons(&self, addons: &[(&str, Vec<u8>)]) {
        fs::create_dir_all(&self.paths.addons).unwrap();
        for (name, bytes) in addons {
            fs::write(self.paths.addons.join(format!("{name}.addon.efi")), bytes).unwrap();
        }
    }

    /// Lays a file into the running root.
    pub fn brings(&self, path: &str, bytes: &[u8]) {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn esp(&self) -> PathBuf {
        self.folder.join("dev/vda2")
    }

    /// The file whose emptying ends a step in the record.
    pub fn mark(&self) -> PathBuf {
        self.folder.join("run/mark")
    }

    /// Ends a step.
    pub fn next_step(&self) {
        File::create(self.mark()).unwrap();
    }

    /// Where on the disk the file of a node begins; `None` for anything else.
    pub fn start_of(&self, path: &Path) -> Option<u64> {
        let node = path.strip_prefix(self.folder.join("dev")).ok()?.to_str()?;
        if node == "vda" {
            return Some(0);
        }
        let number: u32 = node.strip_prefix("vda")?.parse().ok()?;
        partitions()
            .into_iter()
            .find(|(role, _)| role.number == number)
            .map(|(_, place)| place.start)
    }
}
