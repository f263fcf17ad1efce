//! A release onto a machine: find it, read its table, take what is here, fetch what is not, rebuild.
//!
//! [`look_up`] and [`Named::resolve`] ask what a reference means. [`Remote`] is a release in a
//! registry; [`LocalContents`] is what the slots hold; [`plan`] says what is missing, and is pure;
//! [`Spool`] keeps what was fetched across interruptions, [`placed`] what went into the new root at
//! once; [`rebuild`] writes the root image.
//! [`lender`] is a slot that gives encoded contents as they are. [`bring`] does all of it in order. Nothing here knows slots, boot entries or when to reboot.

mod bring;
mod gather;
mod local;
mod placed;
mod plan;
mod proven;
mod rebuild;
mod remote;
mod resolve;
mod section;
mod spool;

pub use bring::{Brought, bring};
pub use local::LocalContents;
pub use proven::lender;
pub use rebuild::{Place, RebuildOptions, check_profile};
pub use remote::Remote;
pub use resolve::{Found, Named, look_up, resolve};
pub use spool::Spool;

/// What fetching is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading the table; in bytes.
    Table,
    /// Fetching contents; in bytes of the registry.
    Contents,
    /// Writing the root image; in bytes of files.
    Root,
    /// Fetching boot files; in bytes.
    BootFiles,
}

/// Hears how far it is: stage, done, total.
pub type Watch<'a> = dyn Fn(Stage, u64, u64) + Sync + 'a;
