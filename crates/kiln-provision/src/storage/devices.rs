//! Finding a device by any of its names, looking at what it holds, and knowing whose it is.
//!
//! Names lie: links in `/dev` come from a program, labels from whoever wrote the disk. So a name is
//! followed to a device number before it is judged, and what belongs to the system is told by the number
//! and by the table of the system's own disk. Labels, UUIDs and names of partitions are read here and not
//! from udev's links, which may be missing, late or of the partition that was there before.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use kiln_disk::gpt::{self, Located};
use kiln_disk::layout::{BIOS, ESP, EXTRA_NEW_TYPE, RECOVERY, ROOT_TYPE, STATE};
use kiln_disk::{BlockDevice, FileDevice, PartitionEntry};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::kernel::{Device, Kernel};
use super::signature::{self, Signature};
use crate::error::file;
use crate::{Error, Root};

/// Between two looks for a device.
const PAUSE: Duration = Duration::from_millis(100);
/// What all names of Kiln's partitions begin with.
const OWN_NAMES: &str = "kiln-";

/// A name of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    /// Label of what it holds.
    Label(String),
    /// UUID of what it holds.
    Uuid(String),
    /// Name in the partition table.
    PartLabel(String),
    /// GUID in the partition table.
    PartUuid(String),
    /// A path.
    Path(String),
}

impl Name {
    /// Reads `LABEL=x` and the like, links of udev that say the same, and other paths.
    pub(crate) fn parse(text: &str) -> Self {
        type Make = fn(String) -> Name;
        let kinds: [(&str, &str, Make); 4] = [
            ("LABEL=", "/dev/disk/by-label/", Self::Label),
            ("UUID=", "/dev/disk/by-uuid/", Self::Uuid),
            ("PARTLABEL=", "/dev/disk/by-partlabel/", Self::PartLabel),
            ("PARTUUID=", "/dev/disk/by-partuuid/", Self::PartUuid),
        ];
        for (tag, folder, make) in kinds {
            if let Some(value) = text.strip_prefix(tag) {
                return make(value.trim_matches('"').to_owned());
            }
            if let Some(value) = text.strip_prefix(folder) {
                return make(unescaped(value));
            }
        }
        Self::Path(text.to_owned())
    }
}

/// A name without udev's `\x20`.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\x") {
        let (before, escape) = rest.split_at(at);
        let value = escape.get(2..4).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let Some(value) = value else { break };
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(value);
        rest = escape.get(4..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a partition of the system's disk is Kiln's own.
pub(crate) fn is_own(entry: &PartitionEntry) -> bool {
    let types = [ROOT_TYPE, STATE.type_guid, RECOVERY.type_guid, EXTRA_NEW_TYPE];
    let boot = [ESP, BIOS].iter().any(|role| entry.type_guid == role.type_guid);
    types.contains(&entry.type_guid) || boot || entry.name.starts_with(OWN_NAMES)
}

/// All devices.
pub(crate) struct Devices<'k> {
    pub(crate) kernel: Box<dyn Kernel + 'k>,
    pub(crate) root: Root,
    /// How long a device may take to appear.
    pub(crate) patience: Duration,
}

impl Devices<'_> {
    /// The device of a name, if it is there.
    ///
    /// # Errors
    /// [`Error::TwoDevices`] where the name fits two; the kernel's answer.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Device>, Error> {
        let found = match Name::parse(name) {
            Name::Path(path) => return self.at(&path),
            Name::Label(label) => self.holding(|signature| signature.label == label),
            Name::Uuid(uuid) => {
                self.holding(|signature| signature.uuid.eq_ignore_ascii_case(&uuid))
            }
            Name::PartLabel(label) => self.partitions(|entry| entry.name == label),
            Name::PartUuid(guid) => {
                self.partitions(|entry| entry.guid.to_string().eq_ignore_ascii_case(&guid))
            }
        };
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            [one, other, ..] => Err(Error::TwoDevices {
                name: name.to_owned(),
                one: one.shown(),
                other: other.shown(),
            }),
        }
    }

    /// The members of an array by its identity.
    pub(crate) fn members(&self, uuid: &str) -> Vec<Device> {
        self.holding(|found| {
            found.format == "linux_raid_member" && found.uuid.eq_ignore_ascii_case(uuid)
        })
    }

    /// The device of a name; waits until it is there.
    ///
    /// # Errors
    /// As [`Self::find`]; [`Error::NoDevice`].
    pub(crate) fn wait(&self, name: &str) -> Result<Device, Error> {
        let start = Instant::now();
        loop {
            if let Some(device) = self.find(name)? {
                return Ok(device);
            }
            if start.elapsed() >= self.patience {
                let seconds = self.patience.as_secs();
                return Err(Error::NoDevice { device: name.to_owned(), seconds });
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The device behind a path inside the root, links followed there.
    fn at(&self, path: &str) -> Result<Option<Device>, Error> {
        crate::root::elements(path)?;
        let opened = match self.root.open_inside(path, OFlags::PATH) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            other => other.map_err(file("open", path))?,
        };
        let link = format!("/proc/self/fd/{}", opened.as_raw_fd());
        let real = std::fs::read_link(link).map_err(file("find the place of", path))?;
        self.kernel
            .device(&real)
            .map(Some)
            .ok_or_else(|| Error::Path { path: path.to_owned(), reason: "it is no block device" })
    }

    fn holding(&self, fits: impl Fn(&Signature) -> bool) -> Vec<Device> {
        let mut found: Vec<(Device, Signature)> = Vec::new();
        for device in self.kernel.all() {
            // What cannot be read (an empty drive) holds nothing.
            let Ok(Some(signature)) = self.signature(&device) else { continue };
            // One file system on several disks has one UUID; any of them stands for it.
            let is_next = signature.format == "btrfs"
                && found.iter().any(|(_, other)| other.uuid == signature.uuid);
            if fits(&signature) && !is_next {
                found.push((device, signature));
            }
        }
        found.into_iter().map(|(device, _)| device).collect()
    }

    fn partitions(&self, fits: impl Fn(&PartitionEntry) -> bool) -> Vec<Device> {
        let all = self.kernel.all();
        let mut found = Vec::new();
        for disk in all.iter().filter(|device| device.partition.is_none()) {
            let Ok(Some(located)) = self.table(disk) else { continue };
            for number in located
                .table
                .partitions
                .iter()
                .filter(|(_, entry)| fits(entry))
                .map(|(number, _)| *number)
            {
                let of = (disk.name.clone(), number);
                found.extend(all.iter().find(|one| one.partition.as_ref() == Some(&of)).cloned());
            }
        }
        found
    }

    /// The device of a partition, once the kernel shows it.
    ///
    /// # Errors
    /// [`Error::NoDevice`].
    pub(crate) fn partition(&self, disk: &Device, number: u32) -> Result<Device, Error> {
        let of = (disk.name.clone(), number);
        let start = Instant::now();
        loop {
            let all = self.kernel.all();
            if let Some(found) = all.into_iter().find(|one| one.partition.as_ref() == Some(&of)) {
                return Ok(found);
            }
            if start.elapsed() >= self.patience {
                return Err(Error::NoDevice {
                    device: format!("partition {number} of {}", disk.shown()),
                    seconds: self.patience.as_secs(),
                });
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Opens a device.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(crate) fn open(&self, device: &Device, write: bool) -> Result<FileDevice, Error> {
        let shown = device.shown();
        let opened = File::options().read(true).write(write).open(&device.node);
        let opened = opened.map_err(file("open", &shown))?;
        let sector_size = self.kernel.sector_size(&opened, &shown)?;
        FileDevice::new(opened, sector_size).map_err(file("measure", &shown))
    }

    /// The table of a disk, if it has one.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub(crate) fn table(&self, disk: &Device) -> Result<Option<Located>, Error> {
        match gpt::read(&self.open(disk, false)?) {
            Ok(located) => Ok(Some(located)),
            Err(kiln_disk::Error::NoTable { .. }) => Ok(None),
            Err(error) => Err(Error::Disk(error)),
        }
    }

    /// What a device holds.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn signature(&self, device: &Device) -> Result<Option<Signature>, Error> {
        let open = self.open(device, false)?;
        signature_at(open.file(), 0, open.length()).map_err(file("read", &device.shown()))
    }

    /// Whether a disk is one from which the system runs. Where that is not known (a state in memory, no
    /// verified root), each disk with Kiln's partitions is.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub(crate) fn is_system(&self, disk: &Device) -> Result<bool, Error> {
        let disks = self.kernel.system_disks();
        if !disks.is_empty() {
            return Ok(disks.contains(&disk.name));
        }
        let located = self.table(disk)?;
        let types = [ROOT_TYPE, STATE.type_guid, RECOVERY.type_guid];
        Ok(located.is_some_and(|located| {
            located.table.partitions.values().any(|entry| types.contains(&entry.type_guid))
        }))
    }

    /// Refuses a device that is the system's, lies on a partition of its, or holds one.
    ///
    /// # Errors
    /// [`Error::Own`] naming the device as it was called.
    pub(crate) fn refuse_own(&self, device: &Device, called: &str) -> Result<(), Error> {
        let own = |what: String| Error::Own { device: called.to_owned(), what };
        for name in self.kernel.made_of(&device.name) {
            let Some(part) = self.kernel.named(&name) else { continue };
            let Some((disk, number)) = &part.partition else {
                if self.is_system(&part)? {
                    return Err(own("the disk from which this machine runs".into()));
                }
                continue;
            };
            let Some(disk) = self.kernel.named(disk) else { continue };
            if !self.is_system(&disk)? {
                continue;
            }
            let located = self.table(&disk)?;
            let entry = located.as_ref().and_then(|one| one.table.partitions.get(number));
            // A partition that the kernel has and the table has not is nobody's to change.
            if entry.is_none_or(is_own) {
                let name = entry.map_or("unknown", |entry| entry.name.as_str());
                return Err(own(format!("partition {number} (`{name}`) of the system")));
            }
        }
        Ok(())
    }
}

/// What is held from byte `offset` on, over `length` bytes.
pub(crate) fn signature_at(
    device: &File,
    offset: u64,
    length: u64,
) -> std::io::Result<Option<Signature>> {
    let read = |at: u64, wanted: usize| {
        let left = usize::try_from(length.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; wanted.min(left)];
        device.read_exact_at(&mut bytes, offset.saturating_add(at))?;
        Ok::<_, std::io::Error>(bytes)
    };
    for at in signature::ends(length) {
        if let Some(found) = signature::read_end(&read(at, signature::END_LENGTH)?) {
            return Ok(Some(found));
        }
    }
    Ok(signature::read(&read(0, signature::LENGTH)?))
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn names_of_udev_and_of_fstab_mean_the_same() {
        for (text, expected) in [
            ("LABEL=data", Name::Label("data".into())),
            ("LABEL=\"my data\"", Name::Label("my data".into())),
            ("/dev/disk/by-label/my\\x20data", Name::Label("my data".into())),
            ("/dev/disk/by-label/odd\\x2", Name::Label("odd\\x2".into())),
            ("UUID=1-2", Name::Uuid("1-2".into())),
            ("/dev/disk/by-partlabel/a", Name::PartLabel("a".into())),
            ("PARTUUID=x", Name::PartUuid("x".into())),
            ("/dev/disk/by-id/x-part1", Name::Path("/dev/disk/by-id/x-part1".into())),
            ("/dev/vda", Name::Path("/dev/vda".into())),
        ] {
            assert_eq!(Name::parse(text), expected, "{text}");
        }
    }
}
