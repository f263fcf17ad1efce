//! Power cuts, replayed: a run is recorded once, and every disk that cutting power during it could
//! have left behind is looked at without starting a machine.
//!
//! 1. *Record.* A machine whose disk has [`kiln_qemu::Disk::record_writes`] set leaves a log of all
//!    writes and flushes; [`Log`] reads it. [`Log::position`] of the living log says how far the
//!    guest has come: take it after a `sync` in the guest to know what must survive from there on.
//!    A run in this process is recorded by [`kiln_disk::replay::RecordingDevice`] instead.
//! 2. *Play back.* [`States`] goes through the disks, as an [`Overlay`] each: a block device for
//!    the product's own decisions, cheap to copy, with a digest.
//! 3. *Judge.* [`first_boot::FirstBoot`] lets the product's decisions continue from there;
//!    [`file_system`] asks other people's tools about the outcome. A failure names its [`Cut`],
//!    which together with the log makes the same disk again.
//!
//! This module is the exception to the rule that the test kit never uses the product's code: what
//! the product *decides* on a disk is what is being tested, so its own functions must decide. What
//! it wrote is still judged by others.

pub mod file_system;
pub mod first_boot;
pub mod log;
pub mod operation;
pub mod overlay;
mod request;
pub mod states;
pub mod steps;
mod subsets;
pub mod trace;

pub use log::{Log, Position};
pub use operation::Operation;
pub use overlay::{Base, Overlay};
pub use states::{Cut, Options, State, States};
