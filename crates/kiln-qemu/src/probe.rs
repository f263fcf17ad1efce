//! Whether KVM really works here.
//!
//! A readable `/dev/kvm` proves nothing: under some hypervisors the device opens, a machine can be
//! created, and the first instruction of a guest ends it. So the probe runs a guest: QEMU starts
//! stopped, must say that KVM is on, is let go, and after a second must still be running. The
//! guest executes its BIOS meanwhile; no disk, no network, no file of the user is involved.
//!
//! Dropped: asking the device by ioctl, which answers the wrong question, and looking for `vmx` or
//! `svm` in /proc/cpuinfo, which misses hosts that need neither.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Architecture, Monitor};

/// The kernel's device for KVM.
const DEVICE: &str = "/dev/kvm";

/// How long the probe's guest runs. Hosts whose KVM fails do so within milliseconds.
const RUN: Duration = Duration::from_secs(1);

/// How long QEMU may take to answer; its start takes about 0.2 s on an idle machine.
const PATIENCE: Duration = Duration::from_secs(3);

/// Pause between two looks for QEMU's socket.
const PAUSE: Duration = Duration::from_millis(10);

/// Longest part of QEMU's complaint that is kept, in bytes.
const LONGEST_COMPLAINT: u64 = 4096;

/// What the probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KvmVerdict {
    /// A guest ran for a second.
    Works,
    /// The guest's architecture is not this host's.
    OtherArchitecture,
    /// The device is missing or closed to this user.
    NoAccess(String),
    /// QEMU started and then failed, with what it said last.
    Fails(String),
}

/// Runs a guest with KVM for a second. Takes at most about ten seconds.
#[must_use]
pub fn probe_kvm(architecture: Architecture, emulator: &Path) -> KvmVerdict {
    if Architecture::of_this_host() != Some(architecture) {
        return KvmVerdict::OtherArchitecture;
    }
    if let Err(error) = File::options().read(true).write(true).open(DEVICE) {
        return KvmVerdict::NoAccess(format!("{DEVICE}: {error}"));
    }
    run_guest(architecture, emulator)
}

fn run_guest(architecture: Architecture, emulator: &Path) -> KvmVerdict {
    let scratch = match tempfile::tempdir() {
        Ok(scratch) => scratch,
        Err(error) => return KvmVerdict::Fails(error.to_string()),
    };
    let socket = scratch.path().join("monitor");
    let started = Command::new(emulator)
        .args(["-no-user-config", "-nodefaults", "-display", "none", "-S"])
        .args(["-accel", "kvm", "-cpu", "host", "-m", "64M", "-machine", architecture.board()])
        .arg("-qmp")
        .arg(format!("unix:{},server=on,wait=off", crate::machine::escape(&socket)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return KvmVerdict::Fails(error.to_string()),
    };
    let observed = observe(&mut child, &socket);
    // Already dead is as good as killed; the verdict is in `observed`.
    let _ = child.kill();
    let _ = child.wait();
    match observed {
        Ok(()) => KvmVerdict::Works,
        Err(problem) => KvmVerdict::Fails(last_complaint(&mut child).unwrap_or(problem)),
    }
}

/// Lets the guest go and tells what is wrong with it afterwards.
fn observe(child: &mut Child, socket: &Path) -> Result<(), String> {
    let text = |error: crate::Error| error.to_string();
    // QEMU that dies before it listens must not cost the user the whole patience.
    let deadline = Instant::now() + PATIENCE;
    while !socket.exists() && Instant::now() < deadline {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("the emulator ended: {status}"));
        }
        thread::sleep(PAUSE);
    }
    let mut monitor = Monitor::connect(socket, PATIENCE).map_err(text)?;
    let kvm = monitor.execute("query-kvm", &json!({})).map_err(text)?;
    if kvm.get("enabled") != Some(&Value::Bool(true)) {
        return Err(format!("query-kvm says {kvm}"));
    }
    monitor.execute("cont", &json!({})).map_err(text)?;
    thread::sleep(RUN);
    if let Ok(Some(status)) = child.try_wait() {
        return Err(format!("the guest ended: {status}"));
    }
    let status = monitor.execute("query-status", &json!({})).map_err(text)?;
    match status.get("status").and_then(Value::as_str) {
        Some("running") => Ok(()),
        other => Err(format!("the guest is {}", other.unwrap_or("in no known state"))),
    }
}

/// The last line that QEMU wrote about its failure, register dumps left aside.
fn last_complaint(child: &mut Child) -> Option<String> {
    let mut bytes = Vec::new();
    child.stderr.take()?.take(LONGEST_COMPLAINT).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    text.lines().rfind(|line| line.to_lowercase().contains("kvm")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_guest_that_runs_is_proof() {
        // Stand-ins for QEMU: one that ends at once, one that never answers.
        for emulator in ["/bin/false", "/bin/true", "/no/such/program"] {
            let verdict = run_guest(Architecture::X86_64, Path::new(emulator));
            assert!(matches!(verdict, KvmVerdict::Fails(_)), "{emulator}: {verdict:?}");
        }
    }

    #[test]
    fn a_foreign_architecture_is_never_accelerated() {
        let foreign = match Architecture::of_this_host() {
            Some(Architecture::X86_64) => Architecture::Aarch64,
            _ => Architecture::X86_64,
        };
        assert_eq!(probe_kvm(foreign, Path::new("/bin/false")), KvmVerdict::OtherArchitecture);
    }
}
