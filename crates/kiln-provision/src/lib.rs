//! Carries a [`kiln_config::Plan`] out on a machine.
//!
//! The executor is one and dull: it takes the operations of a stage in their order, and each is one
//! function. What needs a decision (which number a user gets, which links enable a unit, what an
//! environment file says afterwards) is a pure function with a table test beside it. What reaches
//! outside is injected in [`Surroundings`]: programs, the network, storage, the day.
//!
//! Every change of a file goes through [`Root`]: inside the machine's root whatever links lie on the
//! way, whole or not at all, and noted in a journal while a document runs that is all or nothing.
//! Staging such a document in an overlay and copying it down at the end was dropped: the copy is no
//! single step either, so it would need the same journal, and `/etc`, `/var` and `/home` are different
//! file systems.
//!
//! Never: a secret in a message or a report, a change that no operation asked for, a second TLS stack.

mod accounts;
mod action;
pub mod boot;
mod conditions;
mod contents;
mod datasource;
mod entries;
mod error;
mod fetch;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod git;
mod images;
mod marks;
pub mod mounts;
mod programs;
mod report;
mod reporting;
mod root;
mod run;
pub mod sources;
pub mod stages;
mod storage;
mod summary;
mod surroundings;
mod system;
mod systemd;
mod values;

pub use error::Error;
pub use fetch::{Fetch, SendMethod, Sending, Web};
pub use marks::Ledger;
pub use programs::{Finished, Host, Invocation, Programs};
pub use report::{Outcome, Record, Report};
pub use reporting::Reporting;
pub use root::{Journal, Kind, Owner, Root, Status};
pub use run::{document_hash, run};
pub use storage::{Disks, DisksOptions, LABELS, NoStorage, Refusal, Storage, stands_for};
pub use summary::summary;
pub use surroundings::Surroundings;
pub use values::{Machine, values};

/// Random bytes, for salts of passwords and for templates.
///
/// # Errors
/// The kernel gives none.
pub fn random() -> Result<[u8; 16], Error> {
    Ok(kiln_sys::machine::random()?)
}
