//! qcow2, the disk format of QEMU: a writer and a reader.
//!
//! Version 3 with clusters of 64 KiB, what every hypervisor that takes qcow2 reads: no backing
//! file, no snapshots, no extended entries, and zlib as the only compression, since older readers
//! lack others. Format source: QEMU's `docs/interop/qcow2.rst`.
//!
//! The host's `qemu-img` was not taken as a tool: a build needs no host programs, and its output
//! depends on its version.

mod device;
mod format;
mod reader;
mod writer;

pub use device::Qcow2Device;
pub use format::{CLUSTER, MAXIMUM_LENGTH};
pub use reader::{Qcow2Header, read_header};
pub use writer::{Qcow2Facts, Qcow2Options, write_qcow2};
