//! What a machine starts from: the initramfs, the unified kernel image (UKI) around it, the names
//! of boot entries and the order in which systemd-boot lists them.
//!
//! The crate has two halves. [`manifest`] and [`entry`] are the formats that the builder and the
//! first process share; they need nothing but the standard library, because `kiln-init` links them
//! and every byte of it travels in each boot file. Everything behind the feature `build` makes boot
//! files out of a [`kiln_tree::Tree`] and never runs a program of the image: no depmod, no objcopy,
//! no dracut. Shelling out to those was dropped because it needs the host's tools, a writable
//! unpacked tree and, for another architecture, emulation.

pub mod entry;
pub mod manifest;
