//! The contenders in Debian 13's versions, in a root folder of their own.
//!
//! The computer's own versions would make figures of two computers two different comparisons, and
//! Debian 12 has neither erofs-utils with zstd nor a systemd-repart that works without loop devices.
//! Everything that is measured, Kiln too, runs in this root, so that no contender has another
//! surrounding. It is a plain chroot inside a mount namespace of the bench: its mounts go when the
//! bench ends, however it ends. A container was dropped, because mkosi wants to make its own.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, process};

use kiln_lab::cache::Entry;
use kiln_lab::debian::SUITE;
use kiln_lab::{Cache, Oracle};

use crate::error::{Error, file_error};
use crate::run;

/// What the contenders are and need, in Debian's names.
const PACKAGES: &[&str] = &[
    "ca-certificates",
    "cpio",
    "cryptsetup-bin",
    "dosfstools",
    "e2fsprogs",
    "erofs-utils",
    "fakeroot",
    "fdisk",
    "kmod",
    "mkosi",
    "mtools",
    "python3-pefile",
    "skopeo",
    "squashfs-tools",
    "systemd",
    "systemd-boot-efi",
    "systemd-boot-tools",
    "systemd-repart",
    "systemd-ukify",
    "time",
    "zstd",
];

/// Overrides the archive that mmdebstrap takes packages from.
const MIRROR_VARIABLE: &str = "KILN_DEBIAN_MIRROR";

/// Set in the process that already has a mount namespace of its own.
const INSIDE_VARIABLE: &str = "KILN_BENCH_INSIDE";

/// Where the bench's folders are seen inside the root.
pub(super) const BENCH: &str = "/bench";

/// Folders of the running system that tools expect.
const SYSTEM: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Whether this process has a mount namespace of its own, so that its mounts are nobody else's.
pub(super) fn is_inside() -> bool {
    env::var_os(INSIDE_VARIABLE).is_some()
}

/// Runs this program again, with these arguments, in a mount namespace of its own.
pub(super) fn run_inside(arguments: &[String]) -> Result<(), Error> {
    let (_, user) = run::captured(Command::new("id").arg("-u"))?;
    if user.trim() != "0" {
        return Err(Error::NotRoot);
    }
    let program = env::current_exe().map_err(file_error("find", Path::new("/proc/self/exe")))?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]);
    command.arg(program).args(arguments).env(INSIDE_VARIABLE, "1");
    let status = command
        .status()
        .map_err(|source| Error::Start { program: "unshare".to_owned(), source })?;
    if status.success() {
        return Ok(());
    }
    // The inner process has told why.
    Err(Error::Failed { command: arguments.join(" "), status: status.to_string() })
}

/// The root folder with all contenders.
#[derive(Debug)]
pub(super) struct Tools {
    entry: Entry,
}

impl Tools {
    /// Takes the root from the cache, or bootstraps it: about a minute and 700 MB.
    pub(super) fn get(cache: &Cache) -> Result<Self, Error> {
        let mirror = env::var(MIRROR_VARIABLE).unwrap_or_default();
        let arguments = [
            "--mode=root".to_owned(),
            "--variant=minbase".to_owned(),
            "--aptopt=APT::Install-Recommends \"false\"".to_owned(),
            format!("--include={}", PACKAGES.join(",")),
        ];
        let mut inputs: Vec<&[u8]> = vec![SUITE.as_bytes(), mirror.as_bytes()];
        inputs.extend(arguments.iter().map(|argument| argument.as_bytes()));
        let entry = cache.get("bench-tools", &inputs, |folder| {
            bootstrap(&arguments, &folder.join("root"), &mirror)
        })?;
        cache.prune("bench-tools", &entry)?;
        let tools = Self { entry };
        // mkosi and pivot_root want their root to be a mount point.
        tools.bind_at(&tools.root(), &tools.root())?;
        for folder in SYSTEM {
            tools.bind(Path::new(folder), folder)?;
        }
        Ok(tools)
    }

    /// The root's place on this computer.
    pub(super) fn root(&self) -> PathBuf {
        self.entry.path().join("root")
    }

    /// Shows a folder or file of this computer at this place inside the root.
    pub(super) fn bind(&self, from: &Path, inside: &str) -> Result<(), Error> {
        let target = self.outside(inside);
        if from.is_dir() {
            fs::create_dir_all(&target).map_err(file_error("create", &target))?;
        } else if !target.exists() {
            fs::write(&target, b"").map_err(file_error("create", &target))?;
        }
        self.bind_at(from, &target)
    }

    /// Where a place inside the root is on this computer.
    pub(super) fn outside(&self, inside: &str) -> PathBuf {
        self.root().join(inside.trim_start_matches('/'))
    }

    fn bind_at(&self, from: &Path, target: &Path) -> Result<(), Error> {
        Oracle::new("mount").argument("--bind").argument(from).argument(target).run()?;
        Ok(())
    }

    /// A command inside the root.
    pub(super) fn command<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new("chroot");
        command.arg(self.root()).args(words);
        command.env_clear().env("LC_ALL", "C.UTF-8").env("HOME", "/root");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("TMPDIR", format!("{BENCH}/scratch/temporary"));
        command
    }

    /// Runs a command inside the root and returns what it wrote.
    pub(super) fn run(&self, words: &[&str]) -> Result<String, Error> {
        let (succeeded, output) = run::captured(&mut self.command(words))?;
        if succeeded {
            return Ok(output);
        }
        Err(Error::Lab(kiln_lab::Error::Tool {
            command: words.join(" "),
            status: "an error".to_owned(),
            output,
        }))
    }

    /// The contenders' versions as Debian counts them, one a line.
    pub(super) fn versions(&self) -> Result<String, Error> {
        let format = "-f=${Package} ${Version}\n";
        let names = ["erofs-utils", "squashfs-tools", "systemd-repart", "mkosi"];
        self.run(&[&["dpkg-query", "-W", format], names.as_slice()].concat())
    }
}

/// Bootstraps a Debian; the folder or tar file is named by its path.
pub(super) fn bootstrap(
    arguments: &[String],
    target: &Path,
    mirror: &str,
) -> Result<(), kiln_lab::Error> {
    Oracle::new("mmdebstrap")
        .arguments(arguments)
        .argument(SUITE)
        .argument(target)
        .arguments((!mirror.is_empty()).then_some(mirror))
        .environment("SOURCE_DATE_EPOCH", "1750000000")
        .environment("DEBIAN_FRONTEND", "noninteractive")
        .environment("INITRD", "No")
        .run()?;
    Ok(())
}

/// The archive that this computer was told to use, or none.
pub(super) fn mirror() -> String {
    env::var(MIRROR_VARIABLE).unwrap_or_default()
}

/// How a process ended, in words.
pub(super) fn ending(status: process::ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("signal {signal}"),
        None => status.to_string(),
    }
}
