//! Running the image's own programs from the verified root, before it is the root.
//!
//! mkfs and e2fsck come from the image, because it is the image's version of them that will meet
//! this file system later, and because an initramfs with its own copies would be four times as big.

use crate::Error;
use crate::error::file;
use crate::root::SYSROOT;
use kiln_sys::mount::{self, Options};
use kiln_sys::process::{Outcome, run_inside};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Folders that may hold administration programs, in the order of preference.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// The root with what programs need in it; taken out again when dropped.
pub(crate) struct Workshop {
    mounted: Vec<PathBuf>,
}

impl Workshop {
    /// Shows `/dev` and `/proc` inside the root and puts empty memory on `/tmp`. `/etc/mtab`, which
    /// mkfs asks whether the device is mounted, is a link into `/proc` on all current systems; where
    /// it is not, mkfs asks `/proc` itself.
    pub(crate) fn open() -> Result<Self, Error> {
        let root = Path::new(SYSROOT);
        let mut workshop = Self { mounted: Vec::new() };
        for name in ["dev", "proc"] {
            let target = root.join(name);
            if !target.is_dir() {
                return Err(Error::Image(format!("the folder /{name}")));
            }
            mount::bind(&Path::new("/").join(name), &target)?;
            workshop.mounted.push(target);
        }
        let temporary = root.join("tmp");
        if temporary.is_dir() {
            mount::mount("tmpfs", &temporary, "tmpfs", Options::default(), "mode=1777")?;
            workshop.mounted.push(temporary);
        }
        Ok(workshop)
    }

    /// Path inside the root of the first of `names` that is there.
    pub(crate) fn find(names: &[&str]) -> Option<String> {
        names
            .iter()
            .flat_map(|name| FOLDERS.iter().map(move |folder| format!("{folder}/{name}")))
            .find(|path| fs::metadata(format!("{SYSROOT}{path}")).is_ok_and(|file| file.is_file()))
    }

    /// Makes a file system on `node` with a mkfs, and waits until it is on the disk.
    pub(crate) fn make_file_system(
        &self,
        program: &str,
        arguments: &[&str],
        node: &str,
    ) -> Result<(), Error> {
        match self.run(program, arguments)? {
            Outcome::Code(0) => {}
            outcome => {
                let (program, outcome) = (program.to_owned(), describe(outcome));
                return Err(Error::Program { program, outcome });
            }
        }
        let device = File::options().write(true).open(node).map_err(file("open", node))?;
        device.sync_all().map_err(file("write back", node))
    }

    /// Runs a program to its end.
    #[expect(clippy::unused_self, reason = "proof that the root is prepared")]
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<Outcome, Error> {
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        Ok(run_inside(Path::new(SYSROOT), program, &arguments)?)
    }
}

/// How a program ended, in words.
pub(crate) fn describe(outcome: Outcome) -> String {
    match outcome {
        Outcome::Code(code) => format!("exit code {code}"),
        Outcome::Signal(signal) => format!("signal {signal}"),
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        for target in self.mounted.iter().rev() {
            // A program that left something behind keeps it; the mount is only hidden.
            let _ = mount::detach(target);
        }
    }
}
