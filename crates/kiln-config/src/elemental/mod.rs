//! The cloud-config of Elemental-toolkit, cOS and yip, and cloud-init's common keys beside it.
//!
//! The dialect has two forks that differ in a few places; [`Fork`] says which one is followed, and the
//! toolkit's is the default because its users have the most files. A key that only yip knows is carried
//! out under both, with a note: passing over a condition in silence would run a step that its author
//! wanted elsewhere. One document gives one [`Plan`]; documents are never merged, later ones run later.
//!
//! A fault in one step never takes another with it, and a step whose condition cannot be read is left
//! out as a whole. Merging the steps of a stage into one list of files, users and commands was dropped:
//! the fixed order holds inside a step only, and people rely on it.

mod accounts;
mod cloud_init;
mod command_line;
mod conditions;
mod encoding;
mod entities;
mod files;
mod keys;
mod labels;
mod mode;
mod mount;
mod network;
mod partitions;
mod password;
mod persistence;
mod scope;
mod services;
mod stages;
mod step;

pub use command_line::{CommandLine, command_line};
pub use keys::{KEYS, KeySupport, Support};
pub use labels::meaning as meaning_of_label;
pub use persistence::{LAYOUT_FILES, layout};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Fields;
use crate::node::Node;
use crate::operation::Plan;
use crate::source::{SourceId, Sources};
use crate::suggest::nearest;
use crate::yaml;
use scope::Scope;

/// Which of the two implementations is followed where they differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fork {
    /// Elemental-toolkit and the fork of yip that it uses.
    #[default]
    Toolkit,
    /// yip itself, as Kairos uses it; chosen by `dialect: yip` at the top of a document.
    Yip,
}

/// Lines in which the header is looked for; yip looks at as many.
const HEADER_LINES: usize = 10;

/// Whether a text begins with `#cloud-config`: only comments and empty lines may stand before it.
#[must_use]
pub fn is_cloud_config(text: &str) -> bool {
    text.split('\n')
        .take(HEADER_LINES)
        .map(str::trim_end)
        .take_while(|line| line.is_empty() || line.starts_with('#'))
        .any(|line| line == "#cloud-config")
}

/// Reads one document. `document` is its place among all documents of its stages.
///
/// All faults go to `out`; what could be read is in the plan, also if there were any.
pub fn read(
    sources: &Sources,
    id: SourceId,
    document: u32,
    fork: Fork,
    out: &mut Diagnostics,
) -> Plan {
    let Some(source) = sources.get(id) else { return Plan::default() };
    match yaml::document(id, &source.text) {
        Ok(node) => lower(&node, is_cloud_config(&source.text), document, fork, out),
        Err(fault) => {
            out.push(fault);
            Plan::default()
        }
    }
}

/// Lowers a tree that was read already. `cloud_config` says whether the text had the header.
pub fn lower(
    node: &Node,
    cloud_config: bool,
    document: u32,
    fork: Fork,
    out: &mut Diagnostics,
) -> Plan {
    lower_in(&mut Scope::new(fork_of(node, fork, out)), node, cloud_config, document, out)
}

fn lower_in(
    scope: &mut Scope,
    node: &Node,
    cloud_config: bool,
    document: u32,
    out: &mut Diagnostics,
) -> Plan {
    let Some(mut fields) = Fields::open(node, "a cloud-config", out) else {
        return Plan::default();
    };
    fields.entry("dialect");
    scope.name = fields.text("name").map(|name| name.value).filter(|name| !name.is_empty());
    let scope = &*scope;
    let mut steps = Vec::new();
    if cloud_config {
        cloud_init::read(&mut fields, scope, &mut steps);
    } else {
        cloud_init::without_header(&mut fields);
    }
    for (stage, list) in scope::entries(&mut fields, "stages") {
        stages::read(stage, list, scope, fields.out(), &mut steps);
    }
    if let Some(mount) = fields.take("mount") {
        steps.extend(mount::step(mount, scope, fields.out()));
    }
    scope.finish(fields);
    stages::plan(steps, document)
}

/// The fork that a document asks for.
fn fork_of(node: &Node, default: Fork, out: &mut Diagnostics) -> Fork {
    let Some(wanted) = node.get("dialect") else { return default };
    match wanted.text() {
        Some("yip") => Fork::Yip,
        Some("toolkit" | "elemental") => Fork::Toolkit,
        other => {
            let name = other.unwrap_or(wanted.kind());
            let diagnostic = Diagnostic::error(
                "unknown-dialect",
                wanted.span,
                format!("`{name}` is no dialect of a cloud-config"),
            );
            let names = ["toolkit", "yip"];
            out.push(match nearest(name, names) {
                Some(name) => diagnostic.hint(format!("did you mean `{name}`?")),
                None => diagnostic.hint("it is `toolkit` or `yip`"),
            });
            default
        }
    }
}

#[cfg(test)]
mod tests;
