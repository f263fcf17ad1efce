//! Configs of Ignition among the documents: those that they name are fetched or left out, all are merged.
//!
//! Several configs that are given side by side are merged as `config.merge` would, the later one as the
//! child: that is what Ignition does with the configs of an image and of its user. Without a way to
//! fetch (a laptop) what stands behind an address is left out, with a note; what stands in
//! the document itself (`data:`) is read all the same.

use crate::butane;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::ignition::nested::Fetch;
use crate::ignition::translate::{self, Mounts};
use crate::ignition::{self, Config, config::Resource, url};
use crate::node::Node;
use crate::operation::Plan;
use crate::source::{SourceId, Sources};

/// One of the configs: its text, and its tree where it was read already.
pub(super) struct Given<'node> {
    pub(super) id: SourceId,
    pub(super) node: Option<&'node Node>,
}

/// Reads, resolves, merges and lowers configs in their order.
pub(super) fn plan(
    given: &[Given<'_>],
    sources: &mut Sources,
    document: u32,
    mut fetch: Option<&mut Fetch<'_>>,
    out: &mut Diagnostics,
) -> Plan {
    let mut found = Diagnostics::default();
    let mut merged: Option<Config> = None;
    for one in given {
        let config = match one.node {
            Some(node) => of_node(node, &mut found),
            None => butane::any(sources, one.id, &Mounts::new(), None, &mut found),
        };
        let Some(config) = config else { continue };
        let config = match &mut fetch {
            Some(fetch) => {
                let mut read = |sources: &Sources, id: SourceId, out: &mut Diagnostics| {
                    butane::any(sources, id, &Mounts::new(), None, out)
                };
                ignition::resolve(config, sources, &mut read, *fetch, &mut found)
            }
            None => alone(config, sources, &mut found),
        };
        merged = match (merged, config) {
            (Some(parent), Some(child)) => {
                let config = ignition::merge(parent, child, &mut found);
                let mut again = Diagnostics::default();
                ignition::validate(&config, &mut again);
                push_new(again, &mut found);
                Some(config)
            }
            (parent, child) => child.or(parent),
        };
    }
    let plan = match merged {
        Some(config) if !found.has_errors() => ignition::lower(&config, document, &mut found),
        _ => Plan::default(),
    };
    out.extend(found);
    plan
}

fn of_node(node: &Node, out: &mut Diagnostics) -> Option<Config> {
    if butane::applies(node) {
        butane::read(node, None, out)
    } else if translate::applies(node) {
        translate::read(node, &Mounts::new(), out)
    } else {
        ignition::read::node(node, out)
    }
}

/// Resolves a config without fetching anything.
fn alone(mut config: Config, sources: &mut Sources, out: &mut Diagnostics) -> Option<Config> {
    // Checked with all references, of which only some are left below.
    ignition::validate(&config, out);
    leave_out(&mut config, out);
    let mut read = |sources: &Sources, id: SourceId, out: &mut Diagnostics| {
        let mut config = butane::any(sources, id, &Mounts::new(), None, out)?;
        leave_out(&mut config, out);
        Some(config)
    };
    let mut fetch: Box<Fetch<'_>> = Box::new(|_, _| Err("nothing is fetched here".to_owned()));
    let mut found = Diagnostics::default();
    let resolved = ignition::resolve(config, sources, &mut read, &mut *fetch, &mut found);
    push_new(found, out);
    resolved
}

/// Takes out of a config what would have to be fetched, and says so.
fn leave_out(config: &mut Config, out: &mut Diagnostics) {
    let mut is_here = |resource: &Resource, what: &str| {
        let Some(source) = &resource.source else { return true };
        if matches!(url::scheme(&source.value).as_deref(), Some("data") | None) {
            return true;
        }
        let message =
            format!("`{}` is {what}, and is not looked at here", url::shown(&source.value));
        out.push(Diagnostic::note("not-fetched", source.span, message));
        false
    };
    let own = &mut config.ignition;
    own.merge.retain(|resource| is_here(resource, "merged by the machine"));
    own.certificate_authorities.retain(|resource| is_here(resource, "fetched by the machine"));
    if own
        .replace
        .as_ref()
        .is_some_and(|resource| !is_here(resource, "what the machine takes instead of this config"))
    {
        own.replace = None;
    }
}

/// Takes in what was not said before.
fn push_new(found: Diagnostics, out: &mut Diagnostics) {
    for diagnostic in found.list() {
        if !out.list().contains(diagnostic) {
            out.push(diagnostic.clone());
        }
    }
}
