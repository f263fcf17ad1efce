//! The test kit: virtual machines, fixtures, oracles.
//!
//! Tests of Kiln look at it from outside: they run the real program, boot what it wrote, type at
//! the console and ask other people's tools for their opinion. This crate holds what those tests
//! share, and `cargo xtask demo` uses the same parts, so that the demo cannot rot unnoticed.
//!
//! It must never be linked into the product, and never reuse the product's own readers and writers
//! to judge the product: a fault on both sides would cancel out. That is why [`oci`] writes its
//! archive by hand. The one exception is [`replay`], which says why.

pub mod boot_loader;
pub mod cache;
pub mod debian;
pub mod efi;
pub mod error;
pub mod falls_back;
pub mod ledger;
pub mod life;
pub mod loaders;
pub mod machine_folder;
pub mod oci;
pub mod oracle;
pub mod product;
pub mod registry;
pub mod releases;
pub mod replay;
pub mod screen;
pub mod sigstore;
mod starvation;
pub mod virtual_machine;
pub mod work;

pub use cache::Cache;
pub use error::{Error, Failure};
pub use falls_back::Left;
pub use life::Life;
pub use machine_folder::MachineFolder;
pub use oracle::Oracle;
pub use product::Product;
pub use registry::Registry;
pub use releases::Releases;
pub use virtual_machine::{CommandOutput, VirtualMachine};
pub use work::WorkDirectory;
