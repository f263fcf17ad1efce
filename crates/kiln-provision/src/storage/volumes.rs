//! Arrays, encrypted volumes and file systems: looked at, decided by the pure parts, then made.
//!
//! The order never changes: what is there is read, the decision is taken, the identity of what will be
//! made is on the disk of the state, and only then the first sector changes.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::PathBuf;

use kiln_config::action::Source;
use kiln_config::storage::{Filesystem, Luks, Raid};
use kiln_disk::BlockDevice;

use super::arrays::{self, KEY_LENGTH, LuksDecision, Member, RaidDecision};
use super::disks::{Disks, Open, fresh};
use super::filesystems::{self, Decision};
use super::kernel::Device;
use super::mounting::parse;
use super::records::{Record, key_file};
use super::signature;
use crate::Error;
use crate::error::{file, marks};

impl Disks<'_> {
    /// An array: assembled where it is there, made where nothing is.
    pub(super) fn raid(&mut self, wanted: &Raid) -> Result<(), Error> {
        self.attempt("an array")?;
        plain_name(&wanted.name)?;
        let mut devices = Vec::new();
        let mut members = Vec::new();
        for called in &wanted.devices {
            let device = self.devices.wait(called)?;
            self.devices.refuse_own(&device, called)?;
            let found = self.devices.signature(&device)?;
            let ours = self.is_fresh(&device)?
                || found.as_ref().is_some_and(|found| self.has_made(&found.uuid));
            members.push(Member { device: called, found, ours });
            devices.push(device);
        }
        let decision = arrays::raid(wanted, &members)?;
        self.load(&["md_mod", arrays::module(&wanted.level)]);
        let uuid = match &decision {
            RaidDecision::Assemble(uuid) => uuid.clone(),
            RaidDecision::Create => arrays::raid_identity(kiln_sys::machine::random()?),
        };
        let record = Record::Array { name: wanted.name.clone(), uuid: uuid.clone() };
        let program = match decision {
            RaidDecision::Assemble(_) => arrays::raid_assemble(&wanted.name, &uuid),
            RaidDecision::Create => {
                self.attempt("an array")?.makes(&uuid)?;
                let mut nodes = Vec::new();
                for device in &devices {
                    self.devices.kernel.claim(device)?;
                    self.wipe(device)?;
                    nodes.push(self.inside(&device.node)?);
                }
                arrays::raid_create(wanted, &nodes, &uuid)
            }
        };
        self.attempt("an array")?.opens(record)?;
        self.run(&program)?;
        self.open.push(Open::Array(wanted.name.clone()));
        self.settle();
        let array = self.devices.wait(&format!("/dev/md/{}", wanted.name))?;
        self.write_back(&array)
    }

    /// An encrypted volume: opened where it is there, made where nothing is.
    pub(super) fn luks(&mut self, wanted: &Luks) -> Result<(), Error> {
        self.attempt("an encrypted volume")?;
        plain_name(&wanted.name)?;
        let device = self.devices.wait(&wanted.device)?;
        self.devices.refuse_own(&device, &wanted.device)?;
        let found = self.devices.signature(&device)?;
        let ours = found.as_ref().is_some_and(|found| self.has_made(&found.uuid));
        let decision = arrays::luks(wanted, found.as_ref(), ours)?;
        let key = self.key(wanted, decision == LuksDecision::Format)?;
        let key = self.inside(&key)?;
        self.load(&["dm_crypt", "algif_skcipher", "crypto-xts", "crypto-aes", "crypto-sha256"]);
        let node = self.inside(&device.node)?;
        let mut uuid = found.map(|found| found.uuid).unwrap_or_default();
        if decision == LuksDecision::Format {
            self.devices.kernel.claim(&device)?;
            uuid = match &wanted.uuid {
                Some(uuid) if !uuid.is_empty() => uuid.to_ascii_lowercase(),
                _ => fresh()?.to_string(),
            };
            self.attempt("an encrypted volume")?.makes(&uuid)?;
            self.wipe(&device)?;
            self.run(&arrays::luks_format(wanted, &node, &key, &uuid))?;
            self.write_back(&device)?;
        }
        let options = arrays::open_options(wanted);
        self.attempt("an encrypted volume")?.opens(Record::Encrypted {
            name: wanted.name.clone(),
            device: wanted.device.clone(),
            uuid,
            options: options.clone(),
        })?;
        self.run(&arrays::luks_open(&wanted.name, &node, &key, &options))?;
        self.open.push(Open::Encrypted(wanted.name.clone()));
        self.settle();
        self.devices.wait(&format!("/dev/mapper/{}", wanted.name)).map(drop)
    }

    /// The file with the key of a volume: that of the document, the one that is there, or a new one.
    fn key(&mut self, wanted: &Luks, is_new: bool) -> Result<PathBuf, Error> {
        let path = key_file(self.ledger.folder(), &wanted.name);
        let given = match wanted.key.as_ref().map(|key| &key.source) {
            Some(Source::Bytes(bytes)) => Some(bytes.clone()),
            Some(_) => {
                let reason = "its key was not fetched";
                return Err(Error::Encrypted { name: wanted.name.clone(), reason });
            }
            None => None,
        };
        let bytes = match given {
            Some(bytes) if bytes.is_empty() => {
                let reason = "its key is empty";
                return Err(Error::Encrypted { name: wanted.name.clone(), reason });
            }
            Some(bytes) => bytes,
            None if path.is_file() => return Ok(path),
            None if is_new => {
                let mut bytes = Vec::new();
                while bytes.len() < KEY_LENGTH {
                    bytes.extend(kiln_sys::machine::random()?);
                }
                bytes
            }
            None => return Err(no_key(&wanted.name)),
        };
        let folder = path.parent().unwrap_or(self.ledger.folder());
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(marks("make", folder))?;
        kiln_etc::file::replace(&path, &bytes, 0o600)?;
        Ok(path)
    }

    /// A file system: kept where it is what was wanted, made where nothing is, mounted where it has a
    /// path.
    pub(super) fn filesystem(&mut self, wanted: &Filesystem) -> Result<(), Error> {
        self.attempt("a file system")?;
        let device = self.devices.wait(&wanted.device)?;
        self.devices.refuse_own(&device, &wanted.device)?;
        let found = self.devices.signature(&device)?;
        let ours = found.as_ref().is_some_and(|found| self.has_made(&found.uuid));
        let mut uuid = found.as_ref().map(|found| found.uuid.clone()).unwrap_or_default();
        let mut format = found.as_ref().map(|found| found.format.to_owned());
        let decision = filesystems::decide(wanted, found.as_ref(), ours)?;
        let is_kept = decision != Decision::Make;
        match decision {
            Decision::Leave => {
                // `none` with `wipe`: what is there is taken off it.
                if wanted.wipe {
                    self.devices.kernel.claim(&device)?;
                    self.wipe(&device)?;
                    format = None;
                }
            }
            Decision::Keep => {}
            Decision::Make => {
                let mut wanted = wanted.clone();
                let kind = wanted.format.clone().unwrap_or_default();
                if wanted.uuid.as_ref().is_none_or(String::is_empty) {
                    wanted.uuid = Some(filesystems::identity(&kind, fresh()?));
                }
                uuid = wanted.uuid.clone().unwrap_or_default();
                format = Some(kind);
                self.attempt("a file system")?.makes(&uuid)?;
                self.make_filesystem(&wanted, &device)?;
            }
        }
        let (Some(path), Some(format)) = (wanted.path.as_deref(), format) else { return Ok(()) };
        if path.is_empty() || format == "swap" {
            return Ok(());
        }
        self.attempt("a file system")?.opens(Record::Mount {
            path: path.to_owned(),
            device: wanted.device.clone(),
            uuid,
            format: format.clone(),
            options: wanted.mount_options.clone(),
        })?;
        if is_kept {
            self.check_filesystem(&device, &format)?;
        }
        self.mount(path, &device, &format, &parse(&wanted.mount_options))
    }

    /// Runs the program that makes a file system, and waits until it is on the disk.
    pub(super) fn make_filesystem(
        &mut self,
        wanted: &Filesystem,
        device: &Device,
    ) -> Result<(), Error> {
        let node = self.inside(&device.node)?;
        let program = filesystems::program(wanted, &node)?;
        self.program(program.names)?;
        self.devices.kernel.claim(device)?;
        self.wipe(device)?;
        self.run(&program)?;
        self.write_back(device)?;
        self.settle();
        Ok(())
    }

    /// Takes off all marks that are known, so that nothing shows through what is made there.
    pub(super) fn wipe(&mut self, device: &Device) -> Result<(), Error> {
        let open = self.devices.open(device, true)?;
        let length = open.length();
        let write = |at: u64, wanted: usize| {
            let left = usize::try_from(length.saturating_sub(at)).unwrap_or(usize::MAX);
            open.file().write_all_at(&vec![0; wanted.min(left)], at)
        };
        let mut wiped = write(0, signature::LENGTH);
        for at in signature::ends(length) {
            wiped = wiped.and_then(|()| write(at, 512));
        }
        wiped.and_then(|()| open.file().sync_all()).map_err(file("wipe", &device.shown()))
    }

    fn write_back(&self, device: &Device) -> Result<(), Error> {
        let open = File::options().write(true).open(&device.node);
        open.and_then(|open| open.sync_all()).map_err(file("write back", &device.shown()))
    }

    /// Whether an attempt at the document made this.
    pub(super) fn has_made(&self, identity: &str) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.has_made(identity))
    }

    /// Whether a device is a partition that an attempt at the document made.
    fn is_fresh(&self, device: &Device) -> Result<bool, Error> {
        let Some((disk, number)) = &device.partition else { return Ok(false) };
        let Some(disk) = self.devices.kernel.named(disk) else { return Ok(false) };
        let Some(located) = self.devices.table(&disk)? else { return Ok(false) };
        let guid = located.table.partitions.get(number).map(|entry| entry.guid.to_string());
        Ok(guid.is_some_and(|guid| {
            self.attempt.as_ref().is_some_and(|attempt| attempt.has_partition(&guid))
        }))
    }
}

/// Nobody can open the volume.
pub(super) fn no_key(name: &str) -> Error {
    let reason = "it is there, and this machine has no key of it";
    Error::Encrypted { name: name.to_owned(), reason }
}

/// Whether a name can be that of a node and of a file.
pub(super) fn plain_name(name: &str) -> Result<(), Error> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.+@".contains(letter);
    if name.is_empty() || name.len() > 120 || name.starts_with('.') || !name.chars().all(is_plain) {
        let reason = "it is no name for a device: letters, digits and -_.+@ only";
        return Err(Error::Path { path: name.to_owned(), reason });
    }
    Ok(())
}
