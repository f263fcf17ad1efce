//! Recovery and reset on machines of files, and on every disk that a power cut can leave.
#![expect(clippy::unwrap_used, reason = "helpers of tests; what fails here fails the test")]

mod support;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use kiln_boot::entry::RECOVERY_PATH;
use kiln_boot::os_release::{Mode, boot_file_text};
use kiln_boot::reset::{ASIDE, PATH, Reset};
use kiln_boot::uki::mode::for_mode;
use kiln_boot::uki::{UkiSections, assemble, parse};
use kiln_disk::fat::{Fat, FatFile, format_filesystem};
use kiln_disk::layout::{self, ESP, RECOVERY, ROOT_A, ROOT_B, Role, STATE, Stage};
use kiln_disk::replay::{RecordingDevice, crash_states};
use kiln_disk::{BlockDevice, FileDevice, Gpt, Guid, MemoryDevice, PartitionEntry, apply, gpt};
use kiln_host::Error;
use kiln_host::esp::SystemPartitionDevice;
use kiln_host::execute::{
    Content, ResetOptions, Settled, deploy, holds, refresh, reset, settle, status, take_back,
    write_recovery,
};
use kiln_host::hooks::{Hooks, Moment, NoHooks, RootPlace, StatePlace};
use kiln_host::ledger::{Slot, State};
use kiln_host::machine::{Paths, RECOVERY_FACTS};
use kiln_host::plan::{ResetPlan, ResetRequest, Unfilled};
use kiln_release::{FORMAT, Release};
use kiln_verity::RootArgument;
use support::program;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
/// Data blocks of the roots: large enough that a cut falls among many sectors.
const BLOCKS: u64 = 40;
const ESP_LENGTH: u64 = 34 * MIB;
const SLOT_LENGTH: u64 = 2 * MIB;

fn boot_file(root: &RootArgument, mode: Mode) -> Vec<u8> {
    let command_line = format!("kiln.root={root} kiln.mode={}", mode.name());
    let os_release = boot_file_text("Edge", mode);
    let sections = UkiSections {
        os_release: os_release.as_bytes(),
        command_line: command_line.as_bytes(),
        kernel_release: b"6.12",
        initrd: b"i",
        linux: &program(),
    };
    assemble(&program(), &sections).unwrap()
}

fn release(root: &RootArgument) -> Release {
    let text = serde_json::json!({
        "format": FORMAT, "name": "edge", "version": "13", "title": "Edge 13", "sequence": 13,
        "architecture": "amd64", "kernel": "6.12", "profile": 1, "tree_digest": "0".repeat(64),
        "root": {
            "length": root.image_length(), "hash": root.root.to_string(),
            "data_blocks": root.data_blocks, "salt": "00".repeat(32),
        },
        "boot_files": [], "source": { "kind": "oci" }, "packages": [], "minimum_agent": "0.1.0",
    });
    Release::from_json(text.to_string().as_bytes()).unwrap()
}

/// A root image of `BLOCKS` blocks that `seed` tells apart.
fn root_image(seed: u8) -> (RootArgument, Vec<u8>) {
    let mut bytes: Vec<u8> = (0..BLOCKS * 4096)
        .map(|at| ((at / 512) as u8).wrapping_mul(7).wrapping_add(seed))
        .collect();
    let tree = kiln_verity::build(&bytes[..], BLOCKS, &[0; 32], 1).unwrap();
    bytes.extend(&tree.bytes);
    (RootArgument { root: tree.root, data_blocks: BLOCKS, salt: [0; 32] }, bytes)
}

/// A part of a disk as a device of its own; writes and flushes reach the disk in their order.
#[derive(Clone)]
struct Window {
    disk: Arc<Mutex<RecordingDevice<MemoryDevice>>>,
    offset: u64,
    length: u64,
}

impl BlockDevice for Window {
    fn sector_size(&self) -> u32 {
        512
    }

    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.lock().unwrap().read_at(self.offset + offset, buffer)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.lock().unwrap().write_at(self.offset + offset, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.lock().unwrap().flush()
    }
}

/// Places on the replayed disk: ESP, slot A, recovery.
const PLACES: [(u64, u64); 3] =
    [(0, ESP_LENGTH), (ESP_LENGTH, SLOT_LENGTH), (ESP_LENGTH + SLOT_LENGTH, SLOT_LENGTH)];

fn windows(disk: MemoryDevice) -> (Arc<Mutex<RecordingDevice<MemoryDevice>>>, [Window; 3]) {
    let disk = Arc::new(Mutex::new(RecordingDevice::new(disk)));
    let windows = PLACES.map(|(offset, length)| Window { disk: Arc::clone(&disk), offset, length });
    (disk, windows)
}

fn fingerprint(disk: &MemoryDevice) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (offset, bytes) in disk.pieces() {
        (offset, bytes).hash(&mut hasher);
    }
    hasher.finish()
}

/// What a replay found.
struct Replay {
    states: usize,
    distinct: BTreeSet<u64>,
    listed: usize,
}

/// Fills recovery from slot A, over what it holds, and judges every disk that a cut leaves: the
/// system starts as before, and recovery only with a root that is whole.
fn replay_filling(held: Option<u8>) -> Replay {
    let (root, image) = root_image(3);
    let system = boot_file(&root, Mode::System);
    let recovery_file = for_mode(&system, Mode::Recovery).unwrap();
    let mut disk = MemoryDevice::empty(ESP_LENGTH + 2 * SLOT_LENGTH, 512).unwrap();
    let system_path = "EFI/Linux/kiln-00000001.efi";
    let mut files = vec![(system_path, system.clone())];
    if let Some(seed) = held {
        let (old, old_image) = root_image(seed);
        disk.write_at(PLACES[2].0, &old_image).unwrap();
        files.push((RECOVERY_PATH, boot_file(&old, Mode::Recovery)));
        files.push((RECOVERY_FACTS, release(&old).to_json().unwrap().into_bytes()));
    }
    let files: Vec<FatFile<'_>> =
        files.iter().map(|(path, bytes)| FatFile { path, bytes }).collect();
    for (at, bytes) in format_filesystem(ESP_LENGTH, 512, 7, b"KILN-ESP   ", &files).unwrap() {
        disk.write_at(at, &bytes).unwrap();
    }
    disk.write_at(PLACES[1].0, &image).unwrap();

    let facts = release(&root);
    let (recorder, [esp, source, mut target]) = windows(disk.clone());
    let mut esp = SystemPartitionDevice::on(esp, "esp").unwrap();
    let content = Content { root, release: Some(&facts), boot_file: &recovery_file };
    write_recovery(&source, &mut target, &mut esp, &content, "recovery", &mut |_| Ok(())).unwrap();
    drop((esp, source, target));
    let recorder = Arc::into_inner(recorder).unwrap().into_inner().unwrap();
    let (after, operations) = recorder.finish();

    let mut replay = Replay { states: 0, distinct: BTreeSet::new(), listed: 0 };
    let check = |state: &MemoryDevice| -> Result<bool, Error> {
        let fat = Fat::open(state, 0, ESP_LENGTH).unwrap();
        assert_eq!(fat.read(system_path, 1 << 20).unwrap(), system, "the system's boot file");
        let mut slot = vec![0; image.len()];
        state.read_at(PLACES[1].0, &mut slot).unwrap();
        assert!(slot == image, "slot A is only read");
        let listed = fat.list().unwrap().iter().any(|entry| entry.path == RECOVERY_PATH);
        if listed {
            let bytes = fat.read(RECOVERY_PATH, 1 << 20).unwrap();
            let line = parse(&bytes).unwrap().section(".cmdline").unwrap().to_vec();
            let line = String::from_utf8(line).unwrap();
            assert!(line.ends_with("kiln.mode=recovery"), "{line}");
            let root: RootArgument = line
                .split(' ')
                .next()
                .unwrap()
                .strip_prefix("kiln.root=")
                .unwrap()
                .parse()
                .unwrap();
            let (_, [_, _, target]) = windows(state.clone());
            assert!(holds(&target, &root).unwrap(), "recovery is listed without its root");
        }
        Ok(listed)
    };
    replay.states = crash_states::<Box<dyn std::error::Error>>(&disk, &operations, |state, _| {
        replay.distinct.insert(fingerprint(state));
        replay.listed += usize::from(check(state)?);
        Ok(())
    })
    .unwrap();
    assert!(check(&after).unwrap(), "it is filled in the end");
    replay
}

#[test]
fn recovery_is_listed_only_with_a_whole_root_whenever_the_power_goes() {
    for held in [None, Some(9), Some(3)] {
        let replay = replay_filling(held);
        let (states, distinct) = (replay.states, replay.distinct.len());
        println!("held {held:?}: {states} states, {distinct} distinct, {} listed", replay.listed);
        assert!(distinct >= 1000 || held == Some(3), "{distinct}");
        assert!(replay.listed > 0 && replay.listed < states);
    }
}

#[test]
fn a_slot_that_is_damaged_itself_never_becomes_recovery() {
    let (root, mut image) = root_image(3);
    image[5000] ^= 1;
    let mut disk = MemoryDevice::empty(ESP_LENGTH + 2 * SLOT_LENGTH, 512).unwrap();
    for (at, bytes) in format_filesystem(ESP_LENGTH, 512, 7, b"KILN-ESP   ", &[]).unwrap() {
        disk.write_at(at, &bytes).unwrap();
    }
    disk.write_at(PLACES[1].0, &image).unwrap();
    let (_, [esp, source, mut target]) = windows(disk);
    let mut esp = SystemPartitionDevice::on(esp, "esp").unwrap();
    let content = Content { root, release: None, boot_file: b"x" };
    let error = write_recovery(&source, &mut target, &mut esp, &content, "r", &mut |_| Ok(()));
    assert!(error.unwrap_err().to_string().contains("damaged"));
    assert!(esp.read(RECOVERY_PATH, 100).is_err());
}

/// A disk with all partitions, whose state is of the given name.
fn table(sector_size: u32) -> Gpt {
    let sector = u64::from(sector_size);
    let mut table = Gpt::empty(sector_size, 128 * MIB, Guid::from_u128(1)).unwrap();
    let places: [(Role, u64, u64); 5] =
        [(ESP, 1, 34), (ROOT_A, 35, 2), (ROOT_B, 37, 2), (RECOVERY, 39, 2), (STATE, 41, 60)];
    for (role, start, length) in places {
        let entry = PartitionEntry {
            type_guid: role.type_guid,
            guid: Guid::from_u128(u128::from(role.number) + 10),
            first_lba: start * MIB / sector,
            last_lba: (start + length) * MIB / sector - 1,
            attributes: 0,
            name: role.name.into(),
        };
        table.partitions.insert(role.number, entry);
    }
    table
}

#[test]
fn giving_the_state_up_happens_wholly_or_not_at_all() {
    let (mut states, mut distinct) = (0, BTreeSet::new());
    for sector_size in [512, 4096] {
        let before = table(sector_size);
        let mut disk = MemoryDevice::empty(128 * MIB, sector_size).unwrap();
        apply(&mut disk, &gpt::create(&before).unwrap()).unwrap();
        // There, back and there again: each begins from what the one before left.
        for step in [layout::renew_state, layout::finish_state, layout::renew_state] {
            let located = gpt::read(&disk).unwrap();
            let old = located.table.partitions.clone();
            let new = step(&located.table).unwrap();
            let mut device = RecordingDevice::new(disk.clone());
            apply(&mut device, &gpt::update(&located, &new).unwrap()).unwrap();
            let (after, operations) = device.finish();
            states += crash_states::<io::Error>(&disk, &operations, |state, _| {
                let found = gpt::read(state).unwrap().table;
                assert!(found.partitions == old || found.partitions == new.partitions);
                assert!(matches!(layout::stage(&found), Ok(Stage::Complete | Stage::Unformatted)));
                distinct.insert(fingerprint(state));
                Ok(())
            })
            .unwrap();
            assert_eq!(gpt::read(&after).unwrap().table.partitions, new.partitions);
            disk = after;
        }
    }
    // Few, because the change is small: one name in one entry, and the headers.
    println!("{states} states, {} distinct", distinct.len());
    assert!(distinct.len() >= 20, "{}", distinct.len());
}

/// A machine of files.
struct Bench {
    folder: TempDir,
    paths: Paths,
    root: RootArgument,
}

fn file(path: &Path, length: u64) -> File {
    let options = File::options().create(true).truncate(true).read(true).write(true).open(path);
    let file = options.unwrap();
    file.set_len(length).unwrap();
    file
}

impl Bench {
    /// One release, in the slot of `mode` and running in it, blessed.
    fn new(mode: Mode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root_folder = folder.path();
        let paths = Paths::below(root_folder);
        for folder in ["dev", "run/kiln", "state/kiln", "state/identity", "state/var/lib"] {
            fs::create_dir_all(root_folder.join(folder)).unwrap();
        }
        let table = table(512);
        for number in table.partitions.keys() {
            let node = root_folder.join(format!("sys/class/block/vda/vda{number}"));
            fs::create_dir_all(&node).unwrap();
            fs::write(node.join("partition"), format!("{number}\n")).unwrap();
            file(&root_folder.join(format!("dev/vda{number}")), SLOT_LENGTH);
        }
        let disk = file(&root_folder.join("dev/vda"), 128 * MIB);
        apply(&mut FileDevice::new(disk, 512).unwrap(), &gpt::create(&table).unwrap()).unwrap();
        let (root, image) = root_image(3);
        let (slot, path, entry) = match mode {
            Mode::System => (ROOT_A, "EFI/Linux/kiln-00000001.efi", "kiln-00000001.efi"),
            Mode::Recovery => (RECOVERY, RECOVERY_PATH, "kiln-recovery.efi"),
        };
        let device = root_folder.join(format!("dev/vda{}", slot.number));
        File::options().write(true).open(device).unwrap().write_all_at(&image, 0).unwrap();
        let facts = release(&root).to_json().unwrap();
        let boot_file = boot_file(&root, mode);
        let mut files = vec![
            FatFile { path, bytes: &boot_file },
            FatFile { path: "EFI/kiln/release.json", bytes: facts.as_bytes() },
        ];
        if mode == Mode::Recovery {
            files.push(FatFile { path: RECOVERY_FACTS, bytes: facts.as_bytes() });
        }
        let esp = file(&root_folder.join("dev/vda2"), ESP_LENGTH);
        for (at, bytes) in format_filesystem(ESP_LENGTH, 512, 7, b"KILN-ESP   ", &files).unwrap() {
            esp.write_all_at(&bytes, at).unwrap();
        }
        let text = format!(
            "root={}\nmode={}\ndisk=/dev/vda\npartition={}\nstate=disk\nentry=EFI/Linux/{entry}\n\
             counted=no\n",
            root.root,
            mode.name(),
            slot.name
        );
        fs::write(&paths.facts, text).unwrap();
        fs::write(&paths.blessed, b"").unwrap();
        Self { folder, paths, root }
    }

    fn files(&self) -> Vec<String> {
        let device = FileDevice::new(File::open(self.paths.node("/dev/vda2")).unwrap(), 512);
        let device = device.unwrap();
        let fat = Fat::open(&device, 0, ESP_LENGTH).unwrap();
        let files = fat.list().unwrap().into_iter().filter(|entry| !entry.directory);
        let mut paths: Vec<String> = files.map(|entry| entry.path).collect();
        paths.sort();
        paths
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.folder.path().join(path)
    }
}

fn quiet() {}

#[test]
fn a_system_that_proved_itself_fills_recovery_once() {
    let bench = Bench::new(Mode::System);
    fs::create_dir_all(bench.path("state").join(ASIDE).join("0/deep")).unwrap();
    assert_eq!(settle(&bench.paths, &mut NoHooks, quiet).unwrap(), Settled::Filled(1));
    assert!(!bench.path("state").join(ASIDE).exists(), "what a reset set aside is gone");
    let expected =
        ["EFI/Linux/kiln-00000001.efi", RECOVERY_PATH, RECOVERY_FACTS, "EFI/kiln/release.json"];
    assert_eq!(bench.files(), expected);
    let machine = status(&bench.paths).unwrap();
    let recovery = machine.recovery.clone().unwrap();
    assert!(recovery.is_usable && recovery.root == Some(bench.root));
    assert_eq!(recovery.release.map(|release| release.version).as_deref(), Some("13"));
    assert_eq!(machine.entries.len(), 1, "it is no entry");

    let before = fs::read(bench.paths.node("/dev/vda2")).unwrap();
    assert_eq!(
        settle(&bench.paths, &mut NoHooks, quiet).unwrap(),
        Settled::Nothing(Unfilled::Filled)
    );
    assert_eq!(refresh(&bench.paths, quiet).unwrap(), None);
    assert_eq!(fs::read(bench.paths.node("/dev/vda2")).unwrap(), before);

    // Its partition rots: what is listed is told apart, and it is filled again.
    let slot = File::options().write(true).open(bench.paths.node("/dev/vda6")).unwrap();
    slot.write_all_at(&[9; 4096], bench.root.hash_offset()).unwrap();
    assert!(!status(&bench.paths).unwrap().recovery.unwrap().is_usable);
    assert_eq!(settle(&bench.paths, &mut NoHooks, quiet).unwrap(), Settled::Filled(1));
    assert!(status(&bench.paths).unwrap().recovery.unwrap().is_usable);
}

#[test]
fn an_image_that_starts_in_recovery_puts_the_system_onto_its_disk() {
    let bench = Bench::new(Mode::Recovery);
    assert_eq!(settle(&bench.paths, &mut NoHooks, quiet).unwrap(), Settled::Deployed(2));
    let expected =
        ["EFI/Linux/kiln-00000002+3-0.efi", RECOVERY_PATH, RECOVERY_FACTS, "EFI/kiln/release.json"];
    assert_eq!(bench.files(), expected);
    let machine = status(&bench.paths).unwrap();
    assert_eq!(machine.entries[0].slot, Some(Slot::A));
    assert!(machine.entries[0].is_usable());
    assert_eq!(machine.ledger.revision(2).unwrap().state(), State::Trying);
    // Its boot file is what a build for the system would have carried.
    let esp = SystemPartitionDevice::open(&bench.paths.node("/dev/vda2"), 512).unwrap();
    let written = esp.read("EFI/Linux/kiln-00000002+3-0.efi", 1 << 20).unwrap();
    assert!(written == boot_file(&bench.root, Mode::System));
    drop(esp);
    // Nothing happens by itself any more.
    assert_eq!(
        settle(&bench.paths, &mut NoHooks, quiet).unwrap(),
        Settled::Nothing(Unfilled::Running)
    );

    // A person may ask for it again: the slot is whole and kept, its boot file is new.
    let (plan, _, generation) = deploy(&bench.paths, true, &mut NoHooks, quiet).unwrap();
    assert_eq!((plan.target, generation), (Slot::B, None), "slot A starts");
    let slot = File::options().write(true).open(bench.paths.node("/dev/vda3")).unwrap();
    slot.write_all_at(&[9; 4096], bench.root.hash_offset()).unwrap();
    let (plan, _, generation) = deploy(&bench.paths, false, &mut NoHooks, quiet).unwrap();
    assert_eq!((plan.target, generation), (Slot::A, Some(3)));
    assert_eq!(bench.files()[0], "EFI/Linux/kiln-00000003+3-0.efi");
    assert!(status(&bench.paths).unwrap().entries[0].is_usable());
}

#[test]
fn a_reset_is_asked_for_and_taken_back() {
    let bench = Bench::new(Mode::System);
    fs::write(bench.path("state/var/lib/x"), b"x").unwrap();
    let keep = ["/etc".to_owned()];
    let forget = ResetRequest { keep: &keep, wipe_state: false };
    let dry = ResetOptions { request: forget, dry_run: true };
    let forgotten = reset(&bench.paths, dry, &mut NoHooks, quiet).unwrap();
    assert_eq!(forgotten.goes, ["var"]);
    assert!(!bench.path("state").join(PATH).exists(), "a dry run");
    reset(&bench.paths, ResetOptions { dry_run: false, ..dry }, &mut NoHooks, quiet).unwrap();
    let text = fs::read_to_string(bench.path("state").join(PATH)).unwrap();
    assert_eq!(Reset::parse(&text), Some(Reset::keeping(&keep).unwrap()));
    assert!(take_back(&bench.paths, quiet).unwrap() && !take_back(&bench.paths, quiet).unwrap());
    assert!(!bench.path("state").join(PATH).exists());

    let name = || {
        let disk = FileDevice::new(File::open(bench.paths.node("/dev/vda")).unwrap(), 512).unwrap();
        gpt::read(&disk).unwrap().table.partitions[&STATE.number].name.clone()
    };
    let wipe = ResetRequest { keep: &[], wipe_state: true };
    let forgotten =
        reset(&bench.paths, ResetOptions { request: wipe, dry_run: false }, &mut NoHooks, quiet)
            .unwrap();
    assert_eq!(forgotten.plan, ResetPlan::Format);
    assert_eq!(name(), layout::STATE_NEW_NAME);
    assert!(take_back(&bench.paths, quiet).unwrap());
    assert_eq!(name(), STATE.name);
}

/// Writes down what each moment finds on the machine.
struct Recorder<'a> {
    bench: &'a Bench,
    seen: Vec<String>,
}

impl Hooks for Recorder<'_> {
    fn run(&mut self, moment: &Moment<'_>) {
        let listed = self.bench.files().iter().filter(|path| path.ends_with("-0.efi")).count();
        let wished = self.bench.path("state").join(PATH).exists();
        let what = match moment {
            Moment::Before => "before".to_owned(),
            Moment::Committed => "committed".to_owned(),
            Moment::Written(written) => {
                let root = match written.root {
                    RootPlace::Running => "running",
                    RootPlace::Partition(node) => {
                        let mut top = [0; 4096];
                        let slot = File::open(node).unwrap();
                        slot.read_exact_at(&mut top, self.bench.root.hash_offset()).unwrap();
                        assert!(top.iter().any(|byte| *byte != 0), "the root is there");
                        node.rsplit('/').next().unwrap()
                    }
                    RootPlace::Extent(_) => "extent",
                };
                let state = match written.state {
                    StatePlace::Own => "own".to_owned(),
                    StatePlace::Forgotten { kept } => format!("forgotten but {}", kept.join(" ")),
                    StatePlace::Formatted => "formatted".to_owned(),
                    StatePlace::Extent { .. } => "extent".to_owned(),
                };
                assert_eq!(written.root_hash, self.bench.root.root.to_string());
                format!("{root} {state}")
            }
        };
        self.seen.push(format!("{what}: {listed} listed, wished {wished}"));
    }
}

#[test]
fn hooks_run_around_the_commit_point() {
    let bench = Bench::new(Mode::Recovery);
    let mut hooks = Recorder { bench: &bench, seen: Vec::new() };
    deploy(&bench.paths, true, &mut hooks, quiet).unwrap();
    assert!(hooks.seen.is_empty(), "a dry run");
    deploy(&bench.paths, false, &mut hooks, quiet).unwrap();
    let expected = [
        "before: 0 listed, wished false",
        "vda3 own: 0 listed, wished false",
        "committed: 1 listed, wished false",
    ];
    assert_eq!(hooks.seen, expected);

    let bench = Bench::new(Mode::System);
    let mut hooks = Recorder { bench: &bench, seen: Vec::new() };
    let keep = ["/etc".to_owned()];
    let request = ResetRequest { keep: &keep, wipe_state: false };
    reset(&bench.paths, ResetOptions { request, dry_run: true }, &mut hooks, quiet).unwrap();
    assert!(hooks.seen.is_empty(), "a dry run");
    reset(&bench.paths, ResetOptions { request, dry_run: false }, &mut hooks, quiet).unwrap();
    let expected = [
        "before: 0 listed, wished false",
        "running forgotten but /etc: 0 listed, wished false",
        "committed: 0 listed, wished true",
    ];
    assert_eq!(hooks.seen, expected);
    fs::create_dir_all(bench.path("state/kiln/hooks/var/x")).unwrap();
    assert!(take_back(&bench.paths, quiet).unwrap());
    assert!(!bench.path("state/kiln/hooks/var").exists(), "hooks' files go with the wish");
}
