//! The state of a disk that is installed to, made before its first boot because hooks write into it.
//!
//! As at a first boot it is the new root's own mkfs that makes it, so that the new system's kernel knows
//! every feature of it. Only where that cannot run (another CPU architecture, an image without one) is it
//! the running system's, and that is said.

use std::ffi::OsStr;
use std::path::Path;

use kiln_disk::layout::STATE;
use kiln_sys::capture::{Program, capture};
use kiln_sys::mount;
use kiln_sys::process::Outcome;

use crate::Error;

/// Names under which images have it.
const PROGRAMS: [&str; 2] = ["mkfs.ext4", "mke2fs"];
/// Bytes of what it says that are kept: its last lines name the fault.
const OUTPUT_BYTES: usize = 2048;
/// Where programs are.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes the file system on `node`; gives a sentence where it was not the new root's own program.
///
/// # Errors
/// [`Error::Program`] if neither root has a program that can.
pub(super) fn make(node: &str, root: &Path) -> Result<Option<String>, Error> {
    let dev = root.join("dev");
    mount::bind(Path::new("/dev"), &dev)?;
    let own = first(node, root);
    // The whole of it is mounted later.
    mount::unmount(&dev)?;
    let Err(reason) = own else { return Ok(None) };
    let failed = |reason| Error::Program { program: PROGRAMS.join(", "), reason };
    first(node, Path::new("/")).map_err(failed)?;
    Ok(Some(format!(
        "the state was made by this system's mkfs, because the new one's does not run here: {reason}"
    )))
}

/// Runs the first program that the root has.
fn first(node: &str, root: &Path) -> Result<(), String> {
    let mut reason = "there is none".to_owned();
    for program in PROGRAMS {
        match run(program, node, root) {
            Ok(()) => return Ok(()),
            Err(Some(fault)) => reason = fault,
            Err(None) => {}
        }
    }
    Err(reason)
}

/// Runs one; no fault is told where it is not there.
fn run(program: &str, node: &str, root: &Path) -> Result<(), Option<String>> {
    // As the first process does it, which then finds what it would have made.
    let arguments = ["-q", "-t", "ext4", "-L", STATE.name, "-E", "lazy_itable_init=1", "-F", node];
    let environment = [("PATH".to_owned(), PATH.to_owned())];
    let captured = capture(&Program {
        program: OsStr::new(program),
        arguments: arguments.iter().map(OsStr::new).collect(),
        environment: &environment,
        root,
        folder: Path::new("/"),
        input: b"",
        patience: None,
        output_bytes: OUTPUT_BYTES,
    });
    let captured = captured.map_err(|error| match std::error::Error::source(&error) {
        _ if error.number() == Some(rustix::io::Errno::NOENT.raw_os_error()) => None,
        Some(source) => Some(format!("{program}: {source}")),
        None => Some(error.to_string()),
    })?;
    let said = String::from_utf8_lossy(&captured.output);
    let said = said.lines().last().unwrap_or_default().trim();
    match captured.outcome {
        Outcome::Code(0) => Ok(()),
        Outcome::Code(code) => Err(Some(format!("{program} ended with {code}: {said}"))),
        Outcome::Signal(signal) => Err(Some(format!("{program}: signal {signal}"))),
    }
}
