//! Documents in folders: of the root, of the own disk, and of the EFI system partition.
//!
//! A folder is walked in lexical order, as Elemental's users expect, and only files whose names end in
//! what a dialect uses are taken; editors' left-overs and README files are not. The EFI system partition is
//! read through Kiln's own FAT reader and never mounted: a file system that firmware and other systems
//! write to is no place for the kernel's trust.

use kiln_disk::BlockDevice;
use kiln_disk::fat::Fat;

use super::{Document, MAXIMUM_DOCUMENTS, Place};
use crate::root::Kind;
use crate::{Error, Root};

/// Ends of names that are taken.
const ENDS: [&str; 5] = [".yaml", ".yml", ".ign", ".json", ".bu"];
/// Levels of folders that are walked.
const MAXIMUM_DEPTH: usize = 8;

/// The folder of the EFI system partition whose documents are taken.
const BOOT_FOLDER: &str = "kiln/provision/";
/// Single files of it: what `coreos-installer` leaves on a boot partition, and a credential that the loader's
/// stub hands over (systemd-stub(7)), which is a document only if it is not encrypted.
const BOOT_FILES: [&str; 2] = ["ignition/config.ign", "loader/credentials/kiln.config.cred"];

/// All documents below a folder of a root, in lexical order of their paths.
///
/// # Errors
/// A file cannot be read or is too large, or there are more than [`MAXIMUM_DOCUMENTS`].
pub fn folder(root: &Root, path: &str, place: Place) -> Result<Vec<Document>, Error> {
    let mut documents = Vec::new();
    walk(root, path.trim_end_matches('/'), place, 0, &mut documents)?;
    Ok(documents)
}

/// One file as a document, whatever its name; nothing where it is not.
pub(super) fn file(root: &Root, path: &str, place: Place) -> Result<Vec<Document>, Error> {
    let limit = kiln_config::source::MAXIMUM_BYTES as u64;
    let found = root.read(path, limit)?;
    Ok(found.map(|bytes| Document { name: path.to_owned(), bytes, place }).into_iter().collect())
}

fn walk(
    root: &Root,
    path: &str,
    place: Place,
    depth: usize,
    documents: &mut Vec<Document>,
) -> Result<(), Error> {
    for name in root.list(if path.is_empty() { "/" } else { path })? {
        let inner = format!("{path}/{name}");
        match root.target(&inner)?.map(|status| status.kind) {
            Some(Kind::Folder) if depth < MAXIMUM_DEPTH => {
                walk(root, &inner, place, depth + 1, documents)?
            }
            Some(Kind::File) if is_document(&name) => {
                if documents.len() >= MAXIMUM_DOCUMENTS {
                    let reason = "the folder holds more documents than a configuration has";
                    return Err(Error::Path { path: path.to_owned(), reason });
                }
                documents.extend(file(root, &inner, place)?);
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_document(name: &str) -> bool {
    let lower = name.to_lowercase();
    !name.starts_with('.') && ENDS.iter().any(|end| lower.ends_with(end))
}

/// Documents of an EFI system partition, which has `length` bytes from `offset` of the device.
pub(super) fn esp(
    device: &dyn BlockDevice,
    offset: u64,
    length: u64,
) -> Result<Vec<Document>, Error> {
    let fat = Fat::open(device, offset, length).map_err(Error::Disk)?;
    let mut entries = fat.list().map_err(Error::Disk)?;
    entries.retain(|entry| {
        // FAT keeps the case of names and does not tell names apart by it.
        let path = entry.path.to_lowercase();
        let inside = path.strip_prefix(BOOT_FOLDER);
        !entry.directory
            && (BOOT_FILES.contains(&path.as_str())
                || inside.is_some_and(|name| !name.contains('/') && is_document(name)))
    });
    // Single files come first, so that those of Kiln's own folder count for more.
    entries.sort_by_key(|entry| {
        let path = entry.path.to_lowercase();
        (path.starts_with(BOOT_FOLDER), path)
    });
    let mut documents = Vec::new();
    for entry in entries.into_iter().take(MAXIMUM_DOCUMENTS) {
        let maximum = u32::try_from(kiln_config::source::MAXIMUM_BYTES).unwrap_or(u32::MAX);
        let bytes = fat.read(&entry.path, maximum).map_err(Error::Disk)?;
        let name = format!("ESP:/{}", entry.path);
        documents.push(Document { name, bytes, place: Place::BootPartition });
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::{esp, folder};
    use crate::Root;
    use crate::sources::Place;

    #[test]
    fn a_folder_is_walked_in_order_and_only_documents_count() {
        let place = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for path in
            ["oem/b.yaml", "oem/a/z.YML", "oem/README", "oem/.swp.yaml", "oem/c.ign", "oem/d.yaml~"]
        {
            write(path, path);
        }
        std::os::unix::fs::symlink("/oem/b.yaml", place.path().join("oem/link.yaml")).unwrap();
        std::os::unix::fs::symlink("../../../etc/passwd", place.path().join("oem/out.yaml"))
            .unwrap();
        std::os::unix::fs::symlink("/oem", place.path().join("oem/a/loop")).unwrap();
        let root = Root::open(place.path()).unwrap();
        let found = folder(&root, "/oem/", Place::OwnDisk).unwrap();
        let names: Vec<_> = found.iter().map(|document| document.name.as_str()).collect();
        assert_eq!(&names[names.len() - 3..], ["/oem/b.yaml", "/oem/c.ign", "/oem/link.yaml"]);
        assert!(names.iter().all(|name| name.starts_with("/oem/")), "{names:?}");
        assert_eq!(found.last().unwrap().bytes, b"oem/b.yaml");
        assert!(folder(&root, "/absent", Place::OwnDisk).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_file_system_is_refused() {
        let device = kiln_disk::MemoryDevice::empty(1 << 20, 512).unwrap();
        assert!(esp(&device, 0, 1 << 20).unwrap_err().sentence().contains("boot sector"));
    }

    #[test]
    fn the_boot_partition_has_two_folders_and_a_credential() {
        use kiln_disk::fat::{FatFile, format_filesystem};
        let length = 40 << 20;
        let files = [
            ("EFI/Linux/kiln-00000001.efi", "x"),
            ("kiln/provision/b.yaml", "b"),
            ("KILN/Provision/A.IGN", "a"),
            ("kiln/provision/deep/c.yaml", "c"),
            ("kiln/provision/notes.txt", "n"),
            ("loader/credentials/kiln.config.cred", "credential"),
            ("ignition/config.ign", "{}"),
            ("config.ign", "no"),
        ];
        let files = files.map(|(path, text)| FatFile { path, bytes: text.as_bytes() });
        let mut bytes = vec![0; length];
        for (offset, chunk) in
            format_filesystem(length as u64, 512, 7, b"ESP        ", &files).unwrap()
        {
            let start = usize::try_from(offset).unwrap();
            bytes[start..start + chunk.len()].copy_from_slice(&chunk);
        }
        let device = kiln_disk::MemoryDevice::new(&bytes, 512).unwrap();
        let found = esp(&device, 0, length as u64).unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|one| {
                format!("{} {}", one.name.to_lowercase(), String::from_utf8_lossy(&one.bytes))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "esp:/ignition/config.ign {}",
                "esp:/loader/credentials/kiln.config.cred credential",
                "esp:/kiln/provision/a.ign a",
                "esp:/kiln/provision/b.yaml b",
            ]
        );
    }
}
