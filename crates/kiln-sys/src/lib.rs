//! System calls that neither std nor rustix offers as safe functions, and thin names for those that
//! they do: the only crate of the workspace with unsafe code.
//!
//! It decides nothing. Every function does one call, or one documented sequence of calls that makes
//! sense only together, and names what it was about when it fails. Whoever needs a decision tests it
//! as a pure function elsewhere and calls this crate with the result.
//!
//! libdevmapper, libmount, libkmod and libudev were dropped: init is one static file of a few
//! hundred kilobytes, and the kernel's interfaces below them are small and frozen.

#![expect(unsafe_code, reason = "this crate is where the workspace keeps its system calls")]

#[cfg(feature = "allocator")]
pub mod allocator;
pub mod block;
pub mod capture;
#[cfg(feature = "codec")]
pub mod codec;
pub mod command_line;
mod error;
pub mod extended;
pub mod inode;
mod ioctl;
pub mod loopback;
pub mod machine;
pub mod mapper;
pub mod module;
pub mod mount;
pub mod namespace;
pub mod packet;
pub mod process;
pub mod switch_root;
pub mod uevent;
pub mod watchdog;

pub use error::Error;
