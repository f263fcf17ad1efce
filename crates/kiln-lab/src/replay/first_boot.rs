//! What the first boot would do on a disk that a power cut left behind, and that it does no harm.
//!
//! [`FirstBoot::check`] takes the decisions of `kiln-init` by its own functions, carries them out on
//! a copy, and cuts that short again wherever it writes: recovering from a power cut is when the
//! next one comes. mkfs is not run here; a superblock written and flushed at its place stands for
//! it, so that the order of file system and name is still tested.
//!
//! Invariants, for every disk: the table can be read and leads to the same boot disk, the same ESP
//! and the same slot; the slot has the bytes that were built; the ESP has the boot file, whole,
//! under its name or under the one that the loader's counting gives it; a state partition that is
//! not to be formatted has a superblock; and going on ends with a complete table, both copies
//! alike, in a few steps.

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use kiln_disk::fat::Fat;
use kiln_disk::gpt::{self, Located};
use kiln_disk::layout::{self, CompleteOptions, ESP, ROOT_A, STATE, Stage};
use kiln_disk::replay::RecordingDevice;
use kiln_disk::{BlockDevice, Gpt, Guid};
use kiln_init::choice::{self, Candidate};
use kiln_init::cmdline::Mode;
use kiln_init::plan::{self, Step};
use kiln_init::superblock::{self, Superblock};
use kiln_verity::RootArgument;
use sha2::{Digest, Sha256};

use super::operation::Operation;
use super::overlay::{Base, Overlay};
use super::states::{Options, States};

/// Steps that a boot may need before state can be used: complete, format, and one to spare.
const MAXIMUM_STEPS: usize = 3;
/// Largest file that is read from the ESP in bytes; boot files have some ten million.
const MAXIMUM_FILE: u32 = 256 << 20;
/// Bytes at each end of a disk that hold the table, generously.
const TABLE: u64 = 64 << 10;

/// Why a disk is not acceptable: a sentence that names what is broken.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// An invariant does not hold.
    #[error("{0}")]
    Invariant(String),
    /// The product refuses the disk.
    #[error("the disk is refused: {0}")]
    Refused(#[from] kiln_disk::Error),
    /// The product's choice of disk and root fails.
    #[error("no root is found: {0}")]
    NoRoot(#[from] kiln_init::Error),
    /// The record or the base could not be read, which is no finding.
    #[error("cannot read the state: {0}")]
    Read(#[from] io::Error),
    /// Going on from there and cutting power again leads to one of the others.
    #[error("after {step} was cut short ({cut}): {source}")]
    Again {
        /// The step.
        step: String,
        /// Where it was cut.
        cut: String,
        /// What is wrong then.
        source: Box<Broken>,
    },
}

/// How far a disk had come.
#[derive(Debug, Clone)]
pub struct Found {
    /// Stage of the table that a boot would read.
    pub stage: Stage,
    /// Place of the state partition in bytes, if it has its lasting name.
    pub state: Option<Range<u64>>,
    /// Its superblock then.
    pub superblock: Option<Superblock>,
    /// Power cuts inside of what the boot would have done, that were checked, too.
    pub second_cuts: usize,
}

/// The name and digest of each file of an ESP.
type Files = Vec<(String, Vec<u8>)>;

/// The check for one built image.
#[derive(Debug)]
pub struct FirstBoot {
    root: RootArgument,
    esp: Range<u64>,
    slot: Range<u64>,
    files: Files,
    /// Digests of ESPs that were found good, and of tables that were followed to the end.
    good_esps: HashSet<u128>,
    followed: HashSet<u128>,
}

impl FirstBoot {
    /// Takes the built disk as the measure of all that follow; `root` is what its boot file wants.
    ///
    /// # Errors
    /// The disk is not a built one.
    pub fn new(base: &Arc<Base>, root: RootArgument) -> Result<Self, Broken> {
        let disk = Overlay::new(Arc::clone(base));
        let table = gpt::read(&disk)?.table;
        if layout::stage(&table)? != Stage::Built {
            return Err(Broken::Invariant("the image has been booted before".into()));
        }
        let (esp, slot) = (place(&table, ESP)?, place(&table, ROOT_A)?);
        let files = list(&disk, &esp)?;
        Ok(Self { root, esp, slot, files, good_esps: HashSet::new(), followed: HashSet::new() })
    }

    /// Place in bytes of the ESP.
    #[must_use]
    pub fn esp(&self) -> Range<u64> {
        self.esp.clone()
    }

    /// Number of different ESPs that were seen.
    #[must_use]
    pub fn esps(&self) -> usize {
        self.good_esps.len()
    }

    /// Checks one disk, and what would become of it.
    ///
    /// # Errors
    /// The broken invariant.
    pub fn check(&mut self, disk: &Overlay) -> Result<Found, Broken> {
        let located = self.check_now(disk)?;
        let stage = layout::stage(&located.table)?;
        let state = match stage {
            Stage::Complete => Some(place(&located.table, STATE)?),
            Stage::Built | Stage::Unformatted => None,
        };
        let superblock = match &state {
            Some(state) => Some(finished_superblock(disk, state)?),
            None => None,
        };
        let second_cuts = self.follow(disk, located, true)?;
        Ok(Found { stage, state, superblock, second_cuts })
    }

    /// What must hold on a disk as it is.
    fn check_now(&mut self, disk: &Overlay) -> Result<Located, Broken> {
        let located = gpt::read(disk)?;
        let table = &located.table;
        for (role, expected) in [(ESP, &self.esp), (ROOT_A, &self.slot)] {
            if place(table, role)? != *expected {
                return Err(Broken::Invariant(format!("{} has moved", role.name)));
            }
        }
        // With the loader's word for it, and without.
        let esp = table.partitions.get(&ESP.number).map(|partition| partition.guid);
        for loader in [esp, None] {
            let candidates = [Candidate { name: "disk", table }];
            if choice::boot_disk(&candidates, loader, false)? != Some(0) {
                return Err(Broken::Invariant("the boot disk is not recognised".into()));
            }
        }
        if choice::root_partitions(table, Mode::System).first() != Some(&ROOT_A.number) {
            return Err(Broken::Invariant("slot A is not tried first".into()));
        }
        let Range { start, end } = self.slot;
        if !choice::holds_root(disk, start, end - start, &self.root)? {
            return Err(Broken::Invariant("slot A has another root hash".into()));
        }
        if disk.digest_of(self.slot.clone())? != 0 {
            return Err(Broken::Invariant("slot A has changed".into()));
        }
        let digest = disk.digest_of(self.esp.clone())?;
        if !self.good_esps.contains(&digest) {
            self.check_esp(disk)?;
            self.good_esps.insert(digest);
        }
        Ok(located)
    }

    /// All files are there and whole; counting may have renamed the boot file.
    fn check_esp(&self, disk: &Overlay) -> Result<(), Broken> {
        let plain = |files: &Files| -> Files {
            files.iter().map(|(path, digest)| (without_counter(path), digest.clone())).collect()
        };
        let (found, expected) = (list(disk, &self.esp)?, plain(&self.files));
        if plain(&found) != expected {
            let names: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
            return Err(Broken::Invariant(format!("the ESP has other files: {}", names.join(" "))));
        }
        Ok(())
    }

    /// Goes on as the boot would, to the end; returns the number of second cuts.
    fn follow(&mut self, disk: &Overlay, located: Located, cut: bool) -> Result<usize, Broken> {
        let length = disk.length();
        let ends = [disk.digest_of(0..TABLE)?, disk.digest_of(length - TABLE..length)?];
        // The rest of the disk has no say in what the boot does to the table.
        let key = ends[0].wrapping_add(ends[1]);
        if cut && !self.followed.insert(key) {
            return Ok(0);
        }
        let mut second_cuts = 0;
        let mut present = (disk.clone(), located);
        for _ in 0..MAXIMUM_STEPS {
            let (disk, located) = present;
            let step = plan::next(&located, length)?;
            if step == Step::Use {
                finished_superblock(&disk, &place(&located.table, STATE)?)?;
                return Ok(second_cuts);
            }
            let mut device = RecordingDevice::new(disk.clone());
            self.carry_out(&step, &mut device, &located)?;
            let (after, operations) = device.finish();
            if cut {
                let operations: Vec<Operation> =
                    operations.into_iter().map(Operation::from).collect();
                second_cuts += self.cut_again(&disk, &operations, &step)?;
            }
            let located = self.check_now(&after)?;
            present = (after, located);
        }
        Err(Broken::Invariant(format!("state is not usable after {MAXIMUM_STEPS} steps")))
    }

    /// Checks everything that a cut during a step leaves.
    fn cut_again(
        &mut self,
        disk: &Overlay,
        operations: &[Operation],
        step: &Step,
    ) -> Result<usize, Broken> {
        let mut count = 0;
        for state in States::new(disk.clone(), operations, Options::default()) {
            let state = state?;
            let outcome = self
                .check_now(&state.disk)
                .and_then(|located| self.follow(&state.disk, located, false));
            if let Err(source) = outcome {
                let (step, cut) = (format!("{step:?}"), state.cut.to_string());
                return Err(Broken::Again { step, cut, source: Box::new(source) });
            }
            count += 1;
        }
        Ok(count)
    }

    /// Does to the device what the boot does, in its order.
    fn carry_out(
        &self,
        step: &Step,
        device: &mut RecordingDevice<Overlay>,
        located: &Located,
    ) -> Result<(), Broken> {
        let table = match step {
            Step::Complete => {
                let options = identities();
                let image = self.root.image_length();
                layout::complete(&located.table, device.length(), image, &options)?
            }
            Step::Format => {
                let state = place(&located.table, STATE)?;
                device.write_at(state.start + superblock::OFFSET, &stand_in(&state))?;
                device.flush()?;
                layout::finish_state(&located.table)?
            }
            Step::Grow(grown) => grown.clone(),
            Step::Repair | Step::Use => located.table.clone(),
        };
        let writes = gpt::update(located, &table)?;
        Ok(kiln_disk::apply(device, &writes)?)
    }
}

/// Place of a partition in bytes.
fn place(table: &Gpt, role: layout::Role) -> Result<Range<u64>, Broken> {
    let partition = table
        .partitions
        .get(&role.number)
        .ok_or_else(|| Broken::Invariant(format!("{} is missing", role.name)))?;
    let (start, length) =
        (partition.offset(table.sector_size), partition.length(table.sector_size));
    Ok(start..start + length)
}

/// Paths and digests of all files of an ESP, sorted.
fn list(disk: &Overlay, esp: &Range<u64>) -> Result<Files, Broken> {
    let fat = Fat::open(disk, esp.start, esp.end - esp.start)?;
    let mut files = Vec::new();
    for entry in fat.list()? {
        if !entry.directory {
            let content = fat.read(&entry.path, MAXIMUM_FILE)?;
            files.push((entry.path, Sha256::digest(&content).to_vec()));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// A boot file's path without the counter of tries (Automatic Boot Assessment: `+left-done`).
fn without_counter(path: &str) -> String {
    match path.strip_suffix(".efi").and_then(|path| path.split_once('+')) {
        Some((name, _)) => format!("{name}.efi"),
        None => path.to_owned(),
    }
}

/// The superblock of a state partition that must be finished.
fn finished_superblock(disk: &Overlay, state: &Range<u64>) -> Result<Superblock, Broken> {
    let mut bytes = [0; superblock::LENGTH];
    disk.read_at(state.start + superblock::OFFSET, &mut bytes)?;
    let superblock = superblock::parse(&bytes)
        .ok_or_else(|| Broken::Invariant("the finished state has no file system".into()))?;
    if superblock.blocks.saturating_mul(superblock.block_length) > state.end - state.start {
        return Err(Broken::Invariant("the file system is larger than its partition".into()));
    }
    Ok(superblock)
}

/// What stands for the outcome of mkfs: the fields that are looked at.
fn stand_in(state: &Range<u64>) -> [u8; superblock::LENGTH] {
    let mut bytes = [0; superblock::LENGTH];
    let blocks = ((state.end - state.start) / 4096) as u32;
    bytes[0x04..0x08].copy_from_slice(&blocks.to_le_bytes());
    bytes[0x18] = 2;
    bytes[0x38..0x3b].copy_from_slice(&[0x53, 0xef, 1]);
    bytes
}

/// The identities of "this" machine.
fn identities() -> CompleteOptions {
    let guid = |byte| Guid::from_random([byte; 16]);
    CompleteOptions {
        recovery: true,
        disk_guid: guid(1),
        esp_guid: guid(2),
        root_a_guid: guid(3),
        root_b_guid: guid(4),
        state_guid: guid(5),
        recovery_guid: guid(6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_no_part_of_a_name() {
        for (path, expected) in [
            ("EFI/Linux/kiln-00000001+3-0.efi", "EFI/Linux/kiln-00000001.efi"),
            ("EFI/Linux/kiln-00000001+2-1.efi", "EFI/Linux/kiln-00000001.efi"),
            ("EFI/Linux/kiln-00000001.efi", "EFI/Linux/kiln-00000001.efi"),
            ("loader/a+b.conf", "loader/a+b.conf"),
        ] {
            assert_eq!(without_counter(path), expected);
        }
    }
}
