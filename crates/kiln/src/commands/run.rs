//! `kiln run`: boots a disk in a virtual machine.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use kiln_build::{format_size, parse_size};
use kiln_qemu::{
    Architecture, Boot, Disk, DiskFormat, DiskInterface, Forward, Host, Machine, grow_to,
};

use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln run out/edge.raw
  kiln run out/edge.qcow2 --ephemeral --forward 2222:22    (then: ssh -p 2222 user@localhost)
  kiln run out/edge.raw --memory 4GiB --disk-size 32GiB

The console is the guest's: Ctrl-A X ends the machine, Ctrl-A C is QEMU's monitor.";

/// Boot a disk in a virtual machine, with the console here
///
/// Uses QEMU with UEFI firmware, and KVM where a probe shows that it works. Changes stay on the disk
/// unless --ephemeral is given. A raw disk without room for a machine's own state is grown first;
/// the file stays sparse.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunArguments {
    /// The disk: raw or qcow2
    disk: PathBuf,
    /// Lead a port of this host's loopback address into the guest; may be given more than once
    #[arg(long, value_name = "HOST:GUEST")]
    forward: Vec<Forward>,
    /// Forget all changes when the machine ends
    #[arg(long)]
    ephemeral: bool,
    /// Memory of the machine
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "2GiB")]
    memory: u64,
    /// Processors of the machine [default: 2; 1 where they are translated]
    #[arg(long, value_name = "N")]
    processors: Option<u32>,
    /// Bytes of a disk sector, as given to `kiln build`
    #[arg(long, value_name = "BYTES", default_value = "512", value_parser = ["512", "4096"])]
    sector_size: String,
    /// How the disk is attached
    #[arg(long, value_name = "KIND", value_enum, default_value = "virtio")]
    interface: Interface,
    /// Grow a raw disk to this size if it is smaller
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "16GiB")]
    disk_size: u64,
    /// The machine's architecture
    #[arg(long, value_name = "ARCH")]
    architecture: Option<String>,
    /// Keep the firmware's variables in this file
    #[arg(long, value_name = "FILE")]
    firmware_variables: Option<PathBuf>,
}

/// How the disk is attached.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Interface {
    /// virtio-blk
    Virtio,
    /// NVMe
    Nvme,
}

pub(crate) fn run(arguments: RunArguments, quiet: bool) -> Result<ExitCode, Failure> {
    let architecture = match &arguments.architecture {
        Some(name) => Architecture::from_name(name).ok_or_else(|| {
            Failure::new(format!("no machine has the architecture `{name}`"), "give amd64 or arm64")
        })?,
        None => Architecture::of_this_host().ok_or_else(|| {
            Failure::new("this host's architecture is unknown to `run`", "use --architecture")
        })?,
    };
    let host = Host::discover(architecture)?;
    grow(&arguments, quiet)?;
    let disk = Disk::probe(&arguments.disk)?
        .interface(match arguments.interface {
            Interface::Virtio => DiskInterface::VirtioBlk,
            Interface::Nvme => DiskInterface::Nvme,
        })
        .sector_size(if arguments.sector_size == "4096" { 4096 } else { 512 })?
        .ephemeral(arguments.ephemeral);
    let memory_mib = u32::try_from(arguments.memory >> 20).unwrap_or(u32::MAX);
    let mut machine = Machine::new(architecture)
        .disk(disk)
        .boot(Boot::Uefi { variables: arguments.firmware_variables.clone() })
        .memory_mib(memory_mib);
    if let Some(processors) = arguments.processors {
        machine = machine.processors(processors);
    }
    for forward in arguments.forward {
        machine = machine.forward(forward);
    }
    if !quiet {
        render::message("the console is the guest's; Ctrl-A X ends the machine");
    }
    let status = machine.start(&host)?.wait()?;
    if status.success() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(
        format!("the machine ended with {status}"),
        "what QEMU said stands above; options of this verb must fit the disk",
    ))
}

/// Makes room for the machine's own state, which a raw disk as built does not have. Growing a sparse
/// file changes no byte of it, so an ephemeral run does it too.
fn grow(arguments: &RunArguments, quiet: bool) -> Result<(), Failure> {
    if DiskFormat::probe(&arguments.disk)? != DiskFormat::Raw {
        return Ok(());
    }
    let length = std::fs::metadata(&arguments.disk)
        .map_err(|error| {
            Failure::system(format!("cannot read {}", arguments.disk.display()), error)
        })?
        .len();
    if length >= arguments.disk_size {
        return Ok(());
    }
    let said = grow_to(&arguments.disk, arguments.disk_size)?;
    if let (Some(sentence), false) = (said, quiet) {
        render::message(&sentence);
        render::message(&format!(
            "(give another size than {} with --disk-size)",
            format_size(arguments.disk_size)
        ));
    }
    Ok(())
}
