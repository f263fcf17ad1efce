//! Running a program in another root and keeping the end of what it writes.
//!
//! Both of its streams go into one pipe, so that lines stay in their order. Only the end is kept: who
//! looks for why a command failed finds it there, and a command that writes without end fills no
//! memory. What it leaves running in the background is not waited for; waiting for the end of the pipe
//! alone was dropped, since a daemon holds it open for ever.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::Error;
use crate::error::failed;
use crate::process::Outcome;

/// How often a program whose pipe is silent is asked whether it has ended.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes read at once.
const BUFFER_BYTES: usize = 16 << 10;

/// What is run.
#[derive(Debug, Clone)]
pub struct Program<'a> {
    /// The program, looked for in `PATH` of `environment`, inside `root`.
    pub program: &'a OsStr,
    /// Its arguments.
    pub arguments: Vec<&'a OsStr>,
    /// Its whole environment.
    pub environment: &'a [(String, String)],
    /// Its root; `/` is this process's own.
    pub root: &'a Path,
    /// Its working folder inside the root.
    pub folder: &'a Path,
    /// What it reads.
    pub input: &'a [u8],
    /// After which it is killed with all that it started and that is still in its process group.
    pub patience: Option<Duration>,
    /// Bytes of its output that are kept, from the end.
    pub output_bytes: usize,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Its end.
    pub outcome: Outcome,
    /// Whether it was killed because it took too long.
    pub is_late: bool,
    /// The end of what it wrote.
    pub output: Vec<u8>,
}

/// Runs a program to its end.
///
/// # Errors
/// It cannot be started; a program that is not there has error number `ENOENT`.
pub fn capture(program: &Program<'_>) -> Result<Captured, Error> {
    let pipe = |error| failed("pipe", program.program)(error);
    let (mut reader, writer) = std::io::pipe().map_err(pipe)?;
    let mut command = Command::new(program.program);
    command.args(&program.arguments).env_clear();
    command.envs(program.environment.iter().map(|(name, value)| (name, value)));
    command.stdout(writer.try_clone().map_err(pipe)?).stderr(writer);
    command.stdin(if program.input.is_empty() { Stdio::null() } else { Stdio::piped() });
    command.process_group(0);
    let new_root = (program.root != Path::new("/")).then(|| program.root.to_owned());
    let folder = program.folder.to_owned();
    // SAFETY: between fork and exec the closure makes system calls on paths that were allocated before
    // the fork; rustix converts short paths on the stack, allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            if let Some(root) = &new_root {
                rustix::process::chroot(root.as_path())?;
            }
            rustix::process::chdir(folder.as_path())?;
            Ok(())
        });
    }
    let mut child = command.spawn().map_err(failed("exec", program.program))?;
    // It holds the ends of the pipe that belong to the program.
    drop(command);
    feed(&mut child, program.input);
    let end = program.patience.and_then(|patience| Instant::now().checked_add(patience));
    let mut kept = VecDeque::new();
    let mut is_late = false;
    let mut is_open = true;
    let status = loop {
        if is_open && is_ready(&reader) {
            is_open = keep(&mut reader, &mut kept, program.output_bytes);
            continue;
        }
        if let Some(status) = child.try_wait().map_err(failed("wait", program.program))? {
            break status;
        }
        if !is_open {
            std::thread::sleep(PAUSE / 10);
        }
        if !is_late && end.is_some_and(|end| Instant::now() >= end) {
            is_late = true;
            kill(&child);
        }
    };
    while is_open && is_ready_now(&reader) {
        is_open = keep(&mut reader, &mut kept, program.output_bytes);
    }
    let outcome = match status.code() {
        Some(code) => Outcome::Code(code),
        None => Outcome::Signal(status.signal().unwrap_or(0)),
    };
    Ok(Captured { outcome, is_late, output: kept.into() })
}

/// Gives the program its input from a thread, so that one that reads nothing blocks nothing.
fn feed(child: &mut Child, input: &[u8]) {
    if let Some(mut stream) = child.stdin.take() {
        let input = input.to_vec();
        // A program that does not want all of it is no fault.
        std::thread::spawn(move || drop(std::io::Write::write_all(&mut stream, &input)));
    }
}

fn is_ready(reader: &impl AsFd) -> bool {
    wait(reader, PAUSE)
}

fn is_ready_now(reader: &impl AsFd) -> bool {
    wait(reader, Duration::ZERO)
}

/// Whether there is something to read, or the end.
fn wait(reader: &impl AsFd, patience: Duration) -> bool {
    let mut list = [PollFd::new(reader, PollFlags::IN)];
    let time = Timespec {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(patience.subsec_nanos()),
    };
    matches!(poll(&mut list, Some(&time)), Ok(ready) if ready > 0)
}

/// Reads once and keeps the end; gives whether more may come.
fn keep(reader: &mut impl Read, kept: &mut VecDeque<u8>, maximum: usize) -> bool {
    let mut buffer = [0; BUFFER_BYTES];
    match reader.read(&mut buffer) {
        Ok(0) => false,
        Ok(read) => {
            kept.extend(buffer.iter().take(read));
            let beyond = kept.len().saturating_sub(maximum);
            kept.drain(..beyond);
            true
        }
        Err(error) => error.kind() == std::io::ErrorKind::Interrupted,
    }
}

fn kill(child: &Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        // It may have ended meanwhile.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, input: &[u8], patience: Option<Duration>) -> Captured {
        let environment = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
        let program = Program {
            program: OsStr::new("sh"),
            arguments: vec![OsStr::new("-c"), OsStr::new(script)],
            environment: &environment,
            root: Path::new("/"),
            folder: Path::new("/usr"),
            input,
            patience,
            output_bytes: 8,
        };
        capture(&program).unwrap()
    }

    #[test]
    fn streams_are_kept_in_order_and_only_their_end() {
        for (script, input, code, output) in [
            ("echo a; echo b >&2; exit 3", &b""[..], 3, "a\nb\n"),
            ("pwd; cat", b"x", 0, "/usr\nx"),
            ("echo 0123456789", b"", 0, "3456789\n"),
            ("exit 0", &[b'x'; 1 << 20], 0, ""),
            ("exec >&- 2>&-; exit 4", b"", 4, ""),
        ] {
            let captured = run(script, input, None);
            assert_eq!(captured.outcome, Outcome::Code(code), "{script}");
            assert_eq!(String::from_utf8(captured.output).unwrap(), output, "{script}");
        }
    }

    #[test]
    fn what_runs_on_in_the_background_is_not_waited_for() {
        let start = Instant::now();
        assert_eq!(run("sleep 30 & echo on", b"", None).output, b"on\n");
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn what_takes_too_long_is_killed() {
        let captured = run("echo on; sleep 60; true", b"", Some(Duration::from_millis(200)));
        assert!(captured.is_late);
        assert_eq!(captured.outcome, Outcome::Signal(9));
        assert_eq!(captured.output, b"on\n");
    }

    #[test]
    fn a_missing_program_is_told_by_its_number() {
        let program = Program {
            program: OsStr::new("/nowhere/x"),
            arguments: Vec::new(),
            environment: &[],
            root: Path::new("/"),
            folder: Path::new("/"),
            input: b"",
            patience: None,
            output_bytes: 1,
        };
        assert_eq!(capture(&program).unwrap_err().number(), Some(libc::ENOENT));
    }
}
