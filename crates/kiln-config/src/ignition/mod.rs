//! Ignition's configs, spec 3.0.0–3.6.0.
//!
//! The way of a config: [`read`] makes the tree of [`config`], [`nested`] fetches and merges what it
//! names ([`merge()`]), [`validate()`] judges it, [`lower()`] gives the operations. Ignition's own rules are
//! kept where a machine could tell the difference; where Kiln says more, it says it as a warning. Other
//! notations and older versions end in the same tree and take the rest of the way with it. Nothing is
//! fetched here: who calls says how, and whether at all.

pub mod config;
pub mod data;
pub mod keys;
pub mod lower;
mod lvm;
pub mod merge;
pub mod nested;
pub mod proxy;
pub mod read;
pub mod translate;
pub mod url;
mod validate;

pub use config::{Config, Version};
pub use keys::KEYS;
pub use lower::lower;
pub use merge::merge;
pub use nested::resolve;
pub use validate::validate;
