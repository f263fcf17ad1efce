//! Installing to disks of both kinds: others read what was written, what stays has not changed, and a
//! power cut at any moment leaves a disk that is as it was, that starts nothing, or that is whole.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use kiln_build::Silent;
use kiln_disk::fat::{Fat, FatFile, format_filesystem};
use kiln_disk::layout::{self, ESP, ExtraPartition, FileSystem, Layout, ROOT_A, STATE, Stage};
use kiln_disk::replay::RecordingDevice;
use kiln_disk::{BlockDevice, FileDevice, Gpt, Guid, PartitionEntry, gpt};
use kiln_host::hooks::{Hooks, Moment, NoHooks, RootPlace, StatePlace};
use kiln_host::install::{
    Keep, Media, Origin, Plan, PlanOptions, TargetDevice, execute, plan, write,
};
use kiln_lab::Oracle;
use kiln_lab::replay::{Base, Operation, Options, Overlay, States};
use kiln_release::{FORMAT, Release, Root, Sequence, Source};
use kiln_verity::{RootArgument, encode_hex, verify_block};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const SALT: [u8; 32] = [7; 32];
const BOOT_PATH: &str = "EFI/Linux/kiln-00000001+3-0.efi";
const CONFIGURATION: &[u8] = b"#cloud-config\n";
const MACHINE_ID: Guid = Guid([0x77; 16]);

/// A release that could be installed, with a root of 64 blocks.
struct Fixture {
    folder: TempDir,
    root: File,
    argument: RootArgument,
    release: Release,
    boot_file: Vec<u8>,
    loaders: Vec<(String, Vec<u8>)>,
    files: Vec<(String, Vec<u8>)>,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data: Vec<u8> = (0..64 * 4096_u32).map(|byte| (byte % 251) as u8 | 1).collect();
        let tree = kiln_verity::build(&data[..], 64, &SALT, 1).unwrap();
        let argument = RootArgument { root: tree.root, data_blocks: 64, salt: SALT };
        let root = tempfile::tempfile_in(folder.path()).unwrap();
        root.write_all_at(&data, 0).unwrap();
        root.write_all_at(&tree.bytes, data.len() as u64).unwrap();
        let release = Release {
            format: FORMAT.into(),
            name: "edge".into(),
            version: "1".into(),
            title: "Edge 1".into(),
            sequence: Sequence(1),
            architecture: "amd64".into(),
            kernel: "6.12".into(),
            profile: 1,
            tree_digest: "0".repeat(64),
            root: Root {
                length: argument.image_length(),
                hash: argument.root.to_string(),
                data_blocks: 64,
                salt: encode_hex(&SALT),
            },
            boot_files: Vec::new(),
            source: Source { kind: "oci".into(), manifest_digest: None },
            packages: Vec::new(),
            addons: Vec::new(),
            minimum_agent: "0.1.0".into(),
        };
        let origin = Origin::new(Some("docker://registry.example/edge:stable".into()), None);
        let files = vec![
            ("EFI/kiln/config/01-users.yaml".to_owned(), CONFIGURATION.to_vec()),
            (Origin::path(), origin.to_json().unwrap().into_bytes()),
        ];
        let boot_file = (0..150_000_u32).map(|byte| (byte % 253) as u8).collect();
        let loaders = vec![("EFI/BOOT/BOOTX64.EFI".to_owned(), b"loader".to_vec())];
        Self { folder, root, argument, release, boot_file, loaders, files }
    }

    fn media(&self) -> Media<'_> {
        Media {
            release: &self.release,
            root: &self.root,
            boot_file: &self.boot_file,
            loaders: &self.loaders,
            files: &self.files,
        }
    }

    /// A disk that another system was on: its loader, its data, its boot code. The third partition is
    /// a state of ours.
    fn old_disk(&self, sector_size: u32, length: u64) -> std::path::PathBuf {
        let path = self.folder.path().join(format!("disk-{sector_size}"));
        let options =
            File::options().create(true).truncate(true).read(true).write(true).open(&path);
        let file = options.unwrap();
        file.set_len(length).unwrap();
        let mut table = Gpt::empty(sector_size, length, Guid([9; 16])).unwrap();
        let sector = u64::from(sector_size);
        let mut add = |number: u8, name: &str, type_guid, start: u64, size: u64| {
            let entry = PartitionEntry {
                type_guid,
                guid: Guid([number; 16]),
                first_lba: start * MIB / sector,
                last_lba: (start + size) * MIB / sector - 1,
                attributes: 0,
                name: name.into(),
            };
            table.partitions.insert(number.into(), entry);
        };
        let esp = smallest_esp(sector_size) / MIB;
        add(1, "EFI System", ESP.type_guid, 1, esp);
        add(2, "home", layout::EXTRA_TYPE, 1 + esp, 20);
        add(5, STATE.name, STATE.type_guid, 1 + esp + 30, 40);
        let old = [FatFile { path: "EFI/BOOT/BOOTX64.EFI", bytes: b"old loader" }];
        let chunks = format_filesystem(esp * MIB, sector_size, 1, b"OLD        ", &old).unwrap();
        for (offset, bytes) in chunks {
            file.write_all_at(&bytes, MIB + offset).unwrap();
        }
        let home = (1 + esp) * MIB;
        file.write_all_at(&vec![0xdd; 2 << 20], home).unwrap();
        file.write_all_at(&vec![0xaa; 3 << 20], home + 30 * MIB).unwrap();
        file.write_all_at(&[0; 16], home + 30 * MIB + 1144).unwrap();
        file.write_all_at(&[0x53, 0xef], home + 30 * MIB + 1080).unwrap();
        let mut device = FileDevice::new(file, sector_size).unwrap();
        kiln_disk::apply(&mut device, &gpt::create(&table).unwrap()).unwrap();
        device.write_at(0, &[0xeb; 440]).unwrap();
        path
    }

    /// Whether a disk has all of the new system, as firmware, loader and first process read it.
    fn check_whole(&self, disk: &dyn BlockDevice, plan: &Plan) -> Result<(), String> {
        let located = gpt::read(disk).map_err(|error| error.to_string())?;
        if located.table.partitions != plan.table.partitions {
            return Err("the table is another one".into());
        }
        let place = |role: layout::Role| {
            let entry = &located.table.partitions[&role.number];
            (entry.offset(disk.sector_size()), entry.length(disk.sector_size()))
        };
        let start = place(ROOT_A).0;
        let mut root = vec![0; self.release.root.length as usize];
        disk.read_at(start, &mut root).unwrap();
        let tree = kiln_verity::build(&root[..], 64, &SALT, 1).unwrap();
        let mut top = [0; 4096];
        let hash_offset = self.argument.hash_offset() as usize;
        top.copy_from_slice(&root[hash_offset..hash_offset + 4096]);
        if tree.root != self.argument.root || !verify_block(&SALT, &top, &tree.root.0) {
            return Err("slot A does not hold the root".into());
        }
        let (start, length) = place(ESP);
        let fat = Fat::open(disk, start, length).map_err(|error| error.to_string())?;
        let facts = self.release.to_json().unwrap();
        let expected: [(&str, &[u8]); 4] = [
            (BOOT_PATH, &self.boot_file),
            ("EFI/BOOT/BOOTX64.EFI", b"loader"),
            ("EFI/kiln/config/01-users.yaml", CONFIGURATION),
            ("EFI/kiln/release.json", facts.as_bytes()),
        ];
        for (path, bytes) in expected {
            let found = fat.read(path, 1 << 20).map_err(|error| error.to_string())?;
            if found != bytes {
                return Err(format!("{path} differs"));
            }
        }
        Ok(())
    }
}

/// Smallest ESP in bytes that FAT32 allows.
fn smallest_esp(sector_size: u32) -> u64 {
    if sector_size == 512 { 64 * MIB } else { 300 * MIB }
}

fn small_layout(sector_size: u32) -> Layout {
    let data = ExtraPartition {
        label: "data".into(),
        length: 16 * MIB,
        file_system: Some(FileSystem::Ext4),
        mount: Some("/srv/data".into()),
    };
    Layout {
        esp: Some(smallest_esp(sector_size)),
        slot: Some(2 * MIB),
        partitions: vec![data],
        ..Layout::default()
    }
}

fn make_plan(device: &dyn BlockDevice, image: u64, layout: &Layout, keep: &[Keep]) -> Plan {
    let (present, whole) = execute::look(device).unwrap();
    let options = PlanOptions {
        disk: "disk",
        disk_length: device.length(),
        sector_size: device.sector_size(),
        image_length: image,
        layout,
        present: &present,
        whole: &whole,
        keep,
    };
    let mut next = 100;
    plan(&options, &mut || {
        next += 1;
        Guid([next; 16])
    })
    .unwrap()
}

fn read(path: &Path, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    FileExt::read_exact_at(&File::open(path).unwrap(), &mut bytes, offset).unwrap();
    bytes
}

#[test]
fn others_read_what_was_installed_on_disks_of_both_kinds() {
    let fixture = Fixture::new();
    for sector_size in [512, 4096] {
        let path = fixture.old_disk(sector_size, 1200 * MIB);
        let mut target = TargetDevice::file(&path, sector_size).unwrap();
        let layout = small_layout(sector_size);
        let plan = make_plan(target.device(), fixture.release.root.length, &layout, &[]);
        let erased: Vec<String> = plan
            .erased
            .iter()
            .map(|erased| format!("{} {}", erased.name, erased.contents))
            .collect();
        assert_eq!(erased, ["EFI System FAT `OLD`", "home data", "kiln-state ext"]);
        write(&mut target, &plan, &fixture.media(), MACHINE_ID, &mut NoHooks, &mut Silent).unwrap();
        fixture.check_whole(target.device(), &plan).unwrap();
        assert_eq!(layout::stage(&plan.table).unwrap(), Stage::Unformatted);
        assert_eq!(read(&path, 0, 440), [0; 440], "boot code of the old system is left");
        let located = gpt::read(target.device()).unwrap();
        assert!(located.other_agrees);

        if sector_size == 512 {
            // sgdisk takes every image file for one with 512-byte sectors.
            let said = Oracle::new("sgdisk").argument("-v").argument(&path).run().unwrap();
            assert!(said.contains("No problems found"), "{said}");
        }
        let entry = |role: layout::Role| &plan.table.partitions[&role.number];
        let extract = |role: layout::Role, name: &str| {
            let part = fixture.folder.path().join(name);
            let (offset, length) =
                (entry(role).offset(sector_size), entry(role).length(sector_size));
            std::fs::write(&part, read(&path, offset, length as usize)).unwrap();
            part
        };
        let esp = extract(ESP, "esp");
        Oracle::new("fsck.fat").argument("-n").argument(&esp).run().unwrap();
        let listed = Oracle::new("mdir").arguments(["-b", "-/", "-i"]).argument(&esp);
        let listed = listed.argument("::EFI/Linux").run().unwrap();
        assert!(listed.contains("kiln-00000001+3-0.efi"), "{listed}");
        let slot = extract(ROOT_A, "slot");
        let call = Oracle::new("veritysetup").argument("verify").argument(&slot).argument(&slot);
        call.argument(fixture.argument.root.to_string())
            .arguments(["--no-superblock", "--format=1", "--hash=sha256"])
            .arguments(["--data-block-size=4096", "--hash-block-size=4096", "--data-blocks=64"])
            .argument(format!("--salt={}", fixture.release.root.salt))
            .argument(format!("--hash-offset={}", fixture.argument.hash_offset()))
            .run()
            .unwrap();
    }
}

#[test]
fn what_stays_has_not_changed_and_the_rest_is_new() {
    let fixture = Fixture::new();
    for sector_size in [512, 4096] {
        let path = fixture.old_disk(sector_size, 1200 * MIB);
        let mut target = TargetDevice::file(&path, sector_size).unwrap();
        let old = gpt::read(target.device()).unwrap().table.partitions[&5].clone();
        let (offset, length) = (old.offset(sector_size), old.length(sector_size) as usize);
        let before = read(&path, offset, length);
        let keep = ["kiln-state".parse().unwrap()];
        let layout = small_layout(sector_size);
        let plan = make_plan(target.device(), fixture.release.root.length, &layout, &keep);
        write(&mut target, &plan, &fixture.media(), MACHINE_ID, &mut NoHooks, &mut Silent).unwrap();
        fixture.check_whole(target.device(), &plan).unwrap();
        let table = gpt::read(target.device()).unwrap().table;
        assert_eq!(table.partitions[&5], old);
        assert_eq!(layout::stage(&table).unwrap(), Stage::Complete);
        assert!(read(&path, offset, length) == before, "the state has changed");
        assert_ne!(table.disk_guid, Guid([9; 16]));
    }
}

/// Looks at the disk when hooks run, and makes a file system as their runner does.
struct Formatter {
    seen: Vec<String>,
    formats: bool,
}

impl Hooks for Formatter {
    fn run(&mut self, moment: &Moment<'_>) {
        let Moment::Written(written) = moment else { panic!("{moment:?}") };
        let RootPlace::Extent(root) = written.root else { panic!("{written:?}") };
        let StatePlace::Extent { extent, is_new } = written.state else { panic!("{written:?}") };
        let device = FileDevice::new(root.disk.try_clone().unwrap(), root.sector_size).unwrap();
        let numbers: Vec<u32> = gpt::read(&device).unwrap().table.partitions.into_keys().collect();
        let mut first = [0; 16];
        root.disk.read_exact_at(&mut first, root.offset).unwrap();
        self.seen.push(format!("table {numbers:?}, root {}, new {is_new}", first[0]));
        if self.formats {
            extent.disk.write_all_at(&[0x53, 0xef], extent.offset + 1080).unwrap();
        }
    }
}

#[test]
fn hooks_run_before_the_disk_can_start_and_a_state_that_they_made_stays() {
    let fixture = Fixture::new();
    let keep: [Keep; 1] = ["kiln-state".parse().unwrap()];
    for (keep, formats, seen, stage) in [
        (&[][..], false, "table [], root 1, new true", Stage::Unformatted),
        (&[][..], true, "table [], root 1, new true", Stage::Complete),
        (&keep[..], false, "table [5], root 1, new false", Stage::Complete),
    ] {
        let path = fixture.old_disk(512, 1200 * MIB);
        let mut target = TargetDevice::file(&path, 512).unwrap();
        let layout = small_layout(512);
        let plan = make_plan(target.device(), fixture.release.root.length, &layout, keep);
        let mut hooks = Formatter { seen: Vec::new(), formats };
        write(&mut target, &plan, &fixture.media(), MACHINE_ID, &mut hooks, &mut Silent).unwrap();
        assert_eq!(hooks.seen, [seen]);
        let table = gpt::read(target.device()).unwrap().table;
        assert_eq!(layout::stage(&table).unwrap(), stage);
        assert!(table.partitions.contains_key(&ROOT_A.number));
    }
}

#[test]
fn nothing_is_written_that_cannot_be_whole() {
    let fixture = Fixture::new();
    let path = fixture.old_disk(512, 1200 * MIB);
    let mut target = TargetDevice::file(&path, 512).unwrap();
    let plan = make_plan(target.device(), fixture.release.root.length, &small_layout(512), &[]);
    let before = read(&path, 0, 200 << 20);
    let boot_file = vec![1; 65 << 20];
    let media = Media { boot_file: &boot_file, ..fixture.media() };
    let error =
        write(&mut target, &plan, &media, MACHINE_ID, &mut NoHooks, &mut Silent).unwrap_err();
    assert!(error.hint().is_some());
    assert!(read(&path, 0, 200 << 20) == before, "{error}");
    assert!(TargetDevice::file(fixture.folder.path(), 512).is_err());
    assert!(TargetDevice::disk(&path.to_string_lossy()).is_err());
}

/// Installs on a recorded disk and looks at everything that a power cut could leave.
fn replay(sector_size: u32, keep: &[Keep]) -> String {
    let fixture = Fixture::new();
    let path = fixture.old_disk(sector_size, 1200 * MIB);
    let base = Arc::new(Base::open(&path, 1200 * MIB, sector_size).unwrap());
    let before = Overlay::new(Arc::clone(&base));
    let old = gpt::read(&before).unwrap().table;
    let layout = small_layout(sector_size);
    let plan = make_plan(&before, fixture.release.root.length, &layout, keep);
    let mut device = RecordingDevice::new(before.clone());
    let media = fixture.media();
    let forget = |_: &RecordingDevice<Overlay>| Ok(());
    execute::write_to(
        &mut device,
        &plan,
        &media,
        MACHINE_ID,
        &forget,
        &mut |_| Ok(()),
        &mut Silent,
    )
    .unwrap();
    let (_, operations) = device.finish();
    let operations: Vec<Operation> = operations.into_iter().map(Operation::from).collect();

    let (mut untouched, mut nothing, mut whole) = (0, 0, 0);
    let options = Options { exhaustive: 10, samples: 400, tears: 160, ..Options::default() };
    let mut states = States::new(before, &operations, options);
    let kept = plan.kept.first().map(|(_, entry)| {
        entry.offset(sector_size)..entry.offset(sector_size) + entry.length(sector_size)
    });
    let esp = &old.partitions[&1];
    let esp = esp.offset(sector_size)..esp.offset(sector_size) + esp.length(sector_size);
    for state in states.by_ref() {
        let state = state.unwrap();
        let (disk, cut) = (&state.disk, &state.cut);
        if let Some(kept) = &kept {
            assert_eq!(disk.digest_of(kept.clone()).unwrap(), 0, "{cut}: what stays has changed");
        }
        let Ok(located) = gpt::read(disk) else {
            assert!(kept.is_none(), "{cut}: what stays is in no table");
            nothing += 1;
            continue;
        };
        let table = &located.table;
        let starts = table.partitions.values().any(|entry| entry.type_guid == ESP.type_guid);
        if table.partitions == old.partitions {
            assert_eq!(disk.digest_of(esp.clone()).unwrap(), 0, "{cut}: the old ESP has changed");
            untouched += 1;
        } else if starts {
            fixture.check_whole(disk, &plan).unwrap_or_else(|error| panic!("{cut}: {error}"));
            whole += 1;
        } else {
            let there: Vec<&PartitionEntry> = table.partitions.values().collect();
            let expected: Vec<&PartitionEntry> = plan.kept.iter().map(|(_, entry)| entry).collect();
            assert_eq!(there, expected, "{cut}");
            nothing += 1;
        }
    }
    let disks = states.disks();
    assert!(disks >= 1000, "{disks}");
    assert!(untouched > 0 && nothing > 500 && whole > 0);
    format!("{disks} disks: {untouched} old, {nothing} with nothing to start, {whole} whole")
}

#[test]
fn a_power_cut_leaves_the_old_system_nothing_or_the_new_one() {
    println!("{}", replay(512, &[]));
}

#[test]
fn a_power_cut_leaves_what_stays_in_a_table() {
    println!("{}", replay(512, &["kiln-state".parse().unwrap()]));
}

#[test]
fn a_power_cut_with_large_sectors_does_no_harm() {
    println!("{}", replay(4096, &[]));
}
