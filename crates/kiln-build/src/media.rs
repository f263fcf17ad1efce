//! Disks of a release: what goes where.
//!
//! A built disk carries the ESP and slot A, or recovery in its place; the first boot adds the rest,
//! because only the machine knows how large its disk is. The qcow2 disk is larger than its contents from the start, so that
//! a virtual machine has room without anybody growing it.

use std::fs::File;

use kiln_disk::fat::{FatFile, format_filesystem};
use kiln_disk::gpt::Gpt;
use kiln_disk::layout::{self, BuildOptions as LayoutOptions};
use kiln_disk::{Guid, PartitionEntry};
use kiln_media::{Content, DiskPlan, Piece, Qcow2Options, write_qcow2, write_raw};

use crate::assemble::identifier;
use crate::output::Outputs;
use crate::watch::growing;
use crate::{BuildOptions, Error, Mode, Progress, format_size};

/// Label of the ESP's file system: 11 bytes, padded (FAT specification, BS_VolLab).
const ESP_LABEL: &[u8; 11] = b"KILN-ESP   ";

/// systemd-boot's configuration. No `default` line: the newest good entry must win by itself.
const LOADER_CONFIGURATION: &str = "timeout 0\nconsole-mode keep\neditor no\n";

/// Where the ESP keeps the facts of the release that the disk was made with. Later releases are
/// written down by the machine itself.
const DELIVERED_FACTS: &str = "EFI/kiln/release.json";

/// The same of what recovery holds, see `kiln_host::machine`.
const RECOVERY_FACTS: &str = "EFI/kiln/recovery.json";

/// Virtual size of a qcow2 disk in bytes: room for both slots, recovery and a few GiB of state.
/// The file holds only what is written.
const QCOW2_VIRTUAL_LENGTH: u64 = 16 << 30;

/// What a disk carries.
#[derive(Debug)]
pub(crate) struct DiskContents<'a> {
    /// The boot file's path in the ESP.
    pub(crate) boot_path: String,
    pub(crate) boot_file: &'a [u8],
    /// Loaders with their paths in the ESP.
    pub(crate) loaders: &'a [(String, Vec<u8>)],
    /// `release.json`, which tells the machine what it was delivered with.
    pub(crate) facts: &'a [u8],
    /// The root image with its hash tree.
    pub(crate) root: &'a File,
    /// Its length in bytes.
    pub(crate) root_length: u64,
    /// What every identifier of the disk is derived from.
    pub(crate) root_hash: &'a [u8; 32],
    /// Bytes of the ESP.
    pub(crate) esp_length: u64,
    /// Bytes of a slot, where not computed from the root.
    pub(crate) slot_length: Option<u64>,
}

/// Writes the disks that the options ask for.
pub(crate) fn write(
    outputs: &mut Outputs,
    name: &str,
    contents: &DiskContents<'_>,
    options: &BuildOptions,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    if !options.formats.raw && !options.formats.qcow2 {
        return Ok(());
    }
    let table = table(contents, options)?;
    // The qcow2 disk is made from the raw one, which then may have to go without a name.
    let raw = if options.formats.raw {
        outputs.create(&format!("{name}.raw"))?
    } else {
        outputs.unnamed()?
    };
    let esp = placed(&table, layout::ESP)?;
    let loaders = contents.loaders.iter();
    let mut files: Vec<FatFile<'_>> =
        loaders.map(|(path, bytes)| FatFile { path, bytes }).collect();
    files.extend([
        FatFile { path: "loader/loader.conf", bytes: LOADER_CONFIGURATION.as_bytes() },
        FatFile { path: &contents.boot_path, bytes: contents.boot_file },
        FatFile { path: DELIVERED_FACTS, bytes: contents.facts },
    ]);
    if options.mode == Mode::Recovery {
        files.push(FatFile { path: RECOVERY_FACTS, bytes: contents.facts });
    }
    let esp_chunks = format_filesystem(
        esp.length(table.sector_size),
        table.sector_size,
        volume_id(contents.root_hash),
        ESP_LABEL,
        &files,
    )?;
    let pieces =
        esp_chunks.into_iter().map(|(offset, bytes)| Piece::Bytes { offset, bytes }).collect();
    let root =
        Piece::File { offset: 0, from: 0, file: contents.root, length: contents.root_length };
    let plan = DiskPlan {
        contents: vec![
            Content { partition: layout::ESP.number, pieces },
            Content { partition: slot(options.mode).number, pieces: vec![root] },
        ],
        table,
    };
    let written =
        contents.root_length + files.iter().map(|file| file.bytes.len() as u64).sum::<u64>();
    let length = growing(&raw, written, progress, || write_raw(&raw, &plan))?;
    if options.formats.qcow2 {
        let file = outputs.create(&format!("{name}.qcow2"))?;
        let qcow2 = Qcow2Options {
            virtual_length: Some(length.max(QCOW2_VIRTUAL_LENGTH)),
            compression: None,
            threads: options.threads,
        };
        growing(&file, written, progress, || write_qcow2(&raw, &file, &qcow2))?;
    }
    Ok(())
}

fn table(contents: &DiskContents<'_>, options: &BuildOptions) -> Result<Gpt, Error> {
    let guid = |purpose| Guid(identifier(purpose, contents.root_hash));
    let layout_options = LayoutOptions {
        sector_size: options.sector_size,
        esp_length: contents.esp_length,
        slot_length: contents.slot_length,
        disk_guid: guid("disk"),
        esp_guid: guid("esp"),
        root_a_guid: guid("root-a"),
    };
    let built = match options.mode {
        Mode::System => layout::built_image(contents.root_length, &layout_options),
        Mode::Recovery => layout::built_recovery_image(contents.root_length, &layout_options),
    };
    built.map_err(|error| match error {
        kiln_disk::Error::SlotTooSmall { image, slot } => {
            Error::SlotTooSmall { needed: format_size(image), slot: format_size(slot) }
        }
        other => other.into(),
    })
}

/// Where the root is.
fn slot(mode: Mode) -> layout::Role {
    match mode {
        Mode::System => layout::ROOT_A,
        Mode::Recovery => layout::RECOVERY,
    }
}

fn placed(table: &Gpt, role: layout::Role) -> Result<&PartitionEntry, Error> {
    table.named(role.name).map(|(_, entry)| entry).ok_or_else(|| Error::Layer {
        path: role.name.to_owned(),
        reason: "the layout has no such partition".to_owned(),
    })
}

fn volume_id(root_hash: &[u8; 32]) -> u32 {
    let [a, b, c, d, ..] = identifier("esp volume", root_hash);
    u32::from_le_bytes([a, b, c, d])
}
