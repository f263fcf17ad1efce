//! Configuration before the system starts: whether there may be any, and who carries it out.
//!
//! The first process knows no configuration. It only decides, from names and never from contents, whether
//! a document may be anywhere; if none is, a boot pays nothing. The documents themselves are read and
//! carried out by the verified root's own `kiln provision`, twice: in a throw-away root before anything
//! writable is mounted, with the future root at `/sysroot`, and then inside the future root.
//!
//! A failure here is nobody's but the configuration's: the boot does not count, no other slot is
//! selected, and the documents are read again at the next boot. Carrying documents out in here was dropped:
//! each dialect would be in every initramfs, and a fault in a parser would be one of the first process.

mod places;
mod stage_root;

use crate::cmdline::Mode;
use crate::console::{note, note_time, shout};
use crate::disks::Disk;
use crate::error::file;
use crate::root::SYSROOT;
use crate::tools::describe;
use crate::{Error, failure, module_request, state};
use kiln_boot::one_shot;
use kiln_sys::machine::since_start;
use kiln_sys::process::{Outcome, run_inside};
use stage_root::{Bound, StageRoot};
use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

pub use places::{Facts, is_named};

/// The program inside the root.
const PROGRAM: &str = "/usr/bin/kiln";
/// Exit code of `kiln provision`: done, and the kernel arguments of the next boot are others.
const RESTART: i32 = 11;
/// Where it leaves its reason, and how many letters of that a console shows.
const REASON: &str = "/run/kiln/provisioning-failure";
const REASON_LENGTH: usize = 600;
/// How long one half may take: large contents over a slow line fit, and a machine whose configuration
/// hangs comes back to try again.
const LIMIT: Duration = Duration::from_secs(30 * 60);
/// After so many failed boots one after the other recovery is started once.
const PATIENCE: u64 = 3;

/// How many boots have failed by their configuration since the last that did not, in the state.
const FAILURES: &str = "config/failures";

/// The two halves of the work, as `kiln provision` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Rootfs,
    Initramfs,
}

impl Half {
    fn name(self) -> &'static str {
        match self {
            Self::Rootfs => "rootfs",
            Self::Initramfs => "initramfs",
        }
    }
}

/// What is to be carried out on this boot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Provisioning {
    mode: Mode,
    is_wanted: bool,
}

/// Looks whether there may be any configuration.
pub(crate) fn look(disk: &Disk, mode: Mode, command_line: &str) -> Provisioning {
    let sysroot = Path::new(SYSROOT);
    let facts = places::look(disk, sysroot, &state::mount_point(), command_line);
    let is_program = sysroot.join(PROGRAM.trim_start_matches('/')).is_file();
    Provisioning { mode, is_wanted: is_program && facts.is_wanted(mode) }
}

impl Provisioning {
    /// The stages `pre-rootfs` and `rootfs`: in a throw-away root, before anything writable is mounted.
    pub(crate) fn before_overlays(self) -> Result<(), Error> {
        if !self.is_wanted {
            return Ok(());
        }
        module_request::listen()?;
        let stage = StageRoot::open(Path::new(SYSROOT))?;
        let done = carry_out(&stage.root, Half::Rootfs);
        drop(stage);
        self.judge(done).map(|_| ())
    }

    /// The first boot's documents and the stage `initramfs`: inside the future root.
    pub(crate) fn inside(self) -> Result<(), Error> {
        if !self.is_wanted {
            return Ok(());
        }
        let sysroot = Path::new(SYSROOT);
        let bound = Bound::kernel(sysroot)?;
        let done = carry_out(sysroot, Half::Initramfs);
        drop(bound);
        if self.judge(done)? == RESTART {
            restart()?;
        }
        let failures = state::mount_point().join(FAILURES);
        if failures.exists() {
            fs::remove_file(&failures).map_err(file("remove", &failures))?;
        }
        Ok(())
    }

    /// The exit code, or why the boot ends. Recovery goes on whatever happened.
    fn judge(self, done: Result<Outcome, Error>) -> Result<i32, Error> {
        let reason = match done {
            Ok(Outcome::Code(code @ (0 | RESTART))) => return Ok(code),
            Ok(Outcome::Code(1)) => reason(),
            Ok(outcome) => format!("{PROGRAM} provision ended with {}", describe(outcome)),
            Err(error) => error.sentence(),
        };
        let error = Error::Configuration { reason };
        if self.mode == Mode::Recovery {
            note(&error.sentence());
            return Ok(0);
        }
        Err(error)
    }
}

/// The sentence that `kiln provision` has left.
fn reason() -> String {
    let text = fs::read_to_string(REASON).unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let line: String = line.chars().take(REASON_LENGTH).collect();
    if line.is_empty() { "the reason stands above".to_owned() } else { line }
}

/// Milliseconds that configuration has taken since the kernel's start.
static SPENT: AtomicU64 = AtomicU64::new(0);
/// When the half that runs has begun, in milliseconds since the kernel's start; 0 while none does.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// How long configuration has taken so far: the boot's own time limits do not count it.
pub(crate) fn spent() -> Duration {
    let begun = BEGUN.load(Ordering::SeqCst);
    let running = if begun == 0 { 0 } else { milliseconds().saturating_sub(begun) };
    Duration::from_millis(SPENT.load(Ordering::SeqCst).saturating_add(running))
}

fn milliseconds() -> u64 {
    u64::try_from(since_start().as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Runs one half to its end, or ends the boot when it comes to none.
fn carry_out(root: &Path, half: Half) -> Result<Outcome, Error> {
    let begun = milliseconds();
    BEGUN.store(begun, Ordering::SeqCst);
    let limited = thread::Builder::new().stack_size(64 << 10).spawn(move || {
        thread::sleep(LIMIT);
        if BEGUN.load(Ordering::SeqCst) == begun {
            let minutes = LIMIT.as_secs() / 60;
            let reason = format!("`kiln provision {}` took {minutes} minutes", half.name());
            failure::give_up(&Error::Configuration { reason });
        }
    });
    if limited.is_err() {
        note("configuration has no time limit: cannot start a thread");
    }
    let arguments = [OsStr::new("provision"), OsStr::new(half.name())];
    let done = run_inside(root, PROGRAM, &arguments);
    BEGUN.store(0, Ordering::SeqCst);
    SPENT.fetch_add(milliseconds().saturating_sub(begun), Ordering::SeqCst);
    note_time(&format!("configuration, {} done at", half.name()));
    Ok(done?)
}

/// Restarts with the new kernel arguments.
fn restart() -> Result<Infallible, Error> {
    shout("the kernel arguments have changed: restarting");
    failure::restart();
    Err(Error::Internal("the kernel refuses to restart".into()))
}

/// After [`PATIENCE`] failures one after the other recovery is started, once: the documents may lie
/// where only a person can mend them. Before that the same boot is tried again, because a server that did
/// not answer may do so next time.
///
/// Where no firmware keeps the wish, `by_grub` asks GRUB; it says whether there is one.
pub(crate) fn offer_repair(has_recovery: bool, by_grub: &dyn Fn() -> Result<bool, Error>) {
    let path = state::mount_point().join(FAILURES);
    let before =
        fs::read_to_string(&path).ok().and_then(|text| text.trim_end().parse::<u64>().ok());
    let failures = before.unwrap_or(0).saturating_add(1);
    let written = path.parent().map(fs::create_dir_all).transpose();
    if let Err(error) = written.and_then(|_| fs::write(&path, format!("{failures}\n"))) {
        note(&file("write", &path)(error).sentence());
    }
    let folder = Path::new(one_shot::FOLDER);
    if !failures.is_multiple_of(PATIENCE) || !has_recovery {
        return;
    }
    let asked = if folder.join(one_shot::LOADER).exists() {
        let path = folder.join(one_shot::NAME);
        // One write is one variable.
        fs::write(&path, one_shot::recovery()).map(|()| true).map_err(file("write", path))
    } else {
        by_grub()
    };
    match asked {
        Ok(true) => {
            shout(&format!("{failures} boots failed by their configuration: recovery is next"))
        }
        Ok(false) => {}
        Err(error) => note(&error.sentence()),
    }
}
