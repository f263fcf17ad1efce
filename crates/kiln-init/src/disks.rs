//! Disks as the kernel shows them, their tables, and the nodes of their partitions.

use crate::Error;
use crate::choice::{Candidate, Search, boot_disk, confirm, loader_partition, search};
use crate::console::note;
use crate::devices::Devices;
use crate::error::file;
use crate::kernel_table::{Change, changes};
use crate::modules::Modules;
use crate::remember::Place;
use kiln_disk::gpt::{self, Located};
use kiln_disk::layout::ESP;
use kiln_disk::{BlockDevice, FileDevice, Gpt, Guid};
use kiln_sys::block::{self, Extent};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long disks may take to appear. Slow RAID controllers need about 20 s.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait for the disk that the loader named before any disk of ours will do.
const LOADER_PATIENCE: Duration = Duration::from_secs(5);
/// All block devices, partitions included.
const CLASS: &str = "/sys/class/block";
/// The variable in which the loader says where it was started from (boot loader interface).
const LOADER_VARIABLE: &str =
    "/sys/firmware/efi/efivars/LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// sysfs counts in units of 512 bytes, whatever the sector size.
const SYSFS_UNIT: u64 = 512;
/// Kinds of block devices that are never a boot disk.
const NO_DISKS: [&str; 6] = ["loop", "ram", "zram", "dm-", "md", "fd"];

/// The boot disk.
#[derive(Debug)]
pub struct Disk {
    /// Name in sysfs, such as `vda`.
    name: String,
    /// Device node.
    pub node: String,
    /// The open disk, for reading.
    pub device: FileDevice,
    /// Its partition table and where that was found.
    pub located: Located,
}

/// A boot disk, and whether all others were seen.
#[derive(Debug)]
pub struct Found {
    /// The disk.
    pub disk: Disk,
    /// False if this is only the first that may be it: nothing may be written to it before
    /// [`confirm_beside`] has said that it is the only one.
    pub is_certain: bool,
}

/// Waits for the boot disk. Where the loader has not named it, the first disk of ours is given, so
/// that its root can be proved while the others are still looked for. `named` is the ESP's identity, as
/// a loader told it that has no variables.
///
/// # Errors
/// [`Error::NoBootDisk`] after 30 s, [`Error::TwoBootDisks`].
pub fn find(devices: &mut Devices, named: Option<Guid>) -> Result<Found, Error> {
    let loader = fs::read(LOADER_VARIABLE).ok().and_then(|bytes| loader_partition(&bytes));
    let loader = loader.or(named);
    let start = Instant::now();
    let deadline = start + PATIENCE;
    let mut settled = false;
    loop {
        // Without the loader's word any disk of ours does, but only as the first of them.
        if let Some(disk) = look(loader, false)? {
            return Ok(Found { disk, is_certain: loader.is_some() });
        }
        let last_resort = start.elapsed() >= LOADER_PATIENCE;
        match search(loader.is_some(), devices.is_waiting(), settled, last_resort) {
            Search::Load => {
                devices.load_next()?;
                settled = false;
                continue;
            }
            Search::Settle => {
                settled = devices.settle(deadline)?;
                continue;
            }
            Search::Choose => {
                if let Some(disk) = look(loader, true)? {
                    return Ok(Found { disk, is_certain: true });
                }
                settled = false;
            }
            Search::Wait => {}
        }
        if Instant::now() >= deadline {
            let seen = disk_names().join(" ");
            let seen = if seen.is_empty() { "none".into() } else { seen };
            return Err(Error::NoBootDisk { seconds: PATIENCE.as_secs(), seen });
        }
        devices.wait(deadline)?;
    }
}

/// Whether all other disks were seen, and the devices that they were looked for among.
pub(crate) enum Confirmation {
    Known(Devices),
    Running(JoinHandle<Result<Devices, Error>>),
}

/// Goes on looking for disks beside the caller, who meanwhile reads from the first one.
///
/// # Errors
/// Without a thread those of [`Confirmation::wait`].
pub(crate) fn confirm_beside(
    devices: Devices,
    modules: Modules,
    found: &Found,
) -> Result<Confirmation, Error> {
    if found.is_certain {
        return Ok(Confirmation::Known(devices));
    }
    let first = found.disk.node.clone();
    match thread::Builder::new().spawn(move || see_all(devices, &first)) {
        Ok(thread) => Ok(Confirmation::Running(thread)),
        // The devices went with the thread; what is loaded already is not loaded again.
        Err(_) => see_all(Devices::open(modules)?, &found.disk.node).map(Confirmation::Known),
    }
}

impl Confirmation {
    /// Returns when the disk is known to be the only one.
    ///
    /// # Errors
    /// [`Error::TwoBootDisks`]; the kernel's listener failed.
    pub(crate) fn wait(self) -> Result<Devices, Error> {
        match self {
            Self::Known(devices) => Ok(devices),
            Self::Running(thread) => thread.join().unwrap_or_else(|_| {
                // A panic never gets here: it ends the boot.
                Err(file("look at", CLASS)(std::io::Error::other("the search for disks ended")))
            }),
        }
    }
}

fn see_all(mut devices: Devices, first: &str) -> Result<Devices, Error> {
    let deadline = Instant::now() + PATIENCE;
    let mut settled = false;
    loop {
        match search(false, devices.is_waiting(), settled, false) {
            Search::Load => settled = !devices.load_next()? && settled,
            Search::Settle => settled = devices.settle(deadline)?,
            Search::Choose | Search::Wait => break,
        }
    }
    let found = look(None, true)?;
    confirm(first, found.as_ref().map(|disk| disk.node.as_str()))?;
    Ok(devices)
}

fn look(loader: Option<Guid>, last_resort: bool) -> Result<Option<Disk>, Error> {
    let mut disks: Vec<Disk> = disk_names().into_iter().filter_map(open).collect();
    let candidates: Vec<Candidate<'_>> = disks
        .iter()
        .map(|disk| Candidate { name: &disk.node, table: &disk.located.table })
        .collect();
    let chosen = boot_disk(&candidates, loader, last_resort)?;
    Ok(chosen.map(|index| disks.swap_remove(index)))
}

/// Length of a disk as sysfs shows it; drives without a medium have none.
fn has_length(name: &str) -> bool {
    let text = fs::read_to_string(Path::new(CLASS).join(name).join("size")).unwrap_or_default();
    text.trim_end() != "0"
}

/// Names of whole disks, sorted.
fn disk_names() -> Vec<String> {
    let Ok(entries) = fs::read_dir(CLASS) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !NO_DISKS.iter().any(|kind| name.starts_with(kind)))
        .filter(|name| !Path::new(CLASS).join(name).join("partition").exists())
        .collect();
    names.sort_unstable();
    names
}

/// A disk with a readable table; anything else is none of ours.
fn open(name: String) -> Option<Disk> {
    let node = node_of(&name);
    let file = File::open(&node).ok()?;
    let sector_size = block::sector_size(&file, &node).ok()?;
    let device = FileDevice::new(file, sector_size).ok()?;
    let located = gpt::read(&device).ok()?;
    Some(Disk { name, node, device, located })
}

/// sysfs writes slashes of device names as exclamation marks (`cciss!c0d0`).
fn node_of(name: &str) -> String {
    format!("/dev/{}", name.replace('!', "/"))
}

impl Disk {
    /// Whether the machine has other disks, sticks or drives with a medium.
    pub(crate) fn has_others(&self) -> bool {
        disk_names().iter().any(|name| *name != self.name && has_length(name))
    }

    /// Length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.device.length()
    }

    /// The adapter for `map_err` on errors of the table.
    pub(crate) fn failed(&self) -> impl FnOnce(kiln_disk::Error) -> Error {
        let disk = self.node.clone();
        move |source| Error::Disk { disk, source }
    }

    /// Place of the ESP on the disk, if there is one.
    #[must_use]
    pub fn system_partition(&self) -> Option<Place> {
        let table = &self.located.table;
        let (_, partition) = table.named(ESP.name)?;
        let place = Place {
            offset: partition.offset(table.sector_size),
            length: partition.length(table.sector_size),
        };
        (partition.type_guid == ESP.type_guid).then_some(place)
    }

    /// Replaces the table on the disk, safely against power loss, and tells the kernel.
    ///
    /// # Errors
    /// The table is refused or the disk fails. The disk then has the old or the new table.
    pub fn replace_table(&mut self, new: &Gpt) -> Result<(), Error> {
        let writes = gpt::update(&self.located, new).map_err(self.failed())?;
        let failed = |source| Error::Table { disk: self.node.clone(), source };
        let file = File::options().read(true).write(true).open(&self.node).map_err(failed)?;
        let mut device = FileDevice::new(file, self.device.sector_size()).map_err(failed)?;
        kiln_disk::apply(&mut device, &writes).map_err(failed)?;
        self.located = gpt::read(&device).map_err(self.failed())?;
        self.tell_kernel()
    }

    /// Makes the kernel know all partitions of the table.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn tell_kernel(&self) -> Result<(), Error> {
        let known: Vec<Extent> = self.known().into_iter().map(|(_, extent)| extent).collect();
        for change in changes(&self.located.table, &known) {
            let disk = self.device.file();
            match change {
                Change::Remove(number) => block::remove_partition(disk, number, &self.node)?,
                Change::Resize(extent) => block::resize_partition(disk, extent, &self.node)?,
                Change::Add(extent) => block::add_partition(disk, extent, &self.node)?,
            }
        }
        Ok(())
    }

    /// Device node of a partition, if the kernel knows it.
    #[must_use]
    pub fn partition_node(&self, number: u32) -> Option<String> {
        self.known()
            .into_iter()
            .find(|(_, extent)| extent.number == number)
            .map(|(name, _)| node_of(&name))
    }

    /// Partitions that the kernel knows, with their names in sysfs.
    fn known(&self) -> Vec<(String, Extent)> {
        let folder = Path::new(CLASS).join(&self.name);
        let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| {
                let extent = read_extent(&entry.path())?;
                Some((entry.file_name().into_string().ok()?, extent))
            })
            .collect()
    }
}

/// A partition from its folder in sysfs (Documentation/ABI/stable/sysfs-block).
fn read_extent(folder: &Path) -> Option<Extent> {
    let number = |name: &str| -> Option<u64> {
        fs::read_to_string(folder.join(name)).ok()?.trim_end().parse().ok()
    };
    Some(Extent {
        number: u32::try_from(number("partition")?).ok()?,
        offset: number("start")?.checked_mul(SYSFS_UNIT)?,
        length: number("size")?.checked_mul(SYSFS_UNIT)?,
    })
}

/// `major:minor` of a device node, as device-mapper tables want it; links are resolved.
pub(crate) fn device_number(node: &str) -> Result<String, Error> {
    let real: PathBuf = fs::canonicalize(node).map_err(file("resolve", node))?;
    let name = real.to_string_lossy().trim_start_matches("/dev/").replace('/', "!");
    let path = Path::new(CLASS).join(name).join("dev");
    let text = fs::read_to_string(&path).map_err(file("read", &path))?;
    Ok(text.trim_end().to_owned())
}

/// Notes which disk was chosen.
pub(crate) fn announce(disk: &Disk) {
    let sectors = disk.located.table.sector_size;
    note(&format!("boot disk {} ({} MiB, {sectors}-byte sectors)", disk.node, disk.length() >> 20));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_read_from_sysfs_units() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_extent(folder.path()), None);
        for (name, text) in [("partition", "3\n"), ("start", "2048\n"), ("size", "8\n")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let expected = Extent { number: 3, offset: 1 << 20, length: 4096 };
        assert_eq!(read_extent(folder.path()), Some(expected));
        fs::write(folder.path().join("size"), u64::MAX.to_string()).unwrap();
        assert_eq!(read_extent(folder.path()), None);
    }

    #[test]
    fn names_become_nodes() {
        assert_eq!(node_of("vda"), "/dev/vda");
        assert_eq!(node_of("cciss!c0d0"), "/dev/cciss/c0d0");
    }
}
