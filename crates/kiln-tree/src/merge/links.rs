//! Hard links whose target is in a lower layer.
//!
//! Such a link gets a stand-in node. Each lower layer, once it is put together, is asked for the target: the first that has it
//! gives the node, the first that covers or removes it makes the link fail. Failure is told only at the end and only if the link
//! can be seen, as nobody misses what upper layers hide.

use std::collections::HashMap;

use crate::error::{Error, show};
use crate::merge::LayerMerge;
use crate::merge::layer::Layer;
use crate::metadata::Metadata;
use crate::path::components;
use crate::tree::{Kind, Node, NodeId, Tree};

/// A hard link that waits for its target.
#[derive(Debug)]
pub(super) struct PendingLink {
    layer: usize,
    path: Vec<u8>,
    target: Vec<u8>,
    /// Why it will never be found.
    failure: Option<&'static str>,
}

/// What one layer says about a target.
enum Answer {
    Found(NodeId),
    Failed(&'static str),
    Unknown,
}

impl LayerMerge<'_> {
    /// A stand-in for the target of a link of the current layer.
    pub(super) fn pending_link(&mut self, path: &[u8], target: Vec<u8>) -> NodeId {
        let id = self.tree.add(Node { kind: Kind::Fifo, metadata: Metadata::file() });
        self.pending_targets.insert(target.clone());
        let link =
            PendingLink { layer: self.current(), path: path.to_vec(), target, failure: None };
        self.pending.insert(id, link);
        id
    }

    /// Asks the current layer for the targets of links of the layers above it.
    pub(super) fn resolve_pending(&mut self, layer: &mut Layer) {
        let current = self.current();
        let mut found = Vec::new();
        for (id, link) in &mut self.pending {
            if link.layer == current || link.failure.is_some() {
                continue;
            }
            match ask(&self.tree, layer, &link.target) {
                Answer::Found(node) => found.push((*id, node)),
                Answer::Failed(reason) => link.failure = Some(reason),
                Answer::Unknown => {}
            }
        }
        for (id, node) in found {
            self.pending.remove(&id);
            self.aliases.insert(id, node);
            layer.want(node);
        }
        // Targets found or lost are no longer awaited; contents of still lower layers must not be stored for them.
        self.pending_targets = self
            .pending
            .values()
            .filter(|link| link.failure.is_none())
            .map(|link| link.target.clone())
            .collect();
    }

    /// Makes aliases direct, and an error of the first link that can be seen and leads to nothing.
    pub(super) fn settle_links(&mut self) -> Result<(), Error> {
        let settled: HashMap<NodeId, NodeId> =
            self.aliases.keys().map(|id| (*id, self.settled(*id))).collect();
        self.aliases = settled;
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut lost: Option<NodeId> = None;
        self.tree.link_visits(|_, child| {
            let child = self.aliases.get(&child).copied().unwrap_or(child);
            if self.pending.contains_key(&child) && lost.is_none_or(|first| child < first) {
                lost = Some(child);
            }
        });
        match lost.and_then(|id| self.pending.get(&id)) {
            None => Ok(()),
            Some(link) => Err(Error::Link {
                layer: self.layer_name(link.layer).into(),
                path: show(&link.path),
                target: show(&link.target),
                reason: link.failure.unwrap_or("which neither its layer nor a lower one has"),
            }),
        }
    }

    /// Follows stand-ins to the last node; ends because every step leads to a lower layer.
    fn settled(&self, mut id: NodeId) -> NodeId {
        while let Some(next) = self.aliases.get(&id) {
            id = *next;
        }
        id
    }
}

fn ask(tree: &Tree, layer: &Layer, target: &[u8]) -> Answer {
    let mut here = layer.root;
    for name in components(target) {
        let Some(children) = tree.children(here) else {
            return Answer::Failed("which is below something that is not a directory");
        };
        match children.get(name) {
            Some(id) => here = *id,
            None if layer.hidden.hides(target) => {
                return Answer::Failed("which a lower layer removes");
            }
            None => return Answer::Unknown,
        }
    }
    if tree.node(here).is_directory() {
        Answer::Failed("which is a directory")
    } else {
        Answer::Found(here)
    }
}

impl Tree {
    /// Replaces stand-ins by their targets and drops nodes that no directory names, in place.
    pub(super) fn compact(&mut self, aliases: &HashMap<NodeId, NodeId>) {
        let mut kept = vec![false; self.nodes.len()];
        kept[NodeId::ROOT.index()] = true;
        self.link_visits(|_, child| {
            let child = aliases.get(&child).copied().unwrap_or(child);
            kept[child.index()] = true;
        });
        let mut numbers = vec![NodeId::ROOT; self.nodes.len()];
        let kept_numbers = numbers.iter_mut().zip(&kept).filter(|(_, kept)| **kept);
        for (next, (number, _)) in (0..).zip(kept_numbers) {
            *number = NodeId(next);
        }
        let mut position = 0;
        self.nodes.retain(|_| {
            position += 1;
            kept[position - 1]
        });
        self.nodes.shrink_to_fit();
        for node in &mut self.nodes {
            if let Kind::Directory(children) = &mut node.kind {
                for child in children.values_mut() {
                    let target = aliases.get(child).copied().unwrap_or(*child);
                    *child = numbers[target.index()];
                }
            }
        }
    }
}
