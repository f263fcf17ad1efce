//! What a machine starts from: the initramfs, the unified kernel image (UKI) around it, the names
//! of boot entries and the order in which systemd-boot lists them.
//!
//! The crate has two halves. [`manifest`] and [`entry`] are the formats that the builder and the
//! first process share; they need nothing but the standard library, because `kiln-init` links them
//! and every byte of it travels in each boot file. Everything behind the feature `build` makes boot
//! files out of a `kiln_tree::Tree` and never runs a program of the image: no depmod, no objcopy,
//! no dracut. Shelling out to those was dropped because it needs the host's tools, a writable
//! unpacked tree and, for another architecture, emulation.

#[cfg(feature = "build")]
pub mod arguments;
#[cfg(feature = "build")]
pub mod capability;
#[cfg(feature = "build")]
pub mod config;
#[cfg(feature = "build")]
pub mod cpio;
pub mod entry;
#[cfg(feature = "build")]
mod error;
#[cfg(feature = "build")]
pub mod initramfs;
#[cfg(feature = "build")]
mod kernel;
#[cfg(feature = "build")]
pub mod loader;
#[cfg(feature = "build")]
pub mod loader_set;
pub mod manifest;
#[cfg(feature = "build")]
pub mod modules;
pub mod one_shot;
mod order;
#[cfg(feature = "build")]
pub mod os_release;
pub mod reset;
#[cfg(feature = "build")]
pub mod shim;
#[cfg(feature = "build")]
pub mod signature;
#[cfg(feature = "build")]
mod source;
#[cfg(all(test, feature = "build"))]
mod test_support;
#[cfg(feature = "build")]
pub mod uki;

#[cfg(feature = "build")]
pub use error::Error;
#[cfg(feature = "build")]
pub use kernel::Kernel;
