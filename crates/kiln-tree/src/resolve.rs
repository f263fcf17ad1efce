//! Symbolic links followed inside the tree, as the kernel would after a switch of root.
//!
//! Absolute targets start at the tree's root and `..` never leaves it: a link of an image can never name a file of the build
//! machine. Anything that is not found is `None`; what to say about it is the caller's business.

use crate::path::components;
use crate::tree::{Kind, NodeId, Tree};

/// Links followed before giving up (Linux MAXSYMLINKS).
const SYMLINK_LIMIT: usize = 40;

impl Tree {
    /// The node at `path` with all symbolic links followed, also the last.
    pub fn resolve(&self, path: &[u8]) -> Option<NodeId> {
        self.follow(path).map(|way| way.last().map_or(NodeId::ROOT, |(_, id)| *id))
    }

    /// The path without symbolic links that `path` leads to, without leading slash; `None` if it leads nowhere.
    pub fn resolve_path(&self, path: &[u8]) -> Option<Vec<u8>> {
        let way = self.follow(path)?;
        Some(way.iter().map(|(name, _)| name.as_slice()).collect::<Vec<_>>().join(&b'/'))
    }

    /// Names and nodes from the root to where `path` leads.
    fn follow(&self, path: &[u8]) -> Option<Vec<(Vec<u8>, NodeId)>> {
        let mut way: Vec<(Vec<u8>, NodeId)> = Vec::new();
        let mut links = 0;
        // Components still to walk, the next one last.
        let mut rest: Vec<Vec<u8>> = reversed(path);
        while let Some(name) = rest.pop() {
            let here = way.last().map_or(NodeId::ROOT, |(_, id)| *id);
            let children = self.children(here)?;
            if name == b".." {
                way.pop();
                continue;
            }
            let id = *children.get(&name)?;
            if let Kind::Symlink(target) = &self.node(id).kind {
                links += 1;
                if links > SYMLINK_LIMIT || target.is_empty() {
                    return None;
                }
                if target.starts_with(b"/") {
                    way.clear();
                }
                rest.extend(reversed(target));
            } else {
                way.push((name, id));
            }
        }
        Some(way)
    }
}

fn reversed(path: &[u8]) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
    names.reverse();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Metadata, Node};

    #[test]
    fn links_are_followed_inside_the_tree_only() {
        let mut tree = Tree::new();
        tree.ensure_directory(b"usr/lib/deep", &Metadata::directory()).unwrap();
        for (path, target) in [
            (&b"lib"[..], &b"usr/lib"[..]),
            (b"absolute", b"/usr/lib/"),
            (b"usr/lib/up", b"../../../../../usr"),
            (b"loop", b"loop"),
            (b"dangling", b"nowhere"),
            (b"usr/chain", b"../absolute/up"),
        ] {
            let kind = Kind::Symlink(target.to_vec());
            tree.insert(path, Node { kind, metadata: Metadata::symlink() }).unwrap();
        }
        tree.insert(b"usr/file", Node { kind: Kind::Fifo, metadata: Metadata::file() }).unwrap();
        let cases: [(&[u8], Option<&[u8]>); 12] = [
            (b"", Some(b"")),
            (b"/", Some(b"")),
            (b"lib/deep", Some(b"usr/lib/deep")),
            (b"/absolute/deep", Some(b"usr/lib/deep")),
            (b"lib/up/file", Some(b"usr/file")),
            (b"usr/chain/lib", Some(b"usr/lib")),
            (b"lib/../file", Some(b"usr/file")),
            (b"../../usr", Some(b"usr")),
            (b"loop", None),
            (b"dangling", None),
            (b"usr/file/x", None),
            (b"usr/file/..", None),
        ];
        for (path, expected) in cases {
            let found = tree.resolve_path(path);
            assert_eq!(found.as_deref(), expected, "{}", path.escape_ascii());
            let node = expected.and_then(|path| tree.lookup(path));
            assert_eq!(tree.resolve(path), node, "{}", path.escape_ascii());
        }
    }
}
