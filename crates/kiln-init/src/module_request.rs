//! Answers the kernel when it asks for a module before the system runs.
//!
//! A mount of xfs, a volume of dm-crypt or an array makes the kernel start `/sbin/modprobe` in the first
//! root, which has none. While a configuration is carried out that name leads to this program, and this
//! program lets the verified root's own modprobe answer, inside that root. Loading by name everywhere
//! before use was dropped: every program of the image that mounts something would have to know.

use crate::Error;
use crate::error::file;
use crate::root::SYSROOT;
use crate::tools::Workshop;
use kiln_sys::process::{Outcome, run_inside};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::ExitCode;

/// What the kernel starts (kernel.modprobe, Documentation/admin-guide/sysctl/kernel.rst).
const PROGRAM: &str = "/sbin/modprobe";
/// This program in the first root.
const OWN: &str = "/init";

/// From now on the kernel's requests are answered, if the root has a modprobe.
pub(crate) fn listen() -> Result<(), Error> {
    let program = Path::new(PROGRAM);
    if program.exists() || Workshop::find(&["modprobe"]).is_none() {
        return Ok(());
    }
    if let Some(folder) = program.parent() {
        fs::create_dir_all(folder).map_err(file("create", folder))?;
    }
    symlink(OWN, program).map_err(file("create", program))
}

/// Does the kernel's bidding, if this process was started for that: `None` if it was not.
pub(crate) fn answer(arguments: &[OsString]) -> Option<ExitCode> {
    let (name, words) = arguments.split_first()?;
    if name != PROGRAM {
        return None;
    }
    let words: Vec<&OsStr> = words.iter().map(OsString::as_os_str).collect();
    let done = Workshop::find(&["modprobe"])
        .and_then(|program| run_inside(Path::new(SYSROOT), &program, &words).ok());
    Some(match done {
        Some(Outcome::Code(0)) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_name_for_it_is_answered() {
        assert!(answer(&[]).is_none());
        assert!(answer(&["/init".into()]).is_none());
        // There is no root here, so nothing is loaded, and that is no success.
        let answered = answer(&[PROGRAM.into(), "-q".into(), "--".into(), "fs-xfs".into()]);
        assert_eq!(answered, Some(ExitCode::FAILURE));
    }
}
