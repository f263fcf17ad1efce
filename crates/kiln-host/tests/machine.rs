//! A machine of files: facts, a folder like sysfs, a disk with a table, an ESP and two slots. What
//! the executors do to it is read back from the files.
#![expect(clippy::unwrap_used, reason = "helpers of tests; what fails here fails the test")]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use kiln_boot::entry::EntryName;
use kiln_boot::uki::{UkiSections, assemble};
use kiln_disk::fat::{Fat, FatFile, format_filesystem};
use kiln_disk::layout::{ESP, ROOT_A, ROOT_B, Role};
use kiln_disk::{FileDevice, Gpt, Guid, PartitionEntry, apply, gpt};
use kiln_host::esp::SystemPartitionDevice;
use kiln_host::execute::{Assessment, bless, fail, rollback, status};
use kiln_host::ledger::{Event, Ledger, Revision, Slot, Stage, State, Store, Verification};
use kiln_host::machine::{FailureNote, Machine, Paths, glimpse, is_counted};
use kiln_host::{Error, motd};
use kiln_release::{FORMAT, Release, Root, Sequence, Source};
use kiln_verity::RootArgument;
use support::program;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const BLOCKS: u64 = 4;

struct Bench {
    folder: TempDir,
    paths: Paths,
    roots: [RootArgument; 2],
}

fn boot_file(root: &RootArgument) -> Vec<u8> {
    let command_line = format!("kiln.root={root} kiln.mode=system");
    let sections = UkiSections {
        os_release: b"ID=kiln\n",
        command_line: command_line.as_bytes(),
        kernel_release: b"6.12",
        initrd: b"i",
        linux: &program(),
    };
    assemble(&program(), &sections).unwrap()
}

fn release(root: &RootArgument, sequence: u64) -> Release {
    Release {
        format: FORMAT.into(),
        name: "edge".into(),
        version: sequence.to_string(),
        title: format!("Edge {sequence}"),
        sequence: Sequence(sequence),
        architecture: "amd64".into(),
        kernel: "6.12".into(),
        profile: 1,
        tree_digest: "0".repeat(64),
        root: Root {
            length: root.image_length(),
            hash: root.root.to_string(),
            data_blocks: root.data_blocks,
            salt: "00".repeat(32),
        },
        boot_files: Vec::new(),
        source: Source { kind: "oci".into(), manifest_digest: None },
        packages: Vec::new(),
        addons: Vec::new(),
        minimum_agent: "0.1.0".into(),
    }
}

/// A file of `length` bytes.
fn file(path: &Path, length: u64) -> File {
    let options = File::options().create(true).truncate(true).read(true).write(true).open(path);
    let file = options.unwrap();
    file.set_len(length).unwrap();
    file
}

impl Bench {
    /// Generation 1 in slot A, 2 in slot B, with these counters (`+2-1`, or nothing). `running` runs.
    fn new(counters: [&str; 2], running: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let paths = Paths::below(root);
        for folder in ["dev", "run/kiln", "state/kiln"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let mut table = Gpt::empty(512, 128 * MIB, Guid::from_u128(1)).unwrap();
        let places: [(Role, u64, u64); 3] = [(ESP, 1, 64), (ROOT_A, 65, 8), (ROOT_B, 73, 8)];
        for (role, start, length) in places {
            let entry = PartitionEntry {
                type_guid: role.type_guid,
                guid: Guid::from_u128(u128::from(role.number) + 10),
                first_lba: start * MIB / 512,
                last_lba: (start + length) * MIB / 512 - 1,
                attributes: 0,
                name: role.name.into(),
            };
            table.partitions.insert(role.number, entry);
            let node = root.join(format!("sys/class/block/vda/vda{}", role.number));
            fs::create_dir_all(&node).unwrap();
            fs::write(node.join("partition"), format!("{}\n", role.number)).unwrap();
        }
        let mut disk = FileDevice::new(file(&root.join("dev/vda"), 128 * MIB), 512).unwrap();
        apply(&mut disk, &gpt::create(&table).unwrap()).unwrap();

        let roots = [3_u8, 4].map(|number| {
            let device = file(&root.join(format!("dev/vda{number}")), 8 * MIB);
            let data = vec![number; usize::try_from(BLOCKS).unwrap() * 4096];
            device.write_all_at(&data, 0).unwrap();
            let salt = [0; 32];
            let tree = kiln_verity::build(&device, BLOCKS, &salt, 1).unwrap();
            let argument = RootArgument { root: tree.root, data_blocks: BLOCKS, salt };
            device.write_all_at(&tree.bytes, argument.hash_offset()).unwrap();
            argument
        });
        let files: Vec<(String, Vec<u8>)> = (0..2)
            .map(|at| {
                let path = format!("EFI/Linux/kiln-0000000{}{}.efi", at + 1, counters[at]);
                (path, boot_file(&roots[at]))
            })
            .collect();
        let files: Vec<FatFile<'_>> =
            files.iter().map(|(path, bytes)| FatFile { path, bytes }).collect();
        let esp = file(&root.join("dev/vda2"), 64 * MIB);
        for (offset, bytes) in format_filesystem(64 * MIB, 512, 7, b"KILN-ESP   ", &files).unwrap()
        {
            esp.write_all_at(&bytes, offset).unwrap();
        }
        let bench = Self { folder, paths, roots };
        bench.run(running, counters[running - 1]);
        let ledger = Ledger {
            next_generation: 3,
            revisions: vec![
                bench.revision(1, Slot::A, State::Blessed),
                bench.revision(
                    2,
                    Slot::B,
                    if counters[1].is_empty() { State::Blessed } else { State::Trying },
                ),
            ],
            ..Ledger::default()
        };
        Store::open(&bench.paths.ledger, || {}).unwrap().write(&ledger).unwrap();
        bench
    }

    /// Says that this generation was started.
    fn run(&self, generation: usize, counter: &str) {
        let letter = ["a", "b"][generation - 1];
        let counted = if counter.is_empty() { "no" } else { "yes" };
        let text = format!(
            "root={}\nmode=system\ndisk=/dev/vda\npartition=kiln-root-{letter}\n\
             entry=EFI/Linux/kiln-0000000{generation}{counter}.efi\ncounted={counted}\n",
            self.roots[generation - 1].root
        );
        fs::write(&self.paths.facts, text).unwrap();
    }

    fn revision(&self, generation: u32, slot: Slot, state: State) -> Revision {
        let at = usize::try_from(generation).unwrap() - 1;
        Revision {
            generation,
            slot,
            release: release(&self.roots[at], u64::from(generation)),
            reference: None,
            digest: None,
            verification: Verification::Unverified,
            arguments: None,
            events: vec![Event { time: 1, state, failure: None }],
        }
    }

    fn esp(&self) -> SystemPartitionDevice {
        SystemPartitionDevice::open(&self.paths.node("/dev/vda2"), 512).unwrap()
    }

    /// Files on the ESP, sorted, as an independent reader sees them.
    fn files(&self) -> Vec<String> {
        let file = File::open(self.paths.node("/dev/vda2")).unwrap();
        let device = FileDevice::new(file, 512).unwrap();
        let fat = Fat::open(&device, 0, 64 * MIB).unwrap();
        let mut paths: Vec<String> = fat
            .list()
            .unwrap()
            .into_iter()
            .filter(|entry| !entry.directory)
            .map(|entry| entry.path)
            .collect();
        paths.sort();
        paths
    }

    fn machine(&self) -> Machine {
        status(&self.paths).unwrap()
    }

    fn state(&self, generation: u32) -> State {
        self.machine().ledger.revision(generation).unwrap().state()
    }
}

fn quiet() {}

#[test]
fn a_machine_is_read_whole_and_nothing_is_written() {
    let bench = Bench::new(["", "+2-1"], 2);
    let before = fs::read(bench.paths.node("/dev/vda2")).unwrap();
    let machine = bench.machine();
    let entries: Vec<_> =
        machine.entries.iter().map(|entry| (entry.name.to_string(), entry.slot)).collect();
    assert_eq!(
        entries,
        [
            ("kiln-00000002+2-1.efi".to_owned(), Some(Slot::B)),
            ("kiln-00000001.efi".to_owned(), Some(Slot::A))
        ]
    );
    assert_eq!((machine.booted.slot, machine.booted.generation), (Slot::B, Some(2)));
    let slots: Vec<_> = machine.slots.iter().map(|slot| (slot.slot, slot.length / MIB)).collect();
    assert_eq!(slots, [(Slot::A, 8), (Slot::B, 8)]);
    assert!(machine.system_partition.free > 50 * MIB);
    assert_eq!(fs::read(bench.paths.node("/dev/vda2")).unwrap(), before);

    let glimpse = glimpse(&bench.paths).unwrap();
    assert_eq!((glimpse.booted, glimpse.is_counted), (machine.booted, Some(true)));
    assert_eq!(glimpse.ledger, machine.ledger);
}

#[test]
fn a_slot_that_lost_its_root_holds_nothing() {
    let bench = Bench::new(["", ""], 2);
    let slot = File::options().write(true).open(bench.paths.node("/dev/vda3")).unwrap();
    slot.write_all_at(&[9; 4096], bench.roots[0].hash_offset()).unwrap();
    let machine = bench.machine();
    assert_eq!(machine.entries[1].slot, None);
    assert!(!machine.entries[1].is_usable());
    let error = rollback(&bench.paths, false, quiet).unwrap_err();
    assert!(error.to_string().contains("no other revision"), "{error}");
}

#[test]
fn another_system_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let error = status(&Paths::below(folder.path())).unwrap_err();
    assert!(matches!(error, Error::NotKiln { .. }), "{error}");
    assert!(!is_counted(&Paths::below(folder.path())));
}

#[test]
fn a_boot_that_proved_itself_loses_its_counter_and_its_notes() {
    let bench = Bench::new(["", "+2-1"], 2);
    bench.esp().put(&FailureNote::path(7), b"old story").unwrap();
    assert_eq!(bless(&bench.paths, quiet).unwrap(), Some(2));
    assert_eq!(bench.files(), ["EFI/Linux/kiln-00000001.efi", "EFI/Linux/kiln-00000002.efi"]);
    assert_eq!(bench.state(2), State::Blessed);
    assert!(bench.paths.blessed.exists());
    // Every boot is blessed; the next ones change nothing.
    let ledger = fs::read(bench.paths.ledger.join("ledger.json")).unwrap();
    assert_eq!(bless(&bench.paths, quiet).unwrap(), Some(2));
    assert_eq!(fs::read(bench.paths.ledger.join("ledger.json")).unwrap(), ledger);
}

#[test]
fn a_failed_try_is_written_down_and_the_counter_left_to_the_loader() {
    let bench = Bench::new(["", "+2-1"], 2);
    let files = bench.files();
    let assessment = fail(&bench.paths, Stage::Health, "no network", quiet).unwrap();
    assert_eq!(assessment, Assessment::Counted);
    assert_eq!(bench.files(), files);
    let machine = bench.machine();
    let failure = machine.ledger.revision(2).unwrap().failure().unwrap().clone();
    assert_eq!((failure.stage, failure.reason.as_str()), (Stage::Health, "no network"));
    let hash = bench.roots[1].root.to_string();
    assert!(machine.ledger.quarantined(&hash, None).is_some());

    // The second try works: it is trusted again.
    bless(&bench.paths, quiet).unwrap();
    assert_eq!(bench.state(2), State::Blessed);
    assert!(bench.machine().ledger.quarantined(&hash, None).is_none());
}

#[test]
fn a_failure_restarts_only_where_that_helps() {
    for (counters, running, expected) in [
        (["", ""], 2, Assessment::Blessed),
        (["", "+0-3"], 2, Assessment::Counted),
        (["+0-3", "+2-1"], 2, Assessment::Counted),
        (["+0-3", "+0-3"], 2, Assessment::Alone),
        (["+1-2", ""], 1, Assessment::Counted),
    ] {
        let bench = Bench::new(counters, running);
        let found = fail(&bench.paths, Stage::Emergency, "x", quiet).unwrap();
        assert_eq!(found, expected, "{counters:?}");
    }
    let bench = Bench::new(["", "+2-1"], 2);
    let facts = fs::read_to_string(&bench.paths.facts).unwrap();
    fs::write(&bench.paths.facts, facts.replace("00000002+2-1", "00000009")).unwrap();
    assert_eq!(fail(&bench.paths, Stage::Health, "x", quiet).unwrap(), Assessment::Unknown);
}

#[test]
fn tries_that_ran_out_are_told_by_what_runs_next() {
    let bench = Bench::new(["", "+0-3"], 1);
    bench.esp().put(&FailureNote::path(2), b"no root matches\n").unwrap();
    bless(&bench.paths, quiet).unwrap();
    let machine = bench.machine();
    let failure = machine.ledger.revision(2).unwrap().failure().unwrap();
    assert_eq!((failure.stage, failure.reason.as_str()), (Stage::Boot, "no root matches"));
    assert!(machine.notes.is_empty(), "the ledger has it now");
    motd::write(&bench.paths, &machine).unwrap();
    let text = fs::read_to_string(&bench.paths.motd).unwrap();
    assert!(text.contains("Generation 2 (version 2) failed: boot: no root matches"), "{text}");
}

#[test]
fn a_rollback_is_one_rename_and_comes_back_by_another() {
    let bench = Bench::new(["", ""], 2);
    let before = bench.files();
    let (_, plan) = rollback(&bench.paths, true, quiet).unwrap();
    assert_eq!((plan.from, plan.to), (Some(2), 1));
    assert_eq!(bench.files(), before, "a dry run");
    assert_eq!(bench.state(2), State::Blessed);

    rollback(&bench.paths, false, quiet).unwrap();
    assert_eq!(bench.files(), ["EFI/Linux/kiln-00000001.efi", "EFI/Linux/kiln-00000002+0-3.efi"]);
    assert_eq!(bench.state(2), State::Left);
    assert_eq!(bench.machine().next_entry().unwrap().name.generation, 1);
    // Blessing the boot that is about to end must not undo it.
    assert_eq!(bless(&bench.paths, quiet).unwrap(), None);
    assert_eq!(bench.state(2), State::Left);

    // And forward again, under a new number with counted tries.
    bench.run(1, "");
    let (_, plan) = rollback(&bench.paths, false, quiet).unwrap();
    assert_eq!((plan.to, plan.renumbered), (2, Some(3)));
    assert_eq!(bench.files(), ["EFI/Linux/kiln-00000001.efi", "EFI/Linux/kiln-00000003+3-0.efi"]);
    assert_eq!((bench.state(2), bench.state(3)), (State::Replaced, State::Trying));
    assert_eq!(bench.machine().ledger.next_generation, 4);
    assert_eq!(bench.machine().ledger.revision(3).unwrap().release.version, "2");
}

#[test]
fn a_disk_of_another_machine_is_not_touched() {
    let bench = Bench::new(["", "+2-1"], 2);
    fs::remove_dir_all(bench.folder.path().join("sys/class/block/vda/vda2")).unwrap();
    let error = bless(&bench.paths, quiet).unwrap_err();
    assert!(error.to_string().contains("kiln-esp"), "{error}");
    assert!(!bench.paths.blessed.exists());
}

#[test]
fn the_esp_takes_files_in_new_folders_and_replaces_them() {
    let bench = Bench::new(["", ""], 1);
    let mut esp = bench.esp();
    let free = esp.free().unwrap();
    let path = "EFI/kiln/deep/note.txt";
    for text in [&b"one"[..], &[7; 100_000]] {
        esp.put(path, text).unwrap();
        assert_eq!(esp.read(path, 1 << 20).unwrap(), text);
    }
    assert!(esp.read(path, 10).is_err(), "it is bounded");
    esp.remove(path).unwrap();
    esp.remove(path).unwrap();
    assert!(esp.read(path, 1 << 20).is_err());
    assert!(free - esp.free().unwrap() <= 2 * 4096, "only the folders stay");
    drop(esp);
    let names: Vec<EntryName> = bench.machine().entries.iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), 2, "the boot files are as they were");
    let missing = PathBuf::from(bench.paths.node("/dev/none"));
    assert!(SystemPartitionDevice::open(missing.to_str().unwrap(), 512).is_err());
}

#[path = "machine/kargs.rs"]
mod kargs;
#[path = "machine/loader.rs"]
mod loader;
#[path = "support/loader.rs"]
mod systemd;
