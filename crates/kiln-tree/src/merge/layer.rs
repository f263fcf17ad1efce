//! One layer put together by itself: later entries win, and nothing looks at other layers but to see what is hidden.
//!
//! The layer's nodes live in the same arena as the merged tree, so hanging them beneath it later copies nothing. Hidden entries
//! get nodes too, because links and later entries of the same layer may refer to them, but their bytes are passed over.

use std::collections::{BTreeMap, HashMap};

use crate::archive::{Entry, EntryKind, TarReader};
use crate::content::Content;
use crate::error::{Error, show};
use crate::limits::{DEVICE_REFUSED, is_device_place};
use crate::merge::hidden::Hidden;
use crate::merge::{LayerMerge, NOT_STORED};
use crate::metadata::{Metadata, Xattrs};
use crate::path::{components, join, split_last};
use crate::tree::{Kind, Node, NodeId, Tree};

/// Prefix of whiteout files.
const WHITEOUT: &[u8] = b".wh.";
/// Prefix of AUFS's own files, which mean nothing but for `OPAQUE`.
const WHITEOUT_META: &[u8] = b".wh..wh.";
/// The file that makes its directory opaque.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Overlayfs's spelling of an opaque directory, privileged and unprivileged, set to `y`.
const OVERLAY_OPAQUE: [&[u8]; 2] = [b"trusted.overlay.opaque", b"user.overlay.opaque"];

/// A layer while it is read.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) root: NodeId,
    /// What it hides in lower layers.
    pub(super) hidden: Hidden,
    /// Files whose bytes were passed over, with their entry's number.
    pub(super) unstored: HashMap<NodeId, u64>,
    /// Entries to be read a second time, by number, and the nodes that need their bytes.
    pub(super) wanted: BTreeMap<u64, NodeId>,
}

impl Layer {
    pub(super) fn new(tree: &mut Tree) -> Layer {
        Layer {
            root: tree.add(Node::directory(Metadata::directory())),
            hidden: Hidden::default(),
            unstored: HashMap::new(),
            wanted: BTreeMap::new(),
        }
    }

    /// Notes that the bytes of `node` are needed after all.
    pub(super) fn want(&mut self, node: NodeId) {
        if let Some(ordinal) = self.unstored.get(&node) {
            self.wanted.insert(*ordinal, node);
        }
    }
}

/// What an entry means by its name.
enum Meaning {
    File,
    Whiteout(Vec<u8>),
    Opaque(Vec<u8>),
    Nothing,
}

fn meaning(path: &[u8]) -> Result<Meaning, &'static str> {
    let Some((parent, name)) = split_last(path) else { return Ok(Meaning::File) };
    if let Some(directory) = components(parent).find(|name| name.starts_with(WHITEOUT)) {
        return if directory.starts_with(WHITEOUT_META) {
            Ok(Meaning::Nothing)
        } else {
            Err("it lies below a whiteout")
        };
    }
    if name == OPAQUE {
        return Ok(Meaning::Opaque(parent.to_vec()));
    }
    if name.starts_with(WHITEOUT_META) {
        return Ok(Meaning::Nothing);
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Meaning::File),
        Some(b"" | b"." | b"..") => Err("it is a whiteout of nothing"),
        Some(hidden) => Ok(Meaning::Whiteout(join(parent, hidden))),
    }
}

impl LayerMerge<'_> {
    /// Puts one entry into its layer.
    pub(super) fn entry(
        &mut self,
        layer: &mut Layer,
        reader: &mut TarReader<'_>,
        entry: Entry,
    ) -> Result<(), Error> {
        self.count_entry(&entry.path)?;
        let path = entry.path.as_slice();
        match meaning(path).map_err(|reason| self.refused(path, reason))? {
            Meaning::Nothing => return Ok(()),
            Meaning::Whiteout(path) => {
                layer.hidden.white_out(path);
                return Ok(());
            }
            Meaning::Opaque(path) => {
                layer.hidden.make_opaque(path);
                return Ok(());
            }
            Meaning::File => {}
        }
        let Entry { path, kind, mut metadata, ordinal } = entry;
        let kind = match kind {
            EntryKind::Directory => return self.directory(layer, path, metadata),
            // Overlayfs's spelling of a whiteout.
            EntryKind::CharacterDevice { major: 0, minor: 0 } => {
                layer.hidden.white_out(path);
                return Ok(());
            }
            EntryKind::HardLink(target) => return self.hard_link(layer, path, target),
            EntryKind::File(size) => {
                self.count_bytes(&path, size)?;
                let content = if self.needs_content(&path) {
                    self.store_content(reader, &path, size)?
                } else {
                    Content { id: NOT_STORED, size }
                };
                Kind::File(content)
            }
            EntryKind::Symlink(target) => Kind::Symlink(target),
            EntryKind::CharacterDevice { major, minor } => Kind::CharacterDevice { major, minor },
            EntryKind::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
            EntryKind::Fifo => Kind::Fifo,
        };
        let is_device = matches!(kind, Kind::CharacterDevice { .. } | Kind::BlockDevice { .. });
        if is_device && !self.limits.device_nodes && !is_device_place(&path) {
            return Err(self.refused(&path, DEVICE_REFUSED));
        }
        if matches!(kind, Kind::Symlink(_)) {
            // Linux gives every symbolic link this mode; archives hold whatever their writer had at hand.
            metadata.mode = 0o777;
        }
        let passed_over = matches!(&kind, Kind::File(content) if content.id == NOT_STORED);
        let (parent, name) = self.layer_parent(layer, &path)?;
        let id = self.tree.add(Node { kind, metadata });
        self.tree.attach(parent, name, id);
        if passed_over {
            layer.unstored.insert(id, ordinal);
        }
        Ok(())
    }

    fn directory(
        &mut self,
        layer: &mut Layer,
        path: Vec<u8>,
        mut metadata: Metadata,
    ) -> Result<(), Error> {
        if take_overlay_opaque(&mut metadata.xattrs) {
            layer.hidden.make_opaque(path.clone());
        }
        let id = match self.tree.lookup_from(layer.root, &path) {
            Some(id) if self.tree.node(id).is_directory() => id,
            _ => {
                let (parent, name) = self.layer_parent(layer, &path)?;
                let id = self.tree.add(Node::directory(Metadata::directory()));
                self.tree.attach(parent, name, id);
                id
            }
        };
        self.tree.node_mut(id).metadata = metadata;
        self.implied.remove(&id);
        Ok(())
    }

    fn hard_link(
        &mut self,
        layer: &mut Layer,
        path: Vec<u8>,
        target: Vec<u8>,
    ) -> Result<(), Error> {
        let id = match self.tree.lookup_from(layer.root, &target) {
            Some(id) if self.tree.node(id).is_directory() => {
                return Err(Error::Link {
                    layer: self.layer_name(self.current()).into(),
                    path: show(&path),
                    target: show(&target),
                    reason: "which is a directory",
                });
            }
            Some(id) => {
                if self.needs_content(&path) {
                    layer.want(id);
                }
                id
            }
            None => self.pending_link(&path, target),
        };
        let (parent, name) = self.layer_parent(layer, &path)?;
        self.tree.attach(parent, name, id);
        Ok(())
    }

    /// Whether the bytes of a file at `path` of this layer are needed.
    fn needs_content(&self, path: &[u8]) -> bool {
        self.is_visible(path) || self.pending_targets.contains(path)
    }

    /// Whether the layers above leave a file at `path` of this layer to be seen.
    fn is_visible(&self, path: &[u8]) -> bool {
        if self.hidden.hides(path) {
            return false;
        }
        let mut directory = NodeId::ROOT;
        for name in components(path) {
            // A file of an upper layer in the way, or at last at the path itself, covers this one.
            let Some(children) = self.tree.children(directory) else { return false };
            match children.get(name) {
                Some(id) => directory = *id,
                None => return true,
            }
        }
        false
    }

    /// The layer's directory for an entry at `path` and its name there; missing directories are implied.
    fn layer_parent<'p>(
        &mut self,
        layer: &Layer,
        path: &'p [u8],
    ) -> Result<(NodeId, &'p [u8]), Error> {
        let (parent, name) =
            split_last(path).ok_or_else(|| self.refused(path, "the root must be a directory"))?;
        let mut directory = layer.root;
        let mut length = 0;
        for component in components(parent) {
            length += component.len() + usize::from(length > 0);
            let found =
                self.tree.children(directory).and_then(|children| children.get(component).copied());
            directory = match found {
                Some(id) if self.tree.node(id).is_directory() => id,
                Some(id) => {
                    return Err(Error::Through {
                        layer: self.layer_name(self.current()).into(),
                        path: show(path),
                        parent: show(&path[..length]),
                        what: obstacle(&self.tree.node(id).kind).into(),
                    });
                }
                None => {
                    self.count_entry(path)?;
                    let id = self.tree.add(Node::directory(Metadata::directory()));
                    self.tree.attach(directory, component, id);
                    self.implied.insert(id, self.current());
                    id
                }
            };
        }
        Ok((directory, name))
    }
}

/// What stands in the way of a path.
pub(super) fn obstacle(kind: &Kind) -> &'static str {
    match kind {
        Kind::Symlink(_) => "a symbolic link",
        _ => "not a directory",
    }
}

fn take_overlay_opaque(xattrs: &mut Xattrs) -> bool {
    let mut opaque = false;
    for name in OVERLAY_OPAQUE {
        if xattrs.contains_key(name) {
            opaque |= xattrs.remove(name).is_some_and(|value| value == b"y");
        }
    }
    opaque
}
