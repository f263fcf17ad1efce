//! streamOptimized VMDK, the disk format in which VMware's products take disks from elsewhere.
//!
//! Compressed grains of 64 KiB behind each other, each with its place on the disk, grain tables
//! between them and the directory at the end, so that it is written and read in one pass. Format
//! source: VMware's "Virtual Disk Format 5.0" (technical note, 2011), sections "Hosted Sparse
//! Extents", "Compressed Grains" and "Stream-Optimized Compressed Sparse Extents".
//!
//! Flat and plain sparse VMDKs were dropped: ESXi imports neither, an OVA must not contain them.

mod descriptor;
mod format;
mod reader;
mod writer;

pub use format::{GRAIN, MAXIMUM_LENGTH};
pub use reader::VmdkDevice;
pub use writer::{VmdkOptions, write_vmdk};
