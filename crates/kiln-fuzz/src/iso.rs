//! ISO images, on a sparse disk.

use kiln_disk::BlockDevice;
use kiln_iso::{EntryKind, Iso, Regions, dump};

use crate::sparse::SparseDisk;

/// Files read from an image, and the most bytes of each.
const FILES: usize = 100;
const FILE_BYTES: usize = 256 << 10;
/// Entries that are looked for by their path: each reads directories again.
const SEARCHED: usize = 8;

/// Walks an image and reads its files. Whatever is accepted lies inside of the disk, has names that
/// lead nowhere else, and is found by its path.
pub fn iso(data: &[u8]) -> bool {
    let Some(disk) = SparseDisk::parse(data) else { return false };
    let Ok(iso) = Iso::open(&disk) else { return false };
    let _ = iso.boot_entries();
    if let Ok(regions) = Regions::find(&iso) {
        assert!(regions.area.end() <= disk.length() && regions.arguments.end() <= disk.length());
        if let Ok(with) = regions.read(&disk) {
            assert!(regions.customize(&with).is_ok(), "what was read cannot be written");
        }
    }
    let Ok(entries) = iso.entries() else { return false };
    for entry in &entries {
        let mut names = entry.path.split(|byte| *byte == b'/');
        assert!(names.all(|name| !matches!(name, b"" | b"." | b"..")), "{:?}", entry.path);
        if let EntryKind::File(extents) = &entry.kind {
            let inside =
                |place: &kiln_iso::Place| place.end() <= disk.length() || place.length == 0;
            assert!(extents.iter().all(inside), "an extent outside of the disk");
        }
    }
    for entry in entries.iter().take(FILES) {
        if let Ok(bytes) = iso.read(entry, FILE_BYTES) {
            assert_eq!(bytes.len() as u64, entry.length());
        }
    }
    for entry in entries.iter().take(SEARCHED) {
        let Ok(path) = std::str::from_utf8(&entry.path) else { continue };
        match iso.find(path) {
            Ok(found) => assert_eq!(found.path, entry.path),
            // A file of the same name may hide a directory, and names may be longer than paths take.
            Err(kiln_iso::Error::NoFile(_) | kiln_iso::Error::Path { .. }) => {}
            Err(error) => panic!("{path:?} is listed but not found: {error}"),
        }
    }
    let _ = dump(&iso);
    true
}
