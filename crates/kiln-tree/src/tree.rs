//! The tree: nodes in one arena, directories as sorted maps from names to nodes.
//!
//! A hard link is nothing but two names with one node, which is why nodes have numbers and no parents. The tree must never
//! hold a directory under two names, and no operation may leave one reachable from itself. Nodes owning their children were
//! dropped, as they cannot express hard links; reference counting was dropped as 500,000 nodes of it cost too much.

use std::collections::BTreeMap;

use crate::content::Content;
use crate::error::Error;
use crate::limits::Limits;
use crate::metadata::Metadata;
use crate::path::{Refusal, check_name, components, normalise, split_last};

/// Number of a node in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    /// The root directory of every tree.
    pub const ROOT: NodeId = NodeId(0);

    /// Position in tables with one element per node, such as [`Tree::link_counts`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Names of a directory in byte order.
pub type Children = BTreeMap<Vec<u8>, NodeId>;

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Directory with its entries.
    Directory(Children),
    /// Regular file.
    File(Content),
    /// Symbolic link with its target, never interpreted when stored.
    Symlink(Vec<u8>),
    /// Character device.
    CharacterDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// Block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
}

/// A file of any kind without its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Mode, owner, time, attributes.
    pub metadata: Metadata,
}

impl Node {
    /// An empty directory.
    pub fn directory(metadata: Metadata) -> Node {
        Node { kind: Kind::Directory(Children::new()), metadata }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory(_))
    }
}

/// A whole file system without the bytes of its files.
#[derive(Debug, Clone)]
pub struct Tree {
    pub(crate) nodes: Vec<Node>,
}

impl Default for Tree {
    fn default() -> Tree {
        Tree::new()
    }
}

impl Tree {
    /// A root directory (0755, root, 1970) and nothing in it.
    pub fn new() -> Tree {
        Tree { nodes: vec![Node::directory(Metadata::directory())] }
    }

    /// The node with this number.
    ///
    /// # Panics
    /// If the number is of another tree.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The node with this number, to change it.
    ///
    /// # Panics
    /// If the number is of another tree.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    /// How many node numbers there are; detached nodes keep theirs.
    pub fn node_limit(&self) -> usize {
        self.nodes.len()
    }

    /// Entries of a directory in byte order of their names; `None` if the node is no directory.
    pub fn children(&self, id: NodeId) -> Option<&Children> {
        match &self.node(id).kind {
            Kind::Directory(children) => Some(children),
            _ => None,
        }
    }

    /// The node at `path`, with or without leading slash; follows no symbolic link and knows no `..`.
    pub fn lookup(&self, path: &[u8]) -> Option<NodeId> {
        self.lookup_from(NodeId::ROOT, path)
    }

    pub(crate) fn lookup_from(&self, start: NodeId, path: &[u8]) -> Option<NodeId> {
        components(path)
            .try_fold(start, |directory, name| self.children(directory)?.get(name).copied())
    }

    /// Makes `path` a directory, with missing parents of the same metadata; existing directories, also through symbolic links,
    /// stay as they are.
    pub fn ensure_directory(&mut self, path: &[u8], metadata: &Metadata) -> Result<NodeId, Error> {
        let canonical = canonical(path)?;
        let mut known: Vec<u8> = Vec::new();
        let mut directory = NodeId::ROOT;
        for name in components(&canonical) {
            let next = crate::path::join(&known, name);
            if self.children(directory).is_some_and(|children| children.contains_key(name)) {
                known = self
                    .resolve_path(&next)
                    .ok_or_else(|| Error::path(path, "a symbolic link on the way leads nowhere"))?;
                directory = self
                    .lookup(&known)
                    .filter(|id| self.node(*id).is_directory())
                    .ok_or_else(|| Error::path(path, "a parent is not a directory"))?;
            } else {
                let id = self.add(Node::directory(metadata.clone()));
                self.attach(directory, name, id);
                known = next;
                directory = id;
            }
        }
        Ok(directory)
    }

    /// Puts `node` at `path`, replacing what is there; the parent must exist, symbolic links in it are followed.
    pub fn insert(&mut self, path: &[u8], node: Node) -> Result<NodeId, Error> {
        let (parent, name) = self.place(path)?;
        let id = self.add(node);
        self.attach(parent, &name, id);
        Ok(id)
    }

    /// Gives a node that is no directory one more name; replaces what is there.
    pub fn link(&mut self, path: &[u8], target: NodeId) -> Result<(), Error> {
        if self.node(target).is_directory() {
            return Err(Error::path(path, "a directory cannot have a second name"));
        }
        let (parent, name) = self.place(path)?;
        self.attach(parent, &name, target);
        Ok(())
    }

    /// Takes the entry at `path` out of its directory with all below it; `None` if there is nothing (or it is the root).
    pub fn remove(&mut self, path: &[u8]) -> Option<NodeId> {
        let (parent, name) = self.place(path).ok()?;
        match &mut self.node_mut(parent).kind {
            Kind::Directory(children) => children.remove(&name),
            _ => None,
        }
    }

    /// Moves the entry at `from` to `to`, replacing what is there; the parent of `to` must exist.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), Error> {
        let (from_parent, from_name) = self.place(from)?;
        let (to_parent, to_name) = self.place(to)?;
        let id = self
            .children(from_parent)
            .and_then(|children| children.get(&from_name).copied())
            .ok_or_else(|| Error::path(from, "it does not exist"))?;
        if self.contains(id, to_parent) {
            return Err(Error::path(to, "a directory cannot move into itself"));
        }
        if (from_parent, &from_name) != (to_parent, &to_name) {
            if let Kind::Directory(children) = &mut self.node_mut(from_parent).kind {
                children.remove(&from_name);
            }
            self.attach(to_parent, &to_name, id);
        }
        Ok(())
    }

    /// Whether `wanted` is `top` or lies below it.
    fn contains(&self, top: NodeId, wanted: NodeId) -> bool {
        let mut open = vec![top];
        while let Some(id) = open.pop() {
            if id == wanted {
                return true;
            }
            if let Some(children) = self.children(id) {
                open.extend(children.values().filter(|child| self.node(**child).is_directory()));
            }
        }
        false
    }

    /// Directory and name that an edit of `path` concerns.
    fn place(&self, path: &[u8]) -> Result<(NodeId, Vec<u8>), Error> {
        let canonical = canonical(path)?;
        let (parent, name) =
            split_last(&canonical).ok_or_else(|| Error::path(path, "it is the root directory"))?;
        let directory = self
            .resolve(parent)
            .ok_or_else(|| Error::path(path, "its parent directory does not exist"))?;
        if !self.node(directory).is_directory() {
            return Err(Error::path(path, "its parent is not a directory"));
        }
        Ok((directory, name.to_vec()))
    }

    /// Adds a node that no directory names yet.
    pub(crate) fn add(&mut self, node: Node) -> NodeId {
        // Limits keep sources far below this; 2^32 nodes would need 256 GiB first.
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(node);
        id
    }

    /// Names `id` in `directory`, replacing what has the name.
    pub(crate) fn attach(&mut self, directory: NodeId, name: &[u8], id: NodeId) {
        if let Kind::Directory(children) = &mut self.node_mut(directory).kind {
            match children.get_mut(name) {
                Some(child) => *child = id,
                None => {
                    children.insert(name.to_vec(), id);
                }
            }
        }
    }
}

/// The canonical spelling of a path that our own code gives.
fn canonical(path: &[u8]) -> Result<Vec<u8>, Error> {
    let limits = Limits::default();
    let refusal = |refusal| match refusal {
        Refusal::Reason(reason) => Error::path(path, reason),
        Refusal::NameTooLong => Error::path(path, "a name in it is too long"),
        Refusal::PathTooLong => Error::path(path, "it is too long"),
    };
    for name in components(path) {
        check_name(name, &limits).map_err(refusal)?;
    }
    normalise(path, &limits).map_err(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tree {
        let mut tree = Tree::new();
        tree.ensure_directory(b"/usr/lib", &Metadata::directory()).unwrap();
        let link = Node { kind: Kind::Symlink(b"usr/lib".to_vec()), metadata: Metadata::symlink() };
        tree.insert(b"lib", link).unwrap();
        tree.insert(b"lib/x", Node { kind: Kind::Fifo, metadata: Metadata::file() }).unwrap();
        tree
    }

    #[test]
    fn edits_follow_links_in_parents_but_lookups_do_not() {
        let mut tree = sample();
        let x = tree.lookup(b"usr/lib/x").unwrap();
        assert_eq!(tree.lookup(b"lib/x"), None);
        assert_eq!(tree.resolve(b"lib/x"), Some(x));
        let made = tree.ensure_directory(b"lib/a/b", &Metadata::with_mode(0o700)).unwrap();
        assert_eq!(tree.lookup(b"usr/lib/a/b"), Some(made));
        assert_eq!(tree.node(made).metadata.mode, 0o700);
        assert_eq!(tree.remove(b"lib/x"), Some(x));
        assert_eq!(tree.lookup(b"usr/lib/x"), None);
    }

    #[test]
    fn edits_that_make_no_tree_are_refused() {
        let mut tree = sample();
        let cases: [(&str, Result<(), Error>); 7] = [
            ("into itself", tree.rename(b"usr", b"usr/lib/usr")),
            ("nothing", tree.rename(b"none", b"usr/none")),
            ("root", tree.insert(b"/", Node::directory(Metadata::directory())).map(drop)),
            ("dots", tree.insert(b"a/../b", Node::directory(Metadata::directory())).map(drop)),
            ("no parent", tree.insert(b"none/x", Node::directory(Metadata::directory())).map(drop)),
            (
                "file parent",
                tree.ensure_directory(b"usr/lib/x/y", &Metadata::directory()).map(drop),
            ),
            ("directory link", tree.link(b"second", NodeId::ROOT)),
        ];
        for (case, result) in cases {
            assert!(matches!(result, Err(Error::Path { .. })), "{case}");
        }
        assert_eq!(tree.remove(b"/"), None);
    }

    #[test]
    fn rename_and_link_keep_the_node() {
        let mut tree = sample();
        let x = tree.lookup(b"usr/lib/x").unwrap();
        tree.link(b"usr/y", x).unwrap();
        tree.rename(b"usr/lib", b"opt").unwrap();
        assert_eq!(tree.lookup(b"opt/x"), tree.lookup(b"usr/y"));
        assert_eq!(tree.lookup(b"usr/lib"), None);
        tree.rename(b"opt", b"opt").unwrap();
        assert_eq!(tree.lookup(b"opt/x"), Some(x));
    }
}
