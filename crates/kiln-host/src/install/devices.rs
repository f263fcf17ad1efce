//! Facts of block devices, read from sysfs, the mount table and the list of swap. Changes nothing.
//!
//! sysfs and not a library: the same few files say the same of every kind of disk, and whoever reads
//! them needs no running udev. What a disk is used for comes from three places, because none knows
//! all: file systems from the mount table, swap from its list, and everything built on a partition
//! (device mapper, RAID) from its holders. The kernel has the last word when the disk is opened for
//! this process alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::choose::DiskFacts;
use crate::machine::Paths;

/// sysfs counts in units of 512 bytes, whatever the sector size.
const SYSFS_UNIT: u64 = 512;
/// Kinds that are no disks: optical and floppy drives, memory, and parts of cards that boot ROMs use.
const NO_DISKS: [&str; 5] = ["sr", "fd", "ram", "zram", "nbd"];
/// Ends of names of such parts of cards (Linux mmc block driver).
const NO_DISK_ENDS: [&str; 3] = ["boot0", "boot1", "rpmb"];
/// Kinds that are made of other devices or of files.
const STACKED: [&str; 3] = ["dm-", "md", "loop"];
/// Folders of links in `/dev` that name disks.
const LINK_FOLDERS: [&str; 3] = ["disk/by-id", "disk/by-path", "mapper"];

/// Reads all disks, in the order of their names. What cannot be read is left out: a description of a
/// disk must never be a guess.
#[must_use]
pub fn disks(paths: &Paths) -> Vec<DiskFacts> {
    let uses = Uses::read(paths);
    let links = links(&paths.devices);
    let mut names = folder_names(&paths.block_devices);
    names.retain(|name| {
        !NO_DISKS.iter().any(|kind| name.starts_with(kind))
            && !NO_DISK_ENDS.iter().any(|end| name.ends_with(end))
            && !paths.block_devices.join(name).join("partition").exists()
    });
    names.iter().filter_map(|name| disk(paths, name, &uses, &links)).collect()
}

fn disk(
    paths: &Paths,
    name: &str,
    uses: &Uses,
    links: &BTreeMap<PathBuf, Vec<String>>,
) -> Option<DiskFacts> {
    let folder = paths.block_devices.join(name);
    let length = number(&folder.join("size"))?.checked_mul(SYSFS_UNIT)?;
    if length == 0 {
        // An empty drive, or a loop device without a file.
        return None;
    }
    let plain = format!("/dev/{}", name.replace('!', "/"));
    let mapped = text(&folder.join("dm/name")).map(|mapped| format!("/dev/mapper/{mapped}"));
    let mut partitions = folder_names(&folder);
    partitions.retain(|name| folder.join(name).join("partition").exists());
    let mut used = uses.of(name, &folder);
    for partition in &partitions {
        used.extend(uses.of(partition, &folder.join(partition)));
    }
    let real = fs::canonicalize(paths.node(&plain)).unwrap_or_else(|_| paths.node(&plain).into());
    let mut names = links.get(&real).cloned().unwrap_or_default();
    if mapped.is_some() {
        names.push(plain.clone());
    }
    let serial = [folder.join("serial"), folder.join("device/serial")];
    Some(DiskFacts {
        name: name.to_owned(),
        node: mapped.unwrap_or(plain),
        length,
        sector_size: number(&folder.join("queue/logical_block_size"))
            .and_then(|size| u32::try_from(size).ok())
            .unwrap_or(512),
        is_read_only: number(&folder.join("ro")) == Some(1),
        is_removable: number(&folder.join("removable")) == Some(1),
        is_stacked: STACKED.iter().any(|kind| name.starts_with(kind)),
        model: text(&folder.join("device/model")),
        serial: serial.iter().find_map(|path| text(path)),
        links: names,
        partitions: partitions
            .iter()
            .map(|name| format!("/dev/{}", name.replace('!', "/")))
            .collect(),
        uses: used,
    })
}

/// What the kernel uses, by device number and by node.
struct Uses {
    by_number: BTreeMap<String, String>,
    by_node: BTreeMap<String, String>,
}

impl Uses {
    fn read(paths: &Paths) -> Self {
        let mut uses = Self { by_number: BTreeMap::new(), by_node: BTreeMap::new() };
        uses.add_mounts(&fs::read_to_string(&paths.mounts).unwrap_or_default());
        uses.add_swap(&fs::read_to_string(&paths.swap).unwrap_or_default());
        uses
    }

    /// Lines of mountinfo (proc_pid_mountinfo(5)): the third word is the number of the device, the
    /// fifth the mount point, the second behind ` - ` the source, which Btrfs alone tells truly.
    fn add_mounts(&mut self, text: &str) {
        for line in text.lines() {
            let Some((front, behind)) = line.split_once(" - ") else { continue };
            let words: Vec<&str> = front.split(' ').collect();
            let (Some(number), Some(point)) = (words.get(2), words.get(4)) else { continue };
            let use_of = format!("is mounted at {point}");
            self.by_number.entry((*number).to_owned()).or_insert_with(|| use_of.clone());
            if let Some(source) = behind.split(' ').nth(1).filter(|name| name.starts_with("/dev/"))
            {
                self.by_node.entry(source.to_owned()).or_insert(use_of);
            }
        }
    }

    /// Lines of the list of swap (proc_swaps(5)) behind its heading.
    fn add_swap(&mut self, text: &str) {
        for line in text.lines().skip(1) {
            if let Some(node) = line.split_whitespace().next() {
                self.by_node.insert(node.to_owned(), "is swap".to_owned());
            }
        }
    }

    /// Uses of one device, holders included.
    fn of(&self, name: &str, folder: &Path) -> Vec<String> {
        let node = format!("/dev/{}", name.replace('!', "/"));
        let number = text(&folder.join("dev")).unwrap_or_default();
        let known = self.by_number.get(&number).or_else(|| self.by_node.get(&node));
        let mut found: Vec<String> = known.map(|how| format!("{node} {how}")).into_iter().collect();
        for holder in folder_names(&folder.join("holders")) {
            found.push(format!("{node} is part of {holder}"));
        }
        found
    }
}

/// Links that lead to a node, by what they lead to.
fn links(devices: &Path) -> BTreeMap<PathBuf, Vec<String>> {
    let mut found: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for folder in LINK_FOLDERS {
        for name in folder_names(&devices.join(folder)) {
            if let Ok(real) = fs::canonicalize(devices.join(folder).join(&name)) {
                found.entry(real).or_default().push(format!("/dev/{folder}/{name}"));
            }
        }
    }
    found
}

/// Names in a folder, sorted; none if it cannot be read.
fn folder_names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn device(root: &Path, name: &str, number: &str, units: u64) {
        let folder = format!("sys/class/block/{name}");
        write(root, &format!("{folder}/dev"), &format!("{number}\n"));
        write(root, &format!("{folder}/size"), &format!("{units}\n"));
        write(root, &format!("{folder}/queue/logical_block_size"), "512\n");
    }

    fn partition(root: &Path, disk: &str, name: &str, number: &str) {
        let folder = format!("sys/class/block/{disk}/{name}");
        write(root, &format!("{folder}/dev"), &format!("{number}\n"));
        write(root, &format!("{folder}/partition"), "1\n");
        write(root, &format!("sys/class/block/{name}/partition"), "1\n");
    }

    #[test]
    fn every_kind_of_disk_is_read() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for (name, number) in [
            ("sda", "8:0"),
            ("nvme0n1", "259:0"),
            ("mmcblk0", "179:0"),
            ("vda", "254:0"),
            ("vdb", "254:16"),
            ("dm-0", "252:0"),
        ] {
            device(root, name, number, 2048);
        }
        for skipped in ["sr0", "mmcblk0boot0", "zram0"] {
            device(root, skipped, "1:1", 2048);
        }
        device(root, "loop0", "7:0", 0);
        write(root, "sys/class/block/nvme0n1/queue/logical_block_size", "4096\n");
        write(root, "sys/class/block/nvme0n1/device/serial", "S4EV  \n");
        write(root, "sys/class/block/nvme0n1/device/model", "Fast 970\n");
        write(root, "sys/class/block/vdb/serial", "second\n");
        write(root, "sys/class/block/dm-0/dm/name", "multi\n");
        write(root, "sys/class/block/sda/removable", "1\n");
        write(root, "sys/class/block/mmcblk0/ro", "1\n");
        partition(root, "nvme0n1", "nvme0n1p1", "259:1");
        partition(root, "vda", "vda3", "254:3");
        partition(root, "sda", "sda2", "8:2");
        write(root, "sys/class/block/vda/vda3/holders/dm-9", "");
        write(root, "dev/nvme0n1", "");
        fs::create_dir_all(root.join("dev/disk/by-id")).unwrap();
        std::os::unix::fs::symlink("../../nvme0n1", root.join("dev/disk/by-id/nvme-Fast")).unwrap();
        write(
            root,
            "proc/self/mountinfo",
            "22 1 259:1 / /data rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw\n\
             23 1 0:30 /sub /home rw - btrfs /dev/vdb rw\nnoise\n",
        );
        write(root, "proc/swaps", "Filename Type Size\n/dev/sda2 partition 1 0 -2\n");

        let disks = disks(&Paths::below(root));
        let names: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
        assert_eq!(names, ["dm-0", "mmcblk0", "nvme0n1", "sda", "vda", "vdb"]);
        let [mapped, card, fast, stick, first, second] = disks.as_slice() else { panic!() };
        assert_eq!((mapped.node.as_str(), mapped.is_stacked), ("/dev/mapper/multi", true));
        assert_eq!(mapped.links, ["/dev/dm-0"]);
        assert!(card.is_read_only && stick.is_removable);
        assert_eq!((fast.sector_size, fast.length), (4096, 1 << 20));
        assert_eq!(
            (fast.serial.as_deref(), fast.model.as_deref()),
            (Some("S4EV"), Some("Fast 970"))
        );
        assert_eq!(fast.links, ["/dev/disk/by-id/nvme-Fast"]);
        assert_eq!(fast.partitions, ["/dev/nvme0n1p1"]);
        assert_eq!(fast.uses, ["/dev/nvme0n1p1 is mounted at /data"]);
        assert_eq!(stick.uses, ["/dev/sda2 is swap"]);
        assert_eq!(first.uses, ["/dev/vda3 is part of dm-9"]);
        assert_eq!(second.uses, ["/dev/vdb is mounted at /home"]);
        assert_eq!(second.serial.as_deref(), Some("second"));
        assert_eq!(card.uses, Vec::<String>::new());
    }
}
