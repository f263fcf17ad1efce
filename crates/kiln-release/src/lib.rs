//! What a release is, how it travels through registries, and how a machine rebuilds it.
//!
//! A release is what a build makes and what a machine boots: one root image, the boot files that
//! name its verity root hash, and `release.json`, the facts that bind them.
//!
//! What travels is not the root image but what it is made of (docs/formats/release.md): the
//! [`contents`] of all files as independent frames, the [`table`] of names and metadata that says
//! where each frame lies, and [`boot`] files as sections. A machine fetches the table, takes what
//! its slots hold, fetches the missing frames and writes the very same root image, which one hash
//! proves. So nothing on the way needs to be trusted: a wrong byte anywhere is an error and never a
//! different system.
//!
//! - facts: [`Release`], [`Sequence`]
//! - to a registry: [`push`]
//! - to a machine: [`fetch`]
//! - who vouches for it: [`signature`]
//!
//! Dropped alternatives: compressed layers of the root image, because one changed library moves all
//! bytes behind it; patches from release to release, because they need every pair and a machine may
//! come from anywhere. Patches can be added beside this, proved by the same hash.

pub mod blocks;
pub mod boot;
pub mod contents;
mod error;
pub mod fetch;
mod format;
mod image;
pub mod manifest;
pub mod push;
mod sequence;
pub mod signature;
pub mod table;

pub use error::Error;
pub use format::{Addon, BootFile, FORMAT, Package, Release, Root, Source};
pub use sequence::Sequence;
