//! Disks of a release: what goes where.
//!
//! A built disk carries the ESP and slot A, or recovery in its place; the first boot adds the rest,
//! because only the machine knows how large its disk is. Disks of virtual machines are larger than
//! their contents from the start, so that they have room without anybody growing them; clouds give
//! a machine a disk of the wanted size themselves.

use std::fs::File;

use kiln_disk::fat::{FatFile, format_filesystem};
use kiln_disk::gpt::Gpt;
use kiln_disk::layout::{self, BuildOptions as LayoutOptions};
use kiln_disk::{Guid, PartitionEntry};
use kiln_media::{
    Appliance, Content, Disk, DiskPlan, Format, GceOptions, MediumFacts, Piece, Qcow2Options,
    VhdOptions, VmdkOptions, ZstOptions, check, free_space, write_gce, write_ova, write_qcow2,
    write_raw, write_vhd, write_vmdk, write_zst,
};
use kiln_release::Release;

use crate::assemble::identifier;
use crate::output::Outputs;
use crate::watch::growing;
use crate::{BuildOptions, Error, Mode, Progress, Step, format_size};

/// Label of the ESP's file system: 11 bytes, padded (FAT specification, BS_VolLab).
const ESP_LABEL: &[u8; 11] = b"KILN-ESP   ";

/// systemd-boot's configuration. No `default` line: the newest good entry must win by itself.
const LOADER_CONFIGURATION: &str = "timeout 0\nconsole-mode keep\neditor no\n";

/// Where the ESP keeps the facts of the release that the disk was made with. Later releases are
/// written down by the machine itself.
const DELIVERED_FACTS: &str = "EFI/kiln/release.json";

/// The same of what recovery holds, see `kiln_host::machine`.
const RECOVERY_FACTS: &str = "EFI/kiln/recovery.json";

/// Virtual size of disks for virtual machines (qcow2, VMDK, OVA) in bytes: room for both slots,
/// recovery and a few GiB of state. The file holds only what is written.
const VIRTUAL_LENGTH: u64 = 16 << 30;

/// Level of deflate in all formats that have it: zlib's own default, which `qemu-img convert -c`
/// takes as well, so that `cargo xtask bench media` compares equal with equal.
const DEFLATE_LEVEL: u32 = 6;

/// Level of Zstandard.
const ZSTD_LEVEL: i32 = 3;

/// What a disk carries.
#[derive(Debug)]
pub(crate) struct DiskContents<'a> {
    /// The boot file's path in the ESP.
    pub(crate) boot_path: String,
    pub(crate) boot_file: &'a [u8],
    /// Loaders with their paths in the ESP.
    pub(crate) loaders: &'a [(String, Vec<u8>)],
    /// What is on it, for formats that say so.
    pub(crate) release: &'a Release,
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
    contents: &DiskContents<'_>,
    options: &BuildOptions,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let formats = options.formats.disks();
    if formats.is_empty() {
        return Ok(());
    }
    let table = table(contents, options)?;
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
    let disk = Disk::planned(&plan)?;
    tell_sizes(&disk, &formats, contents.root, progress);
    let mut writer = Writer { disk: &disk, plan: &plan, contents, options, vmdk: None };
    let mut written = Vec::new();
    for format in formats {
        let file = outputs.create(&format!("{}.{}", contents.release.name, format.ending()))?;
        if format == Format::Ova && writer.vmdk.is_none() {
            // The one format that is made from another, which then has no name.
            writer.write(Format::Vmdk, outputs.unnamed()?, progress)?;
        }
        written.push((format, writer.write(format, file, progress)?));
    }
    if options.check {
        progress.step(Step::Check);
        for (format, file) in &written {
            check(&disk, *format, file)?;
            progress.detail(&format!("{} holds what was planned", format.ending()));
        }
    }
    Ok(())
}

/// Says how large the disk is, and warns where there is clearly no room for it. It is no error:
/// some file systems store the same bytes once.
fn tell_sizes(disk: &Disk<'_>, formats: &[Format], beside: &File, progress: &mut dyn Progress) {
    let (length, occupied) = (disk.length(), disk.occupied());
    progress.detail(&format!(
        "a disk of {}, of which {} are in use",
        format_size(length),
        format_size(occupied)
    ));
    // The length of the others depends on how well the contents pack.
    let is_plain = |format: &&Format| matches!(format, Format::Raw | Format::Vhd);
    let needed = occupied.saturating_mul(formats.iter().filter(is_plain).count() as u64);
    if let Some(free) = free_space(beside).filter(|free| *free < needed) {
        progress.warning(&format!(
            "the disks need {}, and {} are free",
            format_size(needed),
            format_size(free)
        ));
    }
}

/// Writes one format after the other.
struct Writer<'a> {
    disk: &'a Disk<'a>,
    plan: &'a DiskPlan<'a>,
    contents: &'a DiskContents<'a>,
    options: &'a BuildOptions,
    /// The VMDK, once there is one: an OVA holds it.
    vmdk: Option<(File, MediumFacts)>,
}

impl Writer<'_> {
    /// Writes a format into its file and returns the file.
    fn write(
        &mut self,
        format: Format,
        file: File,
        progress: &mut dyn Progress,
    ) -> Result<File, Error> {
        let (disk, threads) = (self.disk, self.options.threads);
        let virtual_length = Some(disk.length().max(VIRTUAL_LENGTH));
        let identifier = identifier(format.ending(), self.contents.root_hash);
        let [a, b, c, d, ..] = identifier;
        let vmdk = VmdkOptions {
            virtual_length,
            level: DEFLATE_LEVEL,
            threads,
            content: u32::from_le_bytes([a, b, c, d]),
        };
        let work = || match format {
            Format::Raw => write_raw(&file, self.plan).map(|_| None),
            Format::RawZst => {
                write_zst(disk, &file, &ZstOptions { level: ZSTD_LEVEL, threads }).map(|_| None)
            }
            Format::Qcow2 => {
                let compression = Some(DEFLATE_LEVEL);
                let options = Qcow2Options { virtual_length, compression, threads };
                write_qcow2(disk, &file, &options).map(|_| None)
            }
            Format::Vmdk => write_vmdk(disk, &file, &vmdk).map(Some),
            Format::Ova => match &self.vmdk {
                Some((vmdk, facts)) => {
                    let appliance = appliance(self.contents.release, *facts);
                    write_ova(vmdk, &file, &appliance).map(|_| None)
                }
                // It is written before, see `write`.
                None => Ok(None),
            },
            Format::Vhd => write_vhd(disk, &file, &VhdOptions { identifier }).map(|_| None),
            Format::Gce => {
                let options = GceOptions { level: DEFLATE_LEVEL, threads };
                write_gce(disk, &file, &options).map(|_| None)
            }
        };
        let facts = growing(&file, disk.occupied(), progress, work)?;
        if let Some(facts) = facts {
            let handle = file.try_clone().map_err(Error::Contents)?;
            self.vmdk = Some((handle, facts));
        }
        Ok(file)
    }
}

fn appliance(release: &Release, disk: MediumFacts) -> Appliance<'_> {
    Appliance {
        name: &release.name,
        title: &release.title,
        version: &release.version,
        is_x86: release.architecture == "amd64",
        disk,
    }
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
