//! A hybrid ISO: what it is called, what firmware starts from it, its files, and the disk it is as well.
//!
//! Damage is told part by part: a medium whose tree cannot be walked may still show its boot entries.

use kiln_iso::{Entry, EntryKind, Iso, NameKind, Place, Regions};
use serde::Serialize;

use super::chain;
use super::disk::{self, DiskFacts};
use super::view::View;

/// Files and links that are shown; the others are counted.
const MAXIMUM_FILES: usize = 1000;
/// Bytes of a sector as the partition table of a hybrid image has it.
const SECTOR_SIZE: u32 = 512;

/// What an ISO image is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IsoFacts {
    /// Label.
    pub volume_id: String,
    /// For which system.
    pub system_id: String,
    /// What is on it.
    pub application_id: String,
    /// Who made it.
    pub publisher: String,
    /// `YYYYMMDDHHMMSScc`, which other tools take for the UUID of the volume.
    pub modified: String,
    /// Length of the volume.
    pub length: u64,
    /// Where the names below come from: `rock-ridge`, `joliet` or `plain`.
    pub names: &'static str,
    /// Whether there are names for Joliet.
    pub joliet: bool,
    /// What firmware may start from a CD.
    pub boot_entries: Vec<IsoBootEntry>,
    /// Number of files and links.
    pub file_count: usize,
    /// The first thousand of them, by their paths.
    pub files: Vec<IsoFile>,
    /// What the image was customized with, if it can be.
    pub customization: Option<IsoCustomization>,
    /// What the same bytes are as a disk, if they are one.
    pub disk: Option<DiskFacts>,
    /// What could not be read.
    pub problems: Vec<String>,
}

/// Something that firmware may start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IsoBootEntry {
    /// `bios`, `uefi` or `other`.
    pub platform: &'static str,
    /// Whether it is marked as bootable.
    pub bootable: bool,
    /// Sectors of 512 bytes that are loaded; for UEFI, 0 means all that follows.
    pub sectors: u16,
    /// Where it is.
    pub offset: u64,
    /// A file that is there.
    pub file: Option<String>,
}

/// A file or link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IsoFile {
    /// Path from the root of the image.
    pub path: String,
    /// Length of a file.
    pub length: u64,
    /// Where its first byte is; none for an empty file, or for what is none.
    pub offset: Option<u64>,
    /// Target of a link.
    pub target: Option<String>,
}

/// What an image was customized with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IsoCustomization {
    /// Kernel arguments; empty if there are none.
    pub arguments: String,
    /// Names of the documents.
    pub documents: Vec<String>,
    /// Why it cannot be read, if it cannot.
    pub problem: Option<String>,
}

/// Reads an image; the error is a reason.
pub(super) fn facts(view: View<'_>, directories: usize) -> Result<IsoFacts, String> {
    let view = view.with_sectors(SECTOR_SIZE);
    let iso = Iso::open(&view).map_err(|error| chain(&error))?;
    let mut problems = Vec::new();
    let mut told = |error: kiln_iso::Error| problems.push(chain(&error));
    let mut entries = iso.entries().unwrap_or_else(|error| {
        told(error);
        Vec::new()
    });
    entries.retain(|entry| entry.kind != EntryKind::Directory);
    entries.sort_by(|left, right| left.path.cmp(&right.path));
    let boot_entries = iso.boot_entries().unwrap_or_else(|error| {
        told(error);
        Vec::new()
    });
    let boot_entries = boot_entries
        .into_iter()
        .map(|entry| IsoBootEntry {
            platform: match entry.platform {
                kiln_iso::format::catalog::BIOS => "bios",
                kiln_iso::format::catalog::UEFI => "uefi",
                _ => "other",
            },
            bootable: entry.bootable,
            sectors: entry.sectors,
            offset: entry.offset,
            file: entries
                .iter()
                .find(|file| place(file).is_some_and(|place| place.offset == entry.offset))
                .map(Entry::display_path),
        })
        .collect();
    let volume = iso.volume().clone();
    Ok(IsoFacts {
        volume_id: volume.volume_id,
        system_id: volume.system_id,
        application_id: volume.application_id,
        publisher: volume.publisher,
        modified: volume.modified,
        length: volume.length,
        names: match iso.names() {
            NameKind::RockRidge => "rock-ridge",
            NameKind::Joliet => "joliet",
            NameKind::Plain => "plain",
        },
        joliet: volume.joliet,
        boot_entries,
        file_count: entries.len(),
        files: entries.iter().take(MAXIMUM_FILES).map(file).collect(),
        customization: customization(&iso, view),
        // Not every ISO image is a disk.
        disk: disk::facts(&view, directories).ok(),
        problems,
    })
}

/// Where a file with contents starts.
fn place(entry: &Entry) -> Option<Place> {
    match &entry.kind {
        EntryKind::File(extents) => extents.first().copied().filter(|place| place.length > 0),
        _ => None,
    }
}

fn file(entry: &Entry) -> IsoFile {
    IsoFile {
        path: entry.display_path(),
        length: entry.length(),
        offset: place(entry).map(|place| place.offset),
        target: match &entry.kind {
            EntryKind::Symlink(target) => Some(String::from_utf8_lossy(target).into_owned()),
            _ => None,
        },
    }
}

fn customization(iso: &Iso<'_>, view: View<'_>) -> Option<IsoCustomization> {
    let regions = Regions::find(iso).ok()?;
    Some(match regions.read(&view) {
        Ok(with) => IsoCustomization {
            arguments: with.arguments,
            documents: with.documents.into_iter().map(|document| document.name).collect(),
            problem: None,
        },
        Err(error) => {
            IsoCustomization { problem: Some(chain(&error)), ..IsoCustomization::default() }
        }
    })
}

#[cfg(test)]
mod tests {
    use kiln_disk::{MemoryDevice, apply};
    use kiln_iso::{BiosBoot, Content, Customization, Document, Medium, Partition, Tree};

    use super::*;
    use crate::inspect::{Contents, FORMAT, FileFacts, Report, inspect_device, to_text};

    #[test]
    fn a_medium_shows_its_files_boot_entries_and_partitions() {
        let mut tree = Tree::new();
        tree.file("boot/kernel", 0o644, Content::bytes(vec![1; 3000])).unwrap();
        tree.file("root.img", 0o644, Content::partition(Partition::Root)).unwrap();
        tree.symlink("link", "boot/kernel").unwrap();
        let mut medium = Medium::new("COS_LIVE", [1; 32], tree);
        let core = vec![3; 4000];
        medium.bios = Some(BiosBoot { path: "boot/core.img", core: &core, boot_code: None });
        medium.esp = Some(Content::bytes(vec![4; 4096]));
        medium.root = Some(Content::bytes(vec![5; 8192]));
        medium.customizable = true;
        let layout = kiln_iso::plan(medium).unwrap();
        let mut image = Vec::new();
        kiln_iso::stream(&layout, &mut image).unwrap();
        let mut device = MemoryDevice::new(&image, 512).unwrap();
        let regions = Regions::find(&Iso::open(&device).unwrap()).unwrap();
        let document = Document { name: "config.ign".into(), bytes: b"{}".to_vec() };
        let with = Customization { arguments: "quiet".into(), documents: vec![document] };
        apply(&mut device, &regions.customize(&with).unwrap()).unwrap();

        let Ok(Contents::Iso(facts)) = inspect_device(&device, 3) else { panic!("no ISO") };
        assert_eq!(
            (&*facts.volume_id, facts.names, facts.file_count),
            ("COS_LIVE", "rock-ridge", 6)
        );
        let [bios, uefi] = &facts.boot_entries[..] else { panic!("{facts:?}") };
        assert_eq!((bios.platform, bios.file.as_deref()), ("bios", Some("boot/core.img")));
        assert_eq!((uefi.platform, uefi.offset), ("uefi", layout.esp.unwrap().offset));
        let disk = facts.disk.as_ref().unwrap();
        let kinds: Vec<_> = disk.partitions.iter().map(|part| (part.number, part.kind)).collect();
        assert_eq!(kinds, [(2, "esp"), (3, "root")]);
        let customization = facts.customization.clone().unwrap();
        assert_eq!(customization.documents, ["config.ign"]);
        let file = FileFacts { length: layout.length, medium: None, qcow2: None };
        let text = to_text(&Report { format: FORMAT, file, contents: Contents::Iso(facts) });
        for line in [
            "  File         ISO image, 5.0 MiB\n",
            "  Label        COS_LIVE\n",
            "kiln-medium-root",
            "  bios  bootable",
            "link -> boot/kernel",
            "  Arguments  quiet\n",
        ] {
            assert!(text.contains(line), "{line:?}\n{text}");
        }
    }
}
