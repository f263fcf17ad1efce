//! FAT32: formatting and filling in one call, reading, and changing without ever losing a file.
//!
//! The EFI system partition is the one place that firmware reads, so it must be FAT; FAT32 always,
//! because some firmware refuses smaller kinds on fixed disks. The writer makes the same bytes from
//! the same files: times are constant, the volume identifier is an argument, and files are laid out
//! in the order of their paths. A crate for FAT was dropped because updates of this file system have
//! to survive a power cut, which needs to know each sector that is written.
//!
//! Format source: Microsoft FAT32 File System Specification, version 1.03.

mod format;
mod names;
mod reader;
pub mod update;
mod writer;

pub use reader::{Entry, Fat};
pub use writer::{Chunk, FatFile, format_filesystem};
