//! The order of a boot, from the kernel's start to systemd's.

use crate::cmdline::{CommandLine, Mode};
use crate::console::{note, note_time};
use crate::devices::Devices;
use crate::error::file;
use crate::modules::{self, Modules};
use crate::own::{self, OwnEntry, Variables};
use crate::remember::Origin;
use crate::root::SYSROOT;
use crate::{
    Error, deadline, disks, early, failure, handover, identity, overlay, readahead, root, state,
    watchdog,
};
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Facts of this boot for the programs that follow.
const FACTS: &str = "/run/kiln/boot";
/// Where UEFI variables appear, if there are any.
const VARIABLES: &str = "/sys/firmware/efi/efivars";
/// Vendor of the loader's and the stub's variables (systemd's boot loader interface).
const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Boots the machine. Returns only when that failed and the restart was refused.
pub fn run() -> ExitCode {
    if !kiln_sys::machine::is_first_process() {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        if let Some(code) = deadline::stay_behind(&arguments) {
            return code;
        }
        // Nothing of this may ever run on a living system.
        return ExitCode::FAILURE;
    }
    failure::install_guards();
    let Err(error) = boot();
    failure::give_up(&error);
    ExitCode::FAILURE
}

fn boot() -> Result<Infallible, Error> {
    early::mount_kernel_file_systems()?;
    let text = fs::read("/proc/cmdline").map_err(file("read", "/proc/cmdline"))?;
    let line = CommandLine::parse(&String::from_utf8_lossy(&text))?;
    let modules = Modules::open(Path::new("/"))?;
    let always = modules::load_always_beside(modules.clone());
    let mut devices = Devices::open(modules)?;
    early::mount_variables(&mut devices);

    let mut disk = disks::find(&mut devices)?;
    disks::announce(&disk);
    let own = own_entry();
    let generation = own.as_ref().and_then(OwnEntry::generation);
    failure::know(&disk, Origin { generation, root: line.root });
    if let Err(error) = disk.tell_kernel() {
        // Without partitions of the kernel the root can still be reached through a loop device.
        note(&error.sentence());
    }
    always.wait();
    let partition = root::mount_verified(&disk, &line, &mut devices)?;
    note_time(&format!("root verified on {partition} at"));
    let sysroot = Path::new(SYSROOT);
    let program = handover::choose(sysroot, line.init.as_deref())?;
    if line.init.is_none() {
        watchdog::arm(&mut devices);
    }

    readahead::start(sysroot, &program);
    modules::load_late(sysroot)?;
    state::mount_state(&mut disk, &line)?;
    state::forget_failure();
    overlay::mount_writable(sysroot, &line.root.root)?;
    identity::establish(sysroot)?;
    note_time("state mounted at");
    write_facts(&line, &disk.node, &partition, own.as_ref())?;
    deadline::start(&line, own.as_ref(), &disk);
    drop((devices, disk));
    handover::leave(&program)
}

/// What loader and stub say about the boot file that runs.
fn own_entry() -> Option<OwnEntry> {
    let read = |name: &str| fs::read(format!("{VARIABLES}/{name}-{VENDOR}")).ok();
    let stub = read("StubImageIdentifier");
    let counted = read("LoaderBootCountPath");
    let selected = read("LoaderEntrySelected");
    own::entry(Variables {
        stub: stub.as_deref(),
        counted: counted.as_deref(),
        selected: selected.as_deref(),
    })
}

/// `key=value` lines: which root runs from where, and by which boot file.
fn write_facts(
    line: &CommandLine,
    disk: &str,
    partition: &str,
    own: Option<&OwnEntry>,
) -> Result<(), Error> {
    let mode = match line.mode {
        Mode::System => "system",
        Mode::Recovery => "recovery",
    };
    let root = line.root.root;
    let mut text = format!("root={root}\nmode={mode}\ndisk={disk}\npartition={partition}\n");
    if let Some(OwnEntry { path, counted }) = own {
        let counted = if *counted { "yes" } else { "no" };
        text.push_str(&format!("entry={path}\ncounted={counted}\n"));
    }
    let path = Path::new(FACTS);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(file("create", folder))?;
    }
    fs::write(path, text).map_err(file("write", path))
}
