//! The executor of operations on disks: one document at a time, checked whole before the first sector.
//!
//! What a document makes is noted before it is made (`attempt`) and remembered for later boots when it is
//! done (`records`). Never: a change of what belongs to the system, by whatever name it is called; a key
//! in a message; a file system that is lost without being asked for. Running the operations as they come
//! and failing at the first was dropped: a machine whose second disk is missing would lose the first.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_config::Action;
use kiln_config::action::{KernelArguments, Volume};
use kiln_disk::Guid;

use super::attempt::{self, Attempt};
use super::devices::Devices;
use super::filesystems::Program;
use super::kernel::{Kernel, Linux};
use super::records::Records;
use super::{Refusal, Storage};
use crate::summary::summary;
use crate::{Error, Invocation, Ledger, Programs, Root};

/// How long a device may take to appear after it was made or named: slow controllers need about 20 s.
const PATIENCE: Duration = Duration::from_secs(30);
/// Folders of the image that may hold administration programs, in the order of preference.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
/// Where udev of the image listens while it runs.
const UDEV: &str = "/run/udev/control";
/// Where udev runs, `udevadm settle` waits for it also in a root that is not that of the first process, where
/// it otherwise returns at once (systemd, docs/ENVIRONMENT.md).
const WITH_UDEV: (&str, &str) = ("SYSTEMD_IGNORE_CHROOT", "1");
/// Without udev nobody answers the device-mapper library when it waits for a node (dmsetup(8)).
const WITHOUT_UDEV: (&str, &str) = ("DM_DISABLE_UDEV", "1");

/// What disks are changed with.
pub struct DisksOptions<'a> {
    /// The root of the machine as this process sees it (`/` inside of a chroot): paths are resolved and
    /// programs run in it. It has `/dev`, `/proc`, `/sys` and `/run`.
    pub root: PathBuf,
    /// State as this process sees it, below the root (usually `/state`).
    pub state: PathBuf,
    /// Marks of the generation, on that state.
    pub ledger: Ledger,
    /// Runs the image's programs.
    pub programs: &'a mut dyn Programs,
    /// Told what happens, line by line.
    pub say: &'a dyn Fn(&str),
    /// Applies kernel arguments before a document's commit point; says whether any changed.
    pub kernel_arguments: &'a mut dyn FnMut(&KernelArguments) -> Result<bool, Error>,
}

impl std::fmt::Debug for DisksOptions<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("DisksOptions")
            .field("root", &self.root)
            .field("state", &self.state)
            .field("ledger", &self.ledger)
            .finish_non_exhaustive()
    }
}

/// Carries out operations on disks, mounts and kernel arguments of this machine.
pub struct Disks<'a> {
    pub(super) devices: Devices<'a>,
    pub(super) programs: &'a mut dyn Programs,
    pub(super) say: &'a dyn Fn(&str),
    pub(super) ledger: Ledger,
    pub(super) state: PathBuf,
    /// The document that runs.
    pub(super) attempt: Option<Attempt>,
    /// What was mounted and opened, in order, so that it can be taken out.
    pub(super) open: Vec<Open>,
    /// How many of these stay whatever becomes of the document.
    pub(super) lasting: usize,
    kernel_arguments: &'a mut dyn FnMut(&KernelArguments) -> Result<bool, Error>,
    wanted: KernelArguments,
    changed: bool,
}

/// Something that can be taken out again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Open {
    /// A folder that was made for a mount.
    Folder(String),
    /// A mount: the path that was asked for, and the real one.
    Mount(String, PathBuf),
    /// An encrypted volume.
    Encrypted(String),
    /// An array.
    Array(String),
}

impl std::fmt::Debug for Disks<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Disks")
            .field("root", &self.devices.root)
            .field("attempt", &self.attempt)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

impl<'a> Disks<'a> {
    /// Opens the root; looks at no disk yet.
    ///
    /// # Errors
    /// The root is no folder.
    pub fn new(options: DisksOptions<'a>) -> Result<Self, Error> {
        let system = vec![options.root.clone(), options.state.clone()];
        let (devices, nodes) = (options.root.join("sys"), options.root.join("dev"));
        let kernel = Linux { devices, nodes, system };
        Self::with(options, Box::new(kernel), PATIENCE)
    }

    pub(super) fn with(
        options: DisksOptions<'a>,
        kernel: Box<dyn Kernel + 'a>,
        patience: Duration,
    ) -> Result<Self, Error> {
        let root = Root::open(&options.root)?;
        Ok(Self {
            devices: Devices { kernel, root, patience },
            programs: options.programs,
            say: options.say,
            ledger: options.ledger,
            state: options.state,
            attempt: None,
            open: Vec::new(),
            lasting: 0,
            kernel_arguments: options.kernel_arguments,
            wanted: KernelArguments::default(),
            changed: false,
        })
    }

    /// Whether kernel arguments changed, so that the machine has to start again.
    #[must_use]
    pub fn changed_kernel_arguments(&self) -> bool {
        self.changed
    }

    /// Opens what the documents that are done have made: arrays, encrypted volumes, and file systems with
    /// a path, which are checked and mounted. To be called at each boot before a document runs.
    ///
    /// # Errors
    /// One of them is missing or damaged; those before it stay open. A file system whose options have
    /// `nofail` is only told of, and so is an array or a volume on which only such ones lie.
    pub fn reopen(&mut self) -> Result<(), Error> {
        let records = Records::read(self.ledger.folder())?;
        for (hash, records) in &records.documents {
            if self.ledger.is_done(hash) {
                self.open_records(records)?;
            }
        }
        Ok(())
    }

    /// Mounts volumes, in the order of the depth of their paths.
    ///
    /// # Errors
    /// The first that cannot be mounted and has no `nofail` among its options.
    pub fn mount_volumes(&mut self, volumes: &[Volume]) -> Result<(), Error> {
        let mut sorted: Vec<&Volume> = volumes.iter().collect();
        sorted.sort_by_key(|volume| volume.path.split('/').filter(|name| !name.is_empty()).count());
        sorted.into_iter().try_for_each(|volume| self.volume(volume))
    }

    /// The path inside the root of a program of the image.
    pub(super) fn program(&self, names: &[&str]) -> Result<String, Error> {
        for name in names {
            for folder in FOLDERS {
                let path = format!("{folder}/{name}");
                let found = self.devices.root.target(&path)?;
                if found.is_some_and(|status| status.kind == crate::Kind::File) {
                    return Ok(path);
                }
            }
        }
        let name = names.first().copied().unwrap_or_default();
        Err(Error::NoProgram { program: name.to_owned() })
    }

    /// Runs a program of the image and gives the end of its output.
    pub(super) fn run(&mut self, program: &Program) -> Result<String, Error> {
        let path = self.program(program.names)?;
        let (name, value) = if self.has_udev() { WITH_UDEV } else { WITHOUT_UDEV };
        let environment = [(name.to_owned(), value.to_owned())];
        let finished = self.programs.run(&Invocation {
            program: &path,
            arguments: program.arguments.clone(),
            environment: &environment,
            root: self.devices.root.path(),
        })?;
        match finished.fault {
            None => Ok(finished.output),
            Some(status) => Err(Error::Program { program: path, status, output: finished.output }),
        }
    }

    fn has_udev(&self) -> bool {
        matches!(self.devices.root.target(UDEV), Ok(Some(_)))
    }

    /// Waits until udev has seen what changed. That it is late is told by the device that is missing.
    pub(super) fn settle(&mut self) {
        if self.has_udev() {
            let arguments = vec!["settle".to_owned(), "--timeout=30".to_owned()];
            let _ = self.run(&Program { names: &["udevadm"], arguments });
        }
    }

    /// A path of this process as programs inside the root know it.
    pub(super) fn inside(&self, path: &Path) -> Result<String, Error> {
        let inside = path.strip_prefix(self.devices.root.path()).ok().and_then(Path::to_str);
        inside.map(|inside| format!("/{inside}")).ok_or_else(|| Error::Path {
            path: path.to_string_lossy().into_owned(),
            reason: "it lies outside of the root",
        })
    }

    /// The document that runs.
    pub(super) fn attempt(&mut self, what: &str) -> Result<&mut Attempt, Error> {
        let refused = || Error::NotHere { what: format!("{what} at this moment") };
        self.attempt.as_mut().ok_or_else(refused)
    }

    /// What is open stays, whatever becomes of the document that follows.
    fn keep_open(&mut self) {
        self.lasting = self.open.len();
    }

    /// Takes out what was mounted and opened for a document, the last first. What cannot be taken out is
    /// told.
    fn close_all(&mut self) {
        while self.open.len() > self.lasting
            && let Some(open) = self.open.pop()
        {
            let closed = match &open {
                Open::Folder(path) => {
                    self.remove_folder(path);
                    Ok(())
                }
                Open::Mount(_, real) => self.devices.kernel.detach(real),
                Open::Encrypted(name) => {
                    let arguments = vec!["close".to_owned(), name.clone()];
                    self.run(&Program { names: &["cryptsetup"], arguments }).map(drop)
                }
                Open::Array(name) => {
                    let arguments = vec!["--stop".to_owned(), format!("/dev/md/{name}")];
                    self.run(&Program { names: &["mdadm"], arguments }).map(drop)
                }
            };
            if let Err(error) = closed {
                (self.say)(&error.sentence());
            }
        }
    }

    /// Removes a folder that was made for a mount; one that holds something stays.
    fn remove_folder(&self, path: &str) {
        if let Ok(Some(place)) = self.devices.root.place(path) {
            let flags = rustix::fs::AtFlags::REMOVEDIR;
            let _ = rustix::fs::unlinkat(&place.parent, &place.name, flags);
        }
    }
}

impl Storage for Disks<'_> {
    fn carry_out(&mut self, action: &Action) -> Result<(), Error> {
        match action {
            Action::Disk(disk) => self.disk(disk),
            Action::Raid(raid) => self.raid(raid),
            Action::Luks(luks) => self.luks(luks),
            Action::Filesystem(system) => self.filesystem(system),
            Action::Layout(layout) => self.layout(layout),
            Action::Volume(volume) => self.volume(volume),
            // What was asked for is in force since the file systems were mounted.
            Action::Persistence(_) => Ok(()),
            Action::KernelArguments(arguments) => {
                if self.attempt.is_none() {
                    self.changed |= (self.kernel_arguments)(arguments)?;
                    return Ok(());
                }
                self.wanted.should_exist.extend(arguments.should_exist.iter().cloned());
                self.wanted.should_not_exist.extend(arguments.should_not_exist.iter().cloned());
                Ok(())
            }
            _ => Err(Error::NotHere { what: summary(action) }),
        }
    }

    fn begin(&mut self, hash: &str, actions: &[&Action]) -> Result<(), Refusal> {
        self.keep_open();
        self.wanted = KernelArguments::default();
        self.attempt = Some(Attempt::begin(&self.ledger, hash)?);
        self.check(actions)
    }

    fn finish(&mut self) -> Result<(), Error> {
        if self.wanted != KernelArguments::default() {
            self.changed |= (self.kernel_arguments)(&self.wanted)?;
        }
        let Some(attempt) = &self.attempt else { return Ok(()) };
        if !attempt.opened.is_empty() {
            let mut records = Records::read(self.ledger.folder())?;
            records.documents.retain(|hash, _| self.ledger.is_done(hash));
            records.documents.insert(attempt.hash.clone(), attempt.opened.clone());
            records.write(self.ledger.folder())?;
        }
        self.attempt = None;
        Ok(())
    }

    fn abort(&mut self) {
        self.attempt = None;
        self.wanted = KernelArguments::default();
        self.after_undo();
    }

    fn before_undo(&mut self) -> Result<(), Error> {
        self.keep_open();
        for record in attempt::left_open(&self.ledger)? {
            self.open_for_undo(&record)?;
        }
        Ok(())
    }

    fn after_undo(&mut self) {
        self.close_all();
        // Files that are not undone yet need their mounts at the next try, too.
        let forgotten = match self.ledger.is_cut_off() {
            Ok(false) => attempt::forget_open(&self.ledger),
            Ok(true) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = forgotten {
            (self.say)(&error.sentence());
        }
    }
}

/// A fresh identity.
pub(super) fn fresh() -> Result<Guid, Error> {
    Ok(Guid::from_random(kiln_sys::machine::random()?))
}
