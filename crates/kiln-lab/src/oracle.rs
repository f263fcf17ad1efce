//! Other people's tools, asked for their opinion.
//!
//! An oracle that is not installed is an error and never a skipped test: a promise that was not
//! checked must not look like one that holds.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::CommandOutput;
use crate::error::Error;

/// The Debian package of each tool that Kiln's tests ask.
const PACKAGES: &[(&str, &str)] = &[
    ("aarch64-linux-gnu-objcopy", "binutils-aarch64-linux-gnu"),
    ("cosign", "cosign"),
    ("cpio", "cpio"),
    ("curl", "curl"),
    ("debugfs", "e2fsprogs"),
    ("dump.erofs", "erofs-utils"),
    ("e2fsck", "e2fsprogs"),
    ("fsck.erofs", "erofs-utils"),
    ("mkfs.erofs", "erofs-utils"),
    ("fsck.fat", "dosfstools"),
    ("grub-editenv", "grub-common"),
    ("grub-mkimage", "grub-common"),
    ("grub-script-check", "grub-common"),
    ("mcopy", "mtools"),
    ("mdir", "mtools"),
    ("mmdebstrap", "mmdebstrap"),
    ("mkfs.fat", "dosfstools"),
    ("mren", "mtools"),
    ("openssl", "openssl"),
    ("qemu-img", "qemu-utils"),
    ("qemu-io", "qemu-utils"),
    ("sbsign", "sbsigntool"),
    ("sbverify", "sbsigntool"),
    ("sgdisk", "gdisk"),
    ("skopeo", "skopeo"),
    ("ssh", "openssh-client"),
    ("sshpass", "sshpass"),
    ("time", "time"),
    ("strace", "strace"),
    ("veritysetup", "cryptsetup-bin"),
    ("xorriso", "xorriso"),
    ("zstd", "zstd"),
];

/// One call of a tool.
#[derive(Debug, Clone)]
#[must_use]
pub struct Oracle {
    program: String,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: Option<std::path::PathBuf>,
}

impl Oracle {
    /// A call of this program, found in PATH.
    pub fn new(program: &str) -> Self {
        Self {
            program: program.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: None,
        }
    }

    /// Adds an argument.
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    pub fn environment(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Runs the call in this folder.
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Runs the tool and returns its standard output.
    ///
    /// # Errors
    /// When the tool is missing, cannot be started, or ends with another status than 0.
    pub fn run(&self) -> Result<String, Error> {
        let result = self.output()?;
        let text = String::from_utf8_lossy(&result.stdout).into_owned();
        if result.status.success() {
            return Ok(text);
        }
        Err(Error::Tool {
            command: self.command_line(),
            status: result.status.to_string(),
            output: text + &String::from_utf8_lossy(&result.stderr),
        })
    }

    /// Runs a tool whose exit status is its answer; returns that and all that it wrote, standard
    /// output first.
    ///
    /// # Errors
    /// When the tool is missing, cannot be started, or is ended by a signal.
    pub fn outcome(&self) -> Result<CommandOutput, Error> {
        let result = self.output()?;
        let text = String::from_utf8_lossy(&result.stdout).into_owned()
            + &String::from_utf8_lossy(&result.stderr);
        match result.status.code() {
            Some(status) => Ok(CommandOutput { status, text }),
            None => Err(Error::Tool {
                command: self.command_line(),
                status: result.status.to_string(),
                output: text,
            }),
        }
    }

    fn output(&self) -> Result<Output, Error> {
        self.require()?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            // Oracles' words are matched by tests, so they must not be translated.
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command.output().map_err(|source| Error::Start { program: self.program.clone(), source })
    }

    /// Checks that the tool is installed.
    ///
    /// # Errors
    /// When it is not.
    pub fn require(&self) -> Result<(), Error> {
        let program = &self.program;
        if program.contains('/') || kiln_qemu::find_program(program).is_some() {
            return Ok(());
        }
        let package =
            PACKAGES.iter().find(|(name, _)| name == program).map(|(_, package)| *package);
        Err(Error::MissingTool { program: program.clone(), package })
    }

    fn command_line(&self) -> String {
        let words = self.arguments.iter().map(|argument| argument.to_string_lossy());
        std::iter::once(self.program.as_str().into())
            .chain(words)
            .collect::<Vec<std::borrow::Cow<'_, str>>>()
            .join(" ")
    }
}
