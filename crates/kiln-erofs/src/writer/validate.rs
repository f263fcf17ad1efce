//! The tree as the writer takes it: every rule of the format checked once, before any byte.
//!
//! What passes here can be written, short of the disk being full or the image outgrowing 16 TiB;
//! so the writer has no checks of its own to forget. The walk keeps its own stack and visits each
//! directory once: a tree made by a faulty program (loops, two parents) is an error and no hang.

use kiln_tree::{Content, Kind, Node, NodeId, Tree};

use crate::error::Error;
use crate::format::{NAME_MAX, SYMLINK_MAX, split_xattr_name, xattr_area};

/// A tree that the format can hold, with its inodes in canonical order.
#[derive(Debug)]
pub struct ValidatedTree<'a> {
    entries: Vec<Entry<'a>>,
    /// By node: its number in canonical order, or [`UNSEEN`].
    numbers: Vec<u32>,
}

/// A node that no directory names, or none yet.
const UNSEEN: u32 = u32::MAX;

/// One inode.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// What it is.
    pub(super) node: &'a Node,
    /// Number of the directory that holds its first name; the root's is its own.
    pub(super) parent: u32,
    /// Names, and for directories subdirectories, that point here.
    pub(super) links: u32,
}

impl<'a> ValidatedTree<'a> {
    /// Checks a tree.
    pub fn new(tree: &'a Tree) -> Result<Self, Error> {
        let root = tree.node(NodeId::ROOT);
        let Kind::Directory(children) = &root.kind else { return Err(Error::RootNotDirectory) };
        check_node(root, b"")?;
        let mut found = Self {
            entries: vec![Entry { node: root, parent: 0, links: 2 }],
            numbers: vec![UNSEEN; tree.node_limit()],
        };
        found.numbers[NodeId::ROOT.index()] = 0;
        // One level per open directory: its number, names still to come, length of its path.
        let mut stack = vec![(0_u32, children.iter(), 0)];
        let mut path = Vec::new();
        while let Some((parent, names, length)) = stack.last_mut() {
            let parent = *parent;
            path.truncate(*length);
            let Some((name, &id)) = names.next() else {
                stack.pop();
                continue;
            };
            path.push(b'/');
            path.extend_from_slice(name);
            check_name(name, &path)?;
            let node = tree.node(id);
            let number = found.numbers[id.index()];
            if number != UNSEEN {
                if matches!(node.kind, Kind::Directory(_)) {
                    return Err(Error::LinkedDirectory { path: text(&path) });
                }
                found.entries[number as usize].links += 1;
                continue;
            }
            check_node(node, &path)?;
            // A tree counts its nodes with 32 bits.
            let number = found.entries.len() as u32;
            found.numbers[id.index()] = number;
            let mut links = 1;
            if let Kind::Directory(children) = &node.kind {
                links = 2;
                found.entries[parent as usize].links += 1;
                stack.push((number, children.iter(), path.len()));
            }
            found.entries.push(Entry { node, parent, links });
        }
        Ok(found)
    }

    /// Inodes in canonical order, the root first.
    pub(super) fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    /// Number of an inode in canonical order.
    pub(super) fn number(&self, id: NodeId) -> usize {
        // Every node that a validated directory names has been visited.
        self.numbers[id.index()] as usize
    }

    /// Contents of regular files in canonical order, hard links once.
    pub fn contents(&self) -> impl Iterator<Item = Content> {
        self.entries.iter().filter_map(|entry| match entry.node.kind {
            Kind::File(content) => Some(content),
            _ => None,
        })
    }
}

/// A path for a message.
fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn check_name(name: &[u8], path: &[u8]) -> Result<(), Error> {
    let bad = name.is_empty()
        || name.len() > NAME_MAX
        || name == b"."
        || name == b".."
        || name.iter().any(|&byte| byte == b'/' || byte == 0);
    if bad { Err(Error::BadName { path: text(path) }) } else { Ok(()) }
}

fn check_node(node: &Node, path: &[u8]) -> Result<(), Error> {
    if let Kind::Symlink(target) = &node.kind
        && (target.is_empty() || target.len() > SYMLINK_MAX || target.contains(&0))
    {
        return Err(Error::BadSymlink { path: text(path), length: target.len() });
    }
    let mut total = 0;
    for (name, value) in &node.metadata.xattrs {
        let bad = || Error::BadXattr { path: text(path), name: text(name) };
        let (_, rest) = split_xattr_name(name).ok_or_else(bad)?;
        total += 8 + rest.len() + value.len();
        // The area must fit even if nothing in it is shared, and lengths have one and two bytes.
        let fits = rest.len() <= usize::from(u8::MAX)
            && value.len() <= usize::from(u16::MAX)
            && !rest.contains(&0)
            && total < xattr_area(u16::MAX);
        if !fits {
            return Err(bad());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kiln_tree::Metadata;

    use super::*;

    #[test]
    fn what_the_format_cannot_hold_is_refused() {
        let link = |target: &[u8]| Kind::Symlink(target.to_vec());
        let mut labelled = Metadata::file();
        labelled.xattrs.insert(b"btrfs.compression".to_vec(), b"x".to_vec());
        let long = vec![b'x'; SYMLINK_MAX + 1];
        for (kind, metadata, expected) in [
            (link(b""), Metadata::file(), "a symbolic link of 0 bytes"),
            (link(&long), Metadata::file(), "a symbolic link of 4096 bytes"),
            (Kind::Fifo, labelled, "extended attribute btrfs.compression"),
        ] {
            let mut tree = Tree::new();
            tree.insert(b"x", Node { kind, metadata }).unwrap();
            let error = ValidatedTree::new(&tree).unwrap_err().to_string();
            assert!(error.starts_with("/x: ") && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_directory_loop_is_an_error_and_no_hang() {
        let mut tree = Tree::new();
        let id = tree.ensure_directory(b"a/b", &Metadata::directory()).unwrap();
        let Kind::Directory(children) = &mut tree.node_mut(id).kind else { unreachable!() };
        children.insert(b"up".to_vec(), NodeId::ROOT);
        assert!(matches!(ValidatedTree::new(&tree), Err(Error::LinkedDirectory { .. })));
    }

    #[test]
    fn links_count_names_and_subdirectories() {
        let mut tree = Tree::new();
        tree.ensure_directory(b"a/b", &Metadata::directory()).unwrap();
        let id =
            tree.insert(b"a/f", Node { kind: Kind::Fifo, metadata: Metadata::file() }).unwrap();
        tree.link(b"g", id).unwrap();
        let valid = ValidatedTree::new(&tree).unwrap();
        let links: Vec<_> = valid.entries().iter().map(|entry| entry.links).collect();
        assert_eq!(links, [3, 3, 2, 2]);
    }
}
