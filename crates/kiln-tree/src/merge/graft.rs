//! Hanging a finished layer beneath the layers above it.
//!
//! Whole subtrees that the upper layers say nothing about are moved by one map entry. Only directories that both have are walked.

use crate::error::{Error, show};
use crate::merge::LayerMerge;
use crate::merge::layer::{Layer, obstacle};
use crate::path::join;
use crate::tree::{Children, Kind, Node, NodeId};

/// A directory of the merged tree, the layer's directory for the same path, and that path.
struct Pair {
    merged: NodeId,
    lower: NodeId,
    path: Vec<u8>,
}

impl LayerMerge<'_> {
    pub(super) fn graft(&mut self, layer: Layer) -> Result<(), Error> {
        let mut below = layer.hidden;
        self.adopt_metadata(NodeId::ROOT, layer.root);
        let mut open = vec![Pair { merged: NodeId::ROOT, lower: layer.root, path: Vec::new() }];
        while let Some(Pair { merged, lower, path }) = open.pop() {
            let children = self.take_children(lower);
            if self.hidden.is_opaque(&path) {
                continue;
            }
            for (name, id) in children {
                let child_path = join(&path, &name);
                if self.hidden.is_whiteout(&child_path) {
                    continue;
                }
                let is_directory = self.tree.node(id).is_directory();
                let present =
                    self.tree.children(merged).and_then(|children| children.get(&name).copied());
                match present {
                    Some(upper) if !self.tree.node(upper).is_directory() => {}
                    Some(upper) if is_directory => {
                        self.adopt_metadata(upper, id);
                        open.push(Pair { merged: upper, lower: id, path: child_path });
                    }
                    Some(upper) => {
                        self.check_described(upper, id, &child_path)?;
                        // What still lower layers have there, this layer's file covers, and the upper directory covers that.
                        below.make_opaque(child_path);
                    }
                    None if is_directory && self.hidden.concerns(&child_path) => {
                        let copy = self.copy_directory(id);
                        self.tree.attach(merged, &name, copy);
                        open.push(Pair { merged: copy, lower: id, path: child_path });
                    }
                    None => self.tree.attach(merged, &name, id),
                }
            }
        }
        self.hidden.absorb(below);
        Ok(())
    }

    /// A directory that upper layers only implied gets its metadata from the first layer that describes it.
    fn adopt_metadata(&mut self, merged: NodeId, lower: NodeId) {
        if self.implied.contains_key(&merged) && !self.implied.contains_key(&lower) {
            self.tree.node_mut(merged).metadata = self.tree.node(lower).metadata.clone();
            self.implied.remove(&merged);
        }
    }

    /// An upper directory may replace a lower file only if it has an entry of its own; a merely implied one would be a path that
    /// goes through the file.
    fn check_described(&self, upper: NodeId, lower: NodeId, path: &[u8]) -> Result<(), Error> {
        let Some(layer) = self.implied.get(&upper) else { return Ok(()) };
        let what = obstacle(&self.tree.node(lower).kind);
        Err(Error::Through {
            layer: self.layer_name(*layer).into(),
            path: self.first_below(upper, path),
            parent: show(path),
            what: format!("{what} in layer {}", self.layer_name(self.current())),
        })
    }

    /// Some path below a directory, to show why it is implied.
    fn first_below(&self, directory: NodeId, path: &[u8]) -> String {
        let child = self.tree.children(directory).and_then(|children| children.keys().next());
        show(&child.map_or_else(|| path.to_vec(), |name| join(path, name)))
    }

    /// An empty directory with the same metadata.
    fn copy_directory(&mut self, id: NodeId) -> NodeId {
        let copy = self.tree.add(Node::directory(self.tree.node(id).metadata.clone()));
        if let Some(layer) = self.implied.remove(&id) {
            self.implied.insert(copy, layer);
        }
        copy
    }

    fn take_children(&mut self, id: NodeId) -> Children {
        match &mut self.tree.node_mut(id).kind {
            Kind::Directory(children) => std::mem::take(children),
            _ => Children::new(),
        }
    }
}
