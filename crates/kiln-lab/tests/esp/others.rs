//! Writes that are not an executor's: firmware that counts, the first process that gives an entry up, and
//! orders that Kiln does not keep, which the replay must not accept.

use kiln_disk::apply;
use kiln_disk::fat::update::{Change, Volume};
use kiln_disk::replay::RecordingDevice;
use kiln_disk::{BlockDevice as _, Write};
use kiln_init::blame::Verdict;
use kiln_init::remember::{Origin, Place, remember};
use kiln_lab::replay::steps::Step;
use kiln_lab::replay::{Operation, Overlay};

use super::judge::counted;
use super::machine::{ESP, Release, SLOTS};
use super::scenarios::{FRESH, TRIED, loaders};

type Device = RecordingDevice<Overlay>;

/// Records what is done to a disk, each for itself.
fn steps(disk: &Overlay, doings: &[&dyn Fn(&mut Device)]) -> Vec<Step> {
    let mut disk = disk.clone();
    let mut steps = Vec::new();
    for doing in doings {
        let mut device = RecordingDevice::new(disk);
        doing(&mut device);
        let (after, operations) = device.finish();
        let operations = operations.into_iter().map(Operation::from).collect();
        steps.push(Step { operations, ledgers: Vec::new() });
        disk = after;
    }
    steps
}

fn plan(device: &Device, change: &Change<'_>) -> Vec<Write<'static>> {
    let volume = Volume::open(device, ESP.start, ESP.end - ESP.start).unwrap();
    let owned = |write: Write<'_>| Write { bytes: write.bytes.into_owned().into(), ..write };
    volume.plan(change).unwrap().into_iter().map(owned).collect()
}

fn write_without_flushes(device: &mut Device, writes: &[Write<'_>]) {
    for write in writes {
        device.write_at(write.offset, &write.bytes).unwrap();
    }
}

/// The loader counts three starts.
pub fn counts(disk: &Overlay) -> Vec<Step> {
    let last = "EFI/Linux/kiln-00000002+1-2.efi";
    let bad = "EFI/Linux/kiln-00000002+0-3.efi";
    steps(
        disk,
        &[
            &|device| renames(device, FRESH, TRIED),
            &|device| renames(device, TRIED, last),
            &|device| renames(device, last, bad),
        ],
    )
}

/// A rename without flushes in between: a FAT driver with a cache writes the sectors back in whatever
/// order, the mark of a volume in use among them.
fn renames(device: &mut Device, from: &str, to: &str) {
    let file = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    assert_eq!(counted(&file(from)), Some(file(to)), "the loader gives another name");
    let writes = plan(device, &Change::Move { from, to });
    mark(device, true);
    write_without_flushes(device, &writes);
    mark(device, false);
    device.flush().unwrap();
}

/// Bit 27 of the second entry of both tables: "cleanly unmounted" (FAT specification, "FAT Volume
/// Status").
fn mark(device: &mut Device, is_used: bool) {
    let mut boot = [0; 512];
    device.read_at(ESP.start, &mut boot).unwrap();
    // BPB: reserved sectors at 14, sectors of a table at 36.
    let reserved = u64::from(u16::from_le_bytes([boot[14], boot[15]]));
    let length = u64::from(u32::from_le_bytes([boot[36], boot[37], boot[38], boot[39]]));
    for copy in [reserved, reserved + length] {
        let (offset, mut sector) = (ESP.start + copy * 512, [0; 512]);
        device.read_at(offset, &mut sector).unwrap();
        sector[7] = if is_used { sector[7] & !0x08 } else { sector[7] | 0x08 };
        device.write_at(offset, &sector).unwrap();
    }
}

/// The first process finds no root, twice: it says why, and marks its entry.
pub fn gives_up(disk: &Overlay) -> Vec<Step> {
    let place = Place { offset: ESP.start, length: ESP.end - ESP.start };
    let note = |text: &'static str, verdict: Verdict| {
        move |device: &mut Device| {
            let origin = Origin { generation: Some(2), root: Release::new(2).argument };
            let found = remember(device, place, &origin, verdict, text).unwrap();
            assert!(found.note.is_some() && found.renamed.is_some() == (verdict == Verdict::Bad));
        }
    };
    let (first, second) = ("no root matches\n", "still no root matches\n");
    steps(disk, &[&note(first, Verdict::Keep), &note(second, Verdict::Bad)])
}

/// A boot file is listed before its root is there.
pub fn lists_before_the_root(disk: &Overlay) -> Vec<Step> {
    let two = Release::new(2);
    steps(
        disk,
        &[&|device| {
            let writes = plan(device, &Change::Add { path: FRESH, bytes: &two.boot_file });
            apply(device, &writes).unwrap();
            device.write_at(SLOTS[1].start, &two.root).unwrap();
            device.flush().unwrap();
        }],
    )
}

/// A boot file is written without flushes in between.
pub fn lists_before_it_is_whole(disk: &Overlay) -> Vec<Step> {
    let two = Release::new(2);
    steps(
        disk,
        &[&|device| {
            let writes = plan(device, &Change::Add { path: FRESH, bytes: &two.boot_file });
            write_without_flushes(device, &writes);
            device.flush().unwrap();
        }],
    )
}

/// The newer shim comes before the loader that it starts.
pub fn lays_shim_first(disk: &Overlay) -> Vec<Step> {
    let [loader, _, shim] = &loaders(1);
    let replaces = |device: &mut Device, (path, bytes): &(String, Vec<u8>)| {
        let writes = plan(device, &Change::Replace { path, bytes });
        apply(device, &writes).unwrap();
    };
    steps(
        disk,
        &[&|device| {
            replaces(device, shim);
            replaces(device, loader);
        }],
    )
}

/// A loader is replaced without flushes in between.
pub fn lays_a_loader_without_flushes(disk: &Overlay) -> Vec<Step> {
    let [(path, bytes), ..] = &loaders(1);
    steps(
        disk,
        &[&|device| {
            let writes = plan(device, &Change::Replace { path, bytes });
            write_without_flushes(device, &writes);
            device.flush().unwrap();
        }],
    )
}
