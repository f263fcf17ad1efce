//! Small edits of a tree: files, links and directories with the metadata of Kiln's layer.
//!
//! All edits go through one type so that owner, time and the handling of merged-usr links (`/lib`
//! pointing to `usr/lib`) are decided in one place.

use std::collections::BTreeMap;

use kiln_tree::{ContentStore, Kind, Metadata, Node, NodeId, Tree};

use crate::Error;

/// Edits one tree.
pub(crate) struct Editor<'a> {
    pub(super) tree: &'a mut Tree,
    pub(super) store: &'a mut dyn ContentStore,
}

impl std::fmt::Debug for Editor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Editor").finish_non_exhaustive()
    }
}

impl<'a> Editor<'a> {
    pub(crate) fn new(tree: &'a mut Tree, store: &'a mut dyn ContentStore) -> Self {
        Self { tree, store }
    }

    /// A directory with its parents; one that exists keeps its metadata.
    pub(crate) fn directory(&mut self, path: &[u8], mode: u16) -> Result<NodeId, Error> {
        match self.tree.resolve(path) {
            Some(id) if matches!(self.tree.node(id).kind, Kind::Directory(_)) => Ok(id),
            Some(_) => Err(Error::layer(path, "the image has something else than a directory")),
            None => {
                if let Some(parent) = parent(path) {
                    self.directory(parent, 0o755)?;
                }
                let node = Node { kind: Kind::Directory(BTreeMap::new()), metadata: root(mode) };
                Ok(self.tree.insert(path, node)?)
            }
        }
    }

    /// A regular file of root's, replacing what was there.
    pub(crate) fn file(&mut self, path: &[u8], mode: u16, bytes: &[u8]) -> Result<(), Error> {
        self.owned_file(path, root(mode), bytes)
    }

    /// A regular file with the given metadata, replacing what was there.
    pub(crate) fn owned_file(
        &mut self,
        path: &[u8],
        metadata: Metadata,
        bytes: &[u8],
    ) -> Result<(), Error> {
        if let Some(parent) = parent(path) {
            self.directory(parent, 0o755)?;
        }
        let mut reader = bytes;
        let content = self.store.store(bytes.len() as u64, &mut reader).map_err(Error::Contents)?;
        self.tree.insert(path, Node { kind: Kind::File(content), metadata })?;
        Ok(())
    }

    /// A symbolic link, replacing what was there.
    pub(crate) fn symlink(&mut self, path: &[u8], target: &[u8]) -> Result<(), Error> {
        if let Some(parent) = parent(path) {
            self.directory(parent, 0o755)?;
        }
        let node = Node { kind: Kind::Symlink(target.to_vec()), metadata: root(0o777) };
        self.tree.insert(path, node)?;
        Ok(())
    }

    /// The bytes and metadata of a regular file, links followed; `None` if there is none.
    pub(crate) fn read(&self, path: &[u8]) -> Result<Option<(Vec<u8>, Metadata)>, Error> {
        let Some(id) = self.tree.resolve(path) else { return Ok(None) };
        let node = self.tree.node(id);
        let Kind::File(content) = node.kind else { return Ok(None) };
        let bytes = self.store.read(content).map_err(Error::Contents)?;
        Ok(Some((bytes, node.metadata.clone())))
    }

    /// Whether something is at `path`, links followed.
    pub(crate) fn exists(&self, path: &[u8]) -> bool {
        self.tree.resolve(path).is_some()
    }

    /// The names in a directory, links followed; none if it is no directory.
    pub(crate) fn names(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let Some(id) = self.tree.resolve(path) else { return Vec::new() };
        match &self.tree.node(id).kind {
            Kind::Directory(children) => children.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// Takes something out of the tree.
    pub(crate) fn remove(&mut self, path: &[u8]) {
        self.tree.remove(path);
    }
}

/// Metadata of root's at time 0.
pub(super) fn root(mode: u16) -> Metadata {
    owned(mode, 0, 0)
}

/// Metadata of a user's at time 0.
pub(super) fn owned(mode: u16, uid: u32, gid: u32) -> Metadata {
    Metadata {
        mode,
        uid,
        gid,
        mtime_seconds: 0,
        mtime_nanoseconds: 0,
        xattrs: kiln_tree::Xattrs::new(),
    }
}

/// The folder that holds `path`; `None` at the top.
fn parent(path: &[u8]) -> Option<&[u8]> {
    path.iter().rposition(|&byte| byte == b'/').map(|slash| &path[..slash])
}
