//! What can be written and what stays: from everything that a machine's documents ask for to one
//! decision, which the first process carries out.
//!
//! Some documents bring whole lists, each of which takes the place of the one before and of the default;
//! others add paths, which stay beside whatever list holds in the end. A file of Elemental's layout
//! variables, where the stages left one, is what its authors test against, so its lists come last. Asking
//! the plan alone was dropped: commands write that file, too. So was a list that takes added paths along:
//! whoever adds one has data there.
//!
//! A machine that says nothing has [`kiln_etc::mounts::DEFAULT`]. One that brings a list of its own gets
//! what Elemental's first generation would: what is listed, and of what is not, only its own default in
//! memory.

mod environment;

use kiln_config::action::{self, Persistence};
use kiln_config::operation::Moment;
use kiln_config::{Action, Plan, Severity, elemental};
use kiln_etc::mounts::{self, DEFAULT, MemorySize, Mode, MountPath, Mounts, Volume, state_folder};

pub use kiln_config::elemental::LAYOUT_FILES;

/// What is in memory on a machine of Elemental's first generation that has a layout without `RW_PATHS`.
const REFERENCE: [&str; 7] = ["/etc", "/root", "/home", "/opt", "/srv", "/usr/local", "/var"];

/// Decides by all operations before the new root is entered, whatever their conditions, and by the text
/// of the layout files that the stages left ([`LAYOUT_FILES`], in this order, joined by line breaks).
#[must_use]
pub fn decide(plan: &Plan, layout: Option<&str>) -> (Mounts, Vec<String>) {
    let mut wishes = Wishes::default();
    let mut sorted = plan.clone();
    sorted.sort();
    for operation in &sorted.operations {
        if matches!(operation.stage.moment, Moment::PreRootfs | Moment::Rootfs) {
            wishes.add(&operation.action);
        }
    }
    wishes.decide(layout)
}

/// What operations asked for, in the order in which they were carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    persistent: List,
    ephemeral: List,
    memory: Option<String>,
    volumes: Vec<action::Volume>,
    said: Vec<String>,
}

/// Paths, and whether a copy is bound over each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct List {
    /// The last whole list.
    replaced: Option<Vec<(String, bool)>>,
    /// What was added, whenever.
    added: Vec<(String, bool)>,
}

impl Wishes {
    /// Notes an operation; whether it is one of these.
    pub fn add(&mut self, action: &Action) -> bool {
        match action {
            Action::Persistence(layout) => self.persistence(layout),
            Action::Volume(volume) => self.volume(volume.clone()),
            _ => return false,
        }
        true
    }

    /// Whether nobody asked for anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn persistence(&mut self, layout: &Persistence) {
        let persist = layout.persist.iter().map(|path| (path.clone(), layout.bind)).collect();
        let ephemeral = layout.ephemeral.iter().map(|path| (path.clone(), false)).collect();
        self.persistent.take(persist, layout.replace_persist);
        self.ephemeral.take(ephemeral, layout.replace_ephemeral);
        // The variable alone, which a later file may hold, is about the list of before.
        if layout.bind && layout.persist.is_empty() {
            self.persistent.bind();
        }
        if layout.ephemeral_size.is_some() {
            self.memory.clone_from(&layout.ephemeral_size);
        }
    }

    fn volume(&mut self, volume: action::Volume) {
        if let Some(old) = self.volumes.iter().position(|other| other.path == volume.path) {
            let old = self.volumes.remove(old);
            if old.device != volume.device {
                let (path, first, last) = (&volume.path, &old.device, &volume.device);
                self.said
                    .push(format!("`{path}` is `{last}`, and not `{first}` as was said before"));
            }
        }
        self.volumes.push(volume);
    }

    /// The decision, and sentences about what is other than somebody may expect.
    #[must_use]
    pub fn decide(mut self, layout: Option<&str>) -> (Mounts, Vec<String>) {
        let has_file = layout.is_some_and(|text| self.layout_file(text));
        let is_reference = has_file || self.persistent.replaced.is_some();
        // On a machine of Elemental's this volume holds what persists of one folder. Here each such folder
        // has a place of its own in the state, which a whole state bound over it would hide.
        let (own, others): (Vec<_>, Vec<_>) = self.volumes.into_iter().partition(|volume| {
            state_folder(&volume.device) == Some("") && DEFAULT.contains(&volume.path.as_str())
        });
        self.volumes = others;
        self.persistent.added.extend(own.into_iter().map(|volume| (volume.path, false)));
        let mut wanted = mounts::Wishes::default();
        let said = &mut self.said;

        let has_ephemeral = self.ephemeral.replaced.is_some();
        let listed = self.ephemeral.replaced.into_iter().flatten().chain(self.ephemeral.added);
        let goes: Vec<MountPath> =
            listed.filter_map(|(path, _)| checked(&path, "in memory", said)).collect();
        let mut stays: Vec<(MountPath, Mode)> = Vec::new();
        let listed = self.persistent.replaced.into_iter().flatten().chain(self.persistent.added);
        for (path, bind) in listed {
            let mode = if bind { Mode::Bind } else { Mode::Overlay };
            stays.extend(checked(&path, "persistent", said).map(|path| (path, mode)));
        }
        if is_reference {
            wanted.persistent = stays;
        } else {
            // What somebody asks for goes before what nobody asked for.
            let is_said = |path: &MountPath| goes.iter().any(|other| path.is_in(other.as_str()));
            let defaults = paths(&DEFAULT).filter(|path| !is_said(path));
            wanted.persistent = defaults.map(|path| (path, Mode::Overlay)).chain(stays).collect();
        }
        wanted.ephemeral = goes;
        if is_reference && !has_ephemeral {
            wanted.ephemeral.extend(paths(&REFERENCE));
        }
        if let Some(size) = &self.memory {
            wanted.memory = MemorySize::new(size);
            if wanted.memory.is_none() {
                said.push(format!("`{}` is no size of memory", short(size)));
            }
        }
        wanted.volumes = volumes(&self.volumes, said);
        let (mounts, settled) = Mounts::settle(wanted);
        self.said.extend(settled);
        (mounts, self.said)
    }

    /// Takes in what a file of variables says; whether it holds any.
    fn layout_file(&mut self, text: &str) -> bool {
        let variables = environment::parse(text);
        let (actions, diagnostics) = elemental::layout(&variables);
        for diagnostic in diagnostics.list() {
            if diagnostic.severity != Severity::Note {
                self.said.push(diagnostic.message.clone());
            }
        }
        for action in &actions {
            self.add(action);
        }
        !variables.is_empty()
    }
}

impl List {
    fn take(&mut self, paths: Vec<(String, bool)>, replace: bool) {
        if replace {
            self.replaced = Some(paths);
        } else {
            self.added.extend(paths);
        }
    }

    fn bind(&mut self) {
        for (_, bind) in self.replaced.iter_mut().flatten() {
            *bind = true;
        }
    }
}

fn paths(paths: &'static [&'static str]) -> impl Iterator<Item = MountPath> {
    paths.iter().filter_map(|path| MountPath::new(path).ok())
}

fn checked(path: &str, what: &str, said: &mut Vec<String>) -> Option<MountPath> {
    match MountPath::new(path) {
        Ok(path) => Some(path),
        Err(reason) => {
            said.push(format!("`{}` cannot be {what}: {reason}", short(path)));
            None
        }
    }
}

fn volumes(asked: &[action::Volume], said: &mut Vec<String>) -> Vec<Volume> {
    let mut volumes = Vec::new();
    for asked in asked {
        // It is there on every machine.
        if asked.path == "/oem" && state_folder(&asked.device) == Some("oem") {
            continue;
        }
        let Some(path) = checked(&asked.path, "the place of a volume", said) else { continue };
        let options: Vec<&str> = asked.options.iter().map(String::as_str).collect();
        match Volume::new(&asked.device, path, asked.format.as_deref(), &options) {
            Ok(volume) => volumes.push(volume),
            Err(reason) => {
                let (device, path) = (short(&asked.device), &asked.path);
                said.push(format!("the volume `{device}` at `{path}` cannot be mounted: {reason}"));
            }
        }
    }
    volumes
}

/// The beginning of something that may be long.
fn short(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests;
