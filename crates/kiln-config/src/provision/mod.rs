//! Kiln's own YAML: `apiVersion: kiln.dev/v1alpha1`, `kind: Provision`.
//!
//! The smallest and clearest of the dialects: one document says what a machine is, each thing under its
//! name, and whatever is unknown is an error. Several documents are merged before they are read (see
//! `merge`); when what is carried out stands in `order`. It is also the form in which any plan can be
//! written ([`write`]), since what the sections cannot say stands under `operations`.
//!
//! It must never need a second way to say the same thing: where an older dialect has five keys, there is one
//! here.

mod contents;
mod contradictions;
mod disks;
mod document;
mod kubernetes;
mod merge;
mod network;
mod operations;
mod order;
mod records;
mod shape;
mod tree;
mod write;

use crate::diagnostic::Diagnostics;
use crate::node::Node;
use crate::operation::{Operation, Plan};
use crate::provision::tree::Tree;
use crate::source::{SourceId, Sources};
use crate::yaml;

/// The version of the form.
pub const API_VERSION: &str = "kiln.dev/v1alpha1";
/// The kind of a document.
pub const KIND: &str = "Provision";
/// Where the JSON Schema says that it is to be found.
const SCHEMA_ID: &str = "https://kiln.dev/schema/provision.v1alpha1.json";

/// Whether a document says that it is one of these.
#[must_use]
pub fn is_provision(node: &Node) -> bool {
    node.get("kind").and_then(Node::text) == Some(KIND)
        || node
            .get("apiVersion")
            .and_then(Node::text)
            .is_some_and(|text| text.starts_with("kiln.dev/"))
}

/// Reads texts, each of which may hold several documents; all are merged in order, later ones win key by
/// key. `document` is the number that the operations get.
pub fn read(sources: &Sources, ids: &[SourceId], document: u32, out: &mut Diagnostics) -> Plan {
    let mut all = Vec::new();
    for &id in ids {
        let Some(source) = sources.get(id) else { continue };
        match yaml::documents(id, &source.text) {
            Ok(nodes) => all.extend(nodes),
            Err(fault) => out.push(fault),
        }
    }
    lower(all, document, out)
}

/// The same of trees that were read already.
pub fn lower(nodes: Vec<Node>, document: u32, out: &mut Diagnostics) -> Plan {
    match nodes.into_iter().reduce(merge::merge) {
        Some(node) => document::read(&node, document, out),
        None => Plan::default(),
    }
}

/// Writes a plan of any dialect as one document. Reading it gives the same plan but for its places.
#[must_use]
pub fn write(plan: &Plan) -> String {
    write::write(plan).yaml()
}

/// One operation in the words of `operations`, for programs.
#[must_use]
pub fn describe(operation: &Operation) -> serde_json::Value {
    // A tree has string keys only, which is all that can fail here.
    serde_json::to_value(operations::write(operation)).unwrap_or_default()
}

/// What an operation does: its key and its value in the words of `operations`.
#[must_use]
pub fn action_name(operation: &Operation) -> &'static str {
    operations::write_action(&operation.action).0
}

/// The JSON Schema (draft 2020-12) of a document, as it stands in the reference.
#[must_use]
pub fn schema() -> String {
    let mut entries = vec![
        ("$schema".to_owned(), Tree::text("https://json-schema.org/draft/2020-12/schema")),
        ("$id".to_owned(), Tree::text(SCHEMA_ID)),
        ("title".to_owned(), Tree::text("Provision")),
    ];
    entries.extend(document::schema().entries());
    let text = serde_json::to_string_pretty(&Tree::Map(entries));
    text.unwrap_or_default() + "\n"
}
