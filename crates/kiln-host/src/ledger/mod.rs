//! What this machine has run and what became of it: form and file.

mod arguments;
mod format;
mod store;

pub use arguments::LocalArguments;
pub use format::{
    Event, FORMAT, Failure, Ledger, MAXIMUM_REASON, MAXIMUM_REVISIONS, Revision, Slot, Stage,
    State, Verification,
};
pub use store::{Store, read};
