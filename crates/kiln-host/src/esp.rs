//! The ESP of this machine, open for changes: one at a time, each old or new after a power cut.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;

use kiln_boot::entry::FOLDER;
use kiln_disk::fat::Fat;
use kiln_disk::fat::update::{Change, Volume};
use kiln_disk::{BlockDevice as _, FileDevice, apply};

use crate::Error;

/// An ESP that nobody has mounted.
#[derive(Debug)]
pub struct SystemPartitionDevice {
    node: String,
    device: FileDevice,
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

    /// Bytes that are free.
    ///
    /// # Errors
    /// As opening.
    pub fn free(&self) -> Result<u64, Error> {
        Ok(self.volume()?.free_bytes())
    }

    fn has(&self, path: &str) -> Result<bool, Error> {
        let failed = || Error::disk(&self.node);
        let fat = Fat::open(&self.device, 0, self.device.length()).map_err(failed())?;
        let list = fat.list().map_err(failed())?;
        Ok(list.iter().any(|entry| entry.path.eq_ignore_ascii_case(path)))
    }

    fn volume(&self) -> Result<Volume<'_>, Error> {
        Volume::open(&self.device, 0, self.device.length()).map_err(Error::disk(&self.node))
    }

    fn write(&mut self, writes: &[kiln_disk::Write<'_>]) -> Result<(), Error> {
        apply(&mut self.device, writes).map_err(Error::device("write", &self.node))
    }
}
