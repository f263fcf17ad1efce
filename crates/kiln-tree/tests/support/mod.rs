//! Layers written by hand for the tests: each header exactly as the test says, also where a tidy writer would refuse.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test by panicking")]
#![expect(dead_code, reason = "each test binary uses its own part")]

use std::io::{self, Read};

use kiln_tree::{ContentStore, Error, Kind, LayerMerge, Limits, MemoryStore, Tree, tree_digest};

/// A tar archive under construction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layer {
    pub(crate) bytes: Vec<u8>,
    records: Vec<u8>,
}

impl Layer {
    pub(crate) fn new() -> Layer {
        Layer::default()
    }

    /// An extended record for the next entry.
    pub(crate) fn record(mut self, key: &str, value: &[u8]) -> Layer {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length != body + length.to_string().len() {
            length = body + length.to_string().len();
        }
        self.records.extend(format!("{length} {key}=").bytes());
        self.records.extend(value);
        self.records.push(b'\n');
        self
    }

    /// An entry with full control over its header.
    pub(crate) fn raw(
        self,
        flag: u8,
        name: &str,
        data: &[u8],
        edit: fn(&mut tar::Header),
    ) -> Layer {
        self.raw_with(flag, name, data, &edit)
    }

    fn raw_with(
        mut self,
        flag: u8,
        name: &str,
        data: &[u8],
        edit: &dyn Fn(&mut tar::Header),
    ) -> Layer {
        if !self.records.is_empty() {
            let records = std::mem::take(&mut self.records);
            self = self.raw_with(b'x', "records", &records, &|_| ());
        }
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkflag = [flag];
        header.set_mode(if flag == b'5' { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(data.len() as u64);
        edit(&mut header);
        header.set_cksum();
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, data: &str) -> Layer {
        self.raw(b'0', name, data.as_bytes(), |_| ())
    }

    pub(crate) fn directory(self, name: &str, mode: u32) -> Layer {
        self.raw_with(b'5', name, b"", &|header| header.set_mode(mode))
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Layer {
        self.raw_with(b'2', name, b"", &|header| header.set_link_name_literal(target).unwrap())
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Layer {
        self.raw_with(b'1', name, b"", &|header| header.set_link_name_literal(target).unwrap())
    }

    pub(crate) fn finished(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }
}

/// Merges archives, top first, as layers named `layer0`, `layer1`, …
pub(crate) fn merge_bytes(
    store: &mut MemoryStore,
    archives: &[Vec<u8>],
    limits: Limits,
) -> Result<Tree, Error> {
    let mut merge = LayerMerge::new(store, limits);
    for (index, bytes) in archives.iter().enumerate() {
        let mut open = || -> io::Result<Box<dyn Read + '_>> { Ok(Box::new(bytes.as_slice())) };
        merge.layer(&format!("layer{index}"), &mut open)?;
    }
    merge.finish()
}

/// Merges layers, top first.
pub(crate) fn merge(layers: Vec<Layer>) -> Result<(Tree, MemoryStore), Error> {
    let mut store = MemoryStore::new();
    let archives: Vec<Vec<u8>> = layers.into_iter().map(Layer::finished).collect();
    merge_bytes(&mut store, &archives, Limits::default()).map(|tree| (tree, store))
}

/// One line per entry: path, kind, mode, content or target; hard links by the number of the first name.
pub(crate) fn listing(tree: &Tree, store: &MemoryStore) -> Vec<String> {
    let mut seen: Vec<(kiln_tree::NodeId, Vec<u8>)> = Vec::new();
    let mut lines = Vec::new();
    for (path, id) in tree.walk().skip(1) {
        let shown = String::from_utf8_lossy(&path).into_owned();
        if let Some((_, first)) = seen.iter().find(|(known, _)| *known == id) {
            lines.push(format!("{shown} = {}", String::from_utf8_lossy(first)));
            continue;
        }
        seen.push((id, path));
        let node = tree.node(id);
        let what = match &node.kind {
            Kind::Directory(_) => format!("/ {:o}", node.metadata.mode),
            Kind::File(content) => {
                format!(": {}", String::from_utf8_lossy(&store.read(*content).unwrap()))
            }
            Kind::Symlink(target) => format!("-> {}", String::from_utf8_lossy(target)),
            other => format!("{other:?}"),
        };
        lines.push(format!("{shown}{}{what}", if what.starts_with(['/', ':']) { "" } else { " " }));
    }
    lines
}

pub(crate) fn digest(tree: &Tree, store: &MemoryStore) -> [u8; 32] {
    tree_digest(tree, store).unwrap()
}
