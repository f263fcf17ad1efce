//! Boot media: what a finished build is written to so that a machine can start from it.
//!
//! A [`Disk`] is the plan of a disk as one list of extents: the partition table plus the contents of
//! its partitions. Every format is written from it, one after the other, and read back by a reader
//! of this crate's own ([`check()`]). Nothing here decides what a disk contains: the table comes from
//! `kiln_disk::layout`, contents from the builder.
//!
//! Media are a function of their input alone: no time stamps, no random identifiers, and the number
//! of threads does not show.
//!
//! Dropped alternative: one loop that reads each block once and hands it to all formats. Their
//! blocks differ (64 KiB, 1 MiB, 4 MiB) and so do the orders in which they want them; what is read
//! again comes from the page cache and costs a hundredth of compressing it.

mod check;
mod deflate;
mod disk;
mod error;
pub mod gce;
mod ordered;
pub mod ova;
pub mod qcow2;
mod raw;
mod recognise;
mod room;
mod sparse;
mod stream;
mod tape;
pub mod vhd;
pub mod vmdk;
pub mod zst;

pub use check::{Format, check};
pub use disk::Disk;
pub use error::Error;
pub use gce::{GceOptions, write_gce};
pub use ova::{Appliance, write_ova};
pub use qcow2::{Qcow2Facts, Qcow2Options, write_qcow2};
pub use raw::{Content, DiskPlan, Piece, write_raw};
pub use recognise::recognise;
pub use room::free_space;
pub use vhd::{VhdOptions, write_vhd};
pub use vmdk::{VmdkOptions, write_vmdk};
pub use zst::{ZstOptions, write_zst};

/// What came out of a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediumFacts {
    /// Length in bytes of the file.
    pub length: u64,
    /// Length in bytes of the disk that a guest sees.
    pub virtual_length: u64,
}
