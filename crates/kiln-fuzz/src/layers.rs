//! Tar layers and their merge.

use std::io::{self, Read};

use kiln_erofs::ValidatedTree;
use kiln_tree::{ContentStore, Kind, LayerMerge, Limits, MemoryStore, Tree, tree_digest};

use crate::repair::{self, TAR_BLOCK};

/// Starts a block that separates two layers of one input.
const NEXT_LAYER: &[u8] = b"kiln next layer";

/// Bounds small enough that an input can reach them.
pub(crate) const LIMITS: Limits = Limits {
    entries: 2000,
    path_bytes: 1000,
    name_bytes: 255,
    symlink_bytes: 500,
    total_bytes: 4 << 20,
    file_bytes: 2 << 20,
    xattr_bytes: 4 << 10,
    device_nodes: true,
};

/// Merges up to any number of layers, twice: with whole reads and with reads of a few bytes. Both
/// must say the same, and an accepted tree must keep what its limits and the file system promise.
pub fn layer_merge(data: &[u8]) -> bool {
    let mut bytes = data.to_vec();
    repair::tar(&mut bytes);
    let layers = split(&bytes);
    let mut store = MemoryStore::new();
    let whole = merge(&layers, usize::MAX, &mut store);
    let mut piecewise_store = MemoryStore::new();
    let piecewise = merge(&layers, 7, &mut piecewise_store);
    match (whole, piecewise) {
        (Ok(tree), Ok(piecewise)) => {
            check(&tree, &store);
            let same = digest(&tree, &store) == digest(&piecewise, &piecewise_store);
            assert!(same, "the tree depends on how its bytes arrived");
            // Whatever it says, it must say it without a panic.
            let _ = ValidatedTree::new(&tree);
        }
        (Err(whole), Err(piecewise)) => {
            assert_eq!(whole, piecewise);
            return false;
        }
        (whole, piecewise) => panic!("{:?} against {:?}", whole.err(), piecewise.err()),
    }
    true
}

/// The tree of one layer.
pub(crate) fn single(tar: &[u8], store: &mut dyn ContentStore) -> Result<Tree, String> {
    merge(&[tar], usize::MAX, store)
}

fn digest(tree: &Tree, store: &MemoryStore) -> [u8; 32] {
    match tree_digest(tree, store) {
        Ok(digest) => digest,
        Err(error) => panic!("a merged tree has no digest: {error}"),
    }
}

fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let mut layers = Vec::new();
    let mut start = 0;
    for (index, block) in bytes.chunks(TAR_BLOCK).enumerate() {
        if block.starts_with(NEXT_LAYER) {
            layers.push(&bytes[start..index * TAR_BLOCK]);
            start = (index + 1) * TAR_BLOCK;
        }
    }
    layers.push(bytes.get(start..).unwrap_or_default());
    layers
}

/// Reads at most `step` bytes at a time.
struct Piecewise<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl Read for Piecewise<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(self.step);
        self.bytes.read(&mut buffer[..length])
    }
}

fn merge(layers: &[&[u8]], step: usize, store: &mut dyn ContentStore) -> Result<Tree, String> {
    let mut merge = LayerMerge::new(store, LIMITS);
    for (number, bytes) in layers.iter().enumerate() {
        let mut open = || Ok(Box::new(Piecewise { bytes, step }) as Box<dyn Read>);
        merge.layer(&number.to_string(), &mut open).map_err(|error| error.to_string())?;
    }
    merge.finish().map_err(|error| error.to_string())
}

fn check(tree: &Tree, store: &MemoryStore) {
    let mut entries = 0;
    for (path, id) in tree.walk() {
        entries += 1;
        assert!(path.len() <= LIMITS.path_bytes, "a path of {} bytes", path.len());
        if !path.is_empty() {
            for name in path.split(|byte| *byte == b'/') {
                let escapes = name.is_empty() || name == b"." || name == b"..";
                let valid = !escapes && !name.contains(&0) && name.len() <= LIMITS.name_bytes;
                assert!(valid, "the path {:?}", path.escape_ascii().to_string());
            }
        }
        let node = tree.node(id);
        assert!(node.metadata.mode <= 0o7777 && node.metadata.mtime_nanoseconds < 1_000_000_000);
        match &node.kind {
            Kind::File(content) => {
                assert!(content.size <= LIMITS.file_bytes);
                assert!(store.read(*content).is_ok(), "a file without content");
            }
            Kind::Symlink(target) => {
                let valid = !target.is_empty() && !target.contains(&0);
                assert!(valid && target.len() <= LIMITS.symlink_bytes);
            }
            _ => {}
        }
    }
    assert_eq!(tree.entry_count(), entries);
    assert!(entries <= LIMITS.entries + 1, "{entries} entries");
}
