//! A virtual machine: firmware, arguments, console.
//!
//! `kiln run` and the test kit both start machines through this crate, so a disk that boots for a
//! developer boots in a test for the same reasons. It is cut in three: [`Host`] finds out what this
//! computer offers (a QEMU, firmware, an accelerator that really works), [`Machine`] says what is
//! wanted, and [`Machine::arguments`] turns both into an argument list. That step is pure and
//! tested by tables; only [`Machine::start`] touches processes.
//!
//! It must never change a disk except through the guest or [`grow_to`], never download firmware,
//! and never believe in KVM because a device node exists: there are hosts where `/dev/kvm` opens,
//! creates a machine, and then fails at the first instruction.
//!
//! Dropped: libvirt (a daemon and its XML stand between the user and the error message), and
//! rust-vmm (no UEFI, and a second implementation of what QEMU already does).

mod architecture;
mod console;
mod disk;
mod error;
mod firmware;
mod forward;
mod host;
mod machine;
mod monitor;
mod probe;
mod process;

pub use architecture::Architecture;
pub use console::Console;
pub use disk::{Disk, DiskFormat, DiskInterface, grow_to};
pub use error::Error;
pub use firmware::Firmware;
pub use forward::Forward;
pub use host::{Accelerator, Host, find_program};
pub use machine::{Boot, DirectKernel, Machine};
pub use monitor::Monitor;
pub use probe::{KvmVerdict, probe_kvm};
pub use process::RunningMachine;
