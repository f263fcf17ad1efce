//! What a machine consists of, and the argument list that says so to QEMU.
//!
//! [`Machine::arguments`] is pure: no file is touched, so the whole list is tested by tables. The
//! list is built up from `-nodefaults`, which means that a device is in the machine only if a line
//! here put it there, with every version of QEMU.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::{Accelerator, Architecture, Console, Disk, Error, Firmware, Forward, Host};

/// Memory of a machine in MiB unless asked otherwise: a system image with its state and a page
/// cache that holds the root's hot part.
const DEFAULT_MEMORY_MIB: u32 = 1024;

/// Processors of a machine unless asked otherwise.
const DEFAULT_PROCESSORS: u32 = 2;

/// The same where the processor is translated. With two, QEMU runs each in a thread of its own, and
/// a guest kernel that rewrites its code while it runs (static keys, as every Linux does early in
/// its start) now and then dies of half a new instruction: a panic that no system deserves.
const DEFAULT_TRANSLATED_PROCESSORS: u32 = 1;

/// A kernel that QEMU loads itself, past firmware and boot loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectKernel {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: Option<PathBuf>,
    /// The kernel command line.
    pub command_line: String,
}

/// How a machine starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// UEFI firmware, which looks for a boot loader on the disks.
    Uefi {
        /// The machine's variable store, made from the template when missing. `None` is a store
        /// that lives as long as the machine.
        variables: Option<PathBuf>,
    },
    /// A kernel given by the host.
    Direct(DirectKernel),
    /// A BIOS, which starts the first sector of the first disk. Only x86 machines have one.
    Bios,
}

/// A machine, described. Give it disks, then [`start`](Machine::start) it.
#[derive(Debug, Clone)]
#[must_use]
pub struct Machine {
    architecture: Architecture,
    boot: Boot,
    disks: Vec<Disk>,
    memory_mib: u32,
    processors: Option<u32>,
    network: bool,
    forwards: Vec<Forward>,
    console: Console,
    monitor: Option<PathBuf>,
    reboot: bool,
    extra: Vec<OsString>,
}

impl Machine {
    /// A machine with two processors (one where they are translated), 1 GiB, UEFI, a network behind address translation, and the
    /// console on the caller's terminal.
    pub fn new(architecture: Architecture) -> Self {
        Self {
            architecture,
            boot: Boot::Uefi { variables: None },
            disks: Vec::new(),
            memory_mib: DEFAULT_MEMORY_MIB,
            processors: None,
            network: true,
            forwards: Vec::new(),
            console: Console::Terminal,
            monitor: None,
            reboot: true,
            extra: Vec::new(),
        }
    }

    /// Adds a disk; the first one is the first to boot from.
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disks.push(disk);
        self
    }

    /// Sets how the machine starts.
    pub fn boot(mut self, boot: Boot) -> Self {
        self.boot = boot;
        self
    }

    /// Sets the memory in MiB; at least one.
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib.max(1);
        self
    }

    /// Sets the number of processors; at least one.
    pub fn processors(mut self, processors: u32) -> Self {
        self.processors = Some(processors.max(1));
        self
    }

    /// Gives the machine a network adapter or none.
    pub fn network(mut self, network: bool) -> Self {
        self.network = network;
        self
    }

    /// Leads a port of the host's loopback address into the guest; needs the network.
    pub fn forward(mut self, forward: Forward) -> Self {
        self.forwards.push(forward);
        self
    }

    /// Connects the serial console.
    pub fn console(mut self, console: Console) -> Self {
        self.console = console;
        self
    }

    /// Opens QEMU's machine protocol on a unix socket, see [`Monitor`](crate::Monitor).
    pub fn monitor(mut self, socket: impl Into<PathBuf>) -> Self {
        self.monitor = Some(socket.into());
        self
    }

    /// Says whether a restart of the guest restarts the machine (the default) or ends it.
    pub fn reboot(mut self, reboot: bool) -> Self {
        self.reboot = reboot;
        self
    }

    /// Adds an argument for QEMU as it is, after all others.
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.extra.push(argument.into());
        self
    }

    pub(crate) fn boot_method(&self) -> &Boot {
        &self.boot
    }

    pub(crate) fn console_kind(&self) -> &Console {
        &self.console
    }

    /// The arguments for QEMU on this host. `variables` is the store to use if [`Boot::Uefi`] names
    /// none.
    ///
    /// # Errors
    /// When UEFI is wanted and the host has no firmware.
    pub fn arguments(&self, host: &Host, variables: &Path) -> Result<Vec<OsString>, Error> {
        let mut list: Vec<String> = Vec::new();
        let mut add = |arguments: &[&str]| {
            list.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        };
        add(&["-no-user-config", "-nodefaults", "-display", "none"]);
        add(&["-machine", self.architecture.board()]);
        add(&host.accelerator.arguments());
        let processors = self.processors.unwrap_or(match host.accelerator {
            Accelerator::Kvm => DEFAULT_PROCESSORS,
            Accelerator::Tcg => DEFAULT_TRANSLATED_PROCESSORS,
        });
        add(&["-smp", &processors.to_string(), "-m", &format!("{}M", self.memory_mib)]);
        // Without it a fresh system waits for the kernel's random pool: seconds under translation.
        add(&["-device", "virtio-rng-pci"]);
        if !self.reboot {
            add(&["-no-reboot"]);
        }
        match &self.boot {
            Boot::Uefi { variables: own } => {
                let firmware = host.firmware.as_ref().ok_or_else(|| Error::NoFirmware {
                    architecture: self.architecture,
                    searched: Firmware::searched(self.architecture),
                })?;
                let flash = |unit: u8, read_only: &str, path: &Path| {
                    format!("if=pflash,unit={unit},format=raw{read_only},file={}", escape(path))
                };
                add(&["-drive", &flash(0, ",readonly=on", &firmware.code)]);
                add(&["-drive", &flash(1, "", own.as_deref().unwrap_or(variables))]);
            }
            Boot::Direct(direct) => {
                add(&["-kernel", &direct.kernel.to_string_lossy()]);
                if let Some(initramfs) = &direct.initramfs {
                    add(&["-initrd", &initramfs.to_string_lossy()]);
                }
                add(&["-append", &direct.command_line]);
            }
            // It is what the emulator starts without being told.
            Boot::Bios => {}
        }
        if self.network {
            let mut network = "user,id=network0".to_owned();
            for Forward { host, guest } in &self.forwards {
                network.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
            }
            // The empty ROM file leaves out the option ROM, which costs start-up time and which is
            // missing where its package is not installed.
            add(&["-netdev", &network]);
            add(&["-device", "virtio-net-pci,netdev=network0,romfile="]);
        } else {
            add(&["-nic", "none"]);
        }
        if let Some(socket) = &self.monitor {
            add(&["-qmp", &format!("unix:{},server=on,wait=off", escape(socket))]);
        }
        for (number, disk) in self.disks.iter().enumerate() {
            list.extend(disk.arguments(number));
        }
        list.extend(self.console.arguments());
        Ok(list.into_iter().map(OsString::from).chain(self.extra.iter().cloned()).collect())
    }
}

/// Writes a path so that it survives QEMU's option syntax: a comma is doubled, and a relative path
/// gets a leading `./`, because `name:rest` would be read as a protocol.
///
/// Bytes that are not UTF-8 are replaced; QEMU then reports the file as missing.
pub(crate) fn escape(path: &Path) -> String {
    let text = path.to_string_lossy().replace(',', ",,");
    if path.is_absolute() { text } else { format!("./{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DiskFormat;

    fn host(architecture: Architecture, accelerator: Accelerator) -> Host {
        Host {
            architecture,
            emulator: "/usr/bin/qemu".into(),
            firmware: Some(Firmware { code: "/f/code.fd".into(), variables: "/f/vars.fd".into() }),
            accelerator,
        }
    }

    fn rendered(machine: &Machine, host: &Host) -> String {
        let list = machine.arguments(host, Path::new("/tmp/vars")).unwrap();
        list.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    const COMMON: &str = "-no-user-config -nodefaults -display none -machine";

    #[test]
    fn the_argument_list_says_what_was_asked() {
        let x86 = || Machine::new(Architecture::X86_64).network(false).console(Console::None);
        let flash = "-drive if=pflash,unit=0,format=raw,readonly=on,file=/f/code.fd \
                     -drive if=pflash,unit=1,format=raw,file=";
        let cases = [
            (
                x86(),
                Accelerator::Tcg,
                format!(
                    "{COMMON} q35 -accel tcg,thread=multi -cpu max -smp 1 -m 1024M \
                     -device virtio-rng-pci {flash}/tmp/vars -nic none -serial none"
                ),
            ),
            (
                x86().processors(4),
                Accelerator::Tcg,
                format!(
                    "{COMMON} q35 -accel tcg,thread=multi -cpu max -smp 4 -m 1024M \
                     -device virtio-rng-pci {flash}/tmp/vars -nic none -serial none"
                ),
            ),
            (
                x86(),
                Accelerator::Kvm,
                format!(
                    "{COMMON} q35 -accel kvm -cpu host -smp 2 -m 1024M \
                     -device virtio-rng-pci {flash}/tmp/vars -nic none -serial none"
                ),
            ),
            (
                x86()
                    .processors(0)
                    .memory_mib(512)
                    .reboot(false)
                    .boot(Boot::Uefi { variables: Some("/own".into()) })
                    .monitor("/m")
                    .argument("-trace"),
                Accelerator::Kvm,
                format!(
                    "{COMMON} q35 -accel kvm -cpu host -smp 1 -m 512M \
                     -device virtio-rng-pci -no-reboot {flash}/own -nic none \
                     -qmp unix:/m,server=on,wait=off -serial none -trace"
                ),
            ),
            (
                x86().boot(Boot::Direct(DirectKernel {
                    kernel: "/k".into(),
                    initramfs: Some("/i".into()),
                    command_line: "console=ttyS0 a,b".into(),
                })),
                Accelerator::Tcg,
                format!(
                    "{COMMON} q35 -accel tcg,thread=multi -cpu max -smp 1 -m 1024M \
                     -device virtio-rng-pci -kernel /k -initrd /i -append console=ttyS0 a,b \
                     -nic none -serial none"
                ),
            ),
            (
                x86().boot(Boot::Bios),
                Accelerator::Tcg,
                format!(
                    "{COMMON} q35 -accel tcg,thread=multi -cpu max -smp 1 -m 1024M \
                     -device virtio-rng-pci -nic none -serial none"
                ),
            ),
            (
                x86()
                    .network(true)
                    .forward(Forward { host: 2222, guest: 22 })
                    .forward(Forward { host: 8080, guest: 80 })
                    .disk(Disk::new("disk.raw", DiskFormat::Raw))
                    .console(Console::Terminal),
                Accelerator::Tcg,
                format!(
                    "{COMMON} q35 -accel tcg,thread=multi -cpu max -smp 1 -m 1024M \
                     -device virtio-rng-pci {flash}/tmp/vars \
                     -netdev user,id=network0,hostfwd=tcp:127.0.0.1:2222-:22,\
                     hostfwd=tcp:127.0.0.1:8080-:80 \
                     -device virtio-net-pci,netdev=network0,romfile= \
                     -drive if=none,id=disk0,format=raw,file=./disk.raw,discard=unmap,\
                     cache=writeback -device virtio-blk-pci,drive=disk0,bootindex=1,\
                     logical_block_size=512,physical_block_size=512 -serial mon:stdio"
                ),
            ),
        ];
        for (machine, accelerator, expected) in cases {
            assert_eq!(rendered(&machine, &host(Architecture::X86_64, accelerator)), expected);
        }
    }

    #[test]
    fn arm_gets_its_own_board() {
        let machine = Machine::new(Architecture::Aarch64);
        let list = rendered(&machine, &host(Architecture::Aarch64, Accelerator::Tcg));
        assert!(list.contains("-machine virt,gic-version=max -accel tcg"), "{list}");
    }

    #[test]
    fn uefi_without_firmware_is_refused_and_direct_is_not() {
        let mut host = host(Architecture::X86_64, Accelerator::Tcg);
        host.firmware = None;
        let machine = Machine::new(Architecture::X86_64);
        let error = machine.arguments(&host, Path::new("/v")).unwrap_err();
        assert!(error.to_string().contains("/usr/share/OVMF"), "{error}");
        let direct = DirectKernel { kernel: "/k".into(), initramfs: None, command_line: "".into() };
        assert!(machine.boot(Boot::Direct(direct)).arguments(&host, Path::new("/v")).is_ok());
    }

    #[test]
    fn paths_cannot_smuggle_options() {
        for (path, expected) in [
            ("/a,snapshot=on", "/a,,snapshot=on"),
            ("nbd:host:1", "./nbd:host:1"),
            ("./x", "././x"),
        ] {
            assert_eq!(escape(Path::new(path)), expected);
        }
    }
}
