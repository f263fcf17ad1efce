//! No bytes on a disk, whole garbage or a table and file system with some bytes changed, make the
//! readers panic, loop or take what lies outside the disk.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use kiln_disk::fat::{Fat, FatFile, format_filesystem};
use kiln_disk::gpt::{create, dump, read, update};
use kiln_disk::{BlockDevice, Gpt, Guid, MemoryDevice, PartitionEntry, apply};
use proptest::prelude::*;
use std::sync::LazyLock;

const LENGTH: u64 = 2 << 20;

fn disk(sector_size: u32) -> MemoryDevice {
    let mut table = Gpt::empty(sector_size, LENGTH, Guid([1; 16])).unwrap();
    for number in [1, 2, 9] {
        let first_lba = table.first_usable + u64::from(number) * 4;
        let (guid, attributes) = (Guid([number as u8; 16]), 1);
        let name = "name".to_string();
        let last_lba = first_lba + 3;
        let partition =
            PartitionEntry { type_guid: guid, guid, first_lba, last_lba, attributes, name };
        table.partitions.insert(number, partition);
    }
    let mut device = MemoryDevice::empty(LENGTH, sector_size).unwrap();
    apply(&mut device, &create(&table).unwrap()).unwrap();
    device
}

/// A device that repeats a few bytes: large enough for FAT32 without the memory.
struct Sparse {
    chunks: Vec<(u64, Vec<u8>)>,
    length: u64,
}

impl BlockDevice for Sparse {
    fn sector_size(&self) -> u32 {
        512
    }
    fn length(&self) -> u64 {
        self.length
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.length);
        let end = end.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        buffer.fill(0);
        for (start, bytes) in &self.chunks {
            let from = offset.max(*start);
            let to = end.min(start + bytes.len() as u64);
            if from < to {
                let source = &bytes[(from - start) as usize..(to - start) as usize];
                buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
            }
        }
        Ok(())
    }
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.chunks.push((offset, bytes.to_vec()));
        Ok(())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

static FILE_SYSTEM: LazyLock<Vec<(u64, Vec<u8>)>> = LazyLock::new(|| {
    let content = vec![7; 3000];
    let files = ["EFI/BOOT/BOOTX64.EFI", "EFI/Linux/kiln-00000001+3-0.efi", "loader/loader.conf"]
        .map(|path| FatFile { path, bytes: &content });
    let chunks = format_filesystem(40 << 20, 512, 1, b"KILN       ", &files).unwrap();
    chunks.into_iter().map(|(offset, bytes)| (offset, bytes.into_owned())).collect()
});

fn try_fat(device: &dyn BlockDevice) {
    if let Ok(fat) = Fat::open(device, 0, device.length()) {
        let _ = fat.read("EFI/Linux/kiln-00000001+3-0.efi", 1 << 20);
        for entry in fat.list().unwrap_or_default().into_iter().take(20) {
            let _ = fat.read(&entry.path, 1 << 20);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn tables_with_changed_bytes(
        large in any::<bool>(),
        keep_checksums in any::<bool>(),
        changes in prop::collection::vec((0..96_usize, 0..3_usize, any::<u8>()), 1..6),
    ) {
        let sector = if large { 4096 } else { 512 };
        let mut bytes = disk(sector).to_vec();
        let sector = sector as usize;
        for (at, area, value) in changes {
            let last = bytes.len() - sector;
            bytes[[sector, 2 * sector, last][area] + at] = value;
        }
        if keep_checksums {
            // Hostile rather than damaged: the header's own checksum is right.
            for start in [sector, bytes.len() - sector] {
                bytes[start + 16..start + 20].fill(0);
                let sum = crc32(&bytes[start..start + 92]);
                bytes[start + 16..start + 20].copy_from_slice(&sum.to_le_bytes());
            }
        }
        let device = MemoryDevice::new(&bytes, sector as u32).unwrap();
        if let Ok(found) = read(&device) {
            let _ = dump::dump(&found.table);
            for write in update(&found, &found.table).unwrap_or_default() {
                prop_assert!(write.offset + write.bytes.len() as u64 <= device.length());
            }
        }
    }

    #[test]
    fn disks_of_garbage(bytes in prop::collection::vec(any::<u8>(), 0..20_000), large in any::<bool>()) {
        let mut bytes = bytes;
        let sector_size = if large { 4096 } else { 512 };
        if bytes.len() > 520 {
            bytes[510..520].copy_from_slice(b"\x55\xaaEFI PART");
        }
        let device = MemoryDevice::new(&bytes, sector_size).unwrap();
        prop_assert!(read(&device).is_err());
        try_fat(&device);
    }

    #[test]
    fn file_systems_with_changed_bytes(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..512_u64, any::<u8>()), 1..8),
    ) {
        let chunks = FILE_SYSTEM.clone();
        let mut device = Sparse { chunks, length: 40 << 20 };
        for (index, at, value) in changes {
            let (start, bytes) = index.get(&FILE_SYSTEM);
            device.write_at(start + at % bytes.len() as u64, &[value]).unwrap();
        }
        try_fat(&device);
    }
}

/// The checksum once more, so that a mistake in the crate's own would not cancel out.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 }
        })
    })
}

#[test]
fn directories_that_contain_themselves_end() {
    let mut device = Sparse { chunks: FILE_SYSTEM.clone(), length: 40 << 20 };
    // Point every directory entry of the root at the root's own cluster, and end no chain.
    let fat = Fat::open(&device, 0, 40 << 20).unwrap();
    assert_eq!(fat.list().unwrap().len(), 7);
    let root = FILE_SYSTEM.iter().find(|(_, bytes)| bytes.starts_with(b"KILN       \x08"));
    let (offset, bytes) = root.unwrap().clone();
    let mut changed = bytes;
    for entry in changed.chunks_exact_mut(32).filter(|entry| entry[11] == 0x10) {
        entry[26] = 2;
    }
    device.write_at(offset, &changed).unwrap();
    let fat = Fat::open(&device, 0, 40 << 20).unwrap();
    assert!(fat.list().is_err());
}
