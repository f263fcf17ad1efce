//! A boot loader is replaced, and on every disk that a power cut can leave its path holds a whole one.
#![expect(clippy::unwrap_used, reason = "helpers of tests; what fails here fails the test")]

mod support;
#[path = "support/loader.rs"]
mod systemd;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::{Arc, Mutex};

use kiln_disk::fat::{Fat, FatFile, format_filesystem};
use kiln_disk::replay::{Operation, RecordingDevice, crash_states};
use kiln_disk::{BlockDevice, MemoryDevice};
use kiln_host::esp::SystemPartitionDevice;
use kiln_host::execute::{KEPT_SUFFIX, replace_loader};
use kiln_host::loader::Loader;
use support::program;
use systemd::systemd_boot;

const ESP_LENGTH: u64 = 34 << 20;
const PATHS: [&str; 2] = ["EFI/systemd/systemd-bootx64.efi", "EFI/BOOT/BOOTX64.EFI"];
const BOOT_FILE: &str = "EFI/Linux/kiln-00000001.efi";

/// Of the different disks, one in this many is also taken to the end.
const SHARE: usize = 16;

/// A loader as long as real ones are in clusters, so that a cut falls among many sectors.
fn loader(version: &str) -> Vec<u8> {
    let mut bytes = systemd_boot(version);
    bytes.extend((0..40_000).map(|at: u32| (at as u8).wrapping_mul(version.len() as u8)));
    bytes
}

fn formatted(files: &[(&str, Vec<u8>)]) -> MemoryDevice {
    let files: Vec<FatFile<'_>> =
        files.iter().map(|(path, bytes)| FatFile { path, bytes }).collect();
    let mut disk = MemoryDevice::empty(ESP_LENGTH, 512).unwrap();
    for (at, bytes) in format_filesystem(ESP_LENGTH, 512, 7, b"KILN-ESP   ", &files).unwrap() {
        disk.write_at(at, &bytes).unwrap();
    }
    disk
}

fn read(disk: &dyn BlockDevice, path: &str) -> Option<Vec<u8>> {
    let fat = Fat::open(disk, 0, ESP_LENGTH).unwrap();
    fat.read(path, 1 << 20).ok()
}

/// A disk that is looked at when others are done with it.
#[derive(Clone)]
struct Shared(Arc<Mutex<RecordingDevice<MemoryDevice>>>);

impl BlockDevice for Shared {
    fn sector_size(&self) -> u32 {
        512
    }

    fn length(&self) -> u64 {
        ESP_LENGTH
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.lock().unwrap().read_at(offset, buffer)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().write_at(offset, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap().flush()
    }
}

/// Replaces all loaders of a disk; gives the disk and what reached it.
fn replace(disk: MemoryDevice, new: &[u8]) -> (MemoryDevice, Vec<Operation>) {
    let shared = Shared(Arc::new(Mutex::new(RecordingDevice::new(disk))));
    let mut esp = SystemPartitionDevice::on(shared.clone(), "esp").unwrap();
    for path in PATHS {
        replace_loader(&mut esp, path, new).unwrap();
    }
    drop(esp);
    Arc::into_inner(shared.0).unwrap().into_inner().unwrap().finish()
}

/// What must hold at every moment of replacing `old` by `new`.
fn check(disk: &MemoryDevice, old: &[u8], new: &[u8]) {
    for path in PATHS {
        let found = read(disk, path).expect("a loader is missing");
        assert!(Loader::read(&found).is_some(), "{path} is no loader");
        assert!(found == old || found == new, "{path} is neither the old nor the new one");
        if found == new {
            let kept = read(disk, &format!("{path}{KEPT_SUFFIX}"));
            assert!(kept.as_deref() == Some(old), "the new {path} has come before the copy");
        }
    }
    assert!(read(disk, BOOT_FILE) == Some(program()), "the boot file");
}

#[test]
fn a_loader_is_whole_at_its_path_whenever_the_power_goes() {
    let versions = ["252", "257.9", "262"].map(loader);
    let mut files: Vec<_> = PATHS.map(|path| (path, versions[0].clone())).into();
    files.push((BOOT_FILE, program()));
    let mut disk = formatted(&files);
    let (mut states, mut distinct, mut replaced) = (0, BTreeSet::new(), 0);
    // The second time a copy is there already, which is replaced first.
    for pair in versions.windows(2) {
        let [old, new] = pair else { panic!("a window of two") };
        let (after, operations) = replace(disk.clone(), new);
        states += crash_states::<io::Error>(&disk, &operations, |state, _| {
            let mut hasher = DefaultHasher::new();
            for (offset, bytes) in state.pieces() {
                (offset, bytes).hash(&mut hasher);
            }
            if !distinct.insert(hasher.finish()) {
                return Ok(());
            }
            check(state, old, new);
            replaced += usize::from(read(state, PATHS[1]).as_deref() == Some(new));
            if distinct.len() % SHARE == 0 {
                // The next boot tidies up and goes on.
                let (done, _) = replace(state.clone(), new);
                check(&done, old, new);
                assert!(PATHS.iter().all(|path| read(&done, path).as_deref() == Some(new)));
            }
            Ok(())
        })
        .unwrap();
        check(&after, old, new);
        disk = after;
    }
    println!("{states} states, {} distinct, {replaced} with the new one", distinct.len());
    assert!(distinct.len() >= 1000, "{}", distinct.len());
    assert!(replaced > 0 && replaced < distinct.len());
}
