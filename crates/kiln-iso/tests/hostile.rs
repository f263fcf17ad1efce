//! Damaged images give an answer: no panic, no endless walk, no memory without bound.
#![expect(clippy::unwrap_used, reason = "test helpers")]

#[expect(dead_code, reason = "shared between tests")]
mod common;

use common::{full_medium, metadata};
use kiln_disk::{BlockDevice, MemoryDevice};
use kiln_iso::{Error, Iso, Regions, dump, plan};
use proptest::prelude::*;
use std::sync::LazyLock;

static IMAGE: LazyLock<(MemoryDevice, u64)> = LazyLock::new(|| {
    let layout = plan(full_medium()).unwrap();
    (metadata(&layout), layout.core.unwrap().offset)
});

fn look(device: &MemoryDevice) {
    let Ok(iso) = Iso::open(device) else { return };
    let _ = iso.boot_entries();
    let _ = dump(&iso);
    if let Ok(entries) = iso.entries() {
        for entry in &entries {
            let _ = iso.read(entry, 100_000);
        }
    }
    if let Ok(regions) = Regions::find(&iso) {
        let _ = regions.read(device);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn changed_bytes(changes in prop::collection::vec((any::<u32>(), any::<u8>(), any::<bool>()), 1..12)) {
        let (image, end) = &*IMAGE;
        let mut device = image.clone();
        for (at, value, low) in changes {
            // Most of the bytes that mean something are between the descriptors and the files.
            let at = 32768 + u64::from(at) % (end - 32768);
            let value = if low { value & 3 } else { value };
            device.write_at(at, &[value]).unwrap();
        }
        look(&device);
    }

    #[test]
    fn any_bytes_behind_a_descriptor(bytes in prop::collection::vec(any::<u8>(), 0..6000)) {
        let mut device = MemoryDevice::empty(1 << 20, 512).unwrap();
        device.write_at(32768, &bytes).unwrap();
        device.write_at(32768, b"\x01CD001\x01").unwrap();
        device.write_at(32768 + 128, &[0, 8]).unwrap();
        look(&device);
    }
}

#[test]
fn every_cut_is_answered() {
    let (image, end) = &*IMAGE;
    let bytes = image.to_vec();
    for length in (0..*end as usize).step_by(1777) {
        look(&MemoryDevice::new(&bytes[..length], 512).unwrap());
    }
    assert!(Iso::open(&MemoryDevice::new(&bytes[..34816], 512).unwrap()).is_err());
    let none = MemoryDevice::empty(1 << 20, 512).unwrap();
    assert!(matches!(Iso::open(&none), Err(Error::NotIso)));
}

#[test]
fn a_directory_in_itself_is_refused() {
    let (image, _) = &*IMAGE;
    let iso = Iso::open(image).unwrap();
    let entries = iso.entries().unwrap();
    let names: Vec<String> = entries.iter().map(kiln_iso::Entry::display_path).collect();
    assert!(names.contains(&"boot".to_owned()));
    // The record of `BARE` in the root directory: let it lead to the root again.
    let bytes = image.to_vec();
    let at = bytes.windows(5).position(|window| window == b"\x04BARE").unwrap() - 32;
    let root = &bytes[32768 + 156 + 2..32768 + 156 + 10];
    let mut device = image.clone();
    device.write_at(at as u64 + 2, root).unwrap();
    let error = Iso::open(&device).unwrap().entries().unwrap_err();
    assert!(
        matches!(error, Error::Damaged { reason: "a directory is in two others", .. }),
        "{error}"
    );
}
