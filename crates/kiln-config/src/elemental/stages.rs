//! Stages: lists of steps, the order among steps, and their numbers in the plan.
//!
//! Steps run in the order of the text. A step with `after` waits for the steps that it names and for
//! nothing else, so it may stand in front of them. The forks build a graph in which each step without
//! `after` also waits for its predecessor and therefore refuse such files as circular; here the order of
//! the text is a wish that gives way, and only what `after` itself makes circular is refused.

use std::collections::{BTreeMap, BTreeSet};

use super::scope::Scope;
use super::step::{self, Step};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::wrong_kind;
use crate::node::{Key, Node};
use crate::operation::{Failure, Moment, Operation, Plan, Stage};
use crate::suggest::nearest;

/// Actions around which hooks run; `deploy` is the name of the first generation for `install`.
const ACTIONS: [&str; 5] = ["install", "upgrade", "reset", "disk", "deploy"];
/// Forms of the hooks' names.
const HOOKS: [(&str, &str); 5] =
    [("before-", ""), ("before-", "-chroot"), ("after-", "-chroot"), ("after-", ""), ("post-", "")];

/// Names of all stages that something runs by itself, without `.before` and `.after`.
pub(super) fn names() -> Vec<String> {
    let moments = ["pre-rootfs", "rootfs", "initramfs", "fs", "boot", "network", "reconcile"];
    let hooks =
        ACTIONS.iter().flat_map(|action| HOOKS.map(|(start, end)| format!("{start}{action}{end}")));
    moments.into_iter().map(str::to_owned).chain(hooks).collect()
}

/// Reads the steps of one stage.
pub(super) fn read(
    name: &Key,
    list: &Node,
    scope: &Scope,
    out: &mut Diagnostics,
    steps: &mut Vec<(Stage, Step)>,
) {
    let stage = Stage::named(&name.text);
    if let Moment::Hook(hook) = &stage.moment {
        let known = names();
        if !known.contains(hook) {
            let message =
                format!("no moment of a machine is called `{}`, nothing runs it", name.text);
            let diagnostic = Diagnostic::warning("unknown-stage", name.span, message);
            out.push(match nearest(hook, known.iter().map(String::as_str)) {
                Some(known) => diagnostic.hint(format!("did you mean `{known}`?")),
                None => diagnostic.hint("it runs only when somebody runs that stage by its name"),
            });
        }
    }
    if list.is_null() {
        return;
    }
    let Some(list) = list.list() else {
        out.push(wrong_kind(list, &name.text, "a list of steps"));
        return;
    };
    let mut read: Vec<Step> = Vec::with_capacity(list.len());
    read.extend(list.iter().filter_map(|node| step::read(node, scope, out)));
    steps.reserve(read.len());
    for step in ordered(read, scope.name.as_deref(), out) {
        steps.push((stage.clone(), step));
    }
}

/// Brings the steps of one stage into the order in which they run. `document` is the document's own name.
fn ordered(steps: Vec<Step>, document: Option<&str>, out: &mut Diagnostics) -> Vec<Step> {
    if steps.iter().all(|step| step.after.is_empty()) {
        return steps;
    }
    let mut waits: Vec<BTreeSet<usize>> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let mut all = BTreeSet::new();
        for after in &step.after {
            let found: Vec<usize> = (0..steps.len())
                .filter(|other| *other != index && answers(&steps, *other, document, &after.value))
                .collect();
            if found.is_empty() {
                let message = format!("no other step of this stage is called `{}`", after.value);
                let names = steps.iter().filter_map(|step| step.name.as_deref());
                let diagnostic = Diagnostic::warning("unknown-step", after.span, message);
                out.push(match nearest(&after.value, names) {
                    Some(name) => diagnostic.hint(format!("did you mean `{name}`?")),
                    None => diagnostic.hint(match document {
                        Some(document) => format!(
                            "`after` reaches steps of the same stage and file, as `STEP` or `{document}.STEP`"
                        ),
                        None => "`after` reaches steps of the same stage and file".to_owned(),
                    }),
                });
            }
            all.extend(found);
        }
        waits.push(all);
    }
    let mut order: Vec<usize> = Vec::new();
    let mut left: BTreeSet<usize> = (0..steps.len()).collect();
    while let Some(first) = left.first().copied() {
        let ready = left.iter().copied().find(|index| {
            waits.get(*index).is_none_or(|waits| waits.iter().all(|other| !left.contains(other)))
        });
        let next = ready.unwrap_or_else(|| {
            circular(steps.get(first), out);
            first
        });
        left.remove(&next);
        order.push(next);
    }
    let mut places = vec![0; order.len()];
    for (place, index) in order.into_iter().enumerate() {
        if let Some(slot) = places.get_mut(index) {
            *slot = place;
        }
    }
    let mut sorted: Vec<(usize, Step)> = places.into_iter().zip(steps).collect();
    sorted.sort_by_key(|(place, _)| *place);
    sorted.into_iter().map(|(_, step)| step).collect()
}

fn circular(step: Option<&Step>, out: &mut Diagnostics) {
    let Some((step, after)) = step.and_then(|step| Some((step, step.after.first()?))) else {
        return;
    };
    let name = step.name.as_deref().unwrap_or("a step");
    let message = format!("`{name}` waits for `{}`, which waits for it in turn", after.value);
    out.push(
        Diagnostic::error("circular-steps", after.span, message).hint("remove one of the `after`"),
    );
}

/// Whether a step is meant by a name: its own, its number where it has none or shares it, each perhaps
/// with the name of the document in front, as both forks build them. A document without a name is called by
/// its path on the machine, which is not known where it is written: then anything may stand in front.
fn answers(steps: &[Step], index: usize, document: Option<&str>, wanted: &str) -> bool {
    let own = steps.get(index).and_then(|step| step.name.as_deref()).unwrap_or_default();
    let matches = |name: &str| {
        let front = wanted.strip_suffix(name).and_then(|front| front.strip_suffix('.'));
        wanted == name || front.is_some_and(|front| document.is_none_or(|known| known == front))
    };
    let number = index.to_string();
    if own.is_empty() {
        matches(&number)
    } else {
        matches(own) || matches(&format!("{own}.{number}"))
    }
}

/// Numbers the steps of each stage and brings all into the order in which they are carried out.
pub(super) fn plan(steps: Vec<(Stage, Step)>, document: u32) -> Plan {
    let mut numbers: BTreeMap<Stage, u32> = BTreeMap::new();
    let count = steps.iter().map(|(_, step)| step.actions.len()).sum();
    let mut plan = Plan { operations: Vec::with_capacity(count) };
    for (stage, step) in steps {
        let number = numbers.entry(stage.clone()).or_default();
        for ranked in step.actions {
            plan.operations.push(Operation {
                stage: stage.clone(),
                document,
                step: *number,
                name: step.name.clone(),
                rank: ranked.rank as u32,
                failure: Failure::Continue,
                conditions: step.conditions.clone(),
                origin: ranked.origin,
                action: ranked.action,
            });
        }
        *number = number.saturating_add(1);
    }
    plan.sort();
    plan
}
