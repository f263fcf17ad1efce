//! What a dialect claims for itself: paths, users, groups, units, disks.
//!
//! Inside a dialect its own rules say what holds when something is named twice. Between dialects there
//! is no such rule, and an order that nobody wrote down would decide; so it is refused, with both
//! places. Asking for exactly the same thing twice is no contradiction.

use std::collections::BTreeMap;

use crate::action::{Action, SystemctlVerb};
use crate::check::Dialect;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::operation::{Operation, Plan, Text};
use crate::source::SourceId;

/// What an operation claims, in words and by name; the first word is the kind.
fn claims(action: &Action) -> Vec<(&'static str, &str)> {
    let path = |text: &'_ Text| match text {
        Text::Plain(_) => Some("path"),
        Text::Template(_) => None,
    };
    match action {
        Action::Directory(it) => {
            path(&it.path).map(|kind| (kind, it.path.written())).into_iter().collect()
        }
        Action::File(it) => {
            path(&it.path).map(|kind| (kind, it.path.written())).into_iter().collect()
        }
        Action::Link(it) => vec![("path", &it.path)],
        Action::Hostname(_) => vec![("path", "/etc/hostname")],
        Action::User(it) => vec![("user", &it.name)],
        Action::Group(it) => vec![("group", &it.name)],
        Action::Unit(it) => vec![("unit", &it.name)],
        Action::Systemctl(it) if it.verb != SystemctlVerb::Start => {
            vec![("unit", it.unit.written())]
        }
        Action::Disk(it) => vec![("disk", &it.device)],
        Action::Filesystem(it) => vec![("disk", &it.device)],
        Action::Luks(it) => vec![("disk", &it.device)],
        Action::Raid(it) => it.devices.iter().map(|device| ("disk", device.as_str())).collect(),
        Action::Layout(it) => it.path.iter().map(|path| ("disk", path.written())).collect(),
        _ => Vec::new(),
    }
}

/// Says what two dialects claim; `dialect_of` tells to which a document belongs.
pub(crate) fn check(
    plan: &Plan,
    dialect_of: impl Fn(SourceId) -> Option<Dialect>,
    out: &mut Diagnostics,
) {
    let family_of =
        |operation: &Operation| dialect_of(operation.origin.source).map(Dialect::family);
    let mut all = plan.operations.iter().filter_map(family_of);
    let first = all.next();
    if all.all(|family| Some(family) == first) {
        return;
    }
    let mut first: BTreeMap<(&str, &str), (Dialect, &Operation)> = BTreeMap::new();
    for operation in &plan.operations {
        let Some(dialect) = family_of(operation) else { continue };
        for claim in claims(&operation.action) {
            let Some((other, earlier)) = first.get(&claim) else {
                first.insert(claim, (dialect, operation));
                continue;
            };
            if *other == dialect || earlier.action == operation.action {
                continue;
            }
            let (kind, name) = claim;
            // The order of the plan is not that of the documents.
            let mut both = [(*other, earlier.origin), (dialect, operation.origin)];
            both.sort_by_key(|(_, span)| *span);
            let [(one, first), (two, second)] = both;
            let message =
                format!("the {kind} `{name}` is claimed by {} and by {}", one.title(), two.title());
            let fault = Diagnostic::error("claimed-twice", second, message)
                .label(first, format!("{} claims it here", one.title()))
                .hint("leave it to one of the two");
            out.push(fault);
        }
    }
}
