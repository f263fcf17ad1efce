//! Running a program inside another root, one that lives on by itself, and becoming another program.

use crate::Error;
use crate::error::failed;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ended by itself with this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
}

/// Runs `program` with `root` as its root directory, waits, and gives how it ended. Standard input
/// is empty; output goes to this process's standard error.
///
/// # Errors
/// The program cannot be started.
pub fn run_inside(root: &Path, program: &str, arguments: &[&OsStr]) -> Result<Outcome, Error> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null());
    let new_root = PathBuf::from(root);
    // SAFETY: between fork and exec the closure makes two system calls on a path that was allocated
    // before the fork; rustix converts short paths on the stack, allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            rustix::process::chroot(new_root.as_path())?;
            rustix::process::chdir("/")?;
            Ok(())
        });
    }
    let status = command.status().map_err(failed("exec", program))?;
    Ok(match status.code() {
        Some(code) => Outcome::Code(code),
        None => {
            Outcome::Signal(std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(0))
        }
    })
}

/// Starts `program` in a session of its own, with `folder` as its working folder, and does not wait
/// for it. It has no input and no output, so that it keeps no console and no pipe busy, and it stays
/// in `folder` when that is moved to another place.
///
/// # Errors
/// The program cannot be started.
pub fn spawn_detached(
    program: &Path,
    name: &OsStr,
    arguments: &[&OsStr],
    folder: &Path,
) -> Result<(), Error> {
    let mut command = Command::new(program);
    command.arg0(name).args(arguments).env_clear().current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: between fork and exec the closure makes one system call without arguments; it
    // allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        });
    }
    // The caller is replaced soon, and whoever replaces it reaps the child.
    command.spawn().map(drop).map_err(failed("exec", program))
}

/// Replaces this process by `program`, with `name` as its first argument and `environment` as its
/// whole environment; returns only when that failed.
#[must_use]
pub fn become_program(
    program: &Path,
    name: &OsStr,
    arguments: &[&OsStr],
    environment: &[(String, String)],
) -> Error {
    let error = Command::new(program)
        .arg0(name)
        .args(arguments)
        .env_clear()
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .exec();
    failed("exec", program)(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detached_program_has_its_own_session_and_folder() {
        let folder = tempfile::tempdir().unwrap();
        // Field 6 of stat is the session, field 1 the process (proc_pid_stat(5)).
        let script = "cut -d ' ' -f 1,6 /proc/$$/stat > part && mv part done";
        let arguments = ["-c", script].map(OsStr::new);
        spawn_detached(Path::new("/bin/sh"), OsStr::new("@sh"), &arguments, folder.path()).unwrap();
        let path = folder.path().join("done");
        for _ in 0..500 {
            if path.exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let text = std::fs::read_to_string(path).unwrap();
        let (process, session) = text.trim_end().split_once(' ').unwrap();
        assert_eq!(process, session);
        let nowhere = Path::new("/nowhere/x");
        assert!(spawn_detached(nowhere, OsStr::new("x"), &[], folder.path()).is_err());
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = become_program(Path::new("/nowhere/x"), OsStr::new("x"), &[], &[]);
        assert!(error.to_string().contains("/nowhere/x"), "{error}");
        assert_eq!(error.number(), Some(libc::ENOENT));
    }
}
