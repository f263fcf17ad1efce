//! Health checks: programs that say whether this system does what it is for.
//!
//! Every executable in the folders is one; its exit code is the verdict. All of them run, one after
//! the other and each with a time limit, so that one report names everything that is wrong. A file of
//! the same name in `/etc` overrides the image's; an empty file or a link to `/dev/null` masks it.
//!
//! Running them at once was dropped: checks measure the machine, and would measure each other.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::Error;
use crate::machine::Paths;

/// How long one check may take. The whole boot has ten minutes.
pub const TIME_LIMIT: Duration = Duration::from_secs(120);

/// Bytes of a check's output that are kept, from its end: where programs say what was wrong.
const MAXIMUM_OUTPUT: usize = 2048;

/// How long the output of a check is waited for after its end, should a child of its own hold on to
/// it.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(1);

/// How often it is looked whether a check has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A file in a folder of checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its file name, which decides the order.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it runs.
    pub kind: Kind,
}

/// What is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It runs.
    Runs,
    /// An empty file or a link to `/dev/null`: nothing runs under this name.
    Masked,
    /// It may not be executed, so it is taken for something else.
    NotExecutable,
}

/// What a check said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The check's name.
    pub name: String,
    /// What was wrong; `None` if it passed.
    pub failure: Option<String>,
    /// The end of what it printed.
    pub output: String,
    /// How long it took.
    pub duration: Duration,
}

/// The checks of `folders`, by name; a later folder overrides an earlier one.
///
/// # Errors
/// [`Error::File`]; a folder that is missing is empty.
pub fn list(folders: &[PathBuf]) -> Result<Vec<Check>, Error> {
    let mut checks = BTreeMap::new();
    for folder in folders {
        let failed = |source| Error::file("read", folder, source);
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(failed(source)),
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // What editors and package managers leave.
            if name.starts_with('.') || name.ends_with('~') {
                continue;
            }
            let path = entry.path();
            if let Some(kind) = kind(&path) {
                checks.insert(name.clone(), Check { name, path, kind });
            }
        }
    }
    Ok(checks.into_values().collect())
}

/// What to do with a file; `None` for directories.
fn kind(path: &Path) -> Option<Kind> {
    if fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null")) {
        return Some(Kind::Masked);
    }
    let Ok(metadata) = fs::metadata(path) else {
        // A link to nowhere must fail when it runs and not pass unseen.
        return Some(Kind::Runs);
    };
    match metadata {
        metadata if metadata.is_dir() => None,
        metadata if metadata.len() == 0 => Some(Kind::Masked),
        metadata if metadata.permissions().mode() & 0o111 == 0 => Some(Kind::NotExecutable),
        _ => Some(Kind::Runs),
    }
}

/// Runs every check that runs; `done` hears of each.
pub fn run(checks: &[Check], limit: Duration, done: &mut dyn FnMut(&Outcome)) -> Vec<Outcome> {
    let runs = checks.iter().filter(|check| check.kind == Kind::Runs);
    runs.map(|check| {
        let outcome = run_one(check, limit);
        done(&outcome);
        outcome
    })
    .collect()
}

/// Leaves what failed for [`crate::execute::fail`] and people, or takes away what an earlier run
/// left; tells whether all passed.
///
/// # Errors
/// [`Error::File`].
pub fn conclude(paths: &Paths, outcomes: &[Outcome]) -> Result<bool, Error> {
    let path = &paths.health_failure;
    let report = report(outcomes);
    let result = if report.is_empty() { fs::remove_file(path) } else { fs::write(path, &report) };
    match result {
        Err(error) if !(report.is_empty() && error.kind() == io::ErrorKind::NotFound) => {
            Err(Error::file("write", path, error))
        }
        _ => Ok(report.is_empty()),
    }
}

/// A paragraph for each check that failed.
fn report(outcomes: &[Outcome]) -> String {
    let failed = outcomes.iter().filter_map(|outcome| Some((outcome, outcome.failure.as_ref()?)));
    failed
        .map(|(outcome, failure)| {
            let output = outcome.output.trim_end();
            let colon = if output.is_empty() { "" } else { ":\n" };
            format!("{}: {failure}{colon}{output}\n", outcome.name)
        })
        .collect()
}

fn run_one(check: &Check, limit: Duration) -> Outcome {
    let start = Instant::now();
    let (failure, output) = match judge(check, limit) {
        Ok((verdict, output)) => (verdict, output),
        Err(error) => (Some(format!("cannot be run: {error}")), String::new()),
    };
    Outcome { name: check.name.clone(), failure, output, duration: start.elapsed() }
}

fn judge(check: &Check, limit: Duration) -> io::Result<(Option<String>, String)> {
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(&check.path);
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        // Its own group, so that what it started ends with it.
        .process_group(0);
    let mut child = command.spawn()?;
    // The command holds this side's ends of the pipe.
    drop(command);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(tail(reader)));
    let status = wait(&mut child, limit)?;
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // What a check leaves behind would go on measuring a machine that others measure. The group
        // may be gone already.
        let _ = kill_process_group(group, Signal::KILL);
    }
    if status.is_none() {
        child.wait()?;
    }
    let output = receiver.recv_timeout(OUTPUT_PATIENCE).unwrap_or_default();
    let verdict = match status {
        None => Some(format!("did not end within {} seconds", limit.as_secs())),
        Some(status) if status.success() => None,
        Some(status) => Some(status.to_string()),
    };
    Ok((verdict, String::from_utf8_lossy(&output).into_owned()))
}

/// Waits for the end; `None` if the time is up.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(Some(status)),
            None if start.elapsed() >= limit => return Ok(None),
            None => thread::sleep(LOOK_AGAIN),
        }
    }
}

/// The last bytes of a stream, however long it is.
fn tail(mut reader: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = reader.read(&mut buffer) {
        kept.extend_from_slice(buffer.get(..length).unwrap_or_default());
        let surplus = kept.len().saturating_sub(MAXIMUM_OUTPUT);
        kept.drain(..surplus);
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use super::{Kind, conclude, list, run};
    use crate::machine::Paths;

    const LIMIT: Duration = Duration::from_secs(20);

    fn script(folder: &Path, name: &str, text: &str) {
        fs::create_dir_all(folder).unwrap();
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn folders(root: &Path) -> Vec<PathBuf> {
        Paths::below(root).health_checks
    }

    #[test]
    fn etc_overrides_and_masks_what_the_image_brings() {
        let root = tempfile::tempdir().unwrap();
        let folders = folders(root.path());
        assert_eq!(list(&folders).unwrap(), []);
        for name in ["10-a", "20-b", "30-c", "40-d", ".hidden", "50-old~"] {
            script(&folders[0], name, "#!/bin/sh\nexit 1\n");
        }
        fs::write(folders[0].join("README"), "text").unwrap();
        fs::create_dir(folders[0].join("folder")).unwrap();
        script(&folders[1], "20-b", "#!/bin/sh\nexit 0\n");
        script(&folders[1], "30-c", "");
        symlink("/dev/null", folders[1].join("40-d")).unwrap();
        let found: Vec<_> = list(&folders)
            .unwrap()
            .into_iter()
            .map(|check| (check.name, check.kind, check.path.starts_with(&folders[1])))
            .collect();
        let expected = [
            ("10-a", Kind::Runs, false),
            ("20-b", Kind::Runs, true),
            ("30-c", Kind::Masked, true),
            ("40-d", Kind::Masked, true),
            ("README", Kind::NotExecutable, false),
        ];
        assert_eq!(found, expected.map(|(name, kind, etc)| (name.to_owned(), kind, etc)));
    }

    #[test]
    fn all_checks_run_and_all_failures_are_told() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        fs::create_dir_all(root.path().join("run/kiln")).unwrap();
        let folder = &paths.health_checks[0];
        script(folder, "10-good", "#!/bin/sh\necho fine\n");
        script(folder, "20-bad", "#!/bin/sh\necho first\necho no disk >&2\nexit 3\n");
        script(folder, "30-gone", "#!/no/such/shell\n");
        script(folder, "40-killed", "#!/bin/sh\nkill -9 $$\n");
        let mut heard = 0;
        let checks = list(&paths.health_checks).unwrap();
        let outcomes = run(&checks, LIMIT, &mut |_| heard += 1);
        assert_eq!(heard, 4);
        assert_eq!((&outcomes[0].failure, outcomes[0].output.as_str()), (&None, "fine\n"));
        assert!(!conclude(&paths, &outcomes).unwrap());
        let report = fs::read_to_string(&paths.health_failure).unwrap();
        assert!(report.contains("20-bad: exit status: 3:\nfirst\nno disk\n"), "{report}");
        assert!(report.contains("30-gone: cannot be run: "), "{report}");
        assert!(report.contains("40-killed: signal: 9"), "{report}");
        assert!(!report.contains("10-good"), "{report}");

        assert!(conclude(&paths, &outcomes[..1]).unwrap());
        assert!(!paths.health_failure.exists(), "an earlier report is gone");
        assert!(conclude(&paths, &[]).unwrap(), "no checks: nothing failed");
    }

    #[test]
    fn a_check_that_hangs_ends_with_everything_that_it_started() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().to_owned();
        let sign = root.path().join("sign");
        let text = format!("#!/bin/sh\n(sleep 2; touch {}) &\nsleep 100\n", sign.display());
        script(&folder, "hangs", &text);
        // It ends, but leaves a child with its output.
        script(&folder, "leaves", "#!/bin/sh\nsleep 100 &\necho left\n");
        let outcomes = run(&list(&[folder]).unwrap(), Duration::from_millis(300), &mut |_| {});
        let failure = outcomes[0].failure.as_deref().unwrap();
        assert!(failure.starts_with("did not end within"), "{failure}");
        assert_eq!((&outcomes[1].failure, outcomes[1].output.as_str()), (&None, "left\n"));
        std::thread::sleep(Duration::from_secs(3));
        assert!(!sign.exists(), "its child went on");
    }

    #[test]
    fn only_the_end_of_much_output_is_kept() {
        let root = tempfile::tempdir().unwrap();
        script(root.path(), "loud", "#!/bin/sh\nyes | head -c 300000\necho end\nexit 1\n");
        let outcomes = run(&list(&[root.path().to_owned()]).unwrap(), LIMIT, &mut |_| {});
        assert!(outcomes[0].output.len() <= super::MAXIMUM_OUTPUT);
        assert!(outcomes[0].output.ends_with("end\n"));
    }
}
