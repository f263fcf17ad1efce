//! A machine under test, used as a person would: by reading and typing at its console.
//!
//! No agent runs in the guest, because the guests are what users get. A command is typed between
//! two markers that the typed line itself does not contain, so the echo cannot be taken for the
//! answer. Everything shown is kept in a transcript beside the test's disk.
//!
//! Times given to the waiting functions are what an idle computer with two processors needs; the
//! machine waits [`SLACK`] times as long, because test computers are rarely idle, and does not count
//! the time in which the emulator had no processor. A machine that ends, or a kernel that panics, ends
//! the waiting at once.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kiln_qemu::{Architecture, Console, Host, Machine, RunningMachine};

use crate::error::{Error, file_error};
use crate::screen::Screen;
use crate::starvation::Starvation;
use crate::{WorkDirectory, ledger};

/// Factor between the time that something takes and the time that is waited for it.
pub const SLACK: u32 = 4;

/// How often the time without a processor may be added again, in times of the waiting itself: on a
/// computer that is busier than this nothing can be tested.
const STARVATION: u32 = 3;

/// From power on to the login prompt on an idle computer, first boot, translated instructions.
pub const BOOT: Duration = Duration::from_secs(45);

/// For a command that only looks at something.
pub const COMMAND: Duration = Duration::from_secs(20);

/// From `poweroff` to the end of the machine.
pub const POWER_OFF: Duration = Duration::from_secs(30);

/// Lines of the console that an error shows.
const TAIL_LINES: usize = 40;

/// What the kernel prints before it gives up.
const PANIC: &str = "Kernel panic";

/// What a command in the guest said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// Its exit status.
    pub status: i32,
    /// Standard output and standard error, without the last line feed.
    pub text: String,
}

#[derive(Debug, Default)]
struct Shown {
    text: String,
    /// Set when the console has closed, which means that the machine has ended.
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    shown: Mutex<Shown>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Shown> {
        // The reader only appends, so what a dead reader left is still true.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running machine with its console.
#[derive(Debug)]
pub struct VirtualMachine {
    name: String,
    running: RunningMachine,
    input: ChildStdin,
    shared: Arc<Shared>,
    /// Length of the shown text that earlier calls have dealt with.
    seen: usize,
    transcript: PathBuf,
    commands: u32,
    started: Instant,
}

impl VirtualMachine {
    /// Starts the machine with its console here; `name` is for the transcript and the ledger.
    ///
    /// # Errors
    /// When QEMU or firmware is missing, or the transcript cannot be written.
    pub fn start(name: &str, machine: Machine, work: &WorkDirectory) -> Result<Self, Error> {
        let host = Host::discover(Architecture::X86_64)?;
        Self::start_on(&host, name, machine, &work.join(format!("{name}.console")))
    }

    /// The same on a host that is known already.
    ///
    /// # Errors
    /// As [`VirtualMachine::start`].
    pub fn start_on(
        host: &Host,
        name: &str,
        machine: Machine,
        transcript: &Path,
    ) -> Result<Self, Error> {
        let file = File::create(transcript).map_err(file_error("create", transcript))?;
        let mut running = machine.console(Console::Pipe).start(host)?;
        let streams = (running.take_input(), running.take_output(), running.take_complaints());
        let (Some(input), Some(output), Some(complaints)) = streams else {
            return Err(Error::Unexpected { what: "QEMU's streams".into(), text: name.into() });
        };
        let shared = Arc::new(Shared::default());
        let file = Arc::new(Mutex::new(file));
        follow(output, &shared, &file, true);
        follow(complaints, &shared, &file, false);
        Ok(Self {
            name: name.to_owned(),
            running,
            input,
            shared,
            seen: 0,
            transcript: transcript.to_owned(),
            commands: 0,
            started: Instant::now(),
        })
    }

    /// Time since the machine was started.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Everything shown so far.
    #[must_use]
    pub fn shown(&self) -> String {
        self.shared.lock().text.clone()
    }

    /// Waits until the text appears and returns what was shown before it.
    ///
    /// # Errors
    /// When it does not appear in time, the machine ends, or its kernel panics.
    pub fn expect(&mut self, pattern: &str, patience: Duration) -> Result<String, Error> {
        self.expect_any(&[pattern], patience).map(|(_, before)| before)
    }

    /// Waits until one of the texts appears; returns its number and what was shown before it. If
    /// two are there, the one that comes first on the screen counts.
    ///
    /// # Errors
    /// When none appears in time, the machine ends, or its kernel panics and no pattern says so.
    pub fn expect_any(
        &mut self,
        patterns: &[&str],
        patience: Duration,
    ) -> Result<(usize, String), Error> {
        let (begun, patience) = (Instant::now(), patience * SLACK);
        let mut deadline = begun + patience;
        let starvation = Starvation::of(self.running.process());
        let starved_before = starvation.until_now();
        let panic_is_wanted = patterns.iter().any(|pattern| pattern.contains(PANIC));
        let shared = Arc::clone(&self.shared);
        let mut shown = shared.lock();
        let problem = loop {
            let fresh = &shown.text[self.seen..];
            let first = patterns
                .iter()
                .enumerate()
                .filter_map(|(number, pattern)| Some((fresh.find(pattern)?, number)))
                .min();
            if let Some((place, number)) = first {
                let before = fresh[..place].to_owned();
                self.seen += place + patterns[number].len();
                return Ok((number, before));
            }
            let now = Instant::now();
            if shown.closed {
                break "the machine ended".to_owned();
            }
            if !panic_is_wanted && fresh.contains(PANIC) {
                break "the kernel panicked".to_owned();
            }
            if now >= deadline {
                let starved = starvation.until_now().saturating_sub(starved_before);
                deadline = begun + patience + starved.min(patience * STARVATION);
                if now >= deadline {
                    let (all, starved) = (begun.elapsed().as_secs(), starved.as_secs());
                    break format!("nothing for {all} s, {starved} s of them without a processor");
                }
            }
            shown = shared
                .changed
                .wait_timeout(shown, deadline - now)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        };
        let lines: Vec<&str> = shown.text.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
        Err(Error::Console {
            machine: self.name.clone(),
            problem,
            wanted: format!("{patterns:?}"),
            transcript: self.transcript.clone(),
            tail,
        })
    }

    /// Types text, line feeds where given.
    ///
    /// # Errors
    /// When the machine has ended.
    pub fn send(&mut self, text: &str) -> Result<(), Error> {
        self.input
            .write_all(text.as_bytes())
            .and_then(|()| self.input.flush())
            .map_err(file_error("type at the console, transcript", &self.transcript))
    }

    /// Waits for the login prompt, logs in, and starts a plain shell that does not echo.
    ///
    /// # Errors
    /// When the prompt does not come or the login is refused.
    pub fn login(&mut self, user: &str, password: &str) -> Result<(), Error> {
        self.expect("login: ", BOOT)?;
        self.send(&format!("{user}\n"))?;
        self.expect("Password: ", COMMAND)?;
        self.send(&format!("{password}\n"))?;
        // A shell throws away what was typed before its line editor is ready, so its prompt counts.
        if let (2, _) = self.expect_any(&["$ ", "# ", "Login incorrect"], COMMAND)? {
            return Err(Error::Guest {
                machine: self.name.clone(),
                command: format!("login {user}"),
                status: 1,
                text: "Login incorrect".into(),
            });
        }
        // The interactive shell's line editor would echo and wrap; the shell that replaces it has
        // none. The quotes keep the echo of a typed line from matching. Each line waits for the one
        // before: a shell that reads ahead would take the next shell's input with it.
        self.send(
            "exec env PS1= TERM=dumb PAGER=cat SYSTEMD_COLORS=0 \
             /bin/sh -c 'echo plain\"-\"shell; exec /bin/sh'\n",
        )?;
        self.expect("plain-shell", COMMAND)?;
        self.send("stty -echo cols 1000 2>/dev/null; echo 'echo'-off\n")?;
        self.expect("echo-off\n", COMMAND)?;
        // Kernel messages would land inside the answers to commands.
        self.run("sudo -n dmesg -n 1")?;
        Ok(())
    }

    /// Runs one line of shell after [`VirtualMachine::login`].
    ///
    /// # Errors
    /// When the command does not end in time. Its own failure is in the output.
    pub fn run(&mut self, command: &str) -> Result<CommandOutput, Error> {
        self.run_for(command, COMMAND)
    }

    /// The same for a command that takes longer.
    ///
    /// # Errors
    /// As [`VirtualMachine::run`].
    pub fn run_for(&mut self, command: &str, patience: Duration) -> Result<CommandOutput, Error> {
        self.commands += 1;
        let number = self.commands;
        self.send(&format!(
            "echo 'begin'-{number}; {{ {command} ; }} 2>&1 < /dev/null; echo \"\nend\"-{number}:$?:\n"
        ))?;
        self.expect(&format!("begin-{number}\n"), patience)?;
        let text = self.expect(&format!("\nend-{number}:"), patience)?;
        let status = self.expect(":", COMMAND)?;
        let status = status
            .parse()
            .map_err(|_| Error::Unexpected { what: "an exit status".into(), text: status })?;
        Ok(CommandOutput { status, text: text.trim_end_matches('\n').to_owned() })
    }

    /// Runs one line of shell that must succeed, and returns what it wrote.
    ///
    /// # Errors
    /// When the command fails or does not end in time.
    pub fn succeed(&mut self, command: &str) -> Result<String, Error> {
        match self.run(command)? {
            CommandOutput { status: 0, text } => Ok(text),
            CommandOutput { status, text } => Err(Error::Guest {
                machine: self.name.clone(),
                command: command.to_owned(),
                status,
                text,
            }),
        }
    }

    /// Shuts the guest down in order and waits for the machine's end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn power_off(mut self) -> Result<(), Error> {
        self.send("sudo -n systemctl poweroff\n")?;
        self.wait_for_end(POWER_OFF)
    }

    /// Waits for the machine's end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait_for_end(&mut self, patience: Duration) -> Result<(), Error> {
        match self.expect_any(&[], patience) {
            Err(Error::Console { problem, .. }) if problem == "the machine ended" => {
                self.running.wait()?;
                Ok(())
            }
            Err(other) => Err(other),
            // Without patterns nothing can match.
            Ok(_) => Ok(()),
        }
    }

    /// Ends the machine as if power were cut.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub fn cut_power(mut self) -> Result<(), Error> {
        Ok(self.running.kill()?)
    }
}

impl Drop for VirtualMachine {
    fn drop(&mut self) {
        ledger::record(&self.name, self.started.elapsed());
    }
}

/// Copies a stream into the shown text and the transcript until it ends. `is_console` marks the
/// stream whose end is the machine's end.
fn follow(
    mut stream: impl Read + Send + 'static,
    shared: &Arc<Shared>,
    transcript: &Arc<Mutex<File>>,
    is_console: bool,
) {
    let (shared, transcript) = (Arc::clone(shared), Arc::clone(transcript));
    thread::spawn(move || {
        let mut screen = Screen::default();
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            let mut text = String::new();
            screen.feed(&buffer[..length], &mut text);
            // The transcript is a help for readers; a full disk must not stop the test.
            let mut file = transcript.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = file.write_all(text.as_bytes());
            drop(file);
            shared.lock().text.push_str(&text);
            shared.changed.notify_all();
        }
        if is_console {
            shared.lock().closed = true;
            shared.changed.notify_all();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_qemu::{Accelerator, Boot, DirectKernel};
    use std::os::unix::fs::PermissionsExt;

    /// A "machine" whose emulator is a shell script, so that the console is tested without QEMU.
    fn scripted(script: &str) -> (VirtualMachine, WorkDirectory) {
        let work = WorkDirectory::new("scripted").unwrap();
        let emulator = work.join("emulator");
        std::fs::write(&emulator, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&emulator, std::fs::Permissions::from_mode(0o755)).unwrap();
        let host = Host {
            architecture: Architecture::X86_64,
            emulator,
            firmware: None,
            accelerator: Accelerator::Tcg,
        };
        let direct = DirectKernel { kernel: "/k".into(), initramfs: None, command_line: "".into() };
        let machine = Machine::new(Architecture::X86_64).boot(Boot::Direct(direct));
        let transcript = work.join("transcript");
        (VirtualMachine::start_on(&host, "scripted", machine, &transcript).unwrap(), work)
    }

    const SHORT: Duration = Duration::from_millis(500);

    #[test]
    fn a_login_runs_commands_and_tells_their_status() {
        // Like getty: asks for a name and a password, then gives a shell with its prompt.
        let (mut machine, work) = scripted(
            "printf 'host login: '; read user; printf 'Password: '; read password; \
             echo \"Welcome $user\"; printf '~$ '; exec sh",
        );
        machine.login("somebody", "secret").unwrap();
        let output = machine.run("printf 'one\\ntwo\\n'; (exit 7)").unwrap();
        assert_eq!(output, CommandOutput { status: 7, text: "one\ntwo".into() });
        assert_eq!(machine.succeed("echo end-2:0:").unwrap(), "end-2:0:");
        let error = machine.succeed("ls /no/such/file").unwrap_err().to_string();
        assert!(error.contains("/no/such/file"), "{error}");
        machine.send("exit\n").unwrap();
        machine.wait_for_end(SHORT).unwrap();
        let transcript = std::fs::read_to_string(work.join("transcript")).unwrap();
        assert!(transcript.contains("Welcome somebody"), "{transcript}");
    }

    #[test]
    fn a_wrong_password_is_told() {
        let (mut machine, _work) = scripted(
            "printf 'login: '; read user; printf 'Password: '; read password; \
             echo 'Login incorrect'; exec cat > /dev/null",
        );
        let error = machine.login("somebody", "wrong").unwrap_err().to_string();
        assert!(error.contains("Login incorrect"), "{error}");
    }

    #[test]
    fn waiting_ends_with_the_machine_a_panic_or_the_time() {
        for (script, problem) in [
            ("echo going; exit 0", "the machine ended"),
            ("echo 'Kernel panic - not syncing'; exec sleep 60", "the kernel panicked"),
            ("echo still; exec sleep 60", "nothing for "),
        ] {
            let (mut machine, _work) = scripted(script);
            let begun = Instant::now();
            let error = machine.expect("never", SHORT).unwrap_err().to_string();
            assert!(error.contains(problem), "{script}: {error}");
            assert!(begun.elapsed() < Duration::from_secs(30), "{script}");
        }
        let (mut machine, _work) = scripted("echo 'a Kernel panic - b'; exec sleep 60");
        assert_eq!(machine.expect_any(&["never", "Kernel panic"], SHORT).unwrap().0, 1);
    }
}
