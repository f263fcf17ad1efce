//! The boot loader on the ESP: which one it is, and what this machine remembers of it.
//!
//! It belongs to no revision, since one loader starts all of them. So it is looked at and remembered
//! apart from the ledger of revisions, in a file that an older Kiln, to which a machine goes back, does
//! not have to understand.

mod facts;
mod record;

pub(crate) use facts::SYSTEMD_BOOT;
pub use facts::{Loader, LoaderKind, MAXIMUM_LENGTH};
pub use record::{FORMAT, LoaderEvent, MAXIMUM_EVENTS, Record};

#[cfg(test)]
pub(crate) use facts::tests::{
    certificate as test_certificate, loader as test_loader, program as test_program,
    shim as test_shim,
};
