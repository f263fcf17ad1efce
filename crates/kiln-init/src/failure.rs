//! The end of a boot that failed: remember why, then restart, whatever else hangs.
//!
//! The origin of this boot is kept here from the moment at which it is known, because the failure may
//! be a panic or the deadline's, in a thread that has nothing else at hand.

use crate::blame::{Verdict, blame};
use crate::console::{note, shout};
use crate::disks::Disk;
use crate::remember::{Origin, Place, Remembered, remember, wish_for_recovery};
use crate::{Error, bounded, provisioning, state};
use kiln_disk::FileDevice;
use kiln_sys::machine::since_start;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long writing the reason may take: a disk in trouble answers after tens of seconds.
const WRITING_TIME: Duration = Duration::from_secs(60);
/// How long writing back may take.
const SYNC_TIME: Duration = Duration::from_secs(30);

/// How long a failure stays readable before the restart.
const READING_TIME: Duration = Duration::from_secs(10);
/// How long a whole boot may take in here: formatting a large disk on slow storage fits easily.
const DEADLINE: Duration = Duration::from_secs(600);
/// How long a failure of a second thread waits for the end that the first one is about to make.
const SECOND_FAILURE: Duration = Duration::from_secs(180);
/// `O_EXCL` (asm-generic/fcntl.h), for a block device: fails while it is mounted (open(2)).
const EXCLUSIVE: i32 = 0o200;

/// Who else may use a device meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Others: another part of it is in use.
    Shared,
    /// Nobody: a mounted one is refused.
    Exclusive,
}

/// Whether the end has begun.
static ENDING: AtomicBool = AtomicBool::new(false);
/// Where this boot came from.
static BOOTED: OnceLock<Booted> = OnceLock::new();

#[derive(Debug)]
struct Booted {
    node: String,
    place: Place,
    origin: Origin,
}

/// From now on a failure is remembered on this disk's ESP.
pub(crate) fn know(disk: &Disk, origin: Origin) {
    if let Some(place) = disk.system_partition() {
        // There is one disk per boot; a second call would not know better.
        let _ = BOOTED.set(Booted { node: disk.node.clone(), place, origin });
    }
}

/// Ends the boot: says why on every console, records it, waits, restarts.
pub(crate) fn give_up(error: &Error) {
    if ENDING.swap(true, Ordering::SeqCst) {
        std::thread::sleep(SECOND_FAILURE);
        restart();
        return;
    }
    let sentence = error.sentence();
    let text = format!("boot failed: {sentence}; restarting in {} s", READING_TIME.as_secs());
    shout(&text);
    record(error, &text);
    std::thread::sleep(READING_TIME);
    // If even this fails, the return from `run` ends the first process, and the kernel panics and
    // restarts by `panic=`.
    restart();
}

/// Makes panics end like errors, and starts the deadline for the whole boot. The thread dies with
/// the exec of the next first process.
pub(crate) fn install_guards() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
        give_up(&Error::Internal(place.unwrap_or_default()));
    }));
    let started = std::thread::Builder::new().stack_size(64 << 10).spawn(|| {
        let mut allowance = Duration::ZERO;
        loop {
            // What a configuration takes is its own affair, and limited where it is carried out.
            let left = DEADLINE.saturating_add(allowance).saturating_sub(since_start());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left);
            allowance = provisioning::spent();
        }
        give_up(&Error::NoProgress { minutes: DEADLINE.as_secs() / 60 });
    });
    if started.is_err() {
        note("no deadline: cannot start a thread");
    }
}

/// Keeps the reason in state and on the ESP, and renames the boot file where that is right. `shown` is
/// the sentence as it was shown.
fn record(error: &Error, shown: &str) {
    let verdict = blame(error).verdict();
    let (shown, sentence) = (shown.to_owned(), error.sentence());
    let done = bounded::run(WRITING_TIME, move || {
        state::record_failure(&shown);
        if let Some(booted) = BOOTED.get() {
            let Booted { node, place, origin } = booted;
            // Partitions of the disk are in use, but not its ESP.
            match on_disk(node, Access::Shared, *place, origin, verdict, &sentence) {
                Ok(done) => tell(&done, verdict, booted),
                Err(error) => note(&error.sentence()),
            }
        }
    });
    if !done {
        note("the disk does not take the reason of this failure");
    }
}

/// What was done to the ESP, and what follows from it.
fn tell(done: &Remembered, verdict: Verdict, booted: &Booted) {
    match (&done.renamed, verdict) {
        (Some(path), Verdict::Bad) => note(&format!("{path}: this boot file is marked as bad")),
        (Some(path), _) => note(&format!("{path}: this boot is not counted")),
        (None, _) => {}
    }
    if verdict == Verdict::GiveBack {
        let by_grub = || {
            let mut device = open(&booted.node, Access::Shared)?;
            let asked = wish_for_recovery(&mut device, booted.place);
            asked.map_err(|source| Error::Disk { disk: booted.node.clone(), source })
        };
        provisioning::offer_repair(done.has_recovery, &by_grub);
    }
}

/// [`remember`] on a device node.
pub(crate) fn on_disk(
    node: &str,
    access: Access,
    place: Place,
    origin: &Origin,
    verdict: Verdict,
    sentence: &str,
) -> Result<Remembered, Error> {
    let mut device = open(node, access)?;
    let done = remember(&mut device, place, origin, verdict, &format!("{sentence}\n"));
    done.map_err(|source| Error::Disk { disk: node.to_owned(), source })
}

fn open(node: &str, access: Access) -> Result<FileDevice, Error> {
    let failed = crate::error::file("open", Path::new(node));
    let flags = if access == Access::Exclusive { EXCLUSIVE } else { 0 };
    let mut options = File::options();
    let file = options.read(true).write(true).custom_flags(flags).open(node).map_err(failed)?;
    let sector_size = kiln_sys::block::sector_size(&file, node)?;
    let failed = crate::error::file("open", Path::new(node));
    FileDevice::new(file, sector_size).map_err(failed)
}

/// Writes back what can be written back, and restarts. Returns only if the kernel refuses.
pub(crate) fn restart() {
    bounded::run(SYNC_TIME, kiln_sys::machine::write_back);
    let _ = kiln_sys::machine::restart();
}
