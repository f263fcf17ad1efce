//! The path of the data, from source to media.
//!
//! [`assemble`](crate::assemble()) makes the release, this adds the files that a person or a server
//! takes away: boot file, facts, disks. All of them appear at once, at the end.

use std::io::Write as _;
use std::path::PathBuf;

use kiln_boot::arguments::ADDON_SUFFIX;
use kiln_boot::entry::{EntryName, RECOVERY_PATH};
use kiln_disk::layout::DEFAULT_ESP_LENGTH;
use kiln_release::Release;

use crate::assemble::{Assembled, assemble};
use crate::media::{self, DiskContents};
use crate::output::Outputs;
use crate::{BuildOptions, Error, Mode, Progress, Step};

/// The first generation of a machine: that of its built image.
const FIRST_GENERATION: u32 = 1;

/// Fewer boot files than this in an ESP leave no room for an upgrade: old, new, temporary, recovery.
const BOOT_FILES_IN_ESP: u64 = 4;

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// The release's facts, as in `release.json`.
    pub release: Release,
    /// The files written, absolute or relative as the output folder was given.
    pub files: Vec<PathBuf>,
}

/// Builds everything that `options` ask for.
///
/// # Errors
/// Any of [`Error`]; no file then has its final name.
pub fn build(options: &BuildOptions, progress: &mut dyn Progress) -> Result<Built, Error> {
    let mut outputs = Outputs::new(&options.output)?;
    let Assembled { release, boot_file, recovery_file, layout, loaders, root_hash, root, addons } =
        assemble(options, &mut outputs, progress)?;
    let facts = release.to_json()?;
    write_file(&mut outputs, &format!("{}.efi", release.name), &boot_file, options)?;
    write_file(&mut outputs, &format!("{}.recovery.efi", release.name), &recovery_file, options)?;
    // What the call says wins over what the system brings.
    let esp_length = options.esp_size.or(layout.esp).unwrap_or(DEFAULT_ESP_LENGTH);
    if boot_file.len() as u64 * BOOT_FILES_IN_ESP > esp_length {
        progress.warning("the ESP has no room for an upgrade; give more with --esp-size");
    }
    for addon in &addons {
        let name = format!("{}{ADDON_SUFFIX}", addon.facts.name);
        write_file(&mut outputs, &name, &addon.bytes, options)?;
    }
    write_file(&mut outputs, "release.json", facts.as_bytes(), options)?;

    progress.step(Step::Media);
    let (boot_path, boot_file) = match options.mode {
        Mode::System => (EntryName::fresh(FIRST_GENERATION).path(), &boot_file),
        Mode::Recovery => (RECOVERY_PATH.to_owned(), &recovery_file),
    };
    let disk = DiskContents {
        boot_path,
        boot_file,
        loaders: &loaders,
        release: &release,
        facts: facts.as_bytes(),
        root: &root,
        root_length: release.root.length,
        root_hash: &root_hash.0,
        esp_length,
        slot_length: options.slot_size.or(layout.slot),
    };
    media::write(&mut outputs, &disk, options, progress)?;
    let files = outputs.commit()?;
    Ok(Built { release, files })
}

fn write_file(
    outputs: &mut Outputs,
    name: &str,
    bytes: &[u8],
    options: &BuildOptions,
) -> Result<(), Error> {
    let path = options.output.join(name);
    outputs.create(name)?.write_all(bytes).map_err(|source| Error::write(&path, source))
}
