//! Boot media: what a finished build is written to so that a machine can start from it.
//!
//! A raw disk is the partition table plus the contents of its partitions, written sparse into a
//! regular file; other media are made from that file. Nothing here decides what a disk contains:
//! the table comes from `kiln_disk::layout`, contents from the builder.
//!
//! Media are a function of their input alone: no time stamps, no random identifiers, and the number
//! of threads does not show.

mod error;
pub mod qcow2;
mod raw;
mod sparse;

pub use error::Error;
pub use qcow2::{Qcow2Facts, Qcow2Options, write_qcow2};
pub use raw::{Content, DiskPlan, Piece, write_raw};
