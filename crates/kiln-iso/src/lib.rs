//! Hybrid ISO 9660 images: CD, USB stick, both firmwares.
//!
//! One image, four ways to start: the boot catalog of a CD names GRUB's core for a BIOS and the ESP
//! for UEFI; as a disk, sector 0 and the partition table lead to the same two. [`plan`] decides where
//! every byte goes and reads nothing, [`write()`] and [`stream`] carry that out, [`Iso`] reads images
//! back, also hostile ones, and [`customize`] changes a finished one in two places and back.
//!
//! The same input gives the same bytes: one time for everything, identifiers from a digest, names in
//! an order of their own. No file of the host is used, nothing is mounted.
//!
//! ```
//! use kiln_iso::{Content, Medium, Partition, Tree, plan, stream};
//!
//! let root = [0_u8; 8192];
//! let mut tree = Tree::new();
//! tree.file("boot/grub/grub.cfg", 0o644, Content::bytes(&b"source /boot/grub/custom.cfg\n"[..]))?;
//! tree.file("kiln/root.img", 0o644, Content::partition(Partition::Root))?;
//! // The user's directory wins: tree.overlay(Path::new("overlay"))?;
//! let mut medium = Medium::new("KILN", [7; 32], tree);
//! medium.root = Some(Content::bytes(&root[..])); // or Content::range(&file, 0, length)
//! // medium.esp = Some(Content::pieces(length, kiln_disk::fat::format_filesystem(…)?));
//! // medium.bios = Some(BiosBoot { path: "boot/grub/core.img", core, boot_code: Some(hybrid) });
//! medium.customizable = true;
//! let layout = plan(medium)?;
//! let place = layout.root.ok_or("no root")?; // where the root lies in the image
//! assert_eq!(place.offset % (1 << 20), 0);
//! let mut image = Vec::new(); // for a file: write(&layout, &file)
//! assert_eq!(stream(&layout, &mut image)?, layout.length);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! Format sources: ECMA-119, the Joliet specification, SUSP and Rock Ridge 1.12, El Torito 1.0,
//! UEFI 2.10 (5.3, 13.3.2).

mod boot;
pub mod customize;
mod dump;
mod error;
pub mod format;
mod medium;
mod overlay;
mod plan;
mod reader;
mod tree;
mod writer;

pub use boot::{BOOT_CODE, MAXIMUM_CORE, place_boot_code, place_core};
pub use customize::{Customization, Document, Regions};
pub use dump::dump;
pub use error::Error;
pub use format::Place;
pub use medium::{BiosBoot, ESP_NAME, ESP_NUMBER, Medium, ROOT_NAME, ROOT_NUMBER};
pub use plan::{ALIGNMENT, Layout, plan};
pub use reader::{BootEntry, Entry, EntryKind, Iso, NameKind, Volume, recognises};
pub use tree::{Content, Partition, ReadAt, Tree};
pub use writer::{stream, write};
