//! What the kernel knows of block devices, and the few things it is told: partitions and mounts.
//!
//! A trait, because a test has neither disks nor the right to mount. It never decides: which device may
//! be changed is for `devices` to say. Asking udev's database was dropped: it is a program's private
//! format, and behind the kernel by some moments.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use kiln_disk::Gpt;
use kiln_sys::block::{self, Extent};
use kiln_sys::mount;

use crate::Error;
use crate::error::file;

/// sysfs counts in units of 512 bytes, whatever the sector size.
const SYSFS_UNIT: u64 = 512;
/// Deepest stack of devices that is followed; real ones have four or five.
const DEPTH: u32 = 16;

/// Kinds of block devices that never hold anything of interest.
const NO_DISKS: [&str; 3] = ["ram", "zram", "fd"];

/// A block device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Device {
    /// The kernel's name (`vdb1`).
    pub(crate) name: String,
    /// Its node as this process opens it, and as programs inside the root know it.
    pub(crate) node: PathBuf,
    /// For a partition the name of its disk, and its number.
    pub(crate) partition: Option<(String, u32)>,
}

impl Device {
    /// The node as text, for messages and programs.
    pub(crate) fn shown(&self) -> String {
        self.node.to_string_lossy().into_owned()
    }
}

/// The kernel.
pub(crate) trait Kernel {
    /// What a node stands for, by its device number; nothing where it is no block device.
    fn device(&self, node: &Path) -> Option<Device>;
    /// The device of a name.
    fn named(&self, name: &str) -> Option<Device>;
    /// All block devices that hold something, sorted by name.
    fn all(&self) -> Vec<Device>;
    /// Names of the devices that this one is made of, at any depth, itself included.
    fn made_of(&self, name: &str) -> BTreeSet<String>;
    /// Names of the devices that are made of this one, the next higher ones only, active or not.
    fn made_into(&self, name: &str) -> Vec<String>;
    /// Names of the disks from which the system runs.
    fn system_disks(&self) -> BTreeSet<String>;
    /// Bytes per sector.
    fn sector_size(&self, disk: &File, shown: &str) -> Result<u32, Error>;
    /// Refuses a device that is mounted or part of another one.
    fn claim(&self, device: &Device) -> Result<(), Error>;
    /// Makes the kernel's partitions those of the table.
    fn tell(&mut self, disk: &Device, open: &File, table: &Gpt) -> Result<(), Error>;
    /// Mounts.
    fn mount(&mut self, mount: &Mount<'_>) -> Result<(), Error>;
    /// Shows a folder at a second place.
    fn bind(&mut self, source: &Path, target: &Path) -> Result<(), Error>;
    /// Puts a mount, with all below it, to another place.
    fn move_to(&mut self, source: &Path, target: &Path) -> Result<(), Error>;
    /// Unmounts, when nobody uses it any more.
    fn detach(&mut self, target: &Path) -> Result<(), Error>;
}

/// A mount that is wanted.
#[derive(Debug)]
pub(crate) struct Mount<'a> {
    /// Node, or a word for a file system without one.
    pub(crate) source: &'a str,
    /// Real path of the folder.
    pub(crate) target: &'a Path,
    /// File system.
    pub(crate) kind: &'a str,
    /// Flags.
    pub(crate) options: mount::Options,
    /// The file system's own options.
    pub(crate) data: &'a str,
}

/// The kernel that runs.
#[derive(Debug)]
pub(crate) struct Linux {
    /// sysfs.
    pub(crate) devices: PathBuf,
    /// Folder of the nodes.
    pub(crate) nodes: PathBuf,
    /// Paths that lie on the system's disks.
    pub(crate) system: Vec<PathBuf>,
}

impl Linux {
    fn folder(&self, name: &str) -> PathBuf {
        self.devices.join("class/block").join(name)
    }

    /// The name behind a device number.
    fn name_of(&self, number: u64) -> Option<String> {
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let link = self.devices.join(format!("dev/block/{major}:{minor}"));
        let real = fs::read_link(link).ok()?;
        Some(real.file_name()?.to_str()?.to_owned())
    }

    /// The disk of a partition: the folder above its own.
    fn disk_of(&self, name: &str) -> Option<String> {
        let real = fs::canonicalize(self.folder(name)).ok()?;
        Some(real.parent()?.file_name()?.to_str()?.to_owned())
    }

    fn number(&self, name: &str, field: &str) -> Option<u64> {
        fs::read_to_string(self.folder(name).join(field)).ok()?.trim_end().parse().ok()
    }

    fn partition(&self, name: &str) -> Option<(String, u32)> {
        let number = u32::try_from(self.number(name, "partition")?).ok()?;
        Some((self.disk_of(name)?, number))
    }

    fn collect(&self, name: &str, depth: u32, found: &mut BTreeSet<String>) {
        let Some(depth) = depth.checked_sub(1) else { return };
        if !found.insert(name.to_owned()) {
            return;
        }
        let Ok(entries) = fs::read_dir(self.folder(name).join("slaves")) else { return };
        for entry in entries.flatten() {
            if let Some(below) = entry.file_name().to_str() {
                self.collect(below, depth, found);
            }
        }
    }

    /// The name of a volume of the device mapper instead of its number: the table of mounts then tells
    /// people and units the name that they know it by, and which is the same at each boot.
    fn mapped(&self, source: &str) -> Option<String> {
        let name = source.rsplit('/').next().filter(|name| name.starts_with("dm-"))?;
        let given = fs::read_to_string(self.folder(name).join("dm/name")).ok()?;
        let node = self.nodes.join("mapper").join(given.trim_end());
        (self.device(&node)?.name == name).then(|| node.to_string_lossy().into_owned())
    }

    fn known(&self, disk: &Device) -> Vec<Extent> {
        let Ok(entries) = fs::read_dir(self.folder(&disk.name)) else { return Vec::new() };
        let extent = |name: &str| {
            let name = format!("{}/{name}", disk.name);
            Some(Extent {
                number: u32::try_from(self.number(&name, "partition")?).ok()?,
                offset: self.number(&name, "start")?.checked_mul(SYSFS_UNIT)?,
                length: self.number(&name, "size")?.checked_mul(SYSFS_UNIT)?,
            })
        };
        entries.flatten().filter_map(|entry| extent(entry.file_name().to_str()?)).collect()
    }
}

impl Kernel for Linux {
    fn device(&self, node: &Path) -> Option<Device> {
        use std::os::unix::fs::FileTypeExt;
        let about = fs::metadata(node).ok().filter(|about| about.file_type().is_block_device())?;
        let name = self.name_of(about.rdev())?;
        let partition = self.partition(&name);
        Some(Device { name, node: node.to_owned(), partition })
    }

    fn named(&self, name: &str) -> Option<Device> {
        // sysfs writes slashes of device names as exclamation marks (`cciss!c0d0`).
        let node = self.nodes.join(name.replace('!', "/"));
        self.device(&node).filter(|device| device.name == name)
    }

    fn all(&self) -> Vec<Device> {
        let Ok(entries) = fs::read_dir(self.devices.join("class/block")) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        let is_filled = |name: &&String| self.number(name, "size").is_some_and(|size| size > 0);
        // Memory holds nothing at a start, and an empty floppy drive takes seconds to say so.
        let is_disk = |name: &&String| !NO_DISKS.iter().any(|kind| name.starts_with(kind));
        names.iter().filter(is_disk).filter(is_filled).filter_map(|name| self.named(name)).collect()
    }

    fn made_of(&self, name: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        self.collect(name, DEPTH, &mut found);
        found
    }

    fn made_into(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.folder(name).join("holders")).into_iter().flatten();
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    fn system_disks(&self) -> BTreeSet<String> {
        let devices = self.system.iter().filter_map(|path| fs::metadata(path).ok());
        let names = devices.filter_map(|about| self.name_of(about.dev()));
        let all = names.flat_map(|name| self.made_of(&name));
        let disk = |name: String| self.partition(&name).map_or(name, |(disk, _)| disk);
        all.map(disk).collect()
    }

    fn sector_size(&self, disk: &File, shown: &str) -> Result<u32, Error> {
        Ok(block::sector_size(disk, shown)?)
    }

    fn claim(&self, device: &Device) -> Result<(), Error> {
        // For a block device O_EXCL is refused while somebody has claimed it (open(2)).
        let flag = rustix::fs::OFlags::EXCL.bits().cast_signed();
        let opened = File::options().read(true).write(true).custom_flags(flag).open(&device.node);
        opened.map(drop).map_err(file("use", &device.shown()))
    }

    fn tell(&mut self, disk: &Device, open: &File, table: &Gpt) -> Result<(), Error> {
        let shown = disk.shown();
        for change in changes(&extents(table), &self.known(disk)) {
            match change {
                Change::Remove(number) => block::remove_partition(open, number, &shown)?,
                Change::Resize(extent) => block::resize_partition(open, extent, &shown)?,
                Change::Add(extent) => block::add_partition(open, extent, &shown)?,
            }
        }
        Ok(())
    }

    fn mount(&mut self, mount: &Mount<'_>) -> Result<(), Error> {
        let mapped = self.mapped(mount.source);
        let source = mapped.as_deref().unwrap_or(mount.source);
        Ok(mount::mount(source, mount.target, mount.kind, mount.options, mount.data)?)
    }

    fn bind(&mut self, source: &Path, target: &Path) -> Result<(), Error> {
        Ok(mount::bind(source, target)?)
    }

    fn move_to(&mut self, source: &Path, target: &Path) -> Result<(), Error> {
        Ok(mount::move_to(source, target)?)
    }

    fn detach(&mut self, target: &Path) -> Result<(), Error> {
        Ok(mount::detach(target)?)
    }
}

/// One thing to tell the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Forget this number.
    Remove(u32),
    /// The partition has this length now.
    Resize(Extent),
    /// There is this partition, too.
    Add(Extent),
}

/// The places of a table's partitions, in bytes.
pub(crate) fn extents(table: &Gpt) -> Vec<Extent> {
    let extent = |(&number, entry): (&u32, &kiln_disk::PartitionEntry)| Extent {
        number,
        offset: entry.offset(table.sector_size),
        length: entry.length(table.sector_size),
    };
    table.partitions.iter().map(extent).collect()
}

/// What makes a kernel that knows `known` know `wanted`; what gives room comes first. A partition in use
/// cannot be removed but can be resized, so one that only changed its length is never removed.
pub(crate) fn changes(wanted: &[Extent], known: &[Extent]) -> Vec<Change> {
    let same = |a: &Extent, b: &Extent| a.number == b.number && a.offset == b.offset;
    let gone = known.iter().filter(|old| !wanted.iter().any(|new| same(old, new)));
    let mut changes: Vec<Change> = gone.map(|old| Change::Remove(old.number)).collect();
    let (mut shrunk, mut grown, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for new in wanted {
        match known.iter().find(|old| same(old, new)).map(|old| old.length.cmp(&new.length)) {
            None => added.push(Change::Add(*new)),
            Some(std::cmp::Ordering::Greater) => shrunk.push(Change::Resize(*new)),
            Some(std::cmp::Ordering::Less) => grown.push(Change::Resize(*new)),
            Some(std::cmp::Ordering::Equal) => {}
        }
    }
    changes.extend(shrunk.into_iter().chain(grown).chain(added));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_told_only_what_changed() {
        let extent = |number, offset, length| Extent { number, offset, length };
        let (one, two) = (extent(1, 100, 50), extent(2, 150, 50));
        for (wanted, known, expected) in [
            (vec![one, two], vec![one, two], vec![]),
            (vec![one, two], vec![], vec![Change::Add(one), Change::Add(two)]),
            (vec![one], vec![one, two], vec![Change::Remove(2)]),
            (
                vec![extent(1, 100, 60), extent(2, 160, 10)],
                vec![one, two],
                vec![
                    Change::Remove(2),
                    Change::Resize(extent(1, 100, 60)),
                    Change::Add(extent(2, 160, 10)),
                ],
            ),
            (
                vec![extent(1, 100, 60), extent(2, 170, 10)],
                vec![one, extent(2, 170, 20)],
                vec![Change::Resize(extent(2, 170, 10)), Change::Resize(extent(1, 100, 60))],
            ),
        ] {
            assert_eq!(changes(&wanted, &known), expected);
        }
    }

    #[test]
    fn devices_and_what_they_are_made_of_come_from_sysfs() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("devices/vda");
        for (path, text) in [
            ("devices/vda/size", "100"),
            ("devices/vda/vda3/partition", "3"),
            ("devices/vda/vda3/start", "2048"),
            ("devices/vda/vda3/size", "8"),
            ("devices/dm-0/size", "8"),
            ("devices/dm-0/slaves/vda3", ""),
            ("devices/dm-0/dm/name", "vault\n"),
            ("devices/vda/vda3/holders/dm-0", ""),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let class = folder.path().join("class/block");
        fs::create_dir_all(&class).unwrap();
        for (name, target) in [
            ("vda", real.clone()),
            ("vda3", real.join("vda3")),
            ("dm-0", folder.path().join("devices/dm-0")),
        ] {
            std::os::unix::fs::symlink(target, class.join(name)).unwrap();
        }
        let kernel =
            Linux { devices: folder.path().to_owned(), nodes: "/dev".into(), system: Vec::new() };
        assert_eq!(kernel.made_of("dm-0"), ["dm-0", "vda3"].map(String::from).into());
        assert_eq!(kernel.made_into("vda3"), ["dm-0"]);
        assert!(kernel.made_into("dm-0").is_empty());
        // Its node is no device here, so the number stays.
        assert_eq!(kernel.mapped("/dev/dm-0"), None);
        assert_eq!(kernel.mapped("/dev/vda3"), None);
        assert_eq!(kernel.partition("vda3"), Some(("vda".into(), 3)));
        let disk = Device { name: "vda".into(), node: "/dev/vda".into(), partition: None };
        assert_eq!(kernel.known(&disk), [Extent { number: 3, offset: 1 << 20, length: 4096 }]);
        assert_eq!(kernel.device(Path::new("/dev/null")), None);
        assert!(kernel.all().is_empty(), "no node has these numbers");
    }
}
