//! Carrying plans out. Everything here holds the lock of the ledger, begins by writing down what
//! happened since, and names the one write that commits.

mod assess;
mod fetching;
mod kargs;
mod loader;
mod recovery;
mod reset;
mod rollback;
mod stage;
mod upgrade;

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

pub use assess::{Assessment, bless, fail};
pub(crate) use fetching::FetchProgress;
pub use kargs::{
    ArgumentOptions, KernelArguments, RevisionArguments, change_kernel_arguments,
    show_kernel_arguments,
};
pub use loader::{KEPT_SUFFIX, replace_loader, update_loaders};
pub use recovery::{Content, Settled, deploy, holds, refresh, settle, write_recovery};
pub use reset::{Forgotten, ResetOptions, reset, take_back};
pub use rollback::rollback;
pub use upgrade::{Action, Outcome, UpgradeOptions, upgrade};

use crate::Error;
use crate::ledger::Store;
use crate::machine::{self, Machine, Paths};
use crate::plan::reconcile;

/// The machine as it is, with a ledger that knows what the disk tells; nothing is written.
///
/// # Errors
/// As [`machine::read`].
pub fn status(paths: &Paths) -> Result<Machine, Error> {
    let mut machine = machine::read(paths)?;
    machine.ledger = reconcile(&machine, now());
    Ok(machine)
}

/// Takes the lock, reads the machine, and writes down what happened since the last time.
fn begin(paths: &Paths, busy: impl FnOnce()) -> Result<(Store, Machine), Error> {
    let store = Store::open(&paths.ledger, busy)?;
    let mut machine = machine::read(paths)?;
    let ledger = reconcile(&machine, now());
    if ledger != machine.ledger {
        store.write(&ledger)?;
        machine.ledger = ledger;
    }
    Ok((store, machine))
}

/// Opens a partition for this process alone: fails while anything has it, such as a mapped root.
fn open_exclusively(node: &str) -> Result<File, Error> {
    let exclusive = rustix::fs::OFlags::EXCL.bits().cast_signed();
    let mut options = File::options();
    let options = options.read(true).write(true).custom_flags(exclusive);
    options.open(node).map_err(Error::device("open", node))
}

/// Seconds since 1970 by the machine's clock, which is told to people and decides nothing.
fn now() -> u64 {
    seconds(SystemTime::now())
}

/// Seconds since 1970; 0 before.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::seconds;

    #[test]
    fn every_clock_has_a_time() {
        let day = Duration::from_secs(86_400);
        for (time, expected) in [
            (UNIX_EPOCH - day, 0),
            (UNIX_EPOCH, 0),
            (UNIX_EPOCH + day, 86_400),
            (UNIX_EPOCH + day * 4_000_000, 345_600_000_000),
        ] {
            assert_eq!(seconds(time), expected);
        }
    }
}
