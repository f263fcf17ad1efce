//! Merging top-down equals applying layers bottom-up, for random stacks; and no bytes make it panic.
//!
//! The model is naive on purpose: a map from paths to entries, one layer laid over the other from the bottom, as a container
//! engine unpacks them. Where the model fails half-way, upper layers may still hide the damage, so only its successes bind us.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test by panicking")]

mod support;

use std::collections::BTreeMap;

use kiln_tree::{ContentStore as _, Kind, Limits, MemoryStore, Metadata, Node, NodeId, Tree};
use proptest::prelude::*;
use support::{Layer, digest, listing, merge_bytes};

#[derive(Debug, Clone)]
enum Step {
    Directory(String, u32),
    File(String, u32),
    Symlink(String),
    Link(String, String),
    Whiteout(String),
    Opaque(String),
}

/// What the model has at a path; files and links of one inode share its number.
#[derive(Debug, Clone, PartialEq)]
enum Entry {
    Directory(Option<u32>),
    File(u32),
    Symlink(u32),
}

type Model = BTreeMap<String, Entry>;

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4)
        .prop_map(|names| names.join("/"))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (path(), 0..0o777u32).prop_map(|(path, mode)| Step::Directory(path, mode)),
        5 => (path(), any::<u32>()).prop_map(|(path, content)| Step::File(path, content)),
        1 => path().prop_map(Step::Symlink),
        2 => (path(), path()).prop_map(|(path, target)| Step::Link(path, target)),
        2 => path().prop_map(Step::Whiteout),
        1 => path().prop_map(Step::Opaque),
    ]
}

fn archive(steps: &[Step]) -> Vec<u8> {
    let mut layer = Layer::new();
    for step in steps {
        layer = match step {
            Step::Directory(path, mode) => layer.directory(path, *mode),
            Step::File(path, content) => layer.file(path, &content.to_string()),
            Step::Symlink(path) => layer.symlink(path, "target"),
            Step::Link(path, target) => layer.link(path, target),
            Step::Whiteout(path) => {
                let (parent, name) = path.rsplit_once('/').map_or(("", path.as_str()), |pair| pair);
                layer.file(&format!("{parent}/.wh.{name}"), "")
            }
            Step::Opaque(path) => layer.file(&format!("{path}/.wh..wh..opq"), ""),
        };
    }
    layer.finished()
}

fn below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'))
}

fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// One layer over the state; `inodes` has contents (or nothing for symbolic links). `None` where an engine would fail.
fn apply(state: &mut Model, steps: &[Step], inodes: &mut Vec<Option<u32>>) -> Option<()> {
    let mut layer = Model::new();
    for step in steps {
        let (path, entry) = match step {
            Step::Whiteout(_) | Step::Opaque(_) => continue,
            Step::Directory(path, mode) => (path, Entry::Directory(Some(*mode))),
            Step::File(path, content) => {
                inodes.push(Some(*content));
                (path, Entry::File(inodes.len() as u32 - 1))
            }
            Step::Symlink(path) => {
                inodes.push(None);
                (path, Entry::Symlink(inodes.len() as u32 - 1))
            }
            Step::Link(path, target) => match layer.get(target).or_else(|| state.get(target))? {
                Entry::Directory(_) => return None,
                entry => (path, entry.clone()),
            },
        };
        for parent in parents(path) {
            let entry = layer.entry(parent.to_string()).or_insert(Entry::Directory(None));
            if !matches!(entry, Entry::Directory(_)) {
                return None;
            }
        }
        if !matches!(entry, Entry::Directory(_)) {
            layer.retain(|known, _| !below(known, path));
        }
        layer.insert(path.clone(), entry);
    }
    for step in steps {
        match step {
            Step::Whiteout(path) => state.retain(|known, _| known != path && !below(known, path)),
            Step::Opaque(path) => state.retain(|known, _| !below(known, path)),
            _ => {}
        }
    }
    for (path, entry) in layer {
        match (&entry, state.get(&path)) {
            (Entry::Directory(None), Some(Entry::Directory(_))) => {}
            (Entry::Directory(None), Some(_)) => return None,
            (Entry::Directory(_), _) => {
                state.insert(path, entry);
            }
            _ => {
                state.retain(|known, _| !below(known, &path));
                state.insert(path, entry);
            }
        }
    }
    Some(())
}

fn tree_of(model: &Model, inodes: &[Option<u32>], store: &mut MemoryStore) -> Tree {
    let mut tree = Tree::new();
    let mut known: BTreeMap<u32, NodeId> = BTreeMap::new();
    for (path, entry) in model {
        let inode = match entry {
            Entry::Directory(mode) => {
                let metadata = Metadata::with_mode(mode.unwrap_or(0o755) as u16);
                tree.insert(path.as_bytes(), Node::directory(metadata)).unwrap();
                continue;
            }
            Entry::File(inode) | Entry::Symlink(inode) => *inode,
        };
        if let Some(id) = known.get(&inode) {
            tree.link(path.as_bytes(), *id).unwrap();
            continue;
        }
        let node = match inodes[inode as usize] {
            Some(content) => {
                let bytes = content.to_string();
                let content = store.store(bytes.len() as u64, &mut bytes.as_bytes()).unwrap();
                Node { kind: Kind::File(content), metadata: Metadata::file() }
            }
            None => Node { kind: Kind::Symlink(b"target".to_vec()), metadata: Metadata::symlink() },
        };
        known.insert(inode, tree.insert(path.as_bytes(), node).unwrap());
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, max_global_rejects: 200_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merging_top_down_equals_applying_bottom_up(
        stack in prop::collection::vec(prop::collection::vec(step(), 0..7), 1..5)
    ) {
        let (mut state, mut inodes) = (Model::new(), Vec::new());
        // A step that an engine would refuse is left out, so that most stacks reach the comparison.
        let mut usable = Vec::new();
        for layer in stack.iter().rev() {
            let mut kept: Vec<Step> = Vec::new();
            for step in layer {
                kept.push(step.clone());
                if apply(&mut state.clone(), &kept, &mut inodes.clone()).is_none() {
                    kept.pop();
                }
            }
            apply(&mut state, &kept, &mut inodes).unwrap();
            usable.push(kept);
        }
        let archives: Vec<Vec<u8>> = usable.iter().rev().map(|steps| archive(steps)).collect();
        let (mut ours, mut theirs) = (MemoryStore::new(), MemoryStore::new());
        let tree = match merge_bytes(&mut ours, &archives, Limits::default()) {
            Ok(tree) => tree,
            Err(error) => return Err(TestCaseError::fail(format!("{error}: {usable:#?}"))),
        };
        let model = tree_of(&state, &inodes, &mut theirs);
        prop_assert_eq!(listing(&tree, &ours), listing(&model, &theirs), "{:#?}", usable);
        prop_assert_eq!(digest(&tree, &ours), digest(&model, &theirs));
        prop_assert_eq!(tree.node_limit() as u64, tree.link_counts().iter().filter(|count| **count > 0).count() as u64);
    }

    #[test]
    fn stacks_with_faults_never_panic(stack in prop::collection::vec(prop::collection::vec(step(), 0..9), 1..4)) {
        let archives: Vec<Vec<u8>> = stack.iter().map(|steps| archive(steps)).collect();
        drop(merge_bytes(&mut MemoryStore::new(), &archives, Limits::default()));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        drop(merge_bytes(&mut MemoryStore::new(), &[bytes], Limits::default()));
    }

    /// Damage behind valid checksums reaches every field parser.
    #[test]
    fn damaged_archives_never_panic(
        flags in prop::collection::vec(prop::sample::select(b"01234567SxgLKDVM\0".to_vec()), 1..4),
        edits in prop::collection::vec((0usize..500, any::<u8>()), 0..6),
        data in prop::collection::vec(prop::sample::select(b"0123456789 =\n,.-GNU.sparse.mapsize\0".to_vec()), 0..700),
    ) {
        let mut bytes = Vec::new();
        for flag in flags {
            let start = bytes.len();
            bytes.extend(Layer::new().raw(flag, "name", &data, |_| ()).bytes);
            for (at, value) in &edits {
                bytes[start + at] = *value;
            }
            let mut header = tar::Header::new_old();
            header.as_mut_bytes().copy_from_slice(&bytes[start..start + 512]);
            header.set_cksum();
            bytes[start..start + 512].copy_from_slice(header.as_bytes());
        }
        let limits = Limits { file_bytes: 1 << 20, total_bytes: 1 << 22, ..Limits::default() };
        drop(merge_bytes(&mut MemoryStore::new(), &[bytes], limits));
    }
}
