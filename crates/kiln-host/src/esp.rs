//! The ESP of this machine, open for changes: one at a time, each old or new after a power cut.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;

use kiln_boot::arguments::ADDON_SUFFIX;
use kiln_boot::entry::{EntryName, FOLDER, RECOVERY_PATH};
use kiln_build::AddonFile;
use kiln_disk::fat::update::{Change, Volume};
use kiln_disk::fat::{Entry as FatEntry, Fat};
use kiln_disk::{BlockDevice, FileDevice, apply};
use kiln_release::Release;

use crate::Error;
use crate::machine::{self, LoaderFile, RECOVERY_FACTS};

/// Largest addon that is read, in bytes.
const MAXIMUM_ADDON: u32 = 1 << 20;

/// The content of a file on the ESP at `node`, for those who only look.
///
/// # Errors
/// [`Error::Device`]; [`Error::Disk`] if there is none or it is longer than `maximum` bytes.
pub fn read(node: &str, path: &str, maximum: u32) -> Result<Vec<u8>, Error> {
    let file = File::open(node).map_err(Error::device("open", node))?;
    let device = FileDevice::new(file, 512).map_err(Error::device("open", node))?;
    let fat = Fat::open(&device, 0, device.length()).map_err(Error::disk(node))?;
    fat.read(path, maximum).map_err(Error::disk(node))
}

/// An ESP that nobody has mounted; in tests on a device of another kind.
#[derive(Debug)]
pub struct SystemPartitionDevice<Device = FileDevice> {
    node: String,
    device: Device,
}

impl SystemPartitionDevice {
    /// Opens the partition for this process alone, and ends a change that a power cut interrupted.
    ///
    /// # Errors
    /// [`Error::Mounted`] if the kernel has it, [`Error::Device`], [`Error::Disk`] for damage.
    pub fn open(node: &str, sector_size: u32) -> Result<Self, Error> {
        // O_EXCL on a block device without O_CREAT: fails while it is mounted (open(2)).
        let exclusive = rustix::fs::OFlags::EXCL.bits().cast_signed();
        let file = File::options().read(true).write(true).custom_flags(exclusive).open(node);
        let file = file.map_err(|source| match source.kind() {
            std::io::ErrorKind::ResourceBusy => Error::Mounted { node: node.to_owned() },
            _ => Error::device("open", node)(source),
        })?;
        let device = FileDevice::new(file, sector_size).map_err(Error::device("open", node))?;
        Self::on(device, node)
    }
}

impl<Device: BlockDevice> SystemPartitionDevice<Device> {
    /// Uses an ESP that fills a device, which messages call `node`, and ends a change that a power cut
    /// interrupted.
    ///
    /// # Errors
    /// [`Error::Device`], [`Error::Disk`] for damage.
    pub fn on(device: Device, node: &str) -> Result<Self, Error> {
        let mut partition = Self { node: node.to_owned(), device };
        let volume = partition.volume()?;
        let repair = volume.repair(FOLDER).map_err(Error::disk(node))?;
        partition.write(&repair)?;
        Ok(partition)
    }

    /// Carries out one change.
    ///
    /// # Errors
    /// As [`Volume::plan`] and the device; after an error of the device the ESP is old or new.
    pub fn change(&mut self, change: &Change<'_>) -> Result<(), Error> {
        let writes = self.volume()?.plan(change).map_err(Error::disk(&self.node))?;
        self.write(&writes)
    }

    /// Adds a file, or gives the one that is there this content.
    ///
    /// # Errors
    /// As [`SystemPartitionDevice::change`].
    pub fn put(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        if self.has(path)? {
            return self.change(&Change::Replace { path, bytes });
        }
        let mut end = 0;
        while let Some(slash) = path[end..].find('/') {
            let folder = &path[..end + slash];
            if !self.has(folder)? {
                self.change(&Change::MakeDirectory { path: folder })?;
            }
            end += slash + 1;
        }
        self.change(&Change::Add { path, bytes })
    }

    /// Lays the addons of a generation where systemd's stub looks for them.
    ///
    /// # Errors
    /// As [`SystemPartitionDevice::change`].
    pub fn put_addons(&mut self, generation: u32, addons: &[AddonFile]) -> Result<(), Error> {
        let folder = EntryName::addon_folder(generation);
        for addon in addons {
            self.put(&format!("{folder}/{}{ADDON_SUFFIX}", addon.facts.name), &addon.bytes)?;
        }
        Ok(())
    }

    /// Gives a generation the addons of another.
    ///
    /// # Errors
    /// As [`SystemPartitionDevice::change`], and [`Error::Disk`] for one that is too long.
    pub fn copy_addons(&mut self, from: u32, to: u32) -> Result<(), Error> {
        let (old, new) = (EntryName::addon_folder(from), EntryName::addon_folder(to));
        for path in self.below(&old)? {
            let file = path.rsplit('/').next().unwrap_or_default();
            let bytes = self.read(&path, MAXIMUM_ADDON)?;
            self.put(&format!("{new}/{file}"), &bytes)?;
        }
        Ok(())
    }

    /// Lists recovery: its facts, then its boot file, which is the commit.
    ///
    /// # Errors
    /// As [`SystemPartitionDevice::put`].
    pub fn put_recovery(&mut self, release: &Release, boot_file: &[u8]) -> Result<(), Error> {
        self.put(RECOVERY_FACTS, release.to_json()?.as_bytes())?;
        self.put(RECOVERY_PATH, boot_file)
    }

    /// Removes the addons of all generations but these.
    ///
    /// # Errors
    /// As [`SystemPartitionDevice::change`].
    pub fn remove_addons_except(&mut self, kept: &[u32]) -> Result<(), Error> {
        let folders = self.list()?.into_iter().filter(|entry| entry.directory);
        let is_over = |path: &String| {
            let name = path.rsplit('/').next().unwrap_or_default();
            let generation = EntryName::of_addon_folder(name);
            let is_listed = path.len() == FOLDER.len() + 1 + name.len();
            is_listed && generation.is_some_and(|generation| !kept.contains(&generation))
        };
        for folder in folders.map(|entry| entry.path).filter(is_over).collect::<Vec<_>>() {
            for path in self.below(&folder)? {
                self.remove(&path)?;
            }
            self.change(&Change::RemoveDirectory { path: &folder })?;
        }
        Ok(())
    }

    /// Files right in a folder; none if there is no such folder.
    fn below(&self, folder: &str) -> Result<Vec<String>, Error> {
        let prefix = format!("{}/", folder.to_ascii_lowercase());
        let is_inside = |path: &String| {
            path.to_ascii_lowercase().strip_prefix(&prefix).is_some_and(|rest| !rest.contains('/'))
        };
        let files = self.list()?.into_iter().filter(|entry| !entry.directory);
        Ok(files.map(|entry| entry.path).filter(is_inside).collect())
    }

    /// Removes a file if it is there.
    ///
    /// # Errors
    /// As [`SystemPartitionDevice::change`].
    pub fn remove(&mut self, path: &str) -> Result<(), Error> {
        if self.has(path)? { self.change(&Change::Remove { path }) } else { Ok(()) }
    }

    /// The content of a file.
    ///
    /// # Errors
    /// [`Error::Disk`] if there is none or it is longer than `maximum` bytes.
    pub fn read(&self, path: &str, maximum: u32) -> Result<Vec<u8>, Error> {
        let failed = || Error::disk(&self.node);
        let fat = Fat::open(&self.device, 0, self.device.length()).map_err(failed())?;
        fat.read(path, maximum).map_err(failed())
    }

    /// The boot loaders.
    ///
    /// # Errors
    /// As opening.
    pub fn loaders(&self) -> Result<Vec<LoaderFile>, Error> {
        let failed = || Error::disk(&self.node);
        let fat = Fat::open(&self.device, 0, self.device.length()).map_err(failed())?;
        machine::loaders(&fat).map_err(failed())
    }

    /// Bytes that are free.
    ///
    /// # Errors
    /// As opening.
    pub fn free(&self) -> Result<u64, Error> {
        Ok(self.volume()?.free_bytes())
    }

    fn list(&self) -> Result<Vec<FatEntry>, Error> {
        let failed = || Error::disk(&self.node);
        let fat = Fat::open(&self.device, 0, self.device.length()).map_err(failed())?;
        fat.list().map_err(failed())
    }

    /// Whether there is a file or folder of this name.
    ///
    /// # Errors
    /// As opening.
    pub fn has(&self, path: &str) -> Result<bool, Error> {
        Ok(self.list()?.iter().any(|entry| entry.path.eq_ignore_ascii_case(path)))
    }

    fn volume(&self) -> Result<Volume<'_>, Error> {
        Volume::open(&self.device, 0, self.device.length()).map_err(Error::disk(&self.node))
    }

    fn write(&mut self, writes: &[kiln_disk::Write<'_>]) -> Result<(), Error> {
        apply(&mut self.device, writes).map_err(Error::device("write", &self.node))
    }
}
