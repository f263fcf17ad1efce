//! Running a program inside another root, and becoming another program.

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
    fn a_missing_program_is_named() {
        let error = become_program(Path::new("/nowhere/x"), OsStr::new("x"), &[], &[]);
        assert!(error.to_string().contains("/nowhere/x"), "{error}");
        assert_eq!(error.number(), Some(libc::ENOENT));
    }
}
