//! A machine's life: which release runs, which one comes next, and the way back.
//!
//! The path of an upgrade: [`machine::read`] says what is there, [`plan::upgrade`] decides,
//! [`execute`] does it, in an order in which a power cut at any write leaves the old or the new
//! revision. [`ledger`] remembers what became of it, so that what failed is not tried again.
//!
//! Must never write to a slot that runs, to a disk that the first process did not name, or to the
//! ESP before everything was checked. Doing this by mounting the ESP and renaming files was
//! dropped: vfat orders no write.

pub mod debug;
mod error;
pub mod esp;
pub mod etc;
pub mod execute;
pub mod health;
pub mod hooks;
pub mod install;
pub mod ledger;
pub mod loader;
pub mod machine;
pub mod motd;
pub mod one_shot;
pub mod plan;
pub mod policy;
pub mod provisioning;
pub mod report;
pub mod secure_boot;
pub mod system;

pub use error::Error;
