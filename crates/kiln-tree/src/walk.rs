//! The canonical order: pre-order, names by their bytes. Everything that turns a tree into bytes walks it this way.
//!
//! The walk keeps its own stack, because depth is chosen by whoever made the image. It yields each name once, so a hard link
//! appears as often as it has names; the caller knows nodes seen before by their numbers.

use std::collections::btree_map;

use crate::tree::{NodeId, Tree};

/// Paths and nodes in canonical order, the root (empty path) first.
#[derive(Debug)]
pub struct Walk<'a> {
    tree: &'a Tree,
    /// One level per open directory: its entries still to come and the length of its path.
    levels: Vec<(btree_map::Iter<'a, Vec<u8>, NodeId>, usize)>,
    path: Vec<u8>,
    started: bool,
}

impl Walk<'_> {
    fn enter(&mut self, id: NodeId) {
        if let Some(children) = self.tree.children(id) {
            self.levels.push((children.iter(), self.path.len()));
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = (Vec<u8>, NodeId);

    fn next(&mut self) -> Option<(Vec<u8>, NodeId)> {
        if !self.started {
            self.started = true;
            self.enter(NodeId::ROOT);
            return Some((Vec::new(), NodeId::ROOT));
        }
        while let Some((entries, length)) = self.levels.last_mut() {
            self.path.truncate(*length);
            if let Some((name, id)) = entries.next() {
                if !self.path.is_empty() {
                    self.path.push(b'/');
                }
                self.path.extend_from_slice(name);
                self.enter(*id);
                return Some((self.path.clone(), *id));
            }
            self.levels.pop();
        }
        None
    }
}

impl Tree {
    /// All entries in canonical order, the root with the empty path first.
    pub fn walk(&self) -> Walk<'_> {
        Walk { tree: self, levels: Vec::new(), path: Vec::new(), started: false }
    }

    /// How many entries [`Tree::walk`] yields: every name, and the root.
    pub fn entry_count(&self) -> u64 {
        self.link_visits(|_, _| ()) + 1
    }

    /// Link count of each node by [`NodeId::index`], as `stat` reports it: names for files, 2 + subdirectories for directories,
    /// 0 for nodes that no directory names any more.
    pub fn link_counts(&self) -> Vec<u32> {
        let mut counts = vec![0u32; self.nodes.len()];
        counts[NodeId::ROOT.index()] = 2;
        self.link_visits(|parent, child| {
            if self.node(child).is_directory() {
                counts[child.index()] += 2;
                counts[parent.index()] += 1;
            } else {
                counts[child.index()] += 1;
            }
        });
        counts
    }

    /// Calls `visit` with each directory and each of its entries, in no promised order; returns how often.
    pub(crate) fn link_visits(&self, mut visit: impl FnMut(NodeId, NodeId)) -> u64 {
        let mut total = 0;
        let mut open = vec![NodeId::ROOT];
        while let Some(directory) = open.pop() {
            for child in self.children(directory).into_iter().flat_map(|entries| entries.values()) {
                total += 1;
                visit(directory, *child);
                if self.node(*child).is_directory() {
                    open.push(*child);
                }
            }
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Metadata, Node};

    #[test]
    fn order_is_pre_order_by_bytes_and_links_are_counted() {
        let mut tree = Tree::new();
        for path in [&b"b/y"[..], b"a", b"b-c", b"b/x/z"] {
            tree.ensure_directory(path, &Metadata::directory()).unwrap();
        }
        let file =
            tree.insert(b"b/file", Node { kind: Kind::Fifo, metadata: Metadata::file() }).unwrap();
        tree.link(b"a/second", file).unwrap();
        let gone = tree.insert(b"gone", Node::directory(Metadata::directory())).unwrap();
        tree.remove(b"gone");
        let paths: Vec<String> =
            tree.walk().map(|(path, _)| String::from_utf8(path).unwrap()).collect();
        // `b-c` sorts before `b/…` as a path but after `b` as a name: names decide.
        assert_eq!(paths, ["", "a", "a/second", "b", "b/file", "b/x", "b/x/z", "b/y", "b-c"]);
        assert_eq!(tree.entry_count(), 9);
        let counts = tree.link_counts();
        assert_eq!(counts[NodeId::ROOT.index()], 5);
        assert_eq!(counts[file.index()], 2);
        assert_eq!(counts[tree.lookup(b"b").unwrap().index()], 4);
        assert_eq!(counts[gone.index()], 0);
    }
}
