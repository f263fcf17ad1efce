//! What documents say is to be done around an action.
//!
//! The machine's own documents are those that `kiln stage` reads, and behind them those that a call brings
//! with `--config`. In a new root the image's own documents are the new image's; the owner's are the same.

use std::path::PathBuf;

use kiln_config::check::{Checked, Input, check};
use kiln_config::{Plan, Stage};
use kiln_host::hooks;
use kiln_provision::Web;
use kiln_provision::sources::Policy;
use kiln_provision::{Root, stages};
use kiln_registry::Options;
use serde_json::{Value, json};

use crate::commands::stage::is_sealed;
use crate::commands::validate;
use crate::options::documents::check_files;
use crate::options::machine::MachineArguments;
use crate::render::{self, Failure};

/// The stages around an action `X`, in their order: `before-X` and so on.
pub(super) fn stages_of(verb: &str) -> [String; 4] {
    [
        format!("before-{verb}"),
        format!("after-{verb}-chroot"),
        format!("after-{verb}"),
        format!("post-{verb}"),
    ]
}

/// Checked documents, in groups in which operations were put into their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Documents {
    groups: Vec<Checked>,
}

impl Documents {
    /// Reads the machine's documents and further files. What cannot be read of the former is no reason
    /// not to install or upgrade.
    ///
    /// # Errors
    /// A file of the call cannot be read.
    pub(crate) fn gather(machine: &MachineArguments, files: &[PathBuf]) -> Result<Self, Failure> {
        let mut groups = Vec::new();
        // A folder that stands for a machine, and is none yet, has no documents.
        if machine.folder().is_dir() {
            let root = Root::open(machine.folder())?;
            let policy = Policy::read(&root, is_sealed(machine), true);
            let mut web = Web::new(Options::from_environment().network);
            let line = stages::kernel_command_line()?;
            groups.push(stages::gather(&root, &line, &policy, &mut web).checked);
        }
        if !files.is_empty() {
            groups.push(check_files(files, None)?);
        }
        Ok(Self { groups })
    }

    /// The same, with the image's own documents exchanged for those of a new root.
    pub(super) fn with_image(&self, image: Vec<hooks::Document>) -> Self {
        let inputs = image.into_iter().map(|(name, bytes)| Input { name, bytes }).collect();
        let mut groups = vec![check(inputs, None)];
        groups.extend(self.groups.iter().cloned().map(|mut checked| {
            let Checked { sources, plan: Plan { operations, .. }, .. } = &mut checked;
            let of_image = format!("{}/", hooks::FOLDER);
            operations.retain(|one| !sources.place(one.origin).source.starts_with(&of_image));
            checked
        }));
        Self { groups }
    }

    /// The groups.
    pub(super) fn groups(&self) -> &[Checked] {
        &self.groups
    }

    /// Whether a stage has something to do, in any of its rounds.
    pub(super) fn has(&self, name: &str) -> bool {
        stages::rounds(name).iter().any(|stage| self.operations(stage) > 0)
    }

    fn operations(&self, stage: &Stage) -> usize {
        self.groups.iter().map(|checked| checked.plan.stage(stage).count()).sum()
    }

    /// Says what is wrong with the documents, where hooks of an action are in them.
    pub(super) fn say_faults(&self, verb: &str) {
        for checked in &self.groups {
            let is_concerned = stages_of(verb)
                .iter()
                .flat_map(|name| stages::rounds(name))
                .any(|stage| checked.plan.stage(&stage).next().is_some());
            if is_concerned && checked.diagnostics.has_errors() {
                render::message(validate::text(checked, render::is_coloured()).trim_end());
            }
        }
    }

    /// What would run around an action.
    pub(crate) fn planned(&self, verb: &str) -> Vec<Planned> {
        let mut planned = Vec::new();
        for stage in stages_of(verb).iter().flat_map(|name| stages::rounds(name)) {
            for checked in &self.groups {
                planned.extend(checked.plan.stage(&stage).map(|operation| Planned {
                    stage: stage.to_string(),
                    action: kiln_provision::summary(&operation.action),
                    place: checked.sources.place(operation.origin).to_string(),
                }));
            }
        }
        planned
    }
}

/// One thing that a hook would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    stage: String,
    action: String,
    place: String,
}

/// What would run, for people: nothing where there is nothing.
pub(crate) fn describe(planned: &[Planned]) -> String {
    if planned.is_empty() {
        return String::new();
    }
    let lines = planned.iter().map(|one| {
        let Planned { stage, action, place } = one;
        format!("  {stage}: {action} ({place})\n")
    });
    format!("\nhooks:\n{}", lines.collect::<String>())
}

/// What would run, as JSON.
pub(crate) fn to_json(planned: &[Planned]) -> Value {
    let list = planned
        .iter()
        .map(|one| json!({ "stage": one.stage, "action": one.action, "place": one.place }));
    Value::Array(list.collect())
}
