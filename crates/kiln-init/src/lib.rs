//! The first process: finds the root, proves it, mounts it, hands over.
//!
//! It runs once per boot, from memory, before anything of the image may be trusted. It knows no
//! distribution, no shell and no configuration beyond the kernel command line, and it never waits
//! without an end: whatever fails becomes one sentence on the consoles and a restart, so that the
//! boot loader can fall back. systemd in the initramfs was dropped: it needs twenty times the
//! memory and three times the time, and leaves the order of steps to generators.
//!
//! Decisions are pure functions over values ([`cmdline`], [`choice`], [`kernel_table`], [`plan`],
//! [`superblock`], [`own`], [`blame`], [`provisioning::Facts`], [`overlay::layout`], [`recovery::plan`],
//! [`modules::pending`], [`settle`]); the rest carries them
//! out.

pub mod blame;
pub mod boot;
pub mod boot_file;
mod bounded;
pub mod choice;
pub mod cmdline;
pub mod console;
mod deadline;
pub mod devices;
pub mod disks;
mod early;
mod error;
mod extra;
mod failure;
pub mod grub;
mod handover;
pub mod identity;
pub mod kernel_table;
mod module_request;
pub mod modules;
pub mod overlay;
pub mod own;
pub mod plan;
pub mod provisioning;
mod readahead;
pub mod recovery;
pub mod remember;
pub mod reset;
mod root;
pub mod settle;
mod stages;
mod state;
pub mod superblock;
mod tools;
mod watchdog;

pub use boot::run;
pub use error::Error;
