//! Images that carry one file: KubeOS ships its root file system as `/os.tar` inside an otherwise empty image.
//!
//! Only recognised here; the archive inside is then read like a layer. An image with anything beside that file is an ordinary
//! root and must never be taken for one of these.

use crate::content::Content;
use crate::tree::{Kind, NodeId, Tree};

/// The content of `/os.tar` if it is the tree's only file that is not a directory.
pub fn lone_os_tar(tree: &Tree) -> Option<Content> {
    let id = tree.lookup(b"os.tar")?;
    let Kind::File(content) = tree.node(id).kind else { return None };
    let mut others = 0;
    tree.link_visits(|directory, child| {
        let is_it = directory == NodeId::ROOT && child == id;
        others += u64::from(!is_it && !tree.node(child).is_directory());
    });
    // A second name in the root would be the same node, so names are counted, too.
    let names = tree.link_counts()[id.index()];
    (others == 0 && names == 1).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ContentStore, MemoryStore, Metadata, Node};

    #[test]
    fn only_a_lone_file_counts() {
        let mut store = MemoryStore::new();
        let content = store.store(3, &mut &b"tar"[..]).unwrap();
        let file = || Node { kind: Kind::File(content), metadata: Metadata::file() };
        let mut tree = Tree::new();
        assert_eq!(lone_os_tar(&tree), None);
        let id = tree.insert(b"os.tar", file()).unwrap();
        assert_eq!(lone_os_tar(&tree), Some(content));
        tree.ensure_directory(b"etc/empty", &Metadata::directory()).unwrap();
        assert_eq!(lone_os_tar(&tree), Some(content), "directories do not count");
        tree.link(b"second", id).unwrap();
        assert_eq!(lone_os_tar(&tree), None, "a second name is a second file");
        tree.remove(b"second");
        tree.insert(b"etc/hostname", file()).unwrap();
        assert_eq!(lone_os_tar(&tree), None);
        tree.remove(b"etc/hostname");
        tree.remove(b"os.tar");
        tree.insert(b"etc/os.tar", file()).unwrap();
        assert_eq!(lone_os_tar(&tree), None, "it must lie in the root");
    }
}
