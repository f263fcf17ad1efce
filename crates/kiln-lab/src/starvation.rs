//! How long an emulator had work and no processor, because the computer was busy with others.
//!
//! Patience with a machine is about what the machine does. Measured by the clock alone it is also about
//! what else the computer does: a system that needs 60 seconds of a processor to come up is late after
//! three minutes if it got a third of one. More patience for all was dropped: a machine that truly hangs
//! would be waited for as long. One that sleeps for ever needs no processor, and one that spins gets
//! its share, so for both the time that was spent without one stays small beside the rest.
//!
//! The kernel counts it for each thread (Documentation/scheduler/sched-stats.rst, `/proc/<pid>/schedstat`:
//! nanoseconds on a processor, nanoseconds waiting for one, number of turns).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The emulator whose starvation is asked for.
#[derive(Debug)]
pub(crate) struct Starvation {
    tasks: PathBuf,
}

impl Starvation {
    pub(crate) fn of(process: u32) -> Self {
        Self { tasks: PathBuf::from(format!("/proc/{process}/task")) }
    }

    /// The time until now; none where the kernel does not count it or the process has ended.
    ///
    /// The thread that waited longest stands for all: a guest has one processor, whose thread does
    /// nearly all of the work, and a sum would count the same moment more than once.
    pub(crate) fn until_now(&self) -> Duration {
        longest_wait(&self.tasks)
    }
}

fn longest_wait(tasks: &Path) -> Duration {
    let entries = fs::read_dir(tasks).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path().join("schedstat")).ok());
    texts.filter_map(|text| wait(&text)).max().unwrap_or_default()
}

/// The second number of a thread's `schedstat`.
fn wait(text: &str) -> Option<Duration> {
    Some(Duration::from_nanos(text.split_ascii_whitespace().nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_that_waited_longest_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(longest_wait(folder.path()), Duration::ZERO);
        for (thread, text) in
            [("7", "900 20 3\n"), ("8", "5 4000000000 1\n"), ("9", "0 -1 0\n"), ("10", "")]
        {
            let place = folder.path().join(thread);
            fs::create_dir(&place).unwrap();
            fs::write(place.join("schedstat"), text).unwrap();
        }
        assert_eq!(longest_wait(folder.path()), Duration::from_secs(4));
        assert_eq!(longest_wait(&folder.path().join("gone")), Duration::ZERO);
    }

    #[test]
    fn this_very_process_is_counted() {
        let text = fs::read_to_string("/proc/self/schedstat").unwrap();
        assert!(wait(&text).is_some(), "{text}");
    }
}
