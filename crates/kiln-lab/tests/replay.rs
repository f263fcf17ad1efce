//! The replay itself: it must accept a first boot that keeps the order, and find the fault in each
//! one that does not.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use kiln_disk::fat::{FatFile, format_filesystem};
use kiln_disk::layout::{self, BuildOptions, CompleteOptions, ESP, ROOT_A, STATE};
use kiln_disk::replay::RecordingDevice;
use kiln_disk::{BlockDevice, FileDevice, Gpt, Guid, Write, gpt};
use kiln_init::superblock;
use kiln_lab::replay::first_boot::FirstBoot;
use kiln_lab::replay::{Base, Operation, Options, Overlay, States};
use kiln_verity::RootArgument;

const MIB: u64 = 1 << 20;
/// Length of the disk in bytes: with an ESP and slots of the smallest size, just enough.
const DISK: u64 = 1024 * MIB;
const SALT: [u8; 32] = [7; 32];
/// Block groups of the state's file system: the smallest that mkfs makes on such a partition.
const GROUPS: u64 = 8;
/// Fewest different disks of the run that keeps the order.
const FEWEST: usize = 4500;

/// Writes an image with an ESP of one boot file and a slot of eight blocks.
fn build(path: &Path) -> RootArgument {
    let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
    let data: Vec<u8> = (0..8 * 4096_u32).map(|byte| (byte % 251) as u8).collect();
    let tree = kiln_verity::build(&data[..], 8, &SALT, 1).unwrap();
    let root = RootArgument { root: tree.root, data_blocks: 8, salt: SALT };
    let options = BuildOptions {
        sector_size: 512,
        esp_length: 40 * MIB,
        slot_length: Some(2 * MIB),
        disk_guid: Guid([1; 16]),
        esp_guid: Guid([2; 16]),
        root_a_guid: Guid([3; 16]),
    };
    let table = layout::built_image(root.image_length(), &options).unwrap();
    file.set_len(table.disk_sectors * 512).unwrap();
    let files = [FatFile { path: "EFI/Linux/kiln-00000001+3-0.efi", bytes: b"boot file" }];
    let chunks = format_filesystem(40 * MIB, 512, 1, b"KILN       ", &files).unwrap();
    let (esp, slot) = (start(&table, ESP), start(&table, ROOT_A));
    for (offset, bytes) in chunks {
        file.write_all_at(&bytes, esp + offset).unwrap();
    }
    file.write_all_at(&data, slot).unwrap();
    file.write_all_at(&tree.bytes, slot + data.len() as u64).unwrap();
    let mut device = FileDevice::new(file, 512).unwrap();
    kiln_disk::apply(&mut device, &gpt::create(&table).unwrap()).unwrap();
    root
}

fn start(table: &Gpt, role: layout::Role) -> u64 {
    table.partitions[&role.number].offset(table.sector_size)
}

type Device = RecordingDevice<Overlay>;

/// The steps of a first boot, each of which a case may replace.
struct Steps {
    write_table: fn(&mut Device, &Gpt),
    format: fn(&mut Device, &Gpt),
    last: fn(&mut Device, &Gpt),
}

const RIGHT: Steps = Steps { write_table: in_order, format: format_and_rename, last: nothing };

fn in_order(device: &mut Device, table: &Gpt) {
    let writes = gpt::update(&gpt::read(device).unwrap(), table).unwrap();
    kiln_disk::apply(device, &writes).unwrap();
}

/// As many tools do it: all writes, then one flush.
fn without_flushes(device: &mut Device, table: &Gpt) {
    let mut writes: Vec<Write<'_>> = gpt::update(&gpt::read(device).unwrap(), table).unwrap();
    writes.iter_mut().for_each(|write| write.flush = false);
    // The old entry array is overwritten in its place.
    writes.iter_mut().filter(|write| write.offset == 34 * 512).for_each(|w| w.offset = 2 * 512);
    kiln_disk::apply(device, &writes).unwrap();
    device.flush().unwrap();
}

/// What mkfs writes, none of which it flushes before the end: blocks all over the partition, and the
/// superblock, without which they are nothing.
fn write_file_system(device: &mut Device, table: &Gpt) {
    for number in 0..GROUPS {
        let block = [number as u8 + 1; 4096];
        device.write_at(start(table, STATE) + (number + 1) * MIB, &block).unwrap();
    }
    let mut bytes = vec![0; superblock::LENGTH];
    bytes[0x18] = 2;
    bytes[0x38..0x3b].copy_from_slice(&[0x53, 0xef, 1]);
    device.write_at(start(table, STATE) + superblock::OFFSET, &bytes).unwrap();
}

fn format_and_rename(device: &mut Device, table: &Gpt) {
    write_file_system(device, table);
    device.flush().unwrap();
    in_order(device, &layout::finish_state(table).unwrap());
}

fn format_without_flush(device: &mut Device, table: &Gpt) {
    // The rename's own flushes would make up for it, so the file system comes last.
    in_order(device, &layout::finish_state(table).unwrap());
    write_file_system(device, table);
    device.flush().unwrap();
}

fn nothing(_: &mut Device, _: &Gpt) {}

fn write_into_slot(device: &mut Device, table: &Gpt) {
    device.write_at(start(table, ROOT_A) + 4096, &[0xee; 512]).unwrap();
}

fn lose_boot_file(device: &mut Device, table: &Gpt) {
    // The ESP's boot sector: nothing can be read any more.
    device.write_at(start(table, ESP), &[0; 512]).unwrap();
}

/// Records a first boot with these steps and replays it; the number of disks, or the first fault.
fn replay(steps: &Steps) -> Result<usize, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let root = build(&path);
    let base = Arc::new(Base::open(&path, DISK, 512).unwrap());
    let options = CompleteOptions {
        recovery: true,
        disk_guid: Guid([11; 16]),
        esp_guid: Guid([12; 16]),
        root_a_guid: Guid([13; 16]),
        root_b_guid: Guid([14; 16]),
        state_guid: Guid([15; 16]),
        recovery_guid: Guid([16; 16]),
    };
    let untouched = Overlay::new(Arc::clone(&base));
    let mut device = RecordingDevice::new(untouched.clone());
    let built = gpt::read(&device).unwrap().table;
    let complete = layout::complete(&built, DISK, root.image_length(), &options).unwrap();
    (steps.write_table)(&mut device, &complete);
    (steps.format)(&mut device, &complete);
    (steps.last)(&mut device, &complete);
    let (_, operations) = device.finish();
    let operations: Vec<Operation> = operations.into_iter().map(Operation::from).collect();

    // All subsets of what mkfs leaves to the disk's own order, and every way to tear a block.
    let replayed = Options { exhaustive: GROUPS as usize + 1, tears: 256, ..Options::default() };
    let mut check = FirstBoot::new(&base, root).unwrap();
    let mut states = States::new(untouched, &operations, replayed);
    for state in states.by_ref() {
        let state = state.map_err(|error: io::Error| error.to_string())?;
        check.check(&state.disk).map_err(|broken| format!("{}: {broken}", state.cut))?;
    }
    Ok(states.disks())
}

#[test]
fn a_first_boot_in_order_survives_every_cut() {
    let disks = replay(&RIGHT).unwrap();
    println!("{disks} different disks");
    assert!(disks >= FEWEST, "{disks}");
}

#[test]
fn each_fault_is_found() {
    let cases = [
        ("no root is found", Steps { write_table: without_flushes, ..RIGHT }, "refused"),
        ("renamed too early", Steps { format: format_without_flush, ..RIGHT }, "no file system"),
        ("slot", Steps { last: write_into_slot, ..RIGHT }, "slot A has changed"),
        ("ESP", Steps { last: lose_boot_file, ..RIGHT }, "refused"),
    ];
    for (name, steps, expected) in cases {
        let fault = replay(&steps).expect_err(name);
        assert!(fault.contains(expected), "{name}: {fault}");
        assert!(fault.starts_with("seed 1, operations"), "{name}: {fault}");
    }
}
