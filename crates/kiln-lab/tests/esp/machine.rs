//! A disk of one ESP and two slots, and what the loader would start of it.
//!
//! There is no table: what is asked here is the order of writes to the ESP and the slots, and
//! thousands of disks have to be looked at. Small slots are proved wholly, by their hash tree.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use kiln_boot::entry::{EntryName, FOLDER, Listed, sort};
use kiln_boot::uki;
use kiln_disk::BlockDevice as _;
use kiln_disk::fat::{Fat, FatFile, format_filesystem};
use kiln_lab::efi;
use kiln_lab::replay::{Base, Overlay};
use kiln_verity::RootArgument;

/// The shortest ESP that is FAT32, in bytes.
pub const ESP: Range<u64> = 0..34 << 20;
/// Bytes of a slot.
pub const SLOT: u64 = 32 << 10;
/// Length of the disk in bytes.
const DISK: u64 = ESP.end + 2 * SLOT;
/// Blocks of data in a root.
const BLOCKS: u64 = 4;
/// Largest file that is read, in bytes.
const MAXIMUM_FILE: u32 = 1 << 20;

/// Place of a slot on the disk.
pub fn slot(number: usize) -> Range<u64> {
    let start = ESP.end + number as u64 * SLOT;
    start..start + SLOT
}

/// One release: a root with its hash tree, and the boot file that wants it.
#[derive(Clone)]
pub struct Release {
    pub root: Vec<u8>,
    pub boot_file: Vec<u8>,
}

impl Release {
    pub fn new(number: u8) -> Self {
        let salt = [number; 32];
        let data: Vec<u8> = (0..BLOCKS * 4096).map(|at| (at % 251) as u8 ^ number).collect();
        let tree = kiln_verity::build(&data[..], BLOCKS, &salt, 1).unwrap();
        let argument = RootArgument { root: tree.root, data_blocks: BLOCKS, salt };
        let line = format!("kiln.root={argument} kiln.mode=system");
        let kernel = vec![number; 2000 + 700 * usize::from(number)];
        let boot_file = efi::image(&[
            (".text", b"\xeb\xfe"),
            (".osrel", b"ID=kiln\nPRETTY_NAME=\"Edge\"\n"),
            (".cmdline", line.as_bytes()),
            (".linux", &kernel),
        ]);
        Self { root: [data, tree.bytes].concat(), boot_file }
    }
}

/// Makes the disk: files on the ESP, and what the slots hold.
pub fn disk(path: &Path, files: &[(String, Vec<u8>)], slots: [&[u8]; 2]) -> Overlay {
    let file = File::create(path).unwrap();
    file.set_len(DISK).unwrap();
    let files: Vec<FatFile<'_>> =
        files.iter().map(|(path, bytes)| FatFile { path, bytes }).collect();
    for (offset, bytes) in format_filesystem(ESP.end, 512, 7, b"KILN-ESP   ", &files).unwrap() {
        file.write_all_at(&bytes, offset).unwrap();
    }
    for (number, bytes) in slots.into_iter().enumerate() {
        file.write_all_at(bytes, slot(number).start).unwrap();
    }
    Overlay::new(Arc::new(Base::open(path, DISK, 512).unwrap()))
}

/// What starts by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Name of the boot file.
    pub file: String,
    /// Digest of the root that it wants and finds.
    pub root: String,
}

/// All that the loader lists, in its order; each entry must start, or why it would not.
pub fn menu(disk: &Overlay) -> Result<Vec<Start>, String> {
    let told = |error: kiln_disk::Error| error.to_string();
    let fat = Fat::open(disk, 0, ESP.end).map_err(told)?;
    let mut files = BTreeMap::new();
    for entry in fat.list().map_err(told)? {
        let name = entry.path.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/'));
        let Some(name) = name.filter(|name| name.to_ascii_lowercase().ends_with(".efi")) else {
            continue;
        };
        let bytes = fat.read(&entry.path, MAXIMUM_FILE).map_err(told)?;
        files.insert(name.to_owned(), bytes);
    }
    let mut listed = Vec::new();
    for (name, bytes) in &files {
        let found = uki::parse(bytes).map_err(|error| format!("{name}: {error}"))?;
        let text = found.section(".osrel").unwrap_or_default();
        listed.extend(Listed::read(name, &String::from_utf8_lossy(text)));
    }
    sort(&mut listed);
    listed.into_iter().map(|entry| start(disk, entry.file, &files)).collect()
}

fn start(disk: &Overlay, file: String, files: &BTreeMap<String, Vec<u8>>) -> Result<Start, String> {
    let broken = |reason: &str| format!("{file}: {reason}");
    let parsed = uki::parse(&files[&file]).map_err(|error| broken(&error.to_string()))?;
    let line = String::from_utf8_lossy(parsed.section(".cmdline").unwrap_or_default());
    let argument: RootArgument = line
        .split(' ')
        .find_map(|word| word.strip_prefix("kiln.root=")?.parse().ok())
        .ok_or_else(|| broken("it names no root"))?;
    let whole = (0..2).any(|number| holds(disk, number, &argument));
    // The kernel is the last section: it says whether all of the file is there.
    let kernel = parsed.section(".linux").unwrap_or_default();
    if kernel.is_empty() || kernel.iter().any(|byte| *byte != kernel[0]) {
        return Err(broken("its kernel is not whole"));
    }
    if !whole {
        return Err(broken("no slot holds its root"));
    }
    Ok(Start { root: argument.root.to_string(), file })
}

/// Whether a slot holds a root, to the last byte.
fn holds(disk: &Overlay, number: usize, argument: &RootArgument) -> bool {
    let mut bytes = vec![0; usize::try_from(argument.image_length().min(SLOT)).unwrap()];
    disk.read_at(slot(number).start, &mut bytes).unwrap();
    let (data, tree) = bytes.split_at(usize::try_from(argument.hash_offset()).unwrap());
    let built = kiln_verity::build(data, argument.data_blocks, &argument.salt, 1).unwrap();
    built.root == argument.root && built.bytes == tree
}

/// What is left after the loader has started an entry, by the name it gives it.
pub fn counted(file: &str) -> Option<String> {
    let name: EntryName = file.parse().ok()?;
    name.counter?;
    Some(name.started().to_string())
}
