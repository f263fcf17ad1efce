//! Kernel modules: what the kernel has, which of it a machine needs to find its root, and in which
//! order it must be loaded.
//!
//! [`index`] reads what depmod left in the image, [`sets`] names drivers, [`plan`] turns names into
//! an ordered list, [`modinfo`] asks a module file for its firmware.

pub mod index;
pub mod modinfo;
pub mod plan;
pub mod sets;
