//! Layers merged into one tree while they stream by, the TOP layer first.
//!
//! Going down, what upper layers say is final: an entry they hide is skipped and its content never stored, so a file replaced
//! ten times is encoded once. Whether an entry is hidden depends only on the layers above, never on its own layer, so each layer
//! is first put together by itself (later entries win) and then hung beneath what is there. Applying layers bottom-up, as
//! container engines do, was dropped: it encodes what nobody will see. Two things cannot be known going down and are settled
//! later: directories that an upper layer only implies (`implied`), and hard links into lower layers (`links`).
//!
//! Symbolic links are never followed: the OCI image specification ("layer.md") gives no meaning to entries below one, and
//! following it in an image of several layers is how archives escape.

mod graft;
mod hidden;
mod layer;
mod links;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read};

use crate::archive::{EntryKind, TarReader};
use crate::content::{Content, ContentId, ContentStore};
use crate::error::{Error, show};
use crate::limits::Limits;
use crate::metadata::XattrPool;
use crate::tree::{Kind, NodeId, Tree};

use hidden::Hidden;
use layer::Layer;
use links::PendingLink;

/// Stands for the content of a hidden file, which is stored only if a visible hard link turns up.
const NOT_STORED: ContentId = ContentId(u32::MAX);

/// Merges tar layers into a [`Tree`]; see the module's text for the rules.
pub struct LayerMerge<'a> {
    store: &'a mut dyn ContentStore,
    limits: Limits,
    tree: Tree,
    /// Names of the layers so far, top first.
    layers: Vec<String>,
    /// What the layers so far hide in those below, beside what the tree itself covers.
    hidden: Hidden,
    /// Directories that no entry describes yet, with the layer that implies them: their metadata is the lower layers' business.
    implied: HashMap<NodeId, usize>,
    /// Hard links whose target is still to come, by the node that stands for it.
    pending: BTreeMap<NodeId, PendingLink>,
    /// Targets of pending links: their content is needed though it may be hidden.
    pending_targets: BTreeSet<Vec<u8>>,
    /// Stand-ins whose target was found.
    aliases: HashMap<NodeId, NodeId>,
    pool: XattrPool,
    entries: u64,
    bytes: u64,
}

impl std::fmt::Debug for LayerMerge<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("LayerMerge")
            .field("layers", &self.layers)
            .field("entries", &self.entries)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl<'a> LayerMerge<'a> {
    /// An empty tree; contents go to `store`.
    pub fn new(store: &'a mut dyn ContentStore, limits: Limits) -> LayerMerge<'a> {
        let tree = Tree::new();
        LayerMerge {
            store,
            limits,
            tree,
            layers: Vec::new(),
            hidden: Hidden::default(),
            implied: HashMap::from([(NodeId::ROOT, 0)]),
            pending: BTreeMap::new(),
            pending_targets: BTreeSet::new(),
            aliases: HashMap::new(),
            pool: XattrPool::default(),
            entries: 0,
            bytes: 0,
        }
    }

    /// Puts the next lower layer beneath those given before. `name` (its digest) is for errors; `open` gives the uncompressed tar
    /// stream from its beginning and is called a second time only if a hard link needs the content of a hidden file.
    ///
    /// After an error the merge is of no further use.
    pub fn layer<'r>(
        &mut self,
        name: &str,
        open: &mut dyn FnMut() -> io::Result<Box<dyn Read + 'r>>,
    ) -> Result<(), Error> {
        self.layers.push(name.into());
        let mut layer = Layer::new(&mut self.tree);
        self.implied.insert(layer.root, self.layers.len() - 1);
        let mut reader = TarReader::new(name, opened(name, open)?, self.limits);
        while let Some(entry) = reader.next_entry(&mut self.pool)? {
            self.entry(&mut layer, &mut reader, entry)?;
        }
        reader.drain()?;
        drop(reader);
        self.resolve_pending(&mut layer);
        if !layer.wanted.is_empty() {
            self.fetch_wanted(name, opened(name, open)?, &mut layer)?;
        }
        self.graft(layer)
    }

    /// The tree of all layers.
    pub fn finish(mut self) -> Result<Tree, Error> {
        self.settle_links()?;
        self.tree.compact(&self.aliases);
        Ok(self.tree)
    }

    /// Second reading of a layer: only the contents of hidden files that visible hard links need.
    fn fetch_wanted<'r>(
        &mut self,
        name: &'r str,
        source: Box<dyn Read + 'r>,
        layer: &mut Layer,
    ) -> Result<(), Error> {
        let mut reader = TarReader::new(name, source, self.limits);
        while let Some(entry) = reader.next_entry(&mut self.pool)? {
            let Some(node) = layer.wanted.remove(&entry.ordinal) else { continue };
            let EntryKind::File(size) = entry.kind else {
                return Err(reader.corrupt("it differs from the first reading"));
            };
            let content = self.store_content(&mut reader, &entry.path, size)?;
            self.tree.node_mut(node).kind = Kind::File(content);
            if layer.wanted.is_empty() {
                return Ok(());
            }
        }
        Err(reader.corrupt("it is shorter than at the first reading"))
    }

    fn store_content(
        &mut self,
        reader: &mut TarReader<'_>,
        path: &[u8],
        size: u64,
    ) -> Result<Content, Error> {
        let result = self.store.store(size, &mut *reader.data());
        // If the archive broke, that is the cause, whatever the store made of it.
        if let Some(fault) = reader.take_fault() {
            return Err(fault);
        }
        result.map_err(|source| Error::Store { origin: self.origin(), path: show(path), source })
    }

    fn count_entry(&mut self, path: &[u8]) -> Result<(), Error> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(self.limit(path, "entries", self.limits.entries));
        }
        Ok(())
    }

    fn count_bytes(&mut self, path: &[u8], size: u64) -> Result<(), Error> {
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.total_bytes {
            return Err(self.limit(path, "bytes of files", self.limits.total_bytes));
        }
        Ok(())
    }

    fn limit(&self, path: &[u8], what: &'static str, limit: u64) -> Error {
        Error::Limit { origin: self.origin(), path: show(path), what, limit }
    }

    fn refused(&self, path: &[u8], reason: &'static str) -> Error {
        Error::Entry { layer: self.layer_name(self.current()).into(), path: show(path), reason }
    }

    fn origin(&self) -> String {
        format!("layer {}", self.layer_name(self.current()))
    }

    /// Index of the layer being read.
    fn current(&self) -> usize {
        self.layers.len().saturating_sub(1)
    }

    fn layer_name(&self, index: usize) -> &str {
        self.layers.get(index).map_or("", String::as_str)
    }
}

fn opened<'r>(
    name: &str,
    open: &mut dyn FnMut() -> io::Result<Box<dyn Read + 'r>>,
) -> Result<Box<dyn Read + 'r>, Error> {
    open().map_err(|source| Error::Open { layer: name.into(), source })
}
