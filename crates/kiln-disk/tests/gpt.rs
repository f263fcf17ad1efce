//! sgdisk accepts every table that is written or updated, and reads from it what was meant; partx
//! does for sectors of 4096 bytes.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use kiln_disk::gpt::{Copy, create, read, update};
use kiln_disk::layout::{self, BuildOptions, CompleteOptions};
use kiln_disk::{BlockDevice, FileDevice, Gpt, Guid, MemoryDevice, apply};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::Command;

const MIB: u64 = 1 << 20;

fn open(path: &Path, length: u64, sector_size: u32) -> FileDevice {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
    file.set_len(length).unwrap();
    FileDevice::new(file, sector_size).unwrap()
}

fn built(sector_size: u32) -> Gpt {
    let options = BuildOptions {
        sector_size,
        esp_length: 40 * MIB,
        slot_length: Some(20 * MIB),
        disk_guid: Guid::from_u128(0xaaaaaaaa_0000_4000_8000_000000000001),
        esp_guid: Guid::from_u128(0xaaaaaaaa_0000_4000_8000_000000000002),
        root_a_guid: Guid::from_u128(0xaaaaaaaa_0000_4000_8000_000000000003),
    };
    layout::built_image(10 * MIB, &options).unwrap()
}

fn complete(table: &Gpt, length: u64) -> Gpt {
    let guid = |last: u8| Guid::from_random([last; 16]);
    let options = CompleteOptions {
        recovery: true,
        disk_guid: guid(1),
        esp_guid: guid(2),
        root_a_guid: guid(3),
        root_b_guid: guid(4),
        state_guid: guid(5),
        recovery_guid: guid(6),
    };
    layout::complete(table, length, 10 * MIB, &options).unwrap()
}

fn sgdisk(path: &Path, arguments: &[&str]) -> String {
    let output = Command::new("sgdisk")
        .args(arguments)
        .arg(path)
        .output()
        .expect("sgdisk must be installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text} {output:?}");
    text
}

/// sgdisk takes every image file for one with 512-byte sectors.
fn verify(path: &Path) {
    let text = sgdisk(path, &["-v"]);
    assert!(text.contains("No problems found"), "{text}");
    // It finds the room for a second array and its use unusual, which they are; there must be no
    // other complaint.
    let text = text
        .replace("Warning: There is a gap between the main partition table", "")
        .replace("Warning: There is a gap between the main metadata (sector 1)", "");
    for complaint in ["Warning", "Caution", "invalid", "corrupt"] {
        assert!(!text.contains(complaint), "{text}");
    }
}

#[test]
fn sgdisk_accepts_built_grown_and_renamed_tables() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let table = built(512);
    let mut device = open(&path, table.disk_sectors * 512, 512);
    apply(&mut device, &create(&table).unwrap()).unwrap();
    verify(&path);
    let text = sgdisk(&path, &["-i", "2"]);
    assert!(text.contains("C12A7328-F81F-11D2-BA4B-00A0C93EC93B"), "{text}");
    assert!(text.contains("AAAAAAAA-0000-4000-8000-000000000002"), "{text}");
    assert!(text.contains("'kiln-esp'"), "{text}");

    let length = 900 * MIB;
    let mut device = open(&path, length, 512);
    let found = read(&device).unwrap();
    assert_eq!((&found.table, found.copy, found.other_agrees), (&table, Copy::Primary, true));
    let grown = complete(&found.table, length);
    apply(&mut device, &update(&found, &grown).unwrap()).unwrap();
    verify(&path);
    let text = sgdisk(&path, &["-i", "5"]);
    assert!(text.contains("'kiln-state-new'"), "{text}");

    let found = read(&device).unwrap();
    assert_eq!((&found.table, found.other_agrees), (&grown, true));
    let renamed = layout::finish_state(&found.table).unwrap();
    apply(&mut device, &update(&found, &renamed).unwrap()).unwrap();
    verify(&path);
    assert!(sgdisk(&path, &["-i", "5"]).contains("'kiln-state'"));
    assert_eq!(read(&device).unwrap().table, renamed);
}

/// partx, unlike sgdisk, can be told the sector size of an image file.
#[test]
fn partx_reads_tables_of_both_sector_sizes() {
    let folder = tempfile::tempdir().unwrap();
    for sector_size in [512, 4096] {
        let path = folder.path().join(sector_size.to_string());
        let table = built(sector_size);
        let length = 900 * MIB;
        let mut device = open(&path, length, sector_size);
        apply(&mut device, &create(&table).unwrap()).unwrap();
        let found = read(&device).unwrap();
        let grown = complete(&table, length);
        apply(&mut device, &update(&found, &grown).unwrap()).unwrap();
        let output = Command::new("partx")
            .args(["--raw", "--noheadings", "--bytes"])
            .args(["--sector-size", &sector_size.to_string()])
            .args(["--output", "NR,START,SIZE,TYPE,UUID,NAME"])
            .arg(&path)
            .output()
            .expect("partx must be installed");
        let expected: String = grown
            .partitions
            .iter()
            .map(|(number, partition)| {
                // It counts starts in units of 512 bytes whatever the sector size.
                let start = partition.offset(sector_size) / 512;
                let (kind, guid, name) = (partition.type_guid, partition.guid, &partition.name);
                format!("{number} {start} {} {kind} {guid} {name}\n", partition.length(sector_size))
            })
            .collect();
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?}");
    }
}

#[test]
fn tables_of_sgdisk_are_read_and_updated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let mut device = open(&path, 64 * MIB, 512);
    // The first partition starts right behind the array: there is no spare place for another.
    sgdisk(&path, &["-a", "1", "-n", "1:34:4095", "-c", "1:first", "-n", "7:8192:+1M"]);
    let found = read(&device).unwrap();
    assert_eq!(found.table.partitions.keys().copied().collect::<Vec<_>>(), [1, 7]);
    assert_eq!((found.table.first_usable, found.other_agrees), (34, true));
    let mut table = found.table.clone();
    table.partitions.get_mut(&7).unwrap().name = "größer".into();
    device.write_at(0, &[0x90; 440]).unwrap();
    let found = read(&device).unwrap();
    apply(&mut device, &update(&found, &table).unwrap()).unwrap();
    verify(&path);
    assert!(sgdisk(&path, &["-i", "7"]).contains("'größer'"));
    let mut code = [0; 440];
    device.read_at(0, &mut code).unwrap();
    assert_eq!(code, [0x90; 440], "boot code must survive");
}

#[test]
fn a_damaged_primary_is_repaired_from_the_backup() {
    for sector_size in [512, 4096] {
        let table = built(sector_size);
        let length = table.disk_sectors * u64::from(sector_size);
        let mut device = MemoryDevice::empty(length, sector_size).unwrap();
        apply(&mut device, &create(&table).unwrap()).unwrap();
        let whole = device.clone();
        device.write_at(u64::from(sector_size) + 60, b"damage").unwrap();
        let found = read(&device).unwrap();
        assert_eq!((&found.table, found.copy), (&table, Copy::Backup));
        apply(&mut device, &update(&found, &table).unwrap()).unwrap();
        assert!(device == whole, "{sector_size}");
        device.write_at(u64::from(sector_size) + 60, b"damage").unwrap();
        device.write_at(length - 1024, b"damage").unwrap();
        device.write_at(length - u64::from(sector_size), b"damage").unwrap();
        assert!(read(&device).is_err());
    }
}

#[test]
fn tables_of_both_sector_sizes_have_these_bytes_for_ever() {
    let digest = |sector_size| {
        let mut hasher = Sha256::new();
        for write in create(&built(sector_size)).unwrap() {
            hasher.update(write.offset.to_le_bytes());
            hasher.update(&write.bytes);
        }
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(digest(512), "8f56a4deb3719655b4af7ff629e75bcecb139f523e0aa94257822823234835cd");
    assert_eq!(digest(4096), "215059d4890de9f38fc70dc01a35312129ffb286216db84cd5907124e44bda06");
}

#[test]
fn a_file_that_is_no_disk_has_no_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty");
    File::create(&path).unwrap();
    for length in [0, 511, 512, 4096, MIB] {
        for sector_size in [512, 4096] {
            assert!(read(&open(&path, length, sector_size)).is_err(), "{length} {sector_size}");
        }
    }
}
