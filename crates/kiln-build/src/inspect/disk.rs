//! A disk: its partitions, what the ESP holds, and which boot file proves which slot.
//!
//! A boot file names a slot by its contents: the top block of the slot's hash tree has the digest
//! on the command line. That is the first process's own test, so what is shown here is what boots.
//! A boot file that proves no slot is shown at those whose length it fits, as not agreeing, because
//! damage of the top block looks exactly like that.

use kiln_boot::entry::FOLDER;
use kiln_disk::fat::Fat;
use kiln_disk::gpt::{Copy, read};
use kiln_disk::{Gpt, PartitionEntry, layout};
use kiln_verity::{BLOCK, verify_block};
use serde::Serialize;

use super::boot_file::{self, BootFileFacts};
use super::root::{self, RootFacts};
use super::view::View;
use super::{MAXIMUM_BOOT_FILE, chain};

/// Sector sizes in bytes in the order in which they are tried.
const SECTOR_SIZES: [u32; 2] = [512, 4096];
/// Boot files of one ESP that are read; a machine has three.
const MAXIMUM_BOOT_FILES: usize = 32;

/// What a disk is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskFacts {
    /// 512 or 4096.
    pub sector_size: u32,
    /// Identifier of the disk.
    pub guid: String,
    /// `primary`, or `backup` if the primary table is damaged.
    pub table: &'static str,
    /// Whether both copies of the table are valid and equal.
    pub tables_agree: bool,
    /// By their number.
    pub partitions: Vec<PartitionFacts>,
    /// The EFI system partition.
    pub esp: Option<EspFacts>,
    /// Partitions for root images.
    pub slots: Vec<SlotFacts>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionFacts {
    /// Number in the table.
    pub number: u32,
    /// Name in the table.
    pub name: String,
    /// `bios`, `esp`, `root`, `state`, `recovery` or `other`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Type as the table has it.
    pub type_guid: String,
    /// Identifier of the partition.
    pub guid: String,
    /// Where it starts.
    pub start: u64,
    /// Its length.
    pub length: u64,
}

/// The EFI system partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EspFacts {
    /// Number of the partition.
    pub partition: u32,
    /// Label of the file system.
    pub label: String,
    /// Files by their path.
    pub files: Vec<EspFile>,
    /// What those in `EFI/Linux` start.
    pub boot_files: Vec<EspBootFile>,
    /// Why it cannot be read, if it cannot.
    pub problem: Option<String>,
}

/// A file in the ESP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EspFile {
    /// Path from the root of the ESP.
    pub path: String,
    /// Its length.
    pub length: u64,
}

/// A boot file in the ESP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EspBootFile {
    /// Path from the root of the ESP.
    pub path: String,
    /// What it is.
    pub facts: Option<BootFileFacts>,
    /// Why it cannot be read, if it cannot.
    pub problem: Option<String>,
}

/// A partition for a root image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotFacts {
    /// Number of the partition.
    pub partition: u32,
    /// Name in the table.
    pub name: String,
    /// Boot files that name it.
    pub named_by: Vec<NamedBy>,
    /// The image in it.
    pub root: Option<RootFacts>,
    /// Why there is none.
    pub problem: Option<String>,
}

/// A boot file that names a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedBy {
    /// Path from the root of the ESP.
    pub path: String,
    /// Whether the slot's top hash block has the digest on the file's command line.
    pub top_block_agrees: bool,
}

/// Reads a disk; the error is a reason.
pub(super) fn facts(
    device: &dyn kiln_disk::BlockDevice,
    directories: usize,
) -> Result<DiskFacts, String> {
    let located = SECTOR_SIZES
        .iter()
        .find_map(|sector_size| {
            let view = View::whole(device).with_sectors(*sector_size);
            read(&view).ok().map(|located| (view, located))
        })
        .ok_or("it is no disk with a partition table, no root image and no boot file")?;
    let (view, located) = located;
    let table = &located.table;
    let esp = table
        .partitions
        .iter()
        .find(|(_, entry)| entry.type_guid == layout::ESP.type_guid)
        .map(|(number, entry)| esp(view, table, *number, entry));
    let boot_files = esp.as_ref().map_or(&[][..], |esp| &esp.boot_files);
    let slots = slots(view, table, boot_files, directories);
    Ok(DiskFacts {
        sector_size: table.sector_size,
        guid: table.disk_guid.to_string(),
        table: match located.copy {
            Copy::Primary => "primary",
            Copy::Backup => "backup",
        },
        tables_agree: located.other_agrees,
        partitions: table
            .partitions
            .iter()
            .map(|(number, entry)| PartitionFacts {
                number: *number,
                name: entry.name.clone(),
                kind: kind(entry),
                type_guid: entry.type_guid.to_string(),
                guid: entry.guid.to_string(),
                start: entry.offset(table.sector_size),
                length: entry.length(table.sector_size),
            })
            .collect(),
        esp,
        slots,
    })
}

fn kind(entry: &PartitionEntry) -> &'static str {
    let roles = [
        (layout::BIOS.type_guid, "bios"),
        (layout::ESP.type_guid, "esp"),
        (layout::ROOT_TYPE, "root"),
        (layout::STATE.type_guid, "state"),
        (layout::RECOVERY.type_guid, "recovery"),
    ];
    let role = roles.iter().find(|(guid, _)| *guid == entry.type_guid);
    role.map_or("other", |(_, name)| *name)
}

fn part<'a>(view: View<'a>, table: &Gpt, entry: &PartitionEntry) -> View<'a> {
    view.part(entry.offset(table.sector_size), entry.length(table.sector_size))
}

fn esp(view: View<'_>, table: &Gpt, number: u32, entry: &PartitionEntry) -> EspFacts {
    let partition = part(view, table, entry);
    let empty = EspFacts { partition: number, ..EspFacts::default() };
    let read = || -> Result<EspFacts, kiln_disk::Error> {
        let fat = Fat::open(&partition, 0, partition.bytes())?;
        let entries = fat.list()?;
        let files = entries.into_iter().filter(|entry| !entry.directory);
        let files: Vec<EspFile> = files
            .map(|entry| EspFile { path: entry.path, length: u64::from(entry.length) })
            .collect();
        let boot_files = files
            .iter()
            .filter(|file| is_boot_file(&file.path))
            .take(MAXIMUM_BOOT_FILES)
            .map(|file| esp_boot_file(&fat, &file.path))
            .collect();
        let label = String::from_utf8_lossy(&fat.label()).trim_end().to_owned();
        Ok(EspFacts { label, files, boot_files, ..empty.clone() })
    };
    read().unwrap_or_else(|error| EspFacts { problem: Some(chain(&error)), ..empty })
}

fn is_boot_file(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let name = path.strip_prefix(&FOLDER.to_ascii_lowercase());
    let name = name.and_then(|rest| rest.strip_prefix('/'));
    name.is_some_and(|name| name.ends_with(".efi") && !name.contains('/'))
}

fn esp_boot_file(fat: &Fat<'_>, path: &str) -> EspBootFile {
    let facts = fat
        .read(path, MAXIMUM_BOOT_FILE)
        .map_err(|error| chain(&error))
        .and_then(|bytes| boot_file::facts(&bytes).map_err(|error| chain(&error)));
    let (facts, problem) = match facts {
        Ok(facts) => (Some(facts), None),
        Err(problem) => (None, Some(problem)),
    };
    EspBootFile { path: path.to_owned(), facts, problem }
}

fn slots(
    view: View<'_>,
    table: &Gpt,
    boot_files: &[EspBootFile],
    directories: usize,
) -> Vec<SlotFacts> {
    let mut slots = Vec::new();
    let mut proved = vec![false; boot_files.len()];
    let entries =
        || table.partitions.iter().filter(|(_, entry)| entry.type_guid == layout::ROOT_TYPE);
    for (number, entry) in entries() {
        let partition = part(view, table, entry);
        let mut named_by = Vec::new();
        for (boot_file, proved) in boot_files.iter().zip(&mut proved) {
            if proves(boot_file, partition) {
                *proved = true;
                named_by.push(NamedBy { path: boot_file.path.clone(), top_block_agrees: true });
            }
        }
        let (root, problem) = match root::facts(partition, directories) {
            Ok(root) => (Some(root), None),
            Err(kiln_erofs::Error::NotErofs) => (None, Some("it holds no root image".to_owned())),
            Err(error) => (None, Some(chain(&error))),
        };
        let name = entry.name.clone();
        slots.push(SlotFacts { partition: *number, name, named_by, root, problem });
    }
    for slot in &mut slots {
        let blocks = slot.root.as_ref().map(|root| root.verity.data_blocks);
        for (boot_file, proved) in boot_files.iter().zip(&proved) {
            let named = boot_file.facts.as_ref().and_then(|facts| facts.root.as_ref());
            if !proved && named.is_some_and(|named| Some(named.data_blocks) == blocks) {
                let path = boot_file.path.clone();
                slot.named_by.push(NamedBy { path, top_block_agrees: false });
            }
        }
    }
    slots
}

/// Whether the block where the boot file expects the top of the tree has its digest.
fn proves(boot_file: &EspBootFile, slot: View<'_>) -> bool {
    let named = boot_file.facts.as_ref().and_then(|facts| facts.root.as_ref());
    named.is_some_and(|named| {
        let argument = &named.argument;
        let mut block = [0; BLOCK];
        kiln_disk::BlockDevice::read_at(&slot, argument.hash_offset(), &mut block).is_ok()
            && verify_block(&argument.salt, &block, &argument.root.0)
    })
}
