//! A machine's life: one disk, and its boots one after the other, used as [`VirtualMachine`] does.
//!
//! It starts with the Debian image as `kiln build` makes a disk of it; other releases come from
//! [`Releases`](crate::Releases) by `kiln upgrade`. What is on the ESP is read by mtools from the disk's
//! file, never by Kiln's own reader.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_qemu::{Architecture, Disk, DiskFormat, Machine};
use serde_json::Value;

use crate::error::Error;
use crate::product::BuiltSystem;
use crate::releases::MARKER;
use crate::virtual_machine::{BOOT, COMMAND};
use crate::{CommandOutput, Oracle, Product, VirtualMachine, WorkDirectory, debian, product};

/// Memory in MiB: as much as the smallest machines that upgrade themselves have.
const MEMORY: u32 = 2048;

/// From the call of `kiln upgrade` to its end on an idle computer: the image is fetched, checked,
/// written and proved by emulated processors.
pub const UPGRADE: Duration = Duration::from_secs(150);

/// From the login prompt to the end of the health checks.
pub const JUDGEMENT: Duration = Duration::from_secs(60);

/// Keeps recovery from being filled, in this boot and in those that share its `/etc`: in those it would
/// begin before anybody could log in.
const LEAVE_RECOVERY: &str = "test -L /etc/systemd/system/kiln-settle.service || \
                              sudo -n systemctl mask --quiet --now kiln-settle.service";

/// Signal 55, which is `SIGRTMIN+21`, hides the state of units (`man 1 systemd`). The pause lets
/// pass what is on its way.
const QUIET: &str = "sudo -n sh -c 'kill -55 1'; sleep 1";

/// Place of a SATA disk in the firmware's order: behind all others.
const SATA_PLACE: u32 = 9;

/// Recovery's boot file.
const RECOVERY: &str = "kiln-recovery.efi";

/// What the firmware prints once for each start.
const FIRMWARE: &str = "BdsDxe: starting Boot";

/// A machine with its disk, on or off.
#[derive(Debug)]
pub struct Life<'w> {
    name: String,
    work: &'w WorkDirectory,
    disk: PathBuf,
    machine: Option<VirtualMachine>,
    /// Where all writes of the next boots are recorded.
    log: Option<PathBuf>,
    /// Arguments of QEMU beside the usual ones.
    arguments: Vec<String>,
    /// What its clock shows when it is switched on; the right time if nothing is said.
    clock: Option<String>,
    /// Disks that it has behind its own.
    further_disks: Vec<PathBuf>,
    /// Whether its own disk is at a SATA port, and among the arguments.
    is_sata: bool,
    /// Whether a restart of the guest ends the machine.
    ends_at_restarts: bool,
    /// How often it was switched on.
    starts: u32,
    /// Whether recovery is filled. Copying whole roots only costs time where a test is about something
    /// else, and would be among its recorded writes.
    fills_recovery: bool,
    step: Instant,
}

impl<'w> Life<'w> {
    /// A machine whose disk was just built, still off.
    ///
    /// # Errors
    /// When the disk cannot be built.
    pub fn new(name: &str, work: &'w WorkDirectory) -> Result<Self, Error> {
        Self::built(name, work, &[])
    }

    /// The same from a build with further options, which also hold for what it upgrades to.
    ///
    /// # Errors
    /// When the disk cannot be built.
    pub fn built(name: &str, work: &'w WorkDirectory, options: &[&str]) -> Result<Self, Error> {
        Self::of(name, work, &Product::from_environment()?.debian_system(options)?)
    }

    /// A machine with a disk of this system.
    ///
    /// # Errors
    /// When the disk cannot be copied.
    pub fn of(name: &str, work: &'w WorkDirectory, system: &BuiltSystem) -> Result<Self, Error> {
        Ok(Self::on(name.to_owned(), work, system.raw_copy(work)?))
    }

    fn on(name: String, work: &'w WorkDirectory, disk: PathBuf) -> Self {
        Self {
            name,
            work,
            disk,
            machine: None,
            log: None,
            arguments: Vec::new(),
            clock: None,
            further_disks: Vec::new(),
            is_sata: false,
            ends_at_restarts: false,
            starts: 0,
            fills_recovery: false,
            step: Instant::now(),
        }
    }

    /// Another machine of this test, off, whose disk's file is still to be made.
    #[must_use]
    pub fn with_disk(&self, name: &str) -> Self {
        Self::on(name.to_owned(), self.work, self.work.join(format!("{name}.raw")))
    }

    /// Lets recovery be filled after the next blessing.
    pub fn fill_recovery(&mut self) {
        self.fills_recovery = true;
    }

    /// Records all writes of the next boots in an existing file, see [`crate::replay`].
    pub fn record_writes(&mut self, log: &Path) {
        self.log = Some(log.to_owned());
    }

    /// Gives the machine one more device of QEMU from the next start on.
    pub fn add_device(&mut self, device: &str) {
        self.arguments.extend(["-device".to_owned(), device.to_owned()]);
    }

    /// Gives the machine one more network of QEMU (`-netdev`) from the next start on, beside the usual one.
    pub fn add_network(&mut self, network: &str) {
        self.arguments.extend(["-netdev".to_owned(), network.to_owned()]);
    }

    /// Hands the machine a file by QEMU's firmware configuration device, under this name
    /// (`opt/com.coreos/config`), from the next start on. What the file holds when the machine is
    /// switched on counts.
    pub fn hand_over(&mut self, name: &str, file: &Path) {
        let described = format!("name={name},file={}", file.display());
        self.arguments.extend(["-fw_cfg".to_owned(), described]);
    }

    /// Gives the machine one more disk from the next start on, a raw file at a SATA port, which guests
    /// call `/dev/sda`. The firmware boots from it where nothing before it can be booted.
    pub fn add_sata_disk(&mut self, disk: &Path) {
        let drive = format!(
            "if=none,id=sata,format=raw,file={},discard=unmap,cache=unsafe",
            disk.display()
        );
        let device = format!("ide-hd,drive=sata,bus=ide.0,bootindex={SATA_PLACE}");
        self.arguments.extend(["-drive".into(), drive, "-device".into(), device]);
    }

    /// Puts the machine's own disk at a SATA port from the next start on: the guest calls it `/dev/sda`.
    pub fn own_disk_is_sata(&mut self) {
        self.is_sata = true;
        let own = self.disk.clone();
        self.add_sata_disk(&own);
    }

    /// Lets a restart of the guest end the machine from the next start on, so that a test can take a
    /// disk away or look at one in between.
    pub fn end_at_restarts(&mut self) {
        self.ends_at_restarts = true;
    }

    /// Lets the machine's clock begin at this moment (`2000-03-01T00:00:00`, UTC) whenever it is switched
    /// on from now.
    pub fn set_clock(&mut self, moment: &str) {
        self.clock = Some(moment.to_owned());
    }

    /// Gives the machine one more disk from the next start on: a raw file, behind its own disk.
    pub fn add_disk(&mut self, disk: &Path) {
        self.further_disks.push(disk.to_owned());
    }

    /// The disk's file.
    #[must_use]
    pub fn disk(&self) -> &Path {
        &self.disk
    }

    /// Switches it on.
    ///
    /// # Errors
    /// As [`VirtualMachine::start`].
    pub fn power_on(&mut self) -> Result<(), Error> {
        self.starts += 1;
        let machine = match &self.log {
            _ if self.is_sata => Machine::new(Architecture::X86_64).processors(1),
            None => product::machine(&self.disk)?,
            Some(log) => {
                let disk = Disk::new(&self.disk, DiskFormat::Raw).record_writes(log);
                product::machine_with(disk)
            }
        };
        let mut machine = machine.memory_mib(MEMORY).reboot(!self.ends_at_restarts);
        for disk in &self.further_disks {
            machine = machine.disk(Disk::new(disk, DiskFormat::Raw).unsafe_cache(true));
        }
        for argument in &self.arguments {
            machine = machine.argument(argument);
        }
        if let Some(moment) = &self.clock {
            machine = machine.argument("-rtc").argument(format!("base={moment}"));
        }
        let name = format!("{}-{}", self.name, self.starts);
        self.machine = Some(VirtualMachine::start(&name, machine, self.work)?);
        self.step = Instant::now();
        Ok(())
    }

    /// The running machine.
    ///
    /// # Errors
    /// When it is off.
    pub fn machine(&mut self) -> Result<&mut VirtualMachine, Error> {
        let off =
            || Error::Unexpected { what: "a machine's state".into(), text: "it is off".into() };
        self.machine.as_mut().ok_or_else(off)
    }

    /// Waits for the login prompt and logs in.
    ///
    /// # Errors
    /// As [`VirtualMachine::login`].
    pub fn login(&mut self) -> Result<(), Error> {
        self.machine()?.login(debian::USER, product::PASSWORD)
    }

    /// Logs in and waits until this boot is blessed.
    ///
    /// # Errors
    /// When it is not in time; the units' journal is in the error.
    pub fn settle(&mut self) -> Result<(), Error> {
        self.login()?;
        self.say("logged in");
        let wait = format!(
            "( for n in $(seq 400); do test -e /run/kiln/blessed && {{ {} ; exit; }}; sleep 0.5; done; \
             systemctl list-jobs; sudo -n journalctl -b --no-pager -u 'kiln*'; exit 1 )",
            if self.fills_recovery { "true" } else { LEAVE_RECOVERY }
        );
        let output = self.machine()?.run_for(&wait, JUDGEMENT)?;
        if output.status != 0 {
            return Err(Error::Guest {
                machine: self.name.clone(),
                command: "wait for the blessing".into(),
                status: output.status,
                text: output.text,
            });
        }
        self.quiet_console()?;
        self.say("up and blessed");
        Ok(())
    }

    /// Keeps systemd from writing between what commands say: from now on it tells the console nothing
    /// about units. Who is logged in has to be allowed sudo without a password.
    ///
    /// # Errors
    /// When the guest refuses.
    pub fn quiet_console(&mut self) -> Result<(), Error> {
        self.succeed(QUIET).map(drop)
    }

    /// Waits until the machine has started this often from its firmware.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn starts_again(&mut self, times: u32) -> Result<(), Error> {
        for _ in 0..times {
            self.machine()?.expect(FIRMWARE, BOOT + JUDGEMENT)?;
            self.say("starts");
        }
        Ok(())
    }

    /// Runs a command that restarts the machine.
    ///
    /// # Errors
    /// When it does not restart in time.
    pub fn restart_by(&mut self, command: &str) -> Result<(), Error> {
        self.machine()?.send(&format!("{command}\n"))?;
        self.starts_again(1)
    }

    /// Runs one line of shell that must succeed.
    ///
    /// # Errors
    /// As [`VirtualMachine::succeed`].
    pub fn succeed(&mut self, command: &str) -> Result<String, Error> {
        self.machine()?.succeed(command)
    }

    /// Runs a long command and returns what it said.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn run(&mut self, command: &str) -> Result<CommandOutput, Error> {
        let started = Instant::now();
        let output = self.machine()?.run_for(command, UPGRADE)?;
        let seconds = started.elapsed().as_secs();
        self.say(&format!("`{command}` ended with {} after {seconds} s", output.status));
        Ok(output)
    }

    /// Runs a long command that must succeed.
    ///
    /// # Errors
    /// When it fails or does not end in time.
    pub fn complete(&mut self, command: &str) -> Result<String, Error> {
        match self.run(command)? {
            CommandOutput { status: 0, text } => Ok(text),
            CommandOutput { status, text } => {
                let (machine, command) = (self.name.clone(), command.to_owned());
                Err(Error::Guest { machine, command, status, text })
            }
        }
    }

    /// `kiln status --json`.
    ///
    /// # Errors
    /// When it fails or is no JSON.
    pub fn status(&mut self) -> Result<Value, Error> {
        self.json("sudo -n kiln status --json")
    }

    /// The JSON that a command prints.
    ///
    /// # Errors
    /// When the command fails or prints something else.
    pub fn json(&mut self, command: &str) -> Result<Value, Error> {
        let text = self.machine()?.succeed(command)?;
        serde_json::from_str(&text).map_err(|_| Error::Unexpected { what: command.into(), text })
    }

    /// Boot files of the system in order, as mtools reads them from the disk. Recovery's is left out: it
    /// appears some time after the first boot proved itself.
    ///
    /// # Errors
    /// When mtools is missing or finds no such folder.
    pub fn boot_files(&self) -> Result<Vec<String>, Error> {
        let mut names = self.listed()?;
        names.retain(|name| name != RECOVERY);
        Ok(names)
    }

    /// Whether recovery has a boot file, as mtools reads the disk.
    ///
    /// # Errors
    /// As [`Life::boot_files`].
    pub fn has_recovery(&self) -> Result<bool, Error> {
        Ok(self.listed()?.iter().any(|name| name == RECOVERY))
    }

    /// Names in the ESP's folder of boot files.
    fn listed(&self) -> Result<Vec<String>, Error> {
        // The ESP is the first partition and begins at 1 MiB.
        let text = Oracle::new("mdir")
            .arguments(["-b", "-i"])
            .argument(format!("{}@@1M", self.disk.display()))
            .argument("::EFI/Linux")
            .run()?;
        let names = text.lines().filter_map(|line| line.rsplit('/').next());
        let mut names: Vec<String> = names.map(|name| name.trim().to_owned()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Gives a boot file of a machine that is off another name, by mtools. For tests that have seen
    /// one try fail and need not wait for the others.
    ///
    /// # Errors
    /// When mtools is missing or finds no such file.
    pub fn rename_boot_file(&self, from: &str, to: &str) -> Result<(), Error> {
        Oracle::new("mren")
            .argument("-i")
            .argument(format!("{}@@1M", self.disk.display()))
            .argument(format!("::EFI/Linux/{from}"))
            .argument(to)
            .run()
            .map(drop)
    }

    /// Shuts the guest down in order.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn power_off(&mut self) -> Result<(), Error> {
        self.machine.take().map_or(Ok(()), VirtualMachine::power_off)
    }

    /// Cuts the power.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub fn cut_power(&mut self) -> Result<(), Error> {
        self.machine.take().map_or(Ok(()), VirtualMachine::cut_power)
    }

    /// Writes what was reached, and the seconds since the last time, to the test's own output.
    pub fn say(&mut self, text: &str) {
        let seconds = self.step.elapsed().as_secs_f32();
        self.step = Instant::now();
        // A closed output is no reason to fail.
        let _ = writeln!(std::io::stderr(), "{}: {text} (+{seconds:.1} s)", self.name);
    }

    /// The tag that the running release's own marker holds; nothing for the first release.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn release(&mut self) -> Result<Option<String>, Error> {
        let output = self.machine()?.run_for(&format!("cat {MARKER}"), COMMAND)?;
        Ok((output.status == 0).then_some(output.text))
    }
}
