//! A system onto a disk that had none of ours, or is to have it anew.
//!
//! The path: [`Target`] says which disk is meant and [`choose()`] finds it among what [`devices`]
//! read; [`prepare`] fetches the release, which touches nothing; [`plan()`] says what will be where
//! and what is lost; [`execute`] does it. Only the last writes to the disk, and only after all others
//! agreed.
//!
//! Must never write to a disk that is in use, or that was guessed. The installed system needs
//! nothing of the one that installs: what both share is the format of the disk.

pub mod choose;
pub mod configuration;
pub mod contents;
pub mod devices;
pub mod execute;
pub mod origin;
pub mod plan;
pub mod source;

pub use choose::{DiskFacts, Target, choose};
pub use configuration::{Configuration, MAXIMUM_CONFIGURATION};
pub use execute::{Media, TargetDevice, write};
pub use origin::Origin;
pub use plan::{Erased, Keep, Plan, PlanOptions, plan};
pub use source::{InstallSource, Offer, Prepared, offer, prepare};

/// A new random identity of a disk or partition.
///
/// # Errors
/// [`Error::Refused`](crate::Error::Refused) if the kernel gives no random bytes.
pub fn identity() -> Result<kiln_disk::Guid, crate::Error> {
    let refused = |error: kiln_sys::Error| crate::Error::Refused {
        reason: error.to_string(),
        hint: "the kernel has no random numbers yet; look at its log".to_owned(),
    };
    kiln_sys::machine::random().map(kiln_disk::Guid::from_random).map_err(refused)
}
