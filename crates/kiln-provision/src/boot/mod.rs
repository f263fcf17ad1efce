//! Configuration before the system starts, in two halves: what `kiln provision` does.
//!
//! `rootfs` runs in a throw-away root before anything writable is mounted, with the future root at
//! `/sysroot`: it carries out the stages `pre-rootfs` and `rootfs` and decides what can be written.
//! `initramfs` runs inside the future root: devices and volumes, then the first boot's documents, all
//! or nothing, then the stage `initramfs`. Both gather the documents anew, because the first half may have
//! written some.
//!
//! Only the second half has a network, and only where something names an address: a boot that waits for a
//! cable before it has mounted its own state is one that nobody can reach. So documents that come over the
//! network have no part in the first half.
//!
//! What may fail is said by one value, [`Ended`]; a fault of a stage is reported and the boot goes on, a
//! fault of a first boot's document ends it.

mod device_manager;
mod initramfs;
mod keep;
mod rootfs;
mod uplink;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_config::action::KernelArguments;

use crate::sources::{Place, Policy};
use crate::stages::Gathered;
use crate::{Error, Host, Report, Root};

pub use initramfs::initramfs;
pub use keep::{FOLDER as KEPT, SHOWN};
pub use rootfs::rootfs;

/// Folder of the state with one folder for each generation of configuration.
const CONFIG: &str = "config";
/// The mark of a generation with which a boot has come to its end.
const PROVISIONED: &str = "provisioned";
/// Seconds of a day (POSIX.1, seconds since the Epoch).
const DAY: u64 = 86_400;
/// For one command of a document, or one program that an action calls, before the system starts
/// (docs/configuration.md). Nobody can log in and end one that hangs, and the first process gives all of this
/// half an hour: so several may hang, and the steps behind them still run. What makes file systems has no
/// such limit, because a large disk takes what it takes, and ending it loses the work.
const COMMAND_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// A boot, as both halves see it.
pub struct Boot<'a> {
    /// The root of this process, in which programs run: `/`.
    pub root: PathBuf,
    /// The state.
    pub state: PathBuf,
    /// Folder for what this boot alone needs (`/run/kiln`).
    pub run: PathBuf,
    /// The kernel command line.
    pub command_line: String,
    /// Whether this is recovery: no document of a first boot is carried out, and none that lies on the
    /// machine's own disk is used, because those are what is repaired there.
    pub is_recovery: bool,
    /// Whether only the signed image may configure the machine.
    pub is_sealed: bool,
    /// How registries and other servers are reached.
    pub network: kiln_registry::Options,
    /// Makes kernel arguments those of the next boots; tells whether they were others before.
    pub kernel_arguments: &'a mut dyn FnMut(&KernelArguments) -> Result<bool, Error>,
    /// Shows what was gathered, before the second half carries it out: once in a boot is enough.
    pub show: &'a mut dyn FnMut(&Gathered),
    /// Told what happens, line by line.
    pub say: &'a dyn Fn(&str),
}

impl std::fmt::Debug for Boot<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Boot")
            .field("root", &self.root)
            .field("state", &self.state)
            .field("is_recovery", &self.is_recovery)
            .finish_non_exhaustive()
    }
}

/// How a half ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// What was done.
    pub reports: Vec<Report>,
    /// Why the boot must not go on; everything of the document is undone.
    pub failure: Option<String>,
    /// Whether the machine is to restart, because the kernel arguments have changed.
    pub restart: bool,
}

impl Boot<'_> {
    /// What documents may come from.
    fn policy(&self, root: &Root, generation: u64) -> Policy {
        let mark = self.marks(generation).join(PROVISIONED);
        let mut policy = Policy::read(root, self.is_sealed, mark.is_file());
        if self.is_recovery {
            let own = [Place::OwnDisk, Place::BootPartition];
            let allowed = policy.allowed.take().unwrap_or_else(|| Place::ALL.into());
            policy.allowed = Some(allowed.into_iter().filter(|one| !own.contains(one)).collect());
        }
        policy
    }

    /// The folder of a generation.
    fn marks(&self, generation: u64) -> PathBuf {
        self.state.join(CONFIG).join(format!("{generation:08}"))
    }
}

/// The newest generation of configuration in a state; 1 where there is none yet.
#[must_use]
pub fn generation(state: &Path) -> u64 {
    let entries = std::fs::read_dir(state.join(CONFIG)).into_iter().flatten().flatten();
    let number = |name: &str| {
        let digits = name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| name.parse::<u64>().ok()).flatten()
    };
    entries.filter_map(|entry| number(entry.file_name().to_str()?)).max().unwrap_or(1)
}

/// Programs that documents call, each with an end.
fn bounded_host() -> Host {
    Host { patience: Some(COMMAND_PATIENCE) }
}

/// Days since 1 January 1970.
fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / DAY
}

#[cfg(test)]
mod tests {
    use super::generation;

    #[test]
    fn the_newest_generation_counts() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(generation(state.path()), 1);
        for (name, expected) in
            [("00000002", 2), ("00000010", 10), ("00000003", 10), ("99", 10), ("0000001x", 10)]
        {
            std::fs::create_dir_all(state.path().join("config").join(name)).unwrap();
            assert_eq!(generation(state.path()), expected, "{name}");
        }
    }
}
