//! The order of a boot, from the kernel's start to systemd's.

use crate::cmdline::{CommandLine, Mode, StateMode};
use crate::console::{note, note_time};
use crate::devices::Devices;
use crate::disks::Disk;
use crate::error::file;
use crate::grub::Said;
use crate::modules::{self, Background, Modules};
use crate::own::{self, OwnEntry, Variables};
use crate::remember::Origin;
use crate::root::SYSROOT;
use crate::{
    Error, deadline, disks, early, failure, handover, identity, module_request, overlay,
    provisioning, readahead, recovery, reset, root, stages, state, watchdog,
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
/// Where the kernel shows that it was started by UEFI.
const UEFI: &str = "/sys/firmware/efi";
/// Vendor of the loader's and the stub's variables (systemd's boot loader interface).
const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Boots the machine. Returns only when that failed and the restart was refused.
pub fn run() -> ExitCode {
    if !kiln_sys::machine::is_first_process() {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let meant =
            deadline::stay_behind(&arguments).or_else(|| module_request::answer(&arguments));
        if let Some(code) = meant {
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
    let text = String::from_utf8_lossy(&text);
    let line = CommandLine::parse(&text)?;
    let mut modules = Modules::open(Path::new("/"))?;
    let always = modules::load_always_beside(modules.clone());
    let mut devices = Devices::open(modules.clone())?;
    early::mount_variables(&mut devices);

    let said = if Path::new(UEFI).exists() { Said::default() } else { Said::parse(&text) };
    let found = disks::find(&mut devices, said.partition)?;
    let is_certain = found.is_certain;
    disks::announce(&found.disk);
    let own = own_entry().or(said.entry);
    let generation = own.as_ref().and_then(OwnEntry::generation);
    let know = |disk: &Disk| {
        // Recovery's boot file has no number, and its root may be that of a good system: no failure
        // here may mark that one.
        if line.mode == Mode::System {
            failure::know(disk, Origin { generation, root: line.root });
        }
    };
    if is_certain {
        know(&found.disk);
    }
    if let Err(error) = found.disk.tell_kernel() {
        // Without partitions of the kernel the root can still be reached through a loop device.
        note(&error.sentence());
    }
    let confirmation = disks::confirm_beside(devices, modules.clone(), &found)?;
    always.wait();
    let mut disk = found.disk;
    let sysroot = Path::new(SYSROOT);
    let prepared = prepare_root(&disk, &line, &mut modules, sysroot);
    // From here on the disk is ours for certain, and may be written to.
    let mut devices = confirmation.wait()?;
    if !is_certain {
        know(&disk);
    }
    let Prepared { partition, program, late } = prepared?;
    if line.init.is_none() {
        watchdog::arm(&mut devices);
    }
    late.wait();
    let has_state = mount_state(&mut disk, &line)?;
    overlay::mount_oem(sysroot)?;
    write_facts(&line, &disk.node, &partition, has_state, own.as_ref())?;
    stages::announce(line.mode, &text)?;
    let provisioning = provisioning::look(&disk, line.mode, &text);
    provisioning.before_overlays()?;
    match line.mode {
        Mode::Recovery => recovery::mount_writable(sysroot, &line.root.root)?,
        Mode::System => overlay::mount_writable(sysroot, &line.root.root, line.etc)?,
    }
    identity::establish(sysroot)?;
    note_time("state mounted at");
    provisioning.inside()?;
    deadline::start(&line, own.as_ref(), &disk);
    drop((devices, disk));
    handover::leave(&program)
}

/// A proved root, and what was begun with it.
struct Prepared {
    partition: String,
    program: String,
    late: Background,
}

/// Proves and mounts the root and begins to use it. Nothing here writes to the disk.
fn prepare_root(
    disk: &Disk,
    line: &CommandLine,
    modules: &mut Modules,
    sysroot: &Path,
) -> Result<Prepared, Error> {
    let partition = root::mount_verified(disk, line, modules)?;
    note_time(&format!("root verified on {partition} at"));
    let program = handover::choose(sysroot, line.init.as_deref())?;
    let late = modules::load_late_beside(sysroot)?;
    readahead::start(sysroot, &program);
    Ok(Prepared { partition, program, late })
}

/// The state, as the mode wants it; whether it is the disk's and lasts.
fn mount_state(disk: &mut Disk, line: &CommandLine) -> Result<bool, Error> {
    let state = state::mount_point();
    let reset = || reset::carry_out(&state, &mut || Ok(()));
    if line.mode == Mode::Recovery {
        recovery::announce();
        let has_state = recovery::mount_state(disk, line)?;
        // Half of a reset is for the next boot to go on with; recovery uses nothing of it.
        if has_state && let Err(error) = reset() {
            note(&error.sentence());
        }
        return Ok(has_state);
    }
    state::mount_state(disk, line)?;
    reset()?;
    state::forget_failure();
    Ok(line.state == StateMode::Disk)
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
    has_state: bool,
    own: Option<&OwnEntry>,
) -> Result<(), Error> {
    let mode = match line.mode {
        Mode::System => "system",
        Mode::Recovery => "recovery",
    };
    let root = line.root.root;
    let state = if has_state { "disk" } else { "memory" };
    let mut text = format!("root={root}\nmode={mode}\ndisk={disk}\npartition={partition}\n");
    text.push_str(&format!("state={state}\n"));
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
