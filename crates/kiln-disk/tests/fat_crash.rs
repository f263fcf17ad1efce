//! Every disk that a power cut can leave of a change of the ESP reads as before it or as after it,
//! and the next start tidies up so that fsck.fat has nothing to say.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use kiln_disk::fat::update::{Change, Volume};
use kiln_disk::fat::{Fat, FatFile, format_filesystem};
use kiln_disk::replay::{RecordingDevice, crash_states};
use kiln_disk::{BlockDevice, MemoryDevice, apply};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::process::Command;

/// The shortest file system of each sector size that is FAT32.
const LENGTHS: [(u32, u64); 2] = [(512, 34 << 20), (4096, 258 << 20)];
const LABEL: &[u8; 11] = b"KILN-ESP   ";
const PREFERRED: &str = "EFI/Linux";

/// A check may fail in any way; the test fails with it.
type Failure = Box<dyn std::error::Error>;
type Files = BTreeMap<String, Vec<u8>>;

fn formatted(sector_size: u32, length: u64, files: &[FatFile<'_>]) -> MemoryDevice {
    let mut device = MemoryDevice::empty(length, sector_size).unwrap();
    for (offset, chunk) in format_filesystem(length, sector_size, 7, LABEL, files).unwrap() {
        device.write_at(offset, &chunk).unwrap();
    }
    device
}

fn files(device: &MemoryDevice) -> Files {
    let fat = Fat::open(device, 0, device.length()).unwrap();
    let list = fat.list().unwrap();
    list.iter()
        .map(|entry| match entry.directory {
            true => (format!("{}/", entry.path), Vec::new()),
            false => (entry.path.clone(), fat.read(&entry.path, u32::MAX).unwrap()),
        })
        .collect()
}

fn repaired(device: &MemoryDevice) -> MemoryDevice {
    let writes = Volume::open(device, 0, device.length()).unwrap().repair(PREFERRED).unwrap();
    let mut after = device.clone();
    apply(&mut after, &writes).unwrap();
    after
}

/// The judgement of others.
fn fsck(device: &MemoryDevice) {
    let file = tempfile::NamedTempFile::new().unwrap();
    // A sparse file: most of the volume reads as zeros.
    file.as_file().set_len(device.length()).unwrap();
    for (offset, bytes) in device.pieces() {
        file.as_file().write_all_at(bytes, offset).unwrap();
    }
    let output = Command::new("fsck.fat")
        .args(["-n", "-v"])
        .arg(file.path())
        .output()
        .expect("fsck.fat must be installed (package dosfstools)");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    for complaint in ["differ", "wrong", "Dirty", "Unused", "share", "orphan"] {
        assert!(!text.contains(complaint), "{text}");
    }
}

/// Applies a change, checks every crash state, and gives the device afterwards.
fn change(before: MemoryDevice, change: &Change<'_>, states: &mut usize) -> MemoryDevice {
    let old = files(&before);
    let writes = Volume::open(&before, 0, before.length()).unwrap().plan(change).unwrap();
    let mut device = RecordingDevice::new(before.clone());
    apply(&mut device, &writes).unwrap();
    let (after, operations) = device.finish();
    let new = files(&after);
    assert_ne!(old, new, "{change:?}");
    let both: Files = old.clone().into_iter().chain(new.clone()).collect();
    let mut judged = BTreeSet::new();
    let mut again = 0;
    let once = crash_states::<Failure>(&before, &operations, |state, flushes| {
        let volume = Volume::open(state, 0, state.length())?;
        let seen = files(state);
        let is_known = seen == old || seen == new || (volume.is_changing() && seen == both);
        assert!(is_known, "{change:?} after {flushes} flushes: {:?}", seen.keys());
        if !volume.is_changing() {
            assert!(volume.repair(PREFERRED)?.is_empty(), "nothing to tidy up in {change:?}");
        }
        // The power may go a second time, while that is tidied up.
        let mut repair = RecordingDevice::new(state.clone());
        apply(&mut repair, &volume.repair(PREFERRED)?)?;
        let (_, operations) = repair.finish();
        again += crash_states::<Failure>(state, &operations, |state, _| {
            let seen = files(&repaired(state));
            assert!(seen == old || seen == new, "{change:?} cut twice: {:?}", seen.keys());
            Ok(())
        })?;
        let tidy = repaired(state);
        let seen_again = files(&tidy);
        assert!(seen_again == old || seen_again == new, "{change:?}: {:?}", seen_again.keys());
        assert!(seen != new || seen_again == new, "repair must not undo {change:?}");
        assert!(!Volume::open(&tidy, 0, tidy.length())?.is_changing());
        // One judgement per kind of state: before or after, begun or not.
        if judged.insert((flushes, seen == old, volume.is_changing())) {
            fsck(&tidy);
            if !volume.is_changing() {
                fsck(state);
            }
        }
        Ok(())
    })
    .unwrap();
    *states += once + again;
    fsck(&after);
    after
}

#[test]
fn every_crash_state_of_a_boot_file_change_is_old_or_new() {
    let mut states = 0;
    for (sector_size, length) in LENGTHS {
        let kernel = vec![0x5a; 2 * sector_size as usize + 17];
        let loader = vec![0x11; 600];
        let start = formatted(
            sector_size,
            length,
            &[
                FatFile { path: "EFI/BOOT/BOOTX64.EFI", bytes: &loader },
                FatFile { path: "EFI/Linux/kiln-00000001.efi", bytes: &kernel },
            ],
        );
        let newer = vec![0xa5; 3 * sector_size as usize];
        let staged = "EFI/kiln/kiln-00000002.staged";
        let fresh = "EFI/Linux/kiln-00000002+3-0.efi";
        let changes = [
            Change::MakeDirectory { path: "EFI/kiln" },
            Change::Add { path: staged, bytes: &newer },
            Change::Move { from: staged, to: fresh },
            Change::Move { from: fresh, to: "EFI/Linux/kiln-00000002+2-1.efi" },
            Change::Move {
                from: "EFI/Linux/kiln-00000002+2-1.efi",
                to: "EFI/Linux/kiln-00000002.efi",
            },
            Change::Move {
                from: "EFI/Linux/kiln-00000001.efi",
                to: "EFI/Linux/kiln-00000001+0-3.efi",
            },
            Change::Replace { path: "EFI/BOOT/BOOTX64.EFI", bytes: &newer },
            Change::Remove { path: "EFI/Linux/kiln-00000001+0-3.efi" },
            Change::MakeDirectory { path: "EFI/Linux/kiln-00000002.efi.extra.d" },
            Change::RemoveDirectory { path: "EFI/Linux/kiln-00000002.efi.extra.d" },
        ];
        let mut device = start;
        for step in &changes {
            device = change(device, step, &mut states);
        }
        let names: Vec<String> = files(&device).into_keys().collect();
        assert_eq!(
            names,
            [
                "EFI/",
                "EFI/BOOT/",
                "EFI/BOOT/BOOTX64.EFI",
                "EFI/Linux/",
                "EFI/Linux/kiln-00000002.efi",
                "EFI/kiln/",
            ]
        );
    }
    println!("{states} states");
    assert!(states >= 400, "{states} states only");
}

#[test]
fn directories_grow_by_sectors_and_by_clusters() {
    let (sector_size, length) = LENGTHS[0];
    let mut device = formatted(sector_size, length, &[FatFile { path: "EFI/Linux/", bytes: b"" }]);
    let mut states = 0;
    let names: Vec<String> =
        (1..=12).map(|number| format!("EFI/Linux/kiln-{number:08}+3-0.efi")).collect();
    for name in &names {
        device = change(device, &Change::Add { path: name, bytes: name.as_bytes() }, &mut states);
    }
    for name in names.iter().step_by(2) {
        device = change(device, &Change::Remove { path: name }, &mut states);
    }
    device = change(device, &Change::Add { path: "EFI/Linux/again.efi", bytes: b"x" }, &mut states);
    assert_eq!(files(&device).len(), 2 + 6 + 1);
}

/// A name that was being put behind the end mark is nobody's business until the mark goes, but a
/// later change of firmware, which finds zeros there by the specification, would bring it to light.
#[test]
fn nothing_is_left_behind_the_end_of_a_directory() {
    let (sector_size, length) = LENGTHS[0];
    let staged = "EFI/kiln/kiln-00000009.staged";
    let mut device = formatted(
        sector_size,
        length,
        &[FatFile { path: "EFI/Linux/", bytes: b"" }, FatFile { path: staged, bytes: b"new" }],
    );
    let mut hidden = 0;
    for number in 1..=8 {
        let to = format!("EFI/Linux/kiln-{number:08}+3-0.efi");
        let change = match number {
            // The directory's first sector is nearly full by then.
            5 => Change::Move { from: staged, to: &to },
            _ => Change::Add { path: &to, bytes: to.as_bytes() },
        };
        let writes = Volume::open(&device, 0, length).unwrap().plan(&change).unwrap();
        for count in 0..=writes.len() {
            let mut state = device.clone();
            apply(&mut state, &writes[..count]).unwrap();
            let tidy = repaired(&state);
            fsck(&tidy);
            let seen = files(&tidy);
            let text = format!("kiln-{number:08}").encode_utf16().collect::<Vec<_>>();
            let long: Vec<u8> = text[..5].iter().flat_map(|unit| unit.to_le_bytes()).collect();
            let is_anywhere = |device: &MemoryDevice| {
                device.pieces().any(|(_, bytes)| bytes.windows(10).any(|window| window == long))
            };
            if !files(&state).contains_key(&to) && is_anywhere(&state) {
                hidden += 1;
            }
            assert!(!files(&state).contains_key(&to) || seen.contains_key(&to));
        }
        apply(&mut device, &writes).unwrap();
    }
    assert!(hidden > 0, "no change was put behind an end mark");
}

#[test]
fn what_cannot_be_changes_nothing() {
    let (sector_size, length) = LENGTHS[0];
    let device = formatted(
        sector_size,
        length,
        &[FatFile { path: "EFI/a", bytes: b"a" }, FatFile { path: "EFI/b", bytes: b"b" }],
    );
    let volume = Volume::open(&device, 0, length).unwrap();
    let large = vec![0; usize::try_from(volume.free_bytes()).unwrap() + 1];
    let cases = [
        (Change::Add { path: "EFI/A", bytes: b"" }, "taken"),
        (Change::Add { path: "none/x", bytes: b"" }, "none"),
        (Change::Add { path: "EFI/x:y", bytes: b"" }, "not allow"),
        (Change::Add { path: "EFI/large", bytes: &large }, "has"),
        (Change::Move { from: "EFI/a", to: "EFI/b" }, "taken"),
        (Change::Move { from: "EFI/none", to: "EFI/c" }, "none"),
        (Change::Remove { path: "EFI" }, "no file"),
        (Change::RemoveDirectory { path: "EFI" }, "not empty"),
        (Change::RemoveDirectory { path: "EFI/a" }, "no file"),
        (Change::Replace { path: "EFI/none", bytes: b"" }, "no file"),
        (Change::MakeDirectory { path: "EFI/a" }, "taken"),
    ];
    for (change, expected) in cases {
        let error = volume.plan(&change).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
