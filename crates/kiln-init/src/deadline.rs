//! The deadline behind the hand-over: a counted boot is blessed in time, or the machine restarts.
//!
//! A timer inside systemd was dropped: it cannot end a systemd that hangs, and a release that is
//! broken badly enough does not start it. So a second process of this same program stays behind,
//! outside of every unit. Its name begins with `@`, by which systemd's last round of killing at
//! shutdown spares it (systemd, "Storage Daemons for the Root File System"): a shutdown that hangs
//! is ended as well. It is started in the folder of the new root, stays there when that is moved to
//! `/`, and therefore reaches everything by relative paths, although its own root is the emptied
//! initramfs.

use crate::blame::Verdict;
use crate::cmdline::CommandLine;
use crate::console::{note, note_critical};
use crate::disks::Disk;
use crate::failure::Access;
use crate::own::OwnEntry;
use crate::remember::{Origin, Place};
use crate::root::SYSROOT;
use crate::{bounded, failure, provisioning, state};
use kiln_boot::entry::DEADLINE_NOTE;
use kiln_disk::layout::ESP;
use kiln_verity::RootArgument;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// First argument of the process that stays behind.
const NAME: &str = "@kiln-deadline";
/// This very program, as the kernel keeps it until nobody runs it any more.
const PROGRAM: &str = "/proc/self/exe";
/// What appears when the boot was blessed, seen from the root.
const BLESSED: &str = "run/kiln/blessed";
/// How often that is looked for.
const PAUSE: Duration = Duration::from_secs(5);
/// How long writing the reason may take.
const WRITING_TIME: Duration = Duration::from_secs(30);

/// What the process has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Task {
    /// Seconds after the kernel's start at which it acts.
    seconds: u64,
    /// Device node of the ESP.
    node: String,
    /// Length of the ESP in bytes.
    length: u64,
    /// Number of the boot file.
    generation: u32,
    /// The root that was booted.
    root: RootArgument,
}

/// Starts the process, if this boot is counted and a deadline is wanted.
pub(crate) fn start(line: &CommandLine, own: Option<&OwnEntry>, disk: &Disk) {
    let Some(deadline) = line.deadline else { return };
    let Some(own) = own.filter(|own| own.counted) else { return };
    let task = Task {
        // What the configuration took before is not the release's.
        seconds: deadline.saturating_add(provisioning::spent()).as_secs(),
        node: disk.partition_node(ESP.number).unwrap_or_default(),
        length: disk.system_partition().map_or(0, |place| place.length),
        generation: own.generation().unwrap_or(0),
        root: line.root,
    };
    let words = task.words();
    let arguments: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
    let (program, folder) = (Path::new(PROGRAM), Path::new(SYSROOT));
    match kiln_sys::process::spawn_detached(program, OsStr::new(NAME), &arguments, folder) {
        Ok(()) => note(&format!("this boot has to be blessed within {} s", task.seconds)),
        Err(error) => note(&crate::Error::from(error).sentence()),
    }
}

impl Task {
    fn words(&self) -> Vec<String> {
        let number = |number: u64| number.to_string();
        let generation = number(self.generation.into());
        let (seconds, length) = (number(self.seconds), number(self.length));
        vec![seconds, self.node.clone(), length, generation, self.root.to_string()]
    }

    /// What is written down; Kiln on the next boot tells by its beginning which stage that was.
    fn text(&self) -> String {
        format!("{DEADLINE_NOTE}the system was not blessed within {} s", self.seconds)
    }

    fn parse(words: &[OsString]) -> Option<Self> {
        let words: Option<Vec<&str>> = words.iter().map(|word| word.to_str()).collect();
        let [seconds, node, length, generation, root] = words?.try_into().ok()?;
        Some(Self {
            seconds: seconds.parse().ok()?,
            node: node.to_owned(),
            length: length.parse().ok()?,
            generation: generation.parse().ok()?,
            root: root.parse().ok()?,
        })
    }
}

/// Does the work of the process that stays behind, if this is it: `None` if it is not.
pub(crate) fn stay_behind(arguments: &[OsString]) -> Option<ExitCode> {
    let (name, words) = arguments.split_first()?;
    if name != NAME {
        return None;
    }
    Some(match Task::parse(words) {
        Some(task) => watch(&task),
        None => ExitCode::FAILURE,
    })
}

fn watch(task: &Task) -> ExitCode {
    let end = Duration::from_secs(task.seconds);
    loop {
        if Path::new(BLESSED).exists() {
            return ExitCode::SUCCESS;
        }
        let left = end.saturating_sub(kiln_sys::machine::since_start());
        if left.is_zero() {
            break;
        }
        std::thread::sleep(left.min(PAUSE));
    }
    let text = task.text();
    note_critical(&format!("{text}; restarting"), Path::new("dev/kmsg"));
    let task = task.clone();
    bounded::run(WRITING_TIME, move || record(&task, &text));
    failure::restart();
    ExitCode::FAILURE
}

/// Not marked as bad: this boot has used up one of its tries already.
fn record(task: &Task, text: &str) {
    state::record_failure_in(Path::new("state"), text);
    let origin = Origin { generation: Some(task.generation), root: task.root };
    let place = Place { offset: 0, length: task.length };
    let node = task.node.trim_start_matches('/');
    // A mounted ESP is refused by the kernel and not for us to change; state has to do then.
    let _ = failure::on_disk(node, Access::Exclusive, place, &origin, Verdict::Keep, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> Task {
        let root = format!("{}:100:{}", "ab".repeat(32), "01".repeat(32)).parse().unwrap();
        Task { seconds: 600, node: "/dev/vda1".into(), length: 40 << 20, generation: 7, root }
    }

    #[test]
    fn a_task_survives_the_way_through_arguments() {
        let mut words: Vec<OsString> = task().words().into_iter().map(OsString::from).collect();
        assert_eq!(Task::parse(&words), Some(task()));
        assert_eq!(Task::parse(&words[..4]), None);
        words[0] = "soon".into();
        assert_eq!(Task::parse(&words), None);
    }

    #[test]
    fn what_it_writes_down_is_known_as_the_deadlines() {
        let expected = "deadline: the system was not blessed within 600 s";
        assert_eq!(task().text(), expected);
        assert!(expected.starts_with(DEADLINE_NOTE));
    }

    #[test]
    fn only_its_own_name_makes_it_stay_behind() {
        let name = |name: &str| vec![OsString::from(name)];
        assert!(stay_behind(&name("/init")).is_none());
        assert!(stay_behind(&[]).is_none());
        assert!(stay_behind(&name(NAME)).is_some(), "without a task it ends at once");
    }
}
