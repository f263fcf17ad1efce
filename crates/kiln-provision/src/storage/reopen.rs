//! Opening again what earlier documents made, and what an attempt had opened that was cut off.

use std::collections::BTreeSet;

use super::arrays;
use super::disks::{Disks, Open};
use super::kernel::Device;
use super::mounting::{Parsed, parse};
use super::records::{Record, key_file};
use crate::Error;

impl Disks<'_> {
    /// Opens all devices of a document that is done.
    pub(super) fn open_records(&mut self, records: &[Record]) -> Result<(), Error> {
        for (place, record) in records.iter().enumerate() {
            match self.open_record(record) {
                Err(error) if is_optional(records, place) => {
                    (self.say)(&format!("{}: {}", record.shown(), error.sentence()));
                }
                opened => opened?,
            }
        }
        Ok(())
    }

    /// Opens one device of a document that is done.
    pub(super) fn open_record(&mut self, record: &Record) -> Result<(), Error> {
        match record {
            Record::Array { name, uuid } => self.assemble(name, uuid),
            Record::Encrypted { name, device, uuid, options } => {
                self.unlock(name, device, uuid, options)
            }
            Record::Mount { path, device, uuid, format, options } => {
                let parsed = parse(options);
                if parsed.noauto {
                    return Ok(());
                }
                self.mount_again_by(path, device, uuid, format, &parsed)
            }
        }?;
        (self.say)(&format!("{} is there again", record.shown()));
        Ok(())
    }

    fn assemble(&mut self, name: &str, uuid: &str) -> Result<(), Error> {
        let node = format!("/dev/md/{name}");
        // udev may have been faster.
        if self.devices.find(&node)?.is_none() {
            self.load(&["md_mod", "raid0", "raid1", "raid10", "raid456"]);
            if !self.start_collected(uuid) {
                self.run(&arrays::raid_assemble(name, uuid))?;
            }
            self.settle();
        }
        self.open.push(Open::Array(name.to_owned()));
        self.devices.wait(&node).map(drop)
    }

    /// Starts an array of which udev has collected what is there, and which waits for the member that is
    /// missing: as long as it holds the others, nothing else can be made of them. Tells whether it did.
    fn start_collected(&mut self, uuid: &str) -> bool {
        let members = self.devices.members(uuid);
        let above = members.iter().flat_map(|member| self.devices.kernel.made_into(&member.name));
        let arrays: BTreeSet<String> = above.filter(|name| name.starts_with("md")).collect();
        let mut is_started = false;
        for array in arrays {
            match self.run(&arrays::raid_start(&format!("/dev/{array}"))) {
                Ok(_) => {
                    is_started = true;
                    (self.say)(&format!("{array} is started without all of its members"));
                }
                Err(error) => (self.say)(&error.sentence()),
            }
        }
        is_started
    }

    fn unlock(
        &mut self,
        name: &str,
        device: &str,
        uuid: &str,
        options: &[String],
    ) -> Result<(), Error> {
        let node = format!("/dev/mapper/{name}");
        if self.devices.find(&node)?.is_none() {
            let below = self.by_identity(device, uuid)?;
            let key = self.inside(&key_file(self.ledger.folder(), name))?;
            let below = self.inside(&below.node)?;
            self.load(&["dm_crypt", "algif_skcipher", "crypto-xts", "crypto-aes", "crypto-sha256"]);
            self.run(&arrays::luks_open(name, &below, &key, options))?;
            self.settle();
        }
        self.open.push(Open::Encrypted(name.to_owned()));
        self.devices.wait(&node).map(drop)
    }

    fn mount_again_by(
        &mut self,
        path: &str,
        device: &str,
        uuid: &str,
        format: &str,
        parsed: &Parsed,
    ) -> Result<(), Error> {
        let device = self.by_identity(device, uuid)?;
        self.check_filesystem(&device, format)?;
        self.mount(path, &device, format, parsed)
    }

    /// The device that holds this, whatever it is called at this boot.
    fn by_identity(&self, called: &str, uuid: &str) -> Result<Device, Error> {
        if uuid.is_empty() {
            self.devices.wait(called)
        } else {
            self.devices.wait(&format!("UUID={uuid}"))
        }
    }

    /// Opens what an attempt had opened that was cut off, so that undoing finds its files. A file system
    /// that the attempt made may not be whole; its files need no undoing, and what it hid must not be
    /// taken for it: empty memory is put in its place.
    pub(super) fn open_for_undo(&mut self, record: &Record) -> Result<(), Error> {
        let Record::Mount { path, device, uuid, format, options } = record else {
            return match self.open_record(record) {
                Err(error) => {
                    // What lies on it is then missing and says so.
                    (self.say)(&error.sentence());
                    Ok(())
                }
                opened => opened,
            };
        };
        let made = super::attempt::has_left(&self.ledger, uuid)?;
        if !made {
            return self.mount_again_by(path, device, uuid, format, &parse(options));
        }
        self.mount_memory(path)
    }
}

/// Whether the machine may start without this: a file system that says so, and what only such ones lie on.
/// What nothing lies on by its own name was asked for in its own right.
fn is_optional(records: &[Record], place: usize) -> bool {
    let node = match records.get(place) {
        Some(Record::Mount { options, .. }) => return parse(options).nofail,
        Some(Record::Array { name, .. }) => format!("/dev/md/{name}"),
        Some(Record::Encrypted { name, .. }) => format!("/dev/mapper/{name}"),
        None => return false,
    };
    let lies_on = |record: &Record| match record {
        Record::Encrypted { device, .. } | Record::Mount { device, .. } => *device == node,
        Record::Array { .. } => false,
    };
    // What lies on it was opened after it: the search ends.
    let mut above = (place + 1..records.len())
        .filter(|above| records.get(*above).is_some_and(lies_on))
        .peekable();
    above.peek().is_some() && above.all(|above| is_optional(records, above))
}

#[cfg(test)]
mod tests {
    use super::is_optional;
    use crate::storage::records::Record;

    fn array(name: &str) -> Record {
        Record::Array { name: name.into(), uuid: "u".into() }
    }

    fn encrypted(name: &str, device: &str) -> Record {
        let (name, device) = (name.into(), device.into());
        Record::Encrypted { name, device, uuid: "u".into(), options: Vec::new() }
    }

    fn mount(device: &str, option: &str) -> Record {
        Record::Mount {
            path: "/srv".into(),
            device: device.into(),
            uuid: "u".into(),
            format: "ext4".into(),
            options: vec![option.into()],
        }
    }

    #[test]
    fn what_only_optional_ones_lie_on_is_optional() {
        let stack = |option: &str| {
            vec![array("a"), encrypted("v", "/dev/md/a"), mount("/dev/mapper/v", option)]
        };
        let with = |mut records: Vec<Record>, last: Record| {
            records.push(last);
            records
        };
        for (records, expected) in [
            (stack("nofail"), vec![true, true, true]),
            (stack("noatime"), vec![false, false, false]),
            // One of them needs it.
            (with(stack("nofail"), mount("/dev/md/a", "noatime")), vec![false, true, true, false]),
            // A unit of the image may need what no record names.
            (vec![array("a"), encrypted("v", "/dev/vdb1")], vec![false, false]),
            (vec![encrypted("v", "/dev/mapper/v")], vec![false]),
            (with(stack("nofail"), mount("LABEL=x", "noatime")), vec![true, true, true, false]),
        ] {
            let found: Vec<bool> =
                (0..records.len()).map(|place| is_optional(&records, place)).collect();
            assert_eq!(found, expected, "{records:?}");
        }
        assert!(!is_optional(&[], 0));
    }
}
