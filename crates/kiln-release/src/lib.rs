//! What a release is: names, versions, digests and its JSON form.
//!
//! A release is what a build makes and what a machine boots: one root image, the boot file that
//! names its verity root hash, and `release.json`, the facts that bind them. This crate holds only
//! those facts. It never touches a registry, a disk or a clock, so the builder, the machine and
//! the fleet can share it.
//!
//! Dropped alternative: deriving the facts from the root image whenever somebody asks. A machine
//! must compare releases (sequence, architecture, root hash) before it fetches a single block.

mod error;
mod format;
mod sequence;

pub use error::Error;
pub use format::{BootFile, FORMAT, Package, Release, Root, Source};
pub use sequence::Sequence;
