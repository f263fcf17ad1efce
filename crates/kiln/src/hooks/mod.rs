//! Hooks of documents around an installation, an upgrade, a reset or a deployment from recovery.
//!
//! `kiln-host` says when ([`kiln_host::hooks`]), documents say what, and `kiln-provision` carries it out.
//! Here they meet: which stage runs at which moment, in which root, with which tools and variables. A hook
//! that fails is told of and stops nothing; whatever a hook asks the machine to do with itself is done
//! behind all else ([`tools`]). Where no document has a hook nothing is mounted and no thread started.

mod documents;
pub(crate) mod tools;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_disk::layout::STATE;
use kiln_host::hooks::{self, Hooks, Moment, Pending, Sandbox, StatePlace, Written};
use kiln_host::machine::Paths;
use kiln_provision::{Error, Host, Machine, NoStorage, Outcome, Report, Root};
use kiln_provision::{Surroundings, Web, stages};
use kiln_registry::Options;

use documents::stages_of;
pub(crate) use documents::{Documents, Planned, describe, to_json};
use tools::Power;

use crate::options::machine::MachineArguments;
use crate::render::{self, Failure};

/// Name of this program in the folder for tools.
const PROGRAM: &str = "kiln";
/// What programs find in `PATH` behind the folder with the links.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Carries the hooks of one action out.
#[derive(Debug)]
pub(crate) struct DocumentHooks {
    verb: &'static str,
    documents: Documents,
    paths: Paths,
    /// The disk that is installed to, and whether it is a file.
    target: Option<(String, bool)>,
    quiet: bool,
    has_failed: bool,
    request: Option<Power>,
    /// What is kept only once the action is committed.
    pending: Option<Pending>,
}

impl DocumentHooks {
    /// The hooks of `install`, `upgrade`, `reset` or `deploy`. `files` are documents of the call.
    ///
    /// # Errors
    /// A file of the call cannot be read.
    pub(crate) fn new(
        verb: &'static str,
        machine: &MachineArguments,
        files: &[PathBuf],
        quiet: bool,
    ) -> Result<Self, Failure> {
        let documents = Documents::gather(machine, files)?;
        documents.say_faults(verb);
        let paths = machine.paths();
        Ok(Self {
            verb,
            documents,
            paths,
            target: None,
            quiet,
            has_failed: false,
            request: None,
            pending: None,
        })
    }

    /// Names the disk that is installed to.
    pub(crate) fn installing_to(&mut self, node: &str, is_file: bool) {
        self.target = Some((node.to_owned(), is_file));
    }

    /// What would run.
    pub(crate) fn planned(&self) -> Vec<Planned> {
        self.documents.planned(self.verb)
    }

    /// Whether a hook failed, or could not run.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Does behind all else what a hook or the call asked for. What the call asks for counts.
    ///
    /// # Errors
    /// systemd does not do it.
    pub(crate) fn finish(
        &self,
        machine: &MachineArguments,
        asked: Option<Power>,
    ) -> Result<(), Failure> {
        let Some(power) = asked.or(self.request) else { return Ok(()) };
        let what = match power {
            Power::Restart => "restarts",
            Power::Off => "is switched off",
        };
        if asked.is_none() {
            if let Some((file, true)) = &self.target {
                render::message(&format!(
                    "a hook asked that the machine {what}: not done, {file} is no disk of it"
                ));
                return Ok(());
            }
            render::message(&format!("a hook asked for it: the machine {what} now"));
        }
        match power {
            Power::Restart => machine.restart(),
            Power::Off => machine.power_off(),
        }
    }

    /// Runs stages of one moment. `written` is the new system, if it is there.
    fn moment(&mut self, names: &[String], written: Option<&Written<'_>>) {
        let mut inside = None;
        if let Some(written) = written {
            match hooks::documents(&written.root) {
                Ok(Some(image)) => inside = Some(self.documents.with_image(image)),
                Ok(None) => {}
                Err(error) => self.failed(&sentence(&error), error.hint()),
            }
        }
        let inside = inside.as_ref().unwrap_or(&self.documents);
        let of = |name: &str| if is_inside(name) { inside } else { &self.documents };
        let wanted: Vec<(&str, &Documents)> = names
            .iter()
            .map(|name| (name.as_str(), of(name)))
            .filter(|(name, of)| of.has(name))
            .collect();
        if wanted.is_empty() {
            return;
        }
        if let Some(StatePlace::Formatted) = written.map(|written| &written.state) {
            let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
            let reason = format!(
                "{} cannot run: the next boot makes a new file system, so nothing would be left of \
                 what they write",
                names.join(" and ")
            );
            self.failed(&reason, Some("use the stage boot or network for it".to_owned()));
            return;
        }
        let devices = self.devices(written);
        let session = Session { hooks: self, devices, written };
        // Its mounts are its own and end with it.
        let ended = thread::scope(|scope| {
            let handle = scope.spawn(|| session.run(&wanted));
            handle.join()
        });
        let Ok(ended) = ended else {
            return self.failed("the hooks were cut off", None);
        };
        self.request = self.request.or(ended.request);
        self.pending = ended.pending.or(self.pending.take());
        self.has_failed |= ended.has_failed;
    }

    fn failed(&mut self, reason: &str, hint: Option<String>) {
        self.has_failed = true;
        warn(reason, hint);
    }

    /// Names of the partition with the state, by spaces.
    fn devices(&self, written: Option<&Written<'_>>) -> String {
        let disk = match &self.target {
            // What a hook does before is about the disk as it was.
            Some(_) if written.is_none() => return String::new(),
            Some((_, true)) => return tools::ANY_FIFTH.to_owned(),
            Some((disk, false)) => disk.clone(),
            None => match kiln_host::execute::status(&self.paths) {
                Ok(machine) => machine.disk,
                Err(_) => return String::new(),
            },
        };
        partition(&disk, STATE.number)
    }
}

impl Hooks for DocumentHooks {
    fn run(&mut self, moment: &Moment<'_>) {
        let [before, inside, after, behind] = stages_of(self.verb);
        match moment {
            Moment::Before => self.moment(&[before], None),
            Moment::Written(written) => self.moment(&[inside, after], Some(written)),
            Moment::Committed => {
                if let Some(pending) = self.pending.take()
                    && let Err(error) = pending.keep()
                {
                    self.failed(&sentence(&error), error.hint());
                }
                self.moment(&[behind], None);
            }
        }
    }
}

/// How the hooks of a moment ended.
#[derive(Debug, Default)]
struct Ended {
    has_failed: bool,
    request: Option<Power>,
    pending: Option<Pending>,
}

/// The hooks of one moment, in a thread of their own.
struct Session<'a> {
    hooks: &'a DocumentHooks,
    devices: String,
    written: Option<&'a Written<'a>>,
}

impl Session<'_> {
    fn run(&self, wanted: &[(&str, &Documents)]) -> Ended {
        let mut ended = Ended::default();
        let opened = match self.written {
            Some(written) => Sandbox::open(&self.hooks.paths, written).map(Place::Own),
            // What these mount stays, as for any other stage.
            None => tempfile::tempdir().map(Place::Shared).map_err(failed(&std::env::temp_dir())),
        };
        let mut place = match opened {
            Ok(place) => place,
            Err(error) => {
                let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
                ended.has_failed = true;
                let text = format!("{} cannot run: {}", names.join(" and "), sentence(&error));
                warn(&text, error.hint());
                return ended;
            }
        };
        if let Place::Own(sandbox) = &place {
            sandbox.notes().iter().for_each(|note| self.say(note));
        }
        if let Err(error) = place.furnish() {
            ended.has_failed = true;
            let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
            // Without them `reboot` would end the machine in the middle.
            let text = format!("{} cannot run: {}", names.join(" and "), sentence(&error));
            warn(&text, error.hint());
            return ended;
        }
        for (name, documents) in wanted {
            self.say(&format!("hooks of {name}"));
            match self.stage(name, documents, &place) {
                Ok(reports) => ended.has_failed |= !reports.iter().all(Report::is_good),
                Err(error) => {
                    ended.has_failed = true;
                    warn(&format!("{name} cannot run: {}", error.sentence()), error.hint());
                }
            }
        }
        ended.request = tools::request(&place.tools());
        if let Place::Own(sandbox) = place {
            match sandbox.close() {
                Ok(pending) => ended.pending = pending,
                Err(error) => {
                    ended.has_failed = true;
                    let text = format!("what hooks wrote is not kept: {}", sentence(&error));
                    warn(&text, error.hint());
                }
            }
        }
        ended
    }

    /// Runs one stage in all its rounds.
    fn stage(
        &self,
        name: &str,
        documents: &Documents,
        place: &Place,
    ) -> Result<Vec<Report>, Error> {
        let inside = place.root().filter(|_| is_inside(name));
        let folder = inside.unwrap_or(Path::new("/"));
        let mut random = || kiln_provision::random();
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (mut programs, mut storage) = (Host::default(), NoStorage);
        let mut web = Web::new(Options::from_environment().network);
        let mut say = |line: &str| self.say(line);
        let root = Root::open(folder)?;
        let values = kiln_provision::values(&root, &Machine::default(), random()?)?;
        let mut surroundings = Surroundings {
            root,
            is_running: inside.is_none(),
            kernel: "/proc".into(),
            // Seconds of a day (POSIX.1, seconds since the Epoch).
            today: seconds / 86_400,
            programs: &mut programs,
            fetch: &mut web,
            storage: &mut storage,
            values,
            random: &mut random,
            images: Options::from_environment(),
            ledger: None,
            say: &mut say,
            environment: self.environment(name, place),
        };
        let mut reports = Vec::new();
        for round in stages::rounds(name) {
            for checked in documents.groups() {
                reports.extend(stages::run_stage(&round.to_string(), checked, &mut surroundings));
            }
        }
        for record in reports.iter().flat_map(Report::failures) {
            if let Outcome::Failed { reason, hint } = &record.outcome {
                let text = format!("{}: {}: {reason}", record.place, record.action);
                warn(&text, hint.clone());
            }
        }
        Ok(reports)
    }

    /// Variables of a hook's programs.
    fn environment(&self, name: &str, place: &Place) -> Vec<(String, String)> {
        let is_inside = is_inside(name) && place.root().is_some();
        let tools = if is_inside { Sandbox::tools_inside() } else { place.tools() };
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut variables = vec![
            ("PATH".to_owned(), format!("{}:{PATH}", text(&tools.join(tools::LINKS)))),
            (tools::FOLDER.to_owned(), text(&tools)),
            ("KILN_STAGE".to_owned(), name.to_owned()),
        ];
        if let Some((disk, _)) = &self.hooks.target {
            variables.push(("KILN_TARGET".to_owned(), disk.clone()));
            // The name under which Elemental's own settings have it.
            variables.push(("ELEMENTAL_INSTALL_TARGET".to_owned(), disk.clone()));
        }
        if let Some(written) = self.written {
            variables.push(("KILN_RELEASE".to_owned(), written.root_hash.to_owned()));
            variables.push(("KILN_VERSION".to_owned(), written.version.to_owned()));
        }
        let (root, state) = match is_inside {
            true => (Some(PathBuf::from("/")), place.state().map(|_| Sandbox::state_inside())),
            false => (place.root().map(Path::to_owned), place.state().map(Path::to_owned)),
        };
        let var =
            if is_inside { Some(PathBuf::from("/var")) } else { place.var().map(Path::to_owned) };
        for (name, path) in [("KILN_ROOT", root), (tools::STATE, state), (tools::VAR, var)] {
            variables.extend(path.map(|path| (name.to_owned(), text(&path))));
        }
        variables.push((tools::DEVICES.to_owned(), self.devices.clone()));
        variables
    }

    fn say(&self, line: &str) {
        if !self.hooks.quiet {
            render::message(line);
        }
    }
}

/// Where hooks run.
enum Place {
    /// With mounts of their own.
    Own(Sandbox),
    /// With those of the running system.
    Shared(tempfile::TempDir),
}

impl Place {
    /// Lays the tools down.
    fn furnish(&mut self) -> Result<(), kiln_host::Error> {
        let own = std::env::current_exe().map_err(failed(Path::new(PROGRAM)))?;
        match self {
            Self::Own(sandbox) => sandbox.show_program(&own, PROGRAM)?,
            Self::Shared(folder) => {
                let link = folder.path().join(PROGRAM);
                symlink(&own, &link).map_err(failed(&link))?;
            }
        }
        let links = self.tools().join(tools::LINKS);
        std::fs::create_dir_all(&links).map_err(failed(&links))?;
        let target = Path::new("..").join(PROGRAM);
        for name in tools::NAMES {
            symlink(&target, links.join(name)).map_err(failed(&links))?;
        }
        Ok(())
    }

    fn tools(&self) -> PathBuf {
        match self {
            Self::Own(sandbox) => sandbox.tools(),
            Self::Shared(folder) => folder.path().to_owned(),
        }
    }

    fn root(&self) -> Option<&Path> {
        match self {
            Self::Own(sandbox) => sandbox.root(),
            Self::Shared(_) => None,
        }
    }

    fn state(&self) -> Option<&Path> {
        match self {
            Self::Own(sandbox) => sandbox.state(),
            Self::Shared(_) => None,
        }
    }

    fn var(&self) -> Option<&Path> {
        match self {
            Self::Own(sandbox) => sandbox.var(),
            Self::Shared(_) => None,
        }
    }
}

/// The adapter for `map_err` on calls about tools.
fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> kiln_host::Error + use<> {
    let path = path.to_owned();
    move |source| kiln_host::Error::File { action: "lay down", path, source }
}

/// Whether a stage runs in the new root.
fn is_inside(name: &str) -> bool {
    name.ends_with("-chroot")
}

/// The kernel's name of a partition.
fn partition(disk: &str, number: u32) -> String {
    let joint = if disk.ends_with(|letter: char| letter.is_ascii_digit()) { "p" } else { "" };
    format!("{disk}{joint}{number}")
}

/// Message and causes in one line.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Transparent wrappers say the same words twice.
        if !text.ends_with(&said) {
            text.push_str(&format!(": {said}"));
        }
        cause = error.source();
    }
    text
}

fn warn(text: &str, hint: Option<String>) {
    let hint = hint.map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
    render::warning(&format!("{text}{hint}"));
}

#[cfg(test)]
mod tests {
    use super::{is_inside, partition};

    #[test]
    fn partitions_are_named_as_the_kernel_does() {
        for (disk, expected) in [
            ("/dev/sda", "/dev/sda5"),
            ("/dev/nvme0n1", "/dev/nvme0n1p5"),
            ("/dev/mmcblk0", "/dev/mmcblk0p5"),
        ] {
            assert_eq!(partition(disk, 5), expected);
        }
        assert!(is_inside("after-install-chroot") && !is_inside("after-install"));
    }
}
