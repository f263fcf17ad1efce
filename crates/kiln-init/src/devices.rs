//! Devices: what is there already, and what the kernel announces later.
//!
//! The order matters: the listener is opened first, then `/sys` is read once. Whatever appears in
//! between is announced, whatever was there before is found; loading a module twice is harmless.
//!
//! Drivers are loaded one by one in the manifest's order, likeliest first. Where the loader has named
//! the boot disk that ends when this disk is there: a driver may take a second to probe hardware that
//! this boot never uses, and the root's own udev loads the rest. Where nobody has named it, all are
//! loaded and come to rest, because a second disk of ours must be seen; the root of the first is
//! proved meanwhile.

use crate::Error;
use crate::modules::{Modules, RELEASE};
use crate::settle::{SEARCHING, is_at_rest};
use kiln_sys::uevent::{Heard, Listener};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the kernel lists devices by bus: every device that a driver can be for is here once. Its
/// tree of all devices has ten times as many folders, and walking it takes a tenth of a second.
const BUSES: &str = "/sys/bus";
/// Longest wait for one announcement before the disks are looked at again anyway, because media can
/// change without one.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long nothing must be announced until devices count as settled. Buses that search for longer
/// than that after loading (USB, AHCI with slow disks) cannot be waited for: they announce no end.
const QUIET: Duration = Duration::from_millis(300);
/// Longest time for a burst of announcements, so that an endless one cannot keep the boot.
const BURST: Duration = Duration::from_secs(1);

/// The machine's devices, and the modules that they need.
#[derive(Debug)]
pub struct Devices {
    listener: Listener,
    modules: Modules,
    /// Modules that fit a device and are not loaded yet.
    waiting: BTreeSet<usize>,
    /// Whether a driver was loaded that may go on searching for disks.
    searches: bool,
}

impl Devices {
    /// Starts listening, then looks for the devices that are there.
    ///
    /// # Errors
    /// The kernel gives no listener.
    pub fn open(modules: Modules) -> Result<Self, Error> {
        let listener = Listener::open()?;
        let mut devices = Self { listener, modules, waiting: BTreeSet::new(), searches: false };
        devices.look_everywhere();
        Ok(devices)
    }

    /// Loads the next driver for a device that is there; false if there is none to load. Devices
    /// that it brings are taken note of.
    ///
    /// # Errors
    /// The listener failed.
    pub fn load_next(&mut self) -> Result<bool, Error> {
        let Some(next) = self.waiting.pop_first() else { return Ok(false) };
        self.searches |= !self.modules.probes(next);
        self.modules.load_one(next);
        self.listen(Instant::now())?;
        Ok(true)
    }

    /// Whether a device that is there has a driver that is not loaded yet.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Waits until nothing is announced for as long as something may still be searching, at most
    /// until `deadline`; false if something was, which may have brought a disk or want a driver.
    ///
    /// # Errors
    /// The listener failed.
    pub fn settle(&mut self, deadline: Instant) -> Result<bool, Error> {
        Ok(!self.listen(deadline.min(Instant::now() + self.quiet()))? || Instant::now() >= deadline)
    }

    fn quiet(&self) -> Duration {
        let release = fs::read_to_string(RELEASE).unwrap_or_default();
        let has_entries =
            |folder| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
        let searching = SEARCHING.into_iter().any(has_entries);
        if is_at_rest(&release, self.searches, searching) { Duration::ZERO } else { QUIET }
    }

    /// Loads the drivers of watchdogs that are there.
    pub fn load_watchdogs(&mut self) {
        let modules = &self.modules;
        let (wanted, others) = self.waiting.iter().partition(|&&index| modules.is_watchdog(index));
        self.waiting = others;
        let wanted: BTreeSet<usize> = wanted;
        for index in wanted {
            self.modules.load_one(index);
        }
    }

    /// Loads the module that answers to `alias`, if there is one: for things that no device asks
    /// for, such as `fs-efivarfs`.
    pub fn want(&mut self, alias: &str) {
        self.modules.load_for(alias);
    }

    fn look_everywhere(&mut self) {
        let mut found = Vec::new();
        collect(Path::new(BUSES), &mut found);
        found.sort_unstable();
        found.dedup();
        for modalias in found {
            self.waiting.extend(self.modules.fitting(&modalias));
        }
    }

    /// Waits until something changed that could have brought a disk; returns at `deadline` at the
    /// latest.
    ///
    /// # Errors
    /// The listener failed.
    pub fn wait(&mut self, deadline: Instant) -> Result<(), Error> {
        self.listen(deadline.min(Instant::now() + LOOK_AGAIN)).map(drop)
    }

    /// Takes announcements until one of a disk or of a device with a driver, and then those that
    /// are there already; true if there was one.
    fn listen(&mut self, deadline: Instant) -> Result<bool, Error> {
        let mut heard = false;
        let mut patience = deadline.saturating_duration_since(Instant::now());
        let end = Instant::now() + patience + BURST;
        while Instant::now() < end {
            match self.listener.wait(patience)? {
                Heard::Nothing => break,
                Heard::Lost => {
                    heard = true;
                    self.look_everywhere();
                }
                Heard::Event(event) => {
                    if let Some(modalias) = event.modalias.filter(|_| event.action != "remove") {
                        self.waiting.extend(self.modules.fitting(&modalias));
                    }
                    if event.subsystem == "block" || !self.waiting.is_empty() {
                        // Take the rest of the burst along, then look.
                        heard = true;
                        patience = Duration::ZERO;
                    }
                }
            }
        }
        Ok(heard)
    }
}

/// Adds what every device of every bus below `buses` says that it is.
fn collect(buses: &Path, found: &mut Vec<String>) {
    for bus in entries(buses) {
        for device in entries(&bus.join("devices")) {
            if let Ok(text) = fs::read_to_string(device.join("modalias"))
                && !text.trim_end().is_empty()
            {
                found.push(text.trim_end().to_owned());
            }
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_of_every_bus_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("devices/pci0");
        let buses = folder.path().join("bus");
        for (bus, device, modalias) in [
            ("pci", "0000:00:01.0", Some("pci:v00001AF4\n")),
            ("virtio", "virtio0", Some("virtio:d2v1\n")),
            ("platform", "empty", Some("\n")),
            ("platform", "silent", None),
        ] {
            let place = tree.join(device);
            fs::create_dir_all(&place).unwrap();
            if let Some(modalias) = modalias {
                fs::write(place.join("modalias"), modalias).unwrap();
            }
            fs::create_dir_all(buses.join(bus).join("devices")).unwrap();
            std::os::unix::fs::symlink(&place, buses.join(bus).join("devices").join(device))
                .unwrap();
        }
        fs::create_dir_all(buses.join("without")).unwrap();
        let mut found = Vec::new();
        collect(&buses, &mut found);
        found.sort();
        assert_eq!(found, ["pci:v00001AF4", "virtio:d2v1"]);
    }
}
