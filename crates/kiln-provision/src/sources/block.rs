//! Block devices of the machine: which there are, and a look into one of them.
//!
//! A volume is mounted read-only on a throw-away folder in `/run/kiln`, without devices, set-user-id and
//! programs, and without replaying its journal: nothing on it is changed by looking. It is taken out before
//! anything it said is used. The machine's own partitions are never looked into: they are read elsewhere,
//! each in its own way.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use kiln_sys::mount::{self, Options};

use super::volumes::{BlockDevice, Volumes};
use crate::error::file;
use crate::storage::signature;
use crate::{Error, Root};

/// Where the kernel shows devices (sysfs(5)), and all block devices below it.
const SYSFS: &str = "/sys";
const DEVICES: &str = "class/block";
/// Where volumes are mounted for a look.
const FOLDER: &str = "/run/kiln/volume";
/// Beginning of the names of the machine's own partitions (DESIGN, "Disk").
const OWN: &str = "kiln-";
/// The name of its EFI system partition.
const OWN_BOOT: &str = "kiln-esp";
/// Beginnings of names of devices that are made of others or of memory.
const MADE: [&str; 5] = ["loop", "ram", "zram", "dm-", "md"];
/// Bytes of one device's description.
const DESCRIPTION_BYTES: u64 = 16 << 10;

/// The block devices of the machine.
#[derive(Debug, Clone)]
pub struct BlockVolumes {
    folder: PathBuf,
    devices: PathBuf,
}

impl Default for BlockVolumes {
    fn default() -> Self {
        Self::new(FOLDER)
    }
}

impl BlockVolumes {
    /// The devices, mounted at this folder for a look.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), devices: Path::new(SYSFS).join(DEVICES) }
    }

    /// The devices that another sysfs shows.
    pub(crate) fn shown_in(self, sysfs: &Path) -> Self {
        Self { devices: sysfs.join(DEVICES), ..self }
    }
}

impl Volumes for BlockVolumes {
    fn list(&mut self) -> Result<Vec<BlockDevice>, Error> {
        let mut devices = Vec::new();
        for (name, description) in descriptions(&self.devices)? {
            let is_own = description.get("PARTNAME").is_some_and(|name| name.starts_with(OWN));
            if is_own || MADE.iter().any(|start| name.starts_with(start)) {
                continue;
            }
            let node = node(&name, &description);
            // A drive without a medium, or a device that went away meanwhile.
            let Ok(head) = head(&node) else { continue };
            let disk = description.get("DEVTYPE").filter(|kind| *kind == "partition");
            let disk = disk.and_then(|_| disk_of(&self.devices.join(&name)));
            devices.push(BlockDevice { node, disk, head });
        }
        Ok(devices)
    }

    fn look(
        &mut self,
        node: &str,
        format: &str,
        look: &mut dyn FnMut(&Root) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let shown = self.folder.to_string_lossy().into_owned();
        fs::create_dir_all(&self.folder).map_err(file("make the folder", &shown))?;
        let options = Options {
            read_only: true,
            no_devices: true,
            no_set_user: true,
            no_execute: true,
            ..Options::default()
        };
        // The driver of ext4 reads all three; `noload` leaves the journal alone (ext4(5)).
        let (kind, data) =
            if format.starts_with("ext") { ("ext4", "noload") } else { (format, "") };
        mount::mount(node, &self.folder, kind, options, data)?;
        let looked = Root::open(&self.folder).and_then(|root| look(&root));
        // A mount that stays hidden does no harm, and what was read counts.
        mount::detach(&self.folder)?;
        looked
    }
}

/// The machine's own EFI system partition, by the name of its partition; nothing where there is none.
///
/// # Errors
/// Two have that name: which of them is the machine's is not guessed.
pub fn own_boot_partition() -> Result<Option<PathBuf>, Error> {
    let all = descriptions(&Path::new(SYSFS).join(DEVICES))?;
    let is_boot = |description: &Description| {
        description.get("PARTNAME").is_some_and(|name| name == OWN_BOOT)
    };
    let mut found = all.iter().filter(|(_, description)| is_boot(description));
    match (found.next(), found.next()) {
        (Some((name, description)), None) => Ok(Some(node(name, description).into())),
        (None, _) => Ok(None),
        (Some((first, _)), Some((second, _))) => {
            let reason = format!("{first} and {second} are both partitions of that name");
            Err(Error::Contents { origin: format!("`{OWN_BOOT}`"), reason })
        }
    }
}

/// Length in bytes of a device or file.
pub(super) fn length(opened: &File, shown: &str) -> Result<u64, Error> {
    let status = opened.metadata().map_err(file("look at", shown))?;
    if status.is_file() { Ok(status.len()) } else { Ok(kiln_sys::block::length(opened, shown)?) }
}

/// `KEY=value` lines of a device (Documentation/ABI/testing/sysfs-uevent).
type Description = BTreeMap<String, String>;

/// All devices below a folder of sysfs, sorted by name.
fn descriptions(folder: &Path) -> Result<Vec<(String, Description)>, Error> {
    let shown = folder.to_string_lossy();
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(file("read the folder", &shown)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(file("read the folder", &shown))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let mut text = String::new();
        // One that went away meanwhile is none.
        let Ok(opened) = File::open(entry.path().join("uevent")) else { continue };
        if opened.take(DESCRIPTION_BYTES).read_to_string(&mut text).is_err() {
            continue;
        }
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let description = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        found.push((name, description));
    }
    found.sort();
    Ok(found)
}

fn node(name: &str, description: &Description) -> String {
    format!("/dev/{}", description.get("DEVNAME").map_or(name, String::as_str))
}

/// The disk of a partition: the folder above its own in sysfs.
fn disk_of(partition: &Path) -> Option<String> {
    let real = fs::canonicalize(partition).ok()?;
    Some(format!("/dev/{}", real.parent()?.file_name()?.to_str()?))
}

/// The first bytes of a device.
fn head(node: &str) -> std::io::Result<Vec<u8>> {
    // A drive whose tray is open must not close it or wait.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(node)?;
    let mut head = Vec::new();
    opened.take(signature::LENGTH as u64).read_to_end(&mut head)?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_described_by_sysfs() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("sdb1/uevent", "DEVNAME=sdb1\nDEVTYPE=partition\nPARTNAME=a=b\nrubbish\n");
        write("nvme0n1/uevent", "DEVTYPE=disk\n");
        write("gone/other", "");
        let found = descriptions(folder.path()).unwrap();
        let names: Vec<_> = found.iter().map(|(name, all)| node(name, all)).collect();
        assert_eq!(names, ["/dev/nvme0n1", "/dev/sdb1"]);
        assert_eq!(found[1].1["PARTNAME"], "a=b");
        assert!(descriptions(&folder.path().join("absent")).unwrap().is_empty());
        let disk = folder.path().join("sdb/sdb1");
        fs::create_dir_all(&disk).unwrap();
        assert_eq!(disk_of(&disk).as_deref(), Some("/dev/sdb"));
    }
}
