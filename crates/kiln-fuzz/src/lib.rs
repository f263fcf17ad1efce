//! The fuzz targets: one function for each parser of hostile bytes.
//!
//! Each takes any bytes and must come back: a panic is the finding, so promises are plain
//! assertions here. Beyond "does not panic" a target says what must hold for whatever its parser
//! accepts: what was written reads back the same, sizes stay within bounds, answers do not depend
//! on how the bytes arrived. The targets live in a library so that two callers share them: libFuzzer
//! (`cargo xtask fuzz`, folder `fuzz/`) and the ordinary test that replays every file of
//! `fuzz/corpus/`. Nothing here is shipped, and nothing here may touch the network, the clock or a
//! file that has a name.

mod accounts;
mod boot;
mod configuration;
mod disk;
mod erofs;
mod grub;
mod handed_over;
mod iso;
mod keyless;
mod layers;
mod media;
mod memory;
mod network;
mod oci;
mod repair;
mod signature;
mod sparse;
mod text;
mod travel;
mod wishes;
mod writable;

pub use accounts::accounts;
pub use boot::{kernel_image, module_file, module_index, uki};
pub use configuration::{configuration, configuration_steps, template};
pub use disk::{fat, gpt};
pub use erofs::{erofs_image, root_image};
pub use grub::grub_environment;
pub use handed_over::{oem_strings, tftp};
pub use iso::iso;
pub use keyless::keyless;
pub use layers::layer_merge;
pub use media::{gce, ova, qcow2, raw_zst, vhd, vmdk};
pub use network::{dhcp, network_arguments};
pub use oci::{docker_image, image_archive, oci_image, registry_text, source_name};
pub use signature::signature;
pub use sparse::SparseDisk;
pub use text::{boot_manifest, command_line, entry_name, os_release, release};
pub use travel::{
    ledger, release_blocks, release_boot, release_index, release_manifest, release_table,
};
pub use wishes::{disk_layout, kernel_arguments, reset};
pub use writable::mounts;

/// A target: its name, which is that of its function, of its corpus folder and of its program.
///
/// It returns whether the parser accepted the bytes, so that a test sees when a changed format has
/// turned a whole corpus into inputs that are refused at the first byte.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// All targets, sorted by name.
pub const TARGETS: &[Target] = &[
    ("accounts", accounts),
    ("boot_manifest", boot_manifest),
    ("command_line", command_line),
    ("configuration", configuration),
    ("configuration_steps", configuration_steps),
    ("dhcp", dhcp),
    ("disk_layout", disk_layout),
    ("docker_image", docker_image),
    ("entry_name", entry_name),
    ("erofs_image", erofs_image),
    ("fat", fat),
    ("gce", gce),
    ("gpt", gpt),
    ("grub_environment", grub_environment),
    ("image_archive", image_archive),
    ("iso", iso),
    ("kernel_arguments", kernel_arguments),
    ("kernel_image", kernel_image),
    ("keyless", keyless),
    ("layer_merge", layer_merge),
    ("ledger", ledger),
    ("module_file", module_file),
    ("module_index", module_index),
    ("mounts", mounts),
    ("network_arguments", network_arguments),
    ("oci_image", oci_image),
    ("oem_strings", oem_strings),
    ("os_release", os_release),
    ("ova", ova),
    ("qcow2", qcow2),
    ("raw_zst", raw_zst),
    ("registry_text", registry_text),
    ("release", release),
    ("release_blocks", release_blocks),
    ("release_boot", release_boot),
    ("release_index", release_index),
    ("release_manifest", release_manifest),
    ("release_table", release_table),
    ("reset", reset),
    ("root_image", root_image),
    ("signature", signature),
    ("source_name", source_name),
    ("template", template),
    ("tftp", tftp),
    ("uki", uki),
    ("vhd", vhd),
    ("vmdk", vmdk),
];
