//! Parts of the kernel that it would load by itself, if the root that it looks in for modprobe were
//! already the machine's: before that, its own try finds nothing (`request_module`), and this
//! crate does it where the kernel has said that something is missing.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use kiln_sys::capture::{Program, capture};

/// Where modprobe is looked for.
const SEARCHED: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// How long loading a module without hardware may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Loads a module with the root's own modprobe. Whether it helped shows when what failed is tried
/// again, so there is no answer.
pub(crate) fn load(name: &str) {
    let program = Program {
        program: OsStr::new("modprobe"),
        arguments: vec![OsStr::new("-q"), OsStr::new(name)],
        environment: &[("PATH".to_owned(), SEARCHED.to_owned())],
        root: Path::new("/"),
        folder: Path::new("/"),
        input: &[],
        patience: Some(PATIENCE),
        output_bytes: 0,
    };
    let _ = capture(&program);
}
