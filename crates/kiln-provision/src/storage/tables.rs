//! Partition tables: planned by the pure parts, written safely against power loss, told to the kernel.
//!
//! A table is written whole or not at all, and only after nothing that changes is in use: the kernel
//! would refuse to forget a partition that is mounted, and the disk and its idea of it would differ.

use std::time::Instant;

use kiln_config::operation::Text;
use kiln_config::storage::{Disk, Layout};
use kiln_disk::gpt::{self, Located};
use kiln_disk::{BlockDevice, FileDevice, Gpt, Guid, PartitionEntry};
use rustix::fs::FlockOperation;

use super::devices::{is_own, signature_at};
use super::disks::{Disks, fresh};
use super::filesystems::Program;
use super::kernel::Device;
use super::layout::{self, stands_for};
use super::mounting::Parsed;
use super::partitions::{self, DATA, Step};
use super::signature::Signature;
use crate::Error;
use crate::error::file;

/// The table of a disk as it is and as it shall be.
#[derive(Debug)]
pub(super) struct Planned {
    /// What is there; nothing where the table is made from nothing.
    pub(super) old: Option<Located>,
    /// The whole new table.
    pub(super) new: Gpt,
    /// Number of each wanted partition and what happens to it.
    pub(super) steps: Vec<(u32, Step)>,
}

impl Disks<'_> {
    /// `disks` of a document.
    pub(super) fn disk(&mut self, wanted: &Disk) -> Result<(), Error> {
        self.attempt("partitions")?;
        let device = self.devices.wait(&wanted.device)?;
        let planned = self.plan_disk(&device, wanted)?;
        for (number, step) in &planned.steps {
            if let (Step::Create | Step::Replace, Some(entry)) =
                (step, planned.new.partitions.get(number))
            {
                let guid = entry.guid.to_string();
                self.attempt("partitions")?.makes_partition(&guid)?;
            }
        }
        self.write_table(&device, planned.old.as_ref(), &planned.new)
    }

    /// Decides what a disk's table becomes; changes nothing.
    pub(super) fn plan_disk(&self, device: &Device, wanted: &Disk) -> Result<Planned, Error> {
        let is_system = self.devices.is_system(device)?;
        let refuse = |reason: &str| Error::Partition {
            device: wanted.device.clone(),
            number: 0,
            reason: reason.into(),
        };
        if device.partition.is_some() {
            return Err(refuse("this is itself a partition and no disk"));
        }
        if !is_system {
            // It may be made of partitions of the system.
            self.devices.refuse_own(device, &wanted.device)?;
        }
        let open = self.devices.open(device, false)?;
        let old = self.devices.table(device)?;
        if is_system && old.is_none() {
            return Err(refuse("it has no table, and this machine runs from it"));
        }
        if !is_system && old.is_none() && !wanted.wipe_table {
            let found = signature_at(open.file(), 0, open.length());
            if let Some(found) = found.map_err(file("read", &wanted.device))? {
                super::filesystems::refuse_lvm(&wanted.device, &found)?;
                return Err(Error::Occupied {
                    device: wanted.device.clone(),
                    found: found.format.to_owned(),
                    wanted: "a partition table".into(),
                });
            }
        }
        let old = old.filter(|_| is_system || !wanted.wipe_table);
        let base = match &old {
            Some(old) => grown(&old.table, open.length())?,
            None => empty(&open)?,
        };
        let protected = move |entry: &PartitionEntry| is_system && is_own(entry);
        // The names of fresh partitions are drawn before, because the planning cannot fail for them.
        let mut guids = Vec::new();
        for _ in &wanted.partitions {
            guids.push(fresh()?);
        }
        let mut guid = || guids.pop().unwrap_or_default();
        let change = partitions::plan(&base, wanted, &protected, &mut guid)?;
        Ok(Planned { old, new: change.table, steps: change.steps })
    }

    /// Writes a table and makes the kernel show its partitions.
    pub(super) fn write_table(
        &mut self,
        device: &Device,
        old: Option<&Located>,
        new: &Gpt,
    ) -> Result<(), Error> {
        self.refuse_used(device, old.map(|old| &old.table), new)?;
        let mut disk = self.devices.open(device, true)?;
        self.lock(&disk);
        let is_same = old.is_some_and(|old| old.table == *new && old.other_agrees);
        let writes = match old {
            _ if is_same => Vec::new(),
            Some(old) => gpt::update(old, new).map_err(Error::Disk)?,
            None => {
                self.wipe(device)?;
                gpt::create(new).map_err(Error::Disk)?
            }
        };
        // The commit point of the table is one sector of these.
        kiln_disk::apply(&mut disk, &writes).map_err(file("write", &device.shown()))?;
        disk.flush().map_err(file("write back", &device.shown()))?;
        self.devices.kernel.tell(device, disk.file(), new)?;
        drop(disk);
        self.settle();
        for number in new.partitions.keys() {
            self.devices.partition(device, *number)?;
        }
        Ok(())
    }

    /// Refuses to take away what is in use.
    fn refuse_used(&self, device: &Device, old: Option<&Gpt>, new: &Gpt) -> Result<(), Error> {
        let Some(old) = old else { return self.devices.kernel.claim(device) };
        let all = self.devices.kernel.all();
        for (number, entry) in &old.partitions {
            let stays = |now: &PartitionEntry| {
                now.first_lba == entry.first_lba && now.last_lba >= entry.last_lba
            };
            if new.partitions.get(number).is_some_and(stays) {
                continue;
            }
            let of = Some((device.name.clone(), *number));
            if let Some(partition) = all.iter().find(|one| one.partition == of) {
                self.devices.kernel.claim(partition)?;
            }
        }
        Ok(())
    }

    /// Keeps udev from looking at a disk that changes (systemd's rules for locking block devices). Whoever
    /// holds the lock too long is passed over: the lock is a courtesy.
    fn lock(&self, disk: &FileDevice) {
        let start = Instant::now();
        while rustix::fs::flock(disk.file(), FlockOperation::NonBlockingLockExclusive).is_err()
            && start.elapsed() < self.devices.patience
        {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// Elemental's `layout`.
    pub(super) fn layout(&mut self, wanted: &Layout) -> Result<(), Error> {
        let (device, called) = self.layout_disk(wanted)?;
        if device.partition.is_some() {
            let reason = "this is itself a partition and no disk".into();
            return Err(Error::Partition { device: called, number: 0, reason });
        }
        let is_system = self.devices.is_system(&device)?;
        if self.devices.table(&device)?.is_none() {
            self.first_table(&device, &called, wanted)?;
        }
        let open = self.devices.open(&device, false)?;
        let located = gpt::read(&open).map_err(Error::Disk)?;
        let base = grown(&located.table, open.length())?;
        let found = contents(&open, &base).map_err(file("read", &called))?;
        let protected = move |entry: &PartitionEntry| is_system && is_own(entry);
        let mut guids = Vec::new();
        for _ in &wanted.add {
            guids.push(fresh()?);
        }
        let mut guid = || guids.pop().unwrap_or_default();
        let change = layout::plan(&called, &base, wanted, &found, &protected, &mut guid)?;
        for label in &change.satisfied {
            (self.say)(&format!("layout: `{label}` is there in another form"));
        }
        if let Some(new) = &change.table {
            self.write_table(&device, Some(&located), new)?;
        }
        for (number, system) in &change.filesystems {
            let partition = self.devices.partition(&device, *number)?;
            self.make_filesystem(system, &partition)?;
            self.finish_partition(&device, *number)?;
        }
        match change.grown {
            Some(number) => self.grow(&self.devices.partition(&device, number)?),
            None => Ok(()),
        }
    }

    /// The disk that a `layout` is about, and what it is called.
    fn layout_disk(&mut self, wanted: &Layout) -> Result<(Device, String), Error> {
        if let Some(label) = &wanted.label {
            let name = format!("LABEL={label}");
            let device = match (self.devices.find(&name)?, stands_for(label)) {
                (None, Some(_)) => return Ok((self.system_disk(&name)?, name)),
                (None, None) => self.devices.wait(&name)?,
                (Some(device), _) => device,
            };
            return Ok((self.disk_of(device), name));
        }
        let called = match &wanted.path {
            Some(Text::Plain(path)) => path.clone(),
            _ => return Err(Error::Template { reason: "the path of a disk is not filled".into() }),
        };
        let called = match called.strip_prefix("script://") {
            Some(script) => {
                let arguments = vec!["-c".to_owned(), script.to_owned()];
                let output = self.run(&Program { names: &["sh", "bash"], arguments })?;
                let line = output.lines().map(str::trim).find(|line| !line.is_empty());
                line.unwrap_or_default().to_owned()
            }
            None => called,
        };
        Ok((self.devices.wait(&called)?, called))
    }

    fn disk_of(&self, device: Device) -> Device {
        let disk = device.partition.as_ref().and_then(|(disk, _)| self.devices.kernel.named(disk));
        disk.unwrap_or(device)
    }

    /// The disk from which the system runs.
    fn system_disk(&self, called: &str) -> Result<Device, Error> {
        for device in self.devices.kernel.all() {
            if device.partition.is_none()
                && self.devices.is_system(&device)?
                && self.devices.table(&device)?.is_some()
            {
                return Ok(device);
            }
        }
        Err(Error::NoDevice { device: called.to_owned(), seconds: 0 })
    }

    /// Gives a disk without a table one, if that was asked for and it holds nothing.
    fn first_table(&mut self, device: &Device, called: &str, wanted: &Layout) -> Result<(), Error> {
        self.devices.refuse_own(device, called)?;
        let found = self.devices.signature(device)?;
        if let Some(found) = &found {
            super::filesystems::refuse_lvm(called, found)?;
        }
        if found.is_some() || !wanted.init_disk {
            let found = found.map_or("no partition table", |found| found.format);
            let wanted = "one (`init_disk` makes one on an empty disk)".to_owned();
            return Err(Error::Occupied { device: called.to_owned(), found: found.into(), wanted });
        }
        let table = empty(&self.devices.open(device, false)?)?;
        self.write_table(device, None, &table)
    }

    /// Gives a partition its lasting type, now that its file system is on the disk.
    fn finish_partition(&mut self, device: &Device, number: u32) -> Result<(), Error> {
        let located = gpt::read(&self.devices.open(device, false)?).map_err(Error::Disk)?;
        let mut table = located.table.clone();
        if let Some(entry) = table.partitions.get_mut(&number) {
            entry.type_guid = DATA;
        }
        // The commit point of the file system.
        self.write_table(device, Some(&located), &table)
    }

    /// Grows the file system of a partition that grew. One that cannot stays as it is, and is told of.
    fn grow(&mut self, partition: &Device) -> Result<(), Error> {
        let Some(found) = self.devices.signature(partition)? else { return Ok(()) };
        let node = self.inside(&partition.node)?;
        match found.format {
            "ext2" | "ext3" | "ext4" => {
                self.check_filesystem(partition, found.format)?;
                self.run(&Program { names: &["resize2fs"], arguments: vec![node] }).map(drop)
            }
            "xfs" | "btrfs" => self.with_mounted(partition, found.format, |disks, folder| {
                let program = match found.format {
                    "xfs" => Program { names: &["xfs_growfs"], arguments: vec![folder] },
                    _ => Program {
                        names: &["btrfs"],
                        arguments: ["filesystem", "resize", "max"]
                            .map(str::to_owned)
                            .into_iter()
                            .chain([folder])
                            .collect(),
                    },
                };
                disks.run(&program).map(drop)
            }),
            other => {
                (self.say)(&format!("layout: {node} grew, its {other} did not"));
                Ok(())
            }
        }
    }

    fn with_mounted(
        &mut self,
        device: &Device,
        format: &str,
        work: impl FnOnce(&mut Self, String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let folder = self.mount_aside(device, format, &Parsed::default())?;
        let shown = self.inside(&folder)?;
        let worked = work(self, shown);
        self.devices.kernel.detach(&folder)?;
        worked
    }
}

/// A new table for a disk.
fn empty(open: &FileDevice) -> Result<Gpt, Error> {
    Gpt::empty(open.sector_size(), open.length(), fresh()?).map_err(Error::Disk)
}

/// A table that uses all of a disk that is longer than it believes.
fn grown(table: &Gpt, length: u64) -> Result<Gpt, Error> {
    let mut grown = table.clone();
    let whole = Gpt::empty(table.sector_size, length, Guid::ZERO).map_err(Error::Disk)?;
    if whole.disk_sectors > table.disk_sectors {
        grown.disk_sectors = whole.disk_sectors;
        let behind = grown.array_sectors().saturating_add(2);
        grown.last_usable = grown.disk_sectors.saturating_sub(behind);
    }
    Ok(grown)
}

/// What each partition of a disk holds.
fn contents(disk: &FileDevice, table: &Gpt) -> std::io::Result<Vec<(u32, Signature)>> {
    let mut found = Vec::new();
    for (number, entry) in &table.partitions {
        let (offset, length) = (entry.offset(table.sector_size), entry.length(table.sector_size));
        if let Some(signature) = signature_at(disk.file(), offset, length)? {
            found.push((*number, signature));
        }
    }
    Ok(found)
}
