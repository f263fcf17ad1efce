//! Disks: what lies where, and how to change it without ever losing it.
//!
//! Four things, each usable alone: a block device as a trait ([`device`], with a recorder for crash
//! replay), the GUID partition table ([`gpt`]), the FAT32 file system of the EFI system partition
//! ([`fat`]), and Kiln's own layout as pure functions over a table ([`layout`]).
//!
//! Nothing here mounts, formats through a host tool, asks the kernel to re-read a table or draws a
//! random number: identifiers are arguments, so that builds are reproducible and the machine decides
//! when it wants fresh ones. The sector size (512 or 4096 bytes) is a parameter everywhere, because
//! the same release goes to disks of both kinds.

mod crc;
pub mod device;
mod error;
pub mod fat;
pub mod gpt;
pub mod layout;
pub mod replay;

pub use device::{BlockDevice, FileDevice, MemoryDevice, Write, apply};
pub use error::Error;
pub use gpt::{Gpt, Guid, PartitionEntry};
