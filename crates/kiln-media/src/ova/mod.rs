//! OVA: a virtual machine for VMware in one file, a tar of its description, digests and disk.
//!
//! Format source: DMTF DSP0243, "Open Virtualization Format Specification" 1.1: section 5 for the
//! package and its tar, 7 and 8 for the description, annex for the manifest; digests are SHA-256, as
//! DSP0243 2.0 has them and VMware's products since vSphere 6.5 read them. The disk is the same
//! streamOptimized VMDK that `vmdk` writes.
//!
//! A certificate was dropped: releases are signed as such, see `kiln-release`.

mod description;
mod format;
mod reader;
mod writer;

pub use format::MAXIMUM_DISK;
pub use reader::open_ova;
pub use writer::{Appliance, write_ova};
