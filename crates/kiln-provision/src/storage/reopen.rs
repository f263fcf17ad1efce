//! Opening again what earlier documents made, and what an attempt had opened that was cut off.

use super::arrays;
use super::disks::{Disks, Open};
use super::kernel::Device;
use super::mounting::{Parsed, parse};
use super::records::{Record, key_file};
use crate::Error;

impl Disks<'_> {
    /// Opens one device of a document that is done.
    pub(super) fn open_record(&mut self, record: &Record) -> Result<(), Error> {
        let opened = match record {
            Record::Array { name, uuid } => self.assemble(name, uuid),
            Record::Encrypted { name, device, uuid, options } => {
                self.unlock(name, device, uuid, options)
            }
            Record::Mount { path, device, uuid, format, options } => {
                let parsed = parse(options);
                if parsed.noauto {
                    return Ok(());
                }
                match self.mount_again_by(path, device, uuid, format, &parsed) {
                    Err(error) if parsed.nofail => {
                        (self.say)(&format!("{}: {}", record.shown(), error.sentence()));
                        Ok(())
                    }
                    other => other,
                }
            }
        };
        if opened.is_ok() {
            (self.say)(&format!("{} is there again", record.shown()));
        }
        opened
    }

    fn assemble(&mut self, name: &str, uuid: &str) -> Result<(), Error> {
        let node = format!("/dev/md/{name}");
        // udev may have been faster.
        if self.devices.find(&node)?.is_none() {
            self.load(&["md_mod", "raid0", "raid1", "raid10", "raid456"]);
            self.run(&arrays::raid_assemble(name, uuid))?;
            self.settle();
        }
        self.open.push(Open::Array(name.to_owned()));
        self.devices.wait(&node).map(drop)
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
