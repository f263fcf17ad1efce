//! A whole document looked at before its first change.
//!
//! Devices that the document itself makes are not there yet. A partition is known all the same: the new
//! table says where it will lie, so what is there now is read from its disk. What lies on an array or in
//! an encrypted volume cannot be known, and is looked at when it is there.

use std::collections::BTreeSet;

use kiln_config::Action;
use kiln_config::storage::{Disk, Filesystem, Raid};
use kiln_disk::{BlockDevice, Gpt};

use super::Refusal;
use super::arrays::{self, LuksDecision, Member};
use super::devices::{Name, is_own, signature_at};
use super::disks::Disks;
use super::filesystems::{self, Decision};
use super::kernel::Device;
use super::mounting::check_path;
use super::partitions::Step;
use super::records::key_file;
use super::signature::Signature;
use super::volumes::{no_key, plain_name};
use crate::Error;
use crate::error::file;

/// A disk that the document changes.
#[derive(Debug)]
struct Future {
    device: Device,
    /// As the document calls it.
    called: String,
    table: Gpt,
    /// Numbers that the document makes.
    fresh: Vec<u32>,
}

/// What the document makes.
#[derive(Debug, Default)]
struct Futures {
    disks: Vec<Future>,
    /// Names of arrays and encrypted volumes, as links of `/dev`.
    names: Vec<String>,
    /// Paths at which something is mounted.
    paths: BTreeSet<String>,
}

/// What is known of a device now.
#[derive(Debug, Default)]
struct Known {
    found: Option<Signature>,
    /// The document makes the partition.
    is_fresh: bool,
    /// The document makes the device, so nothing can be said.
    is_future: bool,
}

impl Futures {
    /// The partition that a name will mean.
    fn partition(&self, name: &str) -> Option<(&Future, u32)> {
        let parsed = Name::parse(name);
        for disk in &self.disks {
            for (number, entry) in &disk.table.partitions {
                let fits = match &parsed {
                    Name::PartLabel(label) => entry.name == *label,
                    Name::PartUuid(guid) => entry.guid.to_string().eq_ignore_ascii_case(guid),
                    Name::Path(path) => [disk.called.as_str(), &disk.device.shown()]
                        .iter()
                        .any(|disk| of_disk(path, disk) == Some(*number)),
                    Name::Label(_) | Name::Uuid(_) => false,
                };
                if fits {
                    return Some((disk, *number));
                }
            }
        }
        None
    }
}

/// The number behind the name of a disk: `/dev/vdb1`, `/dev/nvme0n1p1`, `/dev/disk/by-id/x-part1`.
fn of_disk(path: &str, disk: &str) -> Option<u32> {
    let rest = path.strip_prefix(disk)?;
    let ends_in_digit = disk.ends_with(|letter: char| letter.is_ascii_digit());
    let digits = match rest.strip_prefix("-part") {
        Some(digits) => digits,
        None if ends_in_digit => rest.strip_prefix('p')?,
        None => rest,
    };
    if digits.starts_with('0') { None } else { digits.parse().ok() }
}

impl Disks<'_> {
    /// Refuses a document of which one operation would be refused.
    pub(super) fn check(&self, actions: &[&Action]) -> Result<(), Refusal> {
        let mut futures = Futures::default();
        for (index, action) in actions.iter().enumerate() {
            self.check_one(action, &mut futures)
                .map_err(|error| Refusal { operation: Some(index), error })?;
        }
        Ok(())
    }

    fn check_one(&self, action: &Action, futures: &mut Futures) -> Result<(), Error> {
        match action {
            Action::Disk(disk) => self.check_disk(disk, futures),
            Action::Raid(raid) => self.check_raid(raid, futures),
            Action::Luks(luks) => {
                plain_name(&luks.name)?;
                self.program(&["cryptsetup"])?;
                let known = self.known(&luks.device, futures)?;
                let decision = arrays::luks(luks, known.found.as_ref(), self.made(&known))?;
                let has_key = || key_file(self.ledger.folder(), &luks.name).is_file();
                if decision == LuksDecision::Open && luks.key.is_none() && !has_key() {
                    return Err(no_key(&luks.name));
                }
                futures.names.push(format!("/dev/mapper/{}", luks.name));
                futures.names.push(format!("/dev/disk/by-id/dm-name-{}", luks.name));
                Ok(())
            }
            Action::Filesystem(system) => self.check_system(system, futures),
            _ => Ok(()),
        }
    }

    fn check_disk(&self, disk: &Disk, futures: &mut Futures) -> Result<(), Error> {
        let device = self.devices.wait(&disk.device)?;
        if futures.disks.iter().any(|other| other.device.name == device.name) {
            let reason = "the document names this disk twice".into();
            return Err(Error::Partition { device: disk.device.clone(), number: 0, reason });
        }
        let planned = self.plan_disk(&device, disk)?;
        let is_new = |step: &Step| matches!(step, Step::Create | Step::Replace);
        let fresh = planned.steps.iter().filter(|(_, step)| is_new(step));
        let fresh = fresh.map(|(number, _)| *number).collect();
        let called = disk.device.clone();
        futures.disks.push(Future { device, called, table: planned.new, fresh });
        Ok(())
    }

    fn check_raid(&self, raid: &Raid, futures: &mut Futures) -> Result<(), Error> {
        plain_name(&raid.name)?;
        self.program(&["mdadm"])?;
        let mut members = Vec::new();
        for device in &raid.devices {
            let known = self.known(device, futures)?;
            if !known.is_future {
                let ours = known.is_fresh || self.made(&known);
                members.push(Member { device, found: known.found, ours });
            }
        }
        arrays::raid(raid, &members)?;
        futures.names.push(format!("/dev/md/{}", raid.name));
        futures.names.push(format!("/dev/disk/by-id/md-name-{}", raid.name));
        Ok(())
    }

    fn check_system(&self, system: &Filesystem, futures: &mut Futures) -> Result<(), Error> {
        let known = self.known(&system.device, futures)?;
        let decision = filesystems::decide(system, known.found.as_ref(), self.made(&known))?;
        if decision == Decision::Make {
            self.program(filesystems::program(system, "")?.names)?;
        }
        let Some(path) = system.path.as_ref().filter(|path| !path.is_empty()) else {
            return Ok(());
        };
        check_path(path)?;
        if !futures.paths.insert(path.clone()) {
            let reason = "two file systems are to be mounted there";
            return Err(Error::Path { path: path.clone(), reason });
        }
        Ok(())
    }

    /// Whether an attempt at the document made what is there.
    fn made(&self, known: &Known) -> bool {
        known.found.as_ref().is_some_and(|found| self.has_made(&found.uuid))
    }

    /// What is known of a device, also of one that will be there.
    fn known(&self, name: &str, futures: &Futures) -> Result<Known, Error> {
        if futures.names.iter().any(|other| other == name) {
            return Ok(Known { is_future: true, ..Known::default() });
        }
        if let Some((disk, number)) = futures.partition(name) {
            return self.future(name, disk, number);
        }
        let device = self.devices.wait(name)?;
        if let Some((disk, number)) = &device.partition
            && let Some(disk) = futures.disks.iter().find(|other| other.device.name == *disk)
        {
            return self.future(name, disk, *number);
        }
        self.devices.refuse_own(&device, name)?;
        let found = self.devices.signature(&device)?;
        Ok(Known { found, ..Known::default() })
    }

    fn future(&self, name: &str, disk: &Future, number: u32) -> Result<Known, Error> {
        let Some(entry) = disk.table.partitions.get(&number) else {
            let reason = format!("`{name}` is used, and the document removes it");
            return Err(Error::Partition { device: disk.called.clone(), number, reason });
        };
        if self.devices.is_system(&disk.device)? && is_own(entry) {
            let what = format!("partition {number} (`{}`) of the system", entry.name);
            return Err(Error::Own { device: name.to_owned(), what });
        }
        let open = self.devices.open(&disk.device, false)?;
        let sector = open.sector_size();
        let found = signature_at(open.file(), entry.offset(sector), entry.length(sector));
        let found = found.map_err(file("read", name))?;
        Ok(Known { found, is_fresh: disk.fresh.contains(&number), is_future: false })
    }
}

#[cfg(test)]
mod tests {
    use super::of_disk;

    #[test]
    fn partitions_are_named_behind_their_disk() {
        for (path, disk, expected) in [
            ("/dev/vdb1", "/dev/vdb", Some(1)),
            ("/dev/vdb12", "/dev/vdb", Some(12)),
            ("/dev/vdb", "/dev/vdb", None),
            ("/dev/vdbp1", "/dev/vdb", None),
            ("/dev/vdb01", "/dev/vdb", None),
            ("/dev/nvme0n1p3", "/dev/nvme0n1", Some(3)),
            ("/dev/nvme0n13", "/dev/nvme0n1", None),
            ("/dev/disk/by-id/virtio-1-part2", "/dev/disk/by-id/virtio-1", Some(2)),
            ("/dev/disk/by-id/virtio-a-part2", "/dev/disk/by-id/virtio-a", Some(2)),
            ("/dev/sda1", "/dev/vdb", None),
        ] {
            assert_eq!(of_disk(path, disk), expected, "{path}");
        }
    }
}
